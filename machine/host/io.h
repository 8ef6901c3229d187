/*
 * Input and output of machines. Several share the command's output, so what they print is
 * put together to lines, each behind the name of its machine. Input is never waited for
 * inside of a machine: it says that it waits, and its driver waits for it.
 */
#ifndef MACHINE_HOST_IO_H
#define MACHINE_HOST_IO_H

#include "machine/host/config.h"

#include <pthread.h>
#include <stdarg.h>

/* A line that is longer is broken. */
#define VMM_LINE_MAX 65536

/* What all machines of a command share. */
struct vmm_terminal {
    pthread_mutex_t lock;  /* one line at a time */
    bool names;            /* there is more than one machine */
    bool output_to_stderr; /* standard output is taken */
    bool input_by_line;    /* a debugger reads the same input */
    int wake_fd;           /* readable once a signal came, or -1 */
};

/* Streams that are not descriptors of this process. */
struct vmm_remote {
    void *context;
    /* Bytes, 0 at the end, or a negative errno: -EINTR, nothing is there. */
    ssize_t (*read)(void *context, void *buf, size_t len);
    /*
     * To descriptor 1 or 2 of whoever is there: how many, or a negative errno: -EINTR,
     * nobody reads at the moment.
     */
    ssize_t (*write)(void *context, int fd, const void *data, size_t len);
    /*
     * True: there is input, or its end. With `timeout_ms` 0 asks for some; with more waits for
     * what was asked for.
     */
    bool (*wait)(void *context, int timeout_ms);
};

/* A line that is not complete yet. */
struct vmm_line {
    char *data;
    size_t len;
};

struct vmm_io {
    struct vmm_terminal *terminal;
    const char *name;
    int input, output, trace;   /* descriptors; -1: none */
    int stop_fd;                /* readable once this machine shall end; -1: none */
    const struct vmm_remote *remote; /* then the three are 0 to 2, and none of ours; or NULL */
    bool own[3];                /* opened here */
    bool prefix[3];             /* lines carry the name */
    struct vmm_line lines[3];
    bool input_ended;
    bool line_open;             /* what was written to `output` last was no newline */
    int write_error;            /* errno of the first write that failed; 0: none did */
    uint64_t reads;             /* that were answered with bytes or the end */
};

/*
 * Opens the files of the configuration. `gets_input`: without vm_stdin, the machine reads the
 * command's standard input. To be closed in every case. MF_E_SYSTEM.
 */
int vmm_io_open(struct vmm_io *io, struct vmm_terminal *terminal, const struct vmm_config *config,
                bool gets_input, struct mf_error *err);

/*
 * For a machine that came from elsewhere: its streams are the remote ones, or, with `remote`
 * NULL, the output of this process, with names before the lines, and no input.
 */
void vmm_io_receive(struct vmm_io *io, struct vmm_terminal *terminal, const char *name,
                    const struct vmm_remote *remote);

/* The functions that a sandbox calls. */
void vmm_io_table(struct vmm_io *io, struct mf_io *table);

/* Prints lines that are not complete. */
void vmm_io_flush(struct vmm_io *io);

/*
 * Waits until there is input or its end, `timeout_ms` is over (-1: never), a signal came, or
 * stop_fd is readable.
 * True: there is input.
 */
bool vmm_io_wait(struct vmm_io *io, int timeout_ms);

void vmm_io_close(struct vmm_io *io);

/* Prints a message of the machine to standard error: "mayfly vm: NAME: ...". */
void vmm_io_say(struct vmm_io *io, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Prints lines to standard error, as they are. */
void vmm_io_print(struct vmm_io *io, const char *text);

#endif
