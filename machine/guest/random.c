/*
 * Random numbers of the system calls 40 to 44 and of the device. The generator is the
 * linear congruential one that Java documents, because MARS has it: a program with a seed
 * of its own prints here what it prints there. A stream that nobody seeded draws its seed
 * from the host, and again after a restore, so that clones differ.
 */
#include "core.h"

#include <string.h>

#define MASK48 ((UINT64_C(1) << 48) - 1)

static void seed_state(struct random_stream *stream, uint64_t seed)
{
    stream->state = (seed ^ UINT64_C(0x5deece66d)) & MASK48;
}

/* The slot of a stream; with more streams than slots, the last one is shared. */
static struct random_stream *slot_of(struct machine *m, uint32_t id)
{
    size_t i = 0;

    while (i < RANDOM_STREAMS - 1 && m->random[i].used && m->random[i].id != id)
        i++;
    m->random[i].id = id;
    return &m->random[i];
}

static struct random_stream *stream_of(struct machine *m, uint32_t id)
{
    struct random_stream *stream = slot_of(m, id);

    if (m->forked) {
        for (size_t i = 0; i < RANDOM_STREAMS; i++)
            m->random[i].used = m->random[i].used && m->random[i].seeded;
        m->forked = false;
        stream = slot_of(m, id);
    }
    if (!stream->used) {
        uint8_t fresh[32];
        uint64_t seed = m->config.random_seed + id;
        if (m->config.random_seed == 0) {
            m->host.entropy(m->host.context, fresh);
            memcpy(&seed, fresh, sizeof(seed));
        }
        stream->used = true;
        stream->seeded = m->config.random_seed != 0;
        seed_state(stream, seed);
    }
    return stream;
}

void random_seed(struct machine *m, uint32_t id, uint32_t seed)
{
    struct random_stream *stream = slot_of(m, id);

    stream->used = true;
    stream->seeded = true;
    seed_state(stream, (uint64_t)(int64_t)(int32_t)seed);
}

uint32_t random_bits(struct machine *m, uint32_t id, unsigned bits)
{
    struct random_stream *stream = stream_of(m, id);

    stream->state = (stream->state * UINT64_C(0x5deece66d) + 11) & MASK48;
    return (uint32_t)(stream->state >> (48 - bits));
}

/* From 0 to `bound` - 1, each as likely; `bound` is 1 to 2^31 - 1. */
uint32_t random_below(struct machine *m, uint32_t id, uint32_t bound)
{
    if ((bound & (bound - 1)) == 0)
        return (uint32_t)((uint64_t)bound * random_bits(m, id, 31) >> 31);
    for (;;) {
        uint32_t bits = random_bits(m, id, 31);
        uint32_t value = bits % bound;
        if (bits - value + (bound - 1) < UINT32_C(0x80000000))
            return value;
    }
}
