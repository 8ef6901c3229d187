/*
 * A stream of version 1.0 that was recorded once (tests/golden/migrate-1.0.mfm) and must be
 * understood for ever: the receiver takes it in, and the guest answers. The guest in it is
 * tests/guests/restore, which was asked once before it moved.
 *
 * With the name of a folder in $MAYFLY_WRITE_GOLDEN the stream is recorded there.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "backend.h"
#include "support_migrate.h"

#include <unistd.h>

#define ALARM_S 60
#define STREAM_MOST (1u << 20)

static enum mf_backend backend;
static uint8_t stream[STREAM_MOST];
static size_t stream_len;

/* ---- recording ---- */

static int record(const char *folder)
{
    static struct tap tap;
    struct mf_sandbox_options options = {
        .size = sizeof options, .backend = backend, .memory_bytes = 1 << 20};
    struct move move = {.backend = backend, .tap = &tap};
    struct mf_sandbox *sandbox;
    struct mf_image *image;
    struct mf_error err;
    char path[4096];
    tap.record = stream;
    tap.record_size = sizeof stream;
    snprintf(path, sizeof path, "%s/restore/bare", getenv("GUESTS"));
    if (mf_image_open(path, &image, &err) != 0 ||
        mf_sandbox_create(image, NULL, &options, &sandbox, &err) != 0 ||
        mf_sandbox_call(sandbox, "steady", NULL, 0, NULL, &err) != 0)
        return -1;
    move.out.label = "golden";
    move.out.label_len = 6;
    move.out.compress = 1;
    move_sandbox(sandbox, &move);
    snprintf(path, sizeof path, "%s/migrate-1.0.mfm", folder);
    FILE *file = fopen(path, "wb");
    bool ok = file && move.out_rc == 0 && fwrite(stream, 1, tap.kept, file) == tap.kept;
    if (file)
        ok = fclose(file) == 0 && ok;
    mf_sandbox_destroy(move.received);
    mf_sandbox_destroy(sandbox);
    mf_image_close(image);
    return ok ? 0 : -1;
}

/* ---- a source that says what it once said, whatever it hears ---- */

struct player {
    size_t at, end;
};

static long play(void *context, void *data, size_t len, int timeout_ms, struct mf_error *err)
{
    struct player *player = context;
    size_t left = player->end - player->at;
    (void)timeout_ms;
    (void)err;
    len = len < left ? len : left;
    memcpy(data, stream + player->at, len);
    player->at += len;
    return (long)len;
}

static long ignore(void *context, const void *data, size_t len, int timeout_ms,
                   struct mf_error *err)
{
    (void)context;
    (void)data;
    (void)timeout_ms;
    (void)err;
    return (long)len;
}

static int accept_it(void *context, const struct mf_migrate_offer *offer, struct mf_host **host,
                     struct mf_sandbox_options *options, struct mf_error *err)
{
    (void)context;
    (void)host;
    (void)err;
    assert_int_equal(offer->memory_bytes, 1 << 20);
    assert_int_equal(offer->label_len, 6);
    assert_memory_equal(offer->label, "golden", 6);
    options->backend = backend;
    return 0;
}

static int receive(size_t end, struct mf_sandbox **sandbox, struct mf_error *err)
{
    struct player player = {.end = end};
    const struct mf_channel channel = {sizeof channel, &player, play, ignore};
    const struct mf_migrate_in_options options = {.size = sizeof options, .accept = accept_it};
    return mf_migrate_in(&channel, &options, sandbox, err);
}

static void test_golden(void **state)
{
    struct mf_sandbox *sandbox;
    struct mf_value result;
    struct mf_error err;
    (void)state;
    if (receive(stream_len, &sandbox, &err) != 0)
        fail_msg("%s", err.message);
    assert_int_equal(mf_sandbox_call(sandbox, "steady", NULL, 0, &result, &err), 0);
    assert_true(result.boolean);
    assert_int_equal(mf_sandbox_call(sandbox, "count", NULL, 0, &result, &err), 0);
    mf_sandbox_destroy(sandbox);
}

/* Any beginning of it that is not all is not enough. */
static void test_beginnings(void **state)
{
    struct mf_sandbox *sandbox;
    struct mf_error err;
    (void)state;
    for (size_t end = 0; end < stream_len; end += stream_len - end > 64 ? 1999 : 1) {
        assert_int_equal(receive(end, &sandbox, &err), MF_E_CHANNEL);
        assert_null(sandbox);
    }
}

static int load(void **state)
{
    char path[4096];
    const char *folder = getenv("MAYFLY_SOURCE_DIR");
    (void)state;
    snprintf(path, sizeof path, "%s/tests/golden/migrate-1.0.mfm", folder ? folder : ".");
    FILE *file = fopen(path, "rb");
    if (!file)
        return -1;
    stream_len = fread(stream, 1, sizeof stream, file);
    fclose(file);
    return stream_len > 0 ? 0 : -1;
}

int main(void)
{
    const char *golden = getenv("MAYFLY_WRITE_GOLDEN");
    backend = test_backend();
    if (golden)
        return record(golden) != 0;
    alarm(ALARM_S);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_golden),
        cmocka_unit_test(test_beginnings),
    };
    return cmocka_run_group_tests_name("migrate_golden", tests, load, NULL);
}
