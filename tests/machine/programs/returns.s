# main returns to whoever called it, from inside of functions that keep $ra on the stack.
        .text
        .globl main
main:   addiu $sp, $sp, -4
        sw $ra, 0($sp)
        li $a0, 5
        jal down
        lw $ra, 0($sp)
        addiu $sp, $sp, 4
        li $v0, 9
        jr $ra

down:   li $v0, 1
        syscall
        beqz $a0, out
        addiu $sp, $sp, -4
        sw $ra, 0($sp)
        addiu $a0, $a0, -1
        jal down
        lw $ra, 0($sp)
        addiu $sp, $sp, 4
out:    jr $ra
