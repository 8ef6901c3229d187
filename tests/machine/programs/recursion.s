# Recursion with frames: factorials, Fibonacci, Ackermann, the greatest common divisor.
        .text
        .globl main
main:   li $a0, 12
        jal fact
        move $a0, $v0
        jal show
        li $a0, 15
        jal fib
        move $a0, $v0
        jal show
        li $a0, 2
        li $a1, 9
        jal acker
        move $a0, $v0
        jal show
        li $a0, 46368
        li $a1, 28656
        jal gcd
        move $a0, $v0
        jal show
        li $v0, 10
        syscall
fact:   li $v0, 1
        blez $a0, leaf
        addiu $sp, $sp, -8
        sw $ra, 4($sp)
        sw $a0, 0($sp)
        addiu $a0, $a0, -1
        jal fact
        lw $a0, 0($sp)
        lw $ra, 4($sp)
        addiu $sp, $sp, 8
        mul $v0, $v0, $a0
leaf:   jr $ra
fib:    move $v0, $a0
        blt $a0, 2, leaf
        addiu $sp, $sp, -12
        sw $ra, 8($sp)
        sw $a0, 4($sp)
        addiu $a0, $a0, -1
        jal fib
        sw $v0, 0($sp)
        lw $a0, 4($sp)
        addiu $a0, $a0, -2
        jal fib
        lw $t0, 0($sp)
        addu $v0, $v0, $t0
        lw $ra, 8($sp)
        addiu $sp, $sp, 12
        jr $ra
acker:  bnez $a0, deeper
        addiu $v0, $a1, 1
        jr $ra
deeper: addiu $sp, $sp, -8
        sw $ra, 4($sp)
        sw $a0, 0($sp)
        li $v0, 1
        beqz $a1, outer
        addiu $a1, $a1, -1
        jal acker
outer:  move $a1, $v0
        lw $a0, 0($sp)
        addiu $a0, $a0, -1
        jal acker
        lw $ra, 4($sp)
        addiu $sp, $sp, 8
        jr $ra
gcd:    move $v0, $a0
        beqz $a1, leaf
        rem $t0, $a0, $a1
        move $a0, $a1
        move $a1, $t0
        j gcd

# Prints $a0 and a newline.
show:   li $v0, 1
        syscall
        li $a0, 10
        li $v0, 11
        syscall
        jr $ra
