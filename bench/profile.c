/*
 * Profiles: what one operation of a figure does, counted and not timed. There are three
 * passes, each with the measure opened anew and warmed up, so that no counter sees what
 * another one does:
 *
 *   1. perf events, page faults, context switches; and, of a sandbox that lasts, the
 *      library's and KVM's counters before and after;
 *   2. for measures whose operations have sandboxes of their own: the library's and
 *      KVM's counters just before each sandbox ends;
 *   3. system calls, in a traced child process (trace.c).
 */
#include "counters.h"
#include "measures.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

/* Rounds, unless the caller or the figure wants fewer. */
#define PROFILE_ROUNDS 25

/* What the library counts: X(member, detail of the line before, name). */
#define STATS_LIST(X)                               \
    X(entries, false, "entries into the guest")     \
    X(exits_io, true, "exits: port write")          \
    X(exits_syscall, true, "exits: system call")    \
    X(exits_exception, true, "exits: exception")    \
    X(exits_interrupt, true, "exits: interruption") \
    X(exits_other, true, "exits: other")            \
    X(calls, false, "calls")                        \
    X(host_calls, false, "host calls")              \
    X(bytes_in, false, "bytes into the guest")      \
    X(bytes_out, false, "bytes out of the guest")

/* The library's and KVM's counters of one or many sandboxes. */
struct totals {
    bool any;
    struct mf_stats stats;
    struct kvm_counters kvm;
};

struct pass {
    const struct bench *bench;
    const struct bench_figure *figure;
    unsigned rounds;
    struct totals totals;
};

/* Adds sign * other. Unsigned, so that a difference is exact. */
static void stats_add(struct mf_stats *sum, const struct mf_stats *other, uint64_t sign)
{
#define STATS_ADD(member, detail, name) sum->member += sign * other->member;
    STATS_LIST(STATS_ADD)
#undef STATS_ADD
}

static void kvm_add(struct kvm_counters *sum, const struct kvm_counters *other, uint64_t sign)
{
    unsigned i;

    if (sum->count == 0) {
        memcpy(sum, other, sizeof(*sum));
        for (i = 0; i < sum->count; i++)
            sum->counters[i].value = 0;
    }
    /* The kernel lists them in the same order each time. */
    for (i = 0; i < sum->count && i < other->count; i++)
        sum->counters[i].value += sign * other->counters[i].value;
    snprintf(sum->reason, sizeof(sum->reason), "%s", other->reason);
}

/* Adds the counters of `sandbox` as they are now to the totals, or takes them away. */
static void totals_add(struct totals *totals, const struct mf_sandbox *sandbox, uint64_t sign)
{
    struct mf_stats stats = {.size = sizeof(stats)};
    struct kvm_counters *kvm = malloc(sizeof(*kvm));

    mf_sandbox_get_stats(sandbox, &stats);
    stats_add(&totals->stats, &stats, sign);
    if (kvm != NULL) {
        kvm_counters_read(kvm);
        kvm_add(&totals->kvm, kvm, sign);
    }
    free(kvm);
    totals->any = true;
}

/* A sandbox of one operation is about to end. */
static void on_watch(void *context, struct mf_sandbox *sandbox)
{
    totals_add(context, sandbox, 1);
}

static void add_rusage(const struct rusage before[2], unsigned operations,
                       struct bench_profile *profile)
{
    struct rusage after[2];
    double minor = 0, major = 0, voluntary = 0, forced = 0;
    int i;

    getrusage(RUSAGE_SELF, &after[0]);
    getrusage(RUSAGE_CHILDREN, &after[1]);
    for (i = 0; i < 2; i++) {
        minor += (double)(after[i].ru_minflt - before[i].ru_minflt);
        major += (double)(after[i].ru_majflt - before[i].ru_majflt);
        voluntary += (double)(after[i].ru_nvcsw - before[i].ru_nvcsw);
        forced += (double)(after[i].ru_nivcsw - before[i].ru_nivcsw);
    }
    profile_add(profile, false, (minor + major) / operations, "getrusage", "page faults");
    profile_add(profile, true, major / operations, "", "from a disk");
    profile_add(profile, false, (voluntary + forced) / operations, "getrusage", "context switches");
    profile_add(profile, true, voluntary / operations, "", "waiting");
    profile_add(profile, true, forced / operations, "", "the CPU was taken away");
}

static int round_of(const struct pass *pass, void *state, struct mf_error *err)
{
    double value;

    return pass->figure->product->round(state, pass->figure->operations, &value, err);
}

static int pass_counters(struct pass *pass, struct bench_profile *profile, struct mf_error *err)
{
    const struct bench_measure *product = pass->figure->product;
    struct mf_sandbox *sandbox;
    struct perf_events perf;
    struct rusage before[2];
    void *state;
    unsigned i;
    int status;

    perf_events_open(&perf);
    status = product->open(pass->bench, &state, err);
    if (status != MF_OK) {
        perf_events_close(&perf);
        return status;
    }
    sandbox = product->sandbox != NULL ? product->sandbox(state) : NULL;
    status = round_of(pass, state, err);
    if (sandbox != NULL)
        totals_add(&pass->totals, sandbox, (uint64_t)-1);
    getrusage(RUSAGE_SELF, &before[0]);
    getrusage(RUSAGE_CHILDREN, &before[1]);
    perf_events_enable(&perf);
    for (i = 0; i < pass->rounds && status == MF_OK; i++)
        status = round_of(pass, state, err);
    perf_events_report(&perf, profile->operations, profile);
    add_rusage(before, profile->operations, profile);
    if (sandbox != NULL)
        totals_add(&pass->totals, sandbox, 1);
    product->close(state);
    perf_events_close(&perf);
    return status;
}

static int pass_watch(struct pass *pass, struct mf_error *err)
{
    const struct bench_measure *product = pass->figure->product;
    struct bench watching = *pass->bench;
    void *state;
    unsigned i;
    int status;

    watching.watch = on_watch;
    watching.watch_context = &pass->totals;
    status = product->open(&watching, &state, err);
    if (status != MF_OK)
        return status;
    for (i = 0; i < pass->rounds && status == MF_OK; i++)
        status = round_of(pass, state, err);
    product->close(state);
    return status;
}

/* KVM's exits of all kinds, and below them what else it counted, as far as it is not 0. */
static void report_kvm(const struct kvm_counters *kvm, double operations,
                       struct bench_profile *profile)
{
    double exits = -1;
    unsigned i;

    for (i = 0; i < kvm->count; i++) {
        if (strcmp(kvm->counters[i].name, "exits") == 0)
            exits = (double)kvm->counters[i].value / operations;
    }
    profile_add(profile, false, exits, "KVM_GET_STATS_FD; below, KVM's counters that are not 0",
                "KVM exits");
    for (i = 0; i < kvm->count; i++) {
        if (kvm->counters[i].value != 0 && strcmp(kvm->counters[i].name, "exits") != 0)
            profile_add(profile, true, (double)kvm->counters[i].value / operations, "", "%s",
                        kvm->counters[i].name);
    }
}

static void report_totals(const struct totals *totals, struct bench_profile *profile)
{
    double operations = profile->operations;

    if (!totals->any) {
        profile_add(profile, false, -1, "the sandbox belongs to a pool or to another process",
                    "entries into the guest");
        profile_add(profile, false, -1, "the VM belongs to a pool or to another process",
                    "KVM exits");
        return;
    }
#define STATS_REPORT(member, detail, name)                                  \
    profile_add(profile, detail, (double)totals->stats.member / operations, \
                detail ? "" : "mf_sandbox_get_stats", "%s", name);
    STATS_LIST(STATS_REPORT)
#undef STATS_REPORT
    if (profile->backend != MF_BACKEND_KVM || totals->kvm.reason[0] != '\0') {
        profile_add(profile, false, -1,
                    profile->backend != MF_BACKEND_KVM ? "this backend uses no KVM"
                                                       : totals->kvm.reason,
                    "KVM exits");
        return;
    }
    report_kvm(&totals->kvm, operations, profile);
}

int bench_profile_run(const struct bench *bench, const struct bench_figure *figure,
                      struct bench_profile *profile, struct mf_error *err)
{
    unsigned rounds = figure->rounds < PROFILE_ROUNDS ? figure->rounds : PROFILE_ROUNDS;
    struct pass pass = {.bench = bench, .figure = figure};
    int status;

    memset(profile, 0, sizeof(*profile));
    if (strcmp(figure->unit, "us") != 0)
        return mf_fail(err, MF_E_ARGUMENT,
                       "%s is an amount of memory and no operation whose events could be counted",
                       figure->name);
    pass.rounds = bench->rounds != 0 ? bench->rounds : rounds;
    profile->figure = figure;
    profile->backend = bench->backend;
    profile->operations =
        pass.rounds * figure->operations * (figure->calls != 0 ? figure->calls : 1);
    status = pass_counters(&pass, profile, err);
    if (status == MF_OK && figure->product->sandbox == NULL)
        status = pass_watch(&pass, err);
    /* The message is there already. */
    if (status == BENCH_UNKNOWN && err != NULL)
        err->code = MF_E_BACKEND;
    if (status != MF_OK)
        return status == BENCH_UNKNOWN ? MF_E_BACKEND : status;
    report_totals(&pass.totals, profile);
    trace_syscalls(bench, figure, pass.rounds, profile);
    return MF_OK;
}

/* A count without more digits than it has meaning. */
static const char *format_count(char *buf, size_t size, double value)
{
    if (value < 0)
        snprintf(buf, size, "-");
    else if (value >= 1000)
        snprintf(buf, size, "%.0f", value);
    else
        snprintf(buf, size, "%.*f", value > 0 && value < 0.01 ? 5 : 2, value);
    return buf;
}

void bench_print_profile(FILE *out, const struct bench_profile *profile)
{
    char machine[512], value[32];
    size_t i;

    bench_machine(machine, sizeof(machine));
    fprintf(out, "%s\n\n%s on %s: %s\ncounts for one of %u\n\n", machine, profile->figure->name,
            mf_backend_name(profile->backend), profile->figure->what, profile->operations);
    for (i = 0; i < profile->ncounts; i++) {
        const struct bench_count *count = &profile->counts[i];

        fprintf(out, "%s%-*s %12s%s%s\n", count->detail ? "  " : "", count->detail ? 30 : 32,
                count->name, format_count(value, sizeof(value), count->value),
                count->note[0] != '\0' ? "  " : "", count->note);
    }
}

static json_t *count_to_json(const struct bench_count *count)
{
    return json_pack("{s:s, s:o, s:b, s:s}", "name", count->name, "value",
                     count->value >= 0 ? json_real(count->value) : json_null(), "detail",
                     (int)count->detail, "note", count->note);
}

int bench_print_profile_json(FILE *out, const struct bench_profile *profile, struct mf_error *err)
{
    char machine[512];
    json_t *counts = json_array(), *object;
    int failed = 0;
    size_t i;

    bench_machine(machine, sizeof(machine));
    for (i = 0; i < profile->ncounts; i++)
        failed |= json_array_append_new(counts, count_to_json(&profile->counts[i]));
    object = json_pack("{s:s, s:s, s:i, s:o, s:s, s:s}", "name", profile->figure->name, "backend",
                       mf_backend_name(profile->backend), "operations", (int)profile->operations,
                       "counts", counts, "machine", machine, "version", mf_version());
    if (object == NULL || failed != 0) {
        json_decref(object);
        return mf_fail(err, MF_E_NO_MEMORY, "out of memory for the profile");
    }
    json_dumpf(object, out, JSON_INDENT(2) | JSON_REAL_PRECISION(6));
    fputc('\n', out);
    json_decref(object);
    return MF_OK;
}
