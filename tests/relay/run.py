#!/usr/bin/env python3
"""Runs the cases of a guest folder with mayfly_relay, and sees to it that VMs were exchanged.

    run.py LOG HOW run_case.py ARGUMENT...

LOG is a file of this test's own; HOW is `same` or `cross`, see relay.c. The exit status is
that of run_case.py, or 1 when no VM was exchanged on the way.
"""

import os
import subprocess
import sys


def main():
    log, how, command = sys.argv[1], sys.argv[2], sys.argv[3:]
    if os.path.exists(log):
        os.unlink(log)
    env = dict(os.environ, MAYFLY_RELAY=how, MAYFLY_RELAY_LOG=log)
    status = subprocess.run([sys.executable] + command, env=env).returncode
    if status != 0:
        return status
    exits = exchanges = refusals = 0
    with open(log, encoding="ascii") as lines:
        for line in lines:
            counts = [int(word) for word in line.split()]
            exits, exchanges, refusals = (
                total + count for total, count in zip((exits, exchanges, refusals), counts))
    print(f"{exits} exits, {exchanges} exchanges of the VM, {refusals} times AVX was refused")
    return 0 if exchanges > 0 else 1


if __name__ == "__main__":
    sys.exit(main())
