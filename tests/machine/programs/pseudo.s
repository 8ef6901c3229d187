# The pseudo-instructions of SPIM that have a result.
        .data
bytes:  .byte 0x81, 0x82, 0x83, 0x84, 0x85, 0x86, 0x87, 0x88, 0x89
        .text
        .globl main
main:   li $s0, 0
        li $s1, 0
        seq $a0, $s0, $s1
        jal show
        sne $a0, $s0, $s1
        jal show
        sge $a0, $s0, $s1
        jal show
        sgeu $a0, $s0, $s1
        jal show
        sgt $a0, $s0, $s1
        jal show
        sgtu $a0, $s0, $s1
        jal show
        sle $a0, $s0, $s1
        jal show
        sleu $a0, $s0, $s1
        jal show
        rol $a0, $s0, $s1
        jal show
        ror $a0, $s0, $s1
        jal show
        li $s0, 0
        li $s1, 1
        seq $a0, $s0, $s1
        jal show
        sne $a0, $s0, $s1
        jal show
        sge $a0, $s0, $s1
        jal show
        sgeu $a0, $s0, $s1
        jal show
        sgt $a0, $s0, $s1
        jal show
        sgtu $a0, $s0, $s1
        jal show
        sle $a0, $s0, $s1
        jal show
        sleu $a0, $s0, $s1
        jal show
        rol $a0, $s0, $s1
        jal show
        ror $a0, $s0, $s1
        jal show
        li $s0, 0
        li $s1, -1
        seq $a0, $s0, $s1
        jal show
        sne $a0, $s0, $s1
        jal show
        sge $a0, $s0, $s1
        jal show
        sgeu $a0, $s0, $s1
        jal show
        sgt $a0, $s0, $s1
        jal show
        sgtu $a0, $s0, $s1
        jal show
        sle $a0, $s0, $s1
        jal show
        sleu $a0, $s0, $s1
        jal show
        rol $a0, $s0, $s1
        jal show
        ror $a0, $s0, $s1
        jal show
        li $s0, 0
        li $s1, 33
        abs $a0, $s0
        jal show
        neg $a0, $s0
        jal show
        negu $a0, $s0
        jal show
        not $a0, $s0
        jal show
        seq $a0, $s0, $s1
        jal show
        sne $a0, $s0, $s1
        jal show
        sge $a0, $s0, $s1
        jal show
        sgeu $a0, $s0, $s1
        jal show
        sgt $a0, $s0, $s1
        jal show
        sgtu $a0, $s0, $s1
        jal show
        sle $a0, $s0, $s1
        jal show
        sleu $a0, $s0, $s1
        jal show
        rol $a0, $s0, $s1
        jal show
        ror $a0, $s0, $s1
        jal show
        li $s0, 1
        li $s1, 0
        seq $a0, $s0, $s1
        jal show
        sne $a0, $s0, $s1
        jal show
        sge $a0, $s0, $s1
        jal show
        sgeu $a0, $s0, $s1
        jal show
        sgt $a0, $s0, $s1
        jal show
        sgtu $a0, $s0, $s1
        jal show
        sle $a0, $s0, $s1
        jal show
        sleu $a0, $s0, $s1
        jal show
        rol $a0, $s0, $s1
        jal show
        ror $a0, $s0, $s1
        jal show
        li $s0, 1
        li $s1, 1
        seq $a0, $s0, $s1
        jal show
        sne $a0, $s0, $s1
        jal show
        sge $a0, $s0, $s1
        jal show
        sgeu $a0, $s0, $s1
        jal show
        sgt $a0, $s0, $s1
        jal show
        sgtu $a0, $s0, $s1
        jal show
        sle $a0, $s0, $s1
        jal show
        sleu $a0, $s0, $s1
        jal show
        rol $a0, $s0, $s1
        jal show
        ror $a0, $s0, $s1
        jal show
        li $s0, 1
        li $s1, -1
        seq $a0, $s0, $s1
        jal show
        sne $a0, $s0, $s1
        jal show
        sge $a0, $s0, $s1
        jal show
        sgeu $a0, $s0, $s1
        jal show
        sgt $a0, $s0, $s1
        jal show
        sgtu $a0, $s0, $s1
        jal show
        sle $a0, $s0, $s1
        jal show
        sleu $a0, $s0, $s1
        jal show
        rol $a0, $s0, $s1
        jal show
        ror $a0, $s0, $s1
        jal show
        li $s0, 1
        li $s1, 33
        abs $a0, $s0
        jal show
        neg $a0, $s0
        jal show
        negu $a0, $s0
        jal show
        not $a0, $s0
        jal show
        seq $a0, $s0, $s1
        jal show
        sne $a0, $s0, $s1
        jal show
        sge $a0, $s0, $s1
        jal show
        sgeu $a0, $s0, $s1
        jal show
        sgt $a0, $s0, $s1
        jal show
        sgtu $a0, $s0, $s1
        jal show
        sle $a0, $s0, $s1
        jal show
        sleu $a0, $s0, $s1
        jal show
        rol $a0, $s0, $s1
        jal show
        ror $a0, $s0, $s1
        jal show
        li $s0, -1
        li $s1, 0
        seq $a0, $s0, $s1
        jal show
        sne $a0, $s0, $s1
        jal show
        sge $a0, $s0, $s1
        jal show
        sgeu $a0, $s0, $s1
        jal show
        sgt $a0, $s0, $s1
        jal show
        sgtu $a0, $s0, $s1
        jal show
        sle $a0, $s0, $s1
        jal show
        sleu $a0, $s0, $s1
        jal show
        rol $a0, $s0, $s1
        jal show
        ror $a0, $s0, $s1
        jal show
        li $s0, -1
        li $s1, 1
        seq $a0, $s0, $s1
        jal show
        sne $a0, $s0, $s1
        jal show
        sge $a0, $s0, $s1
        jal show
        sgeu $a0, $s0, $s1
        jal show
        sgt $a0, $s0, $s1
        jal show
        sgtu $a0, $s0, $s1
        jal show
        sle $a0, $s0, $s1
        jal show
        sleu $a0, $s0, $s1
        jal show
        rol $a0, $s0, $s1
        jal show
        ror $a0, $s0, $s1
        jal show
        li $s0, -1
        li $s1, -1
        seq $a0, $s0, $s1
        jal show
        sne $a0, $s0, $s1
        jal show
        sge $a0, $s0, $s1
        jal show
        sgeu $a0, $s0, $s1
        jal show
        sgt $a0, $s0, $s1
        jal show
        sgtu $a0, $s0, $s1
        jal show
        sle $a0, $s0, $s1
        jal show
        sleu $a0, $s0, $s1
        jal show
        rol $a0, $s0, $s1
        jal show
        ror $a0, $s0, $s1
        jal show
        li $s0, -1
        li $s1, 33
        abs $a0, $s0
        jal show
        neg $a0, $s0
        jal show
        negu $a0, $s0
        jal show
        not $a0, $s0
        jal show
        seq $a0, $s0, $s1
        jal show
        sne $a0, $s0, $s1
        jal show
        sge $a0, $s0, $s1
        jal show
        sgeu $a0, $s0, $s1
        jal show
        sgt $a0, $s0, $s1
        jal show
        sgtu $a0, $s0, $s1
        jal show
        sle $a0, $s0, $s1
        jal show
        sleu $a0, $s0, $s1
        jal show
        rol $a0, $s0, $s1
        jal show
        ror $a0, $s0, $s1
        jal show
        li $s0, 5
        li $s1, 0
        seq $a0, $s0, $s1
        jal show
        sne $a0, $s0, $s1
        jal show
        sge $a0, $s0, $s1
        jal show
        sgeu $a0, $s0, $s1
        jal show
        sgt $a0, $s0, $s1
        jal show
        sgtu $a0, $s0, $s1
        jal show
        sle $a0, $s0, $s1
        jal show
        sleu $a0, $s0, $s1
        jal show
        rol $a0, $s0, $s1
        jal show
        ror $a0, $s0, $s1
        jal show
        li $s0, 5
        li $s1, 1
        seq $a0, $s0, $s1
        jal show
        sne $a0, $s0, $s1
        jal show
        sge $a0, $s0, $s1
        jal show
        sgeu $a0, $s0, $s1
        jal show
        sgt $a0, $s0, $s1
        jal show
        sgtu $a0, $s0, $s1
        jal show
        sle $a0, $s0, $s1
        jal show
        sleu $a0, $s0, $s1
        jal show
        rol $a0, $s0, $s1
        jal show
        ror $a0, $s0, $s1
        jal show
        li $s0, 5
        li $s1, -1
        seq $a0, $s0, $s1
        jal show
        sne $a0, $s0, $s1
        jal show
        sge $a0, $s0, $s1
        jal show
        sgeu $a0, $s0, $s1
        jal show
        sgt $a0, $s0, $s1
        jal show
        sgtu $a0, $s0, $s1
        jal show
        sle $a0, $s0, $s1
        jal show
        sleu $a0, $s0, $s1
        jal show
        rol $a0, $s0, $s1
        jal show
        ror $a0, $s0, $s1
        jal show
        li $s0, 5
        li $s1, 33
        abs $a0, $s0
        jal show
        neg $a0, $s0
        jal show
        negu $a0, $s0
        jal show
        not $a0, $s0
        jal show
        seq $a0, $s0, $s1
        jal show
        sne $a0, $s0, $s1
        jal show
        sge $a0, $s0, $s1
        jal show
        sgeu $a0, $s0, $s1
        jal show
        sgt $a0, $s0, $s1
        jal show
        sgtu $a0, $s0, $s1
        jal show
        sle $a0, $s0, $s1
        jal show
        sleu $a0, $s0, $s1
        jal show
        rol $a0, $s0, $s1
        jal show
        ror $a0, $s0, $s1
        jal show
        li $s0, -2147483647
        li $s1, 0
        seq $a0, $s0, $s1
        jal show
        sne $a0, $s0, $s1
        jal show
        sge $a0, $s0, $s1
        jal show
        sgeu $a0, $s0, $s1
        jal show
        sgt $a0, $s0, $s1
        jal show
        sgtu $a0, $s0, $s1
        jal show
        sle $a0, $s0, $s1
        jal show
        sleu $a0, $s0, $s1
        jal show
        rol $a0, $s0, $s1
        jal show
        ror $a0, $s0, $s1
        jal show
        li $s0, -2147483647
        li $s1, 1
        seq $a0, $s0, $s1
        jal show
        sne $a0, $s0, $s1
        jal show
        sge $a0, $s0, $s1
        jal show
        sgeu $a0, $s0, $s1
        jal show
        sgt $a0, $s0, $s1
        jal show
        sgtu $a0, $s0, $s1
        jal show
        sle $a0, $s0, $s1
        jal show
        sleu $a0, $s0, $s1
        jal show
        rol $a0, $s0, $s1
        jal show
        ror $a0, $s0, $s1
        jal show
        li $s0, -2147483647
        li $s1, -1
        seq $a0, $s0, $s1
        jal show
        sne $a0, $s0, $s1
        jal show
        sge $a0, $s0, $s1
        jal show
        sgeu $a0, $s0, $s1
        jal show
        sgt $a0, $s0, $s1
        jal show
        sgtu $a0, $s0, $s1
        jal show
        sle $a0, $s0, $s1
        jal show
        sleu $a0, $s0, $s1
        jal show
        rol $a0, $s0, $s1
        jal show
        ror $a0, $s0, $s1
        jal show
        li $s0, -2147483647
        li $s1, 33
        abs $a0, $s0
        jal show
        neg $a0, $s0
        jal show
        negu $a0, $s0
        jal show
        not $a0, $s0
        jal show
        seq $a0, $s0, $s1
        jal show
        sne $a0, $s0, $s1
        jal show
        sge $a0, $s0, $s1
        jal show
        sgeu $a0, $s0, $s1
        jal show
        sgt $a0, $s0, $s1
        jal show
        sgtu $a0, $s0, $s1
        jal show
        sle $a0, $s0, $s1
        jal show
        sleu $a0, $s0, $s1
        jal show
        rol $a0, $s0, $s1
        jal show
        ror $a0, $s0, $s1
        jal show
        li $s0, 2147483647
        li $s1, 0
        seq $a0, $s0, $s1
        jal show
        sne $a0, $s0, $s1
        jal show
        sge $a0, $s0, $s1
        jal show
        sgeu $a0, $s0, $s1
        jal show
        sgt $a0, $s0, $s1
        jal show
        sgtu $a0, $s0, $s1
        jal show
        sle $a0, $s0, $s1
        jal show
        sleu $a0, $s0, $s1
        jal show
        rol $a0, $s0, $s1
        jal show
        ror $a0, $s0, $s1
        jal show
        li $s0, 2147483647
        li $s1, 1
        seq $a0, $s0, $s1
        jal show
        sne $a0, $s0, $s1
        jal show
        sge $a0, $s0, $s1
        jal show
        sgeu $a0, $s0, $s1
        jal show
        sgt $a0, $s0, $s1
        jal show
        sgtu $a0, $s0, $s1
        jal show
        sle $a0, $s0, $s1
        jal show
        sleu $a0, $s0, $s1
        jal show
        rol $a0, $s0, $s1
        jal show
        ror $a0, $s0, $s1
        jal show
        li $s0, 2147483647
        li $s1, -1
        seq $a0, $s0, $s1
        jal show
        sne $a0, $s0, $s1
        jal show
        sge $a0, $s0, $s1
        jal show
        sgeu $a0, $s0, $s1
        jal show
        sgt $a0, $s0, $s1
        jal show
        sgtu $a0, $s0, $s1
        jal show
        sle $a0, $s0, $s1
        jal show
        sleu $a0, $s0, $s1
        jal show
        rol $a0, $s0, $s1
        jal show
        ror $a0, $s0, $s1
        jal show
        li $s0, 2147483647
        li $s1, 33
        abs $a0, $s0
        jal show
        neg $a0, $s0
        jal show
        negu $a0, $s0
        jal show
        not $a0, $s0
        jal show
        seq $a0, $s0, $s1
        jal show
        sne $a0, $s0, $s1
        jal show
        sge $a0, $s0, $s1
        jal show
        sgeu $a0, $s0, $s1
        jal show
        sgt $a0, $s0, $s1
        jal show
        sgtu $a0, $s0, $s1
        jal show
        sle $a0, $s0, $s1
        jal show
        sleu $a0, $s0, $s1
        jal show
        rol $a0, $s0, $s1
        jal show
        ror $a0, $s0, $s1
        jal show
        li $s0, 5
        seq $a0, $s0, 5
        jal show
        li $s0, 5
        seq $a0, $s0, -7
        jal show
        li $s0, 5
        seq $a0, $s0, 70000
        jal show
        li $s0, 5
        sne $a0, $s0, 5
        jal show
        li $s0, 5
        sne $a0, $s0, -7
        jal show
        li $s0, 5
        sne $a0, $s0, 70000
        jal show
        li $s0, 5
        sge $a0, $s0, 5
        jal show
        li $s0, 5
        sge $a0, $s0, -7
        jal show
        li $s0, 5
        sge $a0, $s0, 70000
        jal show
        li $s0, 5
        sgeu $a0, $s0, 5
        jal show
        li $s0, 5
        sgeu $a0, $s0, -7
        jal show
        li $s0, 5
        sgeu $a0, $s0, 70000
        jal show
        li $s0, 5
        sgt $a0, $s0, 5
        jal show
        li $s0, 5
        sgt $a0, $s0, -7
        jal show
        li $s0, 5
        sgt $a0, $s0, 70000
        jal show
        li $s0, 5
        sgtu $a0, $s0, 5
        jal show
        li $s0, 5
        sgtu $a0, $s0, -7
        jal show
        li $s0, 5
        sgtu $a0, $s0, 70000
        jal show
        li $s0, 5
        sle $a0, $s0, 5
        jal show
        li $s0, 5
        sle $a0, $s0, -7
        jal show
        li $s0, 5
        sle $a0, $s0, 70000
        jal show
        li $s0, 5
        sleu $a0, $s0, 5
        jal show
        li $s0, 5
        sleu $a0, $s0, -7
        jal show
        li $s0, 5
        sleu $a0, $s0, 70000
        jal show
        rol $a0, $s1, 4
        jal show
        ror $a0, $s1, 4
        jal show
        addu $a0, $s1, 100000
        jal show
        subu $a0, $s1, 100000
        jal show
        sub $a0, $s1, 5
        jal show
        add $a0, $s1, -40000
        jal show
        and $a0, $s1, 0x10021
        jal show
        or $a0, $s1, 0x7fff0000
        jal show
        xor $a0, $s1, -1
        jal show
        slt $a0, $s1, 100000
        jal show
        sltu $a0, $s1, 100000
        jal show
        li $a0, 0x12345678
        jal show
        li $a0, 40000
        jal show
        li $a0, -40000
        jal show
        la $s2, bytes
        ulw $a0, 1($s2)
        jal show
        ulh $a0, 3($s2)
        jal show
        ulhu $a0, 5($s2)
        jal show
        li $t0, 0x01020304
        usw $t0, 3($s2)
        lw $a0, 0($s2)
        jal show
        lw $a0, 4($s2)
        jal show
        ush $t0, 1($s2)
        lw $a0, 0($s2)
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
