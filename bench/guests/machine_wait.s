# Says that it runs, by an empty line, and ends with its input: for the memory of machines.
        .text
        .globl  main
main:   li      $v0, 11                 # print_char
        li      $a0, 10
        syscall
        li      $v0, 12                 # read_char
        syscall
        li      $v0, 10                 # exit
        syscall
