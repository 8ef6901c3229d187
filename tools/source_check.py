#!/usr/bin/env python3
"""Checks the text of the C sources against the rules that need no compiler.

Every file opens with a comment that says what it is; lines have at most 100
columns and no tab; nothing is left undone; and functions of libc that invite
errors are not used outside of tests.

Usage: source_check.py [--self-test] [ROOT]
"""

import os
import re
import sys

FOLDERS = ("abi", "include", "src", "guest", "machine", "cli", "bench", "examples", "tests")
COLUMNS = 100

# Unbounded copies, conversions that hide errors, and names that race.
FORBIDDEN = ("gets", "strcpy", "strcat", "stpcpy", "sprintf", "vsprintf", "strncpy", "strncat",
             "atoi", "atol", "atoll", "atof", "alloca", "strtok", "tmpnam", "mktemp", "system",
             "popen")
FORBIDDEN_CALL = re.compile(r"(?<![\w.>])(" + "|".join(FORBIDDEN) + r")\s*\(")
# Tests work on texts of their own, and guests are programs as people write them.
TRUSTED = ("tests/",)
UNDONE = re.compile(r"\b(TO" r"DO|FIX" r"ME|X" r"XX|HA" r"CK)\b")
STRIP = re.compile(r'/\*.*?\*/|//[^\n]*|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'', re.S)


def blank(match):
    """Keeps the lines of what is cut out, so that numbers stay right."""
    return "\n" * match.group(0).count("\n") or " "


def problems_of(path, text):
    lines = text.split("\n")
    if not text.lstrip().startswith(("/*", "//")):
        yield f"{path}:1: no comment at the head of the file"
    for number, line in enumerate(lines, 1):
        if len(line) > COLUMNS:
            yield f"{path}:{number}: {len(line)} columns; at most {COLUMNS}"
        if "\t" in line and not path.endswith(".S"):
            yield f"{path}:{number}: a tab"
        if line.rstrip() != line:
            yield f"{path}:{number}: space at the end of the line"
        if UNDONE.search(line):
            yield f"{path}:{number}: left undone: {line.strip()}"
    if path.startswith(TRUSTED):
        return
    for number, line in enumerate(STRIP.sub(blank, text).split("\n"), 1):
        for name in FORBIDDEN_CALL.findall(line):
            yield f"{path}:{number}: {name}() is not used here"


def sources(root):
    for top in FOLDERS:
        for where, folders, names in os.walk(os.path.join(root, top)):
            folders.sort()
            for name in sorted(names):
                if name.endswith((".c", ".h", ".S", ".cc", ".cpp")):
                    yield os.path.relpath(os.path.join(where, name), root)


def self_test():
    good = '/* What it is. */\nint f(void)\n{\n    return my_system("gets(x) strcpy()");\n}\n'
    bad = ("int x;\n",
           "/* a */\n" + "x" * (COLUMNS + 1) + "\n",
           "/* a */\n\tint x;\n",
           "/* a */\nint x; \n",
           "/* TO" + "DO */\n",
           "/* a */\nint x = atoi(y);\n",
           "/* a */\n/* fine */ strcpy (a, b);\n")
    ok = not list(problems_of("src/a.c", good))
    return ok and all(len(list(problems_of("src/a.c", text))) == 1 for text in bad)


def main(arguments):
    if "--self-test" in arguments:
        ok = self_test()
        print("source check: self-test", "passed" if ok else "failed")
        return 0 if ok else 1
    root = arguments[0] if arguments else os.path.join(os.path.dirname(__file__), "..")
    count, problems = 0, []
    for path in sources(root):
        with open(os.path.join(root, path), encoding="utf-8") as file:
            problems.extend(problems_of(path, file.read()))
        count += 1
    for problem in problems:
        print(problem)
    print(f"source check: {count} files, {len(problems)} problems")
    return 1 if problems or count == 0 else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
