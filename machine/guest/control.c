/*
 * What the host asks of the machine besides running: configure, load, look, change. The
 * exported functions of main.c and the unit tests call these.
 */
#include "core.h"

#include <stdlib.h>
#include <string.h>

#define MEMORY_DEFAULT (UINT64_C(16) << 20)
#define MEMORY_MOST    (UINT64_C(4) << 30)
#define STACK_MOST     (UINT32_C(8) << 20)
#define STACK_TOP      UINT32_C(0x80000000)
#define KDATA_ROOM     (UINT32_C(1) << 20)

void machine_init(struct machine *m, const struct machine_host *host)
{
    m->host = *host;
    m->random[RANDOM_STREAMS - 1].id = RANDOM_DEVICE;
    execute(m, NULL, NULL);
    native_init(m);
}

void machine_fini(struct machine *m)
{
    blocks_flush(m);
    profile_fini(m);
    native_fini(m);
    memory_fini(m);
    machine_program_free(&m->program);
}

bool control_configure(struct machine *m, const void *data, size_t len)
{
    struct machine_config config;

    if (len != sizeof(config) || m->configured)
        return false;
    memcpy(&config, data, sizeof(config));
    if (config.version != MACHINE_PROTOCOL_VERSION)
        return false;
    m->given = config;
    if (config.memory_bytes == 0)
        config.memory_bytes = MEMORY_DEFAULT;
    if (config.memory_bytes > MEMORY_MOST)
        config.memory_bytes = MEMORY_MOST;
    m->config = config;
    m->devices = config.devices;
    m->big_endian = config.big_endian != 0;
    m->delayed = config.delayed_branches != 0;
    m->configured = true;
    memory_init(m);
    cp0_reset(m);
    device_reset(m);
    return true;
}

/* A segment's region, and its bytes in it. */
static const char *load_segment(struct machine *m, const struct machine_segment *s)
{
    uint8_t rights = RIGHT_READ | (s->writable ? RIGHT_WRITE : 0) |
                     (s->executable ? RIGHT_EXECUTE : 0);
    uint32_t bytes = s->memory_bytes > s->bytes ? s->memory_bytes : s->bytes;

    if (bytes == 0)
        return NULL;
    if (!memory_add_region(m, s->address, s->address + (bytes - 1), rights))
        return "the program has more segments than the machine takes";
    if (s->kind == SEGMENT_DATA && s->address + bytes > m->heap_start &&
        s->address + bytes < MACHINE_STACK - STACK_MOST)
        m->heap_start = s->address + bytes;
    if (s->kind == SEGMENT_TEXT && s->address + bytes > m->text_end)
        m->text_end = s->address + bytes;
    return NULL;
}

/* What is there without being asked for: .extern and data, stack, the kernel's data. */
static void add_standard_regions(struct machine *m)
{
    uint64_t stack = m->config.memory_bytes / 2 < STACK_MOST ? m->config.memory_bytes / 2
                                                             : STACK_MOST;

    memory_add_region(m, MACHINE_EXTERN, MACHINE_HEAP - 1, RIGHT_READ | RIGHT_WRITE);
    memory_add_region(m, STACK_TOP - (uint32_t)stack, STACK_TOP - 1, RIGHT_READ | RIGHT_WRITE);
    memory_add_region(m, MACHINE_KDATA, MACHINE_KDATA + KDATA_ROOM - 1, RIGHT_READ | RIGHT_WRITE);
}

static const char *load_segments(struct machine *m)
{
    struct machine_program *p = &m->program;
    const char *why = NULL;

    m->heap_start = MACHINE_HEAP;
    for (size_t i = 0; i < p->nsegments && why == NULL; i++)
        why = load_segment(m, &p->segments[i]);
    m->heap_start = (m->heap_start + 15) & ~UINT32_C(15);
    m->heap_end = m->heap_start;
    add_standard_regions(m);
    for (size_t i = 0; i < p->nsegments && why == NULL; i++) {
        const struct machine_segment *s = &p->segments[i];
        if (memory_write(m, s->address, s->data, s->bytes, true) < s->bytes)
            why = "the program does not fit into the machine's memory";
    }
    return why;
}

/* Lines are for the host, and the bytes of segments are in memory now. */
static void drop_what_is_used(struct machine_program *p)
{
    for (size_t i = 0; i < p->nsegments; i++) {
        free(p->segments[i].data);
        p->segments[i].data = NULL;
    }
    free(p->lines);
    p->lines = NULL;
    p->nlines = 0;
}

const char *control_load(struct machine *m, const void *data, size_t len)
{
    const char *why = "the program is no image of this version";

    if (!m->configured)
        return "the machine was not configured";
    if (m->loaded)
        return "the machine has a program already";
    if (machine_image_decode(data, len, &m->program, &why) < 0)
        return why;
    m->loaded = true;
    m->simple = m->program.simple;
    if (m->program.big_endian)
        m->big_endian = true;
    if (m->program.delayed_branches)
        m->delayed = true;
    why = load_segments(m);
    drop_what_is_used(&m->program);
    cp0_reset(m);
    m->pc = m->program.entry;
    /* The simple dialect has neither data nor stack: its registers all begin as 0. */
    if (!m->simple) {
        m->r[28] = MACHINE_GP;
        m->r[29] = MACHINE_STACK;
    }
    if (m->program.returns)
        m->r[31] = MACHINE_RETURN;
    return why;
}

void control_state(struct machine *m, struct machine_state *state)
{
    memset(state, 0, sizeof(*state));
    memcpy(state->registers, m->r, sizeof(state->registers));
    state->hi = m->r[REG_HI];
    state->lo = m->r[REG_LO];
    state->pc = m->pc;
    state->next_pc = m->in_slot ? m->npc : m->pc + 4;
    for (unsigned i = 0; i < 32; i++)
        state->cp0[i] = cp0_read(m, i, 0);
    memcpy(state->fpu, m->f, sizeof(state->fpu));
    state->fcsr = m->fcsr;
    state->in_delay_slot = m->in_slot;
    state->executed = m->executed;
}

bool control_set_state(struct machine *m, const void *data, size_t len)
{
    struct machine_state state;

    if (len != sizeof(state))
        return false;
    memcpy(&state, data, sizeof(state));
    memcpy(m->r, state.registers, sizeof(state.registers));
    m->r[0] = 0;
    m->r[REG_HI] = state.hi;
    m->r[REG_LO] = state.lo;
    m->pc = state.pc;
    m->npc = state.next_pc;
    m->in_slot = m->delayed && state.in_delay_slot != 0;
    memcpy(m->f, state.fpu, sizeof(state.fpu));
    m->fcsr = state.fcsr & FCSR_WRITE;
    m->executed = state.executed;
    memcpy(m->cp0, state.cp0, sizeof(m->cp0));
    m->count_offset = state.cp0[CP0_COUNT] - (uint32_t)m->executed;
    m->timer_at = UINT64_MAX;
    if (state.cp0[CP0_COMPARE] != 0)
        m->timer_at = m->executed + (uint32_t)(state.cp0[CP0_COMPARE] - state.cp0[CP0_COUNT]);
    m->waiting = false;
    m->linked = false;
    cp0_mode_changed(m);
    memory_flush_lines(m);
    return true;
}

bool control_set_break(struct machine *m, uint32_t address, bool on)
{
    size_t i = 0;

    while (i < m->nbreaks && m->breaks[i] != address)
        i++;
    if (on && i == m->nbreaks) {
        if (m->nbreaks == BREAKS_MAX)
            return false;
        m->breaks[m->nbreaks++] = address;
    } else if (!on && i < m->nbreaks) {
        m->breaks[i] = m->breaks[--m->nbreaks];
    }
    m->flush_code = true;
    return true;
}

/* What the counts of instructions say together. */
static void add_up(const struct machine *m, struct machine_stats *stats)
{
    for (unsigned i = 0; i < ISA_COUNT; i++) {
        uint32_t flags = isa_table[i].flags;
        if (flags & (ISA_BRANCH | ISA_JUMP))
            stats->branches += m->counts[i];
        if (flags & ISA_JUMP)
            stats->taken += m->counts[i];
        if (flags & ISA_LOAD)
            stats->loads += m->counts[i];
        if (flags & ISA_STORE)
            stats->stores += m->counts[i];
    }
    stats->taken += m->taken;
}

size_t control_stats(struct machine *m, void *out, size_t size)
{
    struct machine_stats stats = {
        .executed = m->executed,
        .exceptions = m->exceptions,
        .system_calls = m->system_calls,
        .blocks = m->nblocks,
        .memory_bytes = m->npages << PAGE_BITS,
        .ncounts = ISA_COUNT,
    };
    size_t counts = ISA_COUNT * sizeof(m->counts[0]);

    if (size < sizeof(stats) + counts)
        return 0;
    blocks_harvest(m);
    add_up(m, &stats);
    memcpy(out, &stats, sizeof(stats));
    memcpy((uint8_t *)out + sizeof(stats), m->counts, counts);
    return sizeof(stats) + counts;
}
