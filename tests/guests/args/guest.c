/* What a program is started with: arguments, environment, the auxiliary vector. */
#include <mayfly/guest.h>

#include <elf.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/utsname.h>
#include <unistd.h>

static int show_system(void)
{
    struct utsname name;
    if (uname(&name) != 0)
        return 1;
    printf("%s %s %ld\n", name.sysname, name.machine, sysconf(_SC_PAGESIZE));
    printf("%d %d %d\n", getauxval(AT_RANDOM) != 0, getauxval(AT_PHDR) != 0,
           getauxval(AT_PAGESZ) == 4096);
    printf("%d %d\n", getpid() > 0, (int)getuid() == (int)geteuid());
    return 0;
}

int main(int argc, char **argv)
{
    if (argc > 1 && strcmp(argv[1], "system") == 0)
        return show_system();
    if (argc > 1 && strcmp(argv[1], "sandbox") == 0) {
        puts(mf_in_sandbox() ? "inside" : "outside");
        return 0;
    }
    for (int i = 1; i < argc; i++)
        printf("%d: %s\n", i, argv[i]);
    const char *value = getenv("GREETING");
    printf("%s\n", value != NULL ? value : "no greeting");
    return argv[argc] != NULL;
}
