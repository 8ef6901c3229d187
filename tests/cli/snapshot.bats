#!/usr/bin/env bats
# `mayfly snapshot`, `mayfly resume`, and snapshots where images are taken. Run with each
# backend.

load helpers

setup_file() {
    find_backend
}

setup() {
    need_backend
    K=$CLI_GUESTS/keeper
    T=$CLI_GUESTS/ticker
    # bats has files of its own in the folder above.
    mkdir -p "$BATS_TEST_TMPDIR/work"
    cd "$BATS_TEST_TMPDIR/work"
}

# create ARG...: `mayfly snapshot create` on the backend under test.
create() {
    mayfly snapshot create --backend "$MAYFLY_TEST_BACKEND" "$@"
}

# Prints the backends that work here, the one under test first.
backends() {
    echo "$MAYFLY_TEST_BACKEND"
    "$MAYFLY" doctor --json | python3 -c '
import json, sys
for b in json.load(sys.stdin)["backends"]:
    if b["usable"] and b["name"] != sys.argv[1]:
        print(b["name"])' "$MAYFLY_TEST_BACKEND"
}

# patch FILE OFFSET BYTE: changes one byte; BYTE is like '\x00'.
patch() {
    printf "$3" | dd of="$1" bs=1 seek="$2" conv=notrunc status=none
}

# ---- between calls ----

@test "a snapshot keeps what the calls did, and stays as it is" {
    run --separate-stderr create "$K" -o k.mfs --call 'keep apples' --call count
    status_is 0
    [ -z "$output$stderr" ]
    local n
    for n in 1 2; do
        run --separate-stderr guest call k.mfs count
        status_is 0
        [ "$output" = 3 ]
    done
    run --separate-stderr guest call k.mfs recall
    [ "$output" = apples ]
}

@test "without --call it waits for its first one" {
    create "$K" -o k.mfs
    run --separate-stderr guest call k.mfs count
    [ "$output" = 1 ]
}

@test "a snapshot of one backend is called on the others" {
    create "$K" -o k.mfs --call 'keep here'
    local backend
    for backend in $(backends); do
        run --separate-stderr mayfly call --backend "$backend" k.mfs recall
        status_is 0
        [ "$output" = here ]
    done
}

@test "a snapshot is made from a snapshot" {
    create "$K" -o one.mfs --call count
    create one.mfs -o two.mfs --call count
    create two.mfs -o two.mfs --call count
    run --separate-stderr guest call two.mfs count
    [ "$output" = 4 ]
}

@test "--repeat and --batch take snapshots too" {
    create "$K" -o k.mfs --call count
    run --separate-stderr guest call --repeat 3 k.mfs count
    [ "$output" = 4 ]
    run --separate-stderr bash -c 'printf "count\ncount\n" | "$MAYFLY" call --batch \
        --backend "$MAYFLY_TEST_BACKEND" k.mfs'
    [ "$output" = $'2\n3' ]
}

@test "the words of --call are quoted as in a shell" {
    create "$K" -o k.mfs --call "keep 'a  b\"c\"' "
    run --separate-stderr guest call k.mfs recall
    [ "$output" = 'a  b"c"' ]
    create "$K" -o k.mfs --call 'keep "it'"'"'s \"so\""'
    run --separate-stderr guest call k.mfs recall
    [ "$output" = "it's \"so\"" ]
    printf 'from a file' >text
    create "$K" -o k.mfs --call 'keep @text'
    run --separate-stderr guest call k.mfs recall
    [ "$output" = "from a file" ]
    printf 'from input' | create "$K" -o k.mfs --call 'keep @-'
    run --separate-stderr guest call k.mfs recall
    [ "$output" = "from input" ]
}

@test "--call that cannot be read: nothing runs, nothing is written" {
    local text
    for text in "keep 'open" 'keep "open' 'keep open\' '' '  '; do
        run --separate-stderr create "$K" -o k.mfs --call "$text"
        status_is 2
        contains "$stderr" "mayfly snapshot create: --call"
        [ ! -e k.mfs ]
    done
    run --separate-stderr create "$K" -o k.mfs --call count --call 'cuont'
    status_is 2
    contains "$stderr" "cuont" "count"
    run --separate-stderr create "$K" -o k.mfs --call 'nap soon'
    status_is 2
    contains "$stderr" "nap: argument 1 (u32 ms)"
    run --separate-stderr create "$K" -o k.mfs --call 'keep'
    status_is 2
    run --separate-stderr create "$K" -o k.mfs --call 'keep @-' --call 'keep @-' </dev/null
    status_is 2
    contains "$stderr" "only one"
    [ ! -e k.mfs ]
}

@test "a call that fails: its status, and nothing is written" {
    local W=$CLI_GUESTS/words
    run --separate-stderr create "$W" -o w.mfs --call 'fail sorry'
    status_is 1
    contains "$stderr" "sorry"
    run --separate-stderr create "$W" -o w.mfs --call crash
    status_is 134
    contains "$stderr" "guest fault"
    run --separate-stderr create "$W" -o w.mfs --call spin --timeout 200ms
    status_is 124
    [ ! -e w.mfs ]
}

@test "what a guest prints comes out" {
    run --separate-stderr create "$CLI_GUESTS/words" -o w.mfs --call 'print hello'
    status_is 0
    [ "$output" = hello ]
    [ "$stderr" = hello ]
}

@test "create --json" {
    run --separate-stderr create "$K" -o k.mfs --json --call 'nap 0' --call recall
    status_is 0
    json 'r["calls"][0] == {"function": "nap", "result": 0, "type": "u32"}'
    json 'r["calls"][1]["result"] == "nothing"'
    json 'r["file"] == "k.mfs" and r["frozen_in"] == "nothing" and r["parents"] == []'
    json 'r["memory_bytes"] == 64 << 20 and r["pages"] > 10 and len(r["digest"]) == 71'
    json "r['digest'] == 'sha256:$(sha256sum k.mfs | cut -d ' ' -f 1)'"
    json "r['file_bytes'] == $(stat -c %s k.mfs)"
    json 'r["backend"] == "'"$MAYFLY_TEST_BACKEND"'"'
    run --separate-stderr create "$K" -o k.mfs --json --call nonsense
    status_is 2
    json 'r["error"]["name"] == "MF_E_NO_FUNCTION"'
    run --separate-stderr create "$K" --json
    status_is 2
    json '"-o" in r["error"]["message"]'
}

@test "--verbose says what was written" {
    run --separate-stderr create "$K" -o k.mfs --verbose
    contains "$stderr" "wrote k.mfs" "sha256:$(sha256sum k.mfs | cut -d ' ' -f 1)" "backend "
}

# ---- in the middle ----

@test "a frozen program runs on, on every backend, any number of times" {
    local backend
    guest run "$T" 20 50 >expected || [ "$?" = 7 ]
    create --run "$T" 20 50 --after 400ms -o t.mfs >before
    [ -s before ]
    [ "$(wc -l <before)" -lt 20 ]
    for backend in $(backends) $(backends); do
        run --separate-stderr mayfly resume --backend "$backend" t.mfs
        status_is 7
        [ -z "$stderr" ]
        { cat before; echo "$output"; } | cmp - expected
    done
}

@test "a program is frozen again and again" {
    guest run "$T" 20 50 >expected || [ "$?" = 7 ]
    create -o a.mfs --after 200ms --run -- "$T" 20 50 >out
    create -o b.mfs --after 200ms --run a.mfs >>out
    create -o b.mfs --after 200ms --run b.mfs >>out
    run --separate-stderr mayfly resume b.mfs
    status_is 7
    { cat out; echo "$output"; } | cmp - expected
}

@test "a program that was waiting for input goes on waiting" {
    sleep 3 | create --run "$CLI_GUESTS/program" cat --after 300ms -o cat.mfs
    run --separate-stderr bash -c 'echo more | "$MAYFLY" resume cat.mfs'
    status_is 0
    [ "$output" = more ]
}

@test "a call is frozen in its middle, and answers later" {
    create "$K" -o nap.mfs --call count --call 'nap 1000' --after 300ms
    local backend
    for backend in $(backends); do
        run --separate-stderr mayfly resume --backend "$backend" nap.mfs
        status_is 0
        [ "$output" = 100 ]
    done
    run --separate-stderr mayfly resume --json nap.mfs
    status_is 0
    json 'r["frozen_in"] == "call" and r["result"] == 100 and r["type"] == "u32"'
    run --separate-stderr mayfly resume nap.mfs --timeout 100ms
    status_is 124
}

@test "resume --json of a program" {
    create --run "$T" 5 100 --after 100ms -o t.mfs >before
    run --separate-stderr mayfly resume --json t.mfs
    status_is 7
    json 'r["frozen_in"] == "run" and r["exit_status"] == 7 and "times" in r and "stats" in r'
    contains "$stderr" "5 2.28333333333333"
}

@test "what ends before --after is told, and nothing is written" {
    run --separate-stderr create --run "$T" 1 1 --after 20s -o t.mfs
    status_is 1
    contains "$stderr" "ended with status 7" "--after 20" "nothing"
    [ ! -e t.mfs ]
    run --separate-stderr create "$K" --call 'nap 10' --after 20s -o t.mfs
    status_is 1
    contains "$stderr" "the call answered" "--after 20"
    [ ! -e t.mfs ]
    run --separate-stderr create --run "$CLI_GUESTS/program" crash --after 20s -o t.mfs
    status_is 134
    [ ! -e t.mfs ]
}

@test "a signal while the program runs: 128 + n, and nothing is written" {
    local pid status=0
    "$MAYFLY" snapshot create --backend "$MAYFLY_TEST_BACKEND" --run "$T" 100 50 --after 50s \
        -o t.mfs >out &
    pid=$!
    for _ in $(seq 100); do
        [ -s out ] && break
        sleep 0.1
    done
    kill -TERM "$pid"
    wait "$pid" || status=$?
    [ "$status" = 143 ]
    [ ! -e t.mfs ]
    [ -z "$(ls -A | grep -v '^out$')" ]
}

@test "AVX state goes where AVX is, and is refused by name elsewhere" {
    [ "$MAYFLY_TEST_BACKEND" = kvm ] || skip "only hardware has AVX here"
    grep -qw avx /proc/cpuinfo || skip "this processor has no AVX"
    create --run "$T" 10 100 avx --after 300ms -o t.mfs >/dev/null
    run --separate-stderr mayfly snapshot inspect --json t.mfs
    json '"avx" in r["cpu_state"]'
    run --separate-stderr mayfly resume --backend kvm t.mfs
    status_is 7
    run --separate-stderr mayfly resume --backend soft t.mfs
    [ "$status" = 125 ]
    contains "$stderr" AVX
}

# ---- files ----

@test "a child holds the difference, and needs its parent" {
    mkdir folder store
    create "$K" -o folder/base.mfs --call 'fill 100'
    create folder/base.mfs -o folder/child.mfs --parent folder/base.mfs --call 'keep child'
    create folder/base.mfs -o whole.mfs --call 'keep child'
    [ "$(stat -c %s folder/child.mfs)" -lt 200000 ]
    [ "$(stat -c %s whole.mfs)" -gt 400000 ]
    run --separate-stderr guest call folder/child.mfs recall
    [ "$output" = child ]
    run --separate-stderr mayfly snapshot inspect --json folder/child.mfs
    json 'len(r["parents"]) == 1 and r["own_pages"] < 60'
    json "r['parents'][0] == 'sha256:$(sha256sum folder/base.mfs | cut -d ' ' -f 1)'"
    run --separate-stderr mayfly snapshot verify folder/child.mfs whole.mfs
    status_is 0

    mv folder/base.mfs "store/$(sha256sum folder/base.mfs | cut -d ' ' -f 1).mfs"
    run --separate-stderr guest call folder/child.mfs recall
    status_is 125
    contains "$stderr" "parent" "$(ls store | cut -c 1-64)"
    run --separate-stderr guest call --store store folder/child.mfs recall
    status_is 0
    [ "$output" = child ]
    run --separate-stderr mayfly snapshot verify --store store folder/child.mfs store/*
    status_is 0
    run --separate-stderr mayfly snapshot verify folder/child.mfs
    status_is 1
}

@test "a parent that was made anew by the same calls" {
    create "$K" -o base.mfs --call 'fill 100'
    create "$K" -o other.mfs --parent base.mfs --call 'fill 100' --call 'keep other'
    [ "$(stat -c %s other.mfs)" -lt 300000 ]
    run --separate-stderr guest call other.mfs recall
    [ "$output" = other ]
}

@test "a changed parent is not the parent any more" {
    create "$K" -o base.mfs
    create base.mfs -o child.mfs --parent base.mfs --call count
    patch base.mfs 5000 '\xee'
    run --separate-stderr guest call child.mfs count
    status_is 125
    contains "$stderr" parent
    create "$K" -o base.mfs
    run --separate-stderr guest call child.mfs count
    status_is 125
    contains "$stderr" parent
}

@test "--parent that cannot be one" {
    create "$K" -o k.mfs
    run --separate-stderr create "$K" -o c.mfs --parent "$K"
    status_is 2
    contains "$stderr" "--parent" "no snapshot"
    run --separate-stderr create "$K" -o c.mfs --parent missing.mfs
    status_is 125
    contains "$stderr" missing.mfs
    run --separate-stderr create "$K" -o k.mfs --parent k.mfs
    status_is 2
    contains "$stderr" "same file"
    create "$K" -o large.mfs --memory 128M
    run --separate-stderr create "$K" -o c.mfs --parent large.mfs
    status_is 2
    contains "$stderr" "memory"
    [ ! -e c.mfs ]
}

@test "--compress" {
    create "$K" -o plain.mfs
    create "$K" -o small.mfs --compress
    [ "$(stat -c %s small.mfs)" -lt "$(stat -c %s plain.mfs)" ]
    run --separate-stderr guest call small.mfs count
    [ "$output" = 1 ]
    run --separate-stderr mayfly snapshot inspect --json small.mfs
    json 'r["compressed"] is True'
}

@test "inspect shows a snapshot and the program in it" {
    create "$K" -o k.mfs --call count
    run --separate-stderr mayfly snapshot inspect k.mfs
    status_is 0
    contains "$output" "k.mfs" "snapshot, between calls" "sha256:" "64 MiB" "Program: keeper" \
        "u32 count()" "Host functions that it needs: none"
    local text=$output
    run --separate-stderr mayfly inspect k.mfs
    [ "$output" = "$text" ]
    run --separate-stderr mayfly inspect --json k.mfs
    json '"count" in [f["name"] for f in r["program"]["exports"]] and r["format"] == "1.0"'
    run --separate-stderr mayfly snapshot inspect "$K"
    status_is 125
    contains "$stderr" "program" "mayfly inspect"
}

@test "diff" {
    create "$K" -o a.mfs
    create a.mfs -o b.mfs --call 'fill 50'
    run --separate-stderr mayfly snapshot diff a.mfs a.mfs
    status_is 0
    contains "$output" "0 pages differ"
    run --separate-stderr mayfly snapshot diff a.mfs b.mfs
    status_is 1
    contains "$output" "pages differ" "new"
    run --separate-stderr mayfly snapshot diff --json a.mfs b.mfs
    status_is 1
    json 'r["differing_pages"] >= 50 and len(r["pages"]) == r["differing_pages"]'
    json 'r["new_pages"] >= 50 and r["a"]["file"] == "a.mfs"'
    json 'r["differing_bytes"] == sum(p["bytes"] for p in r["pages"])'
    json '{"mmap", "heap"} & {p["area"] for p in r["pages"]}'

    # The page of a variable is where the program has it.
    create a.mfs -o b.mfs --call 'keep it'
    run --separate-stderr mayfly snapshot diff --json a.mfs b.mfs
    json "0x$(nm "$K" | sed -n 's/ [dD] kept$//p') & ~4095 in \
        [p['address'] for p in r['pages'] if p['area'] == 'image']"
    create "$K" -o large.mfs --memory 128M
    run --separate-stderr mayfly snapshot diff a.mfs large.mfs
    status_is 2
    contains "$stderr" "different sizes"
}

@test "verify: each file, and one status" {
    create "$K" -o good.mfs
    cp good.mfs bad.mfs
    patch bad.mfs 9000 '\x5a'
    run --separate-stderr mayfly snapshot verify good.mfs bad.mfs missing.mfs "$K"
    status_is 1
    contains "$output" "good.mfs: good, sha256:"
    [ "${#lines[@]}" = 1 ]
    contains "$stderr" bad.mfs missing.mfs "$K"
    run --separate-stderr mayfly snapshot verify --json good.mfs bad.mfs
    status_is 1
    json '[f["good"] for f in r["files"]] == [True, False]'
    json 'r["files"][1]["error"]["name"] == "MF_E_SNAPSHOT"'
    local wrong=0000000000000000000000000000000000000000000000000000000000000000.mfs
    mv good.mfs "$wrong"
    run --separate-stderr mayfly snapshot verify "$wrong"
    status_is 1
}

@test "files that are no snapshots, or damaged ones" {
    local command size
    create "$K" -o k.mfs
    size=$(stat -c %s k.mfs)
    : >empty
    head -c 100 k.mfs >head
    head -c $((size - 1)) k.mfs >cut
    head -c $((size / 2)) k.mfs >half
    { cat k.mfs; echo; } >long
    cp k.mfs version && patch version 12 '\xff'
    cp k.mfs magic && patch magic 6 'x'
    mkdir folder
    for file in empty head cut half long version magic folder missing; do
        for command in "call $file count" "resume $file" "snapshot inspect $file" \
            "snapshot diff k.mfs $file"; do
            # shellcheck disable=SC2086
            run --separate-stderr mayfly $command
            status_is 125
            [ -z "$output" ]
            contains "$stderr" "mayfly ${command%% *}" "$file"
        done
        run --separate-stderr mayfly snapshot verify "$file"
        status_is 1
        contains "$stderr" "$file"
    done
}

@test "-o that cannot be written" {
    run --separate-stderr create "$K" -o nowhere/k.mfs
    status_is 125
    contains "$stderr" "nowhere"
    mkdir folder
    run --separate-stderr create "$K" -o folder
    status_is 2
    contains "$stderr" "directory"
    echo precious >notes.txt
    run --separate-stderr create "$K" -o notes.txt
    status_is 2
    contains "$stderr" "notes.txt" "not replaced"
    [ "$(cat notes.txt)" = precious ]
    run --separate-stderr create "$K" -o /dev/full
    status_is 2
    [ -c /dev/full ]
}

@test "-o in a folder without the right to write" {
    [ "$(id -u)" != 0 ] || skip "root may write everywhere"
    mkdir folder
    chmod a-w folder
    run --separate-stderr create "$K" -o folder/k.mfs
    status_is 125
}

@test "a full disk: the old file is as it was, and nothing else is left" {
    create "$K" -o k.mfs --call 'keep old'
    mkdir small
    unshare -rm mount -t tmpfs none small || skip "no file systems can be mounted here"
    run --separate-stderr unshare -rm bash -c 'mount -t tmpfs -o size=300k none small &&
        cp k.mfs small && "$MAYFLY" snapshot create --backend "$MAYFLY_TEST_BACKEND" "$0" \
            -o small/k.mfs --call "fill 100"; echo "$?"; ls -A small; cmp k.mfs small/k.mfs' "$K"
    status_is 0
    [ "$output" = $'125\nk.mfs' ]
    contains "$stderr" "small/k.mfs" "unchanged" "No space left"
}

# ---- usage ----

@test "usage errors say what is missing" {
    run --separate-stderr mayfly snapshot
    status_is 2
    contains "$stderr" create verify
    run --separate-stderr mayfly snapshot craete
    status_is 2
    contains "$stderr" "did you mean 'create'"
    run --separate-stderr mayfly snapshot --nonsense
    status_is 2
    run --separate-stderr create -o k.mfs
    status_is 2
    contains "$stderr" "which image"
    run --separate-stderr create "$K"
    status_is 2
    contains "$stderr" "-o FILE"
    run --separate-stderr create --run "$T" -o t.mfs
    status_is 2
    contains "$stderr" "--after"
    run --separate-stderr create --run "$T" --after soon -o t.mfs
    status_is 2
    run --separate-stderr create --run "$T" --after none -o t.mfs
    status_is 2
    run --separate-stderr create --run "$T" --after 1s --call count -o t.mfs
    status_is 2
    run --separate-stderr create "$K" --after 1s -o t.mfs
    status_is 2
    run --separate-stderr create "$K" count -o t.mfs
    status_is 2
    contains "$stderr" "count"
    run --separate-stderr create "$T" -o t.mfs
    status_is 2
    contains "$stderr" "exports no functions" "--run"
    run --separate-stderr create "$K" -o -
    status_is 2
    run --separate-stderr create "$K" -o ""
    status_is 2
    run --separate-stderr mayfly snapshot verify
    status_is 2
    run --separate-stderr mayfly snapshot diff one
    status_is 2
    run --separate-stderr mayfly resume
    status_is 2
    [ -z "$(ls -A)" ]
}

@test "a snapshot where it does not fit" {
    create "$K" -o k.mfs
    create --run "$T" 10 100 --after 200ms -o t.mfs >/dev/null
    run --separate-stderr mayfly resume k.mfs
    status_is 2
    contains "$stderr" "mayfly call k.mfs FUNCTION"
    run --separate-stderr mayfly run k.mfs
    status_is 2
    contains "$stderr" "mayfly call k.mfs FUNCTION"
    run --separate-stderr mayfly run t.mfs
    status_is 2
    contains "$stderr" "mayfly resume t.mfs"
    run --separate-stderr mayfly call t.mfs count
    status_is 2
    contains "$stderr" "mayfly resume t.mfs"
    run --separate-stderr mayfly resume "$T"
    status_is 2
    contains "$stderr" "mayfly run"
    local option
    for option in "--memory 128M" "--stack 1M" "--mailbox 64K" "--env A=1"; do
        # shellcheck disable=SC2086
        run --separate-stderr guest call $option k.mfs count
        status_is 2
        contains "$stderr" "${option%% *}" "snapshot"
    done
}

@test "a guest that needs host functions" {
    run --separate-stderr create "$EXAMPLES/polite" -o p.mfs
    status_is 125
    contains "$stderr" "title"
    [ ! -e p.mfs ]
}

@test "every command has help" {
    local command
    for command in create inspect verify diff export import; do
        run --separate-stderr mayfly snapshot "$command" --help
        status_is 0
        contains "$output" "usage: mayfly snapshot $command"
    done
    run --separate-stderr mayfly snapshot --help
    status_is 0
    contains "$output" "usage: mayfly snapshot"
    run --separate-stderr mayfly resume --help
    status_is 0
}

# ---- OCI image layouts ----

@test "export and import: the same bytes, with parents" {
    create "$K" -o base.mfs --call 'fill 10'
    create base.mfs -o child.mfs --parent base.mfs --call 'keep child'
    run --separate-stderr mayfly snapshot export child.mfs layout
    status_is 0
    [ -z "$output$stderr" ]
    mkdir elsewhere
    run --separate-stderr mayfly snapshot import layout -o elsewhere/it.mfs
    status_is 0
    cmp child.mfs elsewhere/it.mfs
    [ "$(ls elsewhere | wc -l)" = 2 ]
    run --separate-stderr guest call elsewhere/it.mfs recall
    [ "$output" = child ]

    mkdir store
    run --separate-stderr mayfly snapshot import layout --store store
    status_is 0
    [ "$output" = "store/$(sha256sum child.mfs | cut -d ' ' -f 1).mfs" ]
    run --separate-stderr mayfly snapshot verify store/*
    status_is 0
    run --separate-stderr mayfly snapshot import --json layout -o elsewhere/it.mfs
    json 'r["file"] == "elsewhere/it.mfs" and r["digest"].startswith("sha256:")'
}

@test "several images in one layout" {
    create "$K" -o one.mfs --call 'keep one'
    create "$K" -o two.mfs --call 'keep two'
    mayfly snapshot export --tag one one.mfs layout
    mayfly snapshot export --tag two two.mfs layout
    run --separate-stderr mayfly snapshot import layout -o any.mfs
    status_is 2
    mayfly snapshot import --tag two layout -o any.mfs
    cmp two.mfs any.mfs
    run --separate-stderr mayfly snapshot import --tag three layout -o none.mfs
    status_is 2
    contains "$stderr" three
    [ "$(ls | tr '\n' ' ')" = "any.mfs layout one.mfs two.mfs " ]
}

@test "skopeo copies an exported layout" {
    command -v skopeo >/dev/null || skip "skopeo is not installed"
    create "$K" -o k.mfs --call 'keep travelled'
    mayfly snapshot export k.mfs layout
    run skopeo copy --insecure-policy oci:layout:latest oci:copy:latest
    status_is 0
    mayfly snapshot import copy -o copy.mfs
    cmp k.mfs copy.mfs
}

@test "export and import of what is none" {
    create "$K" -o k.mfs
    mayfly snapshot export k.mfs layout
    run --separate-stderr mayfly snapshot export "$K" other
    status_is 125
    run --separate-stderr mayfly snapshot export k.mfs
    status_is 2
    contains "$stderr" "which directory"
    mkdir empty
    run --separate-stderr mayfly snapshot import empty -o i.mfs
    [ "$status" = 2 ] || [ "$status" = 125 ]
    contains "$stderr" empty
    run --separate-stderr mayfly snapshot import layout
    status_is 2
    contains "$stderr" "-o FILE"
    echo precious >notes.txt
    run --separate-stderr mayfly snapshot import layout -o notes.txt
    status_is 2
    [ "$(cat notes.txt)" = precious ]
    local blob
    for blob in layout/blobs/sha256/*; do
        patch "$blob" 20 'X'
    done
    run --separate-stderr mayfly snapshot import layout -o i.mfs
    status_is 125
    [ "$(ls | tr '\n' ' ')" = "empty k.mfs layout notes.txt " ]
}
