# The loop of the figure machine_mips, for mayfly vm and for SPIM: arithmetic, loads, stores and
# branches. It reads how many rounds to make, of 1,000 times nine instructions, and prints a sum.
        .data
table:  .space  4000
        .text
        .globl  main
main:   li      $v0, 5                  # read_int
        syscall
        move    $s0, $v0
        li      $s1, 1
round:  blez    $s0, done
        la      $t0, table
        li      $t1, 1000
loop:   lw      $t2, 0($t0)
        addu    $s1, $s1, $t2
        sll     $t3, $s1, 3
        xor     $s1, $s1, $t3
        addiu   $s1, $s1, 7
        sw      $s1, 0($t0)
        addiu   $t0, $t0, 4
        addiu   $t1, $t1, -1
        bne     $t1, $0, loop
        addiu   $s0, $s0, -1
        b       round
done:   move    $a0, $s1
        li      $v0, 1                  # print_int
        syscall
        li      $v0, 11                 # print_char
        li      $a0, 10
        syscall
        li      $v0, 10                 # exit
        syscall
