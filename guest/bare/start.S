/*
 * The first instructions of a guest without C library: main(argc, argv, envp),
 * then exit_group with its result. At the start the stack holds argc, argv, NULL,
 * envp, NULL (System V ABI, AMD64 supplement, 3.4.1).
 */
    .globl _start
    .type _start, @function
    .section .text._start, "ax", @progbits
_start:
    xor %ebp, %ebp
    mov (%rsp), %rdi
    lea 8(%rsp), %rsi
    lea 16(%rsp, %rdi, 8), %rdx
    and $-16, %rsp
    call main
    mov %eax, %edi
    mov $231, %eax
    syscall
    ud2
    .size _start, . - _start

    .section .note.GNU-stack, "", @progbits
