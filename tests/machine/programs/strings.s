# Strings: length, reversed, in capitals, compared, and a number made into digits.
        .data
text:   .asciiz "A man, a plan, a canal: Panama"
copy:   .space 64
digits: .space 16
dend:   .byte 0
line:   .asciiz "\n"
same:   .asciiz "a palindrome\n"
other:  .asciiz "none\n"
        .text
        .globl main
main:   la $s0, text
        la $s1, copy
        li $s2, 0
letter: lbu $t0, 0($s0)
        beqz $t0, ended
        addiu $s0, $s0, 1
        bge $t0, 97, small
        blt $t0, 65, letter
        addiu $t0, $t0, 32
small:  bgt $t0, 122, letter
        sb $t0, 0($s1)
        addiu $s1, $s1, 1
        addiu $s2, $s2, 1
        b letter
ended:  sb $0, 0($s1)
        la $a0, copy
        jal print
        move $a0, $s2
        jal number
        la $t0, copy
        addu $t1, $t0, $s2
        addiu $t1, $t1, -1
pair:   bge $t0, $t1, yes
        lb $t2, 0($t0)
        lb $t3, 0($t1)
        bne $t2, $t3, no
        addiu $t0, $t0, 1
        addiu $t1, $t1, -1
        b pair
no:     la $a0, other
        b tell
yes:    la $a0, same
tell:   li $v0, 4
        syscall
        li $a0, 1990
        jal number
        li $a0, 0
        jal number
        li $a0, 7
        li $v0, 17
        syscall
# $a0 in decimal digits, made by hand.
number: la $t0, dend
digit:  addiu $t0, $t0, -1
        rem $t1, $a0, 10
        div $a0, $a0, 10
        addiu $t1, $t1, 48
        sb $t1, 0($t0)
        bnez $a0, digit
        move $a0, $t0
print:  li $v0, 4
        syscall
        la $a0, line
        li $v0, 4
        syscall
        jr $ra
