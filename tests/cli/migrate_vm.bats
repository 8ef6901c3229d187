#!/usr/bin/env bats
# Machines of `mayfly vm` that move to `mayfly receive` and on. Run with each backend.

load helpers

setup_file() {
    find_backend
}

setup() {
    need_backend
    mkdir -p "$BATS_TEST_TMPDIR/work"
    cd "$BATS_TEST_TMPDIR/work"
    export XDG_RUNTIME_DIR=$BATS_TEST_TMPDIR/run
    mkdir -m 700 "$XDG_RUNTIME_DIR"
    PIDS=
    write_ticker
}

teardown() {
    local pid
    for pid in $PIDS; do
        kill -KILL "$pid" 2>/dev/null || true
        wait "$pid" 2>/dev/null || true
    done
}

# within SECONDS COMMAND...: the command succeeds before that many seconds are over.
within() {
    local end=$((SECONDS + $1))
    shift
    until "$@"; do
        if [ "$SECONDS" -ge "$end" ]; then
            echo "not in time: $*"
            return 1
        fi
        sleep 0.05
    done
}

has_lines() {
    [ -e "$1" ] && [ "$(wc -l <"$1")" -ge "$2" ]
}

# The timer interrupts it every 1000 instructions. For each 40 of them it prints how many lines it
# has printed, and how often and where it was interrupted, as a sum that one wrong instruction
# changes. ticker.s never ends; asker.s reads a number after each line, and ends with status 7 after
# a 0.
write_ticker() {
    cat >ticker.s <<'END'
        .data
ticks:  .word   0
        .text
main:   mfc0    $t0, $9
        addi    $t0, $t0, 1000
        mtc0    $t0, $11
        mfc0    $t0, $12
        ori     $t0, $t0, 0x8001
        mtc0    $t0, $12
loop:   lw      $t1, ticks
        mul     $s1, $s1, 31
        addu    $s1, $s1, $t1
        blt     $t1, 40, loop
        sw      $zero, ticks
        addi    $s0, $s0, 1
        move    $a0, $s0
        li      $v0, 1
        syscall
        li      $a0, 32
        li      $v0, 11
        syscall
        move    $a0, $s1
        li      $v0, 34
        syscall
        li      $a0, 10
        li      $v0, 11
        syscall
        #ASK
        b       loop
END
    cat >handler.s <<'END'
        .ktext  0x80000180
        la      $k0, ticks
        lw      $k1, 0($k0)
        addi    $k1, $k1, 1
        sw      $k1, 0($k0)
        mfc0    $k0, $9
        addi    $k0, $k0, 1000
        mtc0    $k0, $11
        eret
END
    local ask='li $v0, 5\n syscall\n addu $s1, $s1, $v0\n bnez $v0, loop\n li $a0, 7\n li $v0, 17\n syscall'
    sed "s/#ASK/$ask/" ticker.s | cat - handler.s >asker.s
    cat handler.s >>ticker.s
}

# receiver NAME: one that listens at NAME.sock, its output in NAME.out.
receiver() {
    "$MAYFLY" receive --backend "$MAYFLY_TEST_BACKEND" --listen "unix:$PWD/$1.sock" >"$1.out" \
        2>"$1.err" </dev/null 3>&- &
    PIDS="$PIDS $!"
    within 10 test -S "$1.sock"
}

# start [ARG...]: `mayfly vm` in the background with input from the pipe `in`; its pid in $PID.
start() {
    [ -p in ] || mkfifo in
    "$MAYFLY" vm --backend "$MAYFLY_TEST_BACKEND" "$@" >out 2>err <in 3>&- &
    PID=$!
    PIDS="$PIDS $PID"
    exec 4>in
}

@test "moved back and forth it prints what it prints undisturbed" {
    printf '3\n1\n4\n1\n5\n0\n' >numbers
    run -7 mayfly vm --backend "$MAYFLY_TEST_BACKEND" asker.s <numbers
    printf '%s\n' "$output" >wanted
    receiver a
    receiver b
    start --name job asker.s
    local n=0 to number
    while read -r number; do
        n=$((n + 1))
        within 20 has_lines out $n
        to=$([ $((n % 2)) = 1 ] && echo a || echo b)
        mayfly migrate job "unix:$PWD/$to.sock" --follow 3>&- 4>&-
        echo "$number" >&4
    done <numbers
    local ended=0
    wait "$PID" || ended=$?
    [ "$ended" = 7 ]
    cmp wanted out
    [ ! -s err ]
}

@test "without --follow it goes on at the receiver, in the middle of a turn" {
    receiver a
    start --name job ticker.s
    within 20 has_lines out 2
    mayfly migrate job "unix:$PWD/a.sock" 3>&- 4>&-
    wait "$PID"
    contains "$(cat err)" "goes on at unix:"
    within 20 has_lines a.out 3
    run -0 mayfly ps --json
    json 'any(s["name"] == "job" and s["kind"] == "vm" for s in r["sandboxes"])'
    mayfly stop job
    within 10 grep -q 'job has ended with status 143' a.err
    # All lines up to the last whole one, the source's first.
    run -0 grep -vc '^\[job\] ' <(cat a.out; echo)
    [ "$output" = 1 ]
    sed 's/^\[job\] //' a.out | cat out - | sed '$d' >lines
    local n
    n=$(wc -l <lines)
    start --name same ticker.s
    within 30 has_lines out "$n"
    head -n "$n" out | cmp - lines
}

@test "a crash at the receiver shows the source line of a file that is not there" {
    printf '%s\n' '        .text' 'main:   li $v0, 5' '        syscall' \
        '        lw $t1, 2($gp)          # not aligned' >broken.s
    receiver a
    start --name job broken.s
    within 10 test -e "$XDG_RUNTIME_DIR/mayfly"
    within 10 mayfly migrate job "unix:$PWD/a.sock" --follow 3>&- 4>&-
    rm broken.s
    echo 1 >&4
    local ended=0
    wait "$PID" || ended=$?
    [ "$ended" != 0 ]
    contains "$(cat err)" 'broken.s:4' 'lw $t1, 2($gp)'
}

@test "a machine with a disk does not move, and goes on" {
    truncate -s 4096 disk.img
    printf '%s\n' 'vm_binary = asker.s' 'vm_devices = disk:disk.img' >disk.conf
    receiver a
    start --name job -v disk.conf
    within 20 has_lines out 1
    run ! mayfly migrate job "unix:$PWD/a.sock" 3>&- 4>&-
    contains "$output" "its disk is a file of this host"
    echo 0 >&4
    local ended=0
    wait "$PID" || ended=$?
    [ "$ended" = 7 ]
}

@test "one of several leaves, the other goes on" {
    receiver a
    local how
    for how in parallel round-robin; do
        rm -f out err
        start --schedule $how asker.s --name one ticker.s --name two
        within 20 grep -q '^\[two\] 2 ' out
        within 20 grep -q '^\[one\] 1 ' out
        mayfly migrate two "unix:$PWD/a.sock" 3>&- 4>&-
        echo 5 >&4
        within 20 grep -q '^\[one\] 2 ' out
        echo 0 >&4
        local ended=0
        wait "$PID" || ended=$?
        [ "$ended" = 7 ]
        within 10 has_lines a.out 2
        mayfly stop two
        within 10 grep -q 'two has ended' a.err
        : >a.err
    done
}
