#!/usr/bin/env bash
# Installs the build into a folder of its own and uses it from outside: a host
# program through pkg-config (shared and static) and through find_package, a guest
# through pkg-config with musl and without a C library, the command, and the man
# pages. Then the folder is moved, and it still works.
#
# A program with the library inside is told where the module of the soft backend is,
# because it can stand anywhere.
#
# usage: install_test.sh CMAKE BUILD SOURCE
set -eu

cmake=$1
build=$2
source=$3
where=$(mktemp -d)
trap 'rm -rf "$where"' EXIT
CC=${CC:-cc}

step()
{
    echo "--- $*"
}

use_prefix()
{
    prefix=$1
    PKG_CONFIG_PATH=$(dirname "$(find "$prefix" -name mayfly.pc)")
    libdir=$(dirname "$PKG_CONFIG_PATH")
    export PKG_CONFIG_PATH
}

# What `greet` answers, by a host program that was built from the installed tree.
expect_greeting()
{
    local answer
    answer=$("$@" "$where/greet") || {
        echo "failed: $*"
        return 1
    }
    echo "$answer"
    case $answer in
    *"Hello, World!"*) ;;
    *)
        echo "no greeting from: $*"
        return 1
        ;;
    esac
}

step "install"
"$cmake" --install "$build" --prefix "$where/first" >/dev/null
use_prefix "$where/first"
for file in include/mayfly/mayfly.h include/mayfly/guest.h bin/mayfly bin/myvmm; do
    [ -e "$prefix/$file" ] || {
        echo "$file was not installed"
        exit 1
    }
done
# A link, whose name is all that says which command it is.
"$prefix/bin/myvmm" --help | grep -q 'mayfly vm' || {
    echo "myvmm is not mayfly vm"
    exit 1
}
pages=$(find "$prefix" -path '*/man/man*' -type f | wc -l)
[ "$pages" -ge 1 ] || {
    echo "no man page was installed"
    exit 1
}

# pkg-config leaves out the flags of a prefix that the compiler searches anyway;
# this one is no such prefix. Words are wanted: these are lists of options.
# shellcheck disable=SC2046
{
    step "a guest through pkg-config, musl"
    musl-gcc -static "$source/examples/greet.c" $(pkg-config --cflags --libs mayfly-guest) \
        -o "$where/greet"

    step "a guest through pkg-config, no C library"
    cat >"$where/bare.c" <<'C'
#include <mayfly/guest.h>
static struct mf_value add(const struct mf_value *arg)
{
    return mf_i32(arg[0].i32 + arg[1].i32);
}
MF_EXPORT(add, "i32 add(i32 a, i32 b)");
C
    $CC -O2 -static -nostdlib -fno-stack-protector "$where/bare.c" \
        $(pkg-config --cflags --libs mayfly-guest-bare) -o "$where/bare"

    step "a host program through pkg-config, shared"
    $CC -Wall -Werror "$source/examples/embed.c" $(pkg-config --cflags --libs mayfly) \
        -o "$where/embed"
    LD_LIBRARY_PATH=$libdir expect_greeting "$where/embed"

    step "a host program through pkg-config, static library"
    $CC "$source/examples/embed.c" $(pkg-config --cflags mayfly) "$libdir/libmayfly.a" \
        $(pkg-config --static --libs mayfly | sed 's/-lmayfly//') -o "$where/embed_static"
    MAYFLY_MODULE_PATH=$libdir/mayfly expect_greeting "$where/embed_static"
}

step "host programs through find_package"
mkdir "$where/project"
cp "$source/examples/embed.c" "$where/project/"
cat >"$where/project/CMakeLists.txt" <<'CMAKE'
cmake_minimum_required(VERSION 3.22)
project(outside LANGUAGES C)
find_package(mayfly 0.1 REQUIRED)
add_executable(embed_shared embed.c)
target_link_libraries(embed_shared PRIVATE mayfly::mayfly)
add_executable(embed_static embed.c)
target_link_libraries(embed_static PRIVATE mayfly::mayfly_static)
if(NOT TARGET mayfly::guest OR NOT TARGET mayfly::guest_bare)
    message(FATAL_ERROR "the package has no guest SDK")
endif()
CMAKE
"$cmake" -S "$where/project" -B "$where/project/build" -G Ninja \
    -DCMAKE_PREFIX_PATH="$prefix" >"$where/log" || {
    cat "$where/log"
    exit 1
}
"$cmake" --build "$where/project/build" >"$where/log" || {
    cat "$where/log"
    exit 1
}
expect_greeting "$where/project/build/embed_shared"
MAYFLY_MODULE_PATH=$libdir/mayfly expect_greeting "$where/project/build/embed_static"

step "the command"
"$prefix/bin/mayfly" call "$where/bare" add 40 2 | grep -x 42
"$prefix/bin/mayfly" call "$where/greet" greet World | grep "Hello, World!"

step "the same after the tree was moved"
mv "$where/first" "$where/second"
use_prefix "$where/second"
"$prefix/bin/mayfly" call "$where/greet" greet World | grep "Hello, World!"
# shellcheck disable=SC2046
$CC "$source/examples/embed.c" $(pkg-config --cflags --libs mayfly) -o "$where/embed"
LD_LIBRARY_PATH=$libdir expect_greeting "$where/embed"
if ls "$libdir"/mayfly/*.so >/dev/null 2>&1; then
    "$prefix/bin/mayfly" call --backend soft "$where/greet" greet World | grep "Hello, World!"
fi
echo "the installed tree works"
