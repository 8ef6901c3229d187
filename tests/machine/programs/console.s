# The console by its registers, polled: copies the input in capitals up to a dot.
        .text
        .globl main
main:   lui $s0, 0xffff
next:   lw $t0, 0($s0)
        andi $t0, $t0, 1
        beqz $t0, next
        lw $s1, 4($s0)
        blt $s1, 97, send
        bgt $s1, 122, send
        addiu $s1, $s1, -32
send:   lw $t0, 8($s0)
        andi $t0, $t0, 1
        beqz $t0, send
        sw $s1, 12($s0)
        bne $s1, 46, next
last:   lw $t0, 8($s0)
        andi $t0, $t0, 1
        beqz $t0, last
        li $v0, 10
        syscall
