/*
 * Coprocessor 0: Status and Cause, exceptions and interrupts, the timer. Follows "MIPS32
 * Architecture for Programmers", volume III, release 2; where a course's SPIM differs,
 * docs/machine.md says what was chosen.
 */
#include "core.h"

#include <stdio.h>
#include <string.h>

#define STATUS_WRITE UINT32_C(0x3040ff17)
#define CAUSE_WRITE  UINT32_C(0x00800300)
#define VECTOR_REFILL    UINT32_C(0x80000000)
#define VECTOR_INTERRUPT UINT32_C(0x80000200)

void cp0_reset(struct machine *m)
{
    memset(m->cp0, 0, sizeof(m->cp0));
    /* Kernel mode, coprocessors 0 and 1 usable, all interrupts let through. */
    m->cp0[CP0_STATUS] = STATUS_CU0 | STATUS_CU1 | STATUS_IM | STATUS_IE;
    m->cp0[CP0_PRID] = UINT32_C(0x00018000);
    m->cp0[CP0_CONFIG] = UINT32_C(0x80000400) | (m->big_endian ? UINT32_C(0x8000) : 0) | 3 << 7;
    m->cp0[CP0_RANDOM] = TLB_ENTRIES - 1;
    m->timer_at = UINT64_MAX;
    m->fpu = true;
    m->user = false;
    fpu_enter(m); /* the first block is made before execute() begins */
    fpu_leave();
}

void cp0_mode_changed(struct machine *m)
{
    uint32_t status = m->cp0[CP0_STATUS];
    bool user = (status & (STATUS_UM | STATUS_EXL | STATUS_ERL)) == STATUS_UM;
    bool fpu = (status & STATUS_CU1) != 0;

    if (user != m->user) {
        m->user = user;
        memory_flush_lines(m);
        memset(m->cache, 0, sizeof(m->cache));
    }
    if (fpu != m->fpu) {
        m->fpu = fpu;
        m->flush_code = true;
    }
}

/* Config1: a TLB of 16 entries, an FPU. */
#define CONFIG1 ((uint32_t)(TLB_ENTRIES - 1) << 25 | 1)

uint32_t cp0_read(struct machine *m, unsigned reg, unsigned select)
{
    if (reg == CP0_CONFIG && select == 1)
        return CONFIG1;
    if (select != 0)
        return 0;
    if (reg == CP0_COUNT)
        return m->count_offset + (uint32_t)machine_now(m);
    if (reg == CP0_RANDOM)
        return tlb_random(m);
    return m->cp0[reg];
}

static void timer_set(struct machine *m)
{
    uint32_t distance = m->cp0[CP0_COMPARE] - cp0_read(m, CP0_COUNT, 0);

    m->timer_at = machine_now(m) + (distance == 0 ? UINT64_C(1) << 32 : distance);
}

void cp0_write(struct machine *m, unsigned reg, unsigned select, uint32_t value)
{
    if (select != 0)
        return;
    switch (reg) {
    case CP0_STATUS:
        m->cp0[reg] = (m->cp0[reg] & ~STATUS_WRITE) | (value & STATUS_WRITE);
        cp0_mode_changed(m);
        break;
    case CP0_CAUSE:
        m->cp0[reg] = (m->cp0[reg] & ~CAUSE_WRITE) | (value & CAUSE_WRITE);
        break;
    case CP0_COUNT:
        m->count_offset = value - (uint32_t)machine_now(m);
        if (m->timer_at != UINT64_MAX)
            timer_set(m);
        break;
    case CP0_COMPARE:
        m->cp0[reg] = value;
        cp0_set_interrupt(m, IRQ_TIMER, false);
        timer_set(m);
        break;
    case CP0_CONFIG: /* KSEG0 caching and which memory management */
        m->cp0[reg] = (m->cp0[reg] & ~(CONFIG_MT | 7)) | (value & (CONFIG_MT | 7));
        memory_flush_lines(m);
        m->flush_code = true;
        break;
    case CP0_ENTRYHI:
        if ((m->cp0[reg] ^ value) & 0xff) { /* another address space */
            memory_flush_lines(m);
            m->flush_code = true;
        }
        m->cp0[reg] = value & UINT32_C(0xffffe0ff);
        break;
    case CP0_ENTRYLO0:
    case CP0_ENTRYLO1:
        m->cp0[reg] = value & UINT32_C(0x03ffffff);
        break;
    case CP0_HWRENA:
        m->cp0[reg] = value & 15;
        break;
    case CP0_INDEX: /* whether the last tlbp found something stays */
        m->cp0[reg] = (m->cp0[reg] & UINT32_C(0x80000000)) | (value & (TLB_ENTRIES - 1));
        break;
    case CP0_WIRED:
        m->cp0[reg] = value & (TLB_ENTRIES - 1);
        break;
    case CP0_PAGEMASK:
        m->cp0[reg] = value & UINT32_C(0x1fffe000);
        break;
    case CP0_CONTEXT:
        m->cp0[reg] = (m->cp0[reg] & UINT32_C(0x007ffff0)) | (value & UINT32_C(0xff800000));
        break;
    case CP0_RANDOM:
    case CP0_BADVADDR:
    case CP0_PRID:
        break;
    default:
        m->cp0[reg] = value;
    }
}

void cp0_set_interrupt(struct machine *m, uint32_t irq, bool on)
{
    if (on)
        m->cp0[CP0_CAUSE] |= irq;
    else
        m->cp0[CP0_CAUSE] &= ~irq;
}

bool cp0_interrupt_pending(const struct machine *m)
{
    uint32_t status = m->cp0[CP0_STATUS];

    return (status & (STATUS_IE | STATUS_EXL | STATUS_ERL)) == STATUS_IE &&
           (m->cp0[CP0_CAUSE] & status & STATUS_IM) != 0;
}

uint64_t cp0_timer_distance(const struct machine *m)
{
    if (m->timer_at == UINT64_MAX)
        return UINT64_MAX;
    return m->timer_at > m->executed ? m->timer_at - m->executed : 0;
}

void cp0_timer_check(struct machine *m)
{
    if (m->timer_at > m->executed)
        return;
    cp0_set_interrupt(m, IRQ_TIMER, true);
    m->timer_at += UINT64_C(1) << 32;
}

const char *exception_name(enum exception code)
{
    static const char *const names[] = {
        [EXC_INT] = "interrupt",
        [EXC_MOD] = "store to a page that the TLB says is read-only",
        [EXC_TLBL] = "TLB miss on a load or fetch",
        [EXC_TLBS] = "TLB miss on a store",
        [EXC_ADEL] = "address error on a load or fetch",
        [EXC_ADES] = "address error on a store",
        [EXC_IBE] = "bus error on a fetch",
        [EXC_DBE] = "bus error on data",
        [EXC_SYS] = "system call",
        [EXC_BP] = "breakpoint",
        [EXC_RI] = "reserved instruction",
        [EXC_CPU] = "coprocessor unusable",
        [EXC_OV] = "arithmetic overflow",
        [EXC_TR] = "trap",
        [14] = "exception 14",
        [EXC_FPE] = "floating-point exception",
    };

    return code <= EXC_FPE ? names[code] : "exception";
}

static bool has_handler(struct machine *m, uint32_t vector)
{
    struct page *page = memory_page(m, vector);

    return page != NULL && (page->rights & RIGHT_EXECUTE) != 0;
}

static uint32_t vector_of(struct machine *m)
{
    const struct fault *fault = &m->fault;
    bool nested = (m->cp0[CP0_STATUS] & STATUS_EXL) != 0;

    if (fault->refill && !nested && has_handler(m, VECTOR_REFILL))
        return VECTOR_REFILL;
    if (fault->code == EXC_INT && m->cp0[CP0_CAUSE] & CAUSE_IV)
        return VECTOR_INTERRUPT;
    return MACHINE_EXCEPTION;
}

static void unhandled(struct machine *m)
{
    const struct fault *fault = &m->fault;

    cpu_stop(m, MACHINE_FAULT, (int32_t)fault->code);
    m->stop->pc = m->pc;
    if (m->in_slot) /* to be tried again with its branch, as a handler would */
        m->pc -= 4;
    m->in_slot = false;
    if (fault->has_address)
        m->stop->address = fault->address;
    snprintf(m->stop->text, sizeof(m->stop->text), "%s%s%s", exception_name(fault->code),
             fault->why != NULL ? ": " : "", fault->why != NULL ? fault->why : "");
}

void cp0_raise(struct machine *m)
{
    const struct fault *fault = &m->fault;
    uint32_t *cp0 = m->cp0;
    uint32_t vector = vector_of(m);

    m->exceptions++;
    m->linked = false;
    if (fault->has_address) {
        cp0[CP0_BADVADDR] = fault->address;
        if (fault->code >= EXC_MOD && fault->code <= EXC_TLBS) {
            cp0[CP0_CONTEXT] = (cp0[CP0_CONTEXT] & UINT32_C(0xff800000)) |
                               (fault->address >> 13 << 4);
            cp0[CP0_ENTRYHI] = (cp0[CP0_ENTRYHI] & 0xff) | (fault->address & UINT32_C(0xffffe000));
        }
    }
    cp0[CP0_CAUSE] = (cp0[CP0_CAUSE] & ~UINT32_C(0x3000007c)) | (uint32_t)fault->code << 2 |
                     fault->coprocessor << 28;
    if (!(cp0[CP0_STATUS] & STATUS_EXL)) {
        cp0[CP0_EPC] = m->in_slot ? m->pc - 4 : m->pc;
        cp0[CP0_CAUSE] = (cp0[CP0_CAUSE] & ~CAUSE_BD) | (m->in_slot ? CAUSE_BD : 0);
    }
    if (!has_handler(m, vector)) {
        unhandled(m);
        return;
    }
    cp0[CP0_STATUS] |= STATUS_EXL;
    cp0_mode_changed(m);
    m->pc = vector;
    m->in_slot = false;
}

void cp0_eret(struct machine *m)
{
    uint32_t *status = &m->cp0[CP0_STATUS];

    if (*status & STATUS_ERL) {
        m->pc = m->cp0[CP0_ERROREPC];
        *status &= ~STATUS_ERL;
    } else {
        m->pc = m->cp0[CP0_EPC];
        *status &= ~STATUS_EXL;
    }
    m->linked = false;
    m->in_slot = false;
    cp0_mode_changed(m);
}
