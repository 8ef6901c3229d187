/*
 * Reads a static x86-64 Linux ELF without libelf: the file is hostile, and what
 * is needed of it is small. elf_parse goes through the file in the order in
 * which a wrong file is best explained: what kind of file it is, for which
 * machine, how it was linked, then each segment by itself, then all of them
 * together, and at last what only Mayfly looks for (its note, the symbols).
 *
 * Structures are copied out of the file before they are looked at, because
 * nothing in a file needs to be aligned. The host is little-endian like the
 * guest, which the soft backend's hosts (x86-64, AArch64) are as well.
 *
 * Callers: sandbox/image.c (parse, elf_at), sandbox/fault.c (symbols).
 */
#include "mem/elf.h"

#include "abi/function.h"
#include "abi/memory_map.h"
#include "base/checked.h"
#include "base/error.h"
#include "mem/layout.h"

#include <elf.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define BAD(err, ...) error_set(err, MF_E_IMAGE, __VA_ARGS__)

/*
 * Static programs have a dozen program headers and some hundred bytes of notes.
 * The limits keep the time that a hostile file can take in proportion.
 */
#define PROGRAM_HEADERS_MAX 256
#define NOTES_MAX (UINT64_C(1) << 20)

/* Newer than the <elf.h> of some supported systems. */
#define MACHINE_LOONGARCH 258

/* What one pass over the program headers found, besides the segments. */
struct scan {
    bool interpreted;
    bool has_dynamic;
    Elf64_Phdr dynamic;
};

/* What the checks share, so that they need few arguments. */
struct parser {
    const uint8_t *file;
    size_t len;
    Elf64_Ehdr header;
    struct elf *out;
    struct mf_error *err;
};

static const char *machine_name(unsigned machine)
{
    static const struct {
        unsigned number;
        const char *name;
    } names[] = {
        {EM_386, "i386"},         {EM_X86_64, "x86-64"},     {EM_AARCH64, "AArch64"},
        {EM_ARM, "Arm"},          {EM_RISCV, "RISC-V"},      {EM_MIPS, "MIPS"},
        {EM_PPC, "PowerPC"},      {EM_PPC64, "PowerPC 64"},  {EM_S390, "IBM Z"},
        {EM_SPARC, "SPARC"},      {EM_SPARCV9, "SPARC V9"},  {EM_68K, "Motorola 68000"},
        {MACHINE_LOONGARCH, "LoongArch"}, {EM_IA_64, "Itanium"}, {EM_BPF, "BPF"},
    };
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        if (names[i].number == machine)
            return names[i].name;
    return "unknown machine";
}

/* A file that is no ELF at all: says what it looks like. */
static int not_elf(const struct parser *p)
{
    static const struct {
        const char *magic;
        size_t len;
        const char *what;
    } kinds[] = {
        {"#!", 2, "a script"},
        {"MZ", 2, "a Windows program"},
        {"!<arch>\n", 8, "a library archive (.a)"},
        {"\0asm", 4, "a WebAssembly module"},
        {"\xcf\xfa\xed\xfe", 4, "a macOS program"},
        {"\x1f\x8b", 2, "a gzip file"},
        {"BC\xc0\xde", 4, "LLVM bitcode"},
    };
    for (size_t i = 0; i < ARRAY_LEN(kinds); i++)
        if (p->len >= kinds[i].len && memcmp(p->file, kinds[i].magic, kinds[i].len) == 0)
            return BAD(p->err, "not an ELF program: this is %s; give a program that was built "
                               "with `gcc -static` or `musl-gcc -static`", kinds[i].what);
    return BAD(p->err, "not an ELF program: it does not begin with 7f 45 4c 46; give a program "
                       "that was built with `gcc -static` or `musl-gcc -static`");
}

static int check_machine(const struct parser *p)
{
    const unsigned char *ident = p->file;
    bool big = ident[EI_DATA] == ELFDATA2MSB;
    /* Both classes have e_machine at the same place. */
    unsigned machine = big ? (unsigned)p->file[18] << 8 | p->file[19]
                           : (unsigned)p->file[19] << 8 | p->file[18];
    const char *name = machine_name(machine);

    if (ident[EI_CLASS] != ELFCLASS32 && ident[EI_CLASS] != ELFCLASS64)
        return BAD(p->err, "damaged ELF header: class %u is neither 32-bit nor 64-bit; build or "
                           "copy the program again", ident[EI_CLASS]);
    if (ident[EI_DATA] != ELFDATA2LSB && !big)
        return BAD(p->err, "damaged ELF header: byte order %u does not exist; build or copy the "
                           "program again", ident[EI_DATA]);
    if (ident[EI_CLASS] == ELFCLASS32 && machine == EM_X86_64)
        return BAD(p->err, "a 32-bit program for x86-64 (x32 ABI); build it without -mx32");
    if (ident[EI_CLASS] == ELFCLASS32)
        return BAD(p->err, "a 32-bit program (%s); only 64-bit x86-64 ones can run: build it "
                           "for x86-64, without -m32", name);
    if (big)
        return BAD(p->err, "a big-endian program (%s); only little-endian x86-64 ones can run: "
                           "build it for x86-64", name);
    if (machine != EM_X86_64)
        return BAD(p->err, "a program for another machine: %s (%u); build it for x86-64, for "
                           "example with x86_64-linux-gnu-gcc -static", name, machine);
    return 0;
}

static int check_system(const struct parser *p)
{
    static const struct {
        unsigned char number;
        const char *name;
    } systems[] = {
        {ELFOSABI_NETBSD, "NetBSD"},   {ELFOSABI_SOLARIS, "Solaris"},
        {ELFOSABI_FREEBSD, "FreeBSD"}, {ELFOSABI_OPENBSD, "OpenBSD"},
    };
    for (size_t i = 0; i < ARRAY_LEN(systems); i++)
        if (p->file[EI_OSABI] == systems[i].number)
            return BAD(p->err, "a program for %s; build it for Linux", systems[i].name);
    return 0;
}

/* Copies and checks the ELF header, up to what the program headers decide. */
static int read_header(struct parser *p)
{
    if (p->len == 0)
        return BAD(p->err, "the file is empty; build or copy the program again");
    if (p->len < SELFMAG || memcmp(p->file, ELFMAG, SELFMAG) != 0)
        return not_elf(p);
    /* 20 bytes hold e_ident, e_type and e_machine: enough to name a wrong machine. */
    if (p->len >= 20) {
        int rc = check_machine(p);
        if (rc)
            return rc;
    }
    if (p->len < sizeof(p->header))
        return BAD(p->err, "truncated: the ELF header takes %zu bytes, the file has %zu; build "
                           "or copy the program again", sizeof(p->header), p->len);
    memcpy(&p->header, p->file, sizeof(p->header));
    if (p->header.e_ident[EI_VERSION] != EV_CURRENT || p->header.e_version != EV_CURRENT)
        return BAD(p->err, "damaged ELF header: ELF version %u does not exist; build or copy the "
                           "program again", (unsigned)p->header.e_version);
    return check_system(p);
}

static int check_type(const struct parser *p)
{
    switch (p->header.e_type) {
    case ET_EXEC:
    case ET_DYN:
        return 0;
    case ET_REL:
        return BAD(p->err, "a relocatable object file (.o), not a program; link it with "
                           "`gcc -static`");
    case ET_CORE:
        return BAD(p->err, "a core dump, not a program; give the program that it came from");
    default:
        return BAD(p->err, "ELF type %u is not a program; build it with `gcc -static`",
                   (unsigned)p->header.e_type);
    }
}

static int check_program_headers(const struct parser *p)
{
    const Elf64_Ehdr *h = &p->header;

    if (h->e_phnum == 0)
        return BAD(p->err, "no loadable segment: the file has no program headers; link it into "
                           "a program with `gcc -static`");
    if (h->e_phnum > PROGRAM_HEADERS_MAX)
        return BAD(p->err, "too many program headers: %u, at most %d can be read; link it "
                           "without a linker script of its own",
                   (unsigned)h->e_phnum, PROGRAM_HEADERS_MAX);
    if (h->e_phentsize != sizeof(Elf64_Phdr))
        return BAD(p->err, "damaged ELF header: program headers of %u bytes instead of %zu; "
                           "build or copy the program again",
                   (unsigned)h->e_phentsize, sizeof(Elf64_Phdr));
    if (!range_inside(h->e_phoff, (uint64_t)h->e_phnum * sizeof(Elf64_Phdr), p->len))
        return BAD(p->err, "truncated: %u program headers at %#" PRIx64 " lie beyond the end of "
                           "the file (%zu bytes); build or copy the program again",
                   (unsigned)h->e_phnum, h->e_phoff, p->len);
    return 0;
}

static void read_phdr(const struct parser *p, unsigned index, Elf64_Phdr *phdr)
{
    memcpy(phdr, p->file + p->header.e_phoff + index * sizeof(*phdr), sizeof(*phdr));
}

static void scan_program_headers(const struct parser *p, struct scan *scan)
{
    memset(scan, 0, sizeof(*scan));
    for (unsigned i = 0; i < p->header.e_phnum; i++) {
        Elf64_Phdr phdr;

        read_phdr(p, i, &phdr);
        if (phdr.p_type == PT_INTERP)
            scan->interpreted = true;
        if (phdr.p_type == PT_DYNAMIC && !scan->has_dynamic) {
            scan->has_dynamic = true;
            scan->dynamic = phdr;
        }
    }
}

/* What the dynamic section says about the way the file was linked. */
static int check_dynamic(const struct parser *p, const Elf64_Phdr *phdr)
{
    bool named = false, program = false;
    Elf64_Dyn entry;

    if (!range_inside(phdr->p_offset, phdr->p_filesz, p->len))
        return BAD(p->err, "truncated: the dynamic section at %#" PRIx64 " lies beyond the end "
                           "of the file (%zu bytes); build or copy the program again",
                   phdr->p_offset, p->len);
    for (uint64_t at = 0; at + sizeof(entry) <= phdr->p_filesz; at += sizeof(entry)) {
        memcpy(&entry, p->file + phdr->p_offset + at, sizeof(entry));
        if (entry.d_tag == DT_NULL)
            break;
        if (entry.d_tag == DT_NEEDED)
            return BAD(p->err, "dynamically linked: it needs shared libraries; link it with "
                               "-static");
        if (entry.d_tag == DT_SONAME)
            named = true;
        if (entry.d_tag == DT_FLAGS_1 && (entry.d_un.d_val & DF_1_PIE))
            program = true;
    }
    if (named && !program)
        return BAD(p->err, "a shared library, not a program; link a program with -static");
    return 0;
}

/* Static programs only: no interpreter, no shared libraries, no library itself. */
static int check_linking(const struct parser *p, const struct scan *scan)
{
    if (scan->interpreted)
        return BAD(p->err, "dynamically linked: it asks for an interpreter (ld.so), and there is "
                           "none in a micro-VM; link it with -static (with musl-gcc not "
                           "-static-pie)");
    if (scan->has_dynamic) {
        int rc = check_dynamic(p, &scan->dynamic);
        if (rc)
            return rc;
    }
    if (p->header.e_type == ET_DYN && p->header.e_entry == 0)
        return BAD(p->err, "a shared library, not a program: it has no entry point; link a "
                           "program with -static");
    return 0;
}

static int check_place(const struct parser *p, unsigned index, uint64_t start, uint64_t end)
{
    static const struct {
        uint64_t start, end;
        const char *what;
    } reserved[] = {
        {LAYOUT_GVA_WINDOWS, LAYOUT_GVA_WINDOWS_END, "mapped memory of the host"},
        {LAYOUT_GVA_SYSTEM, LAYOUT_GVA_SYSTEM_END, "the mailbox of the micro-VM"},
        {LAYOUT_GVA_STACK_LOWEST, LAYOUT_GVA_STACK_TOP, "the stack"},
    };

    if (start < MF_ABI_GVA_MIN)
        return BAD(p->err, "segment %u begins at %#" PRIx64 ", below %#x, where nothing may be "
                           "mapped so that null pointers fault; link it with "
                           "-Wl,-Ttext-segment=0x400000", index, start, MF_ABI_GVA_MIN);
    if (end > MF_ABI_GVA_END)
        return BAD(p->err, "segment %u ends at %#" PRIx64 ", beyond the last address that a "
                           "program can use (%#" PRIx64 "); link it to lower addresses",
                   index, end, (uint64_t)MF_ABI_GVA_END);
    for (size_t i = 0; i < ARRAY_LEN(reserved); i++)
        if (start < reserved[i].end && end > reserved[i].start)
            return BAD(p->err, "segment %u (%#" PRIx64 " to %#" PRIx64 ") lies where %s goes; "
                               "link it to other addresses", index, start, end,
                       reserved[i].what);
    return 0;
}

static int check_rights(const struct parser *p, unsigned index, const Elf64_Phdr *phdr)
{
    if ((phdr->p_flags & PF_W) && (phdr->p_flags & PF_X))
        return BAD(p->err, "segment %u at %#" PRIx64 " is writable and executable, which is "
                           "never allowed; link it without -N, --omagic and "
                           "linker scripts that mix code and data", index, phdr->p_vaddr);
    if (!(phdr->p_flags & (PF_R | PF_W | PF_X)))
        return BAD(p->err, "segment %u at %#" PRIx64 " is neither readable, writable nor "
                           "executable; link it without that segment", index, phdr->p_vaddr);
    return 0;
}

/* The load base must keep what the program was told about its alignment. */
static int check_alignment(const struct parser *p, unsigned index, const Elf64_Phdr *phdr)
{
    if (!p->out->position_independent || phdr->p_align <= 1)
        return 0;
    if (!is_power_of_two(phdr->p_align) || (p->out->base & (phdr->p_align - 1)))
        return BAD(p->err, "segment %u asks for an alignment of %#" PRIx64 ", which its load "
                           "address %#" PRIx64 " cannot give; link it with -static instead of "
                           "-static-pie", index, phdr->p_align, p->out->base);
    return 0;
}

/* Checks one PT_LOAD by itself and adds it. */
static int add_segment(const struct parser *p, unsigned index, const Elf64_Phdr *phdr)
{
    struct elf *out = p->out;
    uint64_t start, end, page_end;
    int rc;

    if (phdr->p_filesz > phdr->p_memsz)
        return BAD(p->err, "segment %u has %" PRIu64 " bytes in the file but only %" PRIu64
                           " in memory; build or copy the program again",
                   index, phdr->p_filesz, phdr->p_memsz);
    if (phdr->p_memsz == 0)
        return 0;
    /* A segment of zeros alone may name any place in the file; linkers do. */
    if (phdr->p_filesz > 0 && !range_inside(phdr->p_offset, phdr->p_filesz, p->len))
        return BAD(p->err, "truncated: segment %u takes %" PRIu64 " bytes at %#" PRIx64
                           " of the file, which has %zu; build or copy the program again",
                   index, phdr->p_filesz, phdr->p_offset, p->len);
    rc = check_rights(p, index, phdr);
    if (!rc)
        rc = check_alignment(p, index, phdr);
    if (rc)
        return rc;
    if (!add_u64(phdr->p_vaddr, out->base, &start) || !add_u64(start, phdr->p_memsz, &end) ||
        !round_up_u64(end, PAGE_BYTES, &page_end))
        return BAD(p->err, "segment %u at %#" PRIx64 " of %#" PRIx64 " bytes wraps around the "
                           "end of the address space; build or copy the program again",
                   index, phdr->p_vaddr, phdr->p_memsz);
    rc = check_place(p, index, round_down_u64(start, PAGE_BYTES), page_end);
    if (rc)
        return rc;
    if (out->nsegments == ELF_SEGMENTS_MAX)
        return BAD(p->err, "too many loadable segments: more than %d; link it without a linker "
                           "script of its own", ELF_SEGMENTS_MAX);
    out->segments[out->nsegments++] = (struct elf_segment){
        .address = start,
        .memory_bytes = phdr->p_memsz,
        .file_offset = phdr->p_filesz > 0 ? phdr->p_offset : 0,
        .file_bytes = phdr->p_filesz,
        .readable = phdr->p_flags & PF_R,
        .writable = phdr->p_flags & PF_W,
        .executable = phdr->p_flags & PF_X,
    };
    return 0;
}

static int read_segments(const struct parser *p)
{
    for (unsigned i = 0; i < p->header.e_phnum; i++) {
        Elf64_Phdr phdr;

        read_phdr(p, i, &phdr);
        if (phdr.p_type != PT_LOAD)
            continue;
        int rc = add_segment(p, i, &phdr);
        if (rc)
            return rc;
    }
    if (p->out->nsegments == 0)
        return BAD(p->err, "no loadable segment: there is nothing to run in this file; link it "
                           "into a program with `gcc -static`");
    return 0;
}

static int compare_segments(const void *left, const void *right)
{
    const struct elf_segment *a = left, *b = right;
    return a->address < b->address ? -1 : a->address > b->address;
}

static const char *rights_text(const struct elf_segment *s)
{
    if (s->writable)
        return "rw-";
    return s->executable ? "r-x" : "r--";
}

/* Whether the guest's page tables give both the same rights; what is mapped is readable. */
static bool same_rights(const struct elf_segment *a, const struct elf_segment *b)
{
    return a->writable == b->writable && a->executable == b->executable;
}

/*
 * Sorts the segments and checks each against its neighbour. Those that share a
 * page must have the same rights: the page has one set of them.
 */
static int check_together(const struct parser *p)
{
    struct elf *out = p->out;

    qsort(out->segments, out->nsegments, sizeof(out->segments[0]), compare_segments);
    for (size_t i = 1; i < out->nsegments; i++) {
        const struct elf_segment *a = &out->segments[i - 1], *b = &out->segments[i];
        uint64_t a_end = a->address + a->memory_bytes;

        if (a_end > b->address)
            return BAD(p->err, "segments overlap: the one at %#" PRIx64 " ends at %#" PRIx64
                               ", behind the start of the one at %#" PRIx64
                               "; build or copy the program again", a->address, a_end, b->address);
        if (!same_rights(a, b) &&
            round_down_u64(a_end - 1, PAGE_BYTES) == round_down_u64(b->address, PAGE_BYTES))
            return BAD(p->err, "segments at %#" PRIx64 " (%s) and %#" PRIx64 " (%s) share one "
                               "page; link it with -Wl,-z,separate-code and "
                               "-Wl,-z,max-page-size=4096 or more", a->address, rights_text(a),
                       b->address, rights_text(b));
    }
    const struct elf_segment *last = &out->segments[out->nsegments - 1];
    out->low = round_down_u64(out->segments[0].address, PAGE_BYTES);
    /* Cannot overflow: add_segment rounded the same sum. */
    out->high = round_down_u64(last->address + last->memory_bytes + PAGE_MASK_LOW, PAGE_BYTES);
    return 0;
}

static int check_entry(const struct parser *p)
{
    struct elf *out = p->out;

    if (!add_u64(p->header.e_entry, out->base, &out->entry))
        return BAD(p->err, "the entry point %#" PRIx64 " wraps around the end of the address "
                           "space; build or copy the program again", p->header.e_entry);
    for (size_t i = 0; i < out->nsegments; i++) {
        const struct elf_segment *s = &out->segments[i];
        if (s->executable && out->entry >= s->address &&
            out->entry - s->address < s->memory_bytes)
            return 0;
    }
    return BAD(p->err, "the entry point %#" PRIx64 " lies in no executable segment; link it as "
                       "a program with a _start (or name one with -Wl,-e,SYMBOL)", out->entry);
}

/* Where the guest finds its program headers: by file offset, as the kernel does. */
static void find_phdrs(const struct parser *p)
{
    struct elf *out = p->out;
    uint64_t bytes = (uint64_t)p->header.e_phnum * sizeof(Elf64_Phdr);

    out->phdr_count = p->header.e_phnum;
    out->phdr_size = sizeof(Elf64_Phdr);
    for (size_t i = 0; i < out->nsegments; i++) {
        const struct elf_segment *s = &out->segments[i];
        if (p->header.e_phoff >= s->file_offset &&
            range_inside(p->header.e_phoff - s->file_offset, bytes, s->file_bytes)) {
            out->phdr_address = s->address + (p->header.e_phoff - s->file_offset);
            return;
        }
    }
}

/* Takes a note whose name and description are inside the file, when it is ours. */
static int take_note(const struct parser *p, const Elf64_Nhdr *note, uint64_t name,
                     uint64_t description, uint64_t address)
{
    struct elf *out = p->out;

    if (note->n_type != MF_ABI_NOTE_TYPE || note->n_namesz != sizeof(MF_ABI_NOTE_NAME) ||
        memcmp(p->file + name, MF_ABI_NOTE_NAME, sizeof(MF_ABI_NOTE_NAME)) != 0)
        return 0;
    if (out->has_note)
        return BAD(p->err, "two Mayfly notes: the guest SDK was linked in twice; link "
                           "libmayfly_guest.a once");
    if (note->n_descsz < sizeof(struct mf_abi_note))
        return BAD(p->err, "the Mayfly note has %u bytes instead of %zu; build the guest again "
                           "with the SDK of this version",
                   (unsigned)note->n_descsz, sizeof(struct mf_abi_note));
    out->has_note = true;
    out->note_offset = description;
    out->note_address = address;
    out->note_bytes = note->n_descsz;
    return 0;
}

/* All notes of one PT_NOTE. Offsets here are below 2^32 + the file's length: no overflow. */
static int read_notes(const struct parser *p, unsigned index, const Elf64_Phdr *phdr)
{
    uint64_t align = phdr->p_align == 8 ? 8 : 4;
    uint64_t at = 0;
    Elf64_Nhdr note;

    if (!range_inside(phdr->p_offset, phdr->p_filesz, p->len))
        return BAD(p->err, "truncated: the notes of program header %u at %#" PRIx64
                           " lie beyond the end of the file (%zu bytes); build or copy the "
                           "program again", index, phdr->p_offset, p->len);
    if (phdr->p_filesz > NOTES_MAX)
        return BAD(p->err, "program header %u has %" PRIu64 " bytes of notes, at most %" PRIu64
                           " can be read; remove large notes with objcopy --remove-section",
                   index, phdr->p_filesz, NOTES_MAX);
    /* What is left behind the last note and too small for a header is padding. */
    while (at < phdr->p_filesz && phdr->p_filesz - at >= sizeof(note)) {
        memcpy(&note, p->file + phdr->p_offset + at, sizeof(note));
        uint64_t name = at + sizeof(note);
        uint64_t description = (name + note.n_namesz + align - 1) & ~(align - 1);
        uint64_t end = description + note.n_descsz;

        if (end > phdr->p_filesz)
            return BAD(p->err, "truncated: a note at %#" PRIx64 " runs past the end of its "
                               "segment (program header %u); build or copy the program again",
                       phdr->p_offset + at, index);
        int rc = take_note(p, &note, phdr->p_offset + name, phdr->p_offset + description,
                           phdr->p_vaddr + description + p->out->base);
        if (rc)
            return rc;
        at = (end + align - 1) & ~(align - 1);
    }
    return 0;
}

static int find_note(const struct parser *p)
{
    for (unsigned i = 0; i < p->header.e_phnum; i++) {
        Elf64_Phdr phdr;

        read_phdr(p, i, &phdr);
        if (phdr.p_type != PT_NOTE)
            continue;
        int rc = read_notes(p, i, &phdr);
        if (rc)
            return rc;
    }
    return 0;
}

static void read_shdr(const struct parser *p, unsigned index, Elf64_Shdr *shdr)
{
    memcpy(shdr, p->file + p->header.e_shoff + index * sizeof(*shdr), sizeof(*shdr));
}

static int take_symbols(const struct parser *p, const Elf64_Shdr *symtab)
{
    struct elf *out = p->out;
    Elf64_Shdr strtab;

    if (symtab->sh_entsize != sizeof(Elf64_Sym) || symtab->sh_link >= p->header.e_shnum)
        return BAD(p->err, "damaged symbol table; build the program again, or remove its symbols "
                           "with `strip`");
    read_shdr(p, symtab->sh_link, &strtab);
    if (strtab.sh_type != SHT_STRTAB)
        return BAD(p->err, "damaged symbol table: it has no names; build the program again, or "
                           "remove its symbols with `strip`");
    if (!range_inside(symtab->sh_offset, symtab->sh_size, p->len) ||
        !range_inside(strtab.sh_offset, strtab.sh_size, p->len))
        return BAD(p->err, "truncated: the symbol table lies beyond the end of the file (%zu "
                           "bytes); build or copy the program again", p->len);
    out->symtab_offset = symtab->sh_offset;
    out->nsymbols = symtab->sh_size / sizeof(Elf64_Sym);
    out->strtab_offset = strtab.sh_offset;
    out->strtab_bytes = strtab.sh_size;
    return 0;
}

/*
 * The symbol table is optional, but a section table that the header promises must
 * be there: linkers put it last, so that its absence is how a truncated file shows.
 */
static int find_symbols(const struct parser *p)
{
    const Elf64_Ehdr *h = &p->header;

    if (h->e_shoff == 0 || h->e_shnum == 0)
        return 0;
    if (h->e_shentsize != sizeof(Elf64_Shdr))
        return BAD(p->err, "damaged ELF header: section headers of %u bytes instead of %zu; "
                           "build or copy the program again",
                   (unsigned)h->e_shentsize, sizeof(Elf64_Shdr));
    if (!range_inside(h->e_shoff, (uint64_t)h->e_shnum * sizeof(Elf64_Shdr), p->len))
        return BAD(p->err, "truncated: %u section headers at %#" PRIx64 " lie beyond the end of "
                           "the file (%zu bytes); build or copy the program again",
                   (unsigned)h->e_shnum, h->e_shoff, p->len);
    for (unsigned i = 0; i < h->e_shnum; i++) {
        Elf64_Shdr shdr;

        read_shdr(p, i, &shdr);
        if (shdr.sh_type == SHT_SYMTAB)
            return take_symbols(p, &shdr);
    }
    return 0;
}

int elf_parse(const uint8_t *file, size_t len, uint64_t pie_base, struct elf *out,
              struct mf_error *err)
{
    struct parser p = {.file = file, .len = len, .out = out, .err = err};
    struct scan scan;
    int rc;

    memset(out, 0, sizeof(*out));
    if ((rc = read_header(&p)) || (rc = check_type(&p)) || (rc = check_program_headers(&p)))
        return rc;
    scan_program_headers(&p, &scan);
    if ((rc = check_linking(&p, &scan)))
        return rc;
    out->position_independent = p.header.e_type == ET_DYN;
    out->base = out->position_independent ? pie_base : 0;
    if ((rc = read_segments(&p)) || (rc = check_together(&p)) || (rc = check_entry(&p)))
        return rc;
    find_phdrs(&p);
    if ((rc = find_note(&p)))
        return rc;
    return find_symbols(&p);
}

const uint8_t *elf_at(const struct elf *elf, const uint8_t *file, size_t file_len,
                      uint64_t address, uint64_t len)
{
    for (size_t i = 0; i < elf->nsegments; i++) {
        const struct elf_segment *s = &elf->segments[i];

        if (address >= s->address && range_inside(address - s->address, len, s->file_bytes) &&
            range_inside(s->file_offset, s->file_bytes, file_len))
            return file + s->file_offset + (address - s->address);
    }
    return NULL;
}

/* The executable segment that holds `address`, or NULL. */
static const struct elf_segment *code_at(const struct elf *elf, uint64_t address)
{
    for (size_t i = 0; i < elf->nsegments; i++) {
        const struct elf_segment *s = &elf->segments[i];
        if (s->executable && address >= s->address && address - s->address < s->memory_bytes)
            return s;
    }
    return NULL;
}

/*
 * How well a symbol explains `address`: 0 not at all; then, from worse to better,
 * one without a size that begins before it (hand-written assembly), and one that
 * holds it, local, weak and global.
 */
static unsigned symbol_rank(const Elf64_Sym *sym, uint64_t start, uint64_t address,
                            const struct elf_segment *code)
{
    if (ELF64_ST_TYPE(sym->st_info) != STT_FUNC && ELF64_ST_TYPE(sym->st_info) != STT_GNU_IFUNC)
        return 0;
    if (sym->st_shndx == SHN_UNDEF || sym->st_name == 0 || start > address)
        return 0;
    if (sym->st_size == 0)
        return start >= code->address ? 1 : 0;
    if (address - start >= sym->st_size)
        return 0;
    if (ELF64_ST_BIND(sym->st_info) == STB_GLOBAL)
        return 4;
    return ELF64_ST_BIND(sym->st_info) == STB_WEAK ? 3 : 2;
}

/* Copies a name up to its NUL; what is not printable ASCII becomes '?'. */
static void copy_name(const struct elf *elf, const uint8_t *file, uint64_t name, char *dst,
                      size_t size)
{
    const uint8_t *strings = file + elf->strtab_offset;
    size_t n = 0;

    for (; n + 1 < size && name < elf->strtab_bytes && strings[name] != 0; name++) {
        uint8_t c = strings[name];
        dst[n++] = c >= 0x20 && c < 0x7f ? (char)c : '?';
    }
    if (size > 0)
        dst[n] = 0;
}

bool elf_symbol_at(const struct elf *elf, const uint8_t *file, size_t len, uint64_t address,
                   char *name, size_t size, uint64_t *offset)
{
    const struct elf_segment *code = code_at(elf, address);
    unsigned best_rank = 0;
    uint64_t best_start = 0, best_name = 0;

    if (!code || !range_inside(elf->strtab_offset, elf->strtab_bytes, len) ||
        !range_inside(elf->symtab_offset, elf->nsymbols * sizeof(Elf64_Sym), len))
        return false;
    for (size_t i = 0; i < elf->nsymbols; i++) {
        Elf64_Sym sym;
        uint64_t start;

        memcpy(&sym, file + elf->symtab_offset + i * sizeof(sym), sizeof(sym));
        if (sym.st_name >= elf->strtab_bytes || !add_u64(sym.st_value, elf->base, &start))
            continue;
        unsigned rank = symbol_rank(&sym, start, address, code);
        if (rank == 0 || rank < best_rank)
            continue;
        /* Of equals the innermost one, which begins last. */
        if (rank > best_rank || start > best_start) {
            best_rank = rank;
            best_start = start;
            best_name = sym.st_name;
        }
    }
    if (best_rank == 0)
        return false;
    copy_name(elf, file, best_name, name, size);
    *offset = address - best_start;
    return true;
}
