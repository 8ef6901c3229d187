#!/usr/bin/env bats
# The command line itself: help, versions, wrong commands and options. No guest
# runs here.

load helpers

COMMANDS="run call inspect doctor bench"

@test "mayfly alone prints its usage to standard error: status 2" {
    run --separate-stderr mayfly
    status_is 2
    [ -z "$output" ]
    contains "$stderr" "usage: mayfly" "mayfly call"
}

@test "--help, -h and help print the same, with all commands and exit statuses" {
    run mayfly --help
    status_is 0
    local help=$output command status_word
    for command in $COMMANDS; do
        contains "$help" "mayfly $command"
    done
    for status_word in 123 124 125 134 128; do
        contains "$help" "  $status_word  "
    done
    run mayfly -h
    [ "$output" = "$help" ]
    run mayfly help
    [ "$output" = "$help" ]
}

@test "--version names command, library and ABI" {
    run mayfly --version
    status_is 0
    [[ "$output" =~ ^mayfly\ [0-9]+\.[0-9]+\.[0-9]+\ \(library\ [0-9.]+,\ ABI\ [0-9]+\.[0-9]+\)$ ]]
}

@test "every command has --help, -h and 'help COMMAND', which agree" {
    local command help
    for command in $COMMANDS; do
        run mayfly "$command" --help
        status_is 0
        contains "$output" "usage: mayfly $command " "--help" "Options:"
        help=$output
        run mayfly "$command" -h
        [ "$output" = "$help" ]
        run mayfly help "$command"
        status_is 0
        [ "$output" = "$help" ]
    done
}

@test "help that cannot be written is an error" {
    run bash -c '"$MAYFLY" --help >/dev/full'
    status_is 125
    contains "$output" "No space left"
}

@test "an unknown command is refused with a near name" {
    run --separate-stderr mayfly rnu
    status_is 2
    contains "$stderr" "unknown command 'rnu'" "did you mean 'run'?"
    [ -z "$output" ]
    run mayfly xyzzy
    status_is 2
    [[ "$output" != *"did you mean"* ]]
    run mayfly help insepct
    status_is 2
    contains "$output" "did you mean 'inspect'?"
    run mayfly --frob
    status_is 2
    contains "$output" "unknown option --frob"
}

@test "an unknown option is refused with a near name" {
    run --separate-stderr mayfly run --tmieout 5s x
    status_is 2
    contains "$stderr" "unknown option --tmieout" "did you mean --timeout?" "mayfly run --help"
    run mayfly call --frobnicate x y
    status_is 2
    contains "$output" "unknown option --frobnicate"
    run mayfly call -q x y
    status_is 2
    contains "$output" "unknown option -q"
    # An option of another command is none of this one.
    run mayfly inspect --memory 64M x
    status_is 2
    contains "$output" "unknown option --memory"
}

@test "options with and without values" {
    run mayfly call --json=yes x y
    status_is 2
    contains "$output" "--json takes no value"
    run mayfly run --memory
    status_is 2
    contains "$output" "--memory needs a value"
    run mayfly run --backend qemu x
    status_is 2
    contains "$output" "no backend 'qemu'" "auto, kvm or soft"
    run mayfly run --env NAME x
    status_is 2
    contains "$output" "NAME=VALUE"
    run mayfly run --env =x x
    status_is 2
    run mayfly doctor --color sometimes
    status_is 2
    contains "$output" "auto, always or never"
}

@test "bad sizes" {
    local bad
    for bad in "" x 5X -1 1.5M M 64MM 0 0K 99999999999999999999 99999999999G "1 M"; do
        run mayfly run --memory "$bad" x
        status_is 2
        contains "$output" "--memory: '$bad'"
    done
    run mayfly run --memory 0 x
    contains "$output" "above 0"
    run mayfly run --stack 20000000T x
    status_is 2
    contains "$output" "too large"
    run mayfly call --max-output lots x y
    status_is 2
}

@test "bad durations" {
    local bad
    for bad in "" s 5 5x -1s 1.s .5s 0s 0.0000000001s 5ss 99999999999999999999s 9999999999h; do
        run mayfly run --timeout "$bad" x
        status_is 2
        contains "$output" "--timeout: '$bad'"
    done
    run mayfly run --cpu-time 5 x
    status_is 2
    contains "$output" "no unit"
}

@test "good sizes and durations pass the parser" {
    # The missing file is the first thing that is wrong then.
    local good
    for good in 64M 64MiB 65536K 67108864 67108864B 1g 64mb; do
        run mayfly run --memory "$good" /nonexistent
        status_is 125
    done
    for good in 5s 1.5s 200ms 2m 1h 100us 1000000ns 0.5ms none; do
        run mayfly run --timeout "$good" --cpu-time "$good" /nonexistent
        status_is 125
    done
    run mayfly run --max-output none /nonexistent
    status_is 125
}

@test "missing and superfluous operands" {
    run mayfly run
    status_is 2
    run mayfly call
    status_is 2
    contains "$output" "which image and function?"
    run mayfly call x
    status_is 2
    contains "$output" "which function?"
    run mayfly inspect
    status_is 2
    run mayfly inspect a b
    status_is 2
    run mayfly doctor x
    status_is 2
    run mayfly help run call
    status_is 2
}

@test "with --json usage errors are JSON, wherever --json stands" {
    run --separate-stderr mayfly call --json --memory 5X a b
    status_is 2
    [ -z "$stderr" ]
    json 'r["error"]["name"] == "MF_E_ARGUMENT" and "5X" in r["error"]["message"]'
    run --separate-stderr mayfly call --memory 5X --json a b
    status_is 2
    json '"5X" in r["error"]["message"]'
    run --separate-stderr mayfly inspect --jso --frob
    status_is 2
    json '"frob" in r["error"]["message"]'
    run --separate-stderr mayfly inspect /nonexistent --json
    status_is 125
    json 'r["error"]["code"] < 0 and "nonexistent" in r["error"]["message"]'
}

@test "control characters of arguments do not reach the terminal" {
    run mayfly $'r\033[31mu'
    status_is 2
    [[ "$output" != *$'\033'* ]]
    contains "$output" '\x1b[31m'
}
