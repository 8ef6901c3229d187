# Every directive that holds data, alignment, and what it becomes in memory, byte by byte.
        .data
        .align 3
first:  .byte 1, -1, 0x7f, 'a', 255
        .half 0x1234, -2
        .byte 9
        .word 0x11223344, -5, first, far
        .byte 7
        .float 1.5, -0.25, 3.0e10
        .byte 6
        .double 1.5, -2.5e-3
        .ascii "ab", "c"
        .asciiz "tab\there", "quote \" and an end\n"
        .byte 1
        .align 2
        .word 2
        .byte 3
        .align 3
        .word 4
        .align 0
        .byte 5
        .word 0xaabbccdd
        .space 3
        .byte 0x10:3
        .half 0x20:2
        .word 0x30:2
last:   .byte 0
        .extern counter 4
        .data 0x10010800
far:    .word 42
        .text
        .globl main
main:   la $a0, first
        jal show
        la $a0, far
        jal show
        lw $a0, far
        jal show
        la $s0, first
        la $s1, last
next:   lbu $a0, 0($s0)
        jal show
        addiu $s0, $s0, 1
        bne $s0, $s1, next
        li $t0, 17
        sw $t0, counter
        lw $a0, counter
        jal show
        li $v0, 10
        syscall

# Prints $a0 and a newline.
show:   li $v0, 1
        syscall
        li $a0, 10
        li $v0, 11
        syscall
        jr $ra
