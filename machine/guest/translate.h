/*
 * The names of the internal instructions, and what only the files that make and run
 * them share.
 */
#ifndef MACHINE_GUEST_TRANSLATE_H
#define MACHINE_GUEST_TRANSLATE_H

#include "core.h"

enum op_code {
#define OP(name, ...) OP_##name,
#include "instructions.inc"
#undef OP
    OPS,
    /* Labels of execute.c beside them, for the first internal instruction of a block. */
    LABEL_HOT = OPS, /* counts entries until the block is translated */
    LABEL_NATIVE,
};

#endif
