# write to the standard output, and close of it; then a status of 3.
        .data
text:   .ascii "written by write\n"
        .text
        .globl main
main:   li $a0, 1
        la $a1, text
        li $a2, 17
        li $v0, 15
        syscall
        move $a0, $v0
        li $v0, 1
        syscall
        li $a0, 3
        li $v0, 17
        syscall
