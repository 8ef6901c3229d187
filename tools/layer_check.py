#!/usr/bin/env python3
"""Checks which folder includes which: the layers of the project.

A folder is a layer. The table below says for each one what it may include,
beside system headers and headers of the same folder. `--self-test` shows on a
small tree of its own that each rule fails when it is broken.

Usage: layer_check.py [--self-test] [ROOT]
"""

import os
import re
import sys
import tempfile

# Headers of the library that a guest may include.
GUEST_API = ("mayfly/guest.h", "mayfly/value.h")

# folder: what its files may include, as prefixes of the resolved path below the
# root ("include/" being written as it is in the tree). The longest folder that
# a file is in decides; a file may always include from its own folder.
RULES = {
    "abi": (),
    "machine": (),
    "machine/isa": (),
    "machine/asm": ("machine/isa/", "machine/*"),
    "machine/guest": ("machine/isa/", "machine/*") + tuple("include/" + h for h in GUEST_API),
    "machine/host": ("machine/isa/", "machine/asm/asm.h", "machine/*", "include/mayfly/"),
    "include/mayfly": ("include/mayfly/",),
    "guest": ("abi/",) + tuple("include/" + h for h in GUEST_API),
    "src/base": ("include/mayfly/",),
    "src/mem": ("abi/", "src/base/", "include/mayfly/"),
    "src/vm": ("src/base/", "src/mem/", "src/vm/", "include/mayfly/"),
    "src/vm/kvm": ("src/base/", "src/mem/", "src/vm/*", "include/mayfly/"),
    "src/vm/soft": ("src/base/", "src/mem/", "src/vm/*", "include/mayfly/"),
    "src/sandbox": ("abi/", "src/base/", "src/mem/", "src/vm/*", "include/mayfly/"),
    "src/snapshot": ("abi/", "src/base/", "src/mem/", "src/vm/*", "src/sandbox/",
                     "include/mayfly/"),
    "src/migrate": ("abi/", "src/base/", "src/mem/", "src/vm/*", "src/sandbox/",
                    "src/snapshot/", "include/mayfly/"),
    "cli": ("include/mayfly/", "bench/bench.h", "machine/*", "machine/asm/asm.h",
            "machine/isa/isa.h", "machine/host/"),
    "examples": ("include/mayfly/",),
    "bench": ("include/mayfly/",),
    "tests/integration": ("include/mayfly/", "tests/unit/migrate_table.h"),
    "tests/machine": ("machine/*", "machine/host/", "include/mayfly/"),
    "tests/guests": ("include/mayfly/",),
    "tests/cli": ("include/mayfly/",),
    "tests/unit": ("abi/", "src/", "machine/", "include/mayfly/", "cli/transport.h"),
    "tests/fuzz": ("abi/", "src/", "machine/", "cli/control_request.h", "cli/names.h",
                   "include/mayfly/", "tests/unit/"),
    "tests/fault": ("abi/", "src/", "include/mayfly/", "tests/unit/", "tests/integration/"),
    "tests/migrate_net": (),
    "tests/relay": ("abi/", "src/", "include/mayfly/"),
}

# Where a name in an #include is looked for, in this order, after the file's own
# folder when the name is in quotes.
SEARCH = ("src", "", "include")

SUFFIXES = (".c", ".h", ".S", ".cc", ".cpp", ".hpp")
INCLUDE = re.compile(r'^\s*#\s*include\s*([<"])([^>"]+)[>"]', re.M)
COMMENT = re.compile(r"/\*.*?\*/", re.S)


def sources(root):
    """Every source file below the folders that have rules, relative to root."""
    for top in sorted({folder.split("/")[0] for folder in RULES}):
        for where, folders, names in os.walk(os.path.join(root, top)):
            folders[:] = sorted(f for f in folders if not f.startswith("."))
            for name in sorted(names):
                if name.endswith(SUFFIXES):
                    yield os.path.relpath(os.path.join(where, name), root)


def rule_of(path):
    """The folder whose rule holds for a file: the longest that it is in."""
    folder = os.path.dirname(path)
    while folder and folder not in RULES:
        folder = os.path.dirname(folder)
    return folder


def resolve(root, path, quoted, name):
    """The file of ours that an #include means, or None for a system header."""
    places = ([os.path.dirname(path)] if quoted else []) + list(SEARCH)
    for place in places:
        found = os.path.normpath(os.path.join(place, name))
        if os.path.isfile(os.path.join(root, found)):
            return found
    return None


def allowed(folder, target):
    """Whether files of a rule's folder may include the target."""
    if target.startswith(folder + "/"):
        # Backends are below src/vm, but are not part of it for the others.
        return rule_of(target) == folder or not target.startswith("src/")
    for prefix in RULES[folder]:
        if prefix.endswith("/*"):
            if os.path.dirname(target) == prefix[:-2]:
                return True
        elif target.startswith(prefix):
            return True
    return False


def is_backend_list(path, target):
    """The one file that names all backends includes their headers."""
    return path == "src/vm/backend.c" and rule_of(target) in ("src/vm/kvm", "src/vm/soft")


def check(root):
    """Returns the broken rules as lines "file: text", and the number of files."""
    broken = []
    count = 0
    for path in sources(root):
        folder = rule_of(path)
        count += 1
        if not folder:
            broken.append(f"{path}: no rule of tools/layer_check.py covers this folder")
            continue
        with open(os.path.join(root, path), encoding="utf-8", errors="replace") as file:
            text = COMMENT.sub("", file.read())
        for bracket, name in INCLUDE.findall(text):
            target = resolve(root, path, bracket == '"', name)
            if target is None:
                if bracket == '"':
                    broken.append(f'{path}: "{name}" is no file of the project; '
                                  "system headers stand in <>")
                continue
            if not allowed(folder, target) and not is_backend_list(path, target):
                broken.append(f"{path}: {folder} may not include {target}")
    return broken, count


# (file, its text, whether the check must find it wrong)
SELF_TEST = (
    ("abi/ports.h", "", False),
    ("abi/boot.h", "#include <stdint.h>\n#include \"abi/ports.h\"\n", False),
    ("abi/bad.h", '#include "base/error.h"\n', True),
    ("include/mayfly/error.h", "#include <stddef.h>\n", False),
    ("include/mayfly/guest.h", "#include <mayfly/value.h>\n", False),
    ("include/mayfly/value.h", "", False),
    ("include/mayfly/bad.h", '#include "abi/boot.h"\n', True),
    ("guest/call.c", '#include "abi/boot.h"\n#include <mayfly/guest.h>\n', False),
    ("guest/bad_host.c", "#include <mayfly/error.h>\n", True),
    ("guest/bad_src.c", '#include "base/error.h"\n', True),
    ("src/base/error.h", "#include <mayfly/error.h>\n", False),
    ("src/base/bad.c", '#include "mem/mem.h"\n', True),
    ("src/mem/mem.h", '#include "base/error.h"\n', False),
    ("src/mem/bad.c", '#include "vm/vm.h"\n', True),
    ("src/vm/vm.h", '#include "mem/mem.h"\n', False),
    ("src/vm/bad.c", '#include "sandbox/sandbox.h"\n', True),
    ("src/vm/bad_abi.c", '#include "abi/ports.h"\n', True),
    ("src/vm/bad_backend.c", '#include "vm/kvm/kvm.h"\n', True),
    ("src/vm/backend.c", '#include "vm/kvm/kvm.h"\n', False),
    ("src/vm/kvm/kvm.h", '#include "vm/vm.h"\n', False),
    ("src/vm/kvm/kvm.c", '#include "vm/kvm/kvm.h"\n', False),
    ("src/vm/kvm/bad_abi.c", '#include "abi/boot.h"\n', True),
    ("src/vm/kvm/bad_soft.c", '#include "vm/soft/soft.h"\n', True),
    ("src/vm/soft/soft.h", '#include "vm/vm.h"\n', False),
    ("src/vm/soft/bad_kvm.c", '#include "vm/kvm/kvm.h"\n', True),
    ("src/sandbox/sandbox.h", '#include "vm/vm.h"\n#include "abi/boot.h"\n', False),
    ("src/sandbox/bad_kvm.c", '#include "vm/kvm/kvm.h"\n', True),
    ("src/odd/odd.c", "#include <stdio.h>\n", True),
    ("cli/main.c", '#include <mayfly/error.h>\n#include "cli.h"\n', False),
    ("cli/cli.h", "", False),
    ("cli/bad.c", '#include "base/error.h"\n', True),
    ("cli/bad_path.c", '#include "../src/base/error.h"\n', True),
    ("cli/commented.c", '/*\n#include "base/error.h"\n*/\n', False),
    ("bench/bad.c", '#include "abi/boot.h"\n', True),
    ("examples/bad.c", '#include "abi/boot.h"\n', True),
    ("tests/integration/bad.c", '#include "vm/vm.h"\n', True),
    ("tests/unit/good.c", '#include "vm/kvm/kvm.h"\n#include "abi/boot.h"\n', False),
)


def self_test():
    """Builds a tree with known violations and looks for exactly those."""
    with tempfile.TemporaryDirectory() as root:
        for path, text, _ in SELF_TEST:
            os.makedirs(os.path.join(root, os.path.dirname(path)), exist_ok=True)
            with open(os.path.join(root, path), "w", encoding="utf-8") as file:
                file.write(text)
        found = {line.split(":")[0] for line in check(root)[0]}
    expected = {path for path, _, wrong in SELF_TEST if wrong}
    for path in sorted(found - expected):
        print(f"self-test: {path} is right, but was found wrong")
    for path in sorted(expected - found):
        print(f"self-test: {path} is wrong, but was not found")
    return found == expected


def main(arguments):
    if "--self-test" in arguments:
        ok = self_test()
        print("layer check: self-test", "passed" if ok else "failed",
              f"({sum(wrong for _, _, wrong in SELF_TEST)} violations)")
        return 0 if ok else 1
    root = arguments[0] if arguments else os.path.join(os.path.dirname(__file__), "..")
    broken, count = check(os.path.abspath(root))
    for line in broken:
        print(line)
    print(f"layer check: {count} files, {len(broken)} violations")
    return 1 if broken or count == 0 else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
