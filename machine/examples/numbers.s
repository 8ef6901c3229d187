# Prints the squares of 1 to 5, one on a line.
        .text
main:   li      $s0, 1
loop:   mul     $a0, $s0, $s0
        li      $v0, 1              # print_int
        syscall
        li      $a0, '\n'
        li      $v0, 11             # print_char
        syscall
        addi    $s0, $s0, 1
        ble     $s0, 5, loop
        li      $v0, 10             # exit
        syscall
