#!/usr/bin/env bats
# `mayfly run`: standard streams, statuses, limits, busybox over a real file. Run
# with each backend.

load helpers

setup_file() {
    find_backend
}

setup() {
    need_backend
    P=$CLI_GUESTS/program
    # Larger than the pipes and buffers in between.
    FILE=$BATS_TEST_TMPDIR/file
}

# same_as_host COMMAND...: an applet of busybox over $FILE, inside and outside.
same_as_host() {
    local busybox
    busybox=$(command -v busybox) || skip "busybox is not installed"
    [ -z "$(ldd "$busybox" 2>/dev/null | grep '=>')" ] || skip "busybox is not static here"
    guest run "$busybox" "$@" <"$FILE" >"$BATS_TEST_TMPDIR/inside"
    "$@" <"$FILE" >"$BATS_TEST_TMPDIR/outside"
    # The host's wc pads differently when it reads a pipe or a file.
    diff -b "$BATS_TEST_TMPDIR/inside" "$BATS_TEST_TMPDIR/outside"
}

@test "busybox wc over a real file equals the host's" {
    cat /usr/share/common-licenses/* /etc/services >"$FILE" 2>/dev/null ||
        seq 1 30000 >"$FILE"
    same_as_host wc
}

@test "busybox sha256sum over a real file equals the host's" {
    head -c 300000 "$MAYFLY" >"$FILE"
    same_as_host sha256sum
}

@test "busybox from a pipe" {
    local busybox
    busybox=$(command -v busybox) || skip "busybox is not installed"
    run --separate-stderr bash -c 'seq 1 1000 | "$MAYFLY" run --backend "$MAYFLY_TEST_BACKEND" \
        "$0" tail -n 1' "$busybox"
    status_is 0
    [ "$output" = 1000 ]
}

@test "the exit status is the program's own" {
    local n
    for n in 0 1 2 77 125 134 255; do
        run guest run "$P" exit "$n"
        status_is "$n"
        [ -z "$output" ]
    done
}

@test "arguments are the program's, also those that look like options" {
    run --separate-stderr guest run "$P" args --json "" "a b" -- --help
    status_is 0
    [ "$output" = "$P"$'\nargs\n--json\n\na b\n--\n--help' ]
    run --separate-stderr guest run -- "$P" args
    [ "$output" = "$P"$'\nargs' ]
}

@test "argv[0] is the program as typed" {
    cd "$CLI_GUESTS"
    run --separate-stderr guest run ./program args
    [ "${lines[0]}" = ./program ]
}

@test "standard input is streamed through" {
    seq 1 50000 >"$FILE"
    guest run "$P" cat <"$FILE" | cmp - "$FILE"
    cat "$FILE" | guest run "$P" cat >"$FILE.out"
    cmp "$FILE" "$FILE.out"
    run --separate-stderr guest run "$P" cat </dev/null
    status_is 0
    [ -z "$output" ]
}

@test "closed standard streams are no others" {
    run --separate-stderr bash -c '"$MAYFLY" run --backend "$MAYFLY_TEST_BACKEND" "$0" cat <&-' "$P"
    status_is 1
    [ -z "$output" ]
}

@test "standard error is apart" {
    run --separate-stderr guest run "$P" stderr
    status_is 0
    [ -z "$output" ]
    [ "$stderr" = "to stderr" ]
}

@test "the guest sees no terminal where there is none" {
    run --separate-stderr guest run "$P" tty </dev/null
    [ "$output" = 000 ]
}

@test "the guest sees a terminal where there is one" {
    command -v script >/dev/null || skip "script is not installed"
    run script -qec "\"$MAYFLY\" run --backend $MAYFLY_TEST_BACKEND \"$P\" tty" /dev/null </dev/null
    contains "$output" 111
}

@test "the environment is empty but for --env" {
    run --separate-stderr guest run --env A=1 --env B=x=y "$P" env
    status_is 0
    [ "$(grep -v '^GLIBC_TUNABLES=' <<<"$output")" = $'A=1\nB=x=y' ]
}

@test "a fault: status 134 and one line" {
    run --separate-stderr guest run "$P" crash
    status_is 134
    contains "$stderr" "mayfly run: guest fault: null pointer dereference" "null-dereference" "crash+0"
}

@test "abort(): status 134" {
    run --separate-stderr guest run "$P" abort
    status_is 134
}

@test "--timeout: status 124, and what was written before stays" {
    run --separate-stderr guest run --timeout 300ms "$P" spin
    status_is 124
    [ "$output" = spinning ]
}

@test "--timeout ends a wait for input, and for a full pipe" {
    run --separate-stderr bash -c 'sleep 1 |
        "$MAYFLY" run --backend "$MAYFLY_TEST_BACKEND" --timeout 300ms "$0" cat
        echo "${PIPESTATUS[1]}" >&2' "$P"
    contains "$stderr" 124
    run --separate-stderr bash -c '"$MAYFLY" run --backend "$MAYFLY_TEST_BACKEND" \
        --timeout 300ms "$0" flood | sleep 1; exit "${PIPESTATUS[0]}"' "$P"
    status_is 124
}

@test "--cpu-time: status 124" {
    run --separate-stderr guest run --cpu-time 200ms "$P" spin
    status_is 124
}

@test "--max-output: status 123, and not a byte more" {
    guest run --max-output 10K "$P" flood >"$BATS_TEST_TMPDIR/out" && return 1
    run guest run --max-output 10K "$P" flood
    status_is 123
    [ "$(stat -c %s "$BATS_TEST_TMPDIR/out")" -le 10240 ]
}

@test "signals: status 128 + n, and what was written before stays" {
    local signal
    for signal in INT TERM HUP; do
        run --separate-stderr timeout --preserve-status -s "$signal" 1 \
            "$MAYFLY" run --backend "$MAYFLY_TEST_BACKEND" "$P" spin
        status_is $((128 + $(kill -l "$signal")))
        [ "$output" = spinning ]
        [ -z "$stderr" ]
    done
}

@test "a signal while the guest waits for input" {
    run --separate-stderr bash -c 'sleep 1 | timeout --preserve-status -s INT 0.5 \
        "$MAYFLY" run --backend "$MAYFLY_TEST_BACKEND" "$0" cat; exit "${PIPESTATUS[1]}"' "$P"
    status_is 130
}

@test "a reader that goes away ends it, as any tool" {
    run --separate-stderr bash -c 'trap - PIPE
        "$MAYFLY" run --backend "$MAYFLY_TEST_BACKEND" --timeout 20s "$0" flood | head -c 5
        exit "${PIPESTATUS[0]}"' "$P"
    status_is 141
    [ "$output" = yyyyy ]
}

@test "denied system calls are named once, with --verbose" {
    run --separate-stderr guest run "$P" socket
    status_is 0
    [ -z "$stderr" ]
    run --separate-stderr guest run --verbose "$P" socket
    status_is 0
    contains "$stderr" "denied system call: socket" "backend " "time: " "counters: "
    [ "$(grep -c 'denied system call: socket' <<<"$stderr")" -eq 1 ]
}

@test "an image that only exports functions says so" {
    run --separate-stderr guest run "$CLI_GUESTS/words"
    contains "$output$stderr" "mayfly call"
}

@test "memory that is too small" {
    run guest run --memory 1M --stack 2M "$P" exit 0
    status_is 2
}
