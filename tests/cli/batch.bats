#!/usr/bin/env bats
# `mayfly call` with many calls: --repeat, --batch, --attentive. Run with each backend.

load helpers

setup_file() {
    find_backend
}

setup() {
    need_backend
    W=$CLI_GUESTS/words
}

# batch LINE... [-- OPTION...]: the lines as calls.
batch() {
    local input=()
    while [ $# -gt 0 ] && [ "$1" != -- ]; do
        input+=("$1")
        shift
    done
    printf '%s\n' "${input[@]}" >"$BATS_TEST_TMPDIR/lines"
    run --separate-stderr guest call --batch "${@:2}" "$W" <"$BATS_TEST_TMPDIR/lines"
}

@test "--repeat prints the last result, and with --time the spread" {
    run --separate-stderr guest call --repeat 10 "$W" echo_i32 5
    status_is 0
    [ "$output" = 5 ]
    [ -z "$stderr" ]
    run --separate-stderr guest call --repeat 10 --time "$W" echo_i32 5
    status_is 0
    [ "$output" = 5 ]
    contains "$stderr" "each of 10 calls: median "
    run --separate-stderr guest call --repeat 100 --batch --time "$W" join ab cd
    [ "$output" = abcd ]
    contains "$stderr" "each of 100 calls: median "
}

@test "--repeat stops at the first failure" {
    run --separate-stderr guest call --repeat 5 "$W" fail "only once"
    status_is 1
    [ "$(grep -c "only once" <<<"$stderr")" = 1 ]
    run --separate-stderr guest call --repeat 5 --batch "$W" crash
    status_is 134
    contains "$stderr" "crash"
}

@test "--repeat and --json: counts and quartiles" {
    run guest call --repeat 200 --batch --json "$W" echo_i32 7
    status_is 0
    json 'r["result"] == 7 and r["stats"]["calls"] == 200 and r["stats"]["entries"] < 50'
    json 'r["repeat"]["measured"] == 4'
    json 'r["repeat"]["quartile_1_ns"] <= r["repeat"]["median_ns"] <= r["repeat"]["quartile_3_ns"]'
    run guest call --json "$W" echo_i32 7
    json '"repeat" not in r'
}

@test "--attentive gives the same answers" {
    run --separate-stderr guest call --attentive --repeat 50 "$W" join ab cd
    status_is 0
    [ "$output" = abcd ]
    batch "join a b" "fail no" "echo_i32 3" -- --attentive
    status_is 1
    [ "$output" = $'ab\n\n3' ]
    run --separate-stderr guest call --attentive "$W" crash
    status_is 134
}

@test "--repeat: what is no number" {
    local bad
    for bad in 0 -1 x "" 1x 99999999999999999999 10000001; do
        run guest call --repeat "$bad" "$W" nothing
        status_is 2
        contains "$output" "--repeat"
    done
}

@test "--batch reads calls from standard input, one a line" {
    batch "echo_i32 1" "" "  # a comment" "	join  a   b  " "nothing" 'echo_bytes hex:00ff' "echo_bool 1"
    status_is 0
    [ "$output" = $'1\nab\n\nhex:00ff\ntrue' ]
    [ -z "$stderr" ]
    run --separate-stderr guest call --batch "$W" </dev/null
    status_is 0
    [ -z "$output$stderr" ]
    run --separate-stderr guest call --batch "$W" < <(printf 'echo_i32 7')
    [ "$output" = 7 ]
}

@test "--batch: quotes as in a shell, and nothing is expanded" {
    batch "join 'a b' \"c 'd'\"" 'join a\ b "c \" \\ \n"' "join '' ''" 'join "x"y'"'z' \$HOME*"
    status_is 0
    [ "$output" = $'a bc \'d\'\na bc " \\ \\n\n\nxyz$HOME*' ]
    batch 'echo_string "open' "echo_string 'open" 'echo_string back\'
    status_is 2
    contains "$stderr" "line 1: the line has a quote that is not closed" "line 2: " \
        "line 3: the line ends in a backslash"
}

@test "--batch: an error concerns its line" {
    batch "echo_i32 1" "echo_i32 x" "no_such 1" "join a" "fail because" "echo_string @-" "echo_i32 2"
    status_is 2
    [ "$output" = $'1\n\n\n\n\n\n2' ]
    contains "$stderr" "line 2: echo_i32: argument 1" "line 3: " "line 4: " \
        "line 5: fail: because" "line 6: echo_string: @- cannot be an argument here"
    batch "fail because" "no_such"
    status_is 1
}

@test "--batch: strings with control characters stay on their line" {
    batch "echo_string 'a	b'"
    status_is 0
    [ "$output" = 'a\x09b' ]
}

@test "--batch: what ends the guest names the line" {
    batch "echo_i32 1" "echo_i32 y" "crash" "echo_i32 3"
    status_is 134
    [ "$output" = $'1' ]
    contains "$stderr" "line 2: " "crash"
    [[ "$stderr" != *"line 4"* ]]
    batch "echo_i32 1" "leave 3"
    status_is 134
    contains "$stderr" "line 2: " "status 3"
}

@test "--batch: many lines, in few entries" {
    seq 1 1000 | sed 's/^/echo_u32 /' >"$BATS_TEST_TMPDIR/many"
    guest call --batch "$W" <"$BATS_TEST_TMPDIR/many" >"$BATS_TEST_TMPDIR/out"
    seq 1 1000 | cmp - "$BATS_TEST_TMPDIR/out"
}

@test "--batch and --json: an object a line" {
    batch "echo_i32 1" "fail no" "echo_bytes hex:00" -- --json
    status_is 1
    [ "${#lines[@]}" = 3 ]
    output=${lines[0]}
    json 'r == {"line": 1, "function": "echo_i32", "result": 1, "type": "i32"}'
    output=${lines[1]}
    json 'r["line"] == 2 and r["error"]["name"] == "MF_E_GUEST_ERROR"'
    output=${lines[2]}
    json 'r["result"] == "AA=="'
}

@test "--batch: wrong usage" {
    run guest call --batch "$W" echo_i32 1
    status_is 2
    contains "$output" "standard input"
    run guest call --batch
    status_is 2
    run guest call --batch --repeat 3 "$W"
    status_is 2
    run guest call "$W"
    status_is 2
    contains "$output" "which function?"
}

@test "arguments larger than the mailbox need no larger one" {
    head -c 20000000 /dev/urandom >"$BATS_TEST_TMPDIR/data"
    run --separate-stderr guest call --json "$W" length "@$BATS_TEST_TMPDIR/data"
    json 'r["result"] == 20000000'
    # They are not guest memory.
    json 'r["stats"]["memory_pages"] < 2000'
    run --separate-stderr guest call --mailbox 4K --memory 4M --stack 64K "$W" length \
        "@$BATS_TEST_TMPDIR/data"
    [ "$output" = 20000000 ]
}
