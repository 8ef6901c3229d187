# Integers until 0, then a float, a double, strings of small and large buffers, characters to the
# end: what is read is printed between bars.
        .data
bar:    .asciiz "|"
buffer: .space 64
        .text
        .globl main
main:
ints:   li $v0, 5
        syscall
        move $s0, $v0
        move $a0, $v0
        li $v0, 1
        syscall
        jal bars
        bnez $s0, ints
        li $v0, 6
        syscall
        mov.s $f12, $f0
        li $v0, 2
        syscall
        jal bars
        li $v0, 7
        syscall
        mov.d $f12, $f0
        li $v0, 3
        syscall
        jal bars
        li $s1, 2
strs:   la $a0, buffer
        move $a1, $s1
        li $v0, 8
        syscall
        la $a0, buffer
        li $v0, 4
        syscall
        jal bars
        mul $s1, $s1, 3
        blt $s1, 64, strs
        li $s2, 4
chars:  li $v0, 12
        syscall
        move $a0, $v0
        li $v0, 1
        syscall
        jal bars
        addiu $s2, $s2, -1
        bnez $s2, chars
        li $v0, 10
        syscall
bars:   la $a0, bar
        li $v0, 4
        syscall
        jr $ra
