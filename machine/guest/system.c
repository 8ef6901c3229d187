/*
 * Instructions that leave the fast loop: system calls, coprocessor 0, the TLB, and the
 * machine's own two. They end their block, so the registers and the count of instructions
 * are exact here, and what they change (mode, translation, devices) is looked at behind them.
 */
#include "core.h"

#include <stdio.h>
#include <string.h>

static void set(struct machine *m, unsigned reg, uint32_t value)
{
    if (reg != 0)
        m->r[reg] = value;
}

static enum outcome reserved(struct machine *m)
{
    fault_plain(m, EXC_RI, NULL);
    return OUTCOME_FAULT;
}

/* 32 lines of the simple dialect's picture of the processor. */
static enum outcome dump(struct machine *m)
{
    char line[32];

    for (int i = 0; i < 32; i++) {
        int len = snprintf(line, sizeof(line), "$r%d=%d\n", i, (int)(int32_t)m->r[i]);
        console_write(m, line, (size_t)len);
    }
    return OUTCOME_NEXT;
}

static enum outcome snapshot(struct machine *m, uint32_t index)
{
    if (index >= m->program.nstrings) {
        fault_plain(m, EXC_RI, "SNAPSHOT names no string of the program");
        return OUTCOME_FAULT;
    }
    cpu_stop(m, MACHINE_SNAPSHOT, 0);
    snprintf(m->stop->text, sizeof(m->stop->text), "%s", m->program.strings[index]);
    return OUTCOME_NEXT;
}

/* A program that is an operating system handles the calls of its user mode itself. */
static enum outcome system_call(struct machine *m)
{
    if (!m->user)
        return syscall_run(m);
    fault_plain(m, EXC_SYS, NULL);
    return OUTCOME_FAULT;
}

/* User mode has the registers that the kernel lets through by HWREna. */
static enum outcome hardware_register(struct machine *m, struct isa_fields f)
{
    if (m->user && !(m->cp0[CP0_STATUS] & STATUS_CU0) && !(m->cp0[CP0_HWRENA] >> f.rd & 1))
        return reserved(m);
    switch (f.rd) {
    case 0: /* the processor's number */
        set(m, f.rt, 0);
        break;
    case 1: /* step of synci: none is needed */
        set(m, f.rt, 0);
        break;
    case 2:
        set(m, f.rt, cp0_read(m, CP0_COUNT, 0));
        break;
    case 3: /* instructions per count */
        set(m, f.rt, 1);
        break;
    default:
        return reserved(m);
    }
    return OUTCOME_NEXT;
}

/* di and ei: Status as it was, then without or with interrupts. */
static enum outcome interrupts(struct machine *m, unsigned reg, bool on)
{
    uint32_t status = m->cp0[CP0_STATUS];

    set(m, reg, status);
    cp0_write(m, CP0_STATUS, 0, on ? status | STATUS_IE : status & ~STATUS_IE);
    return OUTCOME_NEXT;
}

static enum outcome privileged(struct machine *m, enum isa_insn insn, struct isa_fields f,
                               uint32_t word)
{
    switch (insn) {
    case ISA_MFC0:
        set(m, f.rt, cp0_read(m, f.rd, word & 7));
        return OUTCOME_NEXT;
    case ISA_MTC0:
        cp0_write(m, f.rd, word & 7, m->r[f.rt]);
        return OUTCOME_NEXT;
    case ISA_RDPGPR: /* there is one register set */
    case ISA_WRPGPR:
        set(m, f.rd, m->r[f.rt]);
        return OUTCOME_NEXT;
    case ISA_DI:
    case ISA_EI:
        return interrupts(m, f.rt, insn == ISA_EI);
    case ISA_TLBR:
        tlb_read(m);
        return OUTCOME_NEXT;
    case ISA_TLBWI:
        tlb_write(m, m->cp0[CP0_INDEX]);
        return OUTCOME_NEXT;
    case ISA_TLBWR:
        tlb_write(m, tlb_random(m));
        return OUTCOME_NEXT;
    case ISA_TLBP:
        tlb_probe(m);
        return OUTCOME_NEXT;
    case ISA_ERET:
        cp0_eret(m);
        return OUTCOME_JUMP;
    case ISA_WAIT:
        m->waiting = true;
        return OUTCOME_NEXT;
    case ISA_CACHE: /* there is none */
        return OUTCOME_NEXT;
    default:
        return reserved(m);
    }
}

enum outcome system_run(struct machine *m, enum isa_insn insn)
{
    uint32_t word;

    if (!memory_fetch(m, m->pc, &word))
        return OUTCOME_FAULT;
    struct isa_fields f = isa_fields(word);
    if (isa_table[insn].flags & ISA_PRIVILEGED) {
        if (m->user && !(m->cp0[CP0_STATUS] & STATUS_CU0)) {
            fault_plain(m, EXC_CPU, NULL);
            return OUTCOME_FAULT;
        }
        return privileged(m, insn, f, word);
    }
    switch (insn) {
    case ISA_SYSCALL:
        return system_call(m);
    case ISA_RDHWR:
        return hardware_register(m, f);
    case ISA_CTC1:
        if (!m->fpu) {
            fault_plain(m, EXC_CPU, NULL);
            m->fault.coprocessor = 1;
            return OUTCOME_FAULT;
        }
        return fpu_write_control(m, f.rd, m->r[f.rt]) ? OUTCOME_NEXT : OUTCOME_FAULT;
    case ISA_DUMP:
        return dump(m);
    case ISA_SNAPSHOT:
        return snapshot(m, ISA_CODE20(word));
    default:
        return reserved(m);
    }
}
