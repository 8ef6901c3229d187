/* Counters of the kernel that a profile reads: perf events, KVM's binary statistics. */
#ifndef BENCH_COUNTERS_H
#define BENCH_COUNTERS_H

#include "bench.h"

#include <stdint.h>

/* Adds a line to a profile; what does not fit any more is left out. */
void profile_add(struct bench_profile *profile, bool detail, double value, const char *note,
                 const char *format, ...) __attribute__((format(printf, 5, 6)));

/*
 * perf events of this process, its later threads and its later children: to be opened
 * before what they are to count begins.
 */
#define PERF_EVENTS 4
struct perf_events {
    struct {
        int fd;
        bool user_only;   /* the kernel's part may not be counted here */
        char reason[160]; /* why fd is -1 */
    } events[PERF_EVENTS];
};
void perf_events_open(struct perf_events *perf);
void perf_events_enable(const struct perf_events *perf);
/* Stops counting and adds a line for each event. */
void perf_events_report(const struct perf_events *perf, unsigned operations,
                        struct bench_profile *profile);
void perf_events_close(struct perf_events *perf);

/*
 * The sums of KVM's binary statistics (KVM_GET_STATS_FD) of all VMs and vCPUs that this
 * process has open: found by their names in /proc/self/fd, since they are the library's.
 */
#define KVM_COUNTERS_MAX 96
struct kvm_counters {
    unsigned count;
    unsigned vcpus; /* that were found */
    struct {
        char name[48];
        uint64_t value;
    } counters[KVM_COUNTERS_MAX];
    char reason[160]; /* why there are none, or "" */
};
void kvm_counters_read(struct kvm_counters *counters);

/*
 * Counts the system calls of a round: a child process runs the measure under ptrace.
 * Adds the lines to the profile, or one with the reason.
 */
void trace_syscalls(const struct bench *bench, const struct bench_figure *figure, unsigned rounds,
                    struct bench_profile *profile);

#endif
