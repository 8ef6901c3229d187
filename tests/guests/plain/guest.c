/* A program that knows nothing of Mayfly and uses nothing of the SDK. */
#include <stdio.h>

int main(int argc, char **argv)
{
    printf("%d %s\n", argc, argc > 1 ? argv[1] : "-");
    return argc;
}
