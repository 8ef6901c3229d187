#!/usr/bin/env bats
# `mayfly doctor`: every backend is reported, and the report is well-formed.

load helpers

@test "JSON: backends, host, limits, problems with advice" {
    run --separate-stderr mayfly doctor --json
    [ "$status" -le 1 ]
    json '[b["name"] for b in r["backends"]] == ["kvm", "soft"]'
    json 'all(b["reason"] for b in r["backends"])'
    json 'r["usable"] == any(b["usable"] for b in r["backends"])'
    json 'all(r[s] for s in ("host", "cpu", "kvm", "limits", "cgroup"))'
    json 'all(p["advice"] for p in r["problems"])'
    json '{"nofile", "memlock", "as"} <= set(r["limits"])'
    json '{"memory_max", "pids_max", "cpu_max"} == set(r["cgroup"])'
    json "$status == (0 if r['usable'] else 1)"
}

@test "text: the same status, no colours into a pipe" {
    run mayfly doctor
    local expected=$status
    [ "$status" -le 1 ]
    contains "$output" backends kvm soft kernel nofile
    [[ "$output" != *$'\033'* ]]
    run mayfly doctor --json
    status_is "$expected"
}

@test "colours: always, never, NO_COLOR" {
    run mayfly doctor --color always
    [[ "$output" == *$'\033['* ]]
    run mayfly doctor --color never
    [[ "$output" != *$'\033'* ]]
    command -v script >/dev/null || skip "script is not installed"
    run env TERM=xterm script -qec "env -u NO_COLOR \"$MAYFLY\" doctor" /dev/null </dev/null
    [[ "$output" == *$'\033['* ]]
    run env TERM=xterm NO_COLOR=1 script -qec "\"$MAYFLY\" doctor" /dev/null </dev/null
    [[ "$output" != *$'\033['* ]]
}

@test "a low limit is a warning with advice" {
    run --separate-stderr bash -c 'ulimit -n 200; "$MAYFLY" doctor --json'
    [ "$status" -le 1 ]
    json 'any(p["about"] == "limits.nofile" and "ulimit" in p["advice"] for p in r["problems"])'
    json 'r["limits"]["nofile"] == 200'
}

@test "without a usable backend: status 1, and what to do" {
    # Two descriptors are enough to load libraries, but not for a VM on kvm; and a
    # copy of the command has no modules beside itself.
    mkdir "$BATS_TEST_TMPDIR/bin"
    cp "$MAYFLY" "$(dirname "$MAYFLY")"/libmayfly.so* "$BATS_TEST_TMPDIR/bin/"
    run --separate-stderr bash -c 'exec 3>&- 4>&- 5>&-; ulimit -n 5
        LD_LIBRARY_PATH=$0 MAYFLY_MODULE_PATH= exec "$0/mayfly" doctor --json' \
        "$BATS_TEST_TMPDIR/bin"
    if [ "$status" -eq 0 ]; then
        skip "a soft backend is installed on this host"
    fi
    status_is 1
    json 'not r["usable"] and len(r["problems"]) >= 2'
}

@test "a command that was found through PATH finds the module beside itself, wherever it is called" {
    module=$(dirname "$MAYFLY")/libmayfly_soft.so
    [ -e "$module" ] || skip "the soft backend was not built"
    mkdir "$BATS_TEST_TMPDIR/bin" "$BATS_TEST_TMPDIR/elsewhere"
    cp "$MAYFLY" "$(dirname "$MAYFLY")"/libmayfly.so* "$module" "$BATS_TEST_TMPDIR/bin/"
    # A file of the same name that is not the command must not decide where to look.
    touch "$BATS_TEST_TMPDIR/elsewhere/mayfly"
    echo "no module" >"$BATS_TEST_TMPDIR/elsewhere/libmayfly_soft.so"
    cd "$BATS_TEST_TMPDIR/elsewhere"
    PATH=$BATS_TEST_TMPDIR/bin:$PATH MAYFLY_MODULE_PATH='' \
        run --separate-stderr bash -c 'exec mayfly doctor --json'
    json '[b["usable"] for b in r["backends"] if b["name"] == "soft"] == [True]'
}
