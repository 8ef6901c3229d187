#!/usr/bin/env bats
# `mayfly receive` and `mayfly migrate`: programs that move while they run. Run with each backend.

load helpers

setup_file() {
    find_backend
}

setup() {
    need_backend
    P=$CLI_GUESTS/program
    T=$CLI_GUESTS/ticker
    mkdir -p "$BATS_TEST_TMPDIR/work"
    cd "$BATS_TEST_TMPDIR/work"
    export XDG_RUNTIME_DIR=$BATS_TEST_TMPDIR/run
    mkdir -m 700 "$XDG_RUNTIME_DIR"
    PIDS=
}

teardown() {
    local pid
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
            tail -n 5 ./*.err
            return 1
        fi
        sleep 0.05
    done
}

# receiver NAME ADDRESS [OPTION...]: its address is in $ADDR then, its pid in $PID.
receiver() {
    local name=$1 address=$2
    shift 2
    "$MAYFLY" receive --backend "$MAYFLY_TEST_BACKEND" --listen "$address" "$@" \
        >"$name.out" 2>"$name.err" </dev/null 3>&- &
    PID=$!
    PIDS="$PIDS $PID"
    within 30 grep -q "listening on" "$name.err"
    ADDR=$(sed -n 's/.*listening on //p' "$name.err")
}

# begin NAME PROGRAM [ARG...]: runs it under the name; returns when its first output is there.
begin() {
    local name=$1
    shift
    env --default-signal=INT "$MAYFLY" run --backend "$MAYFLY_TEST_BACKEND" --name "$name" "$@" \
        >"$name.out" 2>"$name.err" </dev/null 3>&- &
    PID=$!
    PIDS="$PIDS $PID"
    within 30 [ -s "$name.out" ]
}

# has_grown FILE BYTES: since it had so many.
has_grown() {
    [ "$(wc -c <"$1")" -gt "$2" ]
}

# still_runs FILE: it grows.
still_runs() {
    local before
    before=$(wc -c <"$1")
    within 30 has_grown "$1" "$before"
}

# ends_with STATUS PID
ends_with() {
    local status=0
    wait "$2" || status=$?
    if [ "$status" -ne "$1" ]; then
        echo "status $status instead of $1"
        tail -n 5 ./*.err
        return 1
    fi
}

# lists NAME STATE: `ps` has it so.
lists() {
    mayfly ps | grep -qE "^$1 .* $2 "
}

# A migration has begun to talk.
has_dirty_rate() {
    mayfly ps --json | grep -q '"dirty_bytes_per_s": *[0-9]'
}

nobody_runs() {
    [ -z "$(mayfly ps)" ]
}

# is_whole FILE N: the ticks 1 to N of a ticker, once each.
is_whole() {
    cut -d' ' -f1 "$1" | cmp - <(seq "$2")
}

# bytes_of SUMMARY: how many were sent.
bytes_of() {
    python3 -c 'import json, sys; print(json.loads(sys.argv[1])["summary"]["bytes_sent"])' "$1"
}

# refused WORDS COMMAND...: fails, and says so.
refused() {
    local words=$1
    shift
    run --separate-stderr mayfly migrate "$@"
    [ "$status" -ne 0 ]
    contains "$stderr" "$words"
}

# A peer of some kind on peer.sock, in the background: `stalls N SOCKET` passes N bytes on and then
# nothing; `cuts TYPE SOCKET` ends at the receiver's first frame of that type
# (docs/formats/migration.md); `says TEXT` sends it and hears all.
peer() {
    python3 - "$@" >peer.out 2>peer.err 3>&- <<'PYTHON' &
import os, socket, sys, threading
kind, what = sys.argv[1:3]
listener = socket.socket(socket.AF_UNIX)
listener.bind("peer.tmp")
listener.listen(16)
os.rename("peer.tmp", "peer.sock")
def copy(a, b, left):
    while left > 0:
        data = a.recv(min(left, 65536))
        if not data:
            break
        b.sendall(data)
        left -= len(data)
    while left == 0 and a.recv(65536):
        pass
    b.shutdown(socket.SHUT_RDWR)
def take(s, n):
    data = b""
    while len(data) < n:
        piece = s.recv(n - len(data))
        if not piece:
            sys.exit()
        data += piece
    return data
def cut(a, b, at):
    while True:
        head = take(a, 16)
        if int.from_bytes(head[:2], "little") == at:
            b.shutdown(socket.SHUT_RDWR)
            sys.exit()
        b.sendall(head + take(a, int.from_bytes(head[4:8], "little")))
kept = []
while True:
    a, _ = listener.accept()
    kept.append(a)
    if kind == "says":
        a.sendall(what.encode())
    else:
        b = socket.socket(socket.AF_UNIX)
        b.connect(sys.argv[3])
        kept.append(b)
        there, back = (copy, int(what)), (copy, 1 << 60)
        if kind == "cuts":
            there, back = back, (cut, int(what))
        threading.Thread(target=there[0], args=(a, b, there[1]), daemon=True).start()
        threading.Thread(target=back[0], args=(b, a, back[1]), daemon=True).start()
PYTHON
    PEER=$!
    PIDS="$PIDS $PEER"
    within 30 [ -S peer.sock ]
}

@test "a program goes on at the receiver, under its name" {
    receiver there unix:there.sock
    begin job1 "$T" 200 5
    run --separate-stderr mayfly migrate job1 "$ADDR"
    status_is 0
    contains "$output" "job1 has moved to $ADDR" rounds pages bytes downtime total
    [ -z "$stderr" ]
    ends_with 0 "$PID"
    contains "$(cat job1.err)" "goes on at unix:there.sock"
    lists job1 running
    [ "$(mayfly ps | wc -l)" -eq 2 ]
    within 30 grep -q "job1 has ended with status 7" there.err
    cat job1.out there.out >all
    is_whole all 200
    # The program is there now.
    local first second
    begin job2 "$T" 4000 5
    run --separate-stderr mayfly migrate --json job2 "$ADDR"
    status_is 0
    contains "$output" '"event":"progress"' '"phase":"stop"'
    [ -z "$stderr" ]
    output=${lines[-1]}
    json 'r["event"] == "moved" and r["name"] == "job2" and r["summary"]["phase"] == "done"'
    second=$(bytes_of "$output")
    receiver other unix:other.sock
    begin job3 "$T" 4000 5
    first=$(bytes_of "$(mayfly migrate --json job3 "$ADDR" | tail -n 1)")
    [ "$first" -gt $((second + 30000)) ]
    mayfly stop job2
    within 30 grep -q "job2 was stopped" there.err
}

@test "followed: input, output, errors and status stay, over one receiver and over two" {
    receiver there unix:there.sock
    local there=$ADDR
    receiver beyond tcp:127.0.0.1:0
    local beyond=$ADDR
    head -c 2000000 /dev/urandom >input
    mkfifo pipe
    "$MAYFLY" run --backend "$MAYFLY_TEST_BACKEND" --name cat "$P" cat <pipe >cat.out 2>cat.err 3>&- &
    local cat=$!
    PIDS="$PIDS $cat"
    exec 8>pipe
    head -c 500000 input >&8
    within 30 [ -s cat.out ]
    # It waits for input while it moves.
    mayfly migrate --follow cat "$there"
    head -c 1000000 input | tail -c 500000 >&8
    # No need to say it again: who follows goes on doing so.
    mayfly migrate cat "$beyond"
    tail -c 1000000 input >&8
    exec 8>&-
    ends_with 0 "$cat"
    cmp input cat.out
    [ ! -s cat.err ]
    within 30 grep -q "cat has ended with status 0" beyond.err
    [ ! -s there.out ] && [ ! -s beyond.out ]
    within 30 nobody_runs

    # Held back, because it writes as fast as it can; every page is as it left it.
    begin job1 "$P" churn 16 1200
    mayfly migrate --downtime-limit 3ms --follow job1 "$there"
    ends_with 5 "$PID"
    [ "$(tail -n 1 job1.out)" = churned ]
    [ "$(cat job1.err)" = well ]
}

@test "followed: a signal, a closed pipe, and a receiver that ends" {
    receiver there unix:there.sock
    local there=$PID
    begin job1 "$P" spin
    mayfly migrate --follow job1 "$ADDR"
    lists job1 running
    kill -INT "$PID"
    ends_with 130 "$PID"
    [ ! -s job1.err ]
    within 30 nobody_runs

    mkfifo pipe
    "$MAYFLY" run --backend "$MAYFLY_TEST_BACKEND" --name flood "$P" flood >pipe 2>flood.err 3>&- &
    local flood=$!
    PIDS="$PIDS $flood"
    exec 8<pipe
    head -c 10000 <&8 >/dev/null
    # Nobody reads what it prints: it can be moved nevertheless.
    mayfly migrate --follow flood "$ADDR"
    head -c 10000 <&8 >/dev/null
    exec 8<&-
    ends_with 141 "$flood"
    within 30 grep -q "flood was stopped.*SIGPIPE" there.err

    begin job2 "$P" spin
    mayfly migrate --follow job2 "$ADDR"
    kill -TERM "$there"
    ends_with 143 "$there"
    ends_with 125 "$PID"
    contains "$(cat job2.err)" interrupted
}

@test "tls: a key that both have, certificates of one authority, and neither" {
    command -v openssl >/dev/null || skip "openssl is not installed"
    (umask 077 && openssl rand -hex 32 >key.hex && openssl rand -hex 32 >other.hex)
    receiver psk tls:127.0.0.1:0 --psk-file key.hex
    begin job1 "$T" 4000 5
    refused "" --psk-file other.hex job1 "$ADDR"
    [ -n "$stderr" ]
    refused "" job1 "$ADDR"
    refused "" job1 "tcp:${ADDR#tls:}"
    mayfly migrate --psk-file key.hex --follow job1 "$ADDR"
    lists job1 running

    local who
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj "/CN=authority" \
        -keyout ca.key -out ca.pem -days 2 2>/dev/null
    for who in here there; do
        openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj "/CN=$who" \
            -keyout "$who.key" -out "$who.csr" 2>/dev/null
        openssl x509 -req -in "$who.csr" -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 \
            -extfile <(echo "subjectAltName=IP:127.0.0.1") -out "$who.pem" 2>/dev/null
    done
    receiver certs tls:127.0.0.1:0 --cert there.pem --key there.key --ca ca.pem
    mayfly migrate --cert here.pem --key here.key --ca ca.pem job1 "$ADDR"
    still_runs job1.out
    lists job1 running
    contains "$(cat certs.err)" "CN=here"
}

@test "a refusal says why, and the program goes on" {
    receiver small unix:small.sock --max 1 --memory-limit 32M
    begin job1 "$T" 40000 5
    refused "nope" nope "$ADDR"
    status_is 2
    refused "expected" job1 "nonsense" || contains "$stderr" "unix:PATH"
    refused "" job1 unix:nobody.sock
    [ -n "$stderr" ]
    refused "insecure" job1 tcp:192.0.2.1:7000
    refused "memory" job1 "$ADDR"
    receiver one unix:one.sock --max 1
    begin job2 "$T" 40000 5
    mayfly migrate job2 "$ADDR"
    refused "--max" --follow job1 "$ADDR"
    mayfly stop job2
    within 30 grep -q "job2 was stopped" one.err
    [ ! -e job1.fallback.mfs ]
    still_runs job1.out
    lists job1 running
    mayfly migrate job1 "$ADDR"
    run --separate-stderr mayfly receive --listen tcp:0.0.0.0:0
    status_is 2
    contains "$stderr" insecure
    run --separate-stderr mayfly receive --listen "$ADDR"
    [ "$status" -ne 0 ]
    contains "$stderr" "already"
}

@test "peers that are none, and a hundred that say nothing" {
    begin job1 "$T" 40000 5
    peer says "220 mail.example ESMTP hello hello hello hello"
    refused "" job1 unix:peer.sock
    [ -n "$stderr" ]
    kill -KILL "$PEER"
    rm peer.sock
    peer says ""
    refused "" --timeout 300ms job1 unix:peer.sock
    status_is 124
    still_runs job1.out

    receiver there unix:there.sock
    python3 - >flood.out 3>&- <<'PYTHON' &
import socket, time
kept = []
for i in range(100):
    s = socket.socket(socket.AF_UNIX)
    s.connect("there.sock")
    s.sendall(b"mayfly-migrate 1\n" if i % 2 else b"may")
    kept.append(s)
print("ready", flush=True)
time.sleep(60)
PYTHON
    PIDS="$PIDS $!"
    within 30 grep -q ready flood.out
    mayfly migrate --follow job1 "$ADDR"
    lists job1 running
    still_runs job1.out
    printf 'hello\n' | python3 -c '
import socket, sys
s = socket.socket(socket.AF_UNIX)
s.connect("there.sock")
s.sendall(sys.stdin.buffer.read())
s.recv(1)'
    within 30 grep -q "nothing that is known here" there.err
}

@test "in the middle: ps, cancel, a receiver that dies, a source that dies" {
    receiver there unix:there.sock
    local there=$PID
    begin job1 "$P" churn 4 60000
    local source=$PID
    peer stalls 60000 there.sock
    mayfly migrate job1 unix:peer.sock >migrate.out 2>migrate.err 3>&- &
    local migrate=$!
    within 30 lists job1 migrating
    within 30 has_dirty_rate
    refused "goes on" job1 "$ADDR"
    mayfly migrate --cancel job1
    ends_with 125 "$migrate"
    contains "$(cat migrate.err)" cancelled
    lists job1 running
    run --separate-stderr mayfly migrate --cancel job1
    status_is 125
    contains "$stderr" "nothing goes on"

    mayfly migrate --follow job1 unix:peer.sock >migrate.out 2>migrate.err 3>&- &
    migrate=$!
    within 30 has_dirty_rate
    kill -KILL "$there"
    wait "$migrate" && return 1
    [ -s migrate.err ]
    lists job1 running
    [ ! -e job1.fallback.mfs ]

    receiver again unix:again.sock
    kill -KILL "$PEER"
    rm peer.sock
    peer stalls 60000 again.sock
    mayfly migrate job1 unix:peer.sock >migrate.out 2>migrate.err 3>&- &
    migrate=$!
    within 30 has_dirty_rate
    kill -KILL "$source"
    wait "$migrate" && return 1
    within 30 grep -q "did not come in" again.err
    within 30 nobody_runs
}

@test "a connection that breaks in the last step: a file that goes on" {
    receiver there unix:there.sock
    begin job1 "$T" 300 5
    # The receiver's word that it runs does not arrive.
    peer cuts 13 there.sock
    refused "'mayfly resume $PWD/job1.fallback.mfs' goes on" job1 unix:peer.sock
    status_is 125
    ends_with 125 "$PID"
    contains "$(cat job1.err)" job1.fallback.mfs
    within 30 grep -q "job1 has ended with status 7" there.err
    cat job1.out there.out >all
    is_whole all 300
    run --separate-stderr mayfly resume job1.fallback.mfs
    status_is 7
    { cat job1.out; printf '%s\n' "$output"; } >all
    is_whole all 300

    # And before it was told to run: nothing has happened.
    begin job2 "$T" 40000 5
    kill -KILL "$PEER"
    rm peer.sock
    peer cuts 11 there.sock
    refused "" job2 unix:peer.sock
    [ ! -e job2.fallback.mfs ]
    still_runs job2.out
    within 30 lists job2 running
}

@test "post-copy: a guest that writes all the time" {
    receiver there unix:there.sock
    begin job1 "$P" churn 16 2500
    run --separate-stderr mayfly migrate --postcopy --downtime-limit 1ms --follow job1 "$ADDR"
    if [ "$status" -ne 0 ]; then
        contains "$stderr" userfaultfd
        mayfly migrate --follow job1 "$ADDR"
    fi
    ends_with 5 "$PID"
    [ "$(cat job1.err)" = well ]
}

@test "a name that is taken, and a guest that is paused" {
    receiver there unix:there.sock
    local there=$ADDR pid=$PID
    begin job1 "$T" 40000 5
    mayfly pause job1
    mayfly migrate --follow job1 "$there"
    lists job1 paused
    local before
    before=$(wc -c <job1.out)
    sleep 0.2
    ! has_grown job1.out "$before"
    mayfly resume job1
    within 30 has_grown job1.out "$before"
    # Under another runtime directory, as on another host, the name is free.
    mkdir -m 700 far
    rm job1.out
    XDG_RUNTIME_DIR=$PWD/far begin job1 "$T" 40000 5
    XDG_RUNTIME_DIR=$PWD/far mayfly migrate job1 "$there"
    lists job1-2 running
    # Paused again, the receiver ends both.
    mayfly pause job1
    kill -TERM "$pid"
    ends_with 143 "$pid"
}

@test "progress is a line on a terminal, and nowhere else" {
    command -v script >/dev/null || skip "script is not installed"
    receiver there unix:there.sock
    begin job1 "$P" churn 16 60000
    script -qec "'$MAYFLY' migrate job1 $ADDR" typescript >/dev/null 3>&- || true
    grep -q "round [0-9]*: [0-9]* pages left" typescript
    grep -q "job1 has moved" typescript
    begin job2 "$P" churn 16 60000
    run --separate-stderr mayfly migrate job2 "$ADDR"
    status_is 0
    [ -z "$stderr" ]
}
