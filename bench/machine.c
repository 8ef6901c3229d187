/* Says which machine was measured, in one line. */
#include "bench.h"

#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

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
