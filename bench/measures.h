/* Inside bench/: the measures that the table of figures is made of, and what they share. */
#ifndef BENCH_MEASURES_H
#define BENCH_MEASURES_H

#include "bench.h"

#include <spawn.h>
#include <stdint.h>
#include <sys/resource.h>
#include <sys/types.h>

/* Guest memory of every sandbox and of every raw VM. */
#define BENCH_MEMORY_BYTES (UINT64_C(64) << 20)

/* The text of the calls: 64 bytes. */
#define BENCH_TEXT "The quick brown fox jumps over the lazy dog, and does it again.."
_Static_assert(sizeof(BENCH_TEXT) == 64 + 1, "echo is measured with 64 bytes");

/* The bytes of call_bytes_64k. */
#define BENCH_BYTES (64u << 10)

/* call_large: bytes each way, and guest memory that holds the result and more. */
#define BENCH_LARGE_BYTES        (50u * 1000 * 1000)
#define BENCH_LARGE_MEMORY_BYTES (UINT64_C(256) << 20)

/* snapshot_take: guest memory; that of snapshot_take_64m is BENCH_MEMORY_BYTES. */
#define BENCH_TAKE_MEMORY_BYTES (UINT64_C(256) << 20)

/* The calls of batch_64. */
#define BENCH_BATCH 64

/* The product: call.c */
extern const struct bench_measure bench_call_echo;
extern const struct bench_measure bench_call_host;
extern const struct bench_measure bench_call_nested;
extern const struct bench_measure bench_call_bytes;
/* thread.c, with its floor */
extern const struct bench_measure bench_call_thread;
extern const struct bench_measure bench_floor_thread;
/* life.c */
extern const struct bench_measure bench_create;
extern const struct bench_measure bench_create_from;
/* crowd.c; as many sandboxes as operations */
extern const struct bench_measure bench_memory;
extern const struct bench_measure bench_memory_clone;
extern const struct bench_measure bench_memory_parked;
extern const struct bench_measure bench_floor_page;
/* interrupt.c, with the floor beside it, because both need the second thread */
extern const struct bench_measure bench_interrupt;
extern const struct bench_measure bench_floor_interrupt;
/* process.c, the same */
extern const struct bench_measure bench_run_hello;
extern const struct bench_measure bench_floor_hello;
extern const struct bench_measure bench_floor_noop;
/* floors.c */
extern const struct bench_measure bench_floor_run;
extern const struct bench_measure bench_floor_run_copy;
extern const struct bench_measure bench_floor_create;

/* large.c, with its floor */
extern const struct bench_measure bench_call_large;
extern const struct bench_measure bench_floor_large;
/* batch.c */
extern const struct bench_measure bench_batch;
/* attend.c, with its floor */
extern const struct bench_measure bench_attentive;
extern const struct bench_measure bench_floor_cache_line;
/* restore.c, with its floors */
extern const struct bench_measure bench_restore_10;
extern const struct bench_measure bench_restore_32;
extern const struct bench_measure bench_restore_256;
extern const struct bench_measure bench_take;
extern const struct bench_measure bench_take_small;
extern const struct bench_measure bench_floor_call_copy_32;
extern const struct bench_measure bench_floor_call_copy_256;
extern const struct bench_measure bench_floor_copy_32;
/* pool.c, the same */
extern const struct bench_measure bench_pool_call;
extern const struct bench_measure bench_pool_two;
extern const struct bench_measure bench_floor_pool_one;
/* open.c, the same */
extern const struct bench_measure bench_open_large;
extern const struct bench_measure bench_floor_open_small;

/* migrate.c, with its floors; one of them in migrate_qemu.c */
extern const struct bench_measure bench_migrate_downtime;
extern const struct bench_measure bench_migrate_total;
extern const struct bench_measure bench_migrate_again;
extern const struct bench_measure bench_migrate_slowdown;
extern const struct bench_measure bench_migrate_upgrade;
extern const struct bench_measure bench_floor_upgrade_small;
extern const struct bench_measure bench_floor_qemu_downtime;
extern const struct bench_measure bench_floor_socket_copy;
extern const struct bench_measure bench_floor_migrate_first;
extern const struct bench_measure bench_floor_undisturbed;

/* assembly.c: the assembly machine, with its floors */
extern const struct bench_measure bench_machine_loop;
extern const struct bench_measure bench_machine_work;
extern const struct bench_measure bench_machine_elf;
extern const struct bench_measure bench_machine_start;
extern const struct bench_measure bench_machine_many;
extern const struct bench_measure bench_floor_spim_loop;
extern const struct bench_measure bench_floor_spim_work;
extern const struct bench_measure bench_floor_qemu;
extern const struct bench_measure bench_floor_spim_start;
extern const struct bench_measure bench_floor_machine_alone;
/* assembly_memory.c */
extern const struct bench_measure bench_machine_memory;

/* guest.c. The monotonic clock in microseconds. */
double bench_now_us(void);

/* The path of a file in the folder with the guests; MF_E_SYSTEM with advice when it is missing. */
int bench_guest_path(const struct bench *bench, const char *name, char *path, size_t size,
                     struct mf_error *err);

/* The guest with the exported functions, and the host functions that it needs. */
struct bench_guest {
    struct mf_image *image;
    struct mf_host *host;
    struct mf_sandbox_options options;
};
/* `ticks` is NULL, or an atomic_uint that counts the calls of the host function tick. */
int bench_host_create(void *ticks, struct mf_host **out, struct mf_error *err);
int bench_guest_open(const struct bench *bench, void *ticks, struct bench_guest *guest,
                     struct mf_error *err);
void bench_guest_close(struct bench_guest *guest);

/*
 * Opens the guest, and gives a snapshot of a sandbox that has answered a call of echo. The
 * guest's options are for sandboxes made from it. When it failed, the guest is closed.
 */
int bench_snapshot_open(const struct bench *bench, struct bench_guest *guest,
                        struct mf_snapshot **out, struct mf_error *err);

/* call.c: one sandbox, and a function of it that is called with the same argument. */
struct bench_call {
    struct bench_guest guest;
    struct mf_sandbox *sandbox;
    size_t function;
    struct mf_value argument;
};

/*
 * Opens the guest with `memory_bytes` and `mailbox_bytes` (0: the library's default) and
 * makes a first call, whose answer must have the argument's type and length, as all
 * others. When it failed, bench_call_fini is not due.
 */
int bench_call_init(const struct bench *bench, const char *function, struct mf_value argument,
                    uint64_t memory_bytes, uint64_t mailbox_bytes, struct bench_call *call,
                    struct mf_error *err);
void bench_call_fini(struct bench_call *call);
int bench_call_once(struct bench_call *call, struct mf_error *err);
/* Whether `answer` is as long as the argument; fails with MF_E_PROTOCOL. */
int bench_call_check(const struct bench_call *call, const struct mf_value *answer,
                     struct mf_error *err);

/*
 * receiver.c: a process that receives, over a local socket of its own: migrations, or bytes
 * that it copies into a file in memory.
 */
struct bench_receiver {
    pid_t child;
    int listener;
};
/* What it has, for migrations; NULL: the source sends it. Held by the caller until the end. */
struct bench_receiver_has {
    const struct bench *bench;
    struct mf_image *image;
    struct mf_snapshot *snapshot;
    bool handover; /* each migration has a second connection, for memory by descriptor */
};
/* Before the caller makes a sandbox: a forked process would keep its VM. `has` NULL: copies. */
int bench_receiver_start(struct bench_receiver *receiver, const struct bench_receiver_has *has,
                         struct mf_error *err);
/* Connects; bench_receiver_finish waits until it has dropped all it got, and closes. */
int bench_receiver_connect(const struct bench_receiver *receiver, int *fd, struct mf_error *err);
void bench_receiver_finish(int fd);
void bench_receiver_stop(struct bench_receiver *receiver);

/*
 * spawn.c. The path of a program on PATH; BENCH_UNKNOWN with the name of its package when there
 * is none.
 */
int bench_find_command(const char *name, const char *package, char *path, size_t size,
                       struct mf_error *err);

/* Starts argv[0], a path, without an environment. MF_E_SYSTEM. */
int bench_spawn(const char *const *argv, const posix_spawn_file_actions_t *actions, pid_t *child,
                struct mf_error *err);

/* Waits for its successful end; `usage` is NULL or gets what it used. MF_E_SYSTEM. */
int bench_wait(const char *const *argv, pid_t child, struct rusage *usage, struct mf_error *err);

/* Both. */
int bench_spawn_and_wait(const char *const *argv, const posix_spawn_file_actions_t *actions,
                         struct rusage *usage, struct mf_error *err);

/* Tells who watches that `sandbox` is about to be destroyed. */
void bench_watch(const struct bench *bench, struct mf_sandbox *sandbox);

/* Memory that programs can still get, in KiB; negative: not known. */
double bench_available_kib(void);

/* The CPUs that this process may use. */
unsigned bench_cpus(void);

/* Fails with MF_E_NO_MEMORY. */
int bench_no_memory(struct mf_error *err);

/* Puts the reason into *err and returns BENCH_UNKNOWN. */
int bench_unknown(struct mf_error *err, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* Sorts the samples, of which there is at least one. */
struct bench_spread bench_spread_of(double *samples, unsigned count);

/* machine.c: what the CPUs have done so far. */
struct bench_ticks {
    bool known;
    double busy_s, steal_s, own_s, wall_s;
};
void bench_ticks_read(struct bench_ticks *ticks);
/* What happened from `before` to now. */
void bench_load_since(const struct bench_ticks *before, struct bench_load *load);

#endif
