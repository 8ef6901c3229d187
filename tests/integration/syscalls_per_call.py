#!/usr/bin/env python3
"""Proves what one more call costs: system calls and allocations.

Runs call_loop under strace with few and with many calls. Whatever the program
does besides calling is in both; the difference is what the additional calls
cost. On kvm that must be one KVM_RUN for each entry into the guest (one for a
call or a batch, two with a host function inside) and nothing else; on soft nothing at
all. No call may ask for memory.

Usage: syscalls_per_call.py CALL_LOOP GUEST, with MAYFLY_TEST_BACKEND naming the
backend. Exit status 77: skipped, because strace or the backend is missing.
"""

import collections
import os
import re
import shutil
import subprocess
import sys
import tempfile

FEW, MANY = 100, 1100
SKIP = 77
# "123 ioctl(5, KVM_RUN, 0) = 0"; lines of signals and exits have another form.
LINE = re.compile(r"^\d+\s+([a-z_0-9]+)\(([^)]*)")


def skip(reason):
    print(f"skipped: {reason}")
    sys.exit(SKIP)


def count(trace):
    """The system calls of a trace by name, ioctl by name and request."""
    counts = collections.Counter()
    for line in trace:
        match = LINE.match(line)
        if not match:
            continue
        name, arguments = match.groups()
        if name == "ioctl":
            request = (arguments.split(",") + [""])[1].strip()
            name = "KVM_RUN" if request in ("KVM_RUN", "0xae80") else f"ioctl {request}"
        counts[name] += 1
    return counts


def run(command, backend, guest, function, calls, batch):
    """Counts of the system calls of one run, and its allocations."""
    arguments = [command, backend, guest, function, str(calls)] + ([str(batch)] if batch else [])
    with tempfile.NamedTemporaryFile("r") as trace:
        result = subprocess.run(["strace", "-f", "-o", trace.name] + arguments,
                                stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                text=True, timeout=60, check=False)
        if result.returncode == SKIP:
            skip(result.stderr.strip())
        if result.returncode != 0:
            sys.exit(f"{' '.join(arguments)}: status {result.returncode}\n{result.stderr}")
        return count(trace), int(result.stdout.split()[-1])


def strace_works():
    """Whether strace is there and may trace (containers often forbid it)."""
    if shutil.which("strace") is None:
        return False
    return subprocess.run(["strace", "-o", "/dev/null", "true"], stdout=subprocess.DEVNULL,
                          stderr=subprocess.DEVNULL, timeout=30, check=False).returncode == 0


def check(command, backend, guest, function, entries, batch=0):
    """Compares few calls with many; True when the cost is what it must be."""
    few, few_allocations = run(command, backend, guest, function, FEW, batch)
    many, many_allocations = run(command, backend, guest, function, MANY, batch)
    more = MANY - FEW
    cost = {name: many[name] - few[name] for name in many | few if many[name] != few[name]}
    expected = {"KVM_RUN": more * entries} if backend == "kvm" else {}
    what = f"batches of {batch}" if batch else "calls"
    print(f"{backend} {function}: {more} more {what} cost {cost or 'no system call'}, "
          f"{many_allocations - few_allocations} allocations")
    if cost != expected:
        print(f"  but should cost {expected or 'no system call'}")
    if many_allocations != 0:
        print(f"  {many_allocations} allocations in {MANY} calls, but there should be none")
    return cost == expected and many_allocations == 0


def main():
    command, guest = sys.argv[1:]
    backend = os.environ.get("MAYFLY_TEST_BACKEND", "kvm")
    if not strace_works():
        skip("strace is missing or not allowed to trace")
    # Every case runs, also after one that failed.
    results = [check(command, backend, guest, "echo", 1),
               check(command, backend, guest, "echo_tick", 2),
               check(command, backend, guest, "echo", 1, batch=64)]
    sys.exit(0 if all(results) else 1)


if __name__ == "__main__":
    main()
