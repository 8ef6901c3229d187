/*
 * Builds a small ELF program in memory, whole and right, which a test then
 * spoils in one place. Layout of the file (and, 0x400000 higher, in the guest):
 *
 *   0x0000 headers, r--       0x1000 code, r-x        0x2000 note and table, r--
 *   0x3000 data, rw-          0x3800 symbols, their names, section headers
 */
#ifndef TESTS_ELF_BUILD_H
#define TESTS_ELF_BUILD_H

#include "abi/function.h"
#include "abi/version.h"

#include <elf.h>
#include <stdint.h>
#include <string.h>

#define BUILD_BASE UINT64_C(0x400000)
#define BUILD_CODE 0x1000
#define BUILD_RODATA 0x2000
#define BUILD_NOTE BUILD_RODATA
#define BUILD_NOTE_DESCRIPTION (BUILD_NOTE + 20)
#define BUILD_TABLE (BUILD_RODATA + 0x40)
#define BUILD_DATA 0x3000
#define BUILD_SYMBOLS 0x3800
#define BUILD_STRINGS 0x3a00
#define BUILD_SECTIONS 0x3c00
#define BUILD_BYTES (BUILD_SECTIONS + 3 * sizeof(Elf64_Shdr))

/* Program headers of the finished file, by index. */
enum { BUILD_HEADERS_PH, BUILD_CODE_PH, BUILD_RODATA_PH, BUILD_DATA_PH, BUILD_NOTE_PH, BUILD_PHS };

struct elf_build {
    union {
        uint8_t bytes[0x4000];
        Elf64_Ehdr header;
    };
    size_t len;
    uint32_t table_bytes;
    size_t nsymbols, strings_bytes;
};

static inline Elf64_Phdr *build_phdr(struct elf_build *b, unsigned index)
{
    return (Elf64_Phdr *)(b->bytes + sizeof(Elf64_Ehdr)) + index;
}

static inline Elf64_Shdr *build_shdr(struct elf_build *b, unsigned index)
{
    return (Elf64_Shdr *)(b->bytes + BUILD_SECTIONS) + index;
}

static inline void build_set_phdr(struct elf_build *b, unsigned index, uint32_t type,
                                  uint32_t flags, uint64_t offset, uint64_t file_bytes,
                                  uint64_t memory_bytes)
{
    *build_phdr(b, index) = (Elf64_Phdr){
        .p_type = type,
        .p_flags = flags,
        .p_offset = offset,
        .p_vaddr = BUILD_BASE + offset,
        .p_paddr = BUILD_BASE + offset,
        .p_filesz = file_bytes,
        .p_memsz = memory_bytes,
        .p_align = type == PT_LOAD ? 0x1000 : 4,
    };
}

/* Adds a function symbol. */
static inline void build_symbol(struct elf_build *b, const char *name, uint64_t value,
                                uint64_t size, unsigned bind)
{
    Elf64_Sym *symbol = (Elf64_Sym *)(b->bytes + BUILD_SYMBOLS) + b->nsymbols++;

    *symbol = (Elf64_Sym){
        .st_name = (uint32_t)b->strings_bytes,
        .st_info = (unsigned char)ELF64_ST_INFO(bind, STT_FUNC),
        .st_shndx = 1,
        .st_value = value,
        .st_size = size,
    };
    memcpy(b->bytes + BUILD_STRINGS + b->strings_bytes, name, strlen(name) + 1);
    b->strings_bytes += strlen(name) + 1;
    build_shdr(b, 1)->sh_size = b->nsymbols * sizeof(Elf64_Sym);
    build_shdr(b, 2)->sh_size = b->strings_bytes;
}

/* A plain program: entry at the start of its code, no note, one symbol "_start". */
static inline void build_program(struct elf_build *b)
{
    memset(b, 0, sizeof(*b));
    b->header = (Elf64_Ehdr){
        .e_ident = {0x7f, 'E', 'L', 'F', ELFCLASS64, ELFDATA2LSB, EV_CURRENT},
        .e_type = ET_EXEC,
        .e_machine = EM_X86_64,
        .e_version = EV_CURRENT,
        .e_entry = BUILD_BASE + BUILD_CODE,
        .e_phoff = sizeof(Elf64_Ehdr),
        .e_shoff = BUILD_SECTIONS,
        .e_ehsize = sizeof(Elf64_Ehdr),
        .e_phentsize = sizeof(Elf64_Phdr),
        .e_phnum = BUILD_PHS - 1,
        .e_shentsize = sizeof(Elf64_Shdr),
        .e_shnum = 3,
    };
    build_set_phdr(b, BUILD_HEADERS_PH, PT_LOAD, PF_R, 0, 0x200, 0x200);
    build_set_phdr(b, BUILD_CODE_PH, PT_LOAD, PF_R | PF_X, BUILD_CODE, 0x100, 0x100);
    build_set_phdr(b, BUILD_RODATA_PH, PT_LOAD, PF_R, BUILD_RODATA, 0x1000, 0x1000);
    build_set_phdr(b, BUILD_DATA_PH, PT_LOAD, PF_R | PF_W, BUILD_DATA, 0x80, 0x2100);
    b->bytes[BUILD_CODE] = 0xcc;
    *build_shdr(b, 1) = (Elf64_Shdr){.sh_type = SHT_SYMTAB,
                                     .sh_offset = BUILD_SYMBOLS,
                                     .sh_link = 2,
                                     .sh_entsize = sizeof(Elf64_Sym)};
    *build_shdr(b, 2) = (Elf64_Shdr){.sh_type = SHT_STRTAB, .sh_offset = BUILD_STRINGS};
    b->strings_bytes = 1;
    build_symbol(b, "_start", BUILD_BASE + BUILD_CODE, 0x20, STB_GLOBAL);
    b->len = BUILD_BYTES;
}

/* Writes the note for a table of table_bytes bytes. */
static inline void build_write_note(struct elf_build *b, uint32_t version, uint32_t min_version,
                                    uint64_t features)
{
    Elf64_Nhdr head = {.n_namesz = 7, .n_descsz = 24, .n_type = MF_ABI_NOTE_TYPE};
    struct mf_abi_note note = {
        .version = version,
        .min_version = min_version,
        .features = features,
        .table_start = BUILD_TABLE - (BUILD_NOTE_DESCRIPTION + 16),
        .table_end = (int32_t)(BUILD_TABLE + b->table_bytes) - (BUILD_NOTE_DESCRIPTION + 20),
    };

    memcpy(b->bytes + BUILD_NOTE, &head, sizeof(head));
    memcpy(b->bytes + BUILD_NOTE + sizeof(head), MF_ABI_NOTE_NAME, sizeof(MF_ABI_NOTE_NAME));
    memcpy(b->bytes + BUILD_NOTE_DESCRIPTION, &note, sizeof(note));
}

/* A program with the SDK's note and an empty function table. */
static inline void build_guest(struct elf_build *b)
{
    build_program(b);
    b->header.e_phnum = BUILD_PHS;
    build_set_phdr(b, BUILD_NOTE_PH, PT_NOTE, PF_R, BUILD_NOTE, 20 + 24, 20 + 24);
    build_write_note(b, MF_ABI_VERSION, MF_ABI_MIN_VERSION, 0);
}

/* Adds a record; returns its offset in the table. `signature` NULL: none. */
static inline uint32_t build_record(struct elf_build *b, uint16_t kind, const char *signature)
{
    uint32_t at = b->table_bytes;
    uint32_t text = signature ? (uint32_t)strlen(signature) + 1 : 0;
    struct mf_abi_function record = {.size = (uint32_t)sizeof(record) + text, .kind = kind};

    memcpy(b->bytes + BUILD_TABLE + at, &record, sizeof(record));
    if (signature)
        memcpy(b->bytes + BUILD_TABLE + at + sizeof(record), signature, text);
    b->table_bytes = (at + record.size + MF_ABI_RECORD_ALIGN - 1) & ~(MF_ABI_RECORD_ALIGN - 1u);
    build_write_note(b, MF_ABI_VERSION, MF_ABI_MIN_VERSION, 0);
    return at;
}

#endif
