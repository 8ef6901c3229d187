#!/usr/bin/env python3
"""Writes docs/reference/ from the public headers, and the list of system calls in
docs/guide/what-runs-inside.md from its table, so that neither can drift.

The headers' own comments are the contracts; this tool only arranges them: one page
for each header, one section for each declaration with the comment before it.

Usage: gen_reference.py [--check] [ROOT]

With --check nothing is written, and the exit status is 1 when a page is stale.
"""

import os
import re
import sys

HEADERS = "include/mayfly"
PAGES = "docs/reference"
GUIDE = "docs/guide/what-runs-inside.md"
SYSCALLS = "src/sandbox/syscall_impl.h"
NOTICE = "<!-- Generated from {} by tools/gen_reference.py: edit the header, then run the tool. -->"
# The order in which a reader needs them.
ORDER = ("mayfly.h", "image.h", "signature.h", "value.h", "host.h", "sandbox.h", "batch.h",
         "attend.h", "map.h", "snapshot.h", "pool.h", "migrate.h", "fault.h",
         "error.h", "backend.h", "version.h", "export.h", "guest.h")

NAMES = (
    re.compile(r"^#define (\w+)", re.M),
    re.compile(r"^(?:typedef )?((?:struct|enum) \w+) *[{;]", re.M),
    re.compile(r"^typedef [^;(]*\(\*(\w+)\)", re.M),
    re.compile(r"^[A-Z][A-Z0-9_]+\((\w+), \w+", re.M),
    re.compile(r"^(?!#|typedef|template)[\w* ()]*?\b(mf_\w+)\(", re.M),
    re.compile(r"^extern .*\b(mf_\w+);", re.M),
)
CODE_WORDS = re.compile(
    r"(?<![`\w/.])("
    r"\*+[a-z]\w*"                      # *result
    r"|(?:struct|enum) mf_\w+"
    r"|MF_E_\*|[Mm][Ff]_\w+(?:\((?:[^()\n]|\([^()\n]*\))*\))?"  # mf_call(...), MF_E_IMAGE
    r"|[a-z]\w*_[a-z]\w*(?:\.[a-z]\b)?"  # memory_bytes, libmayfly_guest.a
    r"|[a-z]\w*\(\)"
    r"|[A-Z][A-Z_]*=[^\s,;]+"            # GLIBC_TUNABLES=...
    r"|-[a-zA-Z][\w-]+(?=[ ,)])"         # -static
    r"|<mayfly/\w+\.h>"
    r")")


def chunks_of(text):
    """The header cut at blank lines outside of comments, braces and continued lines."""
    chunk, depth, comment = [], 0, False
    for line in text.split("\n"):
        outside = depth == 0 and not comment and not (chunk and chunk[-1].endswith("\\"))
        if not line.strip() and outside:
            if chunk:
                yield "\n".join(chunk)
            chunk = []
            continue
        chunk.append(line)
        code = line
        if comment:
            code = ""
            comment = "*/" not in line
        elif "/*" in line and "*/" not in line[line.index("/*"):]:
            code = line[:line.index("/*")]
            comment = True
        code = re.sub(r'/\*.*?\*/|"(?:\\.|[^"\\])*"', "", code)
        if not re.match(r"\s*#|extern \"C\"|extern  *\{", line) and line.strip() != 'extern "C" {':
            depth = max(0, depth + code.count("{") - code.count("}"))
    if chunk:
        yield "\n".join(chunk)


def split_comment(chunk):
    """The comment at the head of a chunk, without its marks, and what follows it."""
    match = re.match(r"/\*(.*?)\*/\n?", chunk, re.S)
    if not match:
        return "", chunk
    lines = [re.sub(r"^ ?\* ?", "", line.rstrip()) for line in match.group(1).split("\n")]
    return "\n".join(lines).strip("\n"), chunk[match.end():]


def prose(comment):
    """A comment as Markdown: code words marked, indented lines kept as code."""
    out, code = [], False
    lines = comment.strip().split("\n")
    for number, line in enumerate(lines):
        following = next((later for later in lines[number:] if later.strip()), "")
        indented = line.startswith("    ") or (code and not line and following.startswith("    "))
        if indented != code:
            out.append("```c" if indented else "```")
            if not indented and line.strip():
                out.append("")
            code = indented
        if indented:
            out.append(line[4:])
        else:
            out.append(CODE_WORDS.sub(r"`\1`", line.strip()))
    if code:
        out.append("```")
    text = "\n".join(out)
    text = re.sub(r"\n+\n```\n", "\n```\n", text)
    return re.sub(r"([^\n])\n```c\n", r"\1\n\n```c\n", text)


def dedent(code, columns):
    """Keeps parameters under their bracket when `columns` before it are left out."""
    return code.replace("\n" + " " * columns, "\n")


def trailing_comment(code):
    """A comment at the left margin behind all code, apart from it: (code, comment)."""
    match = re.search(r"^/\*(?:(?!\*/).)*\*/\s*\Z", code, re.S | re.M)
    if not match or not code[:match.start()].strip():
        return code, ""
    return code[:match.start()], split_comment(match.group(0))[0]


def without_bodies(code):
    """Functions and macros with parameters up to where their body begins."""
    code = re.sub(r"^(#define \w+\([\w, .]*\)).*?[^\\]$(?!\\)", r"\1", code, flags=re.M | re.S)
    return re.sub(r"\)\n\{\n.*?^\}$", ");", code, flags=re.M | re.S)


def declaration(code):
    """What a reader needs of the code: no bodies, no marks for the compiler."""
    code = without_bodies(code)
    code = re.sub(r"^(?:#if.*|#endif.*|#else|#undef.*|#include.*|extern \"C\" \{|\}) *(?:/\*.*)?$",
                  "", code, flags=re.M)
    code = re.sub(r"^#define \w+_ENUM\(.*\n", "", code, flags=re.M)
    code = re.sub(r"^ *(\w+_LIST)\(\w+_ENUM\)$", r"    /* the entries of \1 */", code, flags=re.M)
    code = re.sub(r"^#define \w+_(?:MAKE)?\(.*\n?", "", code, flags=re.M)
    # Functions that one macro makes, alike but for their type.
    code = re.sub(r"^MF_VALUE_MAKE\((\w+), (\w+), .*$", r"struct mf_value \1(\2 x);", code, flags=re.M)
    code = re.sub(r"^.*\n(?=__attribute__\(\(weak\)\))", "", code, flags=re.M)
    code = re.sub(r"^((?:__attribute__\(\((?:[^()]|\([^()]*\))*\)\) )?(?:MF_API|static inline)|"
                  r"__attribute__\(\((?:[^()]|\([^()]*\))*\)\)) (.*(?:\n {5,}.*)*)",
                  lambda match: dedent(match.group(2), len(match.group(1)) + 1),
                  code, flags=re.M)
    code = re.sub(r"__attribute__\(\((?:[^()]|\((?:[^()]|\([^()]*\))*\))*\)\)\s*(?=;)", "", code)
    code = re.sub(r"\n +\n", "\n", code)
    code = re.sub(r"\n[ \n]*\n", "\n", code)
    return re.sub(r"\s+;", ";", code).strip("\n")


def names_of(code):
    found = []
    for pattern in NAMES:
        for match in pattern.finditer(code):
            found.append((match.start(), match.group(1)))
    names = []
    for _, name in sorted(found):
        if not name.endswith(("_", "_H", "_MAKE", "_ENUM")) and name not in names:
            names.append(name)
    return names


LIST = re.compile(r"^#define (\w+_LIST)\(X\)(.*?[^\\])(?:\n|\Z)(?!.*\\\n)", re.S | re.M)
ENTRY = re.compile(r'X\((\w+), (-?\d+), "?(.*?)"?(?:, "(.*?)")?\)\s*(?:/\*(.*?)\*/)?\s*\\?$', re.M)


def table_of(code):
    """The entries of an X-macro as a table, or None when the code is none."""
    if not re.match(r"#define \w+_LIST\(X\)", code):
        return None
    # A list written without a comment or with one behind each entry: one line each.
    rows = [match.groups() for match in ENTRY.finditer(code)]
    out = ["| name | number | |", "|---|---|---|"]
    for name, number, first, second, remark in rows:
        text = f"`{first}`: {second}" if second else first
        if remark and remark.strip():
            text += f" ({remark.strip()})"
        out.append(f"| `{name}` | {number} | {text} |")
    return "\n".join(out)


def sections_of(text):
    """(names, contract, code, table) of each declaration; names are empty for remarks."""
    for chunk in chunks_of(text):
        comment, code = split_comment(chunk)
        table = table_of(code)
        code, remark = trailing_comment(code)
        comment += "\n\n" + remark if remark else ""
        shown = declaration(code)
        names = names_of(code if table else shown)
        if table:
            yield names, comment, "", table
        elif names and shown:
            yield names, comment, shown, None
        elif comment and not code.strip():
            yield [], comment, "", None


def page_of(root, header):
    with open(os.path.join(root, HEADERS, header), encoding="utf-8") as file:
        text = file.read()
    intro, rest = split_comment(text)
    rest = re.sub(r"^#(?:ifndef|define) MAYFLY_\w+_H\n", "", rest, flags=re.M)
    out = [f"# `<mayfly/{header}>`", "", NOTICE.format(f"{HEADERS}/{header}"), "", prose(intro)]
    if header == "mayfly.h":
        out.append("")
        for name in re.findall(r"#include <mayfly/(\w+)\.h>", rest):
            out.append(f"- [`<mayfly/{name}.h>`]({name}.md)")
        return "\n".join(out) + "\n"
    for names, comment, code, table in sections_of(rest):
        if names:
            out += ["", "## " + ", ".join(f"`{name}`" for name in names)]
        if code:
            out += ["", "```c", code, "```"]
        if comment:
            out += ["", prose(comment)]
        if table:
            out += ["", table]
    return "\n".join(out) + "\n"


def index_of(root):
    out = ["# Reference", "", NOTICE.format(HEADERS), "",
           "One page for each public header. A host program includes `<mayfly/mayfly.h>`, which has",
           "all of them but `guest.h`; a guest includes `<mayfly/guest.h>`.", "",
           "| header | what it has |", "|---|---|"]
    for header in ORDER:
        with open(os.path.join(root, HEADERS, header), encoding="utf-8") as file:
            intro, _ = split_comment(file.read())
        first = re.split(r"(?<=\.)\s+(?=[A-Z])", " ".join(intro.split("\n\n")[0].split()))
        text = first[0] if len(first[0]) > 12 or len(first) == 1 else first[1]
        text = re.sub(r", written as$|;.*$|\.$", "", text)
        out.append(f"| [`{header}`]({header[:-2]}.md) | {prose(text)} |")
    return "\n".join(out) + "\n"


def answered_calls(root):
    """The groups of the table of answered system calls: [(title, [(name, text)])]."""
    with open(os.path.join(root, SYSCALLS), encoding="utf-8") as file:
        text = file.read()
    table = re.search(r"#define SYSCALL_ANSWERED\(call\)(.*?[^\\])\n\n", text, re.S).group(1)
    groups = []
    for match in re.finditer(r'/\*(.*?)\*/|call\((\w+), "(.*?)"\)', table):
        title, name, meaning = match.groups()
        if title:
            groups.append((title.strip().rstrip("."), []))
        else:
            groups[-1][1].append((name, meaning))
    return groups


def guide_with_calls(root):
    """The guide with its list of system calls as the table has it now."""
    with open(os.path.join(root, GUIDE), encoding="utf-8") as file:
        text = file.read()
    out = []
    for title, calls in answered_calls(root):
        out += [f"**{title}**", "", "| call | answer |", "|---|---|"]
        out += [f"| `{name}` | {meaning} |" for name, meaning in calls]
        out.append("")
    begin = f"<!-- begin: the table of {SYSCALLS}, by tools/gen_reference.py -->\n"
    end = "<!-- end of the table -->"
    if text.count(begin) != 1 or text.count(end) != 1:
        raise SystemExit(f"{GUIDE}: the marks around the list of system calls are missing")
    head, rest = text.split(begin)
    return head + begin + "\n" + "\n".join(out) + "\n" + end + rest.split(end)[1]


def left_out(root, header, page):
    """Functions that the header declares and its page has no section for."""
    with open(os.path.join(root, HEADERS, header), encoding="utf-8") as file:
        text = re.sub(r"/\*.*?\*/", "", file.read(), flags=re.S)
    declared = re.findall(r"^(?:MF_API|static inline|struct|__attribute__).*?\b(mf_\w+)\(", text, re.M)
    headings = " ".join(line for line in page.split("\n") if line.startswith("## "))
    return sorted(name for name in set(declared) if f"`{name}`" not in headings)


def main(arguments):
    check = "--check" in arguments
    roots = [a for a in arguments if not a.startswith("-")]
    root = roots[0] if roots else os.path.join(os.path.dirname(os.path.abspath(__file__)), "..")
    headers = sorted(name for name in os.listdir(os.path.join(root, HEADERS)))
    if sorted(ORDER) != headers:
        print("gen_reference: ORDER does not name the headers that are there:",
              *sorted(set(ORDER) ^ set(headers)))
        return 1
    wanted = {f"{PAGES}/{header[:-2]}.md": page_of(root, header) for header in ORDER}
    for header in ORDER:
        missing = left_out(root, header, wanted[f"{PAGES}/{header[:-2]}.md"])
        if missing:
            print(f"gen_reference: {header}: not understood:", *missing)
            return 1
    wanted[f"{PAGES}/README.md"] = index_of(root)
    wanted[GUIDE] = guide_with_calls(root)
    stale = []
    for path, text in wanted.items():
        full = os.path.join(root, path)
        old = None
        if os.path.exists(full):
            with open(full, encoding="utf-8") as file:
                old = file.read()
        if old == text:
            continue
        stale.append(path)
        if not check:
            os.makedirs(os.path.dirname(full), exist_ok=True)
            with open(full, "w", encoding="utf-8") as file:
                file.write(text)
    extra = [name for name in os.listdir(os.path.join(root, PAGES))
             if f"{PAGES}/{name}" not in wanted] if os.path.isdir(os.path.join(root, PAGES)) else []
    for path in stale:
        print("stale:" if check else "written:", path)
    for name in extra:
        print(f"no header has this page: {PAGES}/{name}")
    if not stale and not extra:
        print(f"gen_reference: {len(wanted)} pages are as the headers say")
    if check and stale:
        print("run tools/gen_reference.py and look at what changed")
    return 1 if (check and stale) or extra else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
