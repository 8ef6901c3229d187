/*
 * Migration. The input is a list of changes to a conversation that is right: to what a source
 * says (the receiver is what is tested), or to what a receiver answers (the source is). Its
 * first byte says which, and whether the checksums are made right afterwards, or nobody would
 * ever get behind them. Each change: what to do, which frame, and for new bytes their place (two
 * bytes), how many, and they themselves.
 *
 * The guest's state is tests/unit/snapshot_build.h; its VM is one of this file, which runs
 * nothing: the linker puts __wrap_vm_backend_get in the place of vm_backend_get.
 */
#include "base/checked.h"
#include "migrate/wire.h"
#include "sandbox/sandbox.h"
#include "snapshot/digest.h"
#include "snapshot/encode.h"
#include "tests/fuzz/fuzz.h"
#include "tests/unit/snapshot_build.h"
#include "vm/paging.h"

#define FRAMES_MAX 64
#define CHANGES_MAX 24
#define STREAM_MOST (1u << 20)
#define MISSING_PAGES 3 /* of the heap, in the post-copy */
#define MEMORY_LIMIT (UINT64_C(4) << 20)

/* How the first byte chooses. */
enum { TO_SOURCE = 1, POSTCOPY = 2, AS_IT_IS = 4 };

/* ---- a VM that runs nothing ---- */

struct fake {
    struct vm vm;
    struct vm_state state;
};

static int fake_create(const struct vm_config *config, struct vm **out, struct mf_error *err);

static void fake_destroy(struct vm *vm)
{
    free(vm);
}

static int fake_map(struct vm *vm, mf_gva gva, uint64_t npages, unsigned prot,
                    struct mf_error *err)
{
    return paging_map(vm->mem, gva, npages, prot, err);
}

static int fake_map_at(struct vm *vm, mf_gva gva, mf_gpa gpa, uint64_t npages, unsigned prot,
                       struct mf_error *err)
{
    return paging_map_at(vm->mem, gva, gpa, npages, prot, err);
}

static void fake_protect(struct vm *vm, mf_gva gva, uint64_t npages, unsigned prot)
{
    paging_protect(vm->mem, gva, npages, prot, NULL, NULL);
}

static void fake_unmap(struct vm *vm, mf_gva gva, uint64_t npages)
{
    paging_unmap(vm->mem, gva, npages);
}

static void fake_discard(struct vm *vm, mf_gva gva, uint64_t npages)
{
    paging_discard(vm->mem, gva, npages);
}

static int fake_run(struct vm *vm, struct vm_exit *exit, struct mf_error *err)
{
    (void)vm;
    (void)err;
    memset(exit, 0, sizeof *exit);
    exit->kind = VM_EXIT_DEAD;
    return 0;
}

static void fake_interrupt(struct vm *vm)
{
    (void)vm;
}

static int fake_save(struct vm *vm, struct vm_state *state, struct mf_error *err)
{
    (void)err;
    *state = ((struct fake *)vm)->state;
    return 0;
}

static int fake_load(struct vm *vm, const struct vm_state *state, struct mf_error *err)
{
    (void)err;
    ((struct fake *)vm)->state = *state;
    return 0;
}

static int fake_dirty_start(struct vm *vm, struct mf_error *err)
{
    (void)vm;
    (void)err;
    return 0;
}

static int fake_dirty_collect(struct vm *vm, uint64_t *bitmap, struct mf_error *err)
{
    (void)vm;
    (void)bitmap;
    (void)err;
    return 0;
}

static int fake_dirty_clean(struct vm *vm, const uint64_t *bitmap, struct mf_error *err)
{
    (void)vm;
    (void)bitmap;
    (void)err;
    return 0;
}

static void fake_retable(struct vm *vm, const mf_gpa *stale, size_t n)
{
    (void)vm;
    (void)stale;
    (void)n;
}

static int fake_set_base(struct vm *vm, unsigned index, uint64_t base, struct mf_error *err)
{
    (void)err;
    ((struct fake *)vm)->state.segment_base[index] = base;
    return 0;
}

static uint64_t fake_get_base(struct vm *vm, unsigned index)
{
    return ((struct fake *)vm)->state.segment_base[index];
}

static const struct vm_ops fake_ops = {
    .name = "fake",
    .id = MF_BACKEND_SOFT,
    .create = fake_create,
    .destroy = fake_destroy,
    .map = fake_map,
    .map_at = fake_map_at,
    .protect = fake_protect,
    .unmap = fake_unmap,
    .discard = fake_discard,
    .run = fake_run,
    .interrupt = fake_interrupt,
    .save = fake_save,
    .load = fake_load,
    .dirty_start = fake_dirty_start,
    .dirty_collect = fake_dirty_collect,
    .dirty_clean = fake_dirty_clean,
    .retable = fake_retable,
    .set_segment_base = fake_set_base,
    .get_segment_base = fake_get_base,
};

static int fake_create(const struct vm_config *config, struct vm **out, struct mf_error *err)
{
    struct fake *fake = calloc(1, sizeof *fake);
    (void)err;
    CHECK(fake);
    fake->vm = (struct vm){.ops = &fake_ops, .mem = config->mem, .regs = &fake->state.regs};
    *out = &fake->vm;
    return 0;
}

int __wrap_vm_backend_get(enum mf_backend id, const struct vm_ops **out, struct mf_error *err);
int __wrap_vm_backend_get(enum mf_backend id, const struct vm_ops **out, struct mf_error *err)
{
    (void)id;
    (void)err;
    *out = &fake_ops;
    return 0;
}

/* ---- conversations that are right ---- */

struct said {
    uint16_t type, flags;
    uint32_t bytes;
    uint8_t *data;
};

struct talk {
    struct said frames[FRAMES_MAX];
    size_t n;
};

/* Of the source and of the receiver, without and with a post-copy. */
static struct talk sources[2], receivers[2];
static struct mf_image *image;

static void say(struct talk *talk, enum wire_type type, const void *data, size_t bytes)
{
    if (talk->n == FRAMES_MAX)
        return;
    struct said *frame = &talk->frames[talk->n++];
    *frame = (struct said){.type = (uint16_t)type, .bytes = (uint32_t)bytes};
    frame->data = malloc(bytes + 1);
    CHECK(frame->data);
    if (bytes > 0)
        memcpy(frame->data, data, bytes);
}

static void clear(struct talk *talk)
{
    for (size_t i = 0; i < talk->n; i++)
        free(talk->frames[i].data);
    talk->n = 0;
}

static void say_hello(struct talk *talk)
{
    const struct wire_hello hello = {.magic = WIRE_MAGIC,
                                     .version = WIRE_VERSION,
                                     .min_version = WIRE_MIN_VERSION,
                                     .capabilities = WIRE_ZSTD | WIRE_POSTCOPY,
                                     .arch = 62,
                                     .page_bytes = PAGE_BYTES,
                                     .tool = "fuzz"};
    say(talk, WIRE_HELLO, &hello, sizeof hello);
}

static void say_offer(struct talk *talk, const struct snap_build *b)
{
    struct {
        struct wire_offer offer;
        char words[8];
    } body = {
        .offer = {.memory_bytes = b->saved.memory_bytes, .stack_bytes = b->saved.stack_bytes,
                  .mailbox_bytes = b->saved.mailbox_bytes, .image_bytes = b->image->len,
                  .backend = MF_BACKEND_KVM, .name_bytes = 5, .label_bytes = 3},
        .words = "builtlab",
    };
    struct digest digest;
    digest_init(&digest);
    digest_add(&digest, b->image->bytes, b->image->len);
    digest_fini(&digest, body.offer.image_digest);
    say(talk, WIRE_OFFER, &body, sizeof body);
}

/* One page a frame, so that changes find them. */
static void say_page(struct talk *talk, const struct snap_build *b, uint32_t page)
{
    static uint8_t body[sizeof(struct wire_pages) + sizeof(struct wire_run) + PAGE_BYTES];
    const struct wire_pages head = {.nruns = 1, .ndata = 1};
    const struct wire_run run = {.first = page, .npages = 1, .kind = WIRE_DATA};
    memcpy(body, &head, sizeof head);
    memcpy(body + sizeof head, &run, sizeof run);
    memcpy(body + sizeof head + sizeof run, mem_at(&b->mem, (mf_gpa)page << PAGE_SHIFT),
           PAGE_BYTES);
    say(talk, WIRE_PAGES, body, sizeof body);
}

static bool is_late(const struct snap_build *b, uint32_t page, bool postcopy)
{
    return postcopy && page - (uint32_t)(b->heap >> PAGE_SHIFT) < MISSING_PAGES;
}

static void say_missing(struct talk *talk, const struct snap_build *b)
{
    struct {
        struct wire_missing head;
        uint64_t words[SNAP_BUILD_MEMORY / PAGE_BYTES / 64];
    } body = {0};
    for (uint32_t page = 0; page < SNAP_BUILD_MEMORY / PAGE_BYTES; page++)
        if (is_late(b, page, true))
            body.words[page / 64] |= UINT64_C(1) << page % 64;
    say(talk, WIRE_MISSING, &body, sizeof body);
}

static void build_source(struct talk *talk, const struct snap_build *b, bool postcopy)
{
    const uint64_t round = 1;
    struct wire_state state = {.app_bytes = 3, .missing = postcopy ? MISSING_PAGES : 0,
                               .timeout_left_ns = UINT64_C(1) << 40};
    uint8_t *bytes;
    size_t len;
    say_hello(talk);
    say_offer(talk, b);
    say(talk, WIRE_BYTES, b->image->bytes, b->image->len);
    for (uint32_t page = 0; page < b->mem.next; page++)
        if (!snap_bytes_are_zero(mem_at(&b->mem, (mf_gpa)page << PAGE_SHIFT)) &&
            !is_late(b, page, postcopy))
            say_page(talk, b, page);
    say(talk, WIRE_ROUND, &round, sizeof round);
    CHECK(state_encode(&b->saved, &bytes, &len, NULL) == 0);
    state.state_bytes = len;
    say(talk, WIRE_STATE, &state, sizeof state);
    say(talk, WIRE_BYTES, bytes, len);
    say(talk, WIRE_BYTES, "app", 3);
    free(bytes);
    if (postcopy)
        say_missing(talk, b);
    say(talk, WIRE_COMMIT, NULL, 0);
    for (uint32_t page = 0; page < b->mem.next; page++)
        if (is_late(b, page, postcopy))
            say_page(talk, b, page);
    if (postcopy)
        say(talk, WIRE_ROUND, &round, sizeof round);
}

static void build_receiver(struct talk *talk, bool postcopy)
{
    const struct wire_want want = {.image = 1};
    const uint64_t page = 40;
    say_hello(talk);
    say(talk, WIRE_WANT, &want, sizeof want);
    say(talk, WIRE_PREPARED, NULL, 0);
    for (uint64_t round = 1; round < (postcopy ? 3 : 2); round++)
        say(talk, WIRE_ROUND_DONE, &round, sizeof round);
    say(talk, WIRE_LOADED, NULL, 0);
    say(talk, WIRE_RUNNING, NULL, 0);
    if (!postcopy)
        return;
    for (uint64_t round = 1; round < 3; round++) {
        say(talk, WIRE_REQUEST, &page, sizeof page);
        say(talk, WIRE_ROUND_DONE, &round, sizeof round);
    }
    say(talk, WIRE_COMPLETE, NULL, 0);
}

static void build_all(void)
{
    struct snap_build b;
    snap_build(&b);
    image = mf_image_hold(b.image);
    for (int postcopy = 0; postcopy < 2; postcopy++) {
        build_source(&sources[postcopy], &b, postcopy);
        build_receiver(&receivers[postcopy], postcopy);
    }
    snap_build_fini(&b);
}

/* ---- changing them ---- */

enum { CHANGE_BYTES, CHANGE_DROP, CHANGE_TWICE, CHANGE_LENGTH, CHANGE_TYPE, CHANGES };

static void copy_talk(struct talk *to, const struct talk *from)
{
    to->n = 0;
    for (size_t i = 0; i < from->n; i++) {
        say(to, from->frames[i].type, from->frames[i].data, from->frames[i].bytes);
        to->frames[i].flags = from->frames[i].flags;
    }
}

static void set_length(struct said *frame, uint32_t bytes)
{
    uint8_t *data = calloc(1, bytes + 1);
    CHECK(data);
    memcpy(data, frame->data, MIN(bytes, frame->bytes));
    free(frame->data);
    frame->data = data;
    frame->bytes = bytes;
}

static void change(struct talk *talk, const uint8_t *data, size_t size)
{
    for (unsigned n = 0; size >= 6 && talk->n > 0 && n < CHANGES_MAX; n++) {
        size_t which = data[1] % talk->n, place = data[2] | (size_t)data[3] << 8;
        size_t len = MIN((size_t)data[4] % 32 + 1, size - 5);
        struct said *frame = &talk->frames[which];
        switch (data[0] % CHANGES) {
        case CHANGE_BYTES:
            if (frame->bytes > 0) {
                place %= frame->bytes;
                memcpy(frame->data + place, data + 5, MIN(len, frame->bytes - place));
            }
            break;
        case CHANGE_DROP:
            free(frame->data);
            memmove(frame, frame + 1, (talk->n - which - 1) * sizeof *frame);
            talk->n--;
            break;
        case CHANGE_TWICE:
            say(talk, frame->type, frame->data, frame->bytes);
            break;
        case CHANGE_LENGTH:
            set_length(frame, (uint32_t)place);
            break;
        case CHANGE_TYPE:
            frame->type = data[2];
            frame->flags = data[3];
            break;
        default:
            break;
        }
        data += 5 + len;
        size -= 5 + len;
    }
}

/* ---- a channel ---- */

struct player {
    uint8_t *bytes;
    size_t len, at;
};

/* With right checksums, or with those of something else. */
static void play(struct player *player, const struct talk *talk, bool right)
{
    *player = (struct player){.bytes = malloc(STREAM_MOST)};
    CHECK(player->bytes);
    for (size_t i = 0; i < talk->n; i++) {
        const struct said *frame = &talk->frames[i];
        struct wire_head head = {
            .type = frame->type, .flags = frame->flags, .bytes = frame->bytes};
        uint64_t parts[2] = {checksum_of(&head, sizeof head),
                             checksum_of(frame->data, frame->bytes)};
        if (player->len + sizeof head + frame->bytes > STREAM_MOST)
            break;
        head.checksum = checksum_of(parts, sizeof parts) + !right;
        memcpy(player->bytes + player->len, &head, sizeof head);
        memcpy(player->bytes + player->len + sizeof head, frame->data, frame->bytes);
        player->len += sizeof head + frame->bytes;
    }
}

static long read_played(void *context, void *data, size_t len, int timeout_ms,
                        struct mf_error *err)
{
    struct player *player = context;
    (void)timeout_ms;
    (void)err;
    len = MIN(len, player->len - player->at);
    memcpy(data, player->bytes + player->at, len);
    player->at += len;
    return (long)len;
}

static long write_nowhere(void *context, const void *data, size_t len, int timeout_ms,
                          struct mf_error *err)
{
    const volatile uint8_t *bytes = data;
    (void)context;
    (void)timeout_ms;
    (void)err;
    /* The sanitizer says whether they are there. */
    (void)bytes[0];
    (void)bytes[len - 1];
    return (long)len;
}

/* ---- both sides ---- */

static int host_function(struct mf_sandbox *sandbox, void *context, const struct mf_value *args,
                         struct mf_value *result, struct mf_error *err)
{
    (void)sandbox;
    (void)context;
    (void)args;
    (void)result;
    (void)err;
    return 0;
}

static int take_it(void *context, const struct mf_migrate_offer *offer, struct mf_host **host,
                   struct mf_sandbox_options *options, struct mf_error *err)
{
    (void)context;
    options->backend = MF_BACKEND_SOFT;
    for (size_t i = 0; i < offer->label_len; i++)
        (void)((const volatile uint8_t *)offer->label)[i];
    int rc = mf_host_create(host, err);
    if (rc == 0)
        rc = mf_host_add(*host, "u64 clock()", host_function, NULL, err);
    if (rc == 0)
        rc = mf_host_add(*host, "void print(string text)", host_function, NULL, err);
    return rc;
}

static void look_up(void *context, mf_gva gva, const struct pt_page *page)
{
    struct mem *mem = context;
    struct pt_page again;
    CHECK(page->gpa < mem->bytes);
    CHECK(pt_lookup(mem, gva, &again) && again.gpa == page->gpa);
}

/* Which its VM cannot, so this is an error: of the VM, or that it is not here. */
static int go_on(struct mf_sandbox *sandbox)
{
    const struct mf_value number = mf_i32(1);
    struct mf_error err;
    if (mf_sandbox_stopped(sandbox) == MF_STOPPED_NOTHING)
        return mf_sandbox_call_index(sandbox, 0, &number, 1, NULL, &err);
    return mf_sandbox_resume(sandbox, NULL, NULL, &err);
}

/* A sandbox that came in: what the host believes of it holds. */
static void use(struct mf_sandbox *sandbox)
{
    struct mf_error err;
    int rc = mf_migrate_wait(sandbox, UINT64_C(5000000000), &err);
    CHECK(rc == 0 || rc == MF_E_MOVED);
    pt_each(&sandbox->mem, look_up, &sandbox->mem);
    CHECK(go_on(sandbox) != 0);
}

static struct mf_sandbox *receive(const struct talk *talk, bool right, struct player *player)
{
    const struct mf_channel channel = {sizeof channel, player, read_played, write_nowhere};
    const struct mf_migrate_in_options options = {
        .size = sizeof options, .accept = take_it, .memory_limit = MEMORY_LIMIT};
    struct mf_sandbox *sandbox;
    struct mf_error err;
    play(player, talk, right);
    int rc = mf_migrate_in(&channel, &options, &sandbox, &err);
    CHECK((rc == 0) == (sandbox != NULL));
    CHECK(rc == 0 || (err.code == rc && err.message[0]));
    return sandbox;
}

static void test_receiver(const struct talk *talk, bool right, bool unchanged)
{
    struct player player;
    struct mf_sandbox *sandbox = receive(talk, right, &player);
    CHECK(right || !sandbox);
    CHECK(sandbox || !right || !unchanged);
    if (sandbox)
        use(sandbox);
    mf_sandbox_destroy(sandbox);
    free(player.bytes);
}

static void test_source(const struct talk *talk, bool right, bool postcopy,
                        bool unchanged)
{
    struct player player, making;
    struct mf_sandbox *sandbox = receive(&sources[0], true, &making);
    const struct mf_channel channel = {sizeof channel, &player, read_played, write_nowhere};
    const struct mf_migrate_options options = {
        .size = sizeof options, .postcopy = postcopy, .downtime_limit_ns = postcopy ? 1 : 0};
    enum mf_migrate_outcome outcome;
    struct mf_error err;
    CHECK(sandbox);
    play(&player, talk, right);
    int rc = mf_migrate_out(sandbox, &channel, &options, &outcome, NULL, &err);
    CHECK((rc == 0) == (outcome == MF_MIGRATE_THERE));
    CHECK(rc == 0 || (err.code == rc && err.message[0]));
    CHECK(right || outcome == MF_MIGRATE_HERE);
    CHECK(rc == 0 || !right || !unchanged);
    /* Where it is not any more, it does not go on. */
    rc = go_on(sandbox);
    CHECK(rc != 0 && (outcome == MF_MIGRATE_HERE) == (rc != MF_E_MOVED));
    mf_sandbox_destroy(sandbox);
    free(player.bytes);
    free(making.bytes);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct talk talk;
    if (!image)
        build_all();
    if (size == 0)
        return 0;
    bool postcopy = data[0] & POSTCOPY, right = !(data[0] & AS_IT_IS);
    const struct talk *from = data[0] & TO_SOURCE ? receivers : sources;
    copy_talk(&talk, &from[postcopy]);
    change(&talk, data + 1, size - 1);
    if (data[0] & TO_SOURCE)
        test_source(&talk, right, postcopy, size == 1);
    else
        test_receiver(&talk, right, size == 1);
    clear(&talk);
    return 0;
}
