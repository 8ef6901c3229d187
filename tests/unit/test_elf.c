/* The ELF parser: what it takes from a right file, and each message for a wrong one. */
#include "mem/elf.h"

#include "abi/memory_map.h"
#include "elf_build.h"
#include "mem/layout.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

/* Leaves room for the name of the file in front of a message. */
#define MESSAGE_ROOM 190

/* Parses an exact copy on the heap, so that a sanitizer sees its end. */
static int parse_bytes(const uint8_t *bytes, size_t len, struct elf *elf, struct mf_error *err)
{
    uint8_t *copy = malloc(len ? len : 1);

    assert_non_null(copy);
    memcpy(copy, bytes, len);
    int rc = elf_parse(copy, len, LAYOUT_GVA_PIE, elf, err);
    free(copy);
    return rc;
}

static void assert_refused_bytes(const void *bytes, size_t len, const char *words)
{
    struct mf_error err = {0};
    struct elf elf;

    assert_int_equal(parse_bytes(bytes, len, &elf, &err), MF_E_IMAGE);
    assert_int_equal(err.code, MF_E_IMAGE);
    if (!strstr(err.message, words))
        fail_msg("expected '%s' in '%s'", words, err.message);
    assert_true(strlen(err.message) <= MESSAGE_ROOM);
}

static void assert_refused(const struct elf_build *b, const char *words)
{
    assert_refused_bytes(b->bytes, b->len, words);
}

static void parse_right(const struct elf_build *b, struct elf *elf)
{
    struct mf_error err = {0};

    if (parse_bytes(b->bytes, b->len, elf, &err) != 0)
        fail_msg("refused: %s", err.message);
}

static void takes_a_program(void **state)
{
    struct elf_build b;
    struct elf elf;
    (void)state;

    build_program(&b);
    parse_right(&b, &elf);
    assert_int_equal(elf.entry, BUILD_BASE + BUILD_CODE);
    assert_int_equal(elf.base, 0);
    assert_false(elf.position_independent);
    assert_int_equal(elf.nsegments, 4);
    assert_int_equal(elf.low, BUILD_BASE);
    assert_int_equal(elf.high, BUILD_BASE + 0x6000);
    assert_int_equal(elf.phdr_address, BUILD_BASE + 64);
    assert_int_equal(elf.phdr_count, 4);
    assert_int_equal(elf.phdr_size, 56);
    assert_false(elf.has_note);
    assert_int_equal(elf.nsymbols, 1);
    const struct elf_segment *code = &elf.segments[1];
    assert_true(code->readable && code->executable && !code->writable);
    const struct elf_segment *data = &elf.segments[3];
    assert_true(data->readable && data->writable && !data->executable);
    assert_int_equal(data->memory_bytes, 0x2100);
    assert_int_equal(data->file_bytes, 0x80);
    assert_int_equal(data->file_offset, BUILD_DATA);
}

static void sorts_segments(void **state)
{
    struct elf_build b;
    struct elf elf;
    (void)state;

    build_program(&b);
    Elf64_Phdr first = *build_phdr(&b, 0);
    *build_phdr(&b, 0) = *build_phdr(&b, 3);
    *build_phdr(&b, 3) = first;
    parse_right(&b, &elf);
    for (size_t i = 1; i < elf.nsegments; i++)
        assert_true(elf.segments[i - 1].address < elf.segments[i].address);
}

static void places_a_static_pie(void **state)
{
    struct elf_build b;
    struct elf elf;
    (void)state;

    build_program(&b);
    b.header.e_type = ET_DYN;
    parse_right(&b, &elf);
    assert_true(elf.position_independent);
    assert_int_equal(elf.base, LAYOUT_GVA_PIE);
    assert_int_equal(elf.entry, LAYOUT_GVA_PIE + BUILD_BASE + BUILD_CODE);
    assert_int_equal(elf.segments[0].address, LAYOUT_GVA_PIE + BUILD_BASE);

    /* It may begin at 0, because the base is added. */
    for (unsigned i = 0; i < 4; i++)
        build_phdr(&b, i)->p_vaddr -= BUILD_BASE;
    b.header.e_entry -= BUILD_BASE;
    parse_right(&b, &elf);
    assert_int_equal(elf.low, LAYOUT_GVA_PIE);

    build_phdr(&b, 1)->p_align = UINT64_C(1) << 46;
    assert_refused(&b, "alignment");
    build_phdr(&b, 1)->p_align = 24;
    assert_refused(&b, "alignment");
}

static void ignores_an_executable_stack(void **state)
{
    struct elf_build b;
    struct elf elf;
    (void)state;

    build_program(&b);
    b.header.e_phnum++;
    build_set_phdr(&b, 4, PT_GNU_STACK, PF_R | PF_W | PF_X, 0, 0, 0);
    parse_right(&b, &elf);
    assert_int_equal(elf.nsegments, 4);
}

static void skips_empty_segments(void **state)
{
    struct elf_build b;
    struct elf elf;
    (void)state;

    build_program(&b);
    b.header.e_phnum++;
    build_set_phdr(&b, 4, PT_LOAD, PF_R | PF_W | PF_X, 0, 0, 0);
    parse_right(&b, &elf);
    assert_int_equal(elf.nsegments, 4);
}

static void names_what_is_not_elf(void **state)
{
    (void)state;
    assert_refused_bytes("", 0, "the file is empty");
    assert_refused_bytes("hello, world", 12, "not an ELF program: it does not begin");
    assert_refused_bytes("\x7f", 1, "not an ELF program");
    assert_refused_bytes("#!/bin/sh\n", 10, "a script");
    assert_refused_bytes("MZ\x90", 3, "a Windows program");
    assert_refused_bytes("!<arch>\nxyz", 11, "a library archive");
    assert_refused_bytes("\0asm\1\0\0\0", 8, "a WebAssembly module");
    assert_refused_bytes("\xcf\xfa\xed\xfe....", 8, "a macOS program");
    assert_refused_bytes("\x1f\x8b....", 6, "a gzip file");
    assert_refused_bytes("BC\xc0\xde....", 8, "LLVM bitcode");
}

static void names_other_machines(void **state)
{
    static const struct {
        unsigned machine;
        const char *name;
    } machines[] = {{EM_AARCH64, "another machine: AArch64"}, {EM_RISCV, "RISC-V"},
                    {EM_386, "i386"},                         {EM_MIPS, "MIPS"},
                    {EM_PPC64, "PowerPC 64"},                 {EM_S390, "IBM Z"},
                    {258, "LoongArch"},                       {4711, "unknown machine (4711)"}};
    struct elf_build b;
    (void)state;

    for (size_t i = 0; i < sizeof(machines) / sizeof(machines[0]); i++) {
        build_program(&b);
        b.header.e_machine = (uint16_t)machines[i].machine;
        assert_refused(&b, machines[i].name);
    }

    build_program(&b);
    b.header.e_ident[EI_CLASS] = ELFCLASS32;
    b.header.e_machine = EM_386;
    assert_refused(&b, "a 32-bit program (i386)");
    b.header.e_machine = EM_X86_64;
    assert_refused(&b, "x32");
    b.header.e_ident[EI_CLASS] = 7;
    assert_refused(&b, "class 7");

    build_program(&b);
    b.header.e_ident[EI_DATA] = ELFDATA2MSB;
    b.header.e_machine = EM_MIPS << 8;
    assert_refused(&b, "a big-endian program (MIPS)");
    b.header.e_ident[EI_DATA] = 9;
    assert_refused(&b, "byte order 9");

    build_program(&b);
    b.header.e_ident[EI_OSABI] = ELFOSABI_FREEBSD;
    assert_refused(&b, "a program for FreeBSD");
    b.header.e_ident[EI_OSABI] = ELFOSABI_GNU;
    struct elf elf;
    parse_right(&b, &elf);

    build_program(&b);
    b.header.e_version = 2;
    assert_refused(&b, "ELF version 2");
}

static void names_other_types(void **state)
{
    struct elf_build b;
    (void)state;

    build_program(&b);
    b.header.e_type = ET_REL;
    assert_refused(&b, "relocatable object file");
    b.header.e_type = ET_CORE;
    assert_refused(&b, "core dump");
    b.header.e_type = 77;
    assert_refused(&b, "ELF type 77");
    b.header.e_type = ET_DYN;
    b.header.e_entry = 0;
    assert_refused(&b, "a shared library, not a program");
}

/* Adds a dynamic section of one entry and its end. */
static void add_dynamic(struct elf_build *b, int64_t tag, uint64_t value)
{
    Elf64_Dyn entries[2] = {{.d_tag = tag, .d_un.d_val = value}, {.d_tag = DT_NULL}};

    memcpy(b->bytes + BUILD_DATA, entries, sizeof(entries));
    b->header.e_type = ET_DYN;
    b->header.e_phnum = 5;
    build_set_phdr(b, 4, PT_DYNAMIC, PF_R | PF_W, BUILD_DATA, sizeof(entries), sizeof(entries));
}

static void refuses_dynamic_programs(void **state)
{
    struct elf_build b;
    struct elf elf;
    (void)state;

    build_program(&b);
    b.header.e_phnum = 5;
    build_set_phdr(&b, 4, PT_INTERP, PF_R, BUILD_RODATA, 0x10, 0x10);
    assert_refused(&b, "dynamically linked");
    assert_refused(&b, "-static");
    b.header.e_type = ET_DYN;
    assert_refused(&b, "dynamically linked");

    build_program(&b);
    add_dynamic(&b, DT_NEEDED, 1);
    assert_refused(&b, "needs shared libraries");
    build_program(&b);
    add_dynamic(&b, DT_SONAME, 1);
    assert_refused(&b, "a shared library, not a program");
    build_program(&b);
    add_dynamic(&b, DT_FLAGS_1, DF_1_PIE);
    parse_right(&b, &elf);
    build_phdr(&b, 4)->p_offset = b.len;
    assert_refused(&b, "truncated: the dynamic section");
}

static void refuses_bad_headers(void **state)
{
    struct elf_build b;
    (void)state;

    build_program(&b);
    assert_refused_bytes(b.bytes, 63, "truncated: the ELF header");
    assert_refused_bytes(b.bytes, 19, "truncated: the ELF header");
    assert_refused_bytes(b.bytes, 64 + 100, "truncated: 4 program headers");
    b.header.e_phnum = 0;
    assert_refused(&b, "no loadable segment");
    b.header.e_phnum = 257;
    assert_refused(&b, "too many program headers: 257");
    b.header.e_phnum = 0xffff;
    assert_refused(&b, "too many program headers");
    b.header.e_phnum = 4;
    b.header.e_phentsize = 32;
    assert_refused(&b, "program headers of 32 bytes");
    b.header.e_phentsize = 56;
    b.header.e_phoff = UINT64_MAX - 10;
    assert_refused(&b, "truncated: 4 program headers");
}

static void refuses_bad_segments(void **state)
{
    struct elf_build b;
    (void)state;

    build_program(&b);
    for (unsigned i = 0; i < 4; i++)
        build_phdr(&b, i)->p_type = PT_NULL;
    assert_refused(&b, "no loadable segment");

    build_program(&b);
    build_phdr(&b, 1)->p_filesz = b.len;
    build_phdr(&b, 1)->p_memsz = b.len;
    assert_refused(&b, "truncated: segment 1");
    build_phdr(&b, 1)->p_offset = UINT64_MAX;
    assert_refused(&b, "truncated: segment 1");

    build_program(&b);
    build_phdr(&b, 1)->p_filesz = 0x101;
    assert_refused(&b, "only 256 in memory");

    build_program(&b);
    build_phdr(&b, 1)->p_flags = PF_R | PF_W | PF_X;
    assert_refused(&b, "segment 1 at 0x401000 is writable and executable");
    build_phdr(&b, 1)->p_flags = PF_W | PF_X;
    assert_refused(&b, "is writable and executable");
    build_phdr(&b, 1)->p_flags = 0;
    assert_refused(&b, "neither readable, writable nor executable");
}

static void refuses_bad_places(void **state)
{
    struct elf_build b;
    struct elf elf;
    (void)state;

    build_program(&b);
    build_phdr(&b, 3)->p_vaddr = UINT64_MAX - 0x100;
    assert_refused(&b, "wraps around");
    build_phdr(&b, 3)->p_vaddr = UINT64_MAX - 0x2100;
    assert_refused(&b, "wraps around");
    build_phdr(&b, 3)->p_vaddr = 0x500000;
    build_phdr(&b, 3)->p_memsz = UINT64_MAX;
    assert_refused(&b, "wraps around");

    build_program(&b);
    build_phdr(&b, 0)->p_vaddr = MF_ABI_GVA_MIN - 1;
    assert_refused(&b, "below 0x10000");
    build_phdr(&b, 0)->p_vaddr = 0;
    assert_refused(&b, "below 0x10000");
    build_phdr(&b, 0)->p_vaddr = MF_ABI_GVA_MIN;
    parse_right(&b, &elf);

    build_program(&b);
    build_phdr(&b, 3)->p_vaddr = MF_ABI_GVA_END - 0x1000;
    assert_refused(&b, "beyond the last address");
    build_phdr(&b, 3)->p_vaddr = UINT64_C(0xffff800000000000);
    assert_refused(&b, "beyond the last address");
    build_phdr(&b, 3)->p_vaddr = MF_ABI_GVA_END - 0x2000; /* one page too far */
    assert_refused(&b, "beyond the last address");
    build_phdr(&b, 3)->p_vaddr = MF_ABI_GVA_END - 0x3000;
    parse_right(&b, &elf);

    build_phdr(&b, 3)->p_vaddr = MF_ABI_GVA_BOOT;
    assert_refused(&b, "the mailbox");
    build_phdr(&b, 3)->p_vaddr = MF_ABI_GVA_MAILBOX + 0x100000;
    assert_refused(&b, "the mailbox");
    build_phdr(&b, 3)->p_vaddr = MF_ABI_GVA_BOOT - 0x1000;
    assert_refused(&b, "the mailbox");
    build_phdr(&b, 3)->p_vaddr = LAYOUT_GVA_STACK_TOP - 0x2000;
    assert_refused(&b, "the stack");
    build_phdr(&b, 3)->p_vaddr = LAYOUT_GVA_WINDOWS;
    assert_refused(&b, "mapped memory of the host");
    build_phdr(&b, 3)->p_vaddr = LAYOUT_GVA_WINDOWS_END - 0x1000;
    assert_refused(&b, "mapped memory of the host");
    /* All of the middle at once. */
    build_phdr(&b, 3)->p_vaddr = 0x500000;
    build_phdr(&b, 3)->p_memsz = UINT64_C(0x7ff800000000);
    assert_refused(&b, "lies where");
    /* The area of mmap is free for images. */
    build_phdr(&b, 3)->p_memsz = 0x2100;
    build_phdr(&b, 3)->p_vaddr = LAYOUT_GVA_MMAP;
    parse_right(&b, &elf);
}

static void refuses_segments_that_meet(void **state)
{
    struct elf_build b;
    (void)state;

    build_program(&b);
    build_phdr(&b, 1)->p_memsz = 0x1001;
    assert_refused(&b, "segments overlap: the one at 0x401000 ends at 0x402001");
    build_program(&b);
    *build_phdr(&b, 0) = *build_phdr(&b, 1);
    assert_refused(&b, "segments overlap");

    build_program(&b);
    build_phdr(&b, 2)->p_vaddr = BUILD_BASE + BUILD_CODE + 0x100;
    assert_refused(&b, "segments at 0x401000 (r-x) and 0x401100 (r--) share one page");
    assert_refused(&b, "-z,separate-code");
    build_phdr(&b, 2)->p_flags = PF_R | PF_W;
    assert_refused(&b, "0x401100 (rw-) share one page");
    /* With the same rights they may share it. */
    struct elf elf;
    build_phdr(&b, 2)->p_flags = PF_X;
    parse_right(&b, &elf);
    /* The last byte of the page is enough to share it. */
    build_program(&b);
    build_phdr(&b, 2)->p_vaddr = BUILD_BASE + 0x1fff;
    build_phdr(&b, 2)->p_memsz = 1;
    build_phdr(&b, 2)->p_filesz = 1;
    assert_refused(&b, "share one page");
}

static void refuses_too_many_segments(void **state)
{
    static struct {
        Elf64_Ehdr header;
        Elf64_Phdr phdr[ELF_SEGMENTS_MAX + 1];
    } file;
    struct elf_build b;
    (void)state;

    build_program(&b);
    file.header = b.header;
    file.header.e_shoff = 0;
    for (unsigned i = 0; i <= ELF_SEGMENTS_MAX; i++) {
        file.phdr[i] = *build_phdr(&b, 1);
        file.phdr[i].p_filesz = 0;
        file.phdr[i].p_vaddr += (uint64_t)i << 12;
    }
    file.header.e_phnum = ELF_SEGMENTS_MAX + 1;
    assert_refused_bytes(&file, sizeof(file), "too many loadable segments");
    file.header.e_phnum = ELF_SEGMENTS_MAX;
    struct elf elf;
    assert_int_equal(parse_bytes((uint8_t *)&file, sizeof(file), &elf, NULL), 0);
    assert_int_equal(elf.nsegments, ELF_SEGMENTS_MAX);
    /* No segment holds the program headers here. */
    assert_int_equal(elf.phdr_address, 0);
}

static void refuses_a_bad_entry(void **state)
{
    struct elf_build b;
    (void)state;

    build_program(&b);
    b.header.e_entry = BUILD_BASE + BUILD_DATA;
    assert_refused(&b, "the entry point 0x403000 lies in no executable segment");
    b.header.e_entry = BUILD_BASE + BUILD_CODE + 0x100;
    assert_refused(&b, "lies in no executable segment");
    b.header.e_entry = 0;
    assert_refused(&b, "lies in no executable segment");
    b.header.e_type = ET_DYN;
    b.header.e_entry = UINT64_MAX;
    assert_refused(&b, "wraps around");
}

static void finds_the_note(void **state)
{
    struct elf_build b;
    struct elf elf;
    (void)state;

    build_guest(&b);
    parse_right(&b, &elf);
    assert_true(elf.has_note);
    assert_int_equal(elf.note_offset, BUILD_NOTE_DESCRIPTION);
    assert_int_equal(elf.note_address, BUILD_BASE + BUILD_NOTE_DESCRIPTION);
    assert_int_equal(elf.note_bytes, 24);

    /* Another note before it, in a segment with the alignment of 8. */
    build_program(&b);
    b.header.e_phnum = BUILD_PHS;
    static const uint32_t notes[] = {4, 3, 5, 0x554e47, 0x112233, 0, /* "GNU", 3 bytes, padding */
                                     7, 24, 0x4d46, 0x6679614d, 0x796c, 0, 1, 2, 3, 4, 5, 6};
    memcpy(b.bytes + BUILD_NOTE, notes, sizeof(notes));
    build_set_phdr(&b, BUILD_NOTE_PH, PT_NOTE, PF_R, BUILD_NOTE, sizeof(notes), sizeof(notes));
    build_phdr(&b, BUILD_NOTE_PH)->p_align = 8;
    parse_right(&b, &elf);
    assert_true(elf.has_note);
    assert_int_equal(elf.note_offset, BUILD_NOTE + 48);
}

static void refuses_bad_notes(void **state)
{
    struct elf_build b;
    struct elf elf;
    (void)state;

    build_guest(&b);
    build_phdr(&b, BUILD_NOTE_PH)->p_offset = b.len - 10;
    assert_refused(&b, "truncated: the notes");
    build_guest(&b);
    build_phdr(&b, BUILD_NOTE_PH)->p_filesz -= 1;
    assert_refused(&b, "truncated: a note at 0x2000");
    build_guest(&b);
    memset(b.bytes + BUILD_NOTE, 0xff, 8);
    assert_refused(&b, "truncated: a note");
    build_guest(&b);
    b.bytes[BUILD_NOTE + 4] = 20; /* n_descsz */
    assert_refused(&b, "the Mayfly note has 20 bytes instead of 24");
    build_guest(&b);
    b.header.e_phnum++;
    *build_phdr(&b, BUILD_PHS) = *build_phdr(&b, BUILD_NOTE_PH);
    assert_refused(&b, "two Mayfly notes");

    /* A note of another name or type is none of ours. */
    build_guest(&b);
    b.bytes[BUILD_NOTE + 12] = 'm';
    parse_right(&b, &elf);
    assert_false(elf.has_note);
    build_guest(&b);
    b.bytes[BUILD_NOTE + 8] ^= 1;
    parse_right(&b, &elf);
    assert_false(elf.has_note);
}

static void refuses_too_large_notes(void **state)
{
    struct elf_build b;
    size_t len = (UINT64_C(1) << 20) + 0x8000;
    uint8_t *file = calloc(1, len);
    (void)state;

    assert_non_null(file);
    build_guest(&b);
    build_phdr(&b, BUILD_NOTE_PH)->p_filesz = (UINT64_C(1) << 20) + 1;
    memcpy(file, b.bytes, b.len);
    assert_refused_bytes(file, len, "1048577 bytes of notes");
    free(file);
}

static void refuses_bad_symbol_tables(void **state)
{
    struct elf_build b;
    struct elf elf;
    (void)state;

    build_program(&b);
    b.header.e_shentsize = 40;
    assert_refused(&b, "section headers of 40 bytes");
    build_program(&b);
    b.header.e_shnum = 4;
    assert_refused(&b, "truncated: 4 section headers");
    b.header.e_shoff = UINT64_MAX;
    assert_refused(&b, "truncated: 4 section headers");
    build_program(&b);
    build_shdr(&b, 1)->sh_entsize = 23;
    assert_refused(&b, "damaged symbol table");
    build_program(&b);
    build_shdr(&b, 1)->sh_link = 3;
    assert_refused(&b, "damaged symbol table");
    build_program(&b);
    build_shdr(&b, 1)->sh_link = 1;
    assert_refused(&b, "it has no names");
    build_program(&b);
    build_shdr(&b, 1)->sh_size = UINT64_MAX;
    assert_refused(&b, "truncated: the symbol table");
    build_program(&b);
    build_shdr(&b, 2)->sh_offset = b.len;
    assert_refused(&b, "truncated: the symbol table");
    /* A stripped program has none, which is fine. */
    build_program(&b);
    b.header.e_shoff = 0;
    parse_right(&b, &elf);
    assert_int_equal(elf.nsymbols, 0);
    build_program(&b);
    build_shdr(&b, 1)->sh_type = SHT_PROGBITS;
    parse_right(&b, &elf);
    assert_int_equal(elf.nsymbols, 0);
}

/* The section headers are last, so that every shorter file is a truncated one. */
static void refuses_every_truncation(void **state)
{
    struct elf_build b;
    struct elf elf;
    struct mf_error err;
    (void)state;

    build_guest(&b);
    for (size_t len = 0; len < b.len; len++) {
        assert_int_equal(parse_bytes(b.bytes, len, &elf, &err), MF_E_IMAGE);
        if (len >= SELFMAG && !strstr(err.message, "truncated"))
            fail_msg("%zu bytes: %s", len, err.message);
    }
}

static void assert_symbol(const struct elf *elf, const struct elf_build *b, uint64_t address,
                          const char *name, uint64_t offset)
{
    char found[32];
    uint64_t distance;

    if (!name) {
        assert_false(elf_symbol_at(elf, b->bytes, b->len, address, found, sizeof(found),
                                   &distance));
        return;
    }
    assert_true(elf_symbol_at(elf, b->bytes, b->len, address, found, sizeof(found), &distance));
    assert_string_equal(found, name);
    assert_int_equal(distance, offset);
}

static void finds_symbols(void **state)
{
    const uint64_t code = BUILD_BASE + BUILD_CODE;
    struct elf_build b;
    struct elf elf;
    char tiny[4];
    uint64_t offset;
    (void)state;

    build_program(&b);
    build_symbol(&b, "local_twin", code + 0x40, 0x10, STB_LOCAL);
    build_symbol(&b, "twin", code + 0x40, 0x10, STB_GLOBAL);
    build_symbol(&b, "weak_twin", code + 0x40, 0x10, STB_WEAK);
    build_symbol(&b, "inner", code + 0x44, 4, STB_GLOBAL);
    build_symbol(&b, "outer", code + 0x30, 0x30, STB_GLOBAL);
    build_symbol(&b, "assembly", code + 0x80, 0, STB_GLOBAL);
    build_symbol(&b, "bad\x1b[31m\xff", code + 0xc0, 0x10, STB_GLOBAL);
    build_symbol(&b, "", code + 0xd0, 0, STB_GLOBAL);
    ((Elf64_Sym *)(b.bytes + BUILD_SYMBOLS) + b.nsymbols - 1)->st_name = 0;
    build_symbol(&b, "huge", code + 0xf0, UINT64_MAX, STB_GLOBAL);
    parse_right(&b, &elf);
    assert_int_equal(elf.nsymbols, 10);
    assert_symbol(&elf, &b, code, "_start", 0);
    assert_symbol(&elf, &b, code + 0x1f, "_start", 0x1f);
    assert_symbol(&elf, &b, code + 0x4f, "twin", 0xf);
    /* The innermost of several, whatever their order. */
    assert_symbol(&elf, &b, code + 0x45, "inner", 1);
    assert_symbol(&elf, &b, code + 0x52, "outer", 0x22);
    assert_symbol(&elf, &b, code + 0x88, "assembly", 8);
    assert_symbol(&elf, &b, code + 0x20, NULL, 0);
    assert_symbol(&elf, &b, code + 0xc1, "bad?[31m?", 1);
    assert_symbol(&elf, &b, code + 0xd8, "assembly", 0x58); /* not the one without a name */
    assert_symbol(&elf, &b, code + 0xf8, "huge", 8);
    assert_symbol(&elf, &b, code + 0x100, NULL, 0); /* behind the code */
    assert_symbol(&elf, &b, BUILD_BASE + BUILD_DATA, NULL, 0);
    assert_symbol(&elf, &b, 0, NULL, 0);
    assert_true(elf_symbol_at(&elf, b.bytes, b.len, code, tiny, sizeof(tiny), &offset));
    assert_string_equal(tiny, "_st");
    /* A file that is shorter than the one that was parsed has no symbols. */
    assert_false(elf_symbol_at(&elf, b.bytes, BUILD_SYMBOLS, code, tiny, sizeof(tiny), &offset));
}

static void reads_names_without_end(void **state)
{
    struct elf_build b;
    struct elf elf;
    (void)state;

    build_program(&b);
    /* The table of names ends in the middle of "_start", and without a NUL. */
    build_shdr(&b, 2)->sh_size = 4;
    parse_right(&b, &elf);
    assert_symbol(&elf, &b, BUILD_BASE + BUILD_CODE, "_st", 0);
    build_shdr(&b, 2)->sh_size = 1;
    parse_right(&b, &elf);
    assert_symbol(&elf, &b, BUILD_BASE + BUILD_CODE, NULL, 0);
}

static void finds_loaded_bytes(void **state)
{
    struct elf_build b;
    struct elf elf;
    (void)state;

    build_program(&b);
    parse_right(&b, &elf);
    const uint64_t data = BUILD_BASE + BUILD_DATA;
    assert_ptr_equal(elf_at(&elf, b.bytes, b.len, data, 0x80), b.bytes + BUILD_DATA);
    assert_ptr_equal(elf_at(&elf, b.bytes, b.len, data + 0x7f, 1), b.bytes + BUILD_DATA + 0x7f);
    assert_null(elf_at(&elf, b.bytes, b.len, data, 0x81));
    assert_null(elf_at(&elf, b.bytes, b.len, data + 0x80, 1));
    assert_null(elf_at(&elf, b.bytes, b.len, data - 1, 2));
    assert_null(elf_at(&elf, b.bytes, b.len, data, UINT64_MAX));
    assert_null(elf_at(&elf, b.bytes, b.len, UINT64_MAX, 2));
    assert_null(elf_at(&elf, b.bytes, BUILD_DATA, data, 1));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(takes_a_program),
        cmocka_unit_test(sorts_segments),
        cmocka_unit_test(places_a_static_pie),
        cmocka_unit_test(ignores_an_executable_stack),
        cmocka_unit_test(skips_empty_segments),
        cmocka_unit_test(names_what_is_not_elf),
        cmocka_unit_test(names_other_machines),
        cmocka_unit_test(names_other_types),
        cmocka_unit_test(refuses_dynamic_programs),
        cmocka_unit_test(refuses_bad_headers),
        cmocka_unit_test(refuses_bad_segments),
        cmocka_unit_test(refuses_bad_places),
        cmocka_unit_test(refuses_segments_that_meet),
        cmocka_unit_test(refuses_too_many_segments),
        cmocka_unit_test(refuses_a_bad_entry),
        cmocka_unit_test(finds_the_note),
        cmocka_unit_test(refuses_bad_notes),
        cmocka_unit_test(refuses_too_large_notes),
        cmocka_unit_test(refuses_bad_symbol_tables),
        cmocka_unit_test(refuses_every_truncation),
        cmocka_unit_test(finds_symbols),
        cmocka_unit_test(reads_names_without_end),
        cmocka_unit_test(finds_loaded_bytes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
