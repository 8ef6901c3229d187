#!/usr/bin/env bats
# The man pages: well-formed, and with exactly the options that --help shows.

load helpers

setup() {
    MAN=${MAYFLY_SOURCE_DIR:-$BATS_TEST_DIRNAME/../..}/docs/man
}

# Long options of a help text and of a man page, sorted.
options_of_help() {
    grep -oE '^ +(-[a-z], )?--[a-z-]+' | grep -oE -- '--[a-z-]+' | sort -u
}

options_of_page() {
    grep -E '^\.It Fl ' "$1" | grep -oE '\-[a-z][a-z-]+' | sed 's/^-/--/' | sort -u
}

@test "every command has a page" {
    local command
    for command in run call inspect snapshot resume ps stats pause stop receive migrate upgrade vm asm doctor bench; do
        [ -f "$MAN/mayfly-$command.1" ]
        grep -q "mayfly-$command 1" "$MAN/mayfly.1"
    done
}

@test "the pages are well-formed" {
    command -v mandoc >/dev/null || skip "mandoc is not installed"
    local page
    for page in "$MAN"/*.1; do
        run mandoc -T lint -W warning "$page"
        status_is 0
        [ -z "$output" ]
    done
}

@test "the pages have the options that --help shows" {
    local command
    for command in run call inspect snapshot resume ps stats pause stop receive migrate upgrade vm asm doctor bench; do
        mayfly "$command" --help | options_of_help >"$BATS_TEST_TMPDIR/help"
        options_of_page "$MAN/mayfly-$command.1" >"$BATS_TEST_TMPDIR/page"
        [ -s "$BATS_TEST_TMPDIR/help" ]
        diff "$BATS_TEST_TMPDIR/help" "$BATS_TEST_TMPDIR/page"
    done
    mayfly --help | options_of_help >"$BATS_TEST_TMPDIR/help"
    options_of_page "$MAN/mayfly.1" >"$BATS_TEST_TMPDIR/page"
    diff "$BATS_TEST_TMPDIR/help" "$BATS_TEST_TMPDIR/page"
}

@test "the page mayfly(1) has the exit statuses of --help" {
    mayfly --help | sed -n '/^Exit statuses/,/^$/p' | grep -oE '^ +[0-9]+' | tr -d ' ' |
        sort >"$BATS_TEST_TMPDIR/help"
    sed -n '/^.Sh EXIT STATUS/,/^.Sh EXAMPLES/p' "$MAN/mayfly.1" | grep -E '^\.It ' |
        grep -oE '[0-9]+' | sort >"$BATS_TEST_TMPDIR/page"
    [ -s "$BATS_TEST_TMPDIR/help" ]
    diff "$BATS_TEST_TMPDIR/help" "$BATS_TEST_TMPDIR/page"
}
