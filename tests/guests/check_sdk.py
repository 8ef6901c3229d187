#!/usr/bin/env python3
"""Checks what the guest libraries are made of.

    check_sdk.py libmayfly_guest.a libmayfly_guest_bare.a BARE_GUEST

The libraries must need nothing that they do not bring, not even a memcpy, so that they
link into every program; and a guest without C library must be small.
"""

import os
import subprocess
import sys
import tempfile

# The linker makes these; weak references (w) may stay without a definition.
MADE_BY_THE_LINKER = {"__start_mayfly_table", "__stop_mayfly_table", "_GLOBAL_OFFSET_TABLE_"}
BARE_BYTES_MAX = 8192


def missing_symbols(library):
    lines = subprocess.run(["nm", library], check=True, capture_output=True,
                           text=True).stdout.splitlines()
    words = [line.split() for line in lines if line and not line.endswith(":")]
    undefined = {w[-1] for w in words if w[-2] == "U"}
    defined = {w[-1] for w in words if w[-2] not in "Uw"}
    return undefined - defined - MADE_BY_THE_LINKER


def main():
    failed = False
    for library in sys.argv[1:3]:
        missing = missing_symbols(library)
        print(f"{library} needs: {' '.join(sorted(missing)) or 'nothing'}")
        failed |= bool(missing)
    with tempfile.NamedTemporaryFile() as stripped:
        subprocess.run(["strip", "-o", stripped.name, sys.argv[3]], check=True)
        size = os.path.getsize(stripped.name)
    print(f"{sys.argv[3]}: {size} bytes without symbols, at most {BARE_BYTES_MAX} expected")
    return 1 if failed or size > BARE_BYTES_MAX else 0


if __name__ == "__main__":
    sys.exit(main())
