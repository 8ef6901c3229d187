/* The program of the figure run_hello: an ordinary static Linux program. */
#include <stdio.h>

int main(void)
{
    puts("hello");
    return 0;
}
