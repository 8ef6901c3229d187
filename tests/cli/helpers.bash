# What all tests of the command share. They find things by the environment:
#   MAYFLY                path of the command
#   EXAMPLES, CLI_GUESTS  folders with the guests
#   MAYFLY_TEST_BACKEND   kvm or soft; tests that run guests are run with each

declare -F bats_require_minimum_version >/dev/null || load old_bats
bats_require_minimum_version 1.5.0

# The command, bounded in time: 88 is no status of ours.
mayfly() {
    local status=0
    timeout --foreground -k 1 60 "$MAYFLY" "$@" || status=$?
    return "$status"
}

# A guest on the backend under test: guest run|call [ARG...]
guest() {
    local command=$1
    shift
    mayfly "$command" --backend "$MAYFLY_TEST_BACKEND" "$@"
}

# Skips a test when the backend under test does not work here. To be called in
# setup_file, which asks once, and in setup, which decides for each test by name.
find_backend() {
    MAYFLY_TEST_BACKEND=${MAYFLY_TEST_BACKEND:-auto}
    BACKEND_USABLE=$("$MAYFLY" doctor --json | python3 -c '
import json, sys
report = json.load(sys.stdin)
wanted = sys.argv[1]
print(int(any(b["usable"] and wanted in (b["name"], "auto") for b in report["backends"])))
' "$MAYFLY_TEST_BACKEND")
    export MAYFLY_TEST_BACKEND BACKEND_USABLE
}

need_backend() {
    if [ "$BACKEND_USABLE" != 1 ]; then
        skip "the backend $MAYFLY_TEST_BACKEND is not usable here"
    fi
}

# status_is N: of the last `run`; shows what it printed when it is not.
status_is() {
    if [ "$status" -ne "$1" ]; then
        echo "status $status instead of $1"
        echo "output: $output"
        echo "stderr: ${stderr-}"
        return 1
    fi
}

# contains TEXT PART...: every PART is in TEXT.
contains() {
    local text=$1 part
    shift
    for part in "$@"; do
        if [[ "$text" != *"$part"* ]]; then
            echo "'$part' is not in:"
            echo "$text"
            return 1
        fi
    done
}

# json EXPRESSION: a Python expression over `r`, the JSON in $output, is true.
json() {
    if ! printf '%s\n' "$output" | python3 -c '
import json, sys
r = json.load(sys.stdin)
sys.exit(not eval(sys.argv[1]))' "$1"; then
        echo "not true: $1"
        echo "$output"
        return 1
    fi
}
