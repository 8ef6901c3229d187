/*
 * Looks at single instructions, on the fault path only, to tell what Unicorn does
 * not. The bytes are the guest's and may be anything. Source: AMD64 APM vol. 3,
 * appendix A (opcode maps).
 */
#include "vm/soft/soft.h"

#include "mem/pagetable.h"
#include "vm/x86.h"

void soft_insn_read(const struct mem *mem, mf_gva gva, struct soft_insn *insn)
{
    insn->len = 0;
    while (insn->len < sizeof insn->bytes) {
        mf_gva at = gva + insn->len;
        struct pt_page page;
        if (!pt_lookup(mem, at & ~PAGE_MASK_LOW, &page) ||
            (page.prot & (PT_EXEC | PT_USER)) != (PT_EXEC | PT_USER))
            return;
        const uint8_t *bytes = mem_at(mem, page.gpa);
        insn->bytes[insn->len++] = bytes[at & PAGE_MASK_LOW];
    }
}

/* The byte at `at`, or a harmless NOP behind the end. */
static uint8_t byte_at(const struct soft_insn *insn, unsigned at)
{
    return at < insn->len ? insn->bytes[at] : 0x90;
}

/* Skips prefixes; the offset of the opcode. */
static unsigned find_opcode(const struct soft_insn *insn)
{
    unsigned at = 0;
    while (at < insn->len && x86_is_prefix(insn->bytes[at]))
        at++;
    if ((byte_at(insn, at) & 0xf0) == 0x40)
        at++;
    return at;
}

/* One-byte opcodes; `reg` is the middle field of ModRM. */
static bool modifies_one_byte(uint8_t opcode, unsigned reg)
{
    if (opcode < 0x38)
        return (opcode & 7) < 2; /* add .. xor to memory; 0x38 is cmp */
    switch (opcode) {
    case 0x80:
    case 0x81:
    case 0x83:
        return reg != 7; /* all but cmp */
    case 0x86: /* xchg */
    case 0x87:
    case 0xc0: /* shifts */
    case 0xc1:
    case 0xd0:
    case 0xd1:
    case 0xd2:
    case 0xd3:
        return true;
    case 0xf6:
    case 0xf7:
        return reg == 2 || reg == 3; /* not, neg */
    case 0xfe:
    case 0xff:
        return reg < 2; /* inc, dec */
    default:
        return false;
    }
}

static bool modifies_two_byte(uint8_t opcode, unsigned reg)
{
    switch (opcode) {
    case 0xa4: /* shld */
    case 0xa5:
    case 0xab: /* bts */
    case 0xac: /* shrd */
    case 0xad:
    case 0xb0: /* cmpxchg */
    case 0xb1:
    case 0xb3: /* btr */
    case 0xbb: /* btc */
    case 0xc0: /* xadd */
    case 0xc1:
        return true;
    case 0xba:
        return reg >= 5; /* bts, btr, btc */
    case 0xc7:
        return reg == 1; /* cmpxchg8b, cmpxchg16b */
    default:
        return false;
    }
}

bool soft_insn_modifies(const struct soft_insn *insn)
{
    unsigned at = find_opcode(insn);
    uint8_t opcode = byte_at(insn, at);
    if (opcode == 0x0f)
        return modifies_two_byte(byte_at(insn, at + 1), byte_at(insn, at + 2) >> 3 & 7);
    return modifies_one_byte(opcode, byte_at(insn, at + 1) >> 3 & 7);
}

bool soft_insn_is_sysret(const struct soft_insn *insn)
{
    unsigned at = find_opcode(insn);
    return byte_at(insn, at) == 0x0f && byte_at(insn, at + 1) == 0x07;
}
