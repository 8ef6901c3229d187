# Products, quotients, HI and LO, and the pseudo-instructions made of them.
        .data
edges:  .word 1, -1, 2, -3, 7, 0x7fffffff, 0x80000001, 0x12345678, -100, 65537
end:    .word 0
        .text
        .globl main
main:   la $s0, edges
left:   la $s1, edges
right:  lw $s2, 0($s0)
        lw $s3, 0($s1)
        mult $s2, $s3
        jal both
        multu $s2, $s3
        jal both
        madd $s3, $s3
        jal both
        maddu $s2, $s3
        jal both
        msub $s2, $s3
        jal both
        msubu $s2, $s2
        jal both
        div $s2, $s3
        jal both
        divu $s2, $s3
        jal both
        mul $a0, $s2, $s3
        jal show
        div $a0, $s2, $s3
        jal show
        divu $a0, $s2, $s3
        jal show
        rem $a0, $s2, $s3
        jal show
        remu $a0, $s2, $s3
        jal show
        addiu $s1, $s1, 4
        la $t0, end
        bne $s1, $t0, right
        mul $a0, $s2, 10
        jal show
        div $a0, $s2, 10
        jal show
        rem $a0, $s2, 7
        jal show
        divu $a0, $s2, 3
        jal show
        remu $a0, $s2, 1000
        jal show
        addiu $s0, $s0, 4
        la $t0, end
        bne $s0, $t0, left
        li $t0, 12345
        mulo $a0, $t0, $t0
        jal show
        mulou $a0, $t0, $t0
        jal show
        mthi $t0
        mtlo $0
        jal both
        li $v0, 10
        syscall
# Prints HI and LO; leaves them.
both:   move $s6, $ra
        mfhi $a0
        jal show
        mflo $a0
        jal show
        move $ra, $s6
        jr $ra

# Prints $a0 and a newline.
show:   li $v0, 1
        syscall
        li $a0, 10
        li $v0, 11
        syscall
        jr $ra
