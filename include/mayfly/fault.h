/* Faults: what a guest did that its machine does not allow. */
#ifndef MAYFLY_FAULT_H
#define MAYFLY_FAULT_H

#include <mayfly/export.h>

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* X(name, number, word for scripts, text) */
#define MF_FAULT_LIST(X)                                                             \
    X(MF_FAULT_NONE, 0, "none", "no fault")                                          \
    X(MF_FAULT_NULL, 1, "null-dereference", "null pointer dereference")              \
    X(MF_FAULT_STACK_OVERFLOW, 2, "stack-overflow", "stack overflow")                \
    X(MF_FAULT_READ, 3, "bad-read", "read of memory that is not mapped or not readable") \
    X(MF_FAULT_WRITE, 4, "bad-write", "write to memory that is not mapped")          \
    X(MF_FAULT_WRITE_PROTECTED, 5, "write-protected", "write to read-only memory")   \
    X(MF_FAULT_WRITE_CODE, 6, "write-to-code", "write to code")                      \
    X(MF_FAULT_EXECUTE, 7, "bad-jump", "jump to memory that is not mapped")          \
    X(MF_FAULT_EXECUTE_DATA, 8, "jump-to-data", "jump to data")                      \
    X(MF_FAULT_DIVIDE, 9, "divide-error", "division by zero or overflow")            \
    X(MF_FAULT_INSTRUCTION, 10, "invalid-instruction", "invalid instruction")        \
    X(MF_FAULT_PRIVILEGED, 11, "privileged-instruction", "privileged instruction")   \
    X(MF_FAULT_UNALIGNED, 12, "unaligned-access", "unaligned SSE access")            \
    X(MF_FAULT_BREAKPOINT, 13, "breakpoint", "breakpoint")                           \
    X(MF_FAULT_FLOATING_POINT, 14, "floating-point", "floating point exception")     \
    X(MF_FAULT_PROTECTION, 15, "general-protection", "general protection fault")     \
    X(MF_FAULT_DEBUG, 16, "debug-trap", "debug trap or single step")                 \
    X(MF_FAULT_MACHINE, 17, "machine", "the virtual CPU cannot go on")               \
    X(MF_FAULT_BUS, 18, "bus-error", "touch of mapped host memory that no longer exists")

enum mf_fault_kind {
#define MF_FAULT_ENUM(name, number, word, text) name = number,
    MF_FAULT_LIST(MF_FAULT_ENUM)
#undef MF_FAULT_ENUM
};

/* General registers of the guest, in the order of the KVM API. */
struct mf_registers {
    uint64_t rax, rbx, rcx, rdx, rsi, rdi, rsp, rbp;
    uint64_t r8, r9, r10, r11, r12, r13, r14, r15;
    uint64_t rip, rflags;
};

struct mf_fault {
    enum mf_fault_kind kind;
    int vector;           /* x86 exception vector, or -1 */
    uint64_t error_code;  /* of the exception, or 0 */
    uint64_t instruction; /* guest virtual address of the instruction */
    uint64_t address;     /* the address that it used (page and bus faults), else 0: unknown */
    char symbol[128];     /* function that holds the instruction; "" when unknown */
    uint64_t symbol_offset;
    struct mf_registers registers;
};

/* The word of a kind for scripts, like "null-dereference". Static. */
MF_API const char *mf_fault_name(enum mf_fault_kind kind);

/* The text of a kind for people. Static. */
MF_API const char *mf_fault_text(enum mf_fault_kind kind);

/*
 * One line for people: kind, where (symbol+offset), address. Cut and
 * NUL-terminated like snprintf; returns the full length.
 */
MF_API size_t mf_fault_format(const struct mf_fault *fault, char *buf, size_t size);

#ifdef __cplusplus
}
#endif

#endif
