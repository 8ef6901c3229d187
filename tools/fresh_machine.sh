#!/usr/bin/env bash
# Tries the project on a fresh Debian 12 (or --suite) in a folder: base system, a clone of this
# repository, ./quickstart test; with /dev/kvm and without. Must run as root.
#
# usage: fresh_machine.sh FOLDER [--mirror URL] [--suite NAME] [--no-kvm | --kvm]
#                         [COMMAND...]
#
# FOLDER/base keeps the base system for the next time; FOLDER/root is made anew.
# COMMAND is what runs in the clone; default: ./quickstart test.
set -eu

project=$(cd "$(dirname "$0")/.." && pwd)
suite=bookworm
mirror=""
modes="kvm no-kvm"

[ $# -ge 1 ] || {
    sed -n '2,9s/^# \{0,1\}//p' "$0"
    exit 2
}
folder=$1
shift
while [ $# -gt 0 ]; do
    case $1 in
    --mirror) mirror=$2 && shift 2 ;;
    --suite) suite=$2 && shift 2 ;;
    --no-kvm) modes=no-kvm && shift ;;
    --kvm) modes=kvm && shift ;;
    *) break ;;
    esac
done
[ $# -gt 0 ] || set -- ./quickstart test

mkdir -p "$folder"
folder=$(cd "$folder" && pwd)
root=$folder/root

# All of them, also when an earlier run was killed.
unmount()
{
    local place
    for place in dev/kvm dev/shm dev/pts dev proc sys; do
        while mountpoint -q "$root/$place"; do
            umount "$root/$place" || return 1
        done
    done
}

# The base system, once; apt's settings of this host, because a mirror that works
# here is the one that works there.
make_base()
{
    [ -x "$folder/base/bin/sh" ] && return
    local components=main
    case $suite in
    jammy | noble) components=main,universe ;; # Ubuntu: jansson and more are in universe
    esac
    # shellcheck disable=SC2086 # no mirror means no argument
    debootstrap --variant=minbase --components=$components "$suite" "$folder/base.new" $mirror
    mv "$folder/base.new" "$folder/base"
}

# shellcheck source=/dev/null
copy_host_settings()
{
    local file
    for file in sources.list sources.list.d preferences.d apt.conf.d keyrings trusted.gpg.d; do
        if [ -e "/etc/apt/$file" ] && [ "$(. /etc/os-release && echo "$VERSION_CODENAME")" = "$suite" ]; then
            rm -rf "$root/etc/apt/$file"
            cp -a "/etc/apt/$file" "$root/etc/apt/$file"
        fi
    done
    [ ! -d /usr/share/keyrings ] || cp -an /usr/share/keyrings "$root/usr/share/"
    cp -L /etc/resolv.conf "$root/etc/resolv.conf"
    cp -L /etc/hosts "$root/etc/hosts"
}

# Only as many devices as a container has.
mount_devices()
{
    mount -t proc proc "$root/proc"
    mount -t sysfs -o ro sysfs "$root/sys"
    mount -t tmpfs -o mode=755 dev "$root/dev"
    mknod -m 666 "$root/dev/null" c 1 3
    mknod -m 666 "$root/dev/zero" c 1 5
    mknod -m 666 "$root/dev/full" c 1 7
    mknod -m 666 "$root/dev/random" c 1 8
    mknod -m 666 "$root/dev/urandom" c 1 9
    mknod -m 666 "$root/dev/tty" c 5 0
    ln -s /proc/self/fd "$root/dev/fd"
    mkdir "$root/dev/shm" "$root/dev/pts"
    mount -t tmpfs shm "$root/dev/shm"
    mount -t devpts devpts "$root/dev/pts"
    ln -s pts/ptmx "$root/dev/ptmx"
}

try()
{
    local mode=$1
    shift
    echo "=== $suite, $mode: $*"
    # Never into a file system that is mounted there: it may be this machine's own.
    ! grep -q " $root/" /proc/mounts || {
        echo "something is still mounted below $root" >&2
        return 1
    }
    rm -rf --one-file-system "$root"
    cp -a "$folder/base" "$root"
    copy_host_settings
    mount_devices
    if [ "$mode" = kvm ]; then
        mknod -m 600 "$root/dev/kvm" c 10 232
    fi
    # Only what is committed comes along, as for anybody else who clones.
    rm -rf "$root/src/mayfly"
    mkdir -p "$root/src"
    git clone -q "$project" "$root/src/mayfly"
    # Arguments, not text: what stands in COMMAND keeps its words.
    local status=0
    env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LANG=C.UTF-8 CI=true TERM=dumb \
        chroot "$root" /bin/sh -c 'cd /src/mayfly && exec "$@"' sh "$@" </dev/null || status=$?
    unmount
    echo "=== $suite, $mode: exit status $status"
    return $status
}

trap unmount EXIT
unmount
make_base
result=0
for mode in $modes; do
    try "$mode" "$@" || result=1
done
exit $result
