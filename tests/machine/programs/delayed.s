# Branches with delay slots that the program fills itself: spim -delayed_branches, and
# mayfly vm --delayed-branches.
        .text
        .globl main
main:   li $s0, 5
        li $a0, 0
loop:   addu $a0, $a0, $s0
        bnez $s0, loop
        addiu $s0, $s0, -1
        jal show
        nop
        li $s1, 1
        beq $s1, 1, skip
        li $a0, 40
        li $a0, 50
skip:   jal show
        addiu $a0, $a0, 1
        la $t0, double
        li $a0, 21
        jalr $t0
        addiu $a0, $a0, 1
        move $a0, $v0
        jal show
        nop
        bgezal $0, double
        li $a0, 8
        move $a0, $v0
        jal show
        nop
        j out
        li $a0, 60
        li $a0, 70
out:    jal show
        nop
        li $s3, 3
        beq $0, $s3, never
        li $s3, 4
never:  move $a0, $s3
        jal show
        nop
        li $v0, 10
        syscall
double: jr $ra
        addu $v0, $a0, $a0
show:   li $v0, 1
        syscall
        move $t9, $a0
        li $a0, 10
        li $v0, 11
        syscall
        jr $ra
        move $a0, $t9
