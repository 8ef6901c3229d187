# Integer instructions on pairs of edge values; nothing here overflows with an exception.
        .data
edges:  .word 0, 1, -1, 2, 0x7fffffff, 0x80000000, 0x12345678, 0xfffffffe, 31, 65535
end:    .word 0
        .text
        .globl main
main:   la $s0, edges
left:   la $s1, edges
right:  lw $s2, 0($s0)
        lw $s3, 0($s1)
        addu $a0, $s2, $s3
        jal show
        subu $a0, $s2, $s3
        jal show
        and $a0, $s2, $s3
        jal show
        or $a0, $s2, $s3
        jal show
        xor $a0, $s2, $s3
        jal show
        nor $a0, $s2, $s3
        jal show
        slt $a0, $s2, $s3
        jal show
        sltu $a0, $s2, $s3
        jal show
        sllv $a0, $s2, $s3
        jal show
        srlv $a0, $s2, $s3
        jal show
        srav $a0, $s2, $s3
        jal show
        movz $a0, $s2, $s3
        jal show
        li $a0, 77
        movn $a0, $s2, $s3
        jal show
        addiu $s1, $s1, 4
        la $t0, end
        bne $s1, $t0, right
        sll $a0, $s2, 7
        jal show
        srl $a0, $s2, 9
        jal show
        sra $a0, $s2, 31
        jal show
        addiu $a0, $s2, -32768
        jal show
        slti $a0, $s2, -5
        jal show
        sltiu $a0, $s2, 100
        jal show
        andi $a0, $s2, 0xff00
        jal show
        ori $a0, $s2, 0x8001
        jal show
        xori $a0, $s2, 0xffff
        jal show
        clz $a0, $s2
        jal show
        clo $a0, $s2
        jal show
        addiu $s0, $s0, 4
        la $t0, end
        bne $s0, $t0, left
        li $t1, 2147483647
        addi $a0, $t1, -1
        jal show
        add $a0, $t1, $0
        jal show
        li $t2, -2147483648
        sub $a0, $t2, $0
        jal show
        lui $a0, 0xabcd
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
