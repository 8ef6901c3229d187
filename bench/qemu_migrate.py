#!/usr/bin/env python3
"""Migrates QEMU's software CPU with 64 MiB and no guest over a local socket, again and again.

The floor of the figure migrate_downtime. For each line on standard input the machine moves to
a new QEMU, and a line comes out: the microseconds from the event STOP of the source to the
event RESUME of the destination, and the milliseconds that query-migrate calls downtime.
"""
import json
import os
import subprocess
import sys
import tempfile

MEMORY_MIB = 64


class Machine:
    """One QEMU, spoken to by QMP over its standard input and output."""

    def __init__(self, qemu, incoming=None):
        command = [qemu, "-accel", "tcg", "-m", str(MEMORY_MIB), "-nodefaults", "-no-user-config",
                   "-display", "none", "-qmp", "stdio"]
        if incoming:
            command += ["-incoming", "unix:" + incoming]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        stderr=subprocess.DEVNULL)
        self.events = []
        self.read()
        self.ask("qmp_capabilities")

    def read(self):
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError("QEMU has ended")
        message = json.loads(line)
        if "event" in message:
            self.events.append(message)
        return message

    def ask(self, command, **arguments):
        request = {"execute": command}
        if arguments:
            request["arguments"] = arguments
        self.process.stdin.write(json.dumps(request).encode() + b"\n")
        self.process.stdin.flush()
        while True:
            answer = self.read()
            if "return" in answer:
                return answer["return"]
            if "error" in answer:
                raise RuntimeError("%s: %s" % (command, answer["error"]["desc"]))

    def time_of(self, name):
        """Waits for an event; its time in microseconds."""
        while not any(event["event"] == name for event in self.events):
            self.read()
        stamp = [e for e in self.events if e["event"] == name][-1]["timestamp"]
        return stamp["seconds"] * 1000000 + stamp["microseconds"]

    def end(self):
        self.process.kill()
        self.process.wait()


def move(source, target, path):
    """Gives the downtime: between the events, and as QEMU counts it."""
    source.ask("migrate", uri="unix:" + path)
    resumed = target.time_of("RESUME")
    stopped = source.time_of("STOP")
    while True:
        state = source.ask("query-migrate")
        if state["status"] == "completed":
            return resumed - stopped, state["downtime"]
        if state["status"] in ("failed", "cancelled"):
            raise RuntimeError("the migration failed")


def main():
    qemu = sys.argv[1]
    machine = Machine(qemu)
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "socket")
        try:
            for _ in sys.stdin:
                target = Machine(qemu, path)
                times = move(machine, target, path)
                machine.end()
                machine = target
                print(*times, flush=True)
        finally:
            machine.end()


main()
