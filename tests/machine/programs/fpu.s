# The FPU: arithmetic, conversions, rounding, comparisons, moves, in both precisions.
        .data
values: .double 1.5, -2.5, 0.0, 3.0e9, 1.0e-3, 123456.789
vend:   .word 0
        .align 2
s:      .float 0.1, 7.25
        .text
        .globl main
main:   la $s0, values
left:   la $s1, values
right:  l.d $f2, 0($s0)
        l.d $f4, 0($s1)
        add.d $f12, $f2, $f4
        jal showd
        sub.d $f12, $f2, $f4
        jal showd
        mul.d $f12, $f2, $f4
        jal showd
        cvt.s.d $f6, $f2
        cvt.s.d $f8, $f4
        add.s $f12, $f6, $f8
        jal shows
        sub.s $f12, $f6, $f8
        jal shows
        mul.s $f12, $f6, $f8
        jal shows
        li $a0, 0
        c.eq.d $f2, $f4
        bc1f f1
        li $a0, 1
f1:     jal show
        li $a0, 0
        c.lt.d $f2, $f4
        bc1f f2
        li $a0, 2
f2:     jal show
        li $a0, 0
        c.le.d $f2, $f4
        bc1f f3
        li $a0, 3
f3:     jal show
        li $a0, 0
        c.eq.s $f6, $f8
        bc1t f4
        li $a0, 4
f4:     jal show
        li $a0, 0
        c.lt.s $f6, $f8
        bc1t f5
        li $a0, 5
f5:     jal show
        li $a0, 0
        c.le.s $f6, $f8
        bc1t f6
        li $a0, 6
f6:     jal show
        addiu $s1, $s1, 8
        la $t0, vend
        bne $s1, $t0, right
        l.d $f4, values
        div.d $f12, $f2, $f4
        jal showd
        abs.d $f12, $f2
        jal showd
        neg.d $f12, $f2
        jal showd
        mov.d $f12, $f2
        jal showd
        abs.d $f12, $f2
        sqrt.d $f12, $f12
        jal showd
        sqrt.s $f12, $f8
        abs.s $f12, $f6
        jal shows
        neg.s $f12, $f6
        jal shows
        addiu $s0, $s0, 8
        la $t0, vend
        bne $s0, $t0, left
        l.s $f12, s
        jal shows
        cvt.d.s $f12, $f12
        jal showd
        li $t0, -77
        mtc1 $t0, $f10
        cvt.d.w $f12, $f10
        jal showd
        cvt.s.w $f12, $f10
        jal shows
        l.d $f2, values+8
        trunc.w.d $f10, $f2
        mfc1 $a0, $f10
        jal show
        round.w.d $f10, $f2
        mfc1 $a0, $f10
        jal show
        floor.w.d $f10, $f2
        mfc1 $a0, $f10
        jal show
        ceil.w.d $f10, $f2
        mfc1 $a0, $f10
        jal show
        cvt.w.d $f10, $f2
        mfc1 $a0, $f10
        jal show
        l.s $f2, s+4
        trunc.w.s $f10, $f2
        mfc1 $a0, $f10
        jal show
        round.w.s $f10, $f2
        mfc1 $a0, $f10
        jal show
        floor.w.s $f10, $f2
        mfc1 $a0, $f10
        jal show
        ceil.w.s $f10, $f2
        mfc1 $a0, $f10
        jal show
        cvt.w.s $f10, $f2
        mfc1 $a0, $f10
        jal show
        s.s $f2, s
        lw $a0, s
        jal show
        l.d $f2, values
        s.d $f2, values+8
        lw $a0, values+12
        jal show
        mfc1 $a0, $f3
        jal show
        li.s $f12, 2.5
        jal shows
        li.d $f12, -1.25
        jal showd
        li $v0, 10
        syscall
showd:  li $v0, 3
        syscall
        j line
shows:  li $v0, 2
        syscall
        j line
show:   li $v0, 1
        syscall
line:   li $a0, 10
        li $v0, 11
        syscall
        jr $ra
