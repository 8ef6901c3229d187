/* The sum of the numbers from 1 to 1000, printed by system calls: a program without a library. */
static void call(int number, int argument)
{
    register int v0 __asm__("$2") = number;
    register int a0 __asm__("$4") = argument;

    __asm__ volatile("syscall" : "+r"(v0) : "r"(a0) : "memory");
}

void __start(void)
{
    int sum = 0;

    for (int i = 1; i <= 1000; i++)
        sum += i;
    call(1, sum); /* print_int */
    call(10, 0);  /* exit */
}
