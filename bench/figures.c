/* The table of figures: what is measured, beside which floor, how often. */
#include "measures.h"

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
};

const struct bench_figure *bench_figures(size_t *count)
{
    *count = sizeof(figures) / sizeof(figures[0]);
    return figures;
}
