/*
 * One machine: its program, the guest program that executes it, the sandbox around that, and
 * how it ended. A machine is used by one thread at a time; vmm_machine_interrupt by any.
 */
#ifndef MACHINE_HOST_MACHINE_H
#define MACHINE_HOST_MACHINE_H

#include "machine/host/config.h"
#include "machine/host/gate.h"
#include "machine/host/io.h"
#include "machine/program.h"
#include "machine/protocol.h"

#include <pthread.h>
#include <stdatomic.h>

struct vmm_machine;

/* What all machines of a command have in common. Read-only while they run. */
struct vmm_common {
    struct mf_image *guest; /* the program that executes MIPS instructions */
    enum mf_backend backend;
    uint64_t timeout_ns;       /* of each machine; 0: none */
    uint64_t max_instructions; /* of each machine that says nothing itself; 0: none */
    bool trace;
    bool legacy_snapshots;   /* SNAPSHOT writes the older format */
    bool snapshots_anywhere; /* SNAPSHOT may name any path */
    bool delayed_branches;   /* of assembly sources */
    bool statistics;         /* ask for them when a machine ends */
    bool no_final_state;     /* nobody wants the registers of one that ends well */
    /*
     * For one machine alone, else NULL: not 0 when a signal came. It is asked before each
     * turn, so that the machine needs no thread of its own.
     */
    int (*signalled)(void);
    /* A machine goes on elsewhere; on the thread that ran it. NULL: none does. */
    void (*moved)(struct vmm_machine *machine);
    struct vmm_terminal terminal;
    atomic_bool stopping; /* no machine shall begin another turn */
};

/* How a machine stands. */
enum vmm_outcome {
    VMM_READY,
    VMM_EXITED,      /* `exit_code` */
    VMM_POWERED_OFF,
    VMM_FAULTED,     /* an exception that the program does not handle */
    VMM_REFUSED,     /* a SNAPSHOT that was not possible */
    VMM_LIMIT,       /* its limit of instructions */
    VMM_DEADLINE,
    VMM_STUCK,       /* waits for what cannot come */
    VMM_INTERRUPTED,
    VMM_MOVED,       /* it goes on elsewhere, or may (move.h) */
    VMM_FAILED,      /* could not be made, or the sandbox failed: `err` */
};

/* A basic block: instructions that are only entered at the first and left behind the last one. */
struct vmm_block {
    uint32_t address, n;
    uint64_t times;
};

/* Counts per instruction, in the order of the ISA table. */
struct vmm_statistics {
    struct machine_stats stats;
    uint64_t *counts;
    struct vmm_block *blocks; /* those that were executed, by their share, largest first */
    size_t nblocks;
};

/* The text of a source file that came along with a machine; NULL: it did not. */
struct vmm_source {
    char *text;
    size_t len;
};

/* What goes along with a sandbox that moves. */
struct vmm_parcel {
    uint8_t *fixed, *all; /* from malloc, or NULL */
    size_t fixed_len, program_len;
};

struct vmm_machine {
    struct vmm_common *common;
    struct vmm_config config;
    struct vmm_io io;
    struct vmm_gate *gate; /* the caller's, for one that others may pause; NULL: none */
    void *moved_context;   /* for common->moved */
    struct machine_program program;
    struct vmm_source *sources; /* of program.files; NULL: they are files here */
    uint8_t digest[32];
    int disk;
    bool disk_read_only;
    struct mf_host *host;
    _Atomic(struct mf_sandbox *) sandbox;
    pthread_mutex_t leaving; /* held by who interrupts the sandbox, or takes it away */
    struct mf_snapshot *start; /* the snapshot that it was made from; NULL: cold */
    bool gets_input;
    bool warned_legacy;
    bool resumes;    /* its sandbox was stopped in the middle of a run(), of `turn` instructions */
    bool unchecked;  /* whether that one is this program's is seen afterwards */
    bool stop_waits; /* `stop` is a SNAPSHOT, for after a migration */
    atomic_bool in_run;         /* between the limits of a turn and what it stopped for */
    _Atomic uint64_t calls;     /* that were begun in the sandbox, since it had `calls_before` */
    uint64_t calls_before, turn;
    struct vmm_parcel parcel;   /* move.c's */
    uint64_t deadline_ns, run_ns, chunk;
    uint64_t executed;     /* since it was made */
    uint64_t waited_reads; /* io.reads when it waited last */
    bool waited;
    enum vmm_outcome outcome;
    int exit_code;
    struct machine_stop stop;   /* of the last turn */
    char fault[320];            /* which one it was, for people */
    struct machine_state state; /* when it ended, if has_state */
    bool has_state;
    struct vmm_statistics statistics;
    struct mf_error err;
};

/* Takes the configuration, whose strings are the machine's from then on. */
void vmm_machine_init(struct vmm_machine *machine, struct vmm_common *common,
                      struct vmm_config *config, bool gets_input);

/*
 * Loads the program and makes the sandbox, from a snapshot when the configuration names one.
 * On failure has said why on standard error, and the outcome is VMM_FAILED.
 */
int vmm_machine_open(struct vmm_machine *machine);

enum vmm_turn { VMM_GOES_ON, VMM_WAITS, VMM_ENDED, VMM_AT_BREAK, VMM_HELD };

/*
 * Runs at most `instructions`. VMM_WAITS: nothing happens before there is input
 * (vmm_machine_wait). VMM_HELD: no turn, because its gate, a shared one, is held. VMM_ENDED:
 * the outcome says how, and was reported when it was no ordinary end.
 */
enum vmm_turn vmm_machine_turn(struct vmm_machine *machine, uint64_t instructions);

/* Takes turns to its end, waiting for input where it has to. */
void vmm_machine_run(struct vmm_machine *machine);

/* Waits for input, the deadline, or a signal, at most `timeout_ms` (-1: no bound). */
void vmm_machine_wait(struct vmm_machine *machine, int timeout_ms);

/* Makes a turn that runs, or the next one, end. Any thread. */
void vmm_machine_interrupt(struct vmm_machine *machine);

/* Ends the machine, which has a gate, with VMM_INTERRUPTED. Any thread; does not wait. */
void vmm_machine_stop(struct vmm_machine *machine);

/* One word for JSON. */
const char *vmm_outcome_name(enum vmm_outcome outcome);

/* ---- looking inside, between turns; MF_OK or MF_E_* with machine->err filled ---- */

int vmm_machine_state(struct vmm_machine *machine, struct machine_state *state);
int vmm_machine_set_state(struct vmm_machine *machine, const struct machine_state *state);
/* *len is how many bytes there were, at most what was asked for. */
int vmm_machine_peek(struct vmm_machine *machine, uint32_t address, void *buf, size_t *len);
int vmm_machine_set_break(struct vmm_machine *machine, uint32_t address, bool on);
int vmm_machine_set_trace(struct vmm_machine *machine, bool on);
/* Fills machine->statistics. */
int vmm_machine_get_statistics(struct vmm_machine *machine);
/* Whether the sandbox holds this machine's program, in this version. */
int vmm_machine_check(struct vmm_machine *machine, const char *path);

/* Says on standard error where it is and what the registers are. */
void vmm_machine_report(struct vmm_machine *machine, uint32_t pc, const char *what);

/*
 * Gives back the sandbox of a machine that has ended: its memory, and the time that takes, are
 * then not left to the end of all machines. What was asked of it before stays.
 */
void vmm_machine_retire(struct vmm_machine *machine);

/* The same for one that nobody looks at any more, however it ended. */
void vmm_machine_drop(struct vmm_machine *machine);

void vmm_machine_close(struct vmm_machine *machine);

#endif
