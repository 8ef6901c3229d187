/*
 * Measures the memory that sandboxes take: what this process keeps resident,
 * and beside it what the kernel keeps for their VMs, where the host tells that.
 *
 * Each round is a child process, so that what earlier measures left behind in the heap
 * is not counted, nor what these sandboxes leave behind. The child ends without
 * destroying them: the kernel does that.
 */
#include "memory.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

/* Descriptors of one sandbox on kvm: /dev/kvm, VM, vCPU; and those of the process. */
#define FDS_OF_SANDBOX   3
#define FDS_OF_PROCESS   64
/* What a sandbox may take on the soft backend, to know whether that many fit. */
#define SOFT_SANDBOX_KIB 6144
/* Rounds whose kernel memory is kept. */
#define SAMPLES_MAX      64

struct memory_state {
    const struct bench *bench;
    const struct memory_crowd *crowd;
    double beside[SAMPLES_MAX]; /* for each, of each round that knew it */
    unsigned nbeside;
    char note[160]; /* how that was found, or why not */
};

/* What the child process tells its parent. */
struct memory_report {
    int status;
    double value, beside; /* for each, in the figure's unit; `beside` negative: not known */
    char note[160];
    struct mf_error error;
};

/* The resident memory of this process in KiB, or -1. */
static double resident_kib(void)
{
    FILE *file = fopen("/proc/self/statm", "re");
    unsigned long size, resident;
    int fields;

    if (file == NULL)
        return -1;
    fields = fscanf(file, "%lu %lu", &size, &resident);
    fclose(file);
    return fields == 2 ? (double)resident * (double)sysconf(_SC_PAGESIZE) / 1024 : -1;
}

double bench_value_of_key(const char *path, const char *key)
{
    FILE *file = fopen(path, "re");
    char line[256];
    double value = -1;
    size_t len = strlen(key);

    if (file == NULL)
        return -1;
    while (value < 0 && fgets(line, sizeof(line), file) != NULL) {
        if (strncmp(line, key, len) == 0 && (line[len] == ' ' || line[len] == ':'))
            value = strtod(line + len + 1, NULL);
    }
    fclose(file);
    return value;
}

/* What of it is nobody else's, and is no file's. */
static double private_kib(void)
{
    return bench_value_of_key("/proc/self/smaps_rollup", "Private_Dirty");
}

double bench_available_kib(void)
{
    return bench_value_of_key("/proc/meminfo", "MemAvailable");
}

/* Where this process is in the hierarchy of `controller` ("" is that of cgroup 2). */
static bool cgroup_path(const char *controller, char *path, size_t size)
{
    FILE *file = fopen("/proc/self/cgroup", "re");
    char line[1024];
    bool found = false;

    if (file == NULL)
        return false;
    while (!found && fgets(line, sizeof(line), file) != NULL) {
        char *list = strchr(line, ':'), *name = list != NULL ? strchr(list + 1, ':') : NULL;

        if (name == NULL)
            continue;
        *name++ = '\0';
        name[strcspn(name, "\n")] = '\0';
        if (strcmp(list + 1, controller) == 0) {
            snprintf(path, size, "%s", name);
            found = true;
        }
    }
    fclose(file);
    return found;
}

/*
 * What the kernel keeps for the processes of this cgroup (slabs, page tables of host and
 * guests, stacks), in KiB, or -1.
 */
static double cgroup_kernel_kib(void)
{
    char path[900], file[1024];
    double bytes = -1;

    if (cgroup_path("", path, sizeof(path))) {
        snprintf(file, sizeof(file), "/sys/fs/cgroup%s/memory.stat", path);
        bytes = bench_value_of_key(file, "kernel");
    }
    if (bytes < 0 && cgroup_path("memory", path, sizeof(path))) {
        FILE *usage;

        snprintf(file, sizeof(file), "/sys/fs/cgroup/memory%s/memory.kmem.usage_in_bytes", path);
        usage = fopen(file, "re");
        if (usage != NULL) {
            if (fscanf(usage, "%lf", &bytes) != 1)
                bytes = -1;
            fclose(usage);
        }
    }
    return bytes < 0 ? -1 : bytes / 1024;
}

/* The same for the whole host: less exact, but readable everywhere. */
static double host_kernel_kib(void)
{
    static const char *const keys[] = {"Slab",          "KernelStack", "PageTables",
                                       "SecPageTables", "Percpu",      "VmallocUsed"};
    double sum = 0;
    size_t i;

    for (i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
        double kib = bench_value_of_key("/proc/meminfo", keys[i]);

        /* Older kernels have no SecPageTables. */
        if (kib > 0)
            sum += kib;
    }
    return sum > 0 ? sum : -1;
}

void bench_kernel_memory_read(struct kernel_memory *memory)
{
    memory->kib = cgroup_kernel_kib();
    memory->cgroup = memory->kib >= 0;
    if (!memory->cgroup)
        memory->kib = host_kernel_kib();
}

double bench_kernel_memory_since(const struct kernel_memory *before, char note[160])
{
    double now = before->cgroup ? cgroup_kernel_kib() : host_kernel_kib();

    if (before->kib < 0 || now < 0) {
        snprintf(note, 160, "neither this process's cgroup nor /proc/meminfo can be read");
        return -1;
    }
    if (now <= before->kib) {
        snprintf(note, 160, "too little to be told from what the kernel holds for others");
        return -1;
    }
    snprintf(note, 160, "%s",
             before->cgroup ? "kernel memory of this process's cgroup"
                            : "kernel memory of the whole host, /proc/meminfo");
    return now - before->kib;
}

/* Allows this process the descriptors of that many sandboxes; on soft they have none. */
static int raise_limit(const struct bench *bench, unsigned count, struct mf_error *err)
{
    rlim_t need = (rlim_t)count * FDS_OF_SANDBOX + FDS_OF_PROCESS;
    struct rlimit limit;

    if (bench->backend != MF_BACKEND_KVM)
        return MF_OK;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
        return mf_fail(err, MF_E_SYSTEM, "getrlimit: %s", strerror(errno));
    if (limit.rlim_cur >= need)
        return MF_OK;
    limit.rlim_cur = need;
    if (limit.rlim_max < need)
        limit.rlim_max = need;
    if (setrlimit(RLIMIT_NOFILE, &limit) != 0)
        return bench_unknown(err,
                             "%u sandboxes need %lu descriptors, and this process may not "
                             "have so many (ulimit -Hn)",
                             count, (unsigned long)need);
    return MF_OK;
}

/* Emulators are large: refuses what would drive the host out of memory. */
static int check_room(const struct bench *bench, unsigned count, struct mf_error *err)
{
    double free_kib = bench_available_kib();

    if (bench->backend != MF_BACKEND_SOFT || free_kib < 0 ||
        free_kib > (double)count * SOFT_SANDBOX_KIB)
        return MF_OK;
    return bench_unknown(err, "%u sandboxes may take %.1f GiB on soft, and %.1f GiB are free",
                         count, (double)count * SOFT_SANDBOX_KIB / (1 << 20), free_kib / (1 << 20));
}

/* In KiB, or -1. */
static double memory_now(const struct memory_crowd *crowd)
{
    return crowd->only_private ? private_kib() : resident_kib();
}

static int make_many(const struct bench *bench, const struct memory_crowd *crowd, unsigned count,
                     struct memory_report *report)
{
    struct kernel_memory kernel;
    double before, after;
    void *state;
    unsigned i;
    int status = crowd->open(bench, count, &state, &report->error);

    if (status != MF_OK)
        return status;
    bench_kernel_memory_read(&kernel);
    before = memory_now(crowd);
    for (i = 0; i < count && status == MF_OK; i++)
        status = crowd->add(state, i, &report->error);
    if (status != MF_OK)
        return status;
    after = memory_now(crowd);
    report->beside = bench_kernel_memory_since(&kernel, report->note);
    if (report->beside >= 0)
        report->beside /= count;
    if (crowd->count_beside != NULL) {
        report->beside = crowd->count_beside(state);
        snprintf(report->note, sizeof(report->note), "%s", crowd->note);
    }
    if (before < 0 || after < 0)
        return mf_fail(&report->error, MF_E_SYSTEM, "cannot read this process's memory in /proc");
    report->value = ((after - before) * 1024 / count - crowd->content_bytes) / crowd->unit_bytes;
    return MF_OK;
}

/* The child process. */
static void measure_child(const struct memory_state *memory, unsigned count, int report_fd)
{
    struct memory_report report = {.status = MF_OK};
    unsigned vms = count * memory->crowd->vms;
    ssize_t put;

    report.status = raise_limit(memory->bench, vms, &report.error);
    if (report.status == MF_OK)
        report.status = check_room(memory->bench, vms, &report.error);
    if (report.status == MF_OK)
        report.status = make_many(memory->bench, memory->crowd, count, &report);
    put = write(report_fd, &report, sizeof(report));
    _exit(put == (ssize_t)sizeof(report) ? 0 : 1);
}

static int measure(const struct memory_state *memory, unsigned count,
                   struct memory_report *report, struct mf_error *err)
{
    int ends[2];
    ssize_t got;
    pid_t child;

    if (pipe(ends) != 0)
        return mf_fail(err, MF_E_SYSTEM, "cannot make a pipe");
    child = fork();
    if (child == 0) {
        close(ends[0]);
        measure_child(memory, count, ends[1]);
    }
    close(ends[1]);
    got = child < 0 ? -1 : read(ends[0], report, sizeof(*report));
    close(ends[0]);
    if (child > 0)
        waitpid(child, NULL, 0);
    if (got != (ssize_t)sizeof(*report))
        return mf_fail(err, MF_E_SYSTEM, "the process that measures memory failed");
    report->error.message[sizeof(report->error.message) - 1] = '\0';
    report->note[sizeof(report->note) - 1] = '\0';
    if (report->status != MF_OK && err != NULL)
        *err = report->error;
    return report->status;
}

int bench_memory_open(const struct bench *bench, const struct memory_crowd *crowd, void **state,
                      struct mf_error *err)
{
    struct memory_state *memory = calloc(1, sizeof(*memory));

    if (memory == NULL)
        return bench_no_memory(err);
    memory->bench = bench;
    memory->crowd = crowd;
    *state = memory;
    return MF_OK;
}

int bench_memory_round(void *state, unsigned operations, double *value, struct mf_error *err)
{
    struct memory_state *memory = state;
    struct memory_report report = {.status = MF_OK};
    int status = measure(memory, operations, &report, err);

    if (status != MF_OK)
        return status;
    *value = report.value;
    /* A round that knew a number says more than one that did not. */
    if (report.beside >= 0 || memory->nbeside == 0)
        snprintf(memory->note, sizeof(memory->note), "%s", report.note);
    if (report.beside >= 0 && memory->nbeside < SAMPLES_MAX)
        memory->beside[memory->nbeside++] = report.beside;
    return MF_OK;
}

void bench_memory_close(void *state)
{
    free(state);
}

size_t bench_memory_parts(void *state, struct bench_part parts[BENCH_PARTS_MAX])
{
    struct memory_state *memory = state;

    parts[0].name = memory->crowd->beside;
    parts[0].value = -1;
    if (memory->nbeside > 0)
        parts[0].value = bench_spread_of(memory->beside, memory->nbeside).median;
    snprintf(parts[0].note, sizeof(parts[0].note), "%s", memory->note);
    return 1;
}
