# square($a0) in $v0, called once; a function to step over.
        .text
main:   li      $a0, 12
        jal     square
        move    $a0, $v0
        li      $v0, 1              # print_int
        syscall
        li      $v0, 10             # exit
        syscall
square: mul     $v0, $a0, $a0
        jr      $ra
