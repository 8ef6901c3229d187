#!/usr/bin/env bats
# Names and control sockets: `mayfly ps`, `stats`, `pause`, `resume`, `stop` and `snapshot` of
# running sandboxes. Run with each backend.

load helpers

setup_file() {
    find_backend
}

setup() {
    need_backend
    K=$CLI_GUESTS/keeper
    T=$CLI_GUESTS/ticker
    mkdir -p "$BATS_TEST_TMPDIR/work"
    cd "$BATS_TEST_TMPDIR/work"
    # Longer than a socket address: names are not limited by where they are.
    export XDG_RUNTIME_DIR=$BATS_TEST_TMPDIR/$(printf 'r%.0s' $(seq 120))
    mkdir -m 700 "$XDG_RUNTIME_DIR"
    SOCKETS=$XDG_RUNTIME_DIR/mayfly
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
            return 1
        fi
        sleep 0.05
    done
}

lines_of() {
    wc -l <"$1"
}

# has_more FILE N: more than N lines.
has_more() {
    [ "$(lines_of "$1")" -gt "$2" ]
}

# begin NAME COMMAND [ARG...]: `mayfly COMMAND --name NAME ...` in the background, its output in
# NAME.out, its pid in $PID; returns when its first output is there.
begin() {
    local name=$1 command=$2
    shift 2
    "$MAYFLY" "$command" --backend "$MAYFLY_TEST_BACKEND" --name "$name" "$@" >"$name.out" \
        2>"$name.err" </dev/null 3>&- &
    PID=$!
    PIDS="$PIDS $PID"
    within 30 has_more "$name.out" 0
}

# ends_with STATUS PID
ends_with() {
    local status=0
    wait "$2" || status=$?
    if [ "$status" -ne "$1" ]; then
        echo "status $status instead of $1"
        return 1
    fi
}

# talk NAME: a Python program on standard input with `connect` and `ask` for its socket.
talk() {
    timeout 60 python3 -c '
import json, os, socket, sys, time
path = os.environ["SOCKETS"]
os.chdir(path)  # because the path is too long for an address
def connect():
    s = socket.socket(socket.AF_UNIX)
    s.connect(sys.argv[1] + ".sock")
    s.settimeout(30)
    return s
def answer(s):
    data = b""
    while not data.endswith(b"\n"):
        piece = s.recv(65536)
        assert piece, "closed"
        data += piece
    return json.loads(data.splitlines()[-1])
def ask(request, s=None):
    s = s or connect()
    s.sendall(request)
    return answer(s)
exec(sys.stdin.read())' "$1"
}

@test "a program under a name: ps, pause, resume, stop" {
    run --separate-stderr mayfly ps
    status_is 0
    [ -z "$output$stderr" ]
    begin job1 run "$T" 5000 5
    run --separate-stderr mayfly ps
    status_is 0
    contains "$output" NAME job1 run "$MAYFLY_TEST_BACKEND" running "64 MiB" "$PID"
    run --separate-stderr mayfly ps --json
    json 'len(r["sandboxes"]) == 1'
    json "r['sandboxes'][0]['name'] == 'job1' and r['sandboxes'][0]['pid'] == $PID"
    json 'r["sandboxes"][0]["memory_bytes"] == 64 << 20 and r["sandboxes"][0]["uptime_ns"] > 0'
    json 'r["sandboxes"][0]["dirty_bytes_per_s"] is None and r["sandboxes"][0]["kind"] == "run"'

    mayfly pause job1
    local before
    before=$(lines_of job1.out)
    sleep 0.2
    [ "$(lines_of job1.out)" = "$before" ]
    run --separate-stderr mayfly ps
    contains "$output" paused
    run --separate-stderr mayfly pause job1
    status_is 125
    contains "$stderr" "paused already"
    mayfly resume job1
    within 30 has_more job1.out "$before"
    run --separate-stderr mayfly resume job1
    status_is 125
    contains "$stderr" "not paused"

    run --separate-stderr mayfly stop job1
    status_is 0
    [ -z "$output$stderr" ]
    ends_with 143 "$PID"
    [ ! -s job1.err ]
    [ -z "$(ls -A "$SOCKETS")" ]
}

@test "one that waits for input is paused, frozen, and gets its input afterwards" {
    mkfifo input
    exec 8<>input
    "$MAYFLY" run --backend "$MAYFLY_TEST_BACKEND" --name cat "$CLI_GUESTS/program" cat \
        <input >cat.out 8>&- 3>&- &
    PID=$!
    PIDS="$PIDS $PID"
    echo one >&8
    within 30 has_more cat.out 0
    mayfly pause cat
    echo two >&8
    mayfly snapshot take cat cat.mfs
    [ "$(cat cat.out)" = one ]
    mayfly resume cat
    within 30 has_more cat.out 1
    exec 8>&-
    ends_with 0 "$PID"
    [ "$(cat cat.out)" = $'one\ntwo' ]
    run --separate-stderr guest resume cat.mfs <<<three
    status_is 0
    [ "$output" = three ]
    # And one whose output nobody takes.
    mkfifo pipe
    exec 9<>pipe
    "$MAYFLY" run --backend "$MAYFLY_TEST_BACKEND" --name flood "$CLI_GUESTS/program" flood \
        >pipe 9>&- 3>&- &
    PID=$!
    PIDS="$PIDS $PID"
    within 30 mayfly pause flood
    mayfly stop flood
    ends_with 143 "$PID"
    exec 9>&-
}

@test "a paused one is stopped" {
    begin job1 run "$T" 5000 5
    mayfly pause job1
    mayfly stop job1
    ends_with 143 "$PID"
}

@test "stats: text and JSON, of one that runs and one that is paused" {
    begin job1 run "$T" 5000 5
    run --separate-stderr mayfly stats --json job1
    status_is 0
    json 'r["stats"]["exits_syscall"] > 0 and r["stats"]["output_bytes"] > 0'
    json "r['backend'] == '$MAYFLY_TEST_BACKEND' and r['state'] == 'running'"
    mayfly pause job1
    run --separate-stderr mayfly stats job1
    status_is 0
    contains "$output" "output_bytes" "memory_pages" "paused" "64 MiB"
    mayfly stop job1
}

@test "a snapshot of a running program goes on elsewhere; the program goes on here" {
    begin job1 run "$T" 400 5
    run --separate-stderr mayfly snapshot take job1 one.mfs
    status_is 0
    [ -z "$output$stderr" ]
    run --separate-stderr mayfly snapshot job1 two.mfs --json --compress
    status_is 0
    json 'r["name"] == "job1" and r["frozen_in"] == "run" and r["digest"].startswith("sha256:")'
    json 'r["file"].endswith("/two.mfs") and r["file_bytes"] > 0 and r["pause_ns"] > 0'
    mayfly pause job1
    run --separate-stderr mayfly snapshot take --json job1 three.mfs
    status_is 0
    run --separate-stderr mayfly ps
    contains "$output" paused
    mayfly resume job1
    echo precious >text
    run --separate-stderr mayfly snapshot take job1 text
    [ "$status" -ne 0 ]
    [ "$(cat text)" = precious ]
    ends_with 7 "$PID"
    "$T" 400 0 >all || true
    diff all job1.out
    local file
    for file in one two three; do
        guest resume $file.mfs >$file.out 3>&- &
        PIDS="$PIDS $!"
    done
    for file in one two three; do
        within 30 has_more $file.out 0
    done
    for PID in $(printf '%s\n' $PIDS | tail -3); do
        ends_with 7 "$PID"
    done
    for file in one two three; do
        diff $file.out <(tail -n "$(lines_of $file.out)" all)
    done
}

@test "resume and snapshot tell names from files, and commands from names" {
    begin job1 run "$T" 5000 5
    mayfly snapshot take job1 job1
    run --separate-stderr mayfly resume job1
    status_is 2
    contains "$stderr" "running sandbox" "snapshot file" "./job1"
    rm job1
    # What is no snapshot cannot be meant.
    cp "$T" job1
    mayfly pause job1
    mayfly resume job1
    run --separate-stderr mayfly resume --timeout 5s job1
    status_is 2
    contains "$stderr" "--timeout"
    run --separate-stderr mayfly resume job7
    status_is 125
    contains "$stderr" "no file 'job7'" "no sandbox"
    run --separate-stderr mayfly snapshot job7 x.mfs
    status_is 2
    contains "$stderr" "no sandbox"
    run --separate-stderr mayfly snapshot job1
    status_is 2
    contains "$stderr" "to which file"
    mayfly stop job1
    begin inspect run "$T" 5000 5
    run --separate-stderr mayfly snapshot inspect x.mfs
    contains "$stderr" "x.mfs"
    mayfly snapshot take inspect x.mfs
    run --separate-stderr mayfly snapshot inspect --json x.mfs
    status_is 0
    mayfly stop inspect
}

@test "resumed programs and calls have names as well" {
    begin job1 run "$T" 5000 5
    mayfly snapshot take job1 t.mfs
    mayfly stop job1
    begin again resume t.mfs
    run --separate-stderr mayfly ps
    contains "$output" again resume
    mayfly stop again
    ends_with 143 "$PID"
    "$MAYFLY" call --backend "$MAYFLY_TEST_BACKEND" --name nap "$K" nap 600000 >nap.out 3>&- &
    PIDS="$PIDS $!"
    within 30 [ -S "$SOCKETS/nap.sock" ]
    mayfly stop nap
    ends_with 143 "$!"
}

@test "a name is given once" {
    begin job1 run "$T" 5000 5
    run --separate-stderr guest run --name job1 "$T" 1 1
    status_is 125
    [ -z "$output" ]
    contains "$stderr" "job1" "running already"
    begin job2 run "$T" 5000 5
    run --separate-stderr mayfly ps
    contains "$output" job1 job2
    mayfly stop job2
    run --separate-stderr mayfly ps
    contains "$output" job1
    [[ "$output" != *job2* ]]
    mayfly stop job1
    begin job1 run "$T" 5000 5
    mayfly stop job1
}

@test "a stale socket is removed by ps, and by who takes its name" {
    local command
    for command in "ps" "stop job1" "run --name job1 $T 1 1"; do
        begin job1 run "$T" 5000 5
        kill -KILL "$PID"
        wait "$PID" || true
        [ -S "$SOCKETS/job1.sock" ]
        run --separate-stderr mayfly $command
        [[ "$output" != *running* ]]
        [ -z "$(ls -A "$SOCKETS")" ]
    done
    status_is 7
}

@test "one whose process stands still is shown as silent" {
    begin job1 run "$T" 5000 5
    kill -STOP "$PID"
    run --separate-stderr mayfly ps --json
    kill -CONT "$PID"
    status_is 0
    json 'r["sandboxes"][0]["name"] == "job1" and r["sandboxes"][0]["state"] == "silent"'
    mayfly stop job1
}

@test "names that are none" {
    local name
    for name in "" . .x -x a/b 'a b' ../x "$(printf 'x%.0s' $(seq 65))" $'a\nb' ä; do
        run --separate-stderr mayfly run --name="$name" "$T" 1 1
        status_is 2
        contains "$stderr" "is no name"
        run --separate-stderr mayfly stop -- "$name"
        status_is 2
        contains "$stderr" "is no name"
    done
    [ ! -e "$SOCKETS" ]
    name=$(printf 'x%.0s' $(seq 64))
    begin "$name" run "$T" 5000 5
    mayfly stop "$name"
    ends_with 143 "$PID"
}

@test "an unknown name is answered with near ones" {
    run --separate-stderr mayfly stop job1
    status_is 2
    contains "$stderr" "no sandbox called 'job1' is running"
    begin job1 run "$T" 5000 5
    local command
    for command in stats pause stop "snapshot take"; do
        run --separate-stderr mayfly $command jbo1 $([ "$command" = "snapshot take" ] && echo x.mfs)
        status_is 2
        contains "$stderr" "no sandbox called 'jbo1'" "did you mean 'job1'?"
    done
    run --separate-stderr mayfly pause --json nobody
    status_is 2
    json 'r["error"]["name"] == "MF_E_NO_FUNCTION"'
    run --separate-stderr mayfly pause
    status_is 2
    contains "$stderr" "which sandbox"
    run --separate-stderr mayfly ps job1
    status_is 2
    mayfly stop job1
}

@test "a runtime folder that others can use is refused" {
    mkdir -m 755 "$SOCKETS"
    run --separate-stderr guest run --name job1 "$T" 1 1
    status_is 125
    [ -z "$output" ]
    contains "$stderr" "not safe" "chmod 700"
    run --separate-stderr mayfly ps
    status_is 125
    contains "$stderr" "not safe"
    rmdir "$SOCKETS"
    mkdir -m 700 elsewhere
    ln -s "$PWD/elsewhere" "$SOCKETS"
    run --separate-stderr guest run --name job1 "$T" 1 1
    status_is 125
    [ -z "$(ls -A elsewhere)" ]
    rm "$SOCKETS"
    XDG_RUNTIME_DIR=relative run --separate-stderr mayfly ps
    status_is 2
    XDG_RUNTIME_DIR=/nowhere/at/all run --separate-stderr guest run --name job1 "$T" 1 1
    status_is 125
    contains "$stderr" "/nowhere/at/all/mayfly"
    # Without a name nothing of it is touched.
    XDG_RUNTIME_DIR=/nowhere/at/all run --separate-stderr guest run "$T" 1 1
    status_is 7
}

@test "folder and socket are the user's own; clients of others are refused" {
    begin job1 run "$T" 5000 5
    [ "$(stat -c %a "$SOCKETS")" = 700 ]
    [ "$(stat -c %a "$SOCKETS/job1.sock")" = 600 ]
    [ "$(ls -A "$SOCKETS" | grep -v '^job1.sock$' | grep -vc '^\.new-')" = 0 ]
    if [ "$(id -u)" = 0 ]; then
        export SOCKETS
        talk job1 <<'END'
# Even where file modes let somebody else connect, the server knows who it is.
os.chmod(".", 0o755)
os.chmod("job1.sock", 0o666)
os.setresuid(65534, 65534, 65534)
s = connect()
try:
    s.sendall(b'{"command": "list"}\n')
    assert s.recv(1) == b"", "somebody else was served"
except (BrokenPipeError, ConnectionResetError):
    pass
END
    fi
    mayfly stop job1 || { chmod 700 "$SOCKETS" && mayfly stop job1; }
    ends_with 143 "$PID"
}

@test "garbage on the socket hurts nobody" {
    export SOCKETS
    begin job1 run "$T" 50000 5
    local before
    before=$(lines_of job1.out)
    talk job1 <<'END'
for bad in [b"\n", b"garbage\n", b"[]\n", b"{}\n", b'"list"\n', b"\xff\x00\n", b"[" * 60000 + b"\n",
            b'{"command": 7}\n', b'{"command": "nope"}\n', b'{"command": "list", "x": 1}\n',
            b'{"command": "list", "command": "stop"}\n', b'{"command": "list"} x\n',
            b'{"command": "pause"}\n', b'{"command": "pause", "target": "../x"}\n',
            b'{"command": "pause", "target": "nobody"}\n',
            b'{"command": "pause", "target": "job1", "timeout": 1}\n',
            b'{"command": "snapshot", "target": "job1"}\n',
            b'{"command": "snapshot", "target": "job1", "file": 7}\n',
            b'{"command": "snapshot", "target": "job1", "file": "a\\u0000b"}\n',
            b'{"command": "snapshot", "target": "job1", "file": "relative.mfs"}\n',
            b'{"command": "cancel", "target": "job1"}\n', b"x" * 70000]:
    r = ask(bad)
    assert r["ok"] is False and r["error"]["code"] < 0 and r["error"]["message"], (bad, r)
# Several in one write, one in several, and one with nothing behind it.
s = connect()
s.sendall(b'{"command": "list"}\n{"command": "help"}\n{"comm')
while s.recv(65536).count(b"\n") == 0:
    pass
s.sendall(b'and": "list"}\n')
time.sleep(0.1)
s.close()
s = connect()
s.sendall(b'{"command": "list"}\n')
s.shutdown(socket.SHUT_WR)
assert answer(s)["ok"]
# Who asks and never reads, and who says half of a line: all places are taken for a while.
silent = [connect() for _ in range(16)]
for s in silent[:8]:
    s.sendall(b'{"comm')
for s in silent[8:]:
    s.setblocking(False)
    try:
        while True:
            s.send(b'{"command": "help"}\n' * 1000)
    except BlockingIOError:
        pass
assert ask(b'{"command": "list"}\n')["ok"]
# Who is gone in the middle of an operation.
for _ in range(20):
    s = connect()
    s.sendall(b'{"command": "stats", "target": "job1"}\n')
    s.close()
assert ask(b'{"command": "list"}\n')["ok"]
END
    within 30 has_more job1.out "$before"
    run --separate-stderr mayfly ps
    contains "$output" running
    mayfly stop job1
    ends_with 143 "$PID"
}

@test "machines: each has its name, and is paused, frozen and stopped by itself" {
    cat >count.s <<'END'
        .text
main:   addiu $s0, $s0, 1
        li $t0, 20000
spin:   addiu $t0, $t0, -1
        bnez $t0, spin
        move $a0, $s0
        li $v0, 1
        syscall
        li $a0, 10
        li $v0, 11
        syscall
        j main
END
    begin m1 vm count.s count.s --name m2 count.s
    # --name is of the machine before it, else of the next: the third one has none.
    run --separate-stderr mayfly ps --json
    json '[(s["name"], s["kind"]) for s in r["sandboxes"]] == [("m1", "vm"), ("m2", "vm")]'
    within 30 grep -q '^\[m1\] ' m1.out
    mayfly pause m1
    mayfly snapshot m1 m1.mfs
    local last
    last=$(grep '^\[m1\] ' m1.out | tail -1)
    within 30 eval 'test "$(grep -c "^\[m2\]" m1.out)" -gt 3'
    [ "$(grep '^\[m1\] ' m1.out | tail -1)" = "$last" ]
    mayfly stats --json m2 >stats
    mayfly stop m1
    mayfly stop m2
    run --separate-stderr mayfly ps
    contains "$output" ended
    kill -TERM "$PID"
    ends_with 143 "$PID"
    [ -z "$(ls -A "$SOCKETS")" ]
    # It goes on where it was: with the number behind the last one.
    "$MAYFLY" vm --backend "$MAYFLY_TEST_BACKEND" -s m1.mfs --name m3 count.s >m3.out 3>&- &
    PIDS="$PIDS $!"
    within 30 has_more m3.out 0
    mayfly stop m3
    ends_with 143 "$!"
    [ "$(head -1 m3.out)" = $((${last#* } + 1)) ]
    # In turns on one thread: who is paused keeps nobody waiting.
    begin r1 vm --schedule=round-robin count.s count.s --name r2
    mayfly pause r1
    local before
    before=$(grep -c '^\[r2\]' r1.out || true)
    within 30 eval 'test "$(grep -c "^\[r2\]" r1.out)" -gt $((before + 3))'
    mayfly stop r2
    mayfly stop r1
    ends_with 143 "$PID"
    run --separate-stderr mayfly vm --name 'a b' count.s
    status_is 2
    run --separate-stderr mayfly vm --name a count.s --name a count.s
    status_is 2
}
