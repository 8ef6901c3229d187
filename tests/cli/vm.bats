#!/usr/bin/env bats
# `mayfly vm`: machines from files, snapshots, several at once, the debugger, and what
# happens with bad input. Run with each backend.

load helpers

setup_file() {
    find_backend
}

setup() {
    need_backend
    # Names (--name) are those of running machines: other tests have their own.
    export XDG_RUNTIME_DIR=$BATS_TEST_TMPDIR
    PROGRAMS=${MAYFLY_SOURCE_DIR:-$BATS_TEST_DIRNAME/../..}/machine/examples
    # bats has files of its own in the folder above.
    mkdir -p "$BATS_TEST_TMPDIR/work"
    cd "$BATS_TEST_TMPDIR/work"
    cp "$PROGRAMS"/*.s "$PROGRAMS"/*.c .
    printf 'vm_binary = count.s\n' >count.conf
    printf 'vm_binary=numbers.s\nvm_exec_slice_in_instructions=4 # few\n' >numbers.conf
}

vm() {
    mayfly vm --backend "$MAYFLY_TEST_BACKEND" "$@"
}

# ---- programs ----

@test "an assembly file runs, and its exit status is the command's" {
    run --separate-stderr vm numbers.s
    status_is 0
    [ "$output" = $'1\n4\n9\n16\n25' ]
    [ -z "$stderr" ]
    printf 'main: li $a0, 7\nli $v0, 17\nsyscall\n' >seven.s
    run vm seven.s
    status_is 7
}

@test "the simple dialect prints all registers in signed decimal and ends behind its last line" {
    printf 'li $1,-5\naddi $2,$1,2\nor $11,$2,100\nDUMP_PROCESSOR_STATE\n' >s.s
    run --separate-stderr vm s.s
    status_is 0
    [ "${#lines[@]}" = 32 ]
    [ "${lines[0]}" = '$r0=0' ]
    [ "${lines[1]}" = '$r1=-5' ]
    [ "${lines[2]}" = '$r2=-3' ]
    [ "${lines[11]}" = '$r11=-3' ]
    [ -z "$stderr" ]
}

@test "a program of a cross compiler runs, of either byte order" {
    local compiler
    for compiler in mips-linux-gnu-gcc mipsel-linux-gnu-gcc; do
        command -v $compiler >/dev/null || skip "$compiler is not installed"
        $compiler -O2 -static -nostdlib -mno-abicalls -fno-pic -o sum sum.c
        run --separate-stderr vm sum
        status_is 0
        [ "$output" = 500500 ]
    done
}

@test "input reaches the program" {
    printf 'main: li $v0, 5\nsyscall\nmove $a0, $v0\nli $v0, 1\nsyscall\nli $v0, 10\nsyscall\n' >in.s
    run --separate-stderr vm in.s <<<42
    [ "$output" = 42 ]
    echo 43 >in.txt
    printf 'vm_binary = in.s\nvm_stdin = in.txt\nvm_stdout = out.txt\n' >in.conf
    run --separate-stderr vm -v in.conf <<<42
    [ -z "$output" ]
    [ "$(cat out.txt)" = 43 ]
}

@test "called as myvmm it is mayfly vm" {
    # Copied, not linked: the machine is looked for beside the command.
    ln -s "$MAYFLY" myvmm
    run --separate-stderr timeout 60 ./myvmm --backend "$MAYFLY_TEST_BACKEND" -v numbers.conf
    status_is 0
    [ "${lines[4]}" = 25 ]
    run timeout 60 ./myvmm
    status_is 2
    contains "$output" "which machine?"
}

# ---- snapshots ----

@test "a machine goes on from its snapshot" {
    run --separate-stderr vm -v count.conf
    [ "${#lines[@]}" = 5 ]
    [ -f three.snap ]
    run --separate-stderr vm -v count.conf -s three.snap
    status_is 0
    [ "$output" = $'counted 4\ncounted 5' ]
    run --separate-stderr vm -s three.snap -v count.conf
    [ "$output" = $'counted 4\ncounted 5' ]
}

@test "-s belongs to the machine before it, else to the next one" {
    vm count.s >/dev/null
    run --separate-stderr vm --schedule=round-robin -v numbers.conf -v count.conf -s three.snap
    status_is 0
    contains "$output" "[numbers] 25" "[count] counted 5"
    [[ "$output" != *"counted 1"* ]]
    run --separate-stderr vm -s three.snap count.s numbers.s
    [[ "$output" != *"counted 1"* ]]
    contains "$output" "[numbers] 1"
    run --separate-stderr vm count.s -s three.snap -s three.snap count.s --name other
    [[ "$output" != *"counted 1"* ]]
    contains "$output" "[count] counted 4" "[other] counted 4"
}

@test "-s without a machine, or with two, is wrong usage" {
    run vm -s three.snap
    status_is 2
    run vm -s a -s b numbers.s
    status_is 2
    contains "$output" "two for one machine"
}

@test "vm_snapshot is the default snapshot" {
    printf 'vm_binary = count.s\nvm_snapshot = three.snap\n' >warm.conf
    run --separate-stderr vm -v warm.conf
    contains "$stderr" "not there yet"
    [ "${#lines[@]}" = 5 ]
    run --separate-stderr vm -v warm.conf
    [ "$output" = $'counted 4\ncounted 5' ]
}

@test "the older format is written and read" {
    printf 'li $1,5\nli $2,-1\nSNAPSHOT old.bin\nadd $3,$1,$2\nDUMP_PROCESSOR_STATE\n' >old.s
    run --separate-stderr vm --snapshot-format=legacy old.s
    status_is 0
    [ "$(stat -c %s old.bin)" = 132 ]
    # Five, minus one, and the fourth instruction, counted from 0.
    [ "$(od -A n -t d4 -j 4 -N 8 old.bin | tr -s ' ')" = " 5 -1" ]
    [ "$(od -A n -t u4 -j 128 old.bin | tr -d ' ')" = 3 ]
    local whole=$output
    run --separate-stderr vm old.s -s old.bin
    [ "$output" = "$whole" ]
}

@test "a file of the older format that was written once goes on" {
    run --separate-stderr vm simple.s
    local whole=$output
    run --separate-stderr vm simple.s -s "${PROGRAMS%/machine/examples}/tests/golden/machine-legacy.bin"
    status_is 0
    [ "$output" = "$whole" ]
}

@test "snapshots of 131 and 133 bytes, of another program, and cut ones are refused" {
    head -c 131 /dev/zero >short
    head -c 133 /dev/zero >long
    head -c 132 /dev/zero | sed 's/\x00$/\x7f/' >far
    local file
    for file in short long far missing; do
        run vm count.s -s $file
        status_is 125
        contains "$output" "$file"
    done
    vm count.s >/dev/null
    run vm numbers.s -s three.snap
    status_is 125
    contains "$output" "another program"
    head -c -1 three.snap >cut
    run vm count.s -s cut
    status_is 125
    mayfly snapshot create "$CLI_GUESTS/keeper" -o guest.mfs
    run vm count.s -s guest.mfs
    status_is 125
    contains "$output" "no machine"
}

@test "SNAPSHOT stays in its folder and replaces no other file" {
    mkdir inner
    printf 'SNAPSHOT ../x.snap\n' >inner/up.s
    printf 'vm_binary = up.s\n' >inner/up.conf
    run vm -v inner/up.conf
    status_is 134
    contains "$output" "up.s:1" "leaves the snapshot folder" '$sp'
    [ ! -e x.snap ]
    run vm --snapshot-anywhere -v inner/up.conf
    status_is 0
    [ -f x.snap ]
    printf 'SNAPSHOT numbers.s\n' >over.s
    run vm over.s
    status_is 134
    contains "$output" "not replaced"
    cmp numbers.s "$PROGRAMS/numbers.s"
}

# ---- several machines ----

@test "turns give the same output every time" {
    local first n
    first=$(vm --schedule=round-robin -v numbers.conf -v count.conf -v numbers.conf)
    contains "$first" "[numbers] 1" "[numbers#2] 25" "[count] counted 5"
    for n in 1 2 3 4 5 6 7 8 9; do
        [ "$(vm --schedule=round-robin -v numbers.conf -v count.conf -v numbers.conf)" = "$first" ]
    done
}

@test "one machine's crash, missing file, or bad source stops no other" {
    run vm crash.s numbers.s
    status_is 134
    contains "$output" "[numbers] 25" "crash.s:4" "unaligned"
    run vm -v missing.conf numbers.s
    status_is 125
    contains "$output" "25" "missing.conf"
    printf 'frob $1\n' >bad.s
    run vm numbers.s bad.s
    status_is 125
    contains "$output" "[numbers] 25" "bad.s:1:1" "frob"
}

@test "machines with files of their own have no names in them" {
    printf 'vm_binary = numbers.s\nvm_stdout = a.out\nvm_name = a\n' >a.conf
    printf 'vm_binary = numbers.s\nvm_stdout = b.out\n' >b.conf
    run --separate-stderr vm -v a.conf -v b.conf
    status_is 0
    [ -z "$output" ]
    cmp a.out b.out
    [ "$(head -1 a.out)" = 1 ]
}

# ---- limits and bad programs ----

@test "an endless loop ends at its limits, and says where" {
    printf 'main: b main\n' >loop.s
    run vm --timeout 200ms loop.s
    status_is 124
    contains "$output" "loop.s:1" "0x00400000" '$sp'
    run vm --max-instructions 1000 loop.s
    status_is 123
    contains "$output" "loop.s:1"
    printf 'vm_binary = loop.s\nvm_max_instructions = 500\n' >loop.conf
    run vm --json -v loop.conf
    status_is 123
    contains "$output" '"executed": 500'
}

@test "faults say place, source line and registers" {
    run vm crash.s
    status_is 134
    contains "$output" "crash.s:4" "0x00400008" "0x10010002" 'lw $t1, 0($t0)' '$t0 10010002'
    printf 'main: li $t0, 0x7fffffff\naddi $t0, $t0, 1\n' >over.s
    run vm over.s
    status_is 134
    contains "$output" "over.s:2" "verflow"
    printf 'main: jr $zero\n' >jump.s
    run vm jump.s
    status_is 134
    printf 'main: lw $t0, 0($zero)\n' >null.s
    run vm null.s
    status_is 134
    contains "$output" "null.s:1"
    printf 'main: addi $sp, $sp, -4\nsw $ra, 0($sp)\njal main\n' >deep.s
    run vm deep.s
    status_is 134
    contains "$output" "deep.s:2"
}

@test "configuration mistakes name file and line" {
    printf 'vm_binary = numbers.s\nvm_slice = 3\n' >wrong.conf
    run vm -v wrong.conf
    status_is 125
    contains "$output" "wrong.conf:2: unknown key 'vm_slice'"
}

@test "an ELF of another machine is refused" {
    run vm "$CLI_GUESTS/words"
    status_is 125
    contains "$output" "x86-64" "MIPS32"
}

@test "a signal ends all machines" {
    printf 'main: b main\n' >loop.s
    "$MAYFLY" vm --backend "$MAYFLY_TEST_BACKEND" loop.s loop.s &
    local pid=$!
    sleep 1
    kill -TERM $pid
    local status=0
    wait $pid || status=$?
    [ "$status" = 143 ]
}

# ---- looking inside ----

@test "--stats counts" {
    run --separate-stderr vm --stats numbers.s
    contains "$stderr" "numbers: " "instructions" "mul" "syscall" "million per second"
    run --separate-stderr vm --stats --json numbers.s
    json 'r["machines"][0]["stats"]["instructions"]["mul"] == 5'
    json 'r["machines"][0]["stats"]["system_calls"] == 11'
    json 'r["machines"][0]["outcome"] == "exited" and r["exit_status"] == 0'
}

@test "--trace shows each instruction" {
    run --separate-stderr vm --trace square.s
    [ "$output" = 144 ]
    contains "$stderr" "0x00400000" "mul" 'jr $ra'
    printf 'vm_binary = square.s\nvm_trace = trace.txt\n' >trace.conf
    run --separate-stderr vm -v trace.conf
    [ -z "$stderr" ]
    grep -q mul trace.txt
}

@test "the debugger steps, breaks, looks, and goes back" {
    run --separate-stderr vm --step square.s <<'END'
step
registers
next
back
break square
continue
disassemble square 2
list
memory $sp 4
delete square
next
back
back
continue
continue
quit
END
    status_is 0
    contains "$output" 'square.s:4' '$a0*0000000c' "breakpoint" '=> 0x0040001c' "144" \
        "exited with status 0" "the machine has ended"
}

@test "the debugger saves and restores" {
    run --separate-stderr vm --step count.s <<'END'
step 1
snapshot here.snap
continue
restore here.snap
registers
restore crash.s
restore missing.snap
frob
quit
END
    status_is 0
    contains "$output" "saved to" "counted 5" "crash.s is no snapshot" "missing.snap" \
        "no command 'frob'"
    run --separate-stderr vm count.s -s here.snap
    [ "${lines[0]}" = "counted 1" ]
}

@test "back undoes what memory and devices did" {
    run --separate-stderr vm --step count.s <<'END'
break next
continue
continue
back
back
continue
registers
END
    status_is 0
    [ "$(grep -c 'counted 1' <<<"$output")" = 2 ]
    contains "$output" '$s0*00000001'
}
