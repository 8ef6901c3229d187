/*
 * A host program: opens a guest, gives it one host function, calls `greet`.
 *
 *     embed GUEST [NAME]        e.g. embed build/examples/greet World
 */
#include <mayfly/mayfly.h>

#include <stdio.h>
#include <string.h>

/* string title(string name): what guests may ask of this host. */
static int title(struct mf_sandbox *sandbox, void *context, const struct mf_value *arg,
                 struct mf_value *result, struct mf_error *err)
{
    (void)sandbox;
    (void)context;
    if (arg[0].string.len == 0)
        return mf_fail(err, MF_E_HOST_FUNCTION, "nobody has no title");
    *result = mf_string(strcmp(arg[0].string.data, "Ada") == 0 ? "Countess" : "citizen");
    return 0;
}

int main(int argc, char **argv)
{
    struct mf_image *image = NULL;
    struct mf_host *host = NULL;
    struct mf_sandbox *sandbox = NULL;
    struct mf_sandbox_options options = {.size = sizeof options, .timeout_ns = 5000000000};
    struct mf_value name = mf_string(argc > 2 ? argv[2] : "World"), answer;
    struct mf_error err;
    int status;

    if (argc < 2) {
        fprintf(stderr, "usage: embed GUEST [NAME]\n");
        return 2;
    }
    if ((status = mf_image_open(argv[1], &image, &err)) == MF_OK &&
        (status = mf_host_create(&host, &err)) == MF_OK &&
        (status = mf_host_add(host, "string title(string name)", title, NULL, &err)) == MF_OK &&
        (status = mf_sandbox_create(image, host, &options, &sandbox, &err)) == MF_OK &&
        (status = mf_sandbox_call(sandbox, "greet", &name, 1, &answer, &err)) == MF_OK)
        printf("%s (on %s: %s)\n", answer.string.data,
               mf_backend_name(mf_sandbox_backend(sandbox)), mf_sandbox_backend_reason(sandbox));
    else
        fprintf(stderr, "embed: %s: %s\n", mf_error_name(err.code), err.message);
    mf_sandbox_destroy(sandbox);
    mf_host_destroy(host);
    mf_image_close(image);
    return status != MF_OK;
}
