/*
 * What makes a program a guest: the note that the host reads from the file, the
 * loop that waits for calls, and what the boot page tells. Every record of the
 * function table refers to mf_guest_anchor, so this file is in every guest that
 * exports or imports a function.
 */
#include "guest/sdk.h"

/*
 * The note, as in abi/function.h, and one record without meaning, so that the
 * table's section exists in every program. Assembly, because only the assembler
 * can state the distance between two places before the program is linked.
 */
__asm__(".pushsection .note.mayfly, \"a\", @note\n"
        "    .p2align 2\n"
        "    .long 7, 24, 0x4d46\n"
        "    .asciz \"Mayfly\"\n"
        "    .p2align 2\n"
        "    .long 0x10001, 0x10000\n" /* version, min_version */
        "    .quad 0\n"                /* features */
        "    .hidden __start_mayfly_table\n"
        "    .hidden __stop_mayfly_table\n"
        "    .long __start_mayfly_table - .\n"
        "    .long __stop_mayfly_table - .\n"
        ".popsection\n"
        ".pushsection mayfly_table, \"aw\", @progbits\n"
        "    .p2align 4\n"
        "    .long 25, 0\n"
        "    .quad 0, 0\n"
        "    .byte 0\n"
        ".popsection\n");
_Static_assert(sizeof(MF_ABI_NOTE_NAME) == 7 && sizeof(struct mf_abi_note) == 24 &&
                   MF_ABI_NOTE_TYPE == 0x4d46,
               "the note above");
_Static_assert(MF_ABI_VERSION == 0x10001 && MF_ABI_MIN_VERSION == 0x10000, "the note above");
_Static_assert(MF_ABI_RECORD_END == 0 && MF_ABI_RECORD_ALIGN == 16, "the record above");

/* What MF_EXPORT and its like write is what the ABI says. */
#define RECORD MF_RECORD_TYPE_(mf_function, "")
_Static_assert(offsetof(RECORD, kind) == offsetof(struct mf_abi_function, kind) &&
                   offsetof(RECORD, pointer) == offsetof(struct mf_abi_function, pointer) &&
                   offsetof(RECORD, anchor) == offsetof(struct mf_abi_function, anchor) &&
                   offsetof(RECORD, signature) == offsetof(struct mf_abi_function, signature) &&
                   sizeof(struct mf_abi_function) == 24,
               "records of guest.h");
_Static_assert(MF_ABI_RECORD_EXPORT == 1 && MF_ABI_RECORD_IMPORT == 2 &&
                   MF_ABI_RECORD_RESTORE_HOOK == 3,
               "kinds in guest.h");
_Static_assert(MF_ABI_PORT_LOG == 0xb2 && MF_ABI_PORT_ABORT == 0xb3, "ports in guest.h");
_Static_assert((int)MF_LOG_ERROR == (int)MF_ABI_LOG_ERROR &&
                   (int)MF_LOG_DEBUG == (int)MF_ABI_LOG_DEBUG,
               "log levels in guest.h");

const char mf_guest_anchor = 0;

static uint64_t generation_seen;

uint64_t mf_generation(void)
{
    return __atomic_load_n(&guest_boot()->generation, __ATOMIC_RELAXED);
}

void mf_entropy(uint8_t out[32])
{
    guest_copy(out, guest_boot()->entropy, sizeof guest_boot()->entropy);
}

void guest_check_restore(void)
{
    uint64_t generation = mf_generation();
    if (generation == generation_seen)
        return;
    generation_seen = generation;
    for (const char *next = guest_table; next < guest_table_end;) {
        const struct mf_abi_function *record = (const struct mf_abi_function *)next;
        if (record->kind == MF_ABI_RECORD_RESTORE_HOOK)
            ((mf_restore_hook)record->pointer)();
        /* Between two records there may be zero bytes, which have no size. */
        uint64_t size = record->size ? record->size : MF_ABI_RECORD_ALIGN;
        next += (size + MF_ABI_RECORD_ALIGN - 1) & ~(uint64_t)(MF_ABI_RECORD_ALIGN - 1);
    }
}

/*
 * Linux runs 64-bit programs with this code selector, Mayfly's virtual machines
 * with another. Where it is Linux's, one harmless system call finds out whether
 * the boot page is there: Linux reads the signal set before it looks at `how`,
 * and says EFAULT when it cannot.
 */
#define LINUX_USER_CS 0x33
#define LINUX_RT_SIGPROCMASK 14
#define LINUX_EFAULT 14

bool mf_in_sandbox(void)
{
    unsigned cs;
    __asm__("mov %%cs, %0" : "=r"(cs));
    if (cs == LINUX_USER_CS) {
        int64_t result;
        register int64_t set_size __asm__("r10") = 8;
        __asm__ volatile("syscall"
                         : "=a"(result)
                         : "a"(LINUX_RT_SIGPROCMASK), "D"(-1), "S"(guest_boot()), "d"(0),
                           "r"(set_size)
                         : "rcx", "r11", "memory");
        if (result == -LINUX_EFAULT)
            return false;
    }
    return guest_boot()->magic == MF_ABI_BOOT_MAGIC;
}

int mf_serve(void)
{
    static bool serving;

    if (!mf_in_sandbox() || guest_boot()->mode != MF_ABI_MODE_CALL)
        return 0;
    if (serving)
        mf_abort("mf_serve was called a second time");
    serving = true;
    generation_seen = mf_generation();
    if (mf_guest_flush)
        mf_guest_flush();
    for (;;) {
        do
            guest_answer_calls();
        while (guest_poll());
        GUEST_OUT(MF_ABI_PORT_READY, 0);
    }
}
