#!/usr/bin/env python3
"""Checks what the built libraries export and need.

libmayfly.so exports exactly the functions that the public headers mark MF_API,
needs the C library and what snapshot files need, and is hardened (full RELRO, no executable stack). The
module of the soft backend exports its one table. libmayfly.a defines no other
global symbols than the shared library.

Usage: symbol_check.py ROOT LIBRARY [--module MODULE] [--archive ARCHIVE] [--instrumented]
"""

import argparse
import os
import re
import subprocess
import sys

API = re.compile(r"MF_API\s[^;{(]*?\b(mf_\w+)\s*\(")
COMMENT = re.compile(r"/\*.*?\*/", re.S)
NEEDS = re.compile(r"^(libc\.so\.6|ld-linux[\w.-]*|lib(nettle|xxhash|zstd)\.so\.\d+)$")
MODULE_EXPORTS = {"mf_backend_ops"}


def output(*command):
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def declared(root):
    """The names of the functions that the public headers declare for hosts."""
    names = set()
    folder = os.path.join(root, "include", "mayfly")
    for name in os.listdir(folder):
        if name.endswith(".h"):
            with open(os.path.join(folder, name), encoding="utf-8") as file:
                names.update(API.findall(COMMENT.sub("", file.read())))
    return names


def exported(library):
    """The dynamic symbols that a library defines, without those of versions."""
    names = set()
    for line in output("nm", "-D", "--defined-only", library).splitlines():
        kind, name = line.split()[-2:]
        if kind != "A":
            names.add(name.split("@")[0])
    return names


def check(root, arguments):
    api, found = declared(root), exported(arguments.library)
    if not api:
        yield "found no MF_API declaration in include/mayfly"
    for name in sorted(api - found):
        yield f"{name} is declared MF_API, but is not exported"
    for name in sorted(found - api):
        yield f"{name} is exported, but no public header declares it"
    if arguments.module:
        for name in sorted(exported(arguments.module) ^ MODULE_EXPORTS):
            yield f"the module exports {name} or fails to"
    if arguments.instrumented:
        return
    for line in output("nm", "-g", "--defined-only", arguments.archive).splitlines():
        if len(line.split()) == 3 and line.split()[2] not in api:
            yield f"{line.split()[2]} is global in {arguments.archive}, but not public"
    dynamic = output("readelf", "-dW", arguments.library)
    for needed in re.findall(r"\(NEEDED\).*\[(.*)\]", dynamic):
        if not NEEDS.match(needed):
            yield f"the library needs {needed}, which docs/decisions/0009 does not name"
    if not re.search(r"\(FLAGS.*\bNOW\b", dynamic) or "TEXTREL" in dynamic:
        yield "the library is not linked with -z now, or has text relocations"
    segments = output("readelf", "-lW", arguments.library)
    if "GNU_RELRO" not in segments or re.search(r"GNU_STACK.*RWE", segments):
        yield "the library has no RELRO segment, or an executable stack"


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("root")
    parser.add_argument("library")
    parser.add_argument("--module")
    parser.add_argument("--archive")
    parser.add_argument("--instrumented", action="store_true",
                        help="a sanitizer build, which needs more than the C library")
    arguments = parser.parse_args()
    problems = list(check(os.path.abspath(arguments.root), arguments))
    for problem in problems:
        print(problem)
    print(f"symbol check: {len(problems)} problems")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
