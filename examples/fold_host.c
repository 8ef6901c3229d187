/*
 * A host program with a nested call: its host function each_number calls the guest
 * that is calling it.
 *
 *     fold_host build/examples/fold
 */
#include <mayfly/mayfly.h>

#include <stdio.h>

static int each_number(struct mf_sandbox *sandbox, void *context, const struct mf_value *arg,
                       struct mf_value *result, struct mf_error *err)
{
    (void)context;
    (void)arg;
    (void)result; /* it comes as void, which is what this function returns */
    for (int64_t n = 1; n <= 1000; n++) {
        struct mf_value number = mf_i64(n), go_on;
        int status = mf_sandbox_call(sandbox, "add", &number, 1, &go_on, err);
        if (status != MF_OK)
            return status;
        if (!go_on.boolean)
            break;
    }
    return 0;
}

int main(int argc, char **argv)
{
    struct mf_image *image = NULL;
    struct mf_host *host = NULL;
    struct mf_sandbox *sandbox = NULL;
    struct mf_value sum;
    struct mf_error err;
    int status;

    if (argc != 2) {
        fprintf(stderr, "usage: fold_host GUEST\n");
        return 2;
    }
    if ((status = mf_image_open(argv[1], &image, &err)) == MF_OK &&
        (status = mf_host_create(&host, &err)) == MF_OK &&
        (status = mf_host_add(host, "void each_number()", each_number, NULL, &err)) == MF_OK &&
        (status = mf_sandbox_create(image, host, NULL, &sandbox, &err)) == MF_OK &&
        (status = mf_sandbox_call(sandbox, "sum", NULL, 0, &sum, &err)) == MF_OK)
        printf("1 + 2 + ... until 100: %lld\n", (long long)sum.i64);
    else
        fprintf(stderr, "fold_host: %s: %s\n", mf_error_name(err.code), err.message);
    mf_sandbox_destroy(sandbox);
    mf_host_destroy(host);
    mf_image_close(image);
    return status != MF_OK;
}
