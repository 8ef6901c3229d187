#!/usr/bin/env bats
# `mayfly call`: arguments, results, JSON, statuses. Run with each backend.

load helpers

setup_file() {
    find_backend
}

setup() {
    need_backend
    W=$CLI_GUESTS/words
}

# echoes TYPE ARGUMENT RESULT
echoes() {
    run --separate-stderr guest call "$W" "echo_$1" "$2"
    status_is 0
    if [ "$output" != "$3" ]; then
        echo "$1 '$2' came back as '$output' instead of '$3'"
        return 1
    fi
}

# refuses TYPE ARGUMENT TEXT...: a usage error that names the parameter.
refuses() {
    run --separate-stderr guest call "$W" "echo_$1" "$2"
    status_is 2
    [ -z "$output" ]
    contains "$stderr" "echo_$1: argument 1 ($1 value)" "${@:3}"
}

@test "the example: greet" {
    run --separate-stderr guest call "$EXAMPLES/greet" greet World
    status_is 0
    [ "$output" = "Hello, World!" ]
    [ -z "$stderr" ]
}

@test "bool" {
    echoes bool true true
    echoes bool 1 true
    echoes bool false false
    echoes bool 0 false
    refuses bool yes "true, false, 1 or 0"
    refuses bool ""
}

@test "integers: bases, limits, ranges" {
    echoes i32 -2147483648 -2147483648
    echoes i32 2147483647 2147483647
    echoes i32 0x7fffffff 2147483647
    echoes i32 -0x10 -16
    echoes i32 0o17 15
    echoes i32 017 15
    echoes i32 0b101 5
    echoes i32 +5 5
    echoes i32 0 0
    echoes u32 4294967295 4294967295
    echoes i64 -9223372036854775808 -9223372036854775808
    echoes i64 9223372036854775807 9223372036854775807
    echoes u64 18446744073709551615 18446744073709551615
    echoes u64 0xffffffffffffffff 18446744073709551615
    refuses i32 2147483648 "out of range" "-2147483648 to 2147483647"
    refuses i32 -2147483649 "out of range"
    refuses u32 -1 "out of range" "0 to 4294967295"
    refuses u32 4294967296 "out of range"
    refuses i64 9223372036854775808 "out of range"
    refuses i64 -9223372036854775809 "out of range"
    refuses u64 18446744073709551616 "out of range"
    refuses u64 99999999999999999999999 "out of range"
}

@test "integers: what is none" {
    local bad
    for bad in "" - + x 1x 0x 0xg 08 " 1" "1 " 1.0 1e3 --1 0b2 0o8; do
        refuses i32 "$bad" "is not an integer"
    done
}

@test "floating point: exact round trips, nan, inf, hexadecimal" {
    echoes f64 0.1 0.1
    echoes f64 -0.0 -0
    echoes f64 3 3
    echoes f64 0x1.8p1 3
    echoes f64 1.7976931348623157e308 1.7976931348623157e+308
    echoes f64 5e-324 5e-324
    echoes f64 nan nan
    echoes f64 inf inf
    echoes f64 -inf -inf
    echoes f32 0.1 0.1
    echoes f32 16777217 16777216
    refuses f64 1e400 "out of range"
    refuses f32 1e39 "out of range"
    local bad
    for bad in "" x 1x " 1" 1e; do
        refuses f64 "$bad" "is not a number"
    done
}

@test "strings" {
    echoes string "" ""
    echoes string "grüße, 世界 🪰" "grüße, 世界 🪰"
    echoes string @@file @file
    echoes string hex:00 hex:00
    run --separate-stderr guest call "$W" join ab cd
    [ "$output" = abcd ]
}

@test "a string that is not UTF-8, or has a NUL inside, is refused" {
    run --separate-stderr guest call "$W" echo_string $'a\xff'
    status_is 2
    contains "$stderr" "UTF-8"
    printf 'a\0b' >"$BATS_TEST_TMPDIR/nul"
    run --separate-stderr guest call "$W" echo_string "@$BATS_TEST_TMPDIR/nul"
    status_is 2
}

@test "bytes: text, hex, and raw output" {
    guest call "$W" echo_bytes hex:00ff41 | od -An -tx1 | tr -d ' \n' >"$BATS_TEST_TMPDIR/out"
    [ "$(cat "$BATS_TEST_TMPDIR/out")" = 00ff41 ]
    guest call "$W" echo_bytes text >"$BATS_TEST_TMPDIR/out"
    [ "$(stat -c %s "$BATS_TEST_TMPDIR/out")" = 4 ]
    run guest call "$W" echo_bytes hex:
    status_is 0
    [ -z "$output" ]
    refuses bytes hex:123 "two digits for each byte"
    refuses bytes hex:zz "not a hexadecimal digit"
}

@test "@file and @- read files and standard input, also large ones" {
    head -c 3000000 /dev/urandom >"$BATS_TEST_TMPDIR/data"
    guest call "$W" echo_bytes "@$BATS_TEST_TMPDIR/data" | cmp - "$BATS_TEST_TMPDIR/data"
    guest call "$W" echo_bytes @- <"$BATS_TEST_TMPDIR/data" | cmp - "$BATS_TEST_TMPDIR/data"
    run --separate-stderr guest call "$W" length @/dev/null
    [ "$output" = 0 ]
    run --separate-stderr guest call "$W" echo_string @- < <(printf 'from a pipe')
    [ "$output" = "from a pipe" ]
    run guest call "$W" join @- @- </dev/null
    status_is 2
    contains "$output" "only one argument can be @-"
}

@test "@file that cannot be read: a host error that names it" {
    run guest call "$W" echo_string @/nonexistent/file
    status_is 125
    contains "$output" "argument 1 (string value)" "/nonexistent/file" "No such file"
    run guest call "$W" echo_bytes @/
    status_is 125
    contains "$output" "directory"
}

@test "a numeric argument is never a file" {
    refuses i32 @/dev/null "is not an integer"
}

@test "number of arguments, void, unnamed parameters" {
    run guest call "$W" echo_i32
    status_is 2
    contains "$output" "i32 echo_i32(i32 value) takes 1 argument, and here are 0"
    run guest call "$W" nothing extra
    status_is 2
    contains "$output" "takes 0 arguments"
    run guest call "$W" nothing
    status_is 0
    [ -z "$output" ]
}

@test "arguments that look like options are arguments" {
    run --separate-stderr guest call "$W" echo_string --json
    status_is 0
    [ "$output" = --json ]
}

@test "an unknown function is refused with near names" {
    run guest call "$W" ehco_i32 1
    status_is 2
    contains "$output" "echo_i32"
    run guest call --json "$W" nosuchthing
    status_is 2
    json 'r["error"]["name"] == "MF_E_NO_FUNCTION"'
}

@test "calling a function of a program without exports" {
    run guest call "$CLI_GUESTS/program" main
    status_is 2
}

@test "--json: result, type, backend, times, counters" {
    run --separate-stderr guest call --json "$W" echo_i64 -5
    status_is 0
    json 'r["function"] == "echo_i64" and r["result"] == -5 and r["type"] == "i64"'
    json 'set(r["times"]) == {"open_ns", "create_ns", "init_ns", "call_ns"}'
    json 'all(t > 0 for t in r["times"].values())'
    json 'r["stats"]["calls"] == 1 and r["stats"]["entries"] >= 1'
    [ "$MAYFLY_TEST_BACKEND" = auto ] || json "r['backend'] == '$MAYFLY_TEST_BACKEND'"
}

# json_result FUNCTION ARGUMENT PYTHON: the value of "result".
json_result() {
    run --separate-stderr guest call --json "$W" "$1" "$2"
    status_is 0
    json "r['result'] == $3 and type(r['result']) is type($3)"
}

@test "--json: every type" {
    json_result echo_bool true True
    json_result echo_u32 4294967295 4294967295
    json_result echo_u64 9223372036854775807 9223372036854775807
    json_result echo_u64 9223372036854775808 "'9223372036854775808'"
    json_result echo_f64 0.1 0.1
    json_result echo_f64 nan "'nan'"
    json_result echo_f64 -inf "'-inf'"
    json_result echo_f32 0.5 0.5
    json_result echo_string $'a"\\\n\x01ü' "'a\"\\\\\\n\\x01ü'"
    json_result echo_bytes hex:00ff "'AP8='"
    json_result echo_bytes text "'dGV4dA=='"
    run --separate-stderr guest call --json "$W" nothing
    json 'r["result"] is None and r["type"] == "void"'
}

@test "an error of the function: status 1, its message" {
    run --separate-stderr guest call "$W" fail "no such customer"
    status_is 1
    [ -z "$output" ]
    contains "$stderr" "no such customer"
    run --separate-stderr guest call --json "$W" fail "no such customer"
    status_is 1
    json 'r["error"]["name"] == "MF_E_GUEST_ERROR" and "no such customer" in r["error"]["message"]'
}

@test "a fault: status 134, kind, function and address in one line" {
    run --separate-stderr guest call "$W" crash
    status_is 134
    contains "$stderr" "guest fault: null pointer dereference" "null-dereference" "crash+0"
    [ "$(wc -l <<<"$stderr")" -eq 1 ]
    run --separate-stderr guest call --verbose "$W" crash
    status_is 134
    contains "$stderr" "rip " "rsp " "rflags "
    run --separate-stderr guest call --json "$W" crash
    status_is 134
    json 'r["error"]["fault"]["kind"] == "null-dereference"'
    json 'r["error"]["fault"]["symbol"] == "crash" and r["error"]["fault"]["address"] == "0x0"'
    json 'int(r["error"]["fault"]["registers"]["rip"], 16) == int(r["error"]["fault"]["instruction"], 16)'
}

@test "an abort and an exit in the middle of a call: status 134" {
    run --separate-stderr guest call "$W" give_up
    status_is 134
    contains "$stderr" "I give up"
    [[ "$stderr" != *$'\033'* ]]
    run --separate-stderr guest call "$W" leave 0
    status_is 134
}

@test "--timeout and --cpu-time: status 124" {
    run --separate-stderr guest call --timeout 300ms "$W" spin
    status_is 124
    run --separate-stderr guest call --cpu-time 200ms "$W" spin
    status_is 124
    run --separate-stderr guest call --json --timeout 300ms "$W" spin
    status_is 124
    json 'r["error"]["name"] == "MF_E_DEADLINE"'
}

@test "--max-output: status 123" {
    run --separate-stderr bash -c '"$MAYFLY" call --backend "$MAYFLY_TEST_BACKEND" \
        --max-output 10K "$0" flood | wc -c; exit "${PIPESTATUS[0]}"' "$W"
    status_is 123
    [ "$output" -le 10240 ]
}

@test "signals: status 128 + n" {
    local signal
    for signal in INT TERM HUP; do
        run timeout --preserve-status -s "$signal" 1 \
            "$MAYFLY" call --backend "$MAYFLY_TEST_BACKEND" "$W" spin
        status_is $((128 + $(kill -l "$signal")))
        [ -z "$output" ]
    done
}

@test "what the guest prints comes before the result; to standard error with --json" {
    run --separate-stderr guest call "$W" print hello
    status_is 0
    [ "$output" = hello ]
    [ "$stderr" = hello ]
    run --separate-stderr guest call --json "$W" print hello
    status_is 0
    json 'r["result"] is None'
    [ "$stderr" = $'hello\nhello' ]
}

@test "log lines: errors and warnings always, others with --verbose, made safe" {
    run --separate-stderr guest call "$W" say 0 "an error"
    contains "$stderr" "guest error: an error"
    run --separate-stderr guest call "$W" say 1 $'red\033[31m'
    contains "$stderr" 'guest warning: red [31m'
    run --separate-stderr guest call "$W" say 2 "by the way"
    [ -z "$stderr" ]
    run --separate-stderr guest call --verbose "$W" say 2 "by the way"
    contains "$stderr" "guest info: by the way"
}

@test "the environment is empty but for --env" {
    run --separate-stderr env COLOUR=blue timeout 60 \
        "$MAYFLY" call --backend "$MAYFLY_TEST_BACKEND" "$W" variable COLOUR
    [ "$output" = "(unset)" ]
    run --separate-stderr guest call --env COLOUR=red -e SIZE= "$W" variable COLOUR
    [ "$output" = red ]
    run --separate-stderr guest call --env COLOUR=red -e SIZE= "$W" variable SIZE
    status_is 0
    [ "$output" = "" ]
}

@test "--verbose and --time say which backend, why, and how long" {
    run --separate-stderr guest call --verbose "$W" echo_i32 1
    status_is 0
    [ "$output" = 1 ]
    contains "$stderr" "backend " "time: open " "create " "init " "call " "counters: 1 calls"
    run --separate-stderr guest call --time "$W" echo_i32 1
    contains "$stderr" "time: open "
    [[ "$stderr" != *"backend "* ]]
}

@test "memory, stack and mailbox that do not fit" {
    run guest call --memory 100T "$W" nothing
    status_is 2
    run guest call --mailbox 5000 "$W" nothing
    status_is 2
    run guest call --memory 1M --stack 2M "$W" nothing
    status_is 2
    head -c 10000 /dev/zero >"$BATS_TEST_TMPDIR/data"
    run --separate-stderr guest call --mailbox 4K "$W" length "@$BATS_TEST_TMPDIR/data"
    status_is 0
    [ "$output" = 10000 ]
    run --separate-stderr guest call --mailbox 64K --memory 32M --stack 64K "$W" length abc
    status_is 0
    [ "$output" = 3 ]
}

@test "a result that cannot be written is a host error" {
    run bash -c '"$MAYFLY" call --backend "$MAYFLY_TEST_BACKEND" "$0" echo_i32 1 >/dev/full' "$W"
    status_is 125
    contains "$output" "No space left"
}

@test "--backend auto says why it chose" {
    run --separate-stderr mayfly call --verbose "$W" nothing
    status_is 0
    [[ "$stderr" =~ backend\ (kvm|soft):\ . ]]
}
