# A clock: the timer interrupts the program every 1000 instructions, and the handler counts.
        .data
ticks:  .word   0
        .text
main:   mfc0    $t0, $9             # Count: one more with each instruction
        addi    $t0, $t0, 1000
        mtc0    $t0, $11            # Compare: interrupt when Count gets there
        mfc0    $t0, $12            # Status
        ori     $t0, $t0, 0x8001    # let the timer (bit 15) interrupt, and interrupts in (bit 0)
        mtc0    $t0, $12
loop:   lw      $t1, ticks          # nothing here changes it ...
        blt     $t1, 3, loop
        move    $a0, $t1
        li      $v0, 1              # print_int
        syscall
        li      $v0, 10             # exit
        syscall

        .ktext  0x80000180          # where every exception goes
        la      $k0, ticks          # $k0 and $k1 belong to the handler
        lw      $k1, 0($k0)
        addi    $k1, $k1, 1
        sw      $k1, 0($k0)         # ... but this does
        mfc0    $k0, $9
        addi    $k0, $k0, 1000
        mtc0    $k0, $11            # the next tick; this also ends the interrupt
        eret                        # back to where it was
