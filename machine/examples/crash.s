# Loads a word from an address that is no multiple of 4.
        .text
main:   li      $t0, 0x10010002
        lw      $t1, 0($t0)
        li      $v0, 10
        syscall
