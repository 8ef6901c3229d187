/*
 * The instructions of the machine: MIPS32 release 2, with the 32-bit FPU register file
 * (Status.FR = 0). This is the only place that knows encodings; names, decoder,
 * disassembler, assembler, executor and manual derive from it.
 *
 *   X(NAME, "mnemonic", mask, match, FORM, FLAGS, "meaning")
 *
 * A word is the instruction when (word & mask) == match. FORM is the operand form, from
 * ISA_FORM_LIST; FLAGS are bits of enum isa_flag. Fields and forms follow "MIPS32
 * Architecture for Programmers", volume II. Entries that share one slot of the decoder
 * stand one behind the other, all but the first with ISA_SAME_SLOT.
 */
#ifndef MACHINE_ISA_TABLE_H
#define MACHINE_ISA_TABLE_H

/*
 * Operand forms, X(NAME, "text"). A letter is an operand, brackets hold what may be left
 * out and is then its default.
 *
 *   d s t  rd rs rt             D S T R  FPU register in sa, rd, rt, rs
 *   U      rd, copied to rt     a        shift amount
 *   i u    16 bits, signed or unsigned    b j  branch and jump target
 *   o      offset(rs)           X        rt(rs)
 *   c q    10-bit codes, upper and lower   C  20-bit code   w  19-bit code
 *   k h    5 bits in rt, rd     y        5 bits in sa
 *   0 1 H  register rd of coprocessor 0, of FPU control, of the hardware registers
 *   x      selection, bits 0-2  N n      condition flag, bits 18-20 and 8-10
 *   p      bit position         z Z      size of a field for ext, for ins
 *   $      20-bit index of a string of the program
 */
#define ISA_FORM_LIST(X)  \
    X(NONE, "")           \
    X(DST, "d,s,t")       \
    X(DTS, "d,t,s")       \
    X(DTA, "d,t,a")       \
    X(TSI, "t,s,i")       \
    X(TSU, "t,s,u")       \
    X(TU, "t,u")          \
    X(ST, "s,t")          \
    X(SI, "s,i")          \
    X(STQ, "s,t[,q]")     \
    X(S, "s")             \
    X(D, "d")             \
    X(OPT_T, "[t]")       \
    X(DT, "d,t")          \
    X(US, "U,s")          \
    X(LINK, "[d,]s")      \
    X(STB, "s,t,b")       \
    X(SB, "s,b")          \
    X(J, "j")             \
    X(T_MEM, "t,o")       \
    X(FT_MEM, "T,o")      \
    X(HINT_MEM, "k,o")    \
    X(MEM, "o")           \
    X(FD_INDEX, "D,X")    \
    X(FS_INDEX, "S,X")    \
    X(HINT_INDEX, "h,X")  \
    X(CODE, "[C]")        \
    X(BREAK, "[c][,q]")   \
    X(WAIT, "[w]")        \
    X(SYNC, "[y]")        \
    X(DSN, "d,s,N")       \
    X(EXT, "t,s,p,z")     \
    X(INS, "t,s,p,Z")     \
    X(RDHWR, "t,H")       \
    X(COP0, "t,0[,x]")    \
    X(T_FS, "t,S")        \
    X(T_CONTROL, "t,1")   \
    X(FCC_B, "[N,]b")     \
    X(FD_FS, "D,S")       \
    X(FD_FS_FT, "D,S,T")  \
    X(FD_FS_N, "D,S,N")   \
    X(FD_FS_T, "D,S,t")   \
    X(FMADD, "D,R,S,T")   \
    X(COMPARE, "[n,]S,T") \
    X(STRING, "$")

/* An FPU instruction in single and double precision: .s and .d. */
#define ISA_SD(X, NAME, text, mask, funct, FORM, FLAGS, meaning)                                \
    X(NAME##_S, text ".s", mask, 0x46000000u | (funct), FORM, (FLAGS) | ISA_FPU, meaning)       \
    X(NAME##_D, text ".d", mask, 0x46200000u | (funct), FORM, (FLAGS) | ISA_FPU | ISA_DOUBLE, \
      meaning)

/* A comparison of the FPU; `funct` is 0x30 and the condition. */
#define ISA_C(X, NAME, text, funct, meaning) \
    ISA_SD(X, C_##NAME, "c." text, 0xffe000ffu, funct, COMPARE, ISA_W_FCC, meaning)

/* Arithmetic, logic, shifts. */
#define ISA_TABLE_INTEGER(X)                                                                     \
    X(SLL, "sll", 0xffe0003fu, 0x00000000u, DTA, ISA_W_RD, "rd = rt << sa")                      \
    X(SRL, "srl", 0xffe0003fu, 0x00000002u, DTA, ISA_W_RD, "rd = rt >> sa, zeros from the left") \
    X(ROTR, "rotr", 0xffe0003fu, 0x00200002u, DTA, ISA_W_RD | ISA_SAME_SLOT,                     \
      "rd = rt rotated right by sa")                                                             \
    X(SRA, "sra", 0xffe0003fu, 0x00000003u, DTA, ISA_W_RD, "rd = rt >> sa, sign from the left")  \
    X(SLLV, "sllv", 0xfc0007ffu, 0x00000004u, DTS, ISA_W_RD, "rd = rt << (rs & 31)")             \
    X(SRLV, "srlv", 0xfc0007ffu, 0x00000006u, DTS, ISA_W_RD,                                     \
      "rd = rt >> (rs & 31), zeros from the left")                                               \
    X(ROTRV, "rotrv", 0xfc0007ffu, 0x00000046u, DTS, ISA_W_RD | ISA_SAME_SLOT,                   \
      "rd = rt rotated right by rs & 31")                                                        \
    X(SRAV, "srav", 0xfc0007ffu, 0x00000007u, DTS, ISA_W_RD,                                     \
      "rd = rt >> (rs & 31), sign from the left")                                                \
    X(ADD, "add", 0xfc0007ffu, 0x00000020u, DST, ISA_W_RD | ISA_OVERFLOW,                        \
      "rd = rs + rt; overflow is an exception")                                                  \
    X(ADDU, "addu", 0xfc0007ffu, 0x00000021u, DST, ISA_W_RD, "rd = rs + rt")                     \
    X(SUB, "sub", 0xfc0007ffu, 0x00000022u, DST, ISA_W_RD | ISA_OVERFLOW,                        \
      "rd = rs - rt; overflow is an exception")                                                  \
    X(SUBU, "subu", 0xfc0007ffu, 0x00000023u, DST, ISA_W_RD, "rd = rs - rt")                     \
    X(AND, "and", 0xfc0007ffu, 0x00000024u, DST, ISA_W_RD, "rd = rs & rt")                       \
    X(OR, "or", 0xfc0007ffu, 0x00000025u, DST, ISA_W_RD, "rd = rs | rt")                         \
    X(XOR, "xor", 0xfc0007ffu, 0x00000026u, DST, ISA_W_RD, "rd = rs ^ rt")                       \
    X(NOR, "nor", 0xfc0007ffu, 0x00000027u, DST, ISA_W_RD, "rd = ~(rs | rt)")                    \
    X(SLT, "slt", 0xfc0007ffu, 0x0000002au, DST, ISA_W_RD, "rd = rs < rt, signed")               \
    X(SLTU, "sltu", 0xfc0007ffu, 0x0000002bu, DST, ISA_W_RD, "rd = rs < rt, unsigned")           \
    X(ADDI, "addi", 0xfc000000u, 0x20000000u, TSI, ISA_W_RT | ISA_OVERFLOW,                      \
      "rt = rs + imm; overflow is an exception")                                                 \
    X(ADDIU, "addiu", 0xfc000000u, 0x24000000u, TSI, ISA_W_RT, "rt = rs + imm")                  \
    X(SLTI, "slti", 0xfc000000u, 0x28000000u, TSI, ISA_W_RT, "rt = rs < imm, signed")            \
    X(SLTIU, "sltiu", 0xfc000000u, 0x2c000000u, TSI, ISA_W_RT, "rt = rs < imm, unsigned")        \
    X(ANDI, "andi", 0xfc000000u, 0x30000000u, TSU, ISA_W_RT, "rt = rs & imm")                    \
    X(ORI, "ori", 0xfc000000u, 0x34000000u, TSU, ISA_W_RT, "rt = rs | imm")                      \
    X(XORI, "xori", 0xfc000000u, 0x38000000u, TSU, ISA_W_RT, "rt = rs ^ imm")                    \
    X(LUI, "lui", 0xffe00000u, 0x3c000000u, TU, ISA_W_RT, "rt = imm << 16")                      \
    X(CLZ, "clz", 0xfc0007ffu, 0x70000020u, US, ISA_W_RD, "rd = leading zeros of rs")            \
    X(CLO, "clo", 0xfc0007ffu, 0x70000021u, US, ISA_W_RD, "rd = leading ones of rs")             \
    X(EXT, "ext", 0xfc00003fu, 0x7c000000u, EXT, ISA_W_RT, "rt = size bits of rs from pos on")   \
    X(INS, "ins", 0xfc00003fu, 0x7c000004u, INS, ISA_W_RT,                                       \
      "size bits of rt from pos on = the low bits of rs")                                        \
    X(WSBH, "wsbh", 0xffe007ffu, 0x7c0000a0u, DT, ISA_W_RD,                                      \
      "rd = rt with the bytes of each half swapped")                                             \
    X(SEB, "seb", 0xffe007ffu, 0x7c000420u, DT, ISA_W_RD | ISA_SAME_SLOT,                        \
      "rd = low byte of rt, sign-extended")                                                      \
    X(SEH, "seh", 0xffe007ffu, 0x7c000620u, DT, ISA_W_RD | ISA_SAME_SLOT,                        \
      "rd = low half of rt, sign-extended")                                                      \
    X(MOVZ, "movz", 0xfc0007ffu, 0x0000000au, DST, ISA_W_RD, "if rt == 0: rd = rs")              \
    X(MOVN, "movn", 0xfc0007ffu, 0x0000000bu, DST, ISA_W_RD, "if rt != 0: rd = rs")              \
    X(MOVF, "movf", 0xfc0307ffu, 0x00000001u, DSN, ISA_W_RD | ISA_FPU,                           \
      "if condition flag cc is 0: rd = rs")                                                      \
    X(MOVT, "movt", 0xfc0307ffu, 0x00010001u, DSN, ISA_W_RD | ISA_FPU | ISA_SAME_SLOT,           \
      "if condition flag cc is 1: rd = rs")

/* Multiplication, division, HI and LO. */
#define ISA_TABLE_MULTIPLY(X)                                                                   \
    X(MUL, "mul", 0xfc0007ffu, 0x70000002u, DST, ISA_W_RD, "rd = low word of rs * rt")          \
    X(MULT, "mult", 0xfc00ffffu, 0x00000018u, ST, ISA_W_HILO, "HI:LO = rs * rt, signed")        \
    X(MULTU, "multu", 0xfc00ffffu, 0x00000019u, ST, ISA_W_HILO, "HI:LO = rs * rt, unsigned")    \
    X(DIV, "div", 0xfc00ffffu, 0x0000001au, ST, ISA_W_HILO, "LO = rs / rt, HI = rest, signed")  \
    X(DIVU, "divu", 0xfc00ffffu, 0x0000001bu, ST, ISA_W_HILO,                                   \
      "LO = rs / rt, HI = rest, unsigned")                                                      \
    X(MADD, "madd", 0xfc00ffffu, 0x70000000u, ST, ISA_W_HILO, "HI:LO += rs * rt, signed")       \
    X(MADDU, "maddu", 0xfc00ffffu, 0x70000001u, ST, ISA_W_HILO, "HI:LO += rs * rt, unsigned")   \
    X(MSUB, "msub", 0xfc00ffffu, 0x70000004u, ST, ISA_W_HILO, "HI:LO -= rs * rt, signed")       \
    X(MSUBU, "msubu", 0xfc00ffffu, 0x70000005u, ST, ISA_W_HILO, "HI:LO -= rs * rt, unsigned")   \
    X(MFHI, "mfhi", 0xffff07ffu, 0x00000010u, D, ISA_W_RD, "rd = HI")                           \
    X(MTHI, "mthi", 0xfc1fffffu, 0x00000011u, S, ISA_W_HILO, "HI = rs")                         \
    X(MFLO, "mflo", 0xffff07ffu, 0x00000012u, D, ISA_W_RD, "rd = LO")                           \
    X(MTLO, "mtlo", 0xfc1fffffu, 0x00000013u, S, ISA_W_HILO, "LO = rs")

/* Branches and jumps. "likely": the delay slot runs only when the branch is taken. */
#define ISA_TABLE_BRANCH(X)                                                                       \
    X(J, "j", 0xfc000000u, 0x08000000u, J, ISA_JUMP, "go to target")                              \
    X(JAL, "jal", 0xfc000000u, 0x0c000000u, J, ISA_JUMP | ISA_LINK, "$ra = return address; go")   \
    X(JR, "jr", 0xfc1fffffu, 0x00000008u, S, ISA_JUMP, "go to rs")                                \
    X(JR_HB, "jr.hb", 0xfc1fffffu, 0x00000408u, S, ISA_JUMP | ISA_SAME_SLOT,                      \
      "go to rs, hazards cleared")                                                                \
    X(JALR, "jalr", 0xfc1f07ffu, 0x00000009u, LINK, ISA_JUMP | ISA_LINK | ISA_W_RD,               \
      "rd = return address; go to rs")                                                            \
    X(JALR_HB, "jalr.hb", 0xfc1f07ffu, 0x00000409u, LINK,                                         \
      ISA_JUMP | ISA_LINK | ISA_W_RD | ISA_SAME_SLOT,                                             \
      "rd = return address; go to rs, hazards cleared")                                           \
    X(BEQ, "beq", 0xfc000000u, 0x10000000u, STB, ISA_BRANCH, "if rs == rt: go")                   \
    X(BNE, "bne", 0xfc000000u, 0x14000000u, STB, ISA_BRANCH, "if rs != rt: go")                   \
    X(BLEZ, "blez", 0xfc1f0000u, 0x18000000u, SB, ISA_BRANCH, "if rs <= 0: go")                   \
    X(BGTZ, "bgtz", 0xfc1f0000u, 0x1c000000u, SB, ISA_BRANCH, "if rs > 0: go")                    \
    X(BLTZ, "bltz", 0xfc1f0000u, 0x04000000u, SB, ISA_BRANCH, "if rs < 0: go")                    \
    X(BGEZ, "bgez", 0xfc1f0000u, 0x04010000u, SB, ISA_BRANCH, "if rs >= 0: go")                   \
    X(BLTZAL, "bltzal", 0xfc1f0000u, 0x04100000u, SB, ISA_BRANCH | ISA_LINK,                      \
      "$ra = return address; if rs < 0: go")                                                      \
    X(BGEZAL, "bgezal", 0xfc1f0000u, 0x04110000u, SB, ISA_BRANCH | ISA_LINK,                      \
      "$ra = return address; if rs >= 0: go")                                                     \
    X(BEQL, "beql", 0xfc000000u, 0x50000000u, STB, ISA_BRANCH | ISA_LIKELY,                       \
      "if rs == rt: go; likely")                                                                  \
    X(BNEL, "bnel", 0xfc000000u, 0x54000000u, STB, ISA_BRANCH | ISA_LIKELY,                       \
      "if rs != rt: go; likely")                                                                  \
    X(BLEZL, "blezl", 0xfc1f0000u, 0x58000000u, SB, ISA_BRANCH | ISA_LIKELY,                      \
      "if rs <= 0: go; likely")                                                                   \
    X(BGTZL, "bgtzl", 0xfc1f0000u, 0x5c000000u, SB, ISA_BRANCH | ISA_LIKELY,                      \
      "if rs > 0: go; likely")                                                                    \
    X(BLTZL, "bltzl", 0xfc1f0000u, 0x04020000u, SB, ISA_BRANCH | ISA_LIKELY,                      \
      "if rs < 0: go; likely")                                                                    \
    X(BGEZL, "bgezl", 0xfc1f0000u, 0x04030000u, SB, ISA_BRANCH | ISA_LIKELY,                      \
      "if rs >= 0: go; likely")                                                                   \
    X(BLTZALL, "bltzall", 0xfc1f0000u, 0x04120000u, SB, ISA_BRANCH | ISA_LINK | ISA_LIKELY,       \
      "$ra = return address; if rs < 0: go; likely")                                              \
    X(BGEZALL, "bgezall", 0xfc1f0000u, 0x04130000u, SB, ISA_BRANCH | ISA_LINK | ISA_LIKELY,       \
      "$ra = return address; if rs >= 0: go; likely")                                             \
    X(BC1F, "bc1f", 0xffe30000u, 0x45000000u, FCC_B, ISA_BRANCH | ISA_FPU,                        \
      "if condition flag cc is 0: go")                                                            \
    X(BC1T, "bc1t", 0xffe30000u, 0x45010000u, FCC_B, ISA_BRANCH | ISA_FPU | ISA_SAME_SLOT,        \
      "if condition flag cc is 1: go")                                                            \
    X(BC1FL, "bc1fl", 0xffe30000u, 0x45020000u, FCC_B,                                            \
      ISA_BRANCH | ISA_FPU | ISA_LIKELY | ISA_SAME_SLOT, "if condition flag cc is 0: go; likely") \
    X(BC1TL, "bc1tl", 0xffe30000u, 0x45030000u, FCC_B,                                            \
      ISA_BRANCH | ISA_FPU | ISA_LIKELY | ISA_SAME_SLOT, "if condition flag cc is 1: go; likely")

/* Loads and stores; address = rs + offset, and rs + rt in the indexed form. */
#define ISA_TABLE_MEMORY(X)                                                                        \
    X(LB, "lb", 0xfc000000u, 0x80000000u, T_MEM, ISA_W_RT | ISA_LOAD, "rt = byte, signed")         \
    X(LBU, "lbu", 0xfc000000u, 0x90000000u, T_MEM, ISA_W_RT | ISA_LOAD, "rt = byte, unsigned")     \
    X(LH, "lh", 0xfc000000u, 0x84000000u, T_MEM, ISA_W_RT | ISA_LOAD, "rt = half, signed")         \
    X(LHU, "lhu", 0xfc000000u, 0x94000000u, T_MEM, ISA_W_RT | ISA_LOAD, "rt = half, unsigned")     \
    X(LW, "lw", 0xfc000000u, 0x8c000000u, T_MEM, ISA_W_RT | ISA_LOAD, "rt = word")                 \
    X(LWL, "lwl", 0xfc000000u, 0x88000000u, T_MEM, ISA_W_RT | ISA_LOAD,                            \
      "left bytes of rt = bytes from the address to the end of its word")                          \
    X(LWR, "lwr", 0xfc000000u, 0x98000000u, T_MEM, ISA_W_RT | ISA_LOAD,                            \
      "right bytes of rt = bytes from the start of its word to the address")                       \
    X(LL, "ll", 0xfc000000u, 0xc0000000u, T_MEM, ISA_W_RT | ISA_LOAD, "rt = word; watch it")       \
    X(SB, "sb", 0xfc000000u, 0xa0000000u, T_MEM, ISA_STORE, "byte = rt")                           \
    X(SH, "sh", 0xfc000000u, 0xa4000000u, T_MEM, ISA_STORE, "half = rt")                           \
    X(SW, "sw", 0xfc000000u, 0xac000000u, T_MEM, ISA_STORE, "word = rt")                           \
    X(SWL, "swl", 0xfc000000u, 0xa8000000u, T_MEM, ISA_STORE,                                      \
      "bytes from the address to the end of its word = left bytes of rt")                          \
    X(SWR, "swr", 0xfc000000u, 0xb8000000u, T_MEM, ISA_STORE,                                      \
      "bytes from the start of its word to the address = right bytes of rt")                       \
    X(SC, "sc", 0xfc000000u, 0xe0000000u, T_MEM, ISA_W_RT | ISA_STORE,                             \
      "if still watched: word = rt, rt = 1; else rt = 0")                                          \
    X(LWC1, "lwc1", 0xfc000000u, 0xc4000000u, FT_MEM, ISA_W_FT | ISA_LOAD | ISA_FPU, "ft = word")  \
    X(LDC1, "ldc1", 0xfc000000u, 0xd4000000u, FT_MEM,                                              \
      ISA_W_FT | ISA_LOAD | ISA_FPU | ISA_DOUBLE, "ft and the next = 8 bytes")                     \
    X(SWC1, "swc1", 0xfc000000u, 0xe4000000u, FT_MEM, ISA_STORE | ISA_FPU, "word = ft")            \
    X(SDC1, "sdc1", 0xfc000000u, 0xf4000000u, FT_MEM, ISA_STORE | ISA_FPU | ISA_DOUBLE,            \
      "8 bytes = ft and the next")                                                                 \
    X(LWXC1, "lwxc1", 0xfc00f83fu, 0x4c000000u, FD_INDEX, ISA_W_FD | ISA_LOAD | ISA_FPU,           \
      "fd = word")                                                                                 \
    X(LDXC1, "ldxc1", 0xfc00f83fu, 0x4c000001u, FD_INDEX,                                          \
      ISA_W_FD | ISA_LOAD | ISA_FPU | ISA_DOUBLE, "fd and the next = 8 bytes")                     \
    X(SWXC1, "swxc1", 0xfc0007ffu, 0x4c000008u, FS_INDEX, ISA_STORE | ISA_FPU, "word = fs")        \
    X(SDXC1, "sdxc1", 0xfc0007ffu, 0x4c000009u, FS_INDEX, ISA_STORE | ISA_FPU | ISA_DOUBLE,        \
      "8 bytes = fs and the next")                                                                 \
    X(PREF, "pref", 0xfc000000u, 0xcc000000u, HINT_MEM, 0, "will use this memory: no effect")      \
    X(PREFX, "prefx", 0xfc0007ffu, 0x4c00000fu, HINT_INDEX, ISA_FPU,                               \
      "will use this memory: no effect")                                                           \
    X(CACHE, "cache", 0xfc000000u, 0xbc000000u, HINT_MEM, ISA_PRIVILEGED,                          \
      "work on the cache line of an address")                                                      \
    X(SYNCI, "synci", 0xfc1f0000u, 0x041f0000u, MEM, 0, "code at the address was changed")         \
    X(SYNC, "sync", 0xfffff83fu, 0x0000000fu, SYNC, 0, "order loads and stores")

/* Exceptions, traps, coprocessor 0. */
#define ISA_TABLE_SYSTEM(X)                                                                       \
    X(SYSCALL, "syscall", 0xfc00003fu, 0x0000000cu, CODE, ISA_TRAP, "system call $v0")            \
    X(BREAK, "break", 0xfc00003fu, 0x0000000du, BREAK, ISA_TRAP, "breakpoint exception")          \
    X(TGE, "tge", 0xfc00003fu, 0x00000030u, STQ, ISA_TRAP, "if rs >= rt, signed: trap")           \
    X(TGEU, "tgeu", 0xfc00003fu, 0x00000031u, STQ, ISA_TRAP, "if rs >= rt, unsigned: trap")       \
    X(TLT, "tlt", 0xfc00003fu, 0x00000032u, STQ, ISA_TRAP, "if rs < rt, signed: trap")            \
    X(TLTU, "tltu", 0xfc00003fu, 0x00000033u, STQ, ISA_TRAP, "if rs < rt, unsigned: trap")        \
    X(TEQ, "teq", 0xfc00003fu, 0x00000034u, STQ, ISA_TRAP, "if rs == rt: trap")                   \
    X(TNE, "tne", 0xfc00003fu, 0x00000036u, STQ, ISA_TRAP, "if rs != rt: trap")                   \
    X(TGEI, "tgei", 0xfc1f0000u, 0x04080000u, SI, ISA_TRAP, "if rs >= imm, signed: trap")         \
    X(TGEIU, "tgeiu", 0xfc1f0000u, 0x04090000u, SI, ISA_TRAP, "if rs >= imm, unsigned: trap")     \
    X(TLTI, "tlti", 0xfc1f0000u, 0x040a0000u, SI, ISA_TRAP, "if rs < imm, signed: trap")          \
    X(TLTIU, "tltiu", 0xfc1f0000u, 0x040b0000u, SI, ISA_TRAP, "if rs < imm, unsigned: trap")      \
    X(TEQI, "teqi", 0xfc1f0000u, 0x040c0000u, SI, ISA_TRAP, "if rs == imm: trap")                 \
    X(TNEI, "tnei", 0xfc1f0000u, 0x040e0000u, SI, ISA_TRAP, "if rs != imm: trap")                 \
    X(RDHWR, "rdhwr", 0xffe007ffu, 0x7c00003bu, RDHWR, ISA_W_RT, "rt = hardware register rd")     \
    X(MFC0, "mfc0", 0xffe007f8u, 0x40000000u, COP0, ISA_W_RT | ISA_PRIVILEGED,                    \
      "rt = register rd, sel of coprocessor 0")                                                   \
    X(MTC0, "mtc0", 0xffe007f8u, 0x40800000u, COP0, ISA_PRIVILEGED | ISA_ENDS_BLOCK,              \
      "register rd, sel of coprocessor 0 = rt")                                                   \
    X(RDPGPR, "rdpgpr", 0xffe007ffu, 0x41400000u, DT, ISA_W_RD | ISA_PRIVILEGED,                  \
      "rd = rt of the previous register set")                                                     \
    X(WRPGPR, "wrpgpr", 0xffe007ffu, 0x41c00000u, DT, ISA_W_RD | ISA_PRIVILEGED,                  \
      "rd of the previous register set = rt")                                                     \
    X(DI, "di", 0xffe0ffffu, 0x41606000u, OPT_T, ISA_W_RT | ISA_PRIVILEGED | ISA_ENDS_BLOCK,      \
      "rt = Status; interrupts off")                                                              \
    X(EI, "ei", 0xffe0ffffu, 0x41606020u, OPT_T,                                                  \
      ISA_W_RT | ISA_PRIVILEGED | ISA_ENDS_BLOCK | ISA_SAME_SLOT, "rt = Status; interrupts on")   \
    X(TLBR, "tlbr", 0xffffffffu, 0x42000001u, NONE, ISA_PRIVILEGED,                               \
      "EntryHi, EntryLo, PageMask = TLB entry Index")                                             \
    X(TLBWI, "tlbwi", 0xffffffffu, 0x42000002u, NONE, ISA_PRIVILEGED | ISA_ENDS_BLOCK,            \
      "TLB entry Index = EntryHi, EntryLo, PageMask")                                             \
    X(TLBWR, "tlbwr", 0xffffffffu, 0x42000006u, NONE, ISA_PRIVILEGED | ISA_ENDS_BLOCK,            \
      "TLB entry Random = EntryHi, EntryLo, PageMask")                                            \
    X(TLBP, "tlbp", 0xffffffffu, 0x42000008u, NONE, ISA_PRIVILEGED,                               \
      "Index = TLB entry that matches EntryHi")                                                   \
    X(ERET, "eret", 0xffffffffu, 0x42000018u, NONE, ISA_PRIVILEGED | ISA_ENDS_BLOCK,              \
      "return from an exception; no delay slot")                                                  \
    X(WAIT, "wait", 0xfe00003fu, 0x42000020u, WAIT, ISA_PRIVILEGED | ISA_ENDS_BLOCK,              \
      "sleep until an interrupt")                                                                 \
    X(DUMP, "DUMP_PROCESSOR_STATE", 0xffffffffu, 0x70000010u, NONE, ISA_ENDS_BLOCK,               \
      "print all registers; an instruction of this machine")                                      \
    X(SNAPSHOT, "SNAPSHOT", 0xfc00003fu, 0x70000011u, STRING, ISA_ENDS_BLOCK,                     \
      "save the machine under the string's name; an instruction of this machine")

/* The FPU: moves, arithmetic, conversions, comparisons. */
#define ISA_TABLE_FPU(X)                                                                          \
    X(MFC1, "mfc1", 0xffe007ffu, 0x44000000u, T_FS, ISA_W_RT | ISA_FPU, "rt = fs")                \
    X(CFC1, "cfc1", 0xffe007ffu, 0x44400000u, T_CONTROL, ISA_W_RT | ISA_FPU,                      \
      "rt = control register fs")                                                                 \
    X(MFHC1, "mfhc1", 0xffe007ffu, 0x44600000u, T_FS, ISA_W_RT | ISA_FPU,                         \
      "rt = upper word of the double fs")                                                         \
    X(MTC1, "mtc1", 0xffe007ffu, 0x44800000u, T_FS, ISA_W_FS | ISA_FPU, "fs = rt")                \
    X(CTC1, "ctc1", 0xffe007ffu, 0x44c00000u, T_CONTROL, ISA_FPU | ISA_ENDS_BLOCK,                \
      "control register fs = rt")                                                                 \
    X(MTHC1, "mthc1", 0xffe007ffu, 0x44e00000u, T_FS, ISA_W_FS | ISA_FPU,                         \
      "upper word of the double fs = rt")                                                         \
    ISA_SD(X, ADD, "add", 0xffe0003fu, 0x00, FD_FS_FT, ISA_W_FD, "fd = fs + ft")                  \
    ISA_SD(X, SUB, "sub", 0xffe0003fu, 0x01, FD_FS_FT, ISA_W_FD, "fd = fs - ft")                  \
    ISA_SD(X, MUL, "mul", 0xffe0003fu, 0x02, FD_FS_FT, ISA_W_FD, "fd = fs * ft")                  \
    ISA_SD(X, DIV, "div", 0xffe0003fu, 0x03, FD_FS_FT, ISA_W_FD, "fd = fs / ft")                  \
    ISA_SD(X, SQRT, "sqrt", 0xffff003fu, 0x04, FD_FS, ISA_W_FD, "fd = square root of fs")         \
    ISA_SD(X, ABS, "abs", 0xffff003fu, 0x05, FD_FS, ISA_W_FD, "fd = |fs|")                        \
    ISA_SD(X, MOV, "mov", 0xffff003fu, 0x06, FD_FS, ISA_W_FD, "fd = fs")                          \
    ISA_SD(X, NEG, "neg", 0xffff003fu, 0x07, FD_FS, ISA_W_FD, "fd = -fs")                         \
    ISA_SD(X, ROUND_W, "round.w", 0xffff003fu, 0x0c, FD_FS, ISA_W_FD, "fd = nearest integer")     \
    ISA_SD(X, TRUNC_W, "trunc.w", 0xffff003fu, 0x0d, FD_FS, ISA_W_FD, "fd = integer towards 0")   \
    ISA_SD(X, CEIL_W, "ceil.w", 0xffff003fu, 0x0e, FD_FS, ISA_W_FD, "fd = next integer up")       \
    ISA_SD(X, FLOOR_W, "floor.w", 0xffff003fu, 0x0f, FD_FS, ISA_W_FD, "fd = next integer down")   \
    X(MOVF_S, "movf.s", 0xffe3003fu, 0x46000011u, FD_FS_N, ISA_W_FD | ISA_FPU,                    \
      "if condition flag cc is 0: fd = fs")                                                       \
    X(MOVT_S, "movt.s", 0xffe3003fu, 0x46010011u, FD_FS_N, ISA_W_FD | ISA_FPU | ISA_SAME_SLOT,    \
      "if condition flag cc is 1: fd = fs")                                                       \
    X(MOVF_D, "movf.d", 0xffe3003fu, 0x46200011u, FD_FS_N, ISA_W_FD | ISA_FPU | ISA_DOUBLE,       \
      "if condition flag cc is 0: fd = fs")                                                       \
    X(MOVT_D, "movt.d", 0xffe3003fu, 0x46210011u, FD_FS_N,                                        \
      ISA_W_FD | ISA_FPU | ISA_DOUBLE | ISA_SAME_SLOT, "if condition flag cc is 1: fd = fs")      \
    ISA_SD(X, MOVZ, "movz", 0xffe0003fu, 0x12, FD_FS_T, ISA_W_FD, "if rt == 0: fd = fs")          \
    ISA_SD(X, MOVN, "movn", 0xffe0003fu, 0x13, FD_FS_T, ISA_W_FD, "if rt != 0: fd = fs")          \
    ISA_SD(X, RECIP, "recip", 0xffff003fu, 0x15, FD_FS, ISA_W_FD, "fd = 1 / fs")                  \
    ISA_SD(X, RSQRT, "rsqrt", 0xffff003fu, 0x16, FD_FS, ISA_W_FD, "fd = 1 / square root of fs")   \
    X(CVT_S_D, "cvt.s.d", 0xffff003fu, 0x46200020u, FD_FS, ISA_W_FD | ISA_FPU,                    \
      "fd = single of the double fs")                                                             \
    X(CVT_S_W, "cvt.s.w", 0xffff003fu, 0x46800020u, FD_FS, ISA_W_FD | ISA_FPU,                    \
      "fd = single of the integer fs")                                                            \
    X(CVT_D_S, "cvt.d.s", 0xffff003fu, 0x46000021u, FD_FS, ISA_W_FD | ISA_FPU | ISA_DOUBLE,       \
      "fd = double of the single fs")                                                             \
    X(CVT_D_W, "cvt.d.w", 0xffff003fu, 0x46800021u, FD_FS, ISA_W_FD | ISA_FPU | ISA_DOUBLE,       \
      "fd = double of the integer fs")                                                            \
    ISA_SD(X, CVT_W, "cvt.w", 0xffff003fu, 0x24, FD_FS, ISA_W_FD,                                 \
           "fd = integer of fs, in the rounding mode")                                            \
    X(MADD_S, "madd.s", 0xfc00003fu, 0x4c000020u, FMADD, ISA_W_FD | ISA_FPU, "fd = fs * ft + fr") \
    X(MADD_D, "madd.d", 0xfc00003fu, 0x4c000021u, FMADD, ISA_W_FD | ISA_FPU | ISA_DOUBLE,         \
      "fd = fs * ft + fr")                                                                        \
    X(MSUB_S, "msub.s", 0xfc00003fu, 0x4c000028u, FMADD, ISA_W_FD | ISA_FPU, "fd = fs * ft - fr") \
    X(MSUB_D, "msub.d", 0xfc00003fu, 0x4c000029u, FMADD, ISA_W_FD | ISA_FPU | ISA_DOUBLE,         \
      "fd = fs * ft - fr")                                                                        \
    X(NMADD_S, "nmadd.s", 0xfc00003fu, 0x4c000030u, FMADD, ISA_W_FD | ISA_FPU,                    \
      "fd = -(fs * ft + fr)")                                                                     \
    X(NMADD_D, "nmadd.d", 0xfc00003fu, 0x4c000031u, FMADD, ISA_W_FD | ISA_FPU | ISA_DOUBLE,       \
      "fd = -(fs * ft + fr)")                                                                     \
    X(NMSUB_S, "nmsub.s", 0xfc00003fu, 0x4c000038u, FMADD, ISA_W_FD | ISA_FPU,                    \
      "fd = -(fs * ft - fr)")                                                                     \
    X(NMSUB_D, "nmsub.d", 0xfc00003fu, 0x4c000039u, FMADD, ISA_W_FD | ISA_FPU | ISA_DOUBLE,       \
      "fd = -(fs * ft - fr)")                                                                     \
    ISA_C(X, F, "f", 0x30, "cc = false")                                                          \
    ISA_C(X, UN, "un", 0x31, "cc = unordered")                                                    \
    ISA_C(X, EQ, "eq", 0x32, "cc = fs == ft")                                                     \
    ISA_C(X, UEQ, "ueq", 0x33, "cc = fs == ft or unordered")                                      \
    ISA_C(X, OLT, "olt", 0x34, "cc = fs < ft")                                                    \
    ISA_C(X, ULT, "ult", 0x35, "cc = fs < ft or unordered")                                       \
    ISA_C(X, OLE, "ole", 0x36, "cc = fs <= ft")                                                   \
    ISA_C(X, ULE, "ule", 0x37, "cc = fs <= ft or unordered")                                      \
    ISA_C(X, SF, "sf", 0x38, "cc = false; any NaN signals")                                       \
    ISA_C(X, NGLE, "ngle", 0x39, "cc = unordered; any NaN signals")                               \
    ISA_C(X, SEQ, "seq", 0x3a, "cc = fs == ft; any NaN signals")                                  \
    ISA_C(X, NGL, "ngl", 0x3b, "cc = fs == ft or unordered; any NaN signals")                     \
    ISA_C(X, LT, "lt", 0x3c, "cc = fs < ft; any NaN signals")                                     \
    ISA_C(X, NGE, "nge", 0x3d, "cc = fs < ft or unordered; any NaN signals")                      \
    ISA_C(X, LE, "le", 0x3e, "cc = fs <= ft; any NaN signals")                                    \
    ISA_C(X, NGT, "ngt", 0x3f, "cc = fs <= ft or unordered; any NaN signals")

#define ISA_TABLE(X)      \
    ISA_TABLE_INTEGER(X)  \
    ISA_TABLE_MULTIPLY(X) \
    ISA_TABLE_BRANCH(X)   \
    ISA_TABLE_MEMORY(X)   \
    ISA_TABLE_SYSTEM(X)   \
    ISA_TABLE_FPU(X)

#endif
