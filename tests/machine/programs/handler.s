# Exceptions with a handler of the program's own: it prints the code, and where it is the address,
# and goes on behind the instruction. Run without the simulator's handler.
        .kdata
save0:  .word 0
save1:  .word 0
colon:  .asciiz ": "
        .ktext 0x80000180
        .set noat
        move $k1, $at
        .set at
        sw $v0, save0
        sw $a0, save1
        mfc0 $k0, $13
        srl $a0, $k0, 2
        andi $a0, $a0, 31
        li $v0, 1
        syscall
        la $a0, colon
        li $v0, 4
        syscall
        srl $a0, $k0, 2
        andi $a0, $a0, 31
        li $v0, 1
        beq $a0, 4, bad
        beq $a0, 5, bad
        b done
bad:    mfc0 $a0, $8
        syscall
done:   li $a0, 10
        li $v0, 11
        syscall
        mfc0 $k0, $14
        addiu $k0, $k0, 4
        mtc0 $k0, $14
        mtc0 $0, $13
        lw $v0, save0
        lw $a0, save1
        .set noat
        move $at, $k1
        .set at
        eret
        .data
word:   .word 1, 2
        .text
        .globl __start
__start:
        li $t0, 0x7fffffff
        li $s0, 5
        add $s0, $t0, $t0
        move $a0, $s0
        jal show
        addi $s0, $t0, 1
        li $t1, 0x80000000
        sub $s0, $t1, $t0
        la $t2, word
        lw $s1, 1($t2)
        lh $s1, 3($t2)
        sw $s0, 2($t2)
        sh $s0, 1($t2)
        break 3
        teq $s0, $s0
        tne $s0, $s0
        tge $t0, $t1
        tgeu $t0, $t1
        tlt $t1, $t0
        tltu $t0, $t1
        teqi $s0, 5
        tnei $s0, 5
        move $a0, $s0
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
