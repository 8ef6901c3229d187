# sbrk: a list of nodes made at run time, walked from its end.
        .text
        .globl main
main:   li $s0, 0
        li $s1, 1
make:   li $a0, 8
        li $v0, 9
        syscall
        sw $s1, 0($v0)
        sw $s0, 4($v0)
        beqz $s0, first
        subu $a0, $v0, $s0
        move $s0, $v0
        jal show
        b next
first:  move $s0, $v0
next:   addu $s1, $s1, $s1
        bne $s1, 1024, make
walk:   lw $a0, 0($s0)
        jal show
        lw $s0, 4($s0)
        bnez $s0, walk
        li $a0, 20000
        li $v0, 9
        syscall
        lw $a0, 19996($v0)
        sw $s1, 19996($v0)
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
