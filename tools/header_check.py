#!/usr/bin/env python3
"""Checks the headers: each compiles alone, and the public API is commented.

Every header of the project is compiled by itself as C11 with GNU extensions, the
public ones also as C++, with warnings as errors. In include/mayfly, every group
of function declarations has a comment right before it.

Usage: header_check.py ROOT [--cc COMPILER] [--cxx COMPILER] [--without FOLDER]
"""

import argparse
import concurrent.futures
import os
import re
import subprocess
import sys

WARNINGS = ["-Wall", "-Wextra", "-Wshadow", "-Wpointer-arith", "-Wundef", "-Werror"]
FOLDERS = ("abi", "include", "src", "guest", "machine", "cli", "bench")

# A declaration of a function: a line in the first column that names mf_x( and is
# no macro, comment or continuation of something else.
DECLARATION = re.compile(r"^(?!static|inline|template|typedef|#|\s|/|\*|})[A-Za-z_].*\bmf_\w+\(")


def headers(root):
    """All headers, relative to root."""
    for top in FOLDERS:
        for where, _, names in sorted(os.walk(os.path.join(root, top))):
            for name in sorted(names):
                if name.endswith(".h"):
                    yield os.path.relpath(os.path.join(where, name), root)


def compile_alone(root, compiler, language, header):
    """Compiles a file that has nothing but the header. Returns what went wrong."""
    include = header[len("include/"):] if header.startswith("include/") else header
    command = [compiler, *language, *WARNINGS, "-fsyntax-only", "-I", os.path.join(root, "src"),
               "-I", root, "-I", os.path.join(root, "include"), "-"]
    # Twice, so that the guard is looked at too.
    text = f'#include "{include}"\n' * 2
    run = subprocess.run(command, input=text, capture_output=True, text=True, check=False)
    return "" if run.returncode == 0 else f"{header}: does not compile alone\n{run.stderr}"


def uncommented(root, header):
    """Public functions whose group of lines follows no comment."""
    with open(os.path.join(root, header), encoding="utf-8") as file:
        lines = file.read().split("\n")
    for number, line in enumerate(lines):
        if not DECLARATION.match(line):
            continue
        # Up to the start of the group: the comment before it is meant for all of it.
        above = number - 1
        while above >= 0 and lines[above].strip() and not lines[above].rstrip().endswith("*/"):
            above -= 1
        if above < 0 or not lines[above].rstrip().endswith("*/"):
            yield f"{header}:{number + 1}: no comment before this declaration: {line.strip()}"


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("root")
    parser.add_argument("--cc", default="cc")
    parser.add_argument("--cxx", default="c++")
    parser.add_argument("--without", default="-", help="a folder that is not built here")
    arguments = parser.parse_args()
    root = os.path.abspath(arguments.root)

    jobs, problems = [], []
    with concurrent.futures.ThreadPoolExecutor(max_workers=2) as pool:
        for header in headers(root):
            if header.startswith(arguments.without):
                continue
            jobs.append((arguments.cc, ["-x", "c", "-std=gnu11"], header))
            if header.startswith("include/"):
                jobs.append((arguments.cxx, ["-x", "c++", "-std=c++11"], header))
                jobs.append((arguments.cxx, ["-x", "c++", "-std=c++20"], header))
                problems.extend(uncommented(root, header))
        problems.extend(pool.map(lambda job: compile_alone(root, *job), jobs))
    problems = [problem for problem in problems if problem]
    for problem in problems:
        print(problem)
    print(f"header check: {len(jobs)} compilations, {len(problems)} problems")
    return 1 if problems or not jobs else 0


if __name__ == "__main__":
    sys.exit(main())
