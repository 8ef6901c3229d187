/*
 * Handing a sandbox over by the descriptor of its memory: sandboxes that compute while they are
 * handed over, descriptors that are not what they should be, links that are cut. The guest
 * is tests/guests/migrate/guest.c.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "backend.h"
#include "support_migrate.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define ALARM_S 110
#define MEMORY_BYTES (UINT64_C(8) << 20)
#define KEPT_BYTES   (UINT64_C(1) << 20)
#define SEALS        (F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL)

static enum mf_backend backend, other_backend;
static struct mf_image *image;

/* ---- a sandbox ---- */

static int visit(struct mf_sandbox *sandbox, void *context, const struct mf_value *arg,
                 struct mf_value *result, struct mf_error *err)
{
    (void)sandbox;
    (void)context;
    (void)err;
    *result = mf_u64(arg[0].u64);
    return 0;
}

static struct mf_host *make_host(void)
{
    struct mf_host *host;
    struct mf_error err;
    if (mf_host_create(&host, &err) != 0 ||
        mf_host_add(host, "u64 visit(u64 n)", visit, NULL, &err) != 0)
        fail_msg("%s", err.message);
    return host;
}

static struct mf_sandbox_options shared_options(void)
{
    return (struct mf_sandbox_options){.size = sizeof(struct mf_sandbox_options),
                                       .backend = backend,
                                       .memory_bytes = MEMORY_BYTES,
                                       .flags = MF_SANDBOX_SHARED_MEMORY};
}

static struct mf_sandbox *create(uint32_t flags)
{
    struct mf_sandbox_options options = shared_options();
    struct mf_host *host = make_host();
    struct mf_sandbox *sandbox;
    struct mf_error err;
    options.flags = flags;
    if (mf_sandbox_create(image, host, &options, &sandbox, &err) != 0)
        fail_msg("%s", err.message);
    mf_host_destroy(host);
    return sandbox;
}

static uint64_t call(struct mf_sandbox *sandbox, const char *function, const uint64_t *args,
                     size_t nargs)
{
    struct place place = {.sandbox = sandbox};
    place_call(&place, function, args, nargs);
    place_join(&place);
    if (place.rc != 0)
        fail_msg("%s: %s", function, place.err.message);
    return place.result;
}

static struct mf_sandbox *create_keeper(void)
{
    struct mf_sandbox *sandbox = create(MF_SANDBOX_SHARED_MEMORY);
    uint64_t bytes = KEPT_BYTES;
    assert_true(call(sandbox, "keep", &bytes, 1));
    return sandbox;
}

static void assert_whole(struct mf_sandbox *sandbox)
{
    assert_int_equal(call(sandbox, "check", NULL, 0), 0);
}

/* Both sides over one pair of sockets for memory, beside the channel's. */
static void hand_over(struct mf_sandbox *sandbox, struct move *move)
{
    int pair[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    move->out.handover_socket = pair[0];
    move->in.handover_socket = pair[1];
    move->make_host = make_host;
    move_sandbox(sandbox, move);
    close(pair[0]);
    close(pair[1]);
}

static void must_arrive(const struct move *move)
{
    if (move->out_rc != 0 || move->in_rc != 0)
        fail_msg("source: %s; receiver: %s", move->out_err.message, move->in_err.message);
    assert_int_equal(move->outcome, MF_MIGRATE_THERE);
    assert_int_equal(move->summary.pages_sent + move->summary.pages_zero, 0);
}

/* Descriptors of guest memory in this process: how many, and one of them. */
static unsigned count_files(int *one)
{
    DIR *dir = opendir("/proc/self/fd");
    struct dirent *entry;
    unsigned n = 0;
    assert_non_null(dir);
    while ((entry = readdir(dir))) {
        char text[64] = "";
        if (readlinkat(dirfd(dir), entry->d_name, text, sizeof text - 1) > 0 &&
            strncmp(text, "/memfd:mayfly-memory", 20) == 0) {
            n++;
            *one = atoi(entry->d_name);
        }
    }
    closedir(dir);
    return n;
}

/* ---- what is shared ---- */

static void test_file(void **state)
{
    struct mf_sandbox *sandbox = create(0);
    struct mf_sandbox_options options = shared_options();
    struct mf_error err;
    struct stat st;
    int fd = -1;
    (void)state;
    assert_int_equal(count_files(&fd), 0);
    mf_sandbox_destroy(sandbox);
    sandbox = create_keeper();
    assert_int_equal(count_files(&fd), 1);
    assert_int_equal(fstat(fd, &st), 0);
    assert_true((uint64_t)st.st_size == MEMORY_BYTES);
    assert_int_equal(fcntl(fd, F_GET_SEALS), SEALS);
    assert_true(fcntl(fd, F_GETFD) & FD_CLOEXEC);
    /* It takes what the guest touches, not all of it. */
    assert_true((uint64_t)st.st_blocks * 512 >= KEPT_BYTES);
    assert_true((uint64_t)st.st_blocks * 512 < MEMORY_BYTES);
    mf_sandbox_destroy(sandbox);
    assert_int_equal(count_files(&fd), 0);
    options.flags = 2;
    assert_int_equal(mf_sandbox_create(image, NULL, &options, &sandbox, &err), MF_E_ARGUMENT);
}

/* What the guest gives back is given back, and reads as zeros when it comes again. */
static void test_discard(void **state)
{
    uint64_t args[] = {7, 20000, 512}, first;
    struct mf_sandbox *sandbox = create_keeper();
    struct stat before, after;
    int fd = -1;
    (void)state;
    count_files(&fd);
    first = call(sandbox, "chain", args, 3);
    assert_int_equal(fstat(fd, &before), 0);
    for (int i = 0; i < 4; i++)
        assert_true(call(sandbox, "chain", args, 3) == first);
    assert_int_equal(fstat(fd, &after), 0);
    /* Its 2 MiB are not there once more for each call. */
    assert_true((uint64_t)after.st_blocks * 512 < (uint64_t)before.st_blocks * 512 + (1 << 20));
    assert_whole(sandbox);
    mf_sandbox_destroy(sandbox);
}

static void test_snapshots(void **state)
{
    uint64_t args[] = {7, 20000, 64}, expected, rounds = 2;
    struct mf_sandbox_options options = shared_options();
    struct mf_sandbox *sandbox = create_keeper(), *other;
    struct mf_host *host = make_host();
    struct mf_snapshot *snapshot;
    struct move move = {.backend = backend};
    struct mf_error err;
    (void)state;
    expected = call(sandbox, "chain", args, 3);
    assert_int_equal(mf_sandbox_snapshot(sandbox, &snapshot, &err), 0);
    for (int i = 0; i < 3; i++) {
        call(sandbox, "dirty", &rounds, 1);
        assert_true(call(sandbox, "check", NULL, 0) > 0);
        assert_int_equal(mf_sandbox_restore(sandbox, snapshot, &err), 0);
        assert_whole(sandbox);
    }
    options.memory_bytes = 0;
    if (mf_sandbox_create_from(snapshot, host, &options, &other, &err) != 0)
        fail_msg("%s", err.message);
    mf_snapshot_close(snapshot);
    mf_host_destroy(host);
    mf_sandbox_destroy(sandbox);
    hand_over(other, &move);
    must_arrive(&move);
    mf_sandbox_destroy(other);
    assert_whole(move.received);
    assert_true(call(move.received, "chain", args, 3) == expected);
    mf_sandbox_destroy(move.received);
}

/* ---- handing over ---- */

static void test_idle(void **state)
{
    struct mf_sandbox *sandbox = create_keeper();
    struct mf_snapshot *snapshot;
    struct mf_error err;
    (void)state;
    for (int i = 0; i < 4; i++) {
        struct move move = {.backend = backend};
        hand_over(sandbox, &move);
        must_arrive(&move);
        /* Here is nothing left, and what is done here changes nothing there. */
        assert_int_equal(mf_sandbox_call(sandbox, "check", NULL, 0, NULL, &err), MF_E_MOVED);
        assert_int_not_equal(mf_sandbox_snapshot(sandbox, &snapshot, &err), 0);
        if (i % 2 == 0)
            mf_sandbox_destroy(sandbox);
        assert_whole(move.received);
        if (i % 2 == 1)
            mf_sandbox_destroy(sandbox);
        assert_whole(move.received);
        sandbox = move.received;
    }
    mf_sandbox_destroy(sandbox);
}

static void chain_handovers(enum mf_backend even, enum mf_backend odd, unsigned moves)
{
    uint64_t args[] = {7, 1500000, 64}, expected;
    struct place place = {.sandbox = create(MF_SANDBOX_SHARED_MEMORY)};
    unsigned moved = 0;
    expected = call(place.sandbox, "chain", args, 3);
    place_call(&place, "chain", args, 3);
    for (unsigned i = 0; i < moves; i++) {
        struct move move = {.backend = i % 2 ? odd : even};
        struct timespec time = {0, (long)(1 + i % 5) * 1000000};
        nanosleep(&time, NULL);
        hand_over(place.sandbox, &move);
        must_arrive(&move);
        place_join(&place);
        mf_sandbox_destroy(place.sandbox);
        place.sandbox = move.received;
        if (mf_sandbox_stopped(place.sandbox) == MF_STOPPED_CALL) {
            assert_int_equal(place.rc, MF_E_MOVED);
            place_resume(&place);
            moved++;
            continue;
        }
        assert_true(place.rc == MF_E_MOVED || (place.rc == 0 && place.result == expected));
        place_call(&place, "chain", args, 3);
    }
    place_join(&place);
    assert_int_equal(place.rc, 0);
    assert_true(place.result == expected);
    assert_true(moved > moves / 4);
    mf_sandbox_destroy(place.sandbox);
}

static void test_chain(void **state)
{
    (void)state;
    chain_handovers(backend, backend, 24);
}

static void test_across(void **state)
{
    (void)state;
    if (other_backend == MF_BACKEND_AUTO)
        skip();
    chain_handovers(other_backend, backend, 8);
}

/* What comes as a stream, before its pages or after them, can be handed over next. */
static int accept_shared(void *context, const struct mf_migrate_offer *offer,
                         struct mf_host **host, struct mf_sandbox_options *options,
                         struct mf_error *err)
{
    (void)context;
    (void)offer;
    (void)err;
    *host = make_host();
    options->backend = backend;
    options->flags = MF_SANDBOX_SHARED_MEMORY;
    return 0;
}

static void test_after_stream(void **state)
{
    (void)state;
    for (int postcopy = 0; postcopy < 2; postcopy++) {
        struct mf_sandbox *sandbox = create_keeper();
        struct move move = {.in.accept = accept_shared}, next = {.backend = backend};
        move.out.postcopy = postcopy;
        move.out.downtime_limit_ns = postcopy;
        move_sandbox(sandbox, &move);
        mf_sandbox_destroy(sandbox);
        if (postcopy && move.out_rc == MF_E_REFUSED)
            skip(); /* the host has no userfaultfd for us */
        if (move.out_rc != 0)
            fail_msg("%s", move.out_err.message);
        assert_whole(move.received);
        hand_over(move.received, &next);
        must_arrive(&next);
        mf_sandbox_destroy(move.received);
        assert_whole(next.received);
        mf_sandbox_destroy(next.received);
    }
}

/* ---- when it cannot be done ---- */

static void test_refused(void **state)
{
    struct mf_sandbox *plain = create(0), *shared = create_keeper();
    struct move move = {.backend = backend, .make_host = make_host};
    int pair[2];
    (void)state;
    hand_over(plain, &move);
    assert_int_equal(move.out_rc, MF_E_STATE);
    assert_int_equal(move.outcome, MF_MIGRATE_HERE);
    mf_sandbox_destroy(plain);
    /* A receiver that does not do that; then one that does, of a source that does not. */
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    move = (struct move){.backend = backend, .make_host = make_host};
    move.out.handover_socket = pair[0];
    move_sandbox(shared, &move);
    assert_int_equal(move.out_rc, MF_E_REFUSED);
    assert_int_equal(move.outcome, MF_MIGRATE_HERE);
    assert_whole(shared);
    move = (struct move){.backend = backend, .make_host = make_host};
    move.in.handover_socket = pair[1];
    move_sandbox(shared, &move);
    assert_int_equal(move.out_rc, 0);
    mf_sandbox_destroy(shared);
    assert_whole(move.received);
    mf_sandbox_destroy(move.received);
    close(pair[0]);
    close(pair[1]);
}

/* What comes instead of guest memory. */
enum wrong { NOTHING, NO_DESCRIPTOR, TWO, OTHER_WORD, DEVICE, UNSEALED, WRITE_SEALED, SHORT, LONG,
             READ_ONLY, ZEROS, WRONGS };

static int make_file(uint64_t bytes, unsigned seals)
{
    int fd = memfd_create("wrong", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    assert_true(fd >= 0);
    assert_int_equal(ftruncate(fd, (off_t)bytes), 0);
    assert_int_equal(fcntl(fd, F_ADD_SEALS, seals), 0);
    return fd;
}

static int make_read_only(void)
{
    char path[64];
    int fd = make_file(MEMORY_BYTES, SEALS), other;
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    other = open(path, O_RDONLY | O_CLOEXEC);
    assert_true(other >= 0);
    close(fd);
    return other;
}

static int make_wrong(enum wrong wrong)
{
    switch (wrong) {
    case DEVICE:
        return open("/dev/zero", O_RDWR | O_CLOEXEC);
    case UNSEALED:
        return make_file(MEMORY_BYTES, 0);
    case WRITE_SEALED:
        return make_file(MEMORY_BYTES, SEALS | F_SEAL_WRITE);
    case SHORT:
        return make_file(MEMORY_BYTES - 4096, SEALS);
    case LONG:
        return make_file(MEMORY_BYTES + 4096, SEALS);
    case READ_ONLY:
        return make_read_only();
    default:
        return make_file(MEMORY_BYTES, SEALS);
    }
}

static void send_wrong(int socket, enum wrong wrong)
{
    char text[] = "memory", control[CMSG_SPACE(2 * sizeof(int))] = {0};
    int fds[2] = {make_wrong(wrong), make_wrong(wrong)};
    size_t bytes = wrong == TWO ? sizeof fds : sizeof fds[0];
    struct iovec data = {text, sizeof text};
    struct msghdr message = {.msg_iov = &data, .msg_iovlen = 1};
    if (wrong == OTHER_WORD)
        text[0] = 'M';
    if (wrong != NO_DESCRIPTOR) {
        message.msg_control = control;
        message.msg_controllen = CMSG_SPACE(bytes);
        struct cmsghdr *head = CMSG_FIRSTHDR(&message);
        head->cmsg_level = SOL_SOCKET;
        head->cmsg_type = SCM_RIGHTS;
        head->cmsg_len = CMSG_LEN(bytes);
        memcpy(CMSG_DATA(head), fds, bytes);
    }
    assert_int_equal(sendmsg(socket, &message, 0), sizeof text);
    close(fds[0]);
    close(fds[1]);
}

static unsigned count_descriptors(void)
{
    DIR *dir = opendir("/proc/self/fd");
    unsigned n = 0;
    assert_non_null(dir);
    while (readdir(dir))
        n++;
    closedir(dir);
    return n;
}

static void test_wrong_descriptors(void **state)
{
    struct mf_sandbox *sandbox = create_keeper();
    unsigned before = count_descriptors();
    (void)state;
    for (enum wrong wrong = NOTHING; wrong < WRONGS; wrong++) {
        struct move move = {.backend = backend, .make_host = make_host};
        int source[2], receiver[2];
        assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, source), 0);
        assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, receiver), 0);
        if (wrong == NOTHING)
            shutdown(receiver[0], SHUT_RDWR);
        else
            send_wrong(receiver[0], wrong);
        move.out.handover_socket = source[0];
        move.in.handover_socket = receiver[1];
        move_sandbox(sandbox, &move);
        if (move.in_rc != (wrong == NOTHING ? MF_E_CHANNEL : MF_E_PEER))
            fail_msg("%d: %d %s", wrong, move.in_rc, move.in_err.message);
        assert_int_equal(move.out_rc, MF_E_REFUSED);
        assert_int_equal(move.outcome, MF_MIGRATE_HERE);
        assert_null(move.received);
        for (int i = 0; i < 2; i++) {
            close(source[i]);
            close(receiver[i]);
        }
        assert_whole(sandbox);
    }
    assert_int_equal(count_descriptors(), before);
    mf_sandbox_destroy(sandbox);
}

/* A page that nobody owns is not zero: the receiver may not clear it, and does not take it. */
static void test_dirty_free_page(void **state)
{
    struct mf_sandbox *sandbox = create_keeper();
    struct move move = {.backend = backend};
    char byte = 1;
    int fd = -1;
    (void)state;
    count_files(&fd);
    assert_int_equal(pwrite(fd, &byte, 1, (off_t)MEMORY_BYTES - 1), 1);
    hand_over(sandbox, &move);
    assert_int_equal(move.in_rc, MF_E_PEER);
    assert_int_equal(move.out_rc, MF_E_REFUSED);
    assert_int_equal(move.outcome, MF_MIGRATE_HERE);
    byte = 0;
    assert_int_equal(pwrite(fd, &byte, 1, (off_t)MEMORY_BYTES - 1), 1);
    assert_whole(sandbox);
    move = (struct move){.backend = backend};
    hand_over(sandbox, &move);
    must_arrive(&move);
    mf_sandbox_destroy(sandbox);
    assert_whole(move.received);
    mf_sandbox_destroy(move.received);
}

/* The link is cut at each frame: it goes on here, or was committed and is not here any more. */
static void cut_at(int way, uint64_t at, bool *happened)
{
    static struct tap tap;
    struct mf_sandbox *sandbox = create_keeper();
    struct move move = {.backend = backend, .tap = &tap};
    struct mf_error err;
    memset(&tap, 0, sizeof tap);
    tap.event = TAP_CUT;
    tap.way = way;
    tap.at = at;
    hand_over(sandbox, &move);
    *happened = tap.happened;
    if (move.outcome == MF_MIGRATE_HERE) {
        assert_null(move.received);
        assert_whole(sandbox);
    } else {
        assert_true(tap_saw(&tap, TAP_IN, FRAME_LOADED));
        assert_int_equal(mf_sandbox_call(sandbox, "check", NULL, 0, NULL, &err), MF_E_MOVED);
    }
    mf_sandbox_destroy(sandbox);
    if (move.received) {
        assert_whole(move.received);
        mf_sandbox_destroy(move.received);
    }
}

static void test_cuts(void **state)
{
    static struct tap whole;
    struct mf_sandbox *sandbox = create_keeper();
    struct move move = {.backend = backend, .tap = &whole};
    bool happened;
    (void)state;
    memset(&whole, 0, sizeof whole);
    hand_over(sandbox, &move);
    must_arrive(&move);
    mf_sandbox_destroy(sandbox);
    mf_sandbox_destroy(move.received);
    assert_true(tap_saw(&whole, TAP_OUT, FRAME_COMMIT));
    assert_false(tap_saw(&whole, TAP_OUT, FRAME_PAGES));
    for (int way = 0; way < TAP_WAYS; way++)
        for (size_t i = 0; i < whole.ways[way].nframes; i++) {
            cut_at(way, whole.ways[way].frames[i].at, &happened);
            assert_true(happened);
            cut_at(way, whole.ways[way].frames[i].at + 9, &happened);
            assert_true(happened);
        }
}

int main(void)
{
    char path[4096];
    struct mf_backend_info info;
    struct mf_error err;
    backend = test_backend();
    other_backend = backend == MF_BACKEND_KVM ? MF_BACKEND_SOFT : MF_BACKEND_KVM;
    mf_backend_probe(other_backend, &info, NULL);
    if (!info.usable)
        other_backend = MF_BACKEND_AUTO;
    snprintf(path, sizeof path, "%s/migrate/musl", getenv("GUESTS"));
    if (mf_image_open(path, &image, &err) != 0) {
        fprintf(stderr, "%s: %s\n", path, err.message);
        return 1;
    }
    alarm(ALARM_S);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_file),       cmocka_unit_test(test_discard),
        cmocka_unit_test(test_snapshots),  cmocka_unit_test(test_idle),
        cmocka_unit_test(test_chain),      cmocka_unit_test(test_across),
        cmocka_unit_test(test_refused),    cmocka_unit_test(test_wrong_descriptors),
        cmocka_unit_test(test_cuts),       cmocka_unit_test(test_dirty_free_page),
        cmocka_unit_test(test_after_stream),
    };
    int failed = cmocka_run_group_tests_name("handover", tests, NULL, NULL);
    mf_image_close(image);
    return failed;
}
