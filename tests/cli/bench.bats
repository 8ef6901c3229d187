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

# Skips the test unless a backend works; sets $backend.
need_some_backend() {
    backend=$(some_backend)
    [ -n "$backend" ] || skip "no backend is usable here"
}

# The smoke test of one backend: every figure, one round. A thousand sandboxes and a snapshot
# of a GiB take too long for a test; a hundred sandboxes go the same way. So does machine_mips_c,
# the same way as machine_mips.
smoke() {
    local backend=$1 names
    output=$("$MAYFLY" doctor --json) || true
    if ! check_json "any(b['name'] == '$backend' and b['usable'] for b in r['backends'])"; then
        skip "the backend $backend is not usable here"
    fi
    names=$("$MAYFLY" bench --list | awk '$1 !~ /^(memory_1000|open_1g|machine_mips_c)$/ { printf "%s ", $1 }')
    # shellcheck disable=SC2086
    run --separate-stderr "$MAYFLY" bench --backend "$backend" --rounds 1 --json $names
    echo "$stderr"
    [ "$status" -eq 0 ]
    check_json "[f['name'] for f in r] == '$names'.split()"
    check_json '[f["group"] for f in r] == sorted([f["group"] for f in r],
        key=["calls", "snapshots", "pools", "memory", "machine", "migration"].index)'
    check_json 'all({"name", "backend", "unit", "value", "floor_name"} <= set(f) for f in r)'
    check_json 'all({"floor", "ratio", "target", "rounds", "parts", "noisy"} <= set(f) for f in r)'
    check_json 'all(f["value"] > 0 for f in r if f["unknown"] is None)'
    check_json 'all(f["value"] is None and f["unknown"] for f in r if f["unknown"] is not None)'
    # Only what needs a second CPU, many descriptors or programs of others may be unknown.
    check_json 'all(f["name"] in ("attentive", "pool_2_threads", "memory_100", "memory_clone", "machine_mips", "machine_mips_c", "machine_qemu", "machine_start", "migrate_downtime") for f in r if f["unknown"])'
    check_json 'all(f["rounds"] == 1 for f in r)'
    check_json 'all(f["noisy"] == (f["noise"] is not None) for f in r)'
    # A figure has a floor, its name and a ratio, or none of the three.
    check_json 'all(len({f[k] is None for k in ("floor", "floor_name", "ratio")}) == 1 for f in r)'
    check_json 'all(abs(f["ratio"] * f["floor"] / f["value"] - 1) < 0.01 for f in r if f["floor"])'
    check_json "all(f['backend'] == '$backend' for f in r)"
    # The parts are there, and a part without a number says why.
    check_json '{"open", "create", "run", "end"} <= set([f for f in r if f["name"] == "run_hello"][0]["parts"])'
    check_json 'all(p["note"] for f in r for p in f["parts"].values())'
    check_json 'all("kernel" in f["parts"] for f in r if f["unit"] == "KiB" and not f["unknown"])'
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

@test "the machine's programs answer alike in the machine, in spim and under qemu-mips" {
    need_some_backend
    local guests program
    guests=$(dirname "$MAYFLY")/bench/guests
    for program in machine_loop.s machine_work.s; do
        [ -e "$guests/$program" ] || continue
        run --separate-stderr "$MAYFLY" vm --backend "$backend" "$guests/$program" <<<2
        [ "$status" -eq 0 ]
        [[ "$output" =~ ^-?[1-9][0-9]+$ ]]
        command -v spim >/dev/null || continue
        [ "$output" = "$(spim -file "$guests/$program" <<<2 | tail -n 1)" ]
    done
    [ -e "$guests/machine_work" ] || skip "built without mips-linux-gnu-gcc"
    run --separate-stderr "$MAYFLY" vm --backend "$backend" "$guests/machine_work" <<<2
    [ "$status" -eq 0 ]
    [ "$output" = "$("$MAYFLY" vm --backend "$backend" "$guests/machine_work.s" <<<2)" ]
    if command -v qemu-mips >/dev/null; then
        [ "$output" = "$(qemu-mips "$guests/machine_work" <<<2)" ]
    fi
}

@test "programs of others that are not installed: not measured, and why" {
    need_some_backend
    run --separate-stderr env PATH=/nowhere "$MAYFLY" bench --backend "$backend" --rounds 1 \
        --json machine_mips machine_qemu machine_start
    [ "$status" -eq 0 ]
    check_json 'len(r) == 3 and all(f["value"] is None and f["floor"] is None for f in r)'
    check_json '["is not installed" in f["unknown"] for f in r] == [True] * 3'
    check_json '["spim" in f["unknown"] for f in r] == [True, False, True]'
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

@test "memory: more descriptors than the soft limit allows" {
    need_some_backend
    run --separate-stderr bash -c 'ulimit -Sn 128 && "$MAYFLY" bench --rounds 1 --json memory_100'
    [ "$status" -eq 0 ]
    check_json 'r[0]["value"] > 0 if r[0]["unknown"] is None else "descriptors" in r[0]["unknown"]'
}

@test "open_1g: without room for the file there is a reason, and nothing is left behind" {
    need_some_backend
    mkdir "$BATS_TEST_TMPDIR/empty"
    export TMPDIR=/nowhere
    run --separate-stderr "$MAYFLY" bench --backend "$backend" --rounds 1 --json open_1g
    [ "$status" -eq 0 ]
    check_json 'r[0]["value"] is None and "/nowhere" in r[0]["unknown"]'
    # A limit on the size of files, so that writing the first one fails.
    export TMPDIR=$BATS_TEST_TMPDIR/empty
    run --separate-stderr bash -c "trap '' XFSZ; ulimit -f 64
        \"\$MAYFLY\" bench --backend $backend --rounds 1 open_1g"
    [ "$status" -eq 125 ]
    [[ "$stderr" == *"open_1g: floor: "* ]]
    [ -z "$(ls -A "$TMPDIR")" ]
}

@test "figures of several groups stand under headings, those of one do not" {
    need_some_backend
    run --separate-stderr "$MAYFLY" bench --backend "$backend" --rounds 1 call restore_10 pool_call
    [ "$status" -eq 0 ]
    [ "$(grep -cxE 'calls|snapshots|pools' <<<"$output")" -eq 3 ]
    run --separate-stderr "$MAYFLY" bench --backend "$backend" --rounds 1 --markdown call pool_call
    [ "$(grep -cE '^\| (calls|pools) \|' <<<"$output")" -eq 2 ]
    run --separate-stderr "$MAYFLY" bench --backend "$backend" --rounds 1 restore_10 restore_32
    [ "$status" -eq 0 ]
    ! grep -qx snapshots <<<"$output"
}

@test "--profile: a restore needs no system call for each page" {
    need_some_backend
    run --separate-stderr "$MAYFLY" bench --backend "$backend" --rounds 2 --profile restore_256 --json
    [ "$status" -eq 0 ]
    check_json '{c["name"]: c["value"] for c in r["counts"]}["entries into the guest"] == 1'
    check_json 'all(c["value"] is None or c["value"] < 20 for c in r["counts"] if c["name"] == "system calls")'
}

@test "one CPU: a figure that needs two says so instead of a number" {
    need_some_backend
    command -v taskset >/dev/null || skip "taskset is not installed"
    run --separate-stderr taskset -c "$(taskset -pc $$ | grep -oE '[0-9]+' | tail -1)" \
        "$MAYFLY" bench --rounds 1 --json attentive pool_2_threads
    [ "$status" -eq 0 ]
    check_json 'len(r) == 2 and all(f["value"] is None and "2 CPUs" in f["unknown"] for f in r)'
}

@test "--markdown is a table with command and machine" {
    need_some_backend
    run --separate-stderr "$MAYFLY" bench --backend "$backend" --rounds 1 --markdown call memory_1
    [ "$status" -eq 0 ]
    [[ "${lines[0]}" == "\`mayfly bench --backend $backend --rounds 1 --markdown call memory_1\`"* ]]
    [[ "${lines[0]}" == *"CPUs, Linux"* ]]
    [[ "$output" == *"| \`call\` | "*" us | "* ]]
    # Header, rule and rows have the same number of columns.
    [ "$(printf '%s\n' "$output" | grep '^|' | tr -cd '|\n' | sort -u | wc -l)" -eq 1 ]
}

@test "--svg writes one well-formed file, with names, machine and command" {
    need_some_backend
    cd "$BATS_TEST_TMPDIR"
    run --separate-stderr "$MAYFLY" bench --backend "$backend" --rounds 1 \
        --svg '<a&"b>.svg' run_hello call_thread pool_vs_spawn memory_1
    [ "$status" -eq 0 ]
    [[ "$output" == *"run_hello"* ]]
    python3 - '<a&"b>.svg' <<'PYTHON'
import sys, xml.etree.ElementTree as tree
root = tree.parse(sys.argv[1]).getroot()
space = "{http://www.w3.org/2000/svg}"
assert root.tag == space + "svg"
texts = [e.text or "" for e in root.iter(space + "text")]
assert "run_hello" in texts and "call_thread" in texts and "memory_1" not in texts
assert any("CPUs, Linux" in t for t in texts)
assert any('--svg <a&"b>.svg' in t for t in texts)
assert len(root.findall(".//*[@class='floor']")) == 3
assert [e.text for e in root.findall(".//*[@class='group']")] == ["calls", "pools"]
raw = open(sys.argv[1], encoding="utf-8").read()
assert "prefers-color-scheme" in raw and "href" not in raw and "url(" not in raw
PYTHON
    # Nothing is left beside it, and others may read it.
    [ "$(find . -name '*svg*' | wc -l)" -eq 1 ]
    [ "$(stat -c %a '<a&"b>.svg')" = "$(printf '%o' $((0666 & ~$(umask))))" ]
}

@test "--svg: what cannot be written is told before anything is measured" {
    run "$MAYFLY" bench --svg /nowhere/a.svg --guests /nowhere call
    [ "$status" -eq 125 ]
    [[ "$output" == *"--svg"*"/nowhere/a.svg"* ]]
    [[ "$output" != *"guest"* ]]
    run "$MAYFLY" bench --svg /dev/null call
    [ "$status" -eq 2 ]
    [[ "$output" == *"no regular file"* ]]
    [ -c /dev/null ]
}

@test "--compare: a run beside an earlier one" {
    need_some_backend
    "$MAYFLY" bench --backend "$backend" --rounds 1 --json call nested >"$BATS_TEST_TMPDIR/old.json"
    run --separate-stderr "$MAYFLY" bench --backend "$backend" --rounds 1 \
        --compare "$BATS_TEST_TMPDIR/old.json" call
    [ "$status" -eq 0 ]
    [[ "$output" == *"old: $BATS_TEST_TMPDIR/old.json"* ]]
    [[ "$output" == *"new: this run"* ]]
    [[ "$output" == *"call "* && "$output" != *"nested"* ]]
    [ -z "$stderr" ]
}

# report NAME VALUE RATIO [MACHINE]: a report of one figure.
report() {
    printf '[{"name": "%s", "backend": "kvm", "unit": "us", "value": %s, "ratio": %s,
        "machine": "%s", "noisy": false}]' "$1" "$2" "$3" "${4:-m}"
}

@test "--compare: two files, ratios and what is missing" {
    cd "$BATS_TEST_TMPDIR"
    report call 50 2 >old.json
    report call 25 1.5 >new.json
    run --separate-stderr "$MAYFLY" bench --compare old.json new.json --json
    [ "$status" -eq 0 ]
    check_json 'len(r) == 1 and r[0]["value_change"] == 0.5 and r[0]["ratio_change"] == 0.75'
    report nested null null 'other \u001b[31m' >new.json
    run --separate-stderr "$MAYFLY" bench --compare old.json new.json
    [ "$status" -eq 0 ]
    [[ "$output" == *"nested"*"only in the new report"* ]]
    [[ "$output" == *"call "*"only in the old report"* ]]
    [[ "$stderr" == *"different machines"*"other"* ]]
    [[ "$stderr" != *$'\x1b'* ]]
    run --separate-stderr "$MAYFLY" bench --compare old.json new.json call
    [[ "$output" != *"nested"* ]]
}

@test "--compare: files that are no report" {
    cd "$BATS_TEST_TMPDIR"
    report call 50 2 >good.json
    local bad
    for bad in '' '{' '[]' '{"name": "call"}' '[1]' '[{"name": "call"}]' "$(report 'a b' 1 1)" \
        "$(report call '"x"' 1)" "$(report call -1 1)" "$(report call 1 '[]')" \
        "[$(report call 1 1 | tr -d '[]'), $(report call 1 1 | tr -d '[]')]"; do
        printf '%s' "$bad" >bad.json
        run "$MAYFLY" bench --compare bad.json good.json
        [ "$status" -eq 2 ]
        [[ "$output" == *"bad.json"* ]]
        run "$MAYFLY" bench --compare good.json ./bad.json
        [ "$status" -eq 2 ]
    done
    head -c 5000000 /dev/zero >bad.json
    run "$MAYFLY" bench --compare bad.json good.json
    [ "$status" -eq 2 ]
    [[ "$output" == *"too large"* ]]
    run "$MAYFLY" bench --compare /nowhere/old.json call
    [ "$status" -eq 125 ]
    [[ "$output" == *"/nowhere/old.json"* ]]
    run "$MAYFLY" bench --compare "$BATS_TEST_TMPDIR" call
    [ "$status" -eq 125 ]
}

@test "--profile counts what an operation does" {
    need_some_backend
    run --separate-stderr "$MAYFLY" bench --backend "$backend" --rounds 2 --profile call --json
    [ "$status" -eq 0 ]
    check_json 'r["name"] == "call" and r["operations"] == 40'
    check_json '{c["name"]: c["value"] for c in r["counts"]}["entries into the guest"] == 1'
    # A count that is not there has a reason.
    check_json 'all(c["note"] for c in r["counts"] if c["value"] is None)'
    check_json '{"instructions", "page faults", "KVM exits"} <= {c["name"] for c in r["counts"]}'
    run --separate-stderr "$MAYFLY" bench --backend "$backend" --rounds 1 --profile create
    [ "$status" -eq 0 ]
    [[ "$output" == *"entries into the guest"*"mf_sandbox_get_stats"* ]]
    [[ "$output" == *"system calls"* ]]
}

@test "kvm: one system call per call, and two with a host function inside" {
    output=$("$MAYFLY" doctor --json) || true
    check_json "any(b['name'] == 'kvm' and b['usable'] for b in r['backends'])" ||
        skip "the backend kvm is not usable here"
    local pair
    for pair in call:1 call_host:2; do
        run --separate-stderr "$MAYFLY" bench --backend kvm --rounds 2 --profile "${pair%:*}" --json
        [ "$status" -eq 0 ]
        if check_json 'any(c["value"] is None for c in r["counts"] if c["name"] == "system calls")'
        then
            skip "ptrace is not allowed here"
        fi
        check_json "{c['name']: c['value'] for c in r['counts']}['system calls'] == ${pair#*:}"
        check_json "{c['name']: c['value'] for c in r['counts']}['ioctl'] == ${pair#*:}"
    done
}

@test "--profile: what is no operation, or unknown" {
    need_some_backend
    run "$MAYFLY" bench --profile memory_1
    [ "$status" -eq 2 ]
    [[ "$output" == *"no operation"* ]]
    run "$MAYFLY" bench --profile cal
    [ "$status" -eq 2 ]
    [[ "$output" == *"did you mean 'call'?"* ]]
}

@test "options that do not go together are refused" {
    cd "$BATS_TEST_TMPDIR"
    report call 50 2 >a.json
    local options
    while read -r options; do
        # shellcheck disable=SC2086
        run "$MAYFLY" bench $options
        echo "$options: $status: $output"
        [ "$status" -eq 2 ]
    done <<'LIST'
--json --markdown
--list --svg a.svg
--list --profile call
--list --compare a.json
--profile call --svg a.svg
--profile call --compare a.json
--profile call nested
--compare a.json --markdown
--compare a.json a.json a.json
--compare a.json a.json --svg b.svg
--compare a.json a.json --rounds 3
--compare a.json a.json nosuch
--compare
--svg
--profile
LIST
}
