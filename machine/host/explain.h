/* What a machine is in the middle of, as text for people. All texts are from malloc. */
#ifndef MACHINE_HOST_EXPLAIN_H
#define MACHINE_HOST_EXPLAIN_H

#include "machine/host/machine.h"

/* "what at 0x00400008, file.s:3 (main+8)", the instruction, and the registers if known. */
char *explain_stop(struct vmm_machine *machine, uint32_t pc, const char *what);

/*
 * What the exception of machine->stop is, as the text `what`. Returns the instruction to show:
 * where it happened, or, when nothing could be fetched there, the jump that went there, if
 * the registers say which one it was.
 */
uint32_t explain_fault(struct vmm_machine *machine, char *what, size_t size);

/* All registers; those that differ from `before` (may be NULL) are marked. */
char *explain_registers(const struct machine_state *state, const struct machine_state *before);

/*
 * The instruction at `address`: its word and text, and its source line when there is one.
 * False: there is no memory.
 */
bool explain_instruction(struct vmm_machine *machine, uint32_t address, char *buf, size_t size);

/* The word of memory at `address` in the machine's byte order. False: none, or a failure. */
bool explain_word(struct vmm_machine *machine, uint32_t address, uint32_t *word);

/* A word of a text segment, `at` bytes from its beginning. */
uint32_t explain_segment_word(const struct machine_program *program,
                              const struct machine_segment *segment, uint32_t at);

/* The name of the instruction that statistics count at this index. Static. */
const char *explain_mnemonic(unsigned index);

/* Counts per instruction, blocks, memory, speed. */
char *explain_statistics(const struct vmm_machine *machine);

#endif
