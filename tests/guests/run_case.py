#!/usr/bin/env python3
"""Runs the cases of one guest folder on one backend.

    run_case.py --mayfly build/mayfly --guests build/tests/guests --backend kvm FOLDER

FOLDER/cases says what to run and what must come of it:

    # a comment
    builds: musl gcc            which builds of the guest (CMakeLists.txt) run the cases;
                                "none" when the folder has no guest of its own
    case NAME
        command: call {guest} echo_i32 -1     words as in a shell; {guest} is the program,
                                              {examples} the folder of built examples
        stdin: text                           one line of input; several add up
        stdin-bytes: 100000                   that many bytes of input instead
        stdout: text                          one expected line; several add up
        stdout-exact: text                    expected output, with no newline behind it
        stdout~: regex                        or: all of the output must match
        stdout-native:                        or: what the program prints outside of Mayfly
        stderr: text                          the same for the error output
        stderr~: regex                        must be found in it; may stand several times
        status: 0                             expected exit status; several are allowed
        only: gcc                             only for these builds
        backend: kvm                          only on this backend, for a reason in a comment
        program: words                        instead of command: not mayfly but this program
        for: 1 20                             run for {n} = 1 to 20

In texts, \\n, \\t, \\xNN and \\\\ are escapes. What is not said is not compared, except the
exit status, which is 0 unless said otherwise.

Exit status: 0 all cases passed; 1 some failed; 77 the backend cannot be used here.
"""

import argparse
import json
import os
import re
import shlex
import subprocess
import sys

TIMEOUT_S = 60
LIST_KEYS = {"stdin", "stdout", "stderr", "stderr~"}
KEYS = LIST_KEYS | {"command", "program", "stdin-bytes", "stdout-exact", "stdout~",
                    "stdout-native", "status", "only", "backend", "for"}


def unescape(text):
    return re.sub(r"\\(n|t|x[0-9a-fA-F]{2}|\\)",
                  lambda m: {"n": "\n", "t": "\t", "\\": "\\"}.get(m[1]) or chr(int(m[1][1:], 16)),
                  text)


def parse(path):
    """The builds and cases of a file; a case is a dictionary with its name in it."""
    builds, cases = ["musl"], []
    with open(path, encoding="utf-8") as lines:
        for number, line in enumerate(lines, 1):
            line = line.rstrip("\n")
            if not line.strip() or line.lstrip().startswith("#"):
                continue
            match = re.fullmatch(r"case (\S+)|(builds):(.*)|\s+(\S+?):(?: (.*))?", line)
            if not match:
                sys.exit(f"{path}:{number}: not understood: {line}")
            name, is_builds, build_names, key, value = match.groups()
            if name:
                cases.append({"name": name})
            elif is_builds:
                builds = build_names.split()
            elif key not in KEYS or not cases:
                sys.exit(f"{path}:{number}: no such key: {key}")
            elif key in LIST_KEYS:
                cases[-1].setdefault(key, []).append(value or "")
            elif key in cases[-1]:
                sys.exit(f"{path}:{number}: {key} stands twice")
            else:
                cases[-1][key] = value or ""
    return builds, cases


def backend_problem(mayfly, backend):
    """Why the backend cannot be used here, or None."""
    done = subprocess.run([mayfly, "doctor", "--json"], capture_output=True, timeout=TIMEOUT_S)
    try:
        for entry in json.loads(done.stdout)["backends"]:
            if entry["name"] == backend:
                return None if entry["usable"] else entry.get("reason", "not usable")
    except (ValueError, KeyError, TypeError):
        sys.exit(f"mayfly doctor --json (status {done.returncode}) was not understood: "
                 f"{done.stdout!r} {done.stderr!r}")
    return "no such backend here"


def text_of(lines):
    return "".join(unescape(line) + "\n" for line in lines)


def native_output(guest, words, stdin):
    """What the program prints as an ordinary process, with the environment of Mayfly's guests."""
    env = {"GLIBC_TUNABLES": "glibc.cpu.hwcaps=-AVX2,-FMA,-FMA4"}
    return subprocess.run([guest] + words[words.index(guest) + 1:], input=stdin, env=env,
                          capture_output=True, timeout=TIMEOUT_S).stdout.decode("latin-1")


def problems(case, out, err, status, native):
    """Yields what is not as expected."""
    statuses = [int(s) for s in case.get("status", "0").split()]
    if status not in statuses:
        yield f"exit status {status}, expected {' or '.join(map(str, statuses))}"
    expected = None
    if "stdout" in case:
        expected = text_of(case["stdout"])
    elif "stdout-exact" in case:
        expected = unescape(case["stdout-exact"])
    elif native is not None:
        expected = native
    if expected is not None and out != expected:
        yield f"stdout {out[:2000]!r}, expected {expected[:2000]!r}"
    if "stdout~" in case and not re.fullmatch(case["stdout~"], out, re.DOTALL):
        yield f"stdout {out[:2000]!r} does not match {case['stdout~']!r}"
    if "stderr" in case and err != text_of(case["stderr"]):
        yield f"stderr {err[:2000]!r}, expected {text_of(case['stderr'])!r}"
    for regex in case.get("stderr~", []):
        if not re.search(regex, err, re.MULTILINE):
            yield f"stderr {err[:2000]!r} has nothing that matches {regex!r}"


def run(case, build, guest, options, n):
    """Runs a case once; returns whether it passed."""
    words = [w.replace("{guest}", guest).replace("{n}", str(n))
             .replace("{examples}", options.examples)
             for w in shlex.split(case.get("program") or case["command"])]
    command = words
    if "command" in case:
        command = [options.mayfly, words[0], "--backend", options.backend] + words[1:]
    stdin = text_of(case.get("stdin", [])).encode("latin-1")
    if "stdin-bytes" in case:
        stdin = (b"0123456789abcde\n" * (int(case["stdin-bytes"]) // 16 + 1))
        stdin = stdin[:int(case["stdin-bytes"])]
    native = native_output(guest, words, stdin) if "stdout-native" in case else None
    try:
        done = subprocess.run(command, input=stdin, capture_output=True, timeout=TIMEOUT_S)
        found = list(problems(case, done.stdout.decode("latin-1"), done.stderr.decode("latin-1"),
                              done.returncode, native))
        stderr = done.stderr.decode("latin-1")
    except subprocess.TimeoutExpired:
        found, stderr = [f"not finished after {TIMEOUT_S} s"], ""
    label = f"{case['name']} [{build}]" + (f" n={n}" if "for" in case else "")
    if not found:
        print(f"ok      {label}")
        return True
    print(f"FAILED  {label}: {shlex.join(command)}")
    for problem in found:
        print(f"        {problem}")
    if stderr:
        print("        " + stderr[:2000].rstrip().replace("\n", "\n        "))
    return False


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--mayfly", required=True)
    parser.add_argument("--guests", required=True, help="where the built guests are")
    parser.add_argument("--examples", default="", help="where the built examples are")
    parser.add_argument("--backend", required=True, choices=["kvm", "soft"])
    parser.add_argument("--case", help="only the case of this name")
    parser.add_argument("--builds", help="only these builds (words)")
    parser.add_argument("--any-backend", action="store_true",
                        help="leave out cases for one backend alone")
    parser.add_argument("folder")
    options = parser.parse_args()

    name = os.path.basename(os.path.normpath(options.folder))
    builds, cases = parse(os.path.join(options.folder, "cases"))
    problem = backend_problem(options.mayfly, options.backend)
    if problem:
        print(f"skipped: guest/{name} on {options.backend}: {problem}")
        return 77
    ran = failed = 0
    for build in builds:
        if options.builds and build not in options.builds.split() + ["none"]:
            continue
        guest = os.path.join(options.guests, name, build)
        if build != "none" and not os.path.exists(guest):
            print(f"skipped: {name} [{build}] was not built, because its compiler is missing")
            continue
        for case in cases:
            if options.case not in (None, case["name"]):
                continue
            if build not in case.get("only", build).split():
                continue
            if case.get("backend", options.backend) != options.backend:
                continue
            if options.any_backend and "backend" in case:
                continue
            first, last = (int(n) for n in case.get("for", "1 1").split())
            for n in range(first, last + 1):
                ran += 1
                failed += not run(case, build, guest, options, n)
    print(f"{ran - failed} of {ran} passed")
    if failed:
        return 1
    return 0 if ran else 77


if __name__ == "__main__":
    sys.exit(main())
