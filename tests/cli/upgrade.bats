#!/usr/bin/env bats
# `mayfly upgrade`: programs that go on in a newly started mayfly, and others that stay where they
# are because it could not be started. Run with each backend.

load helpers

setup_file() {
    find_backend
}

setup() {
    need_backend
    E=$CLI_GUESTS/echoer
    T=$CLI_GUESTS/ticker
    mkdir -p "$BATS_TEST_TMPDIR/work"
    cd "$BATS_TEST_TMPDIR/work"
    export XDG_RUNTIME_DIR=$BATS_TEST_TMPDIR/r
    mkdir -m 700 "$XDG_RUNTIME_DIR"
    PIDS=
}

teardown() {
    local pid
    exec 9>&- || true
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
            cat -- *.out *.err
            return 1
        fi
        sleep 0.05
    done
}

is_known() {
    "$MAYFLY" stats "$1" >/dev/null 2>&1
}

# echoer [BINARY]: a program that answers each line of fd 9, called "job"; its pid is $PID.
echoer() {
    mkfifo in
    "${1:-$MAYFLY}" run --backend "$MAYFLY_TEST_BACKEND" --name job "$E" <in >job.out \
        2>job.err 3>&- &
    PID=$!
    PIDS+=" $PID"
    exec 9>in
    within 10 is_known job
}

# say WORD: the program reads it and answers.
say() {
    echo "$1" >&9
    within 10 grep -qx "read $1" job.out
}

# pid_of_job: the process that has it now.
pid_of_job() {
    "$MAYFLY" ps --json | python3 -c '
import json, sys
r = json.load(sys.stdin)
rows = r["sandboxes"] if isinstance(r, dict) else r
print([row["pid"] for row in rows if row["name"] == "job"][0])'
}

@test "a program goes on through three upgrades, with its streams and its exit status" {
    echoer
    say one
    local i last=$PID pid
    for i in 1 2 3; do
        run --separate-stderr mayfly upgrade --json job
        status_is 0
        json 'r["name"] == "job" and r["downtime_ns"] > 0 and r["total_ns"] >= r["downtime_ns"]'
        json "r['pid'] != $last"
        within 10 is_known job
        pid=$(pid_of_job)
        [ "$pid" != "$last" ]
        last=$pid
        say "word$i"
    done
    run --separate-stderr mayfly upgrade job
    status_is 0
    contains "$output" "job goes on in process" "downtime"
    say last
    exec 9>&-
    local status=0
    wait "$PID" || status=$?
    PIDS=
    [ "$status" = 7 ]
    [ "$(grep -c '^read ' job.out)" = 5 ]
    [ ! -s job.err ]
    # Nobody is left.
    run kill -0 "$last"
    [ "$status" != 0 ]
    [ -z "$(ls "$XDG_RUNTIME_DIR/mayfly" | grep -v '^\.')" ]
}

@test "what it prints while it is handed over is all there, once" {
    "$MAYFLY" run --backend "$MAYFLY_TEST_BACKEND" "$T" 60 0 >expected 2>/dev/null || true
    "$MAYFLY" run --backend "$MAYFLY_TEST_BACKEND" --name job "$T" 60 20 >job.out 2>job.err 3>&- &
    PID=$!
    PIDS=$PID
    within 10 grep -q '^2 ' job.out
    for _ in 1 2 3; do
        mayfly upgrade job >/dev/null
        within 10 is_known job
    done
    local status=0
    wait "$PID" || status=$?
    PIDS=
    [ "$status" = 7 ]
    diff expected job.out
}

@test "the binary that was replaced on disk is the one that is started" {
    cp "$MAYFLY" mine
    MAYFLY_MODULE_PATH=$(dirname "$MAYFLY") echoer ./mine
    export MAYFLY_MODULE_PATH=$(dirname "$MAYFLY")
    printf '#!/bin/sh\necho started >>%q\nexec %q "$@"\n' "$PWD/log" "$MAYFLY" >new
    chmod +x new
    mv new mine
    run --separate-stderr mayfly upgrade job
    status_is 0
    [ "$(cat log)" = started ]
    within 10 is_known job
    say on
    # Now it is the other one's file by which it goes on.
    mayfly upgrade job
    [ "$(wc -l <log)" = 1 ]
    within 10 is_known job
    say again
}

@test "a binary that is missing, no mayfly, or ends at once: the program goes on" {
    echoer
    say one
    run --separate-stderr mayfly upgrade job ./missing
    status_is 2
    contains "$stderr" "no such file"
    echo text >text
    printf '#!/bin/sh\nkill -SEGV $$\n' >crash
    printf '#!/bin/sh\nhead -c 8 <&3 >/dev/null\nexit 9\n' >leave
    printf '#!/bin/sh\nhead -c 64 /dev/urandom >&3\nsleep 30\n' >noise
    chmod +x crash leave noise
    local binary
    for binary in ./text /bin/true /bin/cat ./crash ./leave ./noise; do
        run --separate-stderr mayfly upgrade job "$binary"
        [ "$status" != 0 ]
        contains "$stderr" "$(basename "$binary")"
        say "after$(basename "$binary")"
        is_known job
        [ "$(pid_of_job)" = "$PID" ]
    done
    run --separate-stderr mayfly upgrade job /bin/false
    contains "$stderr" "ended with status 1"
    run --separate-stderr mayfly upgrade job "$PWD/crash"
    contains "$stderr" "signal 11"
    mayfly upgrade job
    within 10 is_known job
    say end
    exec 9>&-
    local status=0
    wait "$PID" || status=$?
    PIDS=
    [ "$status" = 7 ]
}

@test "signals to the first process reach the guest, through all that came after it" {
    local signal status
    for signal in TERM HUP; do
        rm -f in
        echoer
        mayfly upgrade job
        within 10 is_known job
        mayfly upgrade job
        within 10 is_known job
        kill -"$signal" "$PID"
        status=0
        wait "$PID" || status=$?
        PIDS=
        [ "$status" = $((128 + $(kill -l "$signal"))) ]
        exec 9>&-
    done
    # And 'mayfly stop', and the loss of the first one.
    rm -f in
    echoer
    mayfly upgrade job
    within 10 is_known job
    mayfly stop job
    status=0
    wait "$PID" || status=$?
    [ "$status" = 143 ]
    exec 9>&-
    rm -f in
    echoer
    mayfly upgrade job
    within 10 is_known job
    local pid
    pid=$(pid_of_job)
    kill -KILL "$PID"
    ended() { ! kill -0 "$pid" 2>/dev/null; }
    within 10 ended
}

@test "what cannot be handed over says so" {
    echoer
    mayfly pause job
    run --separate-stderr mayfly upgrade job
    status_is 1 || [ "$status" != 0 ]
    contains "$stderr" "paused" "mayfly resume job"
    mayfly resume job
    say on
    run --separate-stderr mayfly upgrade nobody
    [ "$status" != 0 ]
    run --separate-stderr mayfly upgrade
    status_is 2
    run --separate-stderr "$MAYFLY" --take-over 3>&- 5>&- 6>&-
    status_is 2
}
