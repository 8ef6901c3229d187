/*
 * Reading a static x86-64 Linux ELF. The bytes are hostile: everything is
 * checked against the length of the file before it is used, and nothing is
 * allocated from an unchecked size. Source: System V ABI, AMD64 supplement;
 * "Tool Interface Standard ELF" 1.2.
 */
#ifndef MEM_ELF_H
#define MEM_ELF_H

#include <mayfly/error.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define ELF_SEGMENTS_MAX 64

struct elf_segment {
    uint64_t address; /* with the load base added */
    uint64_t memory_bytes;
    uint64_t file_offset;
    uint64_t file_bytes; /* at most memory_bytes */
    bool readable, writable, executable;
};

struct elf {
    uint64_t entry;       /* with the load base added */
    uint64_t base;        /* added to all addresses of the file; 0 unless static-pie */
    bool position_independent;
    uint64_t phdr_address; /* where the guest finds its program headers, or 0 */
    uint16_t phdr_count;
    uint16_t phdr_size;
    size_t nsegments; /* at least 1; sorted by address; none share a page with other rights */
    struct elf_segment segments[ELF_SEGMENTS_MAX];
    uint64_t low, high; /* page-aligned bounds of all segments */
    /* The SDK's note, if there is one: file offset of its description. */
    bool has_note;
    uint64_t note_offset, note_address;
    uint32_t note_bytes;
    /* Symbol table (for fault reports), if there is one: offsets in the file. */
    uint64_t symtab_offset, strtab_offset, strtab_bytes;
    size_t nsymbols;
};

/*
 * Checks the file and fills *out. `pie_base` is where a static-pie goes.
 * Errors: MF_E_IMAGE with what is wrong and what to do.
 */
int elf_parse(const uint8_t *file, size_t len, uint64_t pie_base, struct elf *out,
              struct mf_error *err);

/*
 * The function symbol that holds `address`: copies its name, cut to `size`, and
 * the distance from its start. Bytes that are not printable ASCII become '?'.
 * False when none does.
 */
bool elf_symbol_at(const struct elf *elf, const uint8_t *file, size_t len, uint64_t address,
                   char *name, size_t size, uint64_t *offset);

/*
 * `len` bytes of the file that are loaded at `address`, or NULL when they are not
 * all inside the file part of one segment.
 */
const uint8_t *elf_at(const struct elf *elf, const uint8_t *file, size_t file_len,
                      uint64_t address, uint64_t len);

#endif
