#!/usr/bin/env python3
"""Holds the documents to what they show.

A fenced block with one of these comments on the line before it is checked:

  <!-- file: PATH -->        the block is that file, to the byte
  <!-- part of: PATH -->     the block stands in that file
  <!-- compile: host -->     C that compiles against the host's headers; guest for
                             the guest's, guest-c++ likewise
  <!-- compile: host body --> the same inside of a function (see PRELUDE)
  <!-- run -->               a console session: lines that begin with "$ " are
                             commands, the lines behind each are what it prints.
                             A line "..." stands for any lines, "..." inside of a
                             line for anything. A command may fail only when the
                             next one is "echo $?".
  <!-- frame: call NAME ID RECORD STRING -->   the bytes of such a CALL frame in
                             hexadecimal, as abi/ABI.md says (encoded here anew)

Commands run in a folder that looks like the source tree after a build: build/,
examples/ and so on. Relative links of all documents must lead to files, too.

Usage: doc_listings.py SOURCE BUILD [--no-run] [DOCUMENT...]
Exit status: 0, 1 (something differs), 77 (something was skipped: no backend
works, no busybox, or no compiler).
"""

import os
import re
import shutil
import struct
import subprocess
import sys
import tempfile

FENCE = re.compile(r"^<!-- (?P<what>[^\n]*?) -->\n\n?```(?P<lang>[\w+-]*)\n(?P<body>.*?)^```$",
                   re.M | re.S)
KNOWN = re.compile(r"^(file|part of|compile|run|frame)\b")
LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)")
SECONDS = 60
MARK = "--end-of-command--"

PRELUDE = {
    "host": """#include <mayfly/mayfly.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
int example(struct mf_image *image, struct mf_host *host, struct mf_sandbox *sandbox,
            struct mf_error *err, struct mf_value *result);
int example(struct mf_image *image, struct mf_host *host, struct mf_sandbox *sandbox,
            struct mf_error *err, struct mf_value *result)
{
""",
    "guest": """#include <mayfly/guest.h>
#include <stdlib.h>
MF_IMPORT(title, "string title(string name)");
struct mf_value example(const struct mf_value *arg);
struct mf_value example(const struct mf_value *arg)
{
""",
}
ENDING = {"host": "return 0;\n}\n", "guest": "return mf_void();\n}\n"}


def documents(source):
    yield from sorted(n for n in os.listdir(source) if n.endswith(".md"))
    for top in ("abi", "bench", "docs"):
        for where, folders, names in os.walk(os.path.join(source, top)):
            folders.sort()
            for name in sorted(names):
                if name.endswith(".md"):
                    yield os.path.relpath(os.path.join(where, name), source)


class Checker:
    def __init__(self, source, build, run):
        self.source, self.build, self.run_blocks = source, build, run
        self.problems, self.counts, self.skipped = [], {}, 0
        self.stage = tempfile.mkdtemp(prefix="mayfly-docs-")
        for name in os.listdir(source):
            if not name.startswith((".", "build")):
                os.symlink(os.path.join(source, name), os.path.join(self.stage, name))
        os.symlink(build, os.path.join(self.stage, "build"))
        self.backend = (self.run_blocks and self.usable() and
                        os.path.exists(os.path.join(build, "examples", "greet")))

    def usable(self):
        """Whether any backend works here."""
        done = subprocess.run([os.path.join(self.build, "mayfly"), "doctor"],
                              stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                              timeout=SECONDS, check=False)
        return done.returncode == 0

    def problem(self, path, text, offset, what):
        self.problems.append(f"{path}:{text.count(chr(10), 0, offset) + 1}: {what}")

    def check(self, path):
        with open(os.path.join(self.source, path), encoding="utf-8") as file:
            text = file.read()
        marked = set()
        for match in FENCE.finditer(text):
            what = match.group("what").strip()
            if not KNOWN.match(what):
                continue
            marked.add(match.start())
            kind, _, rest = what.partition(":")
            kind = kind.strip()
            self.counts[kind] = self.counts.get(kind, 0) + 1
            why = getattr(self, "check_" + kind.replace(" ", "_"))(match.group("body"), rest.strip())
            if why:
                self.problem(path, text, match.start(), why)
        for match in re.finditer(r"^<!-- (file|part of|compile|run|frame)\b", text, re.M):
            if match.start() not in marked:
                self.problem(path, text, match.start(), "no fenced block behind this comment")
        self.check_links(path, text)

    def check_links(self, path, text):
        plain = re.sub(r"^```.*?^```", lambda m: "\n" * m.group(0).count("\n"), text,
                       flags=re.M | re.S)
        for match in LINK.finditer(plain):
            target = match.group(1).split("#")[0]
            if not target or re.match(r"[a-z]+:", target):
                continue
            self.counts["link"] = self.counts.get("link", 0) + 1
            where = os.path.join(self.source, os.path.dirname(path), target)
            if not os.path.exists(where):
                self.problem(path, plain, match.start(), f"no such file: {target}")

    def read(self, name):
        with open(os.path.join(self.source, name), encoding="utf-8") as file:
            return file.read()

    def check_file(self, body, name):
        return None if body == self.read(name) else f"differs from {name}"

    def check_part_of(self, body, name):
        return None if body in self.read(name) else f"does not stand in {name}"

    def check_compile(self, body, how):
        side, _, form = how.partition(" ")
        cplusplus = side.endswith("-c++")
        side = side.removesuffix("-c++") if hasattr(side, "removesuffix") else side.replace("-c++", "")
        if form == "body":
            body = PRELUDE[side] + body + ENDING[side]
        compiler = shutil.which("c++" if cplusplus else "cc")
        if not compiler:
            self.skipped += 1
            return None
        language = ["-x", "c++", "-std=c++17"] if cplusplus else ["-x", "c", "-std=gnu11"]
        done = subprocess.run(
            [compiler, *language, "-fsyntax-only", "-Wall", "-Wextra", "-Werror",
             "-Wno-unused-variable", "-Wno-unused-parameter", "-Wno-unused-function",
             "-I" + os.path.join(self.source, "include"), "-"],
            input=body, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, universal_newlines=True,
            timeout=SECONDS, check=False)
        return None if done.returncode == 0 else "does not compile:\n" + done.stdout

    def check_run(self, body, _):
        if not self.backend:
            self.skipped += 1
            return None
        commands = parse_session(body)
        if not commands:
            return "a session without commands"
        if "/bin/busybox" in body and not os.path.exists("/bin/busybox"):
            self.skipped += 1
            return None
        script = "".join(f"{command}\n__status=$?; echo; echo {MARK} $__status; (exit $__status)\n"
                         for command, _ in commands)
        done = subprocess.run(["bash", "-c", script], cwd=self.stage, stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                              universal_newlines=True, timeout=SECONDS, check=False)
        outputs = re.findall(rf"(.*?)\n{MARK} (\d+)\n", done.stdout, re.S)
        if len(outputs) != len(commands):
            return "the session ended early:\n" + done.stdout
        for number, ((command, expected), (output, status)) in enumerate(zip(commands, outputs)):
            if not matches(expected, output.rstrip("\n").split("\n") if output.strip() else []):
                return f"{command}\nprints:\n{output}"
            last = number + 1 == len(commands)
            if status != "0" and (last or commands[number + 1][0] != "echo $?"):
                return f"{command}\nends with status {status}; the document does not say so"
        return None

    def check_frame(self, body, what):
        kind, function, number, record, argument = what.split(" ", 4)
        if kind != "call":
            return f"no such frame: {kind} ({function})"
        shown = re.findall(r"\b[0-9a-f]{2}\b", re.sub(r"^\s*[0-9a-f]{4}|#.*$|;.*$", "", body, flags=re.M))
        wanted = encode_call(int(number, 0), int(record, 0), argument.encode())
        return None if bytes.fromhex("".join(shown)) == wanted else \
            "the bytes are " + wanted.hex(" ")


def encode_call(number, record, argument):
    """A CALL frame with one string value, as abi/ABI.md describes it."""
    padded = argument + b"\0"
    padded += bytes(-len(padded) % 8)
    values = struct.pack("<II", 8, len(argument)) + padded
    size = 32 + len(values)
    size += -size % 64
    frame = struct.pack("<IHHQIiQ", size, 1, 1, number, record, 0, 0) + values
    return frame + bytes(size - len(frame))


def parse_session(body):
    """[(command, [expected line])]; a command goes on behind a backslash."""
    commands = []
    for line in body.rstrip("\n").split("\n"):
        if line.startswith("$ "):
            commands.append([line[2:], []])
        elif commands and commands[-1][0].endswith("\\") and not commands[-1][1]:
            commands[-1][0] = commands[-1][0][:-1] + line.strip()
        elif commands:
            commands[-1][1].append(line)
    return [(command, trimmed(expected)) for command, expected in commands]


def trimmed(lines):
    while lines and not lines[-1].strip():
        lines = lines[:-1]
    return lines


def matches(expected, output):
    """Whether the lines are the expected ones, with "..." standing for anything."""
    pattern = ""
    for line in expected:
        if line.strip() == "...":
            pattern += r"(?:[^\n]*\n)*"
        else:
            pattern += ".*?".join(re.escape(part) for part in line.split("...")) + r"[ ]*\n"
    return re.fullmatch(pattern, "".join(line.rstrip() + "\n" for line in output)) is not None


def main(arguments):
    run = "--no-run" not in arguments
    words = [a for a in arguments if not a.startswith("--")]
    if len(words) < 2:
        print(__doc__)
        return 2
    source, build = os.path.abspath(words[0]), os.path.abspath(words[1])
    checker = Checker(source, build, run)
    try:
        for path in words[2:] or documents(source):
            checker.check(path)
    finally:
        shutil.rmtree(checker.stage)
    for problem in checker.problems:
        print(problem)
    print("documents:", ", ".join(f"{n} {kind}" for kind, n in sorted(checker.counts.items())),
          f"checked; {checker.skipped} skipped, {len(checker.problems)} wrong")
    if checker.problems:
        return 1
    return 77 if checker.skipped else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
