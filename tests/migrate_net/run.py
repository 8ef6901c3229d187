#!/usr/bin/env python3
"""Moves guests that write to their memory over a link of a given rate.

    run.py --mayfly PATH --guest PATH [--figures]

Two network namespaces with a pair of virtual Ethernet devices between them, each limited by a
token bucket. In the one `mayfly run`, in the other `mayfly receive`; the guest (dirty.c) writes

  half      at half of the link's rate: the copy converges, and the guest is not held back;
  faster    faster than the link: with --postcopy it goes on at the receiver before its pages
            are there, and nothing is sent much more often than once.

What it wrote is checked by the guest itself at the end. How long things took depends on what
else the machine does: that is only looked at with --figures, for which guests are larger, and
each is moved three times. Exits with 77 where namespaces or their tools are not there, and says
which.
"""
import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time

RATE_MBIT = 200
BYTES_PER_S = RATE_MBIT * 1000000 / 8
# What TCP, IP and Ethernet add to 1448 bytes.
PAYLOAD = 1448 / 1514
SOURCE, TARGET = "10.99.0.1", "10.99.0.2"
WAIT_S = 60
FIGURE_RUNS = 3


class Case:
    def __init__(self, name, mib, mib_per_s, seconds, options):
        self.name, self.mib, self.options = name, mib, options
        self.arguments = [str(mib), str(mib_per_s), str(seconds)]
        self.postcopy = "--postcopy" in options


CASES = [
    Case("half", 8, 12, 2, ["--downtime-limit", "10ms"]),
    Case("faster", 16, 60, 2, ["--postcopy", "--downtime-limit", "10ms"]),
]
LARGE = [
    Case("half", 32, 12, 8, ["--downtime-limit", "10ms"]),
    Case("faster", 48, 60, 6, ["--postcopy", "--downtime-limit", "10ms"]),
]


def skip(why):
    print("skipped: " + why)
    sys.exit(77)


def run(*command):
    subprocess.run(command, check=True)


class Link:
    """The two namespaces."""

    def __init__(self):
        self.names = ["mayfly%d-%s" % (os.getpid(), end) for end in ("a", "b")]

    def __enter__(self):
        a, b = self.names
        try:
            for name in self.names:
                run("ip", "netns", "add", name)
            run("ip", "-n", a, "link", "add", "link0", "type", "veth", "peer", "name", "link0",
                "netns", b)
            for name, address in zip(self.names, (SOURCE, TARGET)):
                run("ip", "-n", name, "addr", "add", address + "/30", "dev", "link0")
                run("ip", "-n", name, "link", "set", "link0", "up")
                run("ip", "netns", "exec", name, "tc", "qdisc", "add", "dev", "link0", "root", "tbf",
                    "rate", "%dmbit" % RATE_MBIT, "burst", "64k", "latency", "20ms")
        except subprocess.CalledProcessError:
            self.__exit__()
            skip("this host does not let us make network namespaces with a limited link")
        return self

    def __exit__(self, *_):
        for name in self.names:
            subprocess.run(["ip", "netns", "del", name], stderr=subprocess.DEVNULL)

    def command(self, end, *command):
        return ["ip", "netns", "exec", self.names[end], *command]


def wait_for(path, text):
    """Until a file has the text; gives its contents."""
    end = time.monotonic() + WAIT_S
    while time.monotonic() < end:
        with open(path, encoding="utf-8") as file:
            contents = file.read()
        if text in contents:
            return contents
        time.sleep(0.02)
    raise AssertionError("%s did not get %r, but %r" % (os.path.basename(path), text, contents))


class Side:
    """A process whose output goes to files."""

    def __init__(self, folder, name, command):
        self.path = os.path.join(folder, name)
        with open(self.path, "w", encoding="utf-8") as file:
            self.process = subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT,
                                            stdin=subprocess.DEVNULL,
                                            env=dict(os.environ, XDG_RUNTIME_DIR=folder))

    def end(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        self.process.wait(WAIT_S)


def move(link, args, case, folder):
    """One guest is moved; gives the summary."""
    sides = []
    try:
        sides.append(Side(folder, "receive", link.command(
            1, args.mayfly, "receive", "--listen", "tcp:%s:0" % TARGET, "--insecure")))
        heard = wait_for(sides[0].path, "listening on ")
        address = heard.split("listening on ")[1].split()[0]
        sides.append(Side(folder, "run", link.command(
            0, args.mayfly, "run", "--name", "job", args.guest, *case.arguments)))
        wait_for(sides[1].path, "filled")
        moved = subprocess.run(
            link.command(0, args.mayfly, "migrate", "job", address, "--insecure", "--json",
                         *case.options),
            stdout=subprocess.PIPE, text=True, check=False,
            env=dict(os.environ, XDG_RUNTIME_DIR=folder))
        if moved.returncode != 0:
            raise AssertionError("mayfly migrate: " + moved.stdout)
        wait_for(sides[0].path, "all pages are right")
        return json.loads(moved.stdout.splitlines()[-1])["summary"]
    finally:
        for side in sides:
            side.end()


def check(case, summary, figures):
    """What must hold; says what does not."""
    used = summary["pages_total"] * 4096
    # In the first round a part, then everything that was written, once.
    if case.postcopy and summary["bytes_sent"] > 2.1 * used:
        return "%d bytes were sent for %d" % (summary["bytes_sent"], used)
    if not case.postcopy and summary["round"] < 2:
        return "one round was enough for a guest that writes"
    if not figures:
        return None
    least = used / (BYTES_PER_S * PAYLOAD)
    if summary["downtime_ns"] > 10e6:
        return "the downtime is above the limit"
    if case.postcopy and summary["total_ns"] / 1e9 > 2 * least:
        return "it took more than twice as long as the memory takes (%.2f s)" % least
    if summary["throttle_percent"] > 0:
        return "the guest was held back"
    return None


def show(case, summary):
    used = summary["pages_total"] * 4096
    print("%-7s %2d rounds, %5.1f MiB in use, %5.1f MiB sent, %2d %% held back, "
          "downtime %5.2f ms, total %.2f of memory / bandwidth" % (
              case.name, summary["round"], used / (1 << 20), summary["bytes_sent"] / (1 << 20),
              summary["throttle_percent"], summary["downtime_ns"] / 1e6,
              summary["total_ns"] / 1e9 * BYTES_PER_S * PAYLOAD / used), flush=True)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--mayfly", required=True)
    parser.add_argument("--guest", required=True)
    parser.add_argument("--figures", action="store_true")
    args = parser.parse_args()
    if os.geteuid() != 0:
        skip("network namespaces need root")
    for tool in ("ip", "tc"):
        if not shutil.which(tool):
            skip("%s is not installed (Debian and Ubuntu: iproute2)" % tool)
    failures = 0
    with Link() as link:
        for case in LARGE if args.figures else CASES:
            summaries = []
            for _ in range(FIGURE_RUNS if args.figures else 1):
                with tempfile.TemporaryDirectory() as folder:
                    summaries.append(move(link, args, case, folder))
                show(case, summaries[-1])
            # Of figures the middle one counts, as in mayfly bench.
            summaries.sort(key=lambda summary: summary["downtime_ns"])
            wrong = check(case, summaries[len(summaries) // 2], args.figures)
            if wrong:
                print("%s: %s" % (case.name, wrong))
                failures += 1
    return 1 if failures else 0


sys.exit(main())
