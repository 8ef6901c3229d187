/*
 * The host's side of the rings against a simple queue: a guest made of C, which keeps to
 * abi/mailbox.h, answers what is posted, in any rhythm that the contract allows. Then against
 * a guest that writes anything anywhere at any time.
 */
#include "sandbox/ring.h"

#include "base/checked.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define RING_BYTES 4096u
#define QUEUE_MAX 64
#define STEPS 20000
#define CHUNK_BYTES_MAX (UINT64_C(1) << 20)

/* A call or an answer as both sides should see it. */
struct entry {
    uint64_t id;
    uint64_t len; /* of its one value, */
    uint8_t fill; /* each byte of it */
};

/* Both sides, and the model between them. */
struct both {
    struct mem mem;
    struct rings rings;
    struct arena arena;
    uint64_t guest_call_head; /* the guest's own */
    struct entry queue[QUEUE_MAX];
    unsigned first, answered, posted; /* counters: taken, answered, posted */
    uint64_t next_id, random, seed;
};

static uint64_t next_random(struct both *b)
{
    b->random ^= b->random << 13;
    b->random ^= b->random >> 7;
    b->random ^= b->random << 17;
    return b->random;
}

static struct entry *entry_of(struct both *b, unsigned number)
{
    return &b->queue[number % QUEUE_MAX];
}

/* Each area is an allocation of its own, so that a sanitizer sees a step beside it. */
static void both_init(struct both *b, uint64_t seed)
{
    memset(b, 0, sizeof *b);
    b->seed = seed;
    b->random = seed * 0x9e3779b97f4a7c15u | 1;
    b->rings.mem = &b->mem;
    b->rings.control = calloc(1, sizeof *b->rings.control);
    b->rings.call = (struct mailbox_area){.base = calloc(1, RING_BYTES), .size = RING_BYTES};
    b->rings.result = (struct mailbox_area){.base = calloc(1, RING_BYTES), .size = RING_BYTES};
    assert_true(b->rings.control && b->rings.call.base && b->rings.result.base);
    assert_int_equal(arena_init(&b->arena, 4 * RING_BYTES, NULL), 0);
}

static void both_fini(struct both *b)
{
    arena_fini(&b->arena);
    free(b->rings.control);
    free(b->rings.call.base);
    free(b->rings.result.base);
}

#define CHECK(b, condition)                                                                  \
    do {                                                                                     \
        if (!(condition))                                                                    \
            fail_msg("seed %llu: %s", (unsigned long long)(b)->seed, #condition);            \
    } while (0)

/* ---- the guest ---- */

static void copy_out(void *dst, const struct mailbox_area *area, uint64_t index, uint64_t len)
{
    for (uint64_t i = 0; i < len; i++)
        ((uint8_t *)dst)[i] = area->base[(index + i) % area->size];
}

static void copy_in(struct mailbox_area *area, uint64_t index, const void *src, uint64_t len)
{
    for (uint64_t i = 0; i < len; i++)
        area->base[(index + i) % area->size] = ((const uint8_t *)src)[i];
}

static bool all_bytes(const struct mf_value *value, const struct entry *entry)
{
    const uint8_t *at = value->bytes.data;
    if (value->type != MF_BYTES || value->bytes.len != entry->len)
        return false;
    for (uint64_t i = 0; i < entry->len; i++)
        if (at[i] != entry->fill)
            return false;
    return true;
}

static struct frame frame_of(struct mf_value *value, const struct entry *entry, uint16_t kind,
                             uint8_t *bytes)
{
    memset(bytes, entry->fill, entry->len);
    *value = mf_bytes(bytes, entry->len);
    return (struct frame){
        .header = {.kind = kind, .id = entry->id},
        .size = (uint32_t)codec_frame_size(value, 1, NULL),
        .values = value,
        .n = 1,
    };
}

/* Answers one call if there is one and its answer has room. */
static bool guest_answer(struct both *b)
{
    struct mf_abi_control *control = b->rings.control;
    _Alignas(16) uint8_t bytes[RING_BYTES], data[RING_BYTES];
    struct mf_value value;
    size_t n;
    if (control->call_tail == b->guest_call_head)
        return false;
    struct entry *entry = entry_of(b, b->answered);
    struct mf_abi_frame header;
    copy_out(&header, &b->rings.call, b->guest_call_head, sizeof header);
    CHECK(b, header.kind == MF_ABI_FRAME_CALL && header.id == entry->id);
    CHECK(b, header.size <= control->call_tail - b->guest_call_head);
    copy_out(bytes, &b->rings.call, b->guest_call_head, header.size);
    CHECK(b, codec_decode(bytes, header.size, &value, &n, NULL, NULL) == 0 && n == 1);
    CHECK(b, all_bytes(&value, entry));

    /* Of another length than the call. */
    struct entry answer = {entry->id, next_random(b) % 1500, (uint8_t)next_random(b)};
    struct frame frame = frame_of(&value, &answer, MF_ABI_FRAME_RESULT, data);
    if (control->result_tail - control->result_head + frame.size > RING_BYTES)
        return false;
    memset(bytes, 0, sizeof bytes);
    codec_encode(bytes, frame.size, &frame.header, frame.values, frame.n, NULL);
    copy_in(&b->rings.result, control->result_tail, bytes, frame.size);
    control->result_tail += frame.size;
    b->guest_call_head += header.size;
    control->call_head = b->guest_call_head;
    *entry = answer;
    b->answered++;
    return true;
}

/* ---- the host, as call.c, batch.c and attend.c use the rings ---- */

static void post(struct both *b, bool may_wrap)
{
    uint8_t data[RING_BYTES];
    struct mf_value value;
    uint64_t room = may_wrap ? RING_BYTES : ring_room(&b->rings);
    struct entry entry = {++b->next_id, 0, (uint8_t)next_random(b)};
    struct frame frame = frame_of(&value, &entry, MF_ABI_FRAME_CALL, data);
    if (frame.size > room)
        return;
    entry.len = next_random(b) % (room - frame.size + 1);
    if (next_random(b) % 2)
        entry.len %= 200;
    frame = frame_of(&value, &entry, MF_ABI_FRAME_CALL, data);
    if (frame.size > room)
        return;
    struct arena_mark before = arena_mark(&b->arena);
    CHECK(b, ring_post(&b->rings, &frame, &b->arena, NULL) == 0);
    CHECK(b, arena_mark(&b->arena).used == before.used);
    CHECK(b, b->rings.control->call_tail == b->rings.call_tail);
    *entry_of(b, b->posted++) = entry;
}

static void take(struct both *b)
{
    struct mf_abi_frame *frame;
    struct mf_value value;
    size_t n;
    bool there = b->first != b->answered;
    CHECK(b, ring_has_answer(&b->rings) == there);
    struct arena_mark mark = arena_mark(&b->arena);
    CHECK(b, ring_take(&b->rings, &b->arena, &frame, NULL) == (there ? 1 : 0));
    if (!there)
        return;
    struct entry *entry = entry_of(b, b->first++);
    CHECK(b, frame->kind == MF_ABI_FRAME_RESULT && frame->id == entry->id);
    CHECK(b, codec_decode((const uint8_t *)frame, frame->size, &value, &n, NULL, NULL) == 0);
    CHECK(b, n == 1 && all_bytes(&value, entry));
    arena_release(&b->arena, mark);
}

static void reset(struct both *b)
{
    ring_reset(&b->rings);
    b->guest_call_head = 0;
    CHECK(b, b->rings.control->call_head == 0 && b->rings.control->result_tail == 0);
    CHECK(b, ring_room(&b->rings) == RING_BYTES && !ring_has_answer(&b->rings));
}

static void play(struct both *b)
{
    unsigned wraps = 0, resets = 0;
    for (int step = 0; step < STEPS; step++) {
        bool quiet = b->first == b->posted;
        switch (next_random(b) % 8) {
        case 0:
        case 1:
            /* Behind each other only from the start of the ring to its end. */
            if (quiet) {
                wraps += b->rings.call_tail > RING_BYTES;
                post(b, true);
            } else if (b->posted - b->first < QUEUE_MAX && b->rings.call_tail < RING_BYTES) {
                post(b, false);
            }
            break;
        case 2:
            if (quiet && next_random(b) % 4 == 0) {
                resets++;
                reset(b);
            }
            break;
        case 3:
        case 4:
            guest_answer(b);
            break;
        case 5:
            while (guest_answer(b))
                ;
            break;
        default:
            take(b);
            break;
        }
        CHECK(b, b->arena.used == 0 && b->arena.chunks == NULL);
    }
    /* Otherwise the steps above were not those that were to be tested. */
    CHECK(b, wraps > 100 && resets > 100 && b->posted > 1000);
}

static const uint64_t seeds[] = {1, 2, 3, 42, 1234567, 0xfeedbeef, UINT64_C(1) << 60};

static void test_against_queue(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(seeds); i++) {
        struct both b;
        both_init(&b, seeds[i]);
        play(&b);
        both_fini(&b);
    }
}

/* ---- a hostile guest ---- */

static uint64_t odd_number(struct both *b)
{
    static const uint64_t edges[] = {0, 32, 63, 64, 4095, 4096, 4160, 65536, UINT64_MAX,
                                     UINT64_MAX - 63, UINT64_C(1) << 63, 0xffffffff};
    uint64_t r = next_random(b);
    if (r % 3 == 0)
        return r >> (r >> 8) % 64;
    if (r % 3 == 1)
        return edges[(r >> 8) % ARRAY_LEN(edges)] + (r >> 16) % 3 - 1;
    return 64 * ((r >> 8) % 80);
}

static void vandalize(struct both *b)
{
    struct mf_abi_control *control = b->rings.control;
    uint64_t *indices[] = {&control->call_tail, &control->call_head, &control->result_tail,
                           &control->result_head};
    uint64_t r = next_random(b);
    if (r % 4 == 0)
        *indices[r >> 8 & 3] = odd_number(b);
    if (r % 4 == 1)
        control->result_tail = b->rings.result_head + odd_number(b);
    if (r % 4 == 2) {
        /* A frame that is nearly one, where the host looks next. */
        struct mf_abi_frame header = {
            .size = (uint32_t)odd_number(b),
            .kind = (uint16_t)(next_random(b) % 5),
            .count = (uint16_t)(next_random(b) % 40),
            .id = odd_number(b),
        };
        copy_in(&b->rings.result, b->rings.result_head, &header, sizeof header);
    }
    for (unsigned i = 0; i < (r >> 16) % 64; i++) {
        uint64_t word = odd_number(b);
        copy_in(&b->rings.result, next_random(b), &word, sizeof word);
    }
}

static void check_frame(struct both *b, const struct mf_abi_frame *frame)
{
    struct mf_value values[MF_ABI_PARAMS_MAX];
    struct codec_references references;
    size_t n;
    CHECK(b, frame->size >= sizeof *frame && frame->size <= RING_BYTES);
    CHECK(b, frame->size % MF_ABI_FRAME_ALIGN == 0 && frame->count <= MF_ABI_PARAMS_MAX);
    CHECK(b, (uintptr_t)frame % 16 == 0);
    /* Reads all of the copy that values stand in, and no more: a sanitizer looks. */
    int rc = codec_decode((const uint8_t *)frame, frame->size, values, &n, &references, NULL);
    CHECK(b, rc == 0 || rc == MF_E_PROTOCOL);
}

static void test_hostile_guest(void **state)
{
    (void)state;
    unsigned taken = 0, refused = 0;
    for (size_t i = 0; i < ARRAY_LEN(seeds); i++) {
        struct both b;
        both_init(&b, seeds[i]);
        for (int step = 0; step < STEPS; step++) {
            struct mf_abi_frame *frame;
            struct mf_error err = {0};
            vandalize(&b);
            uint64_t head = b.rings.result_head;
            int rc = ring_take(&b.rings, &b.arena, &frame, &err);
            if (rc == 1) {
                check_frame(&b, frame);
                CHECK(&b, b.rings.result_head == head + frame->size);
                taken++;
            } else if (rc != 0) {
                CHECK(&b, rc == MF_E_PROTOCOL && err.code == rc && err.message[0]);
                CHECK(&b, b.rings.result_head == head);
                refused++;
            }
            CHECK(&b, b.arena.chunk_bytes <= CHUNK_BYTES_MAX);
            /* The indices that are the host's are its own, whatever stands in the page. */
            uint64_t tail = b.rings.call_tail;
            post(&b, true);
            CHECK(&b, b.rings.call_tail >= tail && b.rings.call_tail - tail <= RING_BYTES);
            arena_reset(&b.arena);
            if (next_random(&b) % 50 == 0)
                ring_reset(&b.rings);
        }
        both_fini(&b);
    }
    assert_true(taken > 1000 && refused > 1000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_against_queue),
        cmocka_unit_test(test_hostile_guest),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
