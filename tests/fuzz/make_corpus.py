#!/usr/bin/env python3
"""Writes the seed corpus of the fuzzers: tests/fuzz/corpus/NAME/.

The seeds are small right inputs and some that are wrong in one place. They are
kept in the repository; run this again only when a format changes. Files that it
does not know (regression cases) are left alone.
"""

import pathlib
import struct

CORPUS = pathlib.Path(__file__).parent / "corpus"
BASE = 0x400000
ET_EXEC, ET_DYN = 2, 3
PT_LOAD, PT_DYNAMIC, PT_INTERP, PT_NOTE, PT_GNU_STACK = 1, 2, 3, 4, 0x6474E551
R, W, X = 4, 2, 1


def save(name, files):
    folder = CORPUS / name
    folder.mkdir(parents=True, exist_ok=True)
    for file, data in files.items():
        (folder / file).write_bytes(data)


def phdr(kind, flags, offset, vaddr, filesz, memsz, align=0x1000):
    return struct.pack("<IIQQQQQQ", kind, flags, offset, vaddr, vaddr, filesz, memsz, align)


def elf(phdrs, body=b"", etype=ET_EXEC, entry=BASE + 0x1000, machine=62, shdrs=()):
    """A file whose segments all lie in its first bytes, to keep it small."""
    size = 64 + len(phdrs) * 56 + len(body)
    head = b"\x7fELF\2\1\1" + bytes(9)
    head += struct.pack("<HHIQQQIHHHHHH", etype, machine, 1, entry, 64, size if shdrs else 0, 0,
                        64, 56, len(phdrs), 64 if shdrs else 0, len(shdrs), 0)
    return head + b"".join(phdrs) + body + b"".join(shdrs)


def shdr(kind, offset, size, link=0, entsize=0):
    return struct.pack("<IIQQQQIIQQ", 0, kind, 0, 0, offset, size, link, 0, 8, entsize)


def note(name=b"Mayfly\0", kind=0x4D46, desc=None):
    desc = struct.pack("<IIQii", 0x10000, 0x10000, 0, 8, 4) if desc is None else desc
    pad = bytes(-len(name) % 4)
    return struct.pack("<III", len(name), len(desc), kind) + name + pad + desc


def elf_seeds():
    code = phdr(PT_LOAD, R | X, 0, BASE + 0x1000, 64, 64)
    data = phdr(PT_LOAD, R | W, 0, BASE + 0x2000, 16, 0x3000)
    plain = [phdr(PT_LOAD, R, 0, BASE, 64, 64), code, data]
    yield "plain", elf(plain)
    yield "pie", elf([phdr(PT_LOAD, R | X, 0, 0, 64, 64)], etype=ET_DYN, entry=1)
    yield "stack", elf(plain + [phdr(PT_GNU_STACK, R | W | X, 0, 0, 0, 0, 16)])
    yield "interp", elf(plain + [phdr(PT_INTERP, R, 0, BASE, 16, 16, 1)])
    yield "write-execute", elf([phdr(PT_LOAD, R | W | X, 0, BASE + 0x1000, 64, 64)])
    yield "overlap", elf([code, phdr(PT_LOAD, R, 0, BASE + 0x1020, 64, 64)])
    yield "one-page", elf([code, phdr(PT_LOAD, R, 0, BASE + 0x1800, 64, 64)])
    yield "wraps", elf([code, phdr(PT_LOAD, R, 0, 2**64 - 32, 0, 64)])
    yield "low", elf([code, phdr(PT_LOAD, R, 0, 0x1000, 64, 64)])
    yield "arm", elf(plain, machine=183)
    yield "script", b"#!/bin/sh\n"

    text = note(b"GNU\0", 3, b"12345678") + note()
    at = 64 + 3 * 56
    notes = phdr(PT_NOTE, R, at, BASE + at, len(text), len(text), 4)
    yield "note", elf([phdr(PT_LOAD, R, 0, BASE, at, at), code, notes], text)
    dynamic = struct.pack("<QQQQ", 0x6FFFFFFB, 0x08000000, 0, 0)
    section = phdr(PT_DYNAMIC, R, at, at, len(dynamic), len(dynamic), 8)
    yield "dynamic", elf([phdr(PT_LOAD, R | X, 0, 0, at, at), section, section], dynamic, ET_DYN, 1)

    strings = b"\0_start\0twin\0tail\0"
    symbol = struct.Struct("<IBBHQQ")
    symbols = (symbol.pack(1, 0x12, 0, 1, BASE + 0x1000, 16) +
               symbol.pack(8, 0x02, 0, 1, BASE + 0x1010, 16) +
               symbol.pack(13, 0x22, 0, 1, BASE + 0x1010, 0))
    at = 64 + 3 * 56
    sections = [shdr(0, 0, 0), shdr(2, at, len(symbols), 2, 24),
                shdr(3, at + len(symbols), len(strings))]
    yield "symbols", elf(plain, symbols + strings, shdrs=sections)


def record(kind, signature, size=None):
    body = signature.encode() + b"\0" if signature is not None else b""
    size = 24 + len(body) if size is None else size
    out = struct.pack("<IHHQQ", size, kind, 0, 0, 0) + body
    return out + bytes(-len(out) % 16)


def image_seeds():
    functions = (record(0, "") + record(1, "string greet(string name)") +
                 record(2, "void log(string)") + record(3, None) +
                 record(1, "i32 add(i32 a, i32 b)") + bytes(16) + record(2, "void log(string)"))
    yield "table", b"\0" + functions
    yield "empty", b"\0"
    yield "twice", b"\0" + record(1, "void f()") * 2
    yield "differs", b"\0" + record(2, "void f()") + record(2, "i32 f()")
    yield "signature", b"\0" + record(1, "int f()")
    yield "size", b"\0" + record(1, "void f()", 23)
    yield "cut", b"\0" + record(1, "void f()") + b"\1"

    def with_note(version, minimum, features, start=28, end=None):
        end = start - 4 + len(functions) if end is None else end
        return b"\1" + struct.pack("<IIQii", version, minimum, features, start, end) + functions

    yield "note", with_note(0x10000, 0x10000, 3)
    yield "newer", with_note(0x20000, 0x20000, 0)
    yield "features", with_note(0x10000, 0x10000, 1 << 40)
    yield "far", with_note(0x10000, 0x10000, 0, 2**31 - 1, 2**31 - 1)


def value(kind, data):
    room = len(data) + (kind == 8)
    return struct.pack("<II", kind, len(data)) + data + bytes(room - len(data) + -room % 8)


def frame(*values, count=None, kind=1):
    body = b"".join(values)
    size = (32 + len(body) + 63) & ~63
    head = struct.pack("<IHHQIiQ", size, kind, len(values) if count is None else count, 7, 32, 0, 0)
    return (head + body).ljust(size, b"\0")


def frame_seeds():
    number = struct.Struct("<Q").pack
    yield "void", frame(kind=2)
    yield "all", frame(value(1, number(1)), value(2, number(2**64 - 2)), value(3, number(5)),
                       value(4, number(2**63)), value(5, number(2**64 - 1)),
                       value(6, number(0x3FC00000)), value(7, struct.pack("<d", 0.1)),
                       value(8, b"Mayfly"), value(9, b"\xff\0\x80"))
    yield "many", frame(*[value(2, number(i)) for i in range(32)])
    yield "strings", frame(value(8, b""), value(8, b"12345678"), value(8, "grüß".encode()))
    yield "bool", frame(value(1, number(2)))
    yield "long", frame(struct.pack("<II", 9, 2**32 - 1))
    yield "count", frame(count=33)
    text = struct.pack("<IIQQ", 0x108, 16, 0x200000000000, 2**20)
    data = struct.pack("<IIQQ", 0x109, 16, 2**64 - 1, 2**64 - 1)
    yield "references", frame(text, value(3, number(5)), data)
    yield "reference-length", frame(struct.pack("<IIQ", 0x109, 8, 0x200000000000))
    yield "reference-number", frame(struct.pack("<IIQQ", 0x105, 16, 0x200000000000, 8))
    yield "error", frame(value(8, b"no such thing"), kind=3)


def signature_seeds():
    yield "greet", b"string greet(string name)"
    yield "none", b"void f()"
    yield "void", b" void\tf ( void ) "
    yield "all", b"bytes f(bool a, i32 b, u32 c, i64 d, u64 e, f32 f, f64 g, string h, bytes i)"
    yield "many", b"void f(" + b",".join([b"i32"] * 32) + b")"
    yield "too-many", b"void f(" + b",".join([b"i32"] * 33) + b")"
    yield "long-name", b"void " + b"n" * 130 + b"()"
    yield "long-parameter", b"void f(i32 " + b"n" * 70 + b")"


def control_seeds():
    yield "list", b'{"command": "list"}\n'
    yield "two", b'{"command": "list"}\n{"command": "pause", "target": "job1"}\n'
    yield "snapshot", (b'{"command": "snapshot", "target": "job1", "file": "/a.mfs", '
                       b'"compress": true, "rounds": 3}\n')
    yield "missing-key", b'{"command": "snapshot", "target": "job1"}\n'
    yield "wrong-type", b'{"command": "snapshot", "target": "job1", "file": 7}\n'
    yield "negative", b'{"command": "snapshot", "target": "j", "file": "", "rounds": -1}\n'
    yield "unknown-key", b'{"command": "list", "x": null}\n'
    yield "unknown-command", b'{"command": "nope"}\n'
    yield "bad-target", b'{"command": "pause", "target": "../x"}\n'
    yield "twice", b'{"command": "list", "command": "pause"}\n'
    yield "behind", b'{"command": "list"} {}\n'
    yield "half", b'{"command": "li'
    yield "empty", b"\n\n"
    yield "deep", b"[" * 500 + b"\n"
    yield "long", b'{"command": "' + b"x" * 700 + b'"}\n'


def value_seeds():
    yield "numbers", b"".join(bytes([kind - 1]) + bytes(range(8)) for kind in range(1, 8))
    yield "text", bytes([7]) + struct.pack("<H", 6) + b"Mayfly"
    yield "utf8", bytes([7]) + struct.pack("<H", 6) + "grüß".encode()
    yield "not-utf8", bytes([7]) + struct.pack("<H", 3) + b"a\xff\0"
    yield "bytes", bytes([8]) + struct.pack("<H", 4) + b"\0\1\2\3" + bytes([0]) + b"\1"
    yield "many", (bytes([1]) + b"\xff" * 8) * 40
    yield "references", (bytes([0x87]) + struct.pack("<QQ", 2**45, 2**32) + bytes([7]) +
                         struct.pack("<H", 6) + b"Mayfly" + bytes([0x88]) + b"\xff" * 16)


def change(at, data):
    """One change of a snapshot file, as tests/fuzz/fuzz_snapshot.c reads it."""
    return at.to_bytes(3, "little") + bytes([len(data) - 1]) + data


def snapshot_seeds():
    for how, name in enumerate(("plain", "zstd", "child")):
        yield name, bytes([how])
        yield name + "-trusted", bytes([how | 0x10])
        yield name + "-version", bytes([how]) + change(8, struct.pack("<II", 0x20000, 0x20000))
        yield name + "-memory", bytes([how]) + change(32, struct.pack("<Q", 2**40))
        yield name + "-damaged", bytes([how | 0x20]) + change(4100, b"\xff")
        for section in range(6):
            entry = 256 + 40 * section
            yield f"{name}-kind-{section}", bytes([how]) + change(entry, b"\x63")
            yield f"{name}-place-{section}", bytes([how]) + change(entry + 8, b"\x08")
            yield f"{name}-size-{section}", bytes([how]) + change(entry + 16, b"\xff" * 8)
    golden = (CORPUS.parent.parent / "golden" / "snapshot-1.0-plain.mfs").read_bytes()
    kind, _, offset, size = struct.unpack_from("<IIQQ", golden, 256)
    assert kind == 1
    yield "state", b"\x40" + golden[offset:offset + size]
    # The state in the file: each of its words becomes a large one.
    for at in range(0, size, 64):
        yield f"word-{at // 64}", b"\0" + change(offset + at, b"\xff" * 8)
    # Entries of the page tables, wherever they are: present, writable, for the user.
    for page in range(4, 36, 3):
        yield (f"entry-{page}",
               b"\0" + change(len(golden) - page * 4096, struct.pack("<Q", 0x6067)))


if __name__ == "__main__":
    save("elf", dict(elf_seeds()))
    save("image", dict(image_seeds()))
    save("frame", dict(frame_seeds()))
    save("control", dict(control_seeds()))
    save("signature", dict(signature_seeds()))
    save("value", dict(value_seeds()))
    save("snapshot", dict(snapshot_seeds()))
