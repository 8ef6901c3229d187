/* The table of figures: what is measured, beside which floor, how often. */
#include "measures.h"

#include <string.h>

static const struct bench_figure figures[] = {
    {
        .name = "call",
        .unit = "us",
        .what = "a warm call of echo with a string of 64 bytes",
        .product = &bench_call_echo,
        .floor_kvm = &bench_floor_run,
        .target = 1.15,
        .rounds = 101,
        .operations = 20,
    },
    {
        .name = "call_host",
        .unit = "us",
        .what = "the same, with one host function called inside",
        .product = &bench_call_host,
        .floor_kvm = &bench_floor_run,
        .target = 2.25,
        .rounds = 101,
        .operations = 20,
    },
    {
        .name = "create",
        .unit = "us",
        .what = "a sandbox made from an open image, its first call, its end",
        .product = &bench_create,
        .floor_kvm = &bench_floor_create,
        .target = 1.3,
        .rounds = 101,
        .operations = 1,
    },
    {
        .name = "nested",
        .unit = "us",
        .what = "a call whose host function calls the guest again: three entries",
        .product = &bench_call_nested,
        .floor_kvm = &bench_floor_run,
        .rounds = 51,
        .operations = 20,
    },
    {
        .name = "call_bytes_64k",
        .unit = "us",
        .what = "a warm call with 64 KiB in and 64 KiB out",
        .product = &bench_call_bytes,
        .floor_kvm = &bench_floor_run_copy,
        .rounds = 51,
        .operations = 20,
    },
    {
        .name = "call_large",
        .unit = "us",
        .what = "a call with 50 MB in and 50 MB out, all of them read and written",
        .product = &bench_call_large,
        .floor_kvm = &bench_floor_large,
        .floor_soft = &bench_floor_large,
        .target = 3,
        .rounds = 15,
        .operations = 1,
    },
    {
        .name = "batch_64",
        .unit = "us",
        .what = "64 calls of echo in one batch, per call",
        .product = &bench_batch,
        .floor_kvm = &bench_floor_run,
        .target = 0.05,
        .rounds = 101,
        .operations = 20,
        .calls = BENCH_BATCH,
    },
    {
        .name = "attentive",
        .unit = "us",
        .what = "a call of echo of an attentive guest on another CPU",
        .product = &bench_attentive,
        .floor_kvm = &bench_floor_cache_line,
        .floor_soft = &bench_floor_cache_line,
        .target = 5,
        .rounds = 101,
        .operations = 1000,
    },
    {
        .name = "call_thread",
        .unit = "us",
        .what = "a warm call of echo from another thread than the last one",
        .product = &bench_call_thread,
        .floor_kvm = &bench_floor_thread,
        .floor_soft = &bench_floor_thread,
        .target = 1.5,
        .rounds = 101,
        .operations = 20,
    },
    {
        .name = "interrupt",
        .unit = "us",
        .what = "from mf_sandbox_interrupt to the return of the call on another thread",
        .product = &bench_interrupt,
        .floor_kvm = &bench_floor_interrupt,
        .target = 2,
        .rounds = 31,
        .operations = 1,
    },
    {
        .name = "run_hello",
        .unit = "us",
        .what = "mayfly run of a static program that prints one line, whole process",
        .product = &bench_run_hello,
        .floor_kvm = &bench_floor_hello,
        .floor_soft = &bench_floor_hello,
        .rounds = 21,
        .operations = 1,
    },
    {
        .name = "memory_1",
        .unit = "KiB",
        .what = "resident memory of the host process, the only sandbox",
        .product = &bench_memory,
        .rounds = 5,
        .operations = 1,
    },
    {
        .name = "memory_100",
        .unit = "KiB",
        .what = "the same for each of 100 sandboxes",
        .product = &bench_memory,
        .rounds = 1,
        .operations = 100,
    },
    {
        .name = "memory_1000",
        .unit = "KiB",
        .what = "the same for each of 1000 sandboxes",
        .product = &bench_memory,
        .rounds = 1,
        .operations = 1000,
    },
};

const struct bench_figure *bench_figures(size_t *count)
{
    *count = sizeof(figures) / sizeof(figures[0]);
    return figures;
}

const struct bench_figure *bench_find_figure(const char *name)
{
    size_t count, i;
    const struct bench_figure *all = bench_figures(&count);

    for (i = 0; i < count; i++) {
        if (strcmp(all[i].name, name) == 0)
            return &all[i];
    }
    return NULL;
}
