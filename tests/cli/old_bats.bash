# What these tests use of bats 1.7, for the bats 1.2 of Ubuntu 22.04. To be loaded
# where bats_require_minimum_version is missing.

bats_require_minimum_version() {
    :
}

# bats removes this folder at its end.
if [ -z "${BATS_TEST_TMPDIR:-}" ]; then
    BATS_TEST_TMPDIR=$(mktemp -d "${BATS_RUN_TMPDIR:-$BATS_TMPDIR}/test.XXXXXX")
fi

# run [--separate-stderr] COMMAND...: sets status, output, lines and stderr.
run() {
    local flags=$- separate=0
    set +eET
    if [ "$1" = --separate-stderr ]; then
        separate=1
        shift
    fi
    if [ "$separate" = 1 ]; then
        output=$("$@" 2>"$BATS_TEST_TMPDIR/stderr")
        status=$?
        stderr=$(cat "$BATS_TEST_TMPDIR/stderr")
    else
        output=$("$@" 2>&1)
        status=$?
    fi
    mapfile -t lines <<<"$output"
    set "-$flags"
}
