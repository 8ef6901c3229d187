# How floats and doubles are printed, from the smallest to what is no number.
        .data
dnums:  .double 0.0, 1.0, -1.0, 0.1, 3.14159265358979, 1.0e10, 1.0e17, 1.0e18, 1.0e19, 1.0e100
        .double 1.0e-4, 1.0e-5, 123456789.123456789, 2.2250738585072014e-308, 1.7976931348623157e308
dend:   .word 0x80000000
        .align 3
dbits:  .word 0, 0x80000000, 0, 0x7ff00000, 0, 0xfff00000, 1, 0
        .word 0, 0x7ff80000, 0, 0xfff80000
bend:   .word 0
snums:  .float 0.0, 1.0, -1.0, 0.1, 3.14159265, 1.0e10, 1.0e-8, 1.0e-9, 3.4028235e38, 16777217.0
send:   .word 0
sbits:  .word 0x80000000, 0x7f800000, 0xff800000, 1, 0x007fffff, 0x7fc00000, 0xffc00000
tend:   .word 0
        .text
        .globl main
main:   la $s0, dnums
        la $s1, dend
        jal dlist
        la $s0, dbits
        la $s1, bend
        jal dlist
        la $s0, snums
        la $s1, send
        jal slist
        la $s0, sbits
        la $s1, tend
        jal slist
        li $v0, 10
        syscall
dlist:  l.d $f12, 0($s0)
        li $v0, 3
        syscall
        li $a0, 10
        li $v0, 11
        syscall
        addiu $s0, $s0, 8
        bltu $s0, $s1, dlist
        jr $ra
slist:  l.s $f12, 0($s0)
        li $v0, 2
        syscall
        li $a0, 10
        li $v0, 11
        syscall
        addiu $s0, $s0, 4
        bltu $s0, $s1, slist
        jr $ra
