/* Says which machine was measured, and what else it did meanwhile. */
#include "measures.h"

#include <sched.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/utsname.h>
#include <unistd.h>

/* The kernel counts busy CPUs in ticks: in less time than this they say nothing. */
#define LOAD_WALL_MIN_S 0.3

/* The first "model name" of /proc/cpuinfo, or the architecture. */
static void cpu_model(char *model, size_t size, const char *fallback)
{
    FILE *file = fopen("/proc/cpuinfo", "re");
    char line[256];

    snprintf(model, size, "%s", fallback);
    if (file == NULL)
        return;
    while (fgets(line, sizeof(line), file) != NULL) {
        const char *colon = strchr(line, ':');

        if (strncmp(line, "model name", 10) == 0 && colon != NULL && colon[1] == ' ') {
            line[strcspn(line, "\n")] = '\0';
            snprintf(model, size, "%s", colon + 2);
            break;
        }
    }
    fclose(file);
}

void bench_machine(char *buf, size_t size)
{
    struct utsname kernel;
    char model[256];

    if (uname(&kernel) != 0) {
        snprintf(buf, size, "unknown machine");
        return;
    }
    cpu_model(model, sizeof(model), kernel.machine);
    snprintf(buf, size, "%s, %ld CPUs, %s %s", model, sysconf(_SC_NPROCESSORS_ONLN), kernel.sysname,
             kernel.release);
}

unsigned bench_cpus(void)
{
    cpu_set_t set;

    if (sched_getaffinity(0, sizeof(set), &set) == 0)
        return (unsigned)CPU_COUNT(&set);
    /* More CPUs than the set can hold. */
    return (unsigned)sysconf(_SC_NPROCESSORS_ONLN);
}

const char *bench_slow_governor(char *buf, size_t size)
{
    FILE *file = fopen("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor", "re");
    bool read = false;

    if (file == NULL)
        return NULL;
    if (fgets(buf, (int)size, file) != NULL) {
        buf[strcspn(buf, "\n")] = '\0';
        read = true;
    }
    fclose(file);
    return read && strcmp(buf, "performance") != 0 ? buf : NULL;
}

static double seconds(struct timeval time)
{
    return (double)time.tv_sec + (double)time.tv_usec / 1e6;
}

/* CPU time of this process and of the children that it has waited for. */
static double own_seconds(void)
{
    struct rusage own, children;

    getrusage(RUSAGE_SELF, &own);
    getrusage(RUSAGE_CHILDREN, &children);
    return seconds(own.ru_utime) + seconds(own.ru_stime) + seconds(children.ru_utime) +
           seconds(children.ru_stime);
}

void bench_ticks_read(struct bench_ticks *ticks)
{
    FILE *file = fopen("/proc/stat", "re");
    double user, nice, system, idle, iowait, irq, softirq, steal;
    double hz = (double)sysconf(_SC_CLK_TCK);

    memset(ticks, 0, sizeof(*ticks));
    ticks->own_s = own_seconds();
    ticks->wall_s = bench_now_us() / 1e6;
    if (file == NULL)
        return;
    /* proc(5): user and nice contain the time of guests. */
    if (fscanf(file, "cpu %lf %lf %lf %lf %lf %lf %lf %lf", &user, &nice, &system, &idle, &iowait,
               &irq, &softirq, &steal) == 8) {
        ticks->known = true;
        ticks->busy_s = (user + nice + system + irq + softirq) / hz;
        ticks->steal_s = steal / hz;
    }
    fclose(file);
}

void bench_load_since(const struct bench_ticks *before, struct bench_load *load)
{
    struct bench_ticks now;
    double wall, others;

    bench_ticks_read(&now);
    wall = now.wall_s - before->wall_s;
    load->others = load->steal = -1;
    if (!before->known || !now.known || wall < LOAD_WALL_MIN_S)
        return;
    others = ((now.busy_s - before->busy_s) - (now.own_s - before->own_s)) / wall;
    load->others = others > 0 ? others : 0;
    load->steal = (now.steal_s - before->steal_s) / (wall * (double)sysconf(_SC_NPROCESSORS_ONLN));
}
