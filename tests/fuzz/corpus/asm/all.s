# everything
.eqv LIMIT 20
.eqv CTR $t2
.macro inc(%r, %n)
again: addi %r, %r, %n
   bne %r, $zero, again
.end_macro
N = 3
        .data
b:      .byte 1, 'a', -1
msg:    .asciiz "hi\n\x41\101"
w:      .word 1, msg, 0:3, LIMIT*2+N
f:      .float 1.5, -2e3
d:      .double 3.14
        .space 10
        .text
        .globl main
main:   li $t0, 5
        li $t1, 0x12345678
        li CTR, LIMIT
        la $a0, msg
        lw $t3, w+4($t1)
        lw $t3, w
        lw $t3, 4($sp)
        lw $t3, 0x12348765
        sw $t3, ($sp)
        add $t0, $t1, 100000
        add $t0,$t1,-5
        and $t0,$t1,-5
        sub $t0,$t1,5
        inc($t0, 1)
        inc $t1, 2
        bge $t0, 5, main
        ble $t0, $t1, end
        rem $t0,$t1,$t2
        div $t0,$t1,3
        mulo $t0,$t1,$t2
        rol $t0,$t1,5
        seq $t0,$t1,$t2
        ulw $t0, 3($t0)
        ulh $t0, w
        ush $t0, w
        ld $a0, 0($a0)
        l.d $f2, d
        li.d $f2, 1.0
        li.s $f3, -2.5
        mfc0 $t0, $Status
        lui $at, %hi(w)
        lw $t0, %lo(w)($at)
        c.lt.d $f2, $f4
        bc1t end
        jal 0x80000180
        SNAPSHOT dir/snap 1.bin  # comment
        DUMP_PROCESSOR_STATE
end:    jr $ra
