# Counts to 3, saves the machine, and counts on to 5.
        .data
said:   .asciiz "counted "
line:   .asciiz "\n"
        .text
main:   li      $s0, 0
loop:   addi    $s0, $s0, 1
        la      $a0, said
        li      $v0, 4              # print_string
        syscall
        move    $a0, $s0
        li      $v0, 1              # print_int
        syscall
        la      $a0, line
        li      $v0, 4
        syscall
        bne     $s0, 3, next
        SNAPSHOT three.snap
next:   blt     $s0, 5, loop
        li      $v0, 10             # exit
        syscall
