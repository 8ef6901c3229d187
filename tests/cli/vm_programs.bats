#!/usr/bin/env bats
# Whole programs on the machine: C programs of cross compilers against the same programs of this
# host's compiler, assembly programs against SPIM, several machines in turns, and the system calls.
# The programs are in tests/machine/programs. Run with each backend.

load helpers

setup_file() {
    find_backend
}

setup() {
    need_backend
    SOURCES=${MAYFLY_SOURCE_DIR:-$BATS_TEST_DIRNAME/../..}/tests/machine/programs
    EXAMPLES_S=${MAYFLY_SOURCE_DIR:-$BATS_TEST_DIRNAME/../..}/machine/examples
    PROGRAMS=${MAYFLY_BUILD_DIR:-$(dirname "$MAYFLY")}/tests/machine/programs
    mkdir -p "$BATS_TEST_TMPDIR/work"
    cd "$BATS_TEST_TMPDIR/work" || return
}

vm() {
    mayfly vm --backend "$MAYFLY_TEST_BACKEND" "$@"
}

# ---- C programs ----

# same_as_native COMPILER: all C programs of that compiler, at each level of optimisation.
same_as_native() {
    [ -f "$PROGRAMS/sort.$1.O0" ] || skip "built without $1-linux-gnu-gcc"
    local native name level count=0
    for native in "$PROGRAMS"/*.native; do
        name=$(basename "$native" .native)
        "$native" >expected
        for level in O0 O2 Os; do
            if ! vm "$PROGRAMS/$name.$1.$level" >got || ! cmp expected got; then
                echo "$name of $1-linux-gnu-gcc -$level differs"
                diff expected got
                return 1
            fi
            count=$((count + 1))
        done
    done
    [ "$count" -ge 24 ]
}

@test "C programs of the big-endian compiler give what they give natively" {
    same_as_native mips
}

@test "C programs of the little-endian compiler give what they give natively" {
    same_as_native mipsel
}

# ---- SPIM ----

# What a program prints under SPIM, without SPIM's own lines; its status is SPIM's.
spim_output() {
    local name=$1 options=() status=0
    case $name in
    handler) options=(-noexception) ;;
    delayed) options=(-delayed_branches) ;;
    console) options=(-mapped_io) ;;
    esac
    timeout -k 1 20 spim -quiet "${options[@]}" -file "$SOURCES/$name.s" >raw || status=$?
    sed -e '/^SPIM Version/d' -e '/^Copyright 1990-/d' -e '/^All Rights Reserved/d' \
        -e '/^See the file README/d' -e '/^Loaded: /d' raw
    return "$status"
}

@test "assembly programs print what they print under SPIM, with the same status" {
    command -v spim >/dev/null || skip "spim is not installed"
    local source name input ours theirs options count=0
    for source in "$SOURCES"/*.s; do
        name=$(basename "$source" .s)
        input=/dev/null
        [ ! -f "$SOURCES/$name.in" ] || input=$SOURCES/$name.in
        ours=0
        theirs=0
        options=()
        [ "$name" != delayed ] || options=(--delayed-branches)
        spim_output "$name" <"$input" >expected || theirs=$?
        vm "${options[@]}" "$source" <"$input" >got || ours=$?
        if [ "$ours" != "$theirs" ] || ! cmp expected got; then
            echo "$name differs: status $ours, SPIM's $theirs"
            diff -a expected got
            return 1
        fi
        [ -s got ]
        count=$((count + 1))
    done
    [ "$count" -ge 16 ]
}

# ---- several machines ----

make_three() {
    printf 'vm_binary = %s\nvm_exec_slice_in_instructions = 7\nvm_name = sort\n' \
        "$SOURCES/sort8.s" >sort.conf
    printf 'vm_binary = %s\nvm_exec_slice_in_instructions = 31\nvm_name = squares\n' \
        "$EXAMPLES_S/numbers.s" >squares.conf
    printf '%s\n' 'main: li $a0, 65' 'loop: li $v0, 11' 'syscall' 'add $a0, $a0, 1' \
        'blt $a0, 70, loop' 'lw $t0, 1($zero)' >doomed.s
    printf 'vm_binary = doomed.s\nvm_exec_slice_in_instructions = 2\n' >doomed.conf
}

# Sets `status` and `output` to those of the three in turns, with the backend $1.
in_turns() {
    status=0
    output=$(mayfly vm --backend "$1" --schedule=round-robin \
        -v sort.conf -v doomed.conf -v squares.conf 2>errors) || status=$?
    contains "$(cat errors)" "doomed.s:6" "address error"
}

@test "turns of different slices are the same ten times, while one machine crashes" {
    make_three
    in_turns "$MAYFLY_TEST_BACKEND"
    status_is 134
    local first=$output other n
    [ "$(grep -F '[sort] ' <<<"$first")" = "[sort] -50 -7 0 3 12 12 31 99 " ]
    [ "$(grep -F '[squares] ' <<<"$first" | cut -d' ' -f2 | tr '\n' ' ')" = "1 4 9 16 25 " ]
    contains "$first" "[doomed] ABCDE"
    for n in 2 3 4 5 6 7 8 9 10; do
        in_turns "$MAYFLY_TEST_BACKEND"
        status_is 134
        [ "$output" = "$first" ]
    done
    # And with the other backend, where there is one.
    other=$([ "$MAYFLY_TEST_BACKEND" = kvm ] && echo soft || echo kvm)
    MAYFLY_TEST_BACKEND=$other find_backend
    if [ "$BACKEND_USABLE" = 1 ]; then
        in_turns "$other"
        [ "$output" = "$first" ]
    fi
}

# ---- system calls ----

# calls LINE...: a program of these lines between main and exit, with a newline as `nl`. A number
# is the two lines of that system call.
calls() {
    local line
    {
        printf '.data\nnl: .asciiz "\\n"\nroom: .space 32\ntext: .asciiz "text"\n.text\nmain:\n'
        for line in "$@" 10; do
            [[ $line != +([0-9]) ]] || printf -v line 'li $v0, %s\nsyscall' "$line"
            printf '%s\n' "$line"
        done
    } >calls.s
    vm calls.s
}

@test "MARS's print calls: hexadecimal, binary, unsigned" {
    run --separate-stderr calls 'li $a0, 0xbeef' 34 'li $a0, 10' 11 \
        'li $a0, -6' 35 'li $a0, 10' 11 \
        'li $a0, -1' 36
    status_is 0
    [ "${lines[0]}" = 0x0000beef ]
    [ "${lines[1]}" = 11111111111111111111111111111010 ]
    [ "${lines[2]}" = 4294967295 ]
}

# random LINE...: seeds stream 3 with 42, and then these lines, with a bound of 100.
random() {
    calls 'li $a0, 3' 'li $a1, 42' 40 'li $a0, 3' 'li $a1, 100' "$@"
}

@test "random numbers of a seed are those of MARS, which are Java's" {
    [ "$(random 41 1)" = -1170105035 ]
    [ "$(random 42 1)" = 30 ]
    [ "$(random 43 'mov.s $f12, $f0' 2)" = 0.72756368 ]
    [ "$(random 44 'mov.d $f12, $f0' 3)" = 0.727563680032868088 ]
    # Two streams do not disturb each other.
    [ "$(calls 'li $a0, 1' 'li $a1, 42' 40 'li $a0, 2' 'li $a1, 5' 40 'li $a0, 2' 41 \
        'li $a0, 1' 41 1)" = -1170105035 ]
}

@test "a bound of 0 is a fault" {
    run calls 'li $a1, 0' 42
    status_is 134
    contains "$output" "at least 1" "calls.s:9"
}

@test "the time is the host's" {
    local before after told
    before=$(date +%s%3N)
    # The low word first, as an unsigned number, then the high one.
    run --separate-stderr calls 30 36 'li $a0, 10' 11 'move $a0, $a1' 36
    after=$(date +%s%3N)
    told=$((lines[1] << 32 | lines[0]))
    [ "$before" -le "$told" ]
    [ "$told" -le "$after" ]
}

@test "there are no files: open fails, descriptors 0 to 2 are the streams" {
    echo secret >text
    run --separate-stderr calls 'la $a0, text' 'li $a1, 0' 13 'move $a0, $v0' \
        1 'la $a0, nl' 4 \
        'li $a0, 3' 'la $a1, room' 'li $a2, 8' 14 'move $a0, $v0' \
        1 'la $a0, nl' 4 \
        'li $a0, 7' 15 'move $a0, $v0' 1 \
        'li $a0, 2' 'la $a1, text' 'li $a2, 4' 15 'li $a0, 9' 16
    status_is 0
    [ "$output" = $'-1\n-1\n-1' ]
    [ "$stderr" = text ]
}

@test "read takes a line of the input, and nothing at its end" {
    run --separate-stderr calls 'li $s0, 3' \
        'again: li $a0, 0' 'la $a1, room' 'li $a2, 4' 14 'move $s1, $v0' \
        'li $a0, 1' 'la $a1, room' 'move $a2, $s1' 15 \
        'move $a0, $s1' 1 'sub $s0, $s0, 1' 'bnez $s0, again' < <(printf 'abcdef\n')
    status_is 0
    [ "$output" = $'abcd4ef\n30' ]
}

@test "at the end of the input a number is 0, a string empty, a character -1" {
    run --separate-stderr calls 5 'move $a0, $v0' 1 \
        'la $a0, text' 'li $a1, 4' 8 4 \
        12 'move $a0, $v0' 1 </dev/null
    status_is 0
    [ "$output" = 0-1 ]
}

@test "bad addresses and unknown numbers are faults with a place" {
    run calls 'li $a0, 0x20000000' 4
    status_is 134
    contains "$output" "calls.s:9" "0x20000000"
    run calls 'li $a0, 0x20000000' 'li $a1, 9' 8 <<<word
    status_is 134
    contains "$output" "calls.s:10"
    run calls 99
    status_is 134
    contains "$output" "calls.s:8" "no service"
}

@test "the status of call 17 is the command's" {
    run vm "$SOURCES/files.s"
    status_is 3
}
