# Every branch, real and pseudo, taken and not; $a0 collects which were taken.
        .data
pairs:  .word 0, 0, 1, 0, 0, 1, -1, 1, 1, -1, 5, 5, 0x80000000, 0x7fffffff
end:    .word 0
        .text
        .globl main
main:   la $s0, pairs
again:  lw $s1, 0($s0)
        lw $s2, 4($s0)
        li $s3, 0
        beq $s1, $s2, y1
        b n1
y1:    or $s3, $s3, 2
n1:
        bne $s1, $s2, y2
        b n2
y2:    or $s3, $s3, 4
n2:
        bge $s1, $s2, y3
        b n3
y3:    or $s3, $s3, 8
n3:
        bgeu $s1, $s2, y4
        b n4
y4:    or $s3, $s3, 16
n4:
        bgt $s1, $s2, y5
        b n5
y5:    or $s3, $s3, 32
n5:
        bgtu $s1, $s2, y6
        b n6
y6:    or $s3, $s3, 64
n6:
        ble $s1, $s2, y7
        b n7
y7:    or $s3, $s3, 128
n7:
        bleu $s1, $s2, y8
        b n8
y8:    or $s3, $s3, 256
n8:
        blt $s1, $s2, y9
        b n9
y9:    or $s3, $s3, 512
n9:
        bltu $s1, $s2, y10
        b n10
y10:    or $s3, $s3, 1024
n10:
        move $a0, $s3
        jal show
        li $s3, 0
        beqz $s1, y11
        b n11
y11:    or $s3, $s3, 2
n11:
        bnez $s1, y12
        b n12
y12:    or $s3, $s3, 4
n12:
        bgez $s1, y13
        b n13
y13:    or $s3, $s3, 8
n13:
        bgtz $s1, y14
        b n14
y14:    or $s3, $s3, 16
n14:
        blez $s1, y15
        b n15
y15:    or $s3, $s3, 32
n15:
        bltz $s1, y16
        b n16
y16:    or $s3, $s3, 64
n16:
        move $a0, $s3
        jal show
        li $s3, 0
        beq $s1, 1, y17
        b n17
y17:    or $s3, $s3, 2
n17:
        bne $s1, 1, y18
        b n18
y18:    or $s3, $s3, 4
n18:
        bge $s1, 1, y19
        b n19
y19:    or $s3, $s3, 8
n19:
        bgeu $s1, 1, y20
        b n20
y20:    or $s3, $s3, 16
n20:
        bgt $s1, 1, y21
        b n21
y21:    or $s3, $s3, 32
n21:
        bgtu $s1, 1, y22
        b n22
y22:    or $s3, $s3, 64
n22:
        ble $s1, 1, y23
        b n23
y23:    or $s3, $s3, 128
n23:
        bleu $s1, 1, y24
        b n24
y24:    or $s3, $s3, 256
n24:
        blt $s1, 1, y25
        b n25
y25:    or $s3, $s3, 512
n25:
        bltu $s1, 1, y26
        b n26
y26:    or $s3, $s3, 1024
n26:
        move $a0, $s3
        jal show
        bgezal $s1, called
        bltzal $s1, called
        addiu $s0, $s0, 8
        la $t0, end
        bne $s0, $t0, again
        la $t0, called
        jalr $t0
        jalr $s6, $t0
        bgezal $0, called
        j over
        li $a0, 99
        jal show
over:   li $a0, 5
        jal show
        li $v0, 10
        syscall
called: addu $s4, $s4, 1
        move $s5, $ra
        move $a0, $s4
        jal show
        bne $s4, 10, return
        move $ra, $s6
        jr $ra
return: move $ra, $s5
        jr $ra

# Prints $a0 and a newline.
show:   li $v0, 1
        syscall
        li $a0, 10
        li $v0, 11
        syscall
        jr $ra
