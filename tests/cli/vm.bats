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

@test "output that cannot be written is an error" {
    printf 'vm_binary = numbers.s\nvm_stdout = /dev/full\n' >full.conf
    run vm -v full.conf numbers.s
    status_is 125
    contains "$output" "full: cannot write its output: No space left" "[numbers] 25"
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
    # Where they stand before their machines, they do so for all of them.
    run --separate-stderr vm -s three.snap count.s --name first -s three.snap count.s --name other
    [[ "$output" != *"counted 1"* ]]
    contains "$output" "[first] counted 4" "[other] counted 4"
    # A name alone leaves the snapshot to the machine that it stands behind.
    run --separate-stderr vm --name x count.s -s three.snap -v numbers.conf
    contains "$output" "[x] counted 4" "[numbers] 25"
}

@test "-s without a machine, or with two, is wrong usage" {
    run vm -s three.snap
    status_is 2
    run vm -s a -s b numbers.s
    status_is 2
    contains "$output" "-s a and -s b: two for one machine"
    run vm count.s -s a -s b numbers.s
    status_is 2
    contains "$output" "-s a and -s b: two for one machine"
    run vm --name $'a\033b' numbers.s
    status_is 2
    contains "$output" "is no name"
    [[ "$output" != *$'\033'* ]]
    run vm -s a count.s -s b
    status_is 2
    contains "$output" "-s b: for which machine?"
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
    run vm count.s -s cut numbers.s
    status_is 125
    contains "$output" "cut" "[numbers] 25"
    # The version, which the checksum covers.
    { head -c 10 three.snap && printf '\x63' && tail -c +12 three.snap; } >newer
    cmp -s three.snap newer && return 1
    run vm count.s -s newer numbers.s
    status_is 125
    contains "$output" "newer" "[numbers] 25"
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

@test "a slice is as long as it says, whatever the host's speed" {
    printf '%s\n' 'main: li $s0, 4' 'loop: li $t0, 150000' 'wait: sub $t0, $t0, 1' 'bnez $t0, wait' \
        'move $a0, $s0' 'li $v0, 1' 'syscall' 'li $a0, 10' 'li $v0, 11' 'syscall' \
        'sub $s0, $s0, 1' 'bnez $s0, loop' >down.s
    local slice
    for slice in 10000000 700000; do
        printf 'vm_binary = down.s\nvm_exec_slice_in_instructions = %s\n' "$slice" >down.conf
        run --separate-stderr vm --schedule=round-robin -v down.conf -v down.conf
        [ "$(tr -d '\n' <<<"$output")" = "$(case $slice in
            10000000) printf '[down] %s' 4 3 2 1; printf '[down#2] %s' 4 3 2 1 ;;
            *) printf '[down] %s' 4 3; printf '[down#2] %s' 4 3; printf '[down] %s' 2 1; printf '[down#2] %s' 2 1 ;;
            esac)" ]
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

@test "the exit status is that of the first machine that did not end well" {
    printf 'main: li $a0, 7\nli $v0, 17\nsyscall\n' >seven.s
    run vm numbers.s seven.s crash.s
    status_is 7
    run vm numbers.s crash.s seven.s
    status_is 134
    run vm --schedule=round-robin gone.s seven.s
    status_is 125
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
    printf '__start: jr $ra\n' >start.s
    run vm start.s
    status_is 134
    # main has a caller, and its return is an end.
    printf 'main: jr $ra\n' >return.s
    run vm return.s
    status_is 0
    [ -z "$output" ]
    printf 'main: lw $t0, 0($zero)\n' >null.s
    run vm null.s
    status_is 134
    contains "$output" "null.s:1"
    printf 'main: addi $sp, $sp, -4\nsw $ra, 0($sp)\njal main\n' >deep.s
    run vm deep.s
    status_is 134
    contains "$output" "deep.s:2"
}

# bad_program LINE MESSAGE TEXT: the program TEXT stops at LINE of bad.s, and says where, why and
# with which registers; another machine goes on.
bad_program() {
    printf "$3" >bad.s
    run vm bad.s numbers.s
    status_is 134
    contains "$output" "bad: bad.s:$1 (" "$2" "at 0x0040" '$sp 7fffef' " pc " "[numbers] 25"
}

@test "each kind of fault has its message, and stops no other machine" {
    bad_program 2 "unaligned" 'main: li $t0, 0x10010002\nlw $t1, 0($t0)\n'
    bad_program 2 "no memory" 'main: li $t0, 0x30000000\nsw $t1, 0($t0)\n'
    bad_program 1 "store to text" 'main: sw $0, main\n'
    bad_program 3 "jump outside of the text" 'main: nop\nli $t0, 0x00500000\njr $t0\n'
    bad_program 2 "unaligned" 'main: li $t0, 0x00400002\njr $t0\n'
    bad_program 2 "behind its last instruction" 'main: li $t0, 1\naddi $t0, $t0, 1\n'
    bad_program 2 "division by zero" 'main: li $t0, 1\ndiv $t0, $t0, $zero\n'
    bad_program 1 "breakpoint" 'main: break 3\n'
    bad_program 2 "arithmetic overflow" 'main: li $t0, 0x7fffffff\naddi $t0, $t0, 1\n'
    bad_program 2 "arithmetic overflow" 'main: li $t0, 0x7fffffff\nmulo $t0, $t0, $t0\n'
    # Its stack pointer is far from the top.
    printf 'main: addi $sp, $sp, -8\nsw $ra, 4($sp)\njal main\n' >deep.s
    run vm deep.s numbers.s
    status_is 134
    contains "$output" "deep: deep.s:2 (main+4): " "stack overflow" "[numbers] 25"
    run --separate-stderr vm --json deep.s
    json '"stack overflow" in r["machines"][0]["fault"] and r["machines"][0]["outcome"] == "faulted"'
}

@test "a limit of one machine is none of the others" {
    printf 'main: b main\n' >loop.s
    printf 'vm_binary = loop.s\nvm_max_instructions = 500\n' >loop.conf
    run vm -v loop.conf numbers.s
    status_is 123
    contains "$output" "loop: loop.s:1 (main): its limit of instructions is reached at 0x00400000" \
        "[numbers] 25"
}

@test "the assembler's mistakes are all told, and stop no other machine" {
    printf '%s\n' 'main: ad $t0, $t1, $t2' ' move $tt0, $t1' ' lui $t0, 70000' ' b nowher' \
        'main: nop' ' li $t0, (5' 'nowhere: nop' ' b 1f' >bad.s
    run vm bad.s numbers.s
    status_is 125
    contains "$output" "bad.s:1:7: unknown instruction 'ad'; did you mean 'add'?" \
        "bad.s:2:7: unknown register '\$tt0'; did you mean '\$t0'?" \
        "bad.s:3:11: 70000 is out of range: expected -32768 to 65535" \
        "bad.s:4:4: 'nowher' is not defined; did you mean 'nowhere'?" \
        "bad.s:5:1: 'main' is defined twice; the first time in bad.s:1" \
        "bad.s:6:12: expected )" "bad.s:8:4: there is no label '1:' behind this line" \
        "bad: bad.s: 7 errors" "[numbers] 25"
}

@test "configuration mistakes name file and line, each of them" {
    local n=0 line want args=()
    while IFS='|' read -r line want; do
        n=$((n + 1))
        printf 'vm_binary = numbers.s\n%b\n' "$line" >"c$n.conf"
        args+=(-v "c$n.conf")
        printf 'mayfly vm: c%s.conf:2: %s\n' "$n" "$want" >>wanted
    done <<'END'
vm_slice = 3|unknown key 'vm_slice'; did you mean 'vm_exec_slice_in_instructions'?
vm_stdoud=x|unknown key 'vm_stdoud'; did you mean 'vm_stdout'?
frob = 1|unknown key 'frob'
VM_NAME = a|unknown key 'VM_NAME'; did you mean 'vm_name'?
vm_name|'vm_name' is not of the form key = value
= 3|there is no key before the =
vm_name =|vm_name has no value
vm_binary = count.s|vm_binary was given already, on line 1
vm_name = a b|vm_name: 'a b' is no name
vm_memory = 16X|vm_memory: '16X' is not a size
vm_memory = 1K|vm_memory: '1K' is out of range: 64K to 2G
vm_memory = 99999999999999999999|vm_memory: '99999999999999999999' is not a size
vm_max_instructions = 0|vm_max_instructions: '0' is not a number of instructions above 0
vm_exec_slice_in_instructions = -1|vm_exec_slice_in_instructions: '-1' is not a number
vm_endian = middle|vm_endian: 'middle' is neither 'big' nor 'little'
vm_devices = console,floppy|vm_devices: 'floppy' is no device
vm_devices = disk:a disk:b|vm_devices: 'disk:b' is a second disk
vm_name = \x1b|vm_name: '\x1b' is no name
vm_name = a\x00b|a zero byte: not a text file
END
    run vm "${args[@]}" numbers.s
    status_is 125
    while read -r want; do
        contains "$output" "$want"
    done <wanted
    contains "$output" "[numbers] 25"
    [[ "$output" != *$'\033'* ]]
    printf 'vm_name = a\n' >none.conf
    run vm -v none.conf
    status_is 125
    contains "$output" "none.conf: vm_binary is missing"
}

@test "configurations as editors write them, with paths from their folder" {
    mkdir sub
    cp numbers.s sub/here.s
    printf '\xef\xbb\xbf# all keys\r\n\r\nvm_binary=here.s\r\n  vm_name   =  all  # why\r\n' >all
    printf '%s\r\n' 'vm_stdout = o.txt' 'vm_stdin = i.txt' 'vm_memory = 1MiB' \
        'vm_exec_slice_in_instructions = 0x10' 'vm_max_instructions = 1000' 'vm_endian=big' \
        'vm_devices = none' 'vm_trace=t.txt' >>all
    printf 'vm_snapshot = not.yet' >>all
    mv all sub/all.conf
    : >sub/i.txt
    run --separate-stderr vm -v sub/all.conf
    status_is 0
    [ -z "$output" ]
    contains "$stderr" "vm_snapshot sub/not.yet is not there yet"
    [ "$(head -1 sub/o.txt)" = 1 ]
    grep -q mul sub/t.txt
}

@test "files that are missing or cannot be read are named, and stop no other machine" {
    local key args=()
    for key in "vm_binary = gone.s" "vm_stdin = gone.in" "vm_stdout = no/such/out" \
        "vm_trace = no/such/trace" "vm_devices = disk:gone.img" "vm_snapshot = ."; do
        printf '%s\n' "$key" >"m${#args[@]}.conf"
        [[ $key == vm_binary* ]] || echo "vm_binary = numbers.s" >>"m${#args[@]}.conf"
        args+=(-v "m${#args[@]}.conf")
    done
    printf '.include "gone.inc"\n' >inc.s
    run vm "${args[@]}" -v gone.conf -v . inc.s gone.elf numbers.s
    status_is 125
    contains "$output" "gone.s" "gone.in" "no/such/out" "no/such/trace" "gone.img" "gone.conf" \
        "inc.s:1:10: cannot include this file" "gone.elf" "[numbers] 25" "is a folder"
}

@test "an ELF of another machine is refused" {
    run vm "$CLI_GUESTS/words" numbers.s
    status_is 125
    contains "$output" "x86-64" "MIPS32" "[numbers] 25"
    # Heads of such files: class, byte order, type, machine, flags.
    python3 - <<'PY'
import struct
def head(name, bits, kind, machine, flags):
    ident = b"\x7fELF" + bytes([bits, 2, 1]) + bytes(9)
    body = struct.pack(">HHIIIIIHHHHHH", kind, machine, 1, 0x400000, 52, 0, flags, 52, 32, 1, 40, 0, 0)
    part = struct.pack(">8I", 1, 0, 0x400000, 0x400000, 100, 100, 5, 4096)
    open(name, "wb").write((ident + body + part).ljust(200, b"\0"))
head("m64", 2, 2, 8, 0x60000000)
head("arm", 1, 2, 40, 0)
head("shared", 1, 3, 8, 0x70001000)
head("object", 1, 1, 8, 0x70001000)
head("r6", 1, 2, 8, 0x90001000)
PY
    printf '\x7fELF' >tiny
    run vm m64 arm shared object r6 tiny numbers.s
    status_is 125
    contains "$output" "m64 is a 64-bit MIPS program" "arm is a program for Arm" \
        "shared is position independent" "object is an object file" "r6 is for a 64-bit or newer" \
        "tiny is cut off" "[numbers] 25"
}

@test "vm_endian holds for assembly, and must agree with a program that has its own" {
    printf '.data\nw: .word 0x01020304\n.text\nmain: lbu $a0, w\nli $v0, 17\nsyscall\n' >first.s
    run vm first.s
    status_is 4
    printf 'vm_binary = first.s\nvm_endian = big\n' >big.conf
    run vm -v big.conf
    status_is 1
    mayfly asm --endian big -o first.img first.s
    run vm first.img
    status_is 1
    printf 'vm_binary = first.img\nvm_endian = little\n' >other.conf
    run vm -v other.conf
    status_is 125
    contains "$output" "first.img is a big-endian program, and vm_endian says little"
}

# Runs machines that print a line and then loop, sends a signal, and shows all that they print.
# The exit status is the command's.
signalled() {
    local signal=$1
    shift
    printf '%s\n' "main: li \$a0, '\\n'" ' li $v0, 11' ' syscall' ' jal work' 'work: b work' >spin.s
    python3 - "$signal" "$MAYFLY" vm --backend "$MAYFLY_TEST_BACKEND" "$@" <<'PY'
import signal, subprocess, sys
p = subprocess.Popen(sys.argv[2:], stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
for _ in range(sys.argv.count("spin.s")):
    p.stdout.readline()
p.send_signal(getattr(signal, sys.argv[1]))
print(p.communicate(timeout=60)[0].decode())
sys.exit(p.returncode)
PY
}

@test "a signal ends all machines, and each says where it was" {
    run signalled SIGTERM spin.s spin.s
    status_is 143
    run signalled SIGINT spin.s spin.s
    status_is 130
    contains "$output" "spin: spin.s:5 (work): interrupted at 0x00400010" \
        "spin#2: spin.s:5 (work): interrupted at 0x00400010" "work: b work"
    run signalled SIGINT --schedule=round-robin spin.s spin.s
    status_is 130
    contains "$output" "spin: spin.s:5 (work): interrupted" "spin#2: spin.s:5 (work): interrupted"
    run signalled SIGINT --json spin.s
    status_is 130
    contains "$output" "spin.s:5 (work): interrupted at 0x00400010" '$ra 00400010' \
        '"outcome": "interrupted"' '"pc": 4194320'
}

@test "a signal ends machines whose output nobody takes" {
    printf 'main: li $a0, 65\nli $v0, 11\nwork: syscall\nb work\n' >spin.s
    python3 - "$MAYFLY" vm --backend "$MAYFLY_TEST_BACKEND" spin.s spin.s >said <<'PY' || true
import fcntl, signal, struct, subprocess, sys, termios, time
p = subprocess.Popen(sys.argv[1:], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
fcntl.fcntl(p.stdout, fcntl.F_SETPIPE_SZ, 4096)
while struct.unpack("i", fcntl.ioctl(p.stdout, termios.FIONREAD, b"1234"))[0] < 4096:
    time.sleep(0.01)
p.send_signal(signal.SIGINT)
print(p.wait(timeout=60), p.stderr.read().decode())
PY
    contains "$(cat said)" "130 " "spin: spin.s:" "spin#2: spin.s:" "(work"
}

# ---- looking inside ----

@test "--stats counts" {
    run --separate-stderr vm --stats numbers.s
    contains "$stderr" "numbers: " "instructions" "mul" "syscall" "million per second"
    run --separate-stderr vm --stats --json numbers.s
    json 'r["machines"][0]["stats"]["instructions"]["mul"] == 5'
    json 'r["machines"][0]["stats"]["system_calls"] == 11'
    json 'r["machines"][0]["stats"]["instructions_per_second"] > 0'
    json 'r["machines"][0]["stats"]["memory_bytes"] % 4096 == 0'
    json 'r["machines"][0]["outcome"] == "exited" and r["exit_status"] == 0'
    json '[b["times"] for b in r["machines"][0]["stats"]["basic_blocks"]] == [5, 1, 1]'
    # Every instruction stands in one block, whole turns or single steps.
    local how
    for how in parallel round-robin; do
        run --separate-stderr vm --stats --json --schedule=$how count.s timer.s
        json 'all(m["executed"] == sum(b["instructions"] * b["times"] for b in m["stats"]["basic_blocks"]) for m in r["machines"])'
    done
    run --separate-stderr vm --stats count.s
    contains "$stderr" "basic blocks, by the instructions" "  5  0x00400004   14 instructions  count.s:7 (loop)"
}

@test "--trace shows each instruction" {
    run --separate-stderr vm --trace square.s
    [ "$output" = 144 ]
    contains "$stderr" "0x00400000" "mul" 'jr $ra'
    printf 'vm_binary = square.s\nvm_trace = trace.txt\n' >trace.conf
    run --separate-stderr vm -v trace.conf
    [ -z "$stderr" ]
    grep -q mul trace.txt
    # Lines of several machines carry their names.
    run --separate-stderr vm --trace square.s numbers.s
    contains "$stderr" "[square] 0x00400000" "[numbers] 0x00400000"
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

@test "the debugger takes what people type" {
    run --separate-stderr vm --step square.s <<'END'
frob
step x
step 0
step 99999999999999999999
break nowhere
break 0x400002
memory
memory main 99999
memory 0x0
disassemble 0x0
snapshot
restore
snapshot ../out.snap
restore gone.snap
back
	registers  	
help
st
END
    # The end of the input ends it; the machine was not asked to end.
    status_is 0
    contains "$output" "there is no command 'frob'" "'x' is not a number from 1" \
        "'0' is not a number from 1" "'99999999999999999999' is not a number" \
        "nowhere is no label, register or address" "instructions begin at multiples of 4" \
        "which address?" "'99999' is not a number from 1 to 4096" "0x00000000  no memory" \
        "which file? snapshot FILE" "which file? restore FILE" "leaves the snapshot folder" \
        "gone.snap" "there is no stop before this one" '$sp' "disassemble" "0x00400004"
    [ -z "$stderr" ]
    run vm --step square.s square.s
    status_is 2
    run vm --step gone.s </dev/null
    status_is 125
    run --separate-stderr vm --step square.s </dev/null
    status_is 0
    [ "${#lines[@]}" = 1 ]
}

@test "the debugger on a terminal: the end of input, and a signal" {
    python3 - "$MAYFLY" vm --backend "$MAYFLY_TEST_BACKEND" --step crash.s >said <<'PY'
import os, pty, sys
def play(keys):
    pid, fd = pty.fork()
    if pid == 0:
        os.execv(sys.argv[1], sys.argv[1:])
    said = b""
    for key in keys:
        while not said.endswith(b"(vm) "):
            said += os.read(fd, 1024)
        os.write(fd, key)
        said += b"|"
    try:
        while True:
            more = os.read(fd, 1024)
            if not more:
                break
            said += more
    except OSError:
        pass
    print(said.decode(), "status", os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
play([b"step\n", b"\x04"])
play([b"continue\n", b"\x03"])
PY
    contains "$(cat said)" "crash.s:" "status 0" "unaligned" "status 130"
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
