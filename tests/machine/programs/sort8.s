# Sorts eight numbers by insertion and prints them: about 300 instructions.
        .data
list:   .word 31, -7, 12, 0, 99, -50, 12, 3
end:    .byte 32
        .text
        .globl main
main:   la $s0, list
        la $s1, end
        addiu $t0, $s0, 4
insert: lw $t1, 0($t0)
        move $t2, $t0
shift:  beq $t2, $s0, place
        lw $t3, -4($t2)
        ble $t3, $t1, place
        sw $t3, 0($t2)
        addiu $t2, $t2, -4
        b shift
place:  sw $t1, 0($t2)
        addiu $t0, $t0, 4
        bne $t0, $s1, insert
print:  lw $a0, 0($s0)
        li $v0, 1
        syscall
        lb $a0, end
        li $v0, 11
        syscall
        addiu $s0, $s0, 4
        bne $s0, $s1, print
        li $v0, 10
        syscall
