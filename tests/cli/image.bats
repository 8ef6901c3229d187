#!/usr/bin/env bats
# Files that are no images, and what `mayfly inspect` shows of those that are. No
# guest runs here.

load helpers

# refuse FILE TEXT...: run, call and inspect refuse it, and say why.
refuse() {
    local file=$1
    shift
    run --separate-stderr mayfly inspect "$file"
    status_is 125
    contains "$stderr" "$@"
    run --separate-stderr mayfly run "$file"
    status_is 125
    contains "$stderr" "$@"
    run --separate-stderr mayfly call --json "$file" f
    status_is 125
    json '"error" in r'
}

@test "a missing file" {
    refuse "$BATS_TEST_TMPDIR/missing" "missing" "No such file"
}

@test "a directory" {
    refuse / "directory"
}

@test "an empty file and one that is not ELF" {
    : >"$BATS_TEST_TMPDIR/empty"
    refuse "$BATS_TEST_TMPDIR/empty" "empty"
    echo '#!/bin/sh' >"$BATS_TEST_TMPDIR/script"
    refuse "$BATS_TEST_TMPDIR/script" "ELF"
}

@test "a truncated program" {
    head -c 200 "$CLI_GUESTS/program" >"$BATS_TEST_TMPDIR/cut"
    refuse "$BATS_TEST_TMPDIR/cut" "cut"
}

@test "a dynamic program: link with -static" {
    refuse /bin/ls "-static"
}

@test "inspect shows segments, functions with signatures, ABI" {
    run mayfly inspect "$CLI_GUESTS/words"
    status_is 0
    contains "$output" "Segments:" "rights" "r-x" "rw-" "ABI" "string join(string, string second)" \
        "void nothing()" "Host functions that it needs: none"
}

@test "inspect of a program without the SDK" {
    run mayfly inspect "$CLI_GUESTS/program"
    status_is 0
    contains "$output" "built without the guest SDK" "Exported functions: none"
    run mayfly inspect --json "$CLI_GUESTS/program"
    json 'r["abi"] is None and r["exports"] == [] and len(r["segments"]) >= 2'
}

@test "inspect --json agrees with the file" {
    run mayfly inspect --json "$CLI_GUESTS/words"
    status_is 0
    json 'r["abi"]["version"].count(".") == 1 and r["imports"] == []'
    json 'any(f["signature"] == "u64 length(bytes data)" and f["result"] == "u64"
              and f["params"] == [{"type": "bytes", "name": "data"}] for f in r["exports"])'
    json 'not any(s["writable"] and s["executable"] for s in r["segments"])'
    json 'any(s["address"] <= r["entry"] < s["address"] + s["memory_bytes"] and s["executable"]
              for s in r["segments"])'
    json 'r["memory_bytes"] >= r["load_bytes"] >= sum(s["memory_bytes"] for s in r["segments"])'
    json "r['file_bytes'] == $(stat -c %s "$CLI_GUESTS/words")"
}

@test "inspect takes --json behind the image, too" {
    run mayfly inspect "$CLI_GUESTS/words" --json
    status_is 0
    json 'r["name"].endswith("words")'
}
