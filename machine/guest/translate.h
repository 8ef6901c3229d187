/*
 * The names of the internal instructions, and what only translate.c, execute.c and fpu.c
 * share.
 */
#ifndef MACHINE_GUEST_TRANSLATE_H
#define MACHINE_GUEST_TRANSLATE_H

#include "core.h"

enum op_code {
#define OP(name, ...) OP_##name,
#include "instructions.inc"
#undef OP
    OPS
};

#endif
