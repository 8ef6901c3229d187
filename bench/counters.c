/*
 * Counters of the kernel. Nothing here fails: a counter that this host refuses is
 * reported with the reason.
 *
 * Sources: perf_event_open(2); Linux, Documentation/virt/kvm/api.rst, KVM_GET_STATS_FD.
 */
#include "counters.h"

#include <dirent.h>
#include <errno.h>
#include <linux/kvm.h>
#include <linux/perf_event.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

void profile_add(struct bench_profile *profile, bool detail, double value, const char *note,
                 const char *format, ...)
{
    struct bench_count *count = &profile->counts[profile->ncounts];
    va_list args;

    if (profile->ncounts == BENCH_COUNTS_MAX)
        return;
    profile->ncounts++;
    count->detail = detail;
    count->value = value;
    snprintf(count->note, sizeof(count->note), "%s", note);
    va_start(args, format);
    vsnprintf(count->name, sizeof(count->name), format, args);
    va_end(args);
}

static const struct {
    const char *name;
    uint32_t type;
    uint64_t config;
} perf_kinds[PERF_EVENTS] = {
    {"instructions", PERF_TYPE_HARDWARE, PERF_COUNT_HW_INSTRUCTIONS},
    {"cycles", PERF_TYPE_HARDWARE, PERF_COUNT_HW_CPU_CYCLES},
    {"CPU time (ns)", PERF_TYPE_SOFTWARE, PERF_COUNT_SW_TASK_CLOCK},
    {"CPU migrations", PERF_TYPE_SOFTWARE, PERF_COUNT_SW_CPU_MIGRATIONS},
};

static int perf_open(uint32_t type, uint64_t config, bool user_only)
{
    struct perf_event_attr attr = {
        .type = type,
        .size = sizeof(attr),
        .config = config,
        .disabled = 1,
        .inherit = 1,
        .exclude_kernel = user_only,
        .exclude_hv = 1,
    };

    return (int)syscall(SYS_perf_event_open, &attr, 0, -1, -1, PERF_FLAG_FD_CLOEXEC);
}

/* Why perf_event_open failed, for people. */
static void perf_reason(int number, char *reason, size_t size)
{
    FILE *file = fopen("/proc/sys/kernel/perf_event_paranoid", "re");
    int level = 0;
    bool known = file != NULL && fscanf(file, "%d", &level) == 1;

    if (file != NULL)
        fclose(file);
    if ((number == EACCES || number == EPERM) && known)
        snprintf(reason, size, "not allowed: kernel.perf_event_paranoid is %d", level);
    else if (number == ENOENT || number == EOPNOTSUPP || number == ENODEV)
        snprintf(reason, size, "this machine has no such counter (a VM often has none)");
    else
        snprintf(reason, size, "perf_event_open: %s", strerror(number));
}

void perf_events_open(struct perf_events *perf)
{
    int i;

    memset(perf, 0, sizeof(*perf));
    for (i = 0; i < PERF_EVENTS; i++) {
        int fd = perf_open(perf_kinds[i].type, perf_kinds[i].config, false);

        if (fd < 0 && (errno == EACCES || errno == EPERM)) {
            perf->events[i].user_only = true;
            fd = perf_open(perf_kinds[i].type, perf_kinds[i].config, true);
        }
        perf->events[i].fd = fd;
        if (fd < 0)
            perf_reason(errno, perf->events[i].reason, sizeof(perf->events[i].reason));
    }
}

void perf_events_enable(const struct perf_events *perf)
{
    int i;

    for (i = 0; i < PERF_EVENTS; i++) {
        if (perf->events[i].fd >= 0)
            ioctl(perf->events[i].fd, PERF_EVENT_IOC_ENABLE, 0);
    }
}

void perf_events_report(const struct perf_events *perf, unsigned operations,
                        struct bench_profile *profile)
{
    uint64_t value;
    int i;

    for (i = 0; i < PERF_EVENTS; i++) {
        if (perf->events[i].fd >= 0)
            ioctl(perf->events[i].fd, PERF_EVENT_IOC_DISABLE, 0);
    }
    for (i = 0; i < PERF_EVENTS; i++) {
        const char *name = perf_kinds[i].name;

        if (perf->events[i].fd < 0)
            profile_add(profile, false, -1, perf->events[i].reason, "%s", name);
        else if (read(perf->events[i].fd, &value, sizeof(value)) != (ssize_t)sizeof(value))
            profile_add(profile, false, -1, "the perf event cannot be read", "%s", name);
        else
            profile_add(profile, false, (double)value / operations,
                        perf->events[i].user_only ? "perf, without the kernel's part" : "perf",
                        "%s", name);
    }
}

void perf_events_close(struct perf_events *perf)
{
    int i;

    for (i = 0; i < PERF_EVENTS; i++) {
        if (perf->events[i].fd >= 0)
            close(perf->events[i].fd);
    }
}

static void kvm_add(struct kvm_counters *counters, const char *name, uint64_t value)
{
    unsigned i;

    for (i = 0; i < counters->count; i++) {
        if (strcmp(counters->counters[i].name, name) == 0)
            break;
    }
    if (i == KVM_COUNTERS_MAX)
        return;
    if (i == counters->count) {
        counters->count++;
        snprintf(counters->counters[i].name, sizeof(counters->counters[i].name), "%s", name);
        counters->counters[i].value = 0;
    }
    counters->counters[i].value += value;
}

/* Adds the counters of one statistics file: single numbers that only grow. */
static void kvm_read_stats(int fd, struct kvm_counters *counters)
{
    struct kvm_stats_header header;
    struct kvm_stats_desc *desc;
    uint64_t value;
    size_t size;
    uint32_t i;

    if (pread(fd, &header, sizeof(header), 0) != (ssize_t)sizeof(header))
        return;
    size = sizeof(*desc) + header.name_size;
    desc = calloc(1, size + 1);
    for (i = 0; desc != NULL && i < header.num_desc; i++) {
        if (pread(fd, desc, size, header.desc_offset + (off_t)(i * size)) != (ssize_t)size)
            break;
        if ((desc->flags & KVM_STATS_TYPE_MASK) != KVM_STATS_TYPE_CUMULATIVE ||
            (desc->flags & KVM_STATS_UNIT_MASK) != KVM_STATS_UNIT_NONE || desc->size != 1)
            continue;
        if (pread(fd, &value, sizeof(value), header.data_offset + (off_t)desc->offset) !=
            (ssize_t)sizeof(value))
            break;
        kvm_add(counters, desc->name, value);
    }
    free(desc);
}

/* Reads the statistics of descriptor `fd` when it is a VM or a vCPU. */
static void kvm_visit(int fd, const char *link, struct kvm_counters *counters)
{
    bool vcpu = strncmp(link, "anon_inode:kvm-vcpu:", 20) == 0;
    int stats;

    if (!vcpu && strcmp(link, "anon_inode:kvm-vm") != 0)
        return;
    counters->vcpus += vcpu;
    stats = ioctl(fd, KVM_GET_STATS_FD, NULL);
    if (stats < 0) {
        snprintf(counters->reason, sizeof(counters->reason), "KVM_GET_STATS_FD: %s",
                 strerror(errno));
        return;
    }
    kvm_read_stats(stats, counters);
    close(stats);
}

void kvm_counters_read(struct kvm_counters *counters)
{
    DIR *folder = opendir("/proc/self/fd");
    const struct dirent *entry;
    char link[64];

    memset(counters, 0, sizeof(*counters));
    if (folder == NULL) {
        snprintf(counters->reason, sizeof(counters->reason), "/proc/self/fd: %s", strerror(errno));
        return;
    }
    while ((entry = readdir(folder)) != NULL) {
        ssize_t len = readlinkat(dirfd(folder), entry->d_name, link, sizeof(link) - 1);

        if (len <= 0)
            continue;
        link[len] = '\0';
        kvm_visit((int)strtol(entry->d_name, NULL, 10), link, counters);
    }
    closedir(folder);
    if (counters->vcpus == 0 && counters->reason[0] == '\0')
        snprintf(counters->reason, sizeof(counters->reason), "this process has no vCPU");
}
