/*
 * run(): executes so many instructions, exactly. Between calls of the fast loop it takes
 * interrupts, handles what left the loop, and drops stale blocks. A budget for the loop
 * ends where the slice ends or where a timer or device wants attention, so interrupts
 * come at the same instruction on every run, however the slices are cut.
 *
 * No interrupt is taken between a branch and its delay slot.
 */
#include "core.h"

#include <stdio.h>
#include <string.h>

#define CHUNK_MOST (UINT64_C(1) << 30)

void cpu_stop(struct machine *m, enum machine_stop_reason reason, int32_t code)
{
    m->stopping = true;
    m->attention = true;
    m->stop->reason = reason;
    m->stop->code = code;
}

static uint64_t least(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static void spend(struct machine *m, uint64_t instructions)
{
    m->executed += instructions;
    m->run_left -= instructions;
}

/* In `wait`: time passes up to the next event; an instruction of nothing at a time. */
static void idle(struct machine *m)
{
    uint64_t next = least(cp0_timer_distance(m), device_distance(m));
    bool listens = (m->console.receiver_control & 2) != 0;

    if (m->cp0[CP0_CAUSE] & m->cp0[CP0_STATUS] & STATUS_IM) {
        m->waiting = false;
    } else if (cp0_timer_distance(m) == UINT64_MAX && listens &&
               m->console.look_at != UINT64_MAX && m->console.sent_at == UINT64_MAX) {
        m->console.look_at = m->executed; /* look at once when run() is called again */
        cpu_stop(m, MACHINE_WAIT, 0);
    } else if (next == UINT64_MAX) {
        fault_plain(m, EXC_INT, "wait: nothing can interrupt it");
        cpu_stop(m, MACHINE_FAULT, EXC_INT);
        m->stop->pc = m->pc;
        snprintf(m->stop->text, sizeof(m->stop->text), "%s", m->fault.why);
    } else {
        spend(m, least(next == 0 ? 1 : next, m->run_left));
    }
}

static bool is_break(const struct machine *m, uint32_t address)
{
    for (size_t i = 0; i < m->nbreaks; i++)
        if (m->breaks[i] == address)
            return true;
    return false;
}

/* Falling off the end of the text ends a simple program. */
static bool off_the_end(const struct machine *m)
{
    return m->simple && m->fault.code == EXC_IBE && m->fault.address == m->text_end;
}

/* So does the return of main. */
static bool returned(const struct machine *m)
{
    return m->program.returns && m->fault.code == EXC_IBE && m->fault.address == MACHINE_RETURN;
}

static void fetch_failed(struct machine *m)
{
    if (off_the_end(m) || returned(m))
        cpu_stop(m, MACHINE_EXIT, 0);
    else
        cp0_raise(m);
}

/* Behind the instruction at pc, which was no branch. */
static void advance(struct machine *m)
{
    m->pc = m->in_slot ? m->npc : m->pc + 4;
    m->in_slot = false;
}

static void run_system(struct machine *m)
{
    uint32_t word;
    enum isa_insn insn = memory_fetch(m, m->pc, &word) ? isa_decode(word) : ISA_UNKNOWN;
    enum outcome outcome = insn == ISA_UNKNOWN ? OUTCOME_FAULT : system_run(m, insn);

    switch (outcome) {
    case OUTCOME_NEXT:
        advance(m);
        break;
    case OUTCOME_JUMP:
        break;
    case OUTCOME_FAULT:
        cp0_raise(m);
        break;
    case OUTCOME_AGAIN: /* it did not happen */
        m->executed--;
        m->run_left++;
        m->counts[insn]--;
        profile_add(m, m->pc, UINT64_MAX);
        m->system_calls--;
        cpu_stop(m, MACHINE_WAIT, 0);
    }
}

/* Enters the fast loop for at most `chunk` instructions. True: a block did not fit. */
static bool run_blocks(struct machine *m, enum block_kind kind, uint64_t chunk)
{
    struct block *b = block_find(m, m->pc, kind);
    int64_t budget = (int64_t)chunk;

    if (b == NULL) {
        fetch_failed(m);
        return false;
    }
    m->chunk = budget;
    m->fetch_failed = false;
    m->attention = false;
    fpu_enter(m);
    enum leave why = execute(m, b, &budget);
    fpu_leave();
    spend(m, chunk - (uint64_t)budget);
    m->chunk = m->behind = 0;
    switch (why) {
    case LEAVE_SYSTEM:
        run_system(m);
        break;
    case LEAVE_FAULT:
        if (m->fetch_failed)
            fetch_failed(m);
        else
            cp0_raise(m);
        break;
    case LEAVE_BREAK:
        cpu_stop(m, MACHINE_BREAK, 0);
        break;
    case LEAVE_BUDGET:
        return budget > 0 && !m->attention;
    case LEAVE_NEXT:
        break;
    }
    return false;
}

/* One instruction, or what takes its place. */
static void run_one(struct machine *m)
{
    struct trace trace;

    if (m->tracing)
        trace_before(m, &trace);
    uint64_t before = m->executed;
    run_blocks(m, m->in_slot ? BLOCK_STEP_SLOT : BLOCK_STEP, 1);
    if (m->tracing && m->executed != before)
        trace_after(m, &trace);
}

/* Up to the next event or the end of the slice. */
static void run_some(struct machine *m, bool first)
{
    uint64_t chunk = least(m->run_left, CHUNK_MOST);

    chunk = least(chunk, least(cp0_timer_distance(m), device_distance(m)));
    chunk = least(chunk, console_distance(m));
    if (chunk == 0)
        chunk = 1;
    bool step = m->tracing || m->in_slot || (first && is_break(m, m->pc));
    if (!step && !run_blocks(m, BLOCK_WHOLE, chunk))
        return;
    /* What is left of the chunk is less than a block. */
    if (!first && is_break(m, m->pc))
        cpu_stop(m, MACHINE_BREAK, 0);
    else
        run_one(m);
}

void cpu_run(struct machine *m, uint64_t instructions, struct machine_stop *stop)
{
    uint64_t start = m->executed;
    bool first = true;

    memset(stop, 0, sizeof(*stop));
    m->stop = stop;
    m->stopping = false;
    m->run_left = instructions;
    fpu_enter(m); /* on another host than before: blocks are dropped before one is entered */
    fpu_leave();
    while (m->run_left > 0 && !m->stopping) {
        if (m->flush_code)
            blocks_flush(m);
        cp0_timer_check(m);
        device_check(m);
        if (console_distance(m) == 0)
            console_flush(m);
        if (cp0_interrupt_pending(m) && !m->in_slot) {
            fault_plain(m, EXC_INT, NULL);
            m->waiting = false;
            cp0_raise(m);
        } else if (m->waiting) {
            idle(m);
        } else {
            run_some(m, first);
            first = false;
        }
    }
    /* The next run() would go over a breakpoint that this one ends at. */
    if (!m->stopping && !first && is_break(m, m->pc))
        cpu_stop(m, MACHINE_BREAK, 0);
    console_flush(m);
    stop->executed = m->executed - start;
    if (stop->reason != MACHINE_FAULT)
        stop->pc = m->pc;
    m->stop = NULL;
}
