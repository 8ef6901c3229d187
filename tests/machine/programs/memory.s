# Loads and stores of all sizes, aligned and not, with every way to write an address.
        .data
        .align 2
area:   .word 0x80818283, 0x04857687, 0x18293a4b, 0
more:   .space 32
        .text
        .globl main
main:   la $s0, area
        lb $a0, 3($s0)
        jal show
        lbu $a0, 3($s0)
        jal show
        lh $a0, 2($s0)
        jal show
        lhu $a0, 2($s0)
        jal show
        lw $a0, ($s0)
        jal show
        lw $a0, area
        jal show
        lw $a0, area+4
        jal show
        li $s1, 4
        lw $a0, area($s1)
        jal show
        lw $a0, area+4($s1)
        jal show
        lb $a0, area+9
        jal show
        la $a0, area+8($s1)
        la $t0, area
        subu $a0, $a0, $t0
        jal show
        li $s2, 0x99aabbcc
        sb $s2, more
        sh $s2, more+2
        sw $s2, more+4($s1)
        lw $a0, more
        jal show
        lw $a0, more+8
        jal show
        sll $s5, $0, 0
turn:   addu $s6, $s0, $s5
        li $a0, 0x55667788
        lwl $a0, 4($s6)
        jal show
        li $a0, 0x55667788
        lwr $a0, 4($s6)
        jal show
        sw $0, more+16
        sw $0, more+20
        la $s6, more+16
        addu $s6, $s6, $s5
        swl $s2, 0($s6)
        lw $a0, more+16
        jal show
        sw $0, more+16
        swr $s2, 0($s6)
        lw $a0, more+16
        jal show
        addiu $s5, $s5, 1
        bne $s5, 4, turn
        la $s0, area
        ll $a0, 4($s0)
        jal show
        li $t0, 1234
        sc $t0, 4($s0)
        lw $a0, 4($s0)
        jal show
        addiu $sp, $sp, -8
        sw $s2, 4($sp)
        lhu $a0, 4($sp)
        jal show
        addiu $sp, $sp, 8
        li $v0, 10
        syscall

# Prints $a0 and a newline.
show:   li $v0, 1
        syscall
        li $a0, 10
        li $v0, 11
        syscall
        jr $ra
