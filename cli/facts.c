/*
 * Facts about the host, for `mayfly doctor`: kernel, processor, /dev/kvm, kernel
 * settings, resource limits. Everything is read from where Linux shows it; what
 * cannot be read is left out, or said to be unknown.
 */
#include "facts.h"
#include "units.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <unistd.h>

#define LEN(a) (sizeof(a) / sizeof((a)[0]))

#define MODULE_KVM "/sys/module/kvm/parameters/"

void facts_add(struct facts *facts, const char *section, const char *key, enum fact_level level,
               json_t *value, const char *advice, const char *format, ...)
{
    va_list args;

    if (facts->n == FACTS_MAX) {
        json_decref(value);
        return;
    }
    struct fact *fact = &facts->list[facts->n++];
    fact->section = section;
    fact->key = key;
    fact->level = level;
    fact->value = value;
    snprintf(fact->advice, sizeof fact->advice, "%s", advice != NULL ? advice : "");
    va_start(args, format);
    vsnprintf(fact->text, sizeof fact->text, format, args);
    va_end(args);
}

void facts_fini(struct facts *facts)
{
    for (size_t i = 0; i < facts->n; i++)
        json_decref(facts->list[i].value);
    facts->n = 0;
}

bool facts_read_line(const char *path, char *buf, size_t size)
{
    FILE *file = fopen(path, "re");
    bool ok = file != NULL && fgets(buf, (int)size, file) != NULL;

    if (file != NULL)
        fclose(file);
    if (ok)
        buf[strcspn(buf, "\n")] = 0;
    return ok;
}

static void add_kernel(struct facts *facts)
{
    struct utsname name;

    if (uname(&name) != 0)
        return;
    facts_add(facts, "host", "kernel", FACT_INFO, json_string(name.release), NULL, "%s %s",
              name.sysname, name.release);
    bool x86 = strcmp(name.machine, "x86_64") == 0;
    facts_add(facts, "host", "machine", x86 ? FACT_OK : FACT_INFO, json_string(name.machine), NULL,
              "%s%s", name.machine,
              x86 ? "" : ": guests are x86-64 programs, so only soft runs them");
}

static void add_memory(struct facts *facts)
{
    long page = sysconf(_SC_PAGESIZE), pages = sysconf(_SC_PHYS_PAGES);
    long cpus = sysconf(_SC_NPROCESSORS_ONLN);
    char text[32];

    facts_add(facts, "host", "cpus", FACT_INFO, json_integer(cpus), NULL, "%ld", cpus);
    if (page > 0 && pages > 0) {
        uint64_t bytes = (uint64_t)pages * (uint64_t)page;
        units_format_size(bytes, text, sizeof text);
        facts_add(facts, "host", "memory", FACT_INFO, json_integer((json_int_t)bytes), NULL, "%s",
                  text);
    }
    facts_add(facts, "host", "page_size", page == 4096 ? FACT_OK : FACT_WARNING, json_integer(page),
              page == 4096 ? NULL
                           : "boot a kernel with pages of 4096 bytes: the guest's pages are that "
                             "size, and taking a single one away costs more on this kernel",
              "%ld bytes", page);
}

/* The value of `key` in /proc/cpuinfo, of its first processor. */
static bool read_cpuinfo(const char *key, char *buf, size_t size)
{
    FILE *file = fopen("/proc/cpuinfo", "re");
    char *line = NULL;
    size_t room = 0;
    bool found = false;

    while (file != NULL && !found && getline(&line, &room, file) > 0) {
        char *colon = strchr(line, ':');
        if (strncmp(line, key, strlen(key)) != 0 || colon == NULL)
            continue;
        /* "flags" is a prefix of no other key, "model name" neither. */
        found = true;
        snprintf(buf, size, "%s", colon + 1 + strspn(colon + 1, " \t"));
        buf[strcspn(buf, "\n")] = 0;
    }
    free(line);
    if (file != NULL)
        fclose(file);
    return found;
}

/* Which of the features that matter to guests and backends are in `flags`. */
static void add_features(struct facts *facts, char *flags)
{
    static const char *const known[] = {"vmx",    "svm", "ept",    "npt",          "hypervisor",
                                        "sse4_2", "avx", "avx2",   "fma",          "avx512f",
                                        "xsave",  "nx",  "rdrand", "constant_tsc", "la57"};
    char text[200] = "", *save = NULL;
    json_t *array = json_array();
    size_t used = 0;
    bool hardware = false;

    for (char *flag = strtok_r(flags, " ", &save); flag != NULL;
         flag = strtok_r(NULL, " ", &save)) {
        for (size_t i = 0; i < LEN(known); i++) {
            if (strcmp(flag, known[i]) != 0 || used + strlen(flag) + 2 > sizeof text)
                continue;
            used +=
                (size_t)snprintf(text + used, sizeof text - used, "%s%s", used ? " " : "", flag);
            json_array_append_new(array, json_string(flag));
            hardware |= strcmp(flag, "vmx") == 0 || strcmp(flag, "svm") == 0;
        }
    }
    facts_add(facts, "cpu", "features", FACT_INFO, array, NULL, "%s", text);
    /* Not a warning: a nested KVM may do without, and the backend's probe has the last word. */
    facts_add(facts, "cpu", "virtualization", hardware ? FACT_OK : FACT_INFO,
              json_boolean(hardware), NULL, "%s",
              hardware ? "in hardware (VT-x or AMD-V)" : "the CPU shows neither VT-x nor AMD-V");
}

void facts_host(struct facts *facts)
{
    char text[8192];

    add_kernel(facts);
    add_memory(facts);
    if (read_cpuinfo("model name", text, sizeof text))
        facts_add(facts, "cpu", "model", FACT_INFO, json_string(text), NULL, "%.200s", text);
    if (read_cpuinfo("flags", text, sizeof text))
        add_features(facts, text);
}

/* The advice for a /dev/kvm that exists but may not be opened. */
static void advise_permission(const struct stat *st, char *advice, size_t size)
{
    const struct group *group = getgrgid(st->st_gid);
    const char *name = group != NULL ? group->gr_name : "kvm";

    if (st->st_mode & S_IRGRP && st->st_mode & S_IWGRP && st->st_gid != 0)
        snprintf(advice, size, "join its group and log in again: sudo usermod -aG %s $USER", name);
    else
        snprintf(advice, size,
                 "let a group have it: sudo groupadd -f kvm; sudo chgrp kvm /dev/kvm; "
                 "sudo chmod 660 /dev/kvm; sudo usermod -aG kvm $USER; log in again");
}

static void add_device(struct facts *facts)
{
    char advice[300] = "";
    struct stat st;

    if (stat("/dev/kvm", &st) != 0) {
        facts_add(facts, "kvm", "device", FACT_PROBLEM, json_null(),
                  "load the module (sudo modprobe kvm_intel or kvm_amd); turn virtualization on in "
                  "the firmware, or nested virtualization in the host of this VM; give a container "
                  "--device /dev/kvm",
                  "/dev/kvm: %s", strerror(errno));
        return;
    }
    int fd = open("/dev/kvm", O_RDWR | O_CLOEXEC);
    int error = errno;
    bool ok = fd >= 0;
    if (ok)
        close(fd);
    else if (error == EACCES || error == EPERM)
        advise_permission(&st, advice, sizeof advice);
    const struct group *group = getgrgid(st.st_gid);
    json_t *value =
        json_pack("{s:b, s:I, s:I, s:s}", "usable", ok, "mode", (json_int_t)(st.st_mode & 07777),
                  "uid", (json_int_t)st.st_uid, "group", group != NULL ? group->gr_name : "");
    facts_add(facts, "kvm", "device", ok ? FACT_OK : FACT_PROBLEM, value, advice,
              "/dev/kvm, mode %04o, group %s: %s", (unsigned)(st.st_mode & 07777),
              group != NULL ? group->gr_name : "unknown", ok ? "may be opened" : strerror(error));
}

/* A VM that takes longer than this to make and to end is slow. */
#define SLOW_CREATE_MS 20.0

/*
 * The thread that splits and restores huge pages (a mitigation of an Intel
 * erratum) is started with each VM, and must move to the cgroup of its process:
 * on some hosts that takes tens of milliseconds. "never" starts no such thread.
 */
static void add_nx_huge_pages(struct facts *facts, double create_ms)
{
    char value[32], ratio[32];

    if (!facts_read_line(MODULE_KVM "nx_huge_pages", value, sizeof value))
        return;
    bool never = strcmp(value, "never") == 0;
    bool slow_place = !never && create_ms >= 0 && facts_in_slow_cgroup();
    bool slow = slow_place && create_ms > SLOW_CREATE_MS;
    facts_add(facts, "kvm", "nx_huge_pages", slow ? FACT_WARNING : FACT_INFO, json_string(value),
              slow ? "boot with kvm.nx_huge_pages=never (when the CPU is not affected by the "
                     "iTLB multihit erratum), or mount the cgroup hierarchy with favordynmods"
                   : NULL,
              "%s%s", value,
              slow         ? ": its recovery thread makes VM creation slow in this cgroup"
              : slow_place ? ": on some hosts this makes VM creation slow in a cgroup; not here"
                           : "");
    if (facts_read_line(MODULE_KVM "nx_huge_pages_recovery_ratio", ratio, sizeof ratio))
        facts_add(facts, "kvm", "nx_huge_pages_recovery_ratio", FACT_INFO,
                  json_integer(strtoll(ratio, NULL, 10)), NULL, "%s", ratio);
}

static void add_huge_pages(struct facts *facts)
{
    char text[64];

    if (!facts_read_line("/sys/kernel/mm/transparent_hugepage/enabled", text, sizeof text))
        return;
    const char *open = strchr(text, '[');
    size_t len = open != NULL ? strcspn(open + 1, "]") : 0;
    if (open == NULL || len == 0)
        return;
    facts_add(facts, "kvm", "transparent_hugepage", FACT_INFO, json_stringn(open + 1, len), NULL,
              "%.*s", (int)len, open + 1);
}

void facts_kvm(struct facts *facts, double create_ms)
{
    add_device(facts);
    if (create_ms >= 0) {
        bool slow = create_ms > SLOW_CREATE_MS;
        facts_add(facts, "kvm", "create_ms", slow ? FACT_WARNING : FACT_OK, json_real(create_ms),
                  slow ? "see nx_huge_pages below; a host that runs VMs inside a VM is slower, too"
                       : NULL,
                  "%.1f ms to make, try and end a VM", create_ms);
    }
    add_nx_huge_pages(facts, create_ms);
    add_huge_pages(facts);
}

/* A resource limit; below `least` it is a warning with that advice. */
struct limit_row {
    const char *key;
    int resource;
    bool is_size;
    uint64_t least;
    const char *advice;
};

static const struct limit_row limit_rows[] = {
    {"nofile", RLIMIT_NOFILE, false, 1024,
     "raise it (ulimit -n 65536, LimitNOFILE= in a unit): each sandbox on kvm takes descriptors"},
    {"memlock", RLIMIT_MEMLOCK, true, 0, NULL},
    {"as", RLIMIT_AS, true, UINT64_C(1) << 30,
     "raise it (ulimit -v unlimited): all of a guest's memory is reserved as address space"},
    {"nproc", RLIMIT_NPROC, false, 64, "raise it (ulimit -u 4096): time limits need threads"},
};

static void format_limit(rlim_t value, bool is_size, char *buf, size_t size)
{
    if (value == RLIM_INFINITY)
        snprintf(buf, size, "no limit");
    else if (is_size)
        units_format_size(value, buf, size);
    else
        snprintf(buf, size, "%" PRIu64, (uint64_t)value);
}

void facts_limits(struct facts *facts)
{
    for (size_t i = 0; i < LEN(limit_rows); i++) {
        const struct limit_row *row = &limit_rows[i];
        struct rlimit limit;
        char soft[40], hard[40] = "";

        if (getrlimit((__rlimit_resource_t)row->resource, &limit) != 0)
            continue;
        format_limit(limit.rlim_cur, row->is_size, soft, sizeof soft);
        if (limit.rlim_max != limit.rlim_cur)
            format_limit(limit.rlim_max, row->is_size, hard, sizeof hard);
        bool small = limit.rlim_cur < row->least;
        facts_add(facts, "limits", row->key, small ? FACT_WARNING : FACT_OK,
                  limit.rlim_cur == RLIM_INFINITY ? json_null()
                                                  : json_integer((json_int_t)limit.rlim_cur),
                  small ? row->advice : NULL, "%s%s%s%s", soft,
                  hard[0] != 0 ? " (can be raised to " : "", hard, hard[0] != 0 ? ")" : "");
    }
}
