main: ad $t0, $t1, $t2
 addu $t0, $t1
 lw $t0, labl
 lw $tt0, 5
label: .word 1
label: nop
 .data
 .bytte 3
 add $t0, $t1, $t2
 .byte 300
 .asciiz "abc
 .text
 sll $t0, $t1, 40
 add.d $f1, $f2, $f4
 foo $t0
 li $t0
 li $t0, 0x123456789
 lui $t0, 70000
 beq $t0, $t1
 j 3
 .macro m(%x)
 li %x, qqq
 .end_macro
 m($t0)
 m(1,2)
 lw $t0, 5($f2)
 @
 .include "foo"
 .align 99
 x = 5 +
 li $t0, (5
 ext $t0,$t1,30,5
