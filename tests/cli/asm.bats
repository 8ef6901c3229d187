#!/usr/bin/env bats
# mayfly asm: listing, image, errors, JSON. Nothing is run here.

load helpers

setup() {
    cd "$BATS_TEST_TMPDIR"
    printf '        .data\nmsg:    .asciiz "hi"\n        .text\nmain:   la $a0, msg\n        jr $ra\n' >good.s
    printf 'main:   ad $t0, $t1, $t2\n        lw $t0, nowhere\n        li $t0, 5 5\n' >bad.s
}

@test "a program is measured" {
    run --separate-stderr mayfly asm good.s
    status_is 0
    [ "$output" = "2 instructions, 12 bytes of text, 3 bytes of data, entry 0x00400000" ]
    [ -z "$stderr" ]
}

@test "the listing has address, word, line and source" {
    run mayfly asm --list good.s
    status_is 0
    [ "${lines[0]}" = '0x00400000  0x3c041001      4  main:   la $a0, msg' ]
    [ "${lines[1]}" = '0x00400004  0x34840000' ]
    [ "${lines[2]}" = '0x00400008  0x03e00008      5          jr $ra' ]
    [ "${lines[3]}" = '0x10010000  0x00006968' ]
    [ "${#lines[@]}" -eq 4 ]
}

@test "the image is written, and only when there are no errors" {
    run mayfly asm good.s -o good.img
    status_is 0
    [ -z "$output" ]
    [ "$(head -c 6 good.img)" = MFMIPS ]
    run mayfly asm bad.s -o bad.img
    status_is 125
    [ ! -e bad.img ]
    run mayfly asm good.s -o no/such/folder/good.img
    status_is 125
    contains "$output" "cannot write no/such/folder/good.img"
}

@test "all errors are shown, with their places" {
    run --separate-stderr mayfly asm bad.s
    status_is 125
    [ -z "$output" ]
    contains "$stderr" "bad.s:1:9: unknown instruction 'ad'; did you mean 'add'?" \
        "    main:   ad" "            ^" \
        "bad.s:2:17: 'nowhere' is not defined" "bad.s:3:" "mayfly asm: 3 errors"
}

@test "JSON has the program, the listing and the errors" {
    mayfly asm --json --list good.s >out.json
    python3 - <<'PY'
import json
o = json.load(open("out.json"))
assert o["entry"] == 0x400000 and o["instructions"] == 2 and not o["simple"], o
assert {s["name"]: s["address"] for s in o["symbols"]} == {"main": 0x400000, "msg": 0x10010000}
assert o["listing"][0]["word"] == 0x3C041001 and o["listing"][2]["line"] == 5, o
assert [s["bytes"] for s in o["segments"]] == [12, 2], o
PY
    run --separate-stderr mayfly asm --json bad.s
    status_is 125
    printf '%s' "$output" >out.json
    python3 - <<'PY'
import json
o = json.load(open("out.json"))
assert [e["line"] for e in o["errors"]] == [1, 2, 3], o
assert o["errors"][0]["column"] == 9 and o["error"]["message"] == "3 errors", o
PY
}

@test "files are included from beside the source" {
    mkdir -p sub
    echo 'N = 7' >sub/names.s
    printf '.include "names.s"\nli $t0, N\n' >sub/main.s
    run mayfly asm --list sub/main.s
    status_is 0
    contains "$output" "0x24080007" 'sub/main.s: li $t0, N'
    printf '.include "gone.s"\nnop\n' >sub/main.s
    run mayfly asm sub/main.s
    status_is 125
    contains "$output" "sub/main.s:1:10: cannot include this file"
    printf '.include "main.s"\n' >sub/main.s
    run mayfly asm sub/main.s
    status_is 125
    contains "$output" "sub/main.s:1:10: this file includes itself"
}

@test "files that include each other are told once" {
    printf '.include "b.s"\n' >a.s
    printf 'nop\n.include "a.s"\n' >b.s
    run mayfly asm a.s
    status_is 125
    contains "$output" "b.s:2:10: this file includes itself" "mayfly asm: 1 error"
    # With another name each time there is a limit.
    mkdir deep
    ln -s . deep/deep
    printf '.include "deep/deep.s"\n' >deep/deep.s
    run mayfly asm deep/deep.s
    status_is 125
    contains "$output" "too many .include"
}

@test "the byte order is an option" {
    printf 'main: nop\n.data\n.half 0x0102\n.byte 3, 4\n.word 0x05060708\n' >order.s
    mayfly asm --json --list order.s >little.json
    mayfly asm --endian=big --json --list order.s >big.json
    python3 - <<'PY'
import json
little, big = json.load(open("little.json")), json.load(open("big.json"))
assert not little["big_endian"] and big["big_endian"]
assert [r["word"] for r in little["listing"]][1:] == [0x04030102, 0x05060708], little
assert [r["word"] for r in big["listing"]][1:] == [0x01020304, 0x05060708], big
PY
    run mayfly asm --endian middle order.s
    status_is 2
    contains "$output" "'middle' is neither little nor big"
}

@test "numeric labels are the nearest ones" {
    printf '1: b 1f\n1: b 1b\n b 2b\n' >near.s
    run mayfly asm near.s
    status_is 125
    contains "$output" "near.s:3:4: there is no label '2:' before this line" "1 error"
    sed -i 3d near.s
    run mayfly asm --list near.s
    contains "$output" "0x00400000  0x10000000" "0x00400004  0x1000ffff"
}

@test "the mark stands below the place, whatever stands before it" {
    printf '\t.ascii "h\xc3\xa9" x\n' >mark.s
    run mayfly asm mark.s
    status_is 125
    [ "${lines[0]}" = "mark.s:1:15: expected a string in \"...\", not 'x'" ]
    [ "${lines[1]}" = "     .ascii \"h$(printf '\xc3\xa9')\" x" ]
    [ "${lines[2]}" = "                 ^" ]
}

@test "several sources are one program" {
    printf '.globl main\nmain: jal work\n' >one.s
    printf '.globl work\nwork: jr $ra\n' >two.s
    run mayfly asm --list one.s two.s
    status_is 0
    contains "$output" "0x00400000  0x0c100001" "two.s: work: jr"
}

@test "delay slots are filled on demand" {
    printf 'main: b main\n' >loop.s
    [ "$(mayfly asm --list loop.s | wc -l)" -eq 1 ]
    [ "$(mayfly asm --list --delayed-branches loop.s | wc -l)" -eq 1 ]
    printf '.set reorder\nmain: b main\n' >filled.s
    [ "$(mayfly asm --list filled.s | wc -l)" -eq 1 ]
    [ "$(mayfly asm --list --delayed-branches filled.s | wc -l)" -eq 2 ]
}

@test "wrong usage and missing files" {
    run mayfly asm
    status_is 2
    contains "$output" "which source?"
    run mayfly asm missing.s
    status_is 125
    contains "$output" "missing.s"
    run mayfly asm .
    [ "$status" -ne 0 ]
    run mayfly asm --frob good.s
    status_is 2
}

@test "control characters of a source do not reach the terminal" {
    printf 'foo\033[31m $t0\n' >evil.s
    run mayfly asm evil.s
    status_is 125
    [[ "$output" != *$'\033'* ]]
}
