/*
 * MIPS32 ELF files: the System V ABI, MIPS supplement. Such a file may come from anybody:
 * offsets and sizes are checked against its length before they are used, and nothing is
 * allocated by a number that was not.
 */
#include "machine/host/elf.h"

#include <elf.h>
#include <stdlib.h>
#include <string.h>

#define SEGMENTS_MAX 256
#define SYMBOLS_MAX  1000000
#define NAME_BYTES   256

/* Bits of e_flags that <elf.h> does not have everywhere. */
#define FLAG_FP64      0x00000200u
#define FLAG_MICROMIPS 0x02000000u
#define FLAG_MIPS16    0x04000000u

struct elf {
    const uint8_t *data;
    size_t len;
    bool big;
    const char *name;
    struct machine_program *program;
    struct mf_error *err;
};

#define REFUSE(elf, ...) mf_fail((elf)->err, MF_E_IMAGE, __VA_ARGS__)

static uint16_t get16(const struct elf *elf, size_t at)
{
    const uint8_t *p = elf->data + at;

    return (uint16_t)(elf->big ? p[0] << 8 | p[1] : p[1] << 8 | p[0]);
}

static uint32_t get32(const struct elf *elf, size_t at)
{
    return elf->big ? (uint32_t)get16(elf, at) << 16 | get16(elf, at + 2)
                    : (uint32_t)get16(elf, at + 2) << 16 | get16(elf, at);
}

#define EHDR(elf, field)     get32(elf, offsetof(Elf32_Ehdr, field))
#define EHDR16(elf, field)   get16(elf, offsetof(Elf32_Ehdr, field))
#define PHDR(elf, at, field) get32(elf, (at) + offsetof(Elf32_Phdr, field))
#define SHDR(elf, at, field) get32(elf, (at) + offsetof(Elf32_Shdr, field))

/* Whether `n` records of `size` bytes at `offset` are in the file. */
static bool inside(const struct elf *elf, uint64_t offset, uint64_t n, uint64_t size)
{
    uint64_t bytes;

    return !__builtin_mul_overflow(n, size, &bytes) && offset <= elf->len &&
           bytes <= elf->len - offset;
}

bool elf_recognise(const uint8_t *data, size_t len)
{
    return len >= SELFMAG && memcmp(data, ELFMAG, SELFMAG) == 0;
}

/* Other machines, by the name that their people know. */
static const char *machine_name(uint16_t machine)
{
    switch (machine) {
    case EM_386: return "x86 (32 bits)";
    case EM_X86_64: return "x86-64";
    case EM_ARM: return "Arm (32 bits)";
    case EM_AARCH64: return "Arm (64 bits)";
    case EM_RISCV: return "RISC-V";
    case EM_PPC: return "PowerPC";
    case EM_PPC64: return "PowerPC (64 bits)";
    case EM_SPARC: return "SPARC";
    case EM_S390: return "S/390";
    default: return NULL;
    }
}

static int check_machine(const struct elf *elf)
{
    uint16_t machine = EHDR16(elf, e_machine);
    const char *other = machine_name(machine);

    if (other != NULL)
        return REFUSE(elf, "%.120s is a program for %s; this machine runs MIPS32", elf->name,
                      other);
    if (machine != EM_MIPS && machine != EM_MIPS_RS3_LE)
        return REFUSE(elf, "%.120s is a program for machine number %u; this one runs MIPS32",
                      elf->name, machine);
    return MF_OK;
}

/* The variants of MIPS, which are one machine number. */
static int check_flags(const struct elf *elf)
{
    uint32_t flags = EHDR(elf, e_flags), arch = flags & EF_MIPS_ARCH;

    if (arch != EF_MIPS_ARCH_1 && arch != EF_MIPS_ARCH_2 && arch != EF_MIPS_ARCH_32 &&
        arch != EF_MIPS_ARCH_32R2)
        return REFUSE(elf, "%.120s is for a 64-bit or newer MIPS (flags 0x%08x); build it with "
                           "-march=mips32r2", elf->name, flags);
    if ((flags & EF_MIPS_ABI2) != 0)
        return REFUSE(elf, "%.120s has the n32 ABI; build it with -mabi=32", elf->name);
    if ((flags & (FLAG_MIPS16 | FLAG_MICROMIPS)) != 0)
        return REFUSE(elf, "%.120s has MIPS16 or microMIPS code; build it with -mno-mips16 "
                           "-mno-micromips", elf->name);
    if ((flags & FLAG_FP64) != 0)
        return REFUSE(elf, "%.120s needs 64-bit FPU registers; build it with -mfp32", elf->name);
    return MF_OK;
}

static int check_header(struct elf *elf)
{
    if (elf->len < sizeof(Elf32_Ehdr))
        return REFUSE(elf, "%.120s is cut off: %zu bytes are no ELF file", elf->name, elf->len);
    uint8_t class = elf->data[EI_CLASS], order = elf->data[EI_DATA];
    if (order != ELFDATA2LSB && order != ELFDATA2MSB)
        return REFUSE(elf, "%.120s has no byte order: a damaged ELF file", elf->name);
    elf->big = order == ELFDATA2MSB;
    /* The number of the machine is at the same place in files of 64 bits. */
    int status = check_machine(elf);
    if (status != MF_OK)
        return status;
    if (class != ELFCLASS32)
        return REFUSE(elf, "%.120s is a 64-bit MIPS program; this machine runs MIPS32", elf->name);
    if (EHDR16(elf, e_type) == ET_DYN)
        return REFUSE(elf, "%.120s is position independent; link it with -static -no-pie",
                      elf->name);
    if (EHDR16(elf, e_type) != ET_EXEC)
        return REFUSE(elf, "%.120s is an object file and no program; link it with -static "
                           "-nostdlib", elf->name);
    return check_flags(elf);
}

static int add_segment(struct elf *elf, size_t header)
{
    struct machine_program *program = elf->program;
    uint32_t offset = PHDR(elf, header, p_offset), address = PHDR(elf, header, p_vaddr);
    uint32_t bytes = PHDR(elf, header, p_filesz), memory = PHDR(elf, header, p_memsz);
    uint32_t flags = PHDR(elf, header, p_flags);
    struct machine_segment *segment = &program->segments[program->nsegments];

    if (memory == 0)
        return MF_OK;
    /* Without bytes in the file (.bss), the offset says nothing. */
    if (bytes > memory || (bytes > 0 && !inside(elf, offset, bytes, 1)) ||
        (uint64_t)address + memory > UINT64_C(0x100000000))
        return REFUSE(elf, "%.120s: the segment at 0x%08x does not fit into the file or the "
                           "address space", elf->name, address);
    bool kernel = address >= UINT32_C(0x80000000), text = (flags & PF_X) != 0;
    *segment = (struct machine_segment){
        .kind = text ? kernel ? SEGMENT_KTEXT : SEGMENT_TEXT
                     : kernel ? SEGMENT_KDATA : SEGMENT_DATA,
        .address = address,
        .bytes = bytes,
        .memory_bytes = memory,
        .writable = (flags & PF_W) != 0,
        .executable = text,
        .data = malloc(bytes > 0 ? bytes : 1),
    };
    if (segment->data == NULL)
        return mf_fail(elf->err, MF_E_NO_MEMORY, "out of memory");
    if (bytes > 0)
        memcpy(segment->data, elf->data + offset, bytes);
    program->nsegments++;
    return MF_OK;
}

static int by_address(const void *a, const void *b)
{
    const struct machine_segment *x = a, *y = b;

    return x->address < y->address ? -1 : x->address > y->address;
}

static int check_segments(struct elf *elf)
{
    struct machine_program *program = elf->program;
    uint32_t entry = program->entry;
    bool found = false;

    if (program->nsegments > 0)
        qsort(program->segments, program->nsegments, sizeof program->segments[0], by_address);
    for (size_t i = 0; i < program->nsegments; i++) {
        const struct machine_segment *s = &program->segments[i];
        if (i > 0 && (uint64_t)s[-1].address + s[-1].memory_bytes > s->address)
            return REFUSE(elf, "%.120s: the segments at 0x%08x and 0x%08x overlap", elf->name,
                          s[-1].address, s->address);
        found |= s->executable && entry >= s->address && entry - s->address < s->memory_bytes;
    }
    if (!found || entry % 4 != 0)
        return REFUSE(elf, "%.120s begins at 0x%08x, where it has no code", elf->name, entry);
    return MF_OK;
}

static int load_segments(struct elf *elf)
{
    uint32_t table = EHDR(elf, e_phoff);
    uint16_t n = EHDR16(elf, e_phnum), size = EHDR16(elf, e_phentsize);
    int status = MF_OK;

    if (n == 0 || n > SEGMENTS_MAX || size < sizeof(Elf32_Phdr) || !inside(elf, table, n, size))
        return REFUSE(elf, "%.120s has no usable program headers", elf->name);
    elf->program->segments = calloc(n, sizeof elf->program->segments[0]);
    if (elf->program->segments == NULL)
        return mf_fail(elf->err, MF_E_NO_MEMORY, "out of memory");
    for (uint16_t i = 0; i < n && status == MF_OK; i++) {
        size_t header = table + (size_t)i * size;
        uint32_t type = PHDR(elf, header, p_type);
        if (type == PT_INTERP)
            return REFUSE(elf, "%.120s is linked dynamically; link it with -static", elf->name);
        if (type == PT_LOAD)
            status = add_segment(elf, header);
    }
    elf->program->entry = EHDR(elf, e_entry);
    return status == MF_OK ? check_segments(elf) : status;
}

/* A name of the string table: short, and of characters that may be printed. */
static bool take_name(const struct elf *elf, uint32_t strings, uint32_t bytes, uint32_t at,
                      char name[NAME_BYTES])
{
    size_t len = 0;

    if (at >= bytes)
        return false;
    const uint8_t *text = elf->data + strings + at;
    while (len < NAME_BYTES - 1 && len < bytes - at && text[len] != 0) {
        if (text[len] <= ' ' || text[len] >= 0x7f)
            return false;
        name[len] = (char)text[len];
        len++;
    }
    name[len] = 0;
    /* The compiler's own labels say nothing to people. */
    return len > 0 && name[0] != '$' && strncmp(name, ".L", 2) != 0;
}

static int add_symbol(struct elf *elf, size_t at, uint32_t strings, uint32_t bytes)
{
    struct machine_program *program = elf->program;
    unsigned info = elf->data[at + offsetof(Elf32_Sym, st_info)];
    unsigned type = ELF32_ST_TYPE(info), section = get16(elf, at + offsetof(Elf32_Sym, st_shndx));
    char name[NAME_BYTES];

    if ((type != STT_FUNC && type != STT_OBJECT && type != STT_NOTYPE) || section == SHN_UNDEF ||
        section >= SHN_LORESERVE ||
        !take_name(elf, strings, bytes, get32(elf, at + offsetof(Elf32_Sym, st_name)), name))
        return MF_OK;
    struct machine_symbol *symbol = &program->symbols[program->nsymbols];
    symbol->name = strdup(name);
    symbol->address = get32(elf, at + offsetof(Elf32_Sym, st_value));
    symbol->global = ELF32_ST_BIND(info) != STB_LOCAL;
    if (symbol->name == NULL)
        return mf_fail(elf->err, MF_E_NO_MEMORY, "out of memory");
    program->nsymbols++;
    return MF_OK;
}

static int symbol_order(const void *a, const void *b)
{
    const struct machine_symbol *x = a, *y = b;

    if (x->address != y->address)
        return x->address < y->address ? -1 : 1;
    return strcmp(x->name, y->name);
}

/* The symbols of one table; one that is damaged is left out, as a stripped one would be. */
static int load_symbols(struct elf *elf, size_t section, uint32_t sections, uint16_t n,
                        uint16_t size)
{
    uint32_t offset = SHDR(elf, section, sh_offset), link = SHDR(elf, section, sh_link);
    uint32_t count = SHDR(elf, section, sh_size) / (uint32_t)sizeof(Elf32_Sym);
    int status = MF_OK;

    if (link >= n || count == 0 || count > SYMBOLS_MAX || elf->program->symbols != NULL ||
        !inside(elf, offset, count, sizeof(Elf32_Sym)))
        return MF_OK;
    size_t names = sections + (size_t)link * size;
    uint32_t strings = SHDR(elf, names, sh_offset), bytes = SHDR(elf, names, sh_size);
    if (!inside(elf, strings, bytes, 1))
        return MF_OK;
    elf->program->symbols = calloc(count, sizeof elf->program->symbols[0]);
    if (elf->program->symbols == NULL)
        return mf_fail(elf->err, MF_E_NO_MEMORY, "out of memory");
    for (uint32_t i = 0; i < count && status == MF_OK; i++)
        status = add_symbol(elf, offset + (size_t)i * sizeof(Elf32_Sym), strings, bytes);
    if (elf->program->nsymbols > 0)
        qsort(elf->program->symbols, elf->program->nsymbols, sizeof elf->program->symbols[0],
              symbol_order);
    return status;
}

static int find_symbols(struct elf *elf)
{
    uint32_t sections = EHDR(elf, e_shoff);
    uint16_t n = EHDR16(elf, e_shnum), size = EHDR16(elf, e_shentsize);
    int status = MF_OK;

    if (n == 0 || size < sizeof(Elf32_Shdr) || !inside(elf, sections, n, size))
        return MF_OK;
    for (uint16_t i = 0; i < n && status == MF_OK; i++) {
        size_t section = sections + (size_t)i * size;
        if (SHDR(elf, section, sh_type) == SHT_SYMTAB)
            status = load_symbols(elf, section, sections, n, size);
    }
    return status;
}

int elf_load(const uint8_t *data, size_t len, const char *name, struct machine_program *program,
             struct mf_error *err)
{
    struct elf elf = {.data = data, .len = len, .name = name, .program = program, .err = err};

    memset(program, 0, sizeof *program);
    int status = check_header(&elf);
    if (status == MF_OK) {
        program->big_endian = elf.big;
        program->delayed_branches = true;
        status = load_segments(&elf);
    }
    if (status == MF_OK)
        status = find_symbols(&elf);
    if (status != MF_OK)
        machine_program_free(program);
    return status;
}
