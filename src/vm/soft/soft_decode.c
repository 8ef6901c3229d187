/*
 * Looks at single instructions, after faults and when a block was translated, to tell
 * what Unicorn does not. The bytes are the guest's and may be anything. Source: AMD64
 * APM vol. 3, appendix A (opcode maps).
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

bool soft_insn_is_port(const struct soft_insn *insn)
{
    uint8_t opcode = byte_at(insn, find_opcode(insn));
    return (opcode & 0xfc) == 0x6c || (opcode & 0xf4) == 0xe4;
}

/*
 * What follows an opcode, a letter for each:
 *   .  nothing               M  ModRM
 *   b  one byte              B  ModRM and one byte
 *   z  an operand of 4 bytes, or 2 after the prefix 66    Z  ModRM and such an operand
 *   v  the same, but 8 bytes with REX.W                   a  an address
 *   w  two bytes             e  three bytes (ENTER)
 *   g, G  ModRM, and an operand (b, z) when its middle field is 0 or 1
 *   ?  not an instruction of 64-bit mode, a prefix, or none that is worth knowing here
 */
static const char one_byte[16][17] = {
    "MMMMbz??MMMMbz??", "MMMMbz??MMMMbz??", "MMMMbz??MMMMbz??", "MMMMbz??MMMMbz??",
    "????????????????", "................", "???M????zZbB....", "bbbbbbbbbbbbbbbb",
    "BZ?BMMMMMMMMMMMM", "..........?.....", "aaaa....bz......", "bbbbbbbbvvvvvvvv",
    "BBw.??BZe.w..b?.", "MMMM???.MMMMMMMM", "bbbbbbbbzz?b....", "?.??..gG......MM",
};
/* The same behind 0f. */
static const char two_byte[16][17] = {
    "MMMM?.....?.?M.B", "MMMMMMMMMMMMMMMM", "MMMM????MMMMMMMM", "......??????????",
    "MMMMMMMMMMMMMMMM", "MMMMMMMMMMMMMMMM", "MMMMMMMMMMMMMMMM", "BBBBMMM.?M??MMMM",
    "zzzzzzzzzzzzzzzz", "MMMMMMMMMMMMMMMM", "...MBM??...MBMMM", "MMMMMMMMMMBMMMMM",
    "MMBMBBBM........", "MMMMMMMMMMMMMMMM", "MMMMMMMMMMMMMMMM", "MMMMMMMMMMMMMMMM",
};

/* The length of the ModRM byte at `at` with the SIB byte and displacement that it asks for. */
static unsigned modrm_length(const struct soft_insn *insn, unsigned at)
{
    unsigned mod = byte_at(insn, at) >> 6, rm = byte_at(insn, at) & 7;
    unsigned base = rm == 4 ? byte_at(insn, at + 1) & 7 : rm;
    unsigned len = mod != 3 && rm == 4 ? 2 : 1;
    if (mod == 1)
        return len + 1;
    return mod == 2 || (mod == 0 && base == 5) ? len + 4 : len;
}

/* The length of the operands that the letter stands for; `modrm` is that byte, if any. */
static unsigned operand_length(const struct soft_insn *insn, unsigned opcode_at, char letter,
                               uint8_t modrm)
{
    bool word = false, short_address = false;
    bool wide = opcode_at > 0 && (insn->bytes[opcode_at - 1] & 0xf8) == 0x48;
    for (unsigned i = 0; i < opcode_at; i++) {
        word |= insn->bytes[i] == 0x66;
        short_address |= insn->bytes[i] == 0x67;
    }
    unsigned z = word && !wide ? 2 : 4;
    switch (letter) {
    case 'b':
    case 'B':
        return 1;
    case 'z':
    case 'Z':
        return z;
    case 'v':
        return wide ? 8 : z;
    case 'a':
        return short_address ? 4 : 8;
    case 'w':
        return 2;
    case 'e':
        return 3;
    case 'g':
        return (modrm >> 3 & 7) < 2 ? 1 : 0;
    case 'G':
        return (modrm >> 3 & 7) < 2 ? z : 0;
    default:
        return 0;
    }
}

unsigned soft_insn_length(const struct soft_insn *insn)
{
    unsigned start = find_opcode(insn), at = start;
    uint8_t opcode = byte_at(insn, at++);
    char letter = one_byte[opcode >> 4][opcode & 15];
    if (opcode == 0x0f) {
        opcode = byte_at(insn, at++);
        letter = two_byte[opcode >> 4][opcode & 15];
        if (opcode == 0x38 || opcode == 0x3a) {
            letter = opcode == 0x38 ? 'M' : 'B';
            at++;
        }
    }
    if (letter == '?')
        return 0;
    uint8_t modrm = byte_at(insn, at);
    if (letter == 'M' || letter == 'B' || letter == 'Z' || letter == 'g' || letter == 'G')
        at += modrm_length(insn, at);
    at += operand_length(insn, start, letter, modrm);
    return at <= insn->len ? at : 0;
}
