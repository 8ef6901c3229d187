/*
 * A host program that sends its standard input through a guest to its standard
 * output. Neither of them ever holds more than a piece.
 *
 *     shout_host build/examples/shout < FILE
 */
#include <mayfly/mayfly.h>

#include <stdio.h>

/* bytes source(u64 most): at most that many bytes, none at the end. */
static int source(struct mf_sandbox *sandbox, void *context, const struct mf_value *arg,
                  struct mf_value *result, struct mf_error *err)
{
    static char piece[1 << 16]; /* lives until the next call, as it must */
    size_t most = arg[0].u64 < sizeof piece ? (size_t)arg[0].u64 : sizeof piece;
    (void)sandbox;
    size_t got = fread(piece, 1, most, context);
    if (got == 0 && ferror((FILE *)context))
        return mf_fail(err, MF_E_HOST_FUNCTION, "the input cannot be read");
    *result = mf_bytes(piece, got);
    return 0;
}

/* void sink(bytes piece) */
static int sink(struct mf_sandbox *sandbox, void *context, const struct mf_value *arg,
                struct mf_value *result, struct mf_error *err)
{
    (void)sandbox;
    (void)result;
    if (fwrite(arg[0].bytes.data, 1, arg[0].bytes.len, context) != arg[0].bytes.len)
        return mf_fail(err, MF_E_HOST_FUNCTION, "the output cannot be written");
    return 0;
}

int main(int argc, char **argv)
{
    struct mf_image *image = NULL;
    struct mf_host *host = NULL;
    struct mf_sandbox *sandbox = NULL;
    struct mf_value total;
    struct mf_error err;
    int status;

    if (argc != 2) {
        fprintf(stderr, "usage: shout_host GUEST\n");
        return 2;
    }
    if ((status = mf_image_open(argv[1], &image, &err)) == MF_OK &&
        (status = mf_host_create(&host, &err)) == MF_OK &&
        (status = mf_host_add(host, "bytes source(u64 most)", source, stdin, &err)) == MF_OK &&
        (status = mf_host_add(host, "void sink(bytes piece)", sink, stdout, &err)) == MF_OK &&
        (status = mf_sandbox_create(image, host, NULL, &sandbox, &err)) == MF_OK &&
        (status = mf_sandbox_call(sandbox, "shout", NULL, 0, &total, &err)) == MF_OK)
        fprintf(stderr, "%llu bytes\n", (unsigned long long)total.u64);
    else
        fprintf(stderr, "shout_host: %s: %s\n", mf_error_name(err.code), err.message);
    mf_sandbox_destroy(sandbox);
    mf_host_destroy(host);
    mf_image_close(image);
    return status != MF_OK;
}
