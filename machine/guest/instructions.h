/*
 * What each internal instruction does: OP(NAME, statements). Included twice: by
 * translate.h for the names, by execute.c for the code, which defines the words used here:
 *
 *   o the internal instruction, b its block, m the machine
 *   D, S, T   registers o->d, o->s, o->t; SS, TT the same, signed; IMM, SIMM
 *   FAULT     an exception; m->fault says which
 *   GO(i)     the block ends: go to successor i; GO_TO(pc) likewise, by address
 *
 * An internal instruction runs on into the next one unless it ends in GO or LEAVE.
 */

/* --- arithmetic --- */
OP(NOP, )
OP(LI, D = IMM;)
OP(MOVE, D = S;)
OP(SLL, D = T << IMM;)
OP(SRL, D = T >> IMM;)
OP(SRA, D = (uint32_t)(TT >> IMM);)
OP(ROTR, D = rotate_right(T, IMM);)
OP(SLLV, D = T << (S & 31);)
OP(SRLV, D = T >> (S & 31);)
OP(SRAV, D = (uint32_t)(TT >> (S & 31));)
OP(ROTRV, D = rotate_right(T, S & 31);)
OP(ADDU, D = S + T;)
OP(SUBU, D = S - T;)
OP(AND, D = S & T;)
OP(OR, D = S | T;)
OP(XOR, D = S ^ T;)
OP(NOR, D = ~(S | T);)
OP(SLT, D = SS < TT;)
OP(SLTU, D = S < T;)
OP(ADDIU, D = S + IMM;)
OP(SLTI, D = SS < SIMM;)
OP(SLTIU, D = S < IMM;)
OP(ANDI, D = S & IMM;)
OP(ORI, D = S | IMM;)
OP(XORI, D = S ^ IMM;)
OP(ADD, int32_t sum; if (__builtin_add_overflow(SS, TT, &sum)) OVERFLOW; D = (uint32_t)sum;)
OP(ADDI, int32_t sum; if (__builtin_add_overflow(SS, SIMM, &sum)) OVERFLOW; D = (uint32_t)sum;)
OP(SUB, int32_t sum; if (__builtin_sub_overflow(SS, TT, &sum)) OVERFLOW; D = (uint32_t)sum;)
OP(CLZ, D = S == 0 ? 32 : (uint32_t)__builtin_clz(S);)
OP(CLO, D = ~S == 0 ? 32 : (uint32_t)__builtin_clz(~S);)
/* s: value; imm: mask at bit 0; t: position. */
OP(EXT, D = S >> o->t & IMM;)
OP(INS, D = (D & ~(IMM << o->t)) | (S & IMM) << o->t;)
OP(WSBH, D = (T & UINT32_C(0x00ff00ff)) << 8 | (T >> 8 & UINT32_C(0x00ff00ff));)
OP(SEB, D = (uint32_t)(int8_t)T;)
OP(SEH, D = (uint32_t)(int16_t)T;)
OP(MOVZ, if (T == 0) D = S;)
OP(MOVN, if (T != 0) D = S;)
/* imm: mask of the condition flag in FCSR */
OP(MOVF, if (!(m->fcsr & IMM)) D = S;)
OP(MOVT, if (m->fcsr & IMM) D = S;)
OP(MUL, D = S * T;)
OP(MULT, set_hilo(m, (uint64_t)((int64_t)SS * TT));)
OP(MULTU, set_hilo(m, (uint64_t)S * T);)
OP(MADD, set_hilo(m, hilo(m) + (uint64_t)((int64_t)SS * TT));)
OP(MADDU, set_hilo(m, hilo(m) + (uint64_t)S * T);)
OP(MSUB, set_hilo(m, hilo(m) - (uint64_t)((int64_t)SS * TT));)
OP(MSUBU, set_hilo(m, hilo(m) - (uint64_t)S * T);)
/* The architecture leaves a division by zero open; here HI and LO stay as they are. */
OP(DIV, int64_t by = TT; if (by != 0) {
    R[REG_LO] = (uint32_t)((int64_t)SS / by);
    R[REG_HI] = (uint32_t)((int64_t)SS % by);
})
OP(DIVU, uint32_t by = T; if (by != 0) {
    R[REG_LO] = S / by;
    R[REG_HI] = S % by;
})

/* --- loads and stores: L and B for the byte order --- */
OP(LB, LOAD(1, uint8_t, same, D = (uint32_t)(int8_t)value))
OP(LBU, LOAD(1, uint8_t, same, D = value))
OP(LH_L, LOAD(2, uint16_t, same, D = (uint32_t)(int16_t)value))
OP(LH_B, LOAD(2, uint16_t, __builtin_bswap16, D = (uint32_t)(int16_t)value))
OP(LHU_L, LOAD(2, uint16_t, same, D = value))
OP(LHU_B, LOAD(2, uint16_t, __builtin_bswap16, D = value))
OP(LW_L, LOAD(4, uint32_t, same, D = value))
OP(LW_B, LOAD(4, uint32_t, __builtin_bswap32, D = value))
OP(SB, STORE(1, uint8_t, same, T))
OP(SH_L, STORE(2, uint16_t, same, T))
OP(SH_B, STORE(2, uint16_t, __builtin_bswap16, T))
OP(SW_L, STORE(4, uint32_t, same, T))
OP(SW_B, STORE(4, uint32_t, __builtin_bswap32, T))
OP(LL_L, LOAD(4, uint32_t, same, D = value; m->linked = true))
OP(LL_B, LOAD(4, uint32_t, __builtin_bswap32, D = value; m->linked = true))
/* d: the result, t: the word. A store that fails leaves the link and the register. */
OP(SC, if (m->linked) STORE_SLOW(S + IMM, 4, T); D = m->linked; m->linked = false; ATTEND;)
OP(LWL, uint64_t word; uint32_t at = S + IMM; LOAD_ALIGNED(at, &word);
   unsigned sh = (m->big_endian ? at & 3 : 3 - (at & 3)) * 8;
   D = (uint32_t)word << sh | (T & ~(UINT32_MAX << sh));)
OP(LWR, uint64_t word; uint32_t at = S + IMM; LOAD_ALIGNED(at, &word);
   unsigned sh = (m->big_endian ? 3 - (at & 3) : at & 3) * 8;
   D = (uint32_t)word >> sh | (T & ~(UINT32_MAX >> sh));)
OP(SWL, uint32_t at = S + IMM; unsigned n = m->big_endian ? 4 - (at & 3) : (at & 3) + 1;
   if (!store_part(m, at, m->big_endian ? at : at & ~UINT32_C(3), n, T >> 8 * (4 - n))) FAULT;
   ATTEND;)
OP(SWR, uint32_t at = S + IMM; unsigned n = m->big_endian ? (at & 3) + 1 : 4 - (at & 3);
   if (!store_part(m, at, m->big_endian ? at & ~UINT32_C(3) : at, n, T)) FAULT;
   ATTEND;)
OP(LWC1_L, LOAD(4, uint32_t, same, m->f[o->d] = value))
OP(LWC1_B, LOAD(4, uint32_t, __builtin_bswap32, m->f[o->d] = value))
OP(SWC1_L, STORE(4, uint32_t, same, m->f[o->t]))
OP(SWC1_B, STORE(4, uint32_t, __builtin_bswap32, m->f[o->t]))
OP(LDC1_L, LOAD(8, uint64_t, same, m->fd[o->d >> 1] = value))
OP(LDC1_B, LOAD(8, uint64_t, __builtin_bswap64, m->fd[o->d >> 1] = value))
OP(SDC1_L, STORE(8, uint64_t, same, m->fd[o->t >> 1]))
OP(SDC1_B, STORE(8, uint64_t, __builtin_bswap64, m->fd[o->t >> 1]))
/* The indexed forms: address = s + t, and the FPU register is d. */
OP(LWXC1, uint64_t value; LOAD_SLOW(S + T, 4, &value); m->f[o->d] = (uint32_t)value; ATTEND;)
OP(LDXC1, uint64_t value; LOAD_SLOW(S + T, 8, &value); m->fd[o->d >> 1] = value; ATTEND;)
OP(SWXC1, STORE_SLOW(S + T, 4, m->f[o->d]); ATTEND;)
OP(SDXC1, STORE_SLOW(S + T, 8, m->fd[o->d >> 1]); ATTEND;)

/* --- branches at the end of a block --- */
OP(BEQ, if (S == T) TAKE; GO(0);)
OP(BNE, if (S != T) TAKE; GO(0);)
OP(BLEZ, if (SS <= 0) TAKE; GO(0);)
OP(BGTZ, if (SS > 0) TAKE; GO(0);)
OP(BLTZ, if (SS < 0) TAKE; GO(0);)
OP(BGEZ, if (SS >= 0) TAKE; GO(0);)
OP(BC1F, if (!(m->fcsr & IMM)) TAKE; GO(0);)
OP(BC1T, if (m->fcsr & IMM) TAKE; GO(0);)
OP(NEXT, GO(0);)
OP(J, GO(1);)
OP(JR, GO_TO(S);)
/* Comparisons fused with the branch that looks at their result, and counting loops. */
OP(SLT_BNE, if ((D = SS < TT) != 0) TAKE; GO(0);)
OP(SLT_BEQ, if ((D = SS < TT) == 0) TAKE; GO(0);)
OP(SLTU_BNE, if ((D = S < T) != 0) TAKE; GO(0);)
OP(SLTU_BEQ, if ((D = S < T) == 0) TAKE; GO(0);)
OP(SLTI_BNE, if ((D = SS < SIMM) != 0) TAKE; GO(0);)
OP(SLTI_BEQ, if ((D = SS < SIMM) == 0) TAKE; GO(0);)
OP(SLTIU_BNE, if ((D = S < IMM) != 0) TAKE; GO(0);)
OP(SLTIU_BEQ, if ((D = S < IMM) == 0) TAKE; GO(0);)
OP(ADDIU_BNE, D += IMM; if (S != T) TAKE; GO(0);)
OP(ADDIU_BEQ, D += IMM; if (S == T) TAKE; GO(0);)
OP(ADDIU_BGTZ, if ((int32_t)(D += IMM) > 0) TAKE; GO(0);)
OP(ADDIU_BGEZ, if ((int32_t)(D += IMM) >= 0) TAKE; GO(0);)
OP(ADDIU_J, D += IMM; GO(1);)

/* --- branches whose delay slot changes what they look at: first the condition --- */
OP(WAIT_BEQ, m->condition = S == T;)
OP(WAIT_BNE, m->condition = S != T;)
OP(WAIT_BLEZ, m->condition = SS <= 0;)
OP(WAIT_BGTZ, m->condition = SS > 0;)
OP(WAIT_BLTZ, m->condition = SS < 0;)
OP(WAIT_BGEZ, m->condition = SS >= 0;)
OP(WAIT_BC1F, m->condition = !(m->fcsr & IMM);)
OP(WAIT_BC1T, m->condition = (m->fcsr & IMM) != 0;)
OP(WAIT_J, m->condition = true;)
OP(WAIT_JR, m->jump = S;)
OP(BRANCH_WAITED, if (m->condition) TAKE; GO(0);)
OP(JUMP_WAITED, GO_TO(m->jump);)
/* A likely branch that is not taken skips its slot, which was charged. */
OP(SKIP_SLOT, if (!m->condition) {
    budget++;
    m->counts[b->insns[o->index + 1]]--;
    GO(0);
}
m->taken++;)

/* --- one instruction at a time --- */
OP(STEP_BRANCH, m->taken += m->condition; m->pc = b->pc + 4; m->in_slot = true;
   m->npc = m->condition ? b->target[1] : b->pc + 8; LEAVE(LEAVE_NEXT);)
OP(STEP_LIKELY, m->taken += m->condition; m->in_slot = m->condition;
   m->pc = b->pc + (m->condition ? 4 : 8); m->npc = b->target[1]; LEAVE(LEAVE_NEXT);)
OP(STEP_JUMP, m->pc = b->pc + 4; m->in_slot = true; m->npc = m->jump; LEAVE(LEAVE_NEXT);)
OP(SLOT_END, m->pc = m->npc; m->in_slot = false; LEAVE(LEAVE_NEXT);)

/* --- what leaves the fast loop --- */
OP(SYSTEM, m->pc = b->pc + 4 * (o->index & ~OP_SLOT); LEAVE(LEAVE_SYSTEM);)
OP(BREAKPOINT, m->pc = b->pc; LEAVE(LEAVE_BREAK);)
/* imm: the exception; t: the coprocessor. */
OP(RAISE, fault_plain(m, (enum exception)IMM, NULL); m->fault.coprocessor = o->t; FAULT;)
OP(TGE, if (SS >= TT) TRAP;)
OP(TGEU, if (S >= T) TRAP;)
OP(TLT, if (SS < TT) TRAP;)
OP(TLTU, if (S < T) TRAP;)
OP(TEQ, if (S == T) TRAP;)
OP(TNE, if (S != T) TRAP;)
OP(TGEI, if (SS >= SIMM) TRAP;)
OP(TGEIU, if (S >= IMM) TRAP;)
OP(TLTI, if (SS < SIMM) TRAP;)
OP(TLTIU, if (S < IMM) TRAP;)
OP(TEQI, if (S == IMM) TRAP;)
OP(TNEI, if (S != IMM) TRAP;)

/* --- floating point --- */
OP(MFC1, D = m->f[o->s];)
OP(MTC1, m->f[o->d] = S;)
OP(MFHC1, D = m->f[o->s | 1];)
OP(MTHC1, m->f[o->d | 1] = S;)
OP(CFC1, D = fpu_read_control(m, o->s);)
OP(ADD_S, SINGLE(x + y))
OP(SUB_S, SINGLE(x - y))
OP(MUL_S, SINGLE(x * y))
OP(DIV_S, SINGLE(x / y))
OP(ADD_D, DOUBLE(x + y))
OP(SUB_D, DOUBLE(x - y))
OP(MUL_D, DOUBLE(x * y))
OP(DIV_D, DOUBLE(x / y))
OP(SQRT_S, SINGLE_1(__builtin_sqrtf(x)))
OP(SQRT_D, DOUBLE_1(__builtin_sqrt(x)))
OP(RECIP_S, SINGLE_1(1.0f / x))
OP(RECIP_D, DOUBLE_1(1.0 / x))
OP(RSQRT_S, SINGLE_1(1.0f / __builtin_sqrtf(x)))
OP(RSQRT_D, DOUBLE_1(1.0 / __builtin_sqrt(x)))
OP(ABS_S, m->f[o->d] = m->f[o->s] & UINT32_C(0x7fffffff);)
OP(NEG_S, m->f[o->d] = m->f[o->s] ^ UINT32_C(0x80000000);)
OP(ABS_D, FD(d) = FD(s) & ~SIGN_D;)
OP(NEG_D, FD(d) = FD(s) ^ SIGN_D;)
OP(MOV_S, m->f[o->d] = m->f[o->s];)
OP(MOV_D, FD(d) = FD(s);)
OP(MOVF_S, if (!(m->fcsr & IMM)) m->f[o->d] = m->f[o->s];)
OP(MOVT_S, if (m->fcsr & IMM) m->f[o->d] = m->f[o->s];)
OP(MOVF_D, if (!(m->fcsr & IMM)) FD(d) = FD(s);)
OP(MOVT_D, if (m->fcsr & IMM) FD(d) = FD(s);)
OP(MOVZ_S, if (T == 0) m->f[o->d] = m->f[o->s];)
OP(MOVN_S, if (T != 0) m->f[o->d] = m->f[o->s];)
OP(MOVZ_D, if (T == 0) FD(d) = FD(s);)
OP(MOVN_D, if (T != 0) FD(d) = FD(s);)
/* imm: enum fpu_rounding */
OP(TO_WORD_S, uint32_t word; if (!fpu_word_single(m, m->f[o->s], IMM, &word)) FAULT;
   m->f[o->d] = word;)
OP(TO_WORD_D, uint32_t word; if (!fpu_word_double(m, FD(s), IMM, &word)) FAULT;
   m->f[o->d] = word;)
OP(CVT_S_W, volatile float z = (float)(int32_t)m->f[o->s]; float v = z; FLAGS;
   m->f[o->d] = bits_of_single(v);)
OP(CVT_D_W, m->fcsr &= ~FCSR_CAUSES; FD(d) = bits_of_double((double)(int32_t)m->f[o->s]);)
OP(CVT_S_D, uint32_t v; if (!fpu_narrow(m, FD(s), &v)) FAULT; m->f[o->d] = v;)
OP(CVT_D_S, uint64_t v; if (!fpu_widen(m, m->f[o->s], &v)) FAULT; FD(d) = v;)
/* imm: enum fpu_muladd and the register fr in the upper half. */
OP(MADD_S, uint32_t v;
   if (!fpu_muladd_single(m, IMM & 3, m->f[o->s], m->f[o->t], m->f[IMM >> 16], &v)) FAULT;
   m->f[o->d] = v;)
OP(MADD_D, uint64_t v;
   if (!fpu_muladd_double(m, IMM & 3, FD(s), FD(t), m->fd[IMM >> 17], &v)) FAULT;
   FD(d) = v;)
/* d: the condition flag's bit in FCSR; imm: the condition */
OP(COMPARE_S, if (!fpu_compare_single(m, m->f[o->s], m->f[o->t], IMM, o->d)) FAULT;)
OP(COMPARE_D, if (!fpu_compare_double(m, FD(s), FD(t), IMM, o->d)) FAULT;)
