/* The ELF parser: the input is the file. What it accepts must keep every promise of elf.h. */
#include "abi/function.h"
#include "abi/memory_map.h"
#include "mem/elf.h"
#include "mem/layout.h"
#include "tests/fuzz/fuzz.h"

#include <string.h>

static bool range_ok(uint64_t offset, uint64_t len, uint64_t size)
{
    return offset <= size && len <= size - offset;
}

static void check_segments(const struct elf *elf, size_t len)
{
    uint64_t behind = 0;
    bool entry_found = false;

    CHECK(elf->nsegments >= 1 && elf->nsegments <= ELF_SEGMENTS_MAX);
    for (size_t i = 0; i < elf->nsegments; i++) {
        const struct elf_segment *s = &elf->segments[i];
        const struct elf_segment *before = i ? s - 1 : NULL;

        CHECK(s->memory_bytes > 0 && s->file_bytes <= s->memory_bytes);
        CHECK(range_ok(s->file_offset, s->file_bytes, len));
        CHECK(!(s->writable && s->executable));
        CHECK(s->readable || s->writable || s->executable);
        CHECK(s->address >= MF_ABI_GVA_MIN && s->address < MF_ABI_GVA_END);
        CHECK(s->memory_bytes <= MF_ABI_GVA_END - s->address);
        CHECK(s->address >= behind);
        CHECK(s->address >= elf->low && s->address + s->memory_bytes <= elf->high);
        if (before && (behind - 1) >> PAGE_SHIFT == s->address >> PAGE_SHIFT)
            CHECK(before->writable == s->writable && before->executable == s->executable);
        behind = s->address + s->memory_bytes;
        if (s->executable && elf->entry >= s->address && elf->entry < behind)
            entry_found = true;
    }
    CHECK(entry_found);
    CHECK(elf->low % PAGE_BYTES == 0 && elf->high % PAGE_BYTES == 0 && elf->low < elf->high);
}

static void check_lookups(const struct elf *elf, const uint8_t *file, size_t len)
{
    for (size_t i = 0; i < elf->nsegments; i++) {
        const struct elf_segment *s = &elf->segments[i];
        const uint64_t places[] = {s->address, s->address + s->memory_bytes / 2,
                                   s->address + s->memory_bytes - 1,
                                   s->address + s->memory_bytes};
        for (size_t k = 0; k < 4; k++) {
            char name[40];
            uint64_t offset;
            const uint8_t *at = elf_at(elf, file, len, places[k], 1);

            CHECK(!at || (at >= file && at < file + len));
            if (elf_symbol_at(elf, file, len, places[k], name, sizeof(name), &offset)) {
                CHECK(offset <= places[k]);
                CHECK(strnlen(name, sizeof(name)) < sizeof(name));
            }
        }
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct mf_error err = {0};
    struct elf elf;

    if (elf_parse(data, size, LAYOUT_GVA_PIE, &elf, &err) != 0) {
        CHECK(err.code == MF_E_IMAGE && err.message[0] != 0);
        CHECK(strnlen(err.message, sizeof(err.message)) < sizeof(err.message) - 1);
        return 0;
    }
    check_segments(&elf, size);
    CHECK(!elf.has_note || (range_ok(elf.note_offset, elf.note_bytes, size) &&
                            elf.note_bytes >= sizeof(struct mf_abi_note)));
    CHECK(range_ok(elf.symtab_offset, elf.nsymbols * 24, size));
    CHECK(range_ok(elf.strtab_offset, elf.strtab_bytes, size));
    CHECK(!elf.phdr_address ||
          elf_at(&elf, data, size, elf.phdr_address, (uint64_t)elf.phdr_count * elf.phdr_size));
    check_lookups(&elf, data, size);
    return 0;
}
