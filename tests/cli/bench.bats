#!/usr/bin/env bats
# `mayfly bench`: options, errors, and that its reports are well-formed. Nothing
# here looks at a time: speed is no test.

# Prints the first backend that is usable, or nothing.
some_backend() {
    local backend
    for backend in kvm soft; do
        if "$MAYFLY" bench --backend "$backend" --rounds 1 --json call >/dev/null 2>&1; then
            echo "$backend"
            return
        fi
    done
}

# check_json EXPRESSION: a Python expression over the report `r`, read from $output.
check_json() {
    printf '%s\n' "$output" |
        python3 -c 'import json, sys
r = json.load(sys.stdin)
sys.exit(not eval(sys.argv[1], {"r": r}))' "$1"
}

# The smoke test of one backend: every figure, one round.
smoke() {
    local backend=$1
    output=$("$MAYFLY" doctor --json) || true
    if ! check_json "any(b['name'] == '$backend' and b['usable'] for b in r['backends'])"; then
        skip "the backend $backend is not usable here"
    fi
    run --separate-stderr "$MAYFLY" bench --backend "$backend" --rounds 1 --json
    echo "$stderr"
    [ "$status" -eq 0 ]
    check_json 'isinstance(r, list) and len(r) >= 8'
    check_json 'all({"name", "backend", "unit", "value", "floor_name"} <= set(f) for f in r)'
    check_json 'all({"floor", "ratio", "target", "rounds"} <= set(f) for f in r)'
    check_json 'len({f["name"] for f in r}) == len(r)'
    check_json 'all(f["value"] > 0 and f["rounds"] == 1 for f in r)'
    # A figure has a floor, its name and a ratio, or none of the three.
    check_json 'all(len({f[k] is None for k in ("floor", "floor_name", "ratio")}) == 1 for f in r)'
    check_json 'all(abs(f["ratio"] * f["floor"] / f["value"] - 1) < 0.01 for f in r if f["floor"])'
    check_json "all(f['backend'] == '$backend' for f in r)"
}

setup() {
    declare -F bats_require_minimum_version >/dev/null || load old_bats
    bats_require_minimum_version 1.5.0
}

@test "kvm: every figure once, as JSON" {
    smoke kvm
}

@test "soft: every figure once, as JSON" {
    smoke soft
}

@test "a table for people names machine, figure and floor" {
    local backend
    backend=$(some_backend)
    [ -n "$backend" ] || skip "no backend is usable here"
    run --separate-stderr "$MAYFLY" bench --backend "$backend" --rounds 1 run_hello
    [ "$status" -eq 0 ]
    [[ "$output" == *"CPUs, Linux "* ]]
    [[ "$output" == *"run_hello"*"$backend"* ]]
    [[ "$output" == *"posix_spawn and wait of hello"* ]]
}

@test "only the named figures are measured, in that order" {
    local backend
    backend=$(some_backend)
    [ -n "$backend" ] || skip "no backend is usable here"
    run --separate-stderr "$MAYFLY" bench --backend "$backend" --rounds 2 --json nested call
    [ "$status" -eq 0 ]
    check_json '[f["name"] for f in r] == ["nested", "call"] and r[0]["rounds"] == 2'
}

@test "--list names the figures and measures nothing" {
    run "$MAYFLY" bench --list --guests /nowhere
    [ "$status" -eq 0 ]
    [[ "$output" == *"call_host"* ]]
    run "$MAYFLY" bench --list --json
    [ "$status" -eq 0 ]
    check_json '"create" in [f["name"] for f in r]'
}

@test "an unknown figure is a usage error with a suggestion" {
    run "$MAYFLY" bench crate
    [ "$status" -eq 2 ]
    [[ "$output" == *"did you mean 'create'?"* ]]
    run "$MAYFLY" bench call xyzzyxyzzy
    [ "$status" -eq 2 ]
    [[ "$output" == *"--list"* ]]
}

@test "rounds and backend are checked" {
    for bad in 0 -1 100001 99999999999999999999 many ''; do
        run "$MAYFLY" bench --rounds "$bad" call
        [ "$status" -eq 2 ]
    done
    run "$MAYFLY" bench --backend qemu call
    [ "$status" -eq 2 ]
}

@test "missing guests: a host error that says how to build them" {
    [ -n "$(some_backend)" ] || skip "no backend is usable here"
    run "$MAYFLY" bench --guests /nowhere call
    [ "$status" -eq 125 ]
    [[ "$output" == *"/nowhere/echo"* ]]
    [[ "$output" == *"bench_guests"* ]]
    run --separate-stderr "$MAYFLY" bench --guests /nowhere --json call
    [ "$status" -eq 125 ]
    check_json 'isinstance(r, dict)'
}

@test "a report that cannot be written is a host error" {
    [ -n "$(some_backend)" ] || skip "no backend is usable here"
    run bash -c '"$MAYFLY" bench --rounds 1 call >/dev/full'
    [ "$status" -eq 125 ]
}
