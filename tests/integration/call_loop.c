/*
 * Calls one function of a guest N times, after one call that is not counted, and
 * prints how many times the library asked for memory during the N calls; with BATCH, N
 * batches of so many calls:
 *
 *     call_loop BACKEND GUEST FUNCTION N [BATCH]
 *
 * syscalls_per_call.py watches its system calls. It is linked with the static
 * library and --wrap for each function below, so that every request for memory
 * by the library and by this file comes through here. Exit status 77: the
 * backend is not usable here.
 */
#include <mayfly/mayfly.h>

#include <mayfly/batch.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static unsigned long allocations;

/* The names that the linker gives to the replaced functions. */
void *__real_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);
void *__real_realloc(void *memory, size_t size);
void *__real_aligned_alloc(size_t alignment, size_t size);
int __real_posix_memalign(void **out, size_t alignment, size_t size);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__wrap_realloc(void *memory, size_t size);
void *__wrap_aligned_alloc(size_t alignment, size_t size);
int __wrap_posix_memalign(void **out, size_t alignment, size_t size);

void *__wrap_malloc(size_t size)
{
    allocations++;
    return __real_malloc(size);
}

void *__wrap_calloc(size_t count, size_t size)
{
    allocations++;
    return __real_calloc(count, size);
}

void *__wrap_realloc(void *memory, size_t size)
{
    allocations++;
    return __real_realloc(memory, size);
}

void *__wrap_aligned_alloc(size_t alignment, size_t size)
{
    allocations++;
    return __real_aligned_alloc(alignment, size);
}

int __wrap_posix_memalign(void **out, size_t alignment, size_t size)
{
    allocations++;
    return __real_posix_memalign(out, alignment, size);
}

static int host_tick(struct mf_sandbox *sandbox, void *context, const struct mf_value *arg,
                     struct mf_value *result, struct mf_error *err)
{
    (void)sandbox;
    (void)context;
    (void)err;
    *result = mf_u64(arg[0].u64 + 1);
    return 0;
}

/* The guest needs it, but no test calls it. */
static int host_again(struct mf_sandbox *sandbox, void *context, const struct mf_value *arg,
                      struct mf_value *result, struct mf_error *err)
{
    (void)sandbox;
    (void)context;
    (void)arg;
    (void)result;
    return mf_fail(err, MF_E_HOST_FUNCTION, "not expected here");
}

static void check(int status, const struct mf_error *err)
{
    if (status >= 0)
        return;
    fprintf(stderr, "call_loop: %s: %s\n", mf_error_name(status), err->message);
    exit(1);
}

static enum mf_backend usable_backend(const char *name)
{
    enum mf_backend backend = strcmp(name, "soft") == 0 ? MF_BACKEND_SOFT : MF_BACKEND_KVM;
    struct mf_backend_info info;
    struct mf_error err;

    check(mf_backend_probe(backend, &info, &err), &err);
    if (!info.usable) {
        fprintf(stderr, "call_loop: skipped: %s: %s\n", name, info.reason);
        exit(77);
    }
    return backend;
}

#define BATCH_MAX 1000

static void check_answer(const struct mf_value *text, const struct mf_value *answer)
{
    if (answer->string.len == text->string.len &&
        memcmp(answer->string.data, text->string.data, text->string.len) == 0)
        return;
    fprintf(stderr, "call_loop: wrong answer\n");
    exit(1);
}

/* One call, or with `batch` above 0 that many at once. */
static void call(struct mf_sandbox *sandbox, size_t function, size_t batch)
{
    static struct mf_call calls[BATCH_MAX];
    struct mf_value text = mf_string("sixty-four bytes would do as well as these"), answer;
    struct mf_error err;

    if (batch == 0) {
        check(mf_sandbox_call_index(sandbox, function, &text, 1, &answer, &err), &err);
        check_answer(&text, &answer);
        return;
    }
    for (size_t i = 0; i < batch; i++)
        calls[i] = (struct mf_call){.function = function, .args = &text, .nargs = 1};
    check(mf_sandbox_call_batch(sandbox, calls, batch, &err), &err);
    for (size_t i = 0; i < batch; i++) {
        check(calls[i].status, &calls[i].error);
        check_answer(&text, &calls[i].result);
    }
}

int main(int argc, char **argv)
{
    struct mf_sandbox_options options = {.size = sizeof options};
    struct mf_sandbox *sandbox;
    struct mf_image *image;
    struct mf_host *host;
    struct mf_error err;

    if (argc != 5 && argc != 6)
        return 2;
    size_t batch = argc == 6 ? strtoul(argv[5], NULL, 10) : 0;
    if (batch > BATCH_MAX)
        return 2;
    options.backend = usable_backend(argv[1]);
    check(mf_image_open(argv[2], &image, &err), &err);
    check(mf_host_create(&host, &err), &err);
    check(mf_host_add(host, "u64 tick(u64 n)", host_tick, NULL, &err), &err);
    check(mf_host_add(host, "string again(string text)", host_again, NULL, &err), &err);
    check(mf_sandbox_create(image, host, &options, &sandbox, &err), &err);
    int function = mf_image_find_export(image, argv[3], &err);
    check(function, &err);

    call(sandbox, (size_t)function, batch);
    unsigned long before = allocations;
    for (long n = strtol(argv[4], NULL, 10); n > 0; n--)
        call(sandbox, (size_t)function, batch);
    printf("allocations %lu\n", allocations - before);

    mf_sandbox_destroy(sandbox);
    mf_host_destroy(host);
    mf_image_close(image);
    return 0;
}
