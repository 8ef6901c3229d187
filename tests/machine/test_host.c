/* Configuration files, MIPS32 ELF files, and the older snapshot format. */
#include "machine/host/config.h"
#include "machine/host/elf.h"
#include "machine/host/program.h"
#include "machine/host/snapshot.h"
#include "machine/protocol.h"

#include <elf.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

/* ---- configuration files ---- */

/* Reads `text` as a configuration file: the status, and *config and *err. */
static int read_text(const char *text, struct vmm_config *config, struct mf_error *err)
{
    char path[] = "/tmp/mayfly-test-XXXXXX.conf";
    int fd = mkstemps(path, 5);

    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), strlen(text));
    close(fd);
    int status = vmm_config_read(path, config, err);
    unlink(path);
    return status;
}

static void reads_all_keys(void **state)
{
    struct vmm_config config;
    struct mf_error err;

    (void)state;
    assert_int_equal(read_text("# a machine\n\n"
                               "vm_binary=prog.s\n"
                               "  vm_snapshot  =  /abs/snap.bin  # behind\n"
                               "vm_exec_slice_in_instructions = 7\n"
                               "vm_name = one\nvm_memory = 2M\nvm_max_instructions = 0x10\n"
                               "vm_endian = big\nvm_devices = console, disk:d.img power\n"
                               "vm_stdin = in\nvm_stdout = out\nvm_trace = t.log\r\n",
                               &config, &err),
                     MF_OK);
    assert_string_equal(config.binary, "/tmp/prog.s");
    assert_string_equal(config.snapshot, "/abs/snap.bin");
    assert_true(config.snapshot_may_miss);
    assert_int_equal(config.slice, 7);
    assert_string_equal(config.name, "one");
    assert_int_equal(config.memory_bytes, 2 << 20);
    assert_int_equal(config.max_instructions, 16);
    assert_int_equal(config.endian, VMM_ENDIAN_BIG);
    assert_int_equal(config.devices, MACHINE_CONSOLE | MACHINE_DISK | MACHINE_POWER);
    assert_string_equal(config.disk_path, "/tmp/d.img");
    assert_string_equal(config.stdin_path, "/tmp/in");
    assert_string_equal(config.stdout_path, "/tmp/out");
    assert_string_equal(config.trace_path, "/tmp/t.log");
    assert_string_equal(config.folder, "/tmp");
    vmm_config_fini(&config);
}

static void has_defaults(void **state)
{
    struct vmm_config config;
    struct mf_error err;

    (void)state;
    assert_int_equal(read_text("vm_binary = /p", &config, &err), MF_OK);
    assert_int_equal(config.slice, 100);
    assert_int_equal(config.memory_bytes, 16 << 20);
    assert_int_equal(config.max_instructions, 0);
    assert_null(config.snapshot);
    assert_memory_equal(config.name, "mayfly-test-", 12);
    vmm_config_fini(&config);
}

static void names_line_of_mistakes(void **state)
{
    static const struct {
        const char *text, *line, *says;
    } cases[] = {
        {"vm_binary = x\nvm_binray = y\n", ":2: ", "unknown key 'vm_binray'; did you mean"},
        {"vm_binary = x\n\nfoo = y\n", ":3: ", "unknown key 'foo'"},
        {"vm_binary x\n", ":1: ", "key = value"},
        {"vm_binary = x\nvm_binary = y\n", ":2: ", "on line 1"},
        {"vm_binary =\n", ":1: ", "no value"},
        {"vm_exec_slice_in_instructions = 0\n", ":1: ", "'0'"},
        {"vm_exec_slice_in_instructions = -3\n", ":1: ", "'-3'"},
        {"vm_exec_slice_in_instructions = 99999999999999999999\n", ":1: ", "above 0"},
        {"vm_max_instructions = many\n", ":1: ", "'many'"},
        {"vm_memory = 17179869185G\n", ":1: ", "not a size"},
        {"vm_memory = 1K\n", ":1: ", "out of range"},
        {"vm_endian = middle\n", ":1: ", "neither"},
        {"vm_devices = console, printer\n", ":1: ", "'printer' is no device"},
        {"vm_devices = disk:a disk:b\n", ":1: ", "second disk"},
        {"vm_name = a b\n", ":1: ", "no name"},
        {"vm_name = x\n", ": ", "vm_binary is missing"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct vmm_config config;
        struct mf_error err;
        assert_int_equal(read_text(cases[i].text, &config, &err), MF_E_ARGUMENT);
        assert_non_null(strstr(err.message, cases[i].line));
        assert_non_null(strstr(err.message, cases[i].says));
        vmm_config_fini(&config);
    }
}

static void refuses_what_is_no_text(void **state)
{
    struct vmm_config config;
    struct mf_error err;

    (void)state;
    assert_int_equal(vmm_config_read("/nonexistent.conf", &config, &err), MF_E_SYSTEM);
    vmm_config_fini(&config);
    assert_int_equal(vmm_config_read("/tmp", &config, &err), MF_E_ARGUMENT);
    vmm_config_fini(&config);
    assert_int_equal(vmm_config_read("/bin/sh", &config, &err), MF_E_ARGUMENT);
    vmm_config_fini(&config);
}

/* ---- ELF ---- */

#define TEXT_AT 0x400000u
#define FILE_LEN (sizeof(Elf32_Ehdr) + sizeof(Elf32_Phdr) + 8)

/* Numbers of a test file are written in its byte order. */
static uint16_t e16(bool big, uint16_t v)
{
    return big ? (uint16_t)(v << 8 | v >> 8) : v;
}

static uint32_t e32(bool big, uint32_t v)
{
    return big ? __builtin_bswap32(v) : v;
}

/* A program of two instructions. */
static void make_elf(uint8_t file[FILE_LEN], bool big)
{
    Elf32_Ehdr header = {
        .e_ident = {0x7f, 'E', 'L', 'F', ELFCLASS32, big ? ELFDATA2MSB : ELFDATA2LSB, EV_CURRENT},
        .e_type = e16(big, ET_EXEC),
        .e_machine = e16(big, EM_MIPS),
        .e_entry = e32(big, TEXT_AT),
        .e_phoff = e32(big, sizeof header),
        .e_flags = e32(big, EF_MIPS_ARCH_32R2),
        .e_phentsize = e16(big, sizeof(Elf32_Phdr)),
        .e_phnum = e16(big, 1),
    };
    Elf32_Phdr segment = {
        .p_type = e32(big, PT_LOAD),
        .p_offset = e32(big, sizeof header + sizeof segment),
        .p_vaddr = e32(big, TEXT_AT),
        .p_filesz = e32(big, 8),
        .p_memsz = e32(big, 12),
        .p_flags = e32(big, PF_R | PF_X),
    };

    memcpy(file, &header, sizeof header);
    memcpy(file + sizeof header, &segment, sizeof segment);
    memcpy(file + sizeof header + sizeof segment, "\1\2\3\4\5\6\7\10", 8);
}

static void loads_elf_of_both_orders(void **state)
{
    (void)state;
    for (int big = 0; big < 2; big++) {
        struct machine_program program;
        struct mf_error err;
        uint8_t file[FILE_LEN];
        make_elf(file, big);
        assert_int_equal(elf_load(file, sizeof file, "x", &program, &err), MF_OK);
        assert_int_equal(program.big_endian, big);
        assert_true(program.delayed_branches);
        assert_int_equal(program.entry, TEXT_AT);
        assert_int_equal(program.nsegments, 1);
        assert_int_equal(program.segments[0].memory_bytes, 12);
        assert_memory_equal(program.segments[0].data, "\1\2\3\4\5\6\7\10", 8);
        assert_true(program.segments[0].executable && !program.segments[0].writable);
        machine_program_free(&program);
    }
}

/* A segment of zeros only has no bytes in the file, and its offset may lie behind the end. */
static void loads_elf_without_bytes(void **state)
{
    uint8_t file[FILE_LEN];
    const size_t header = sizeof(Elf32_Ehdr);
    struct machine_program program;
    struct mf_error err;

    (void)state;
    make_elf(file, false);
    memset(file + header + offsetof(Elf32_Phdr, p_offset), 0x7f, 4);
    memset(file + header + offsetof(Elf32_Phdr, p_filesz), 0, 4);
    assert_int_equal(elf_load(file, sizeof file, "x", &program, &err), MF_OK);
    assert_int_equal(program.nsegments, 1);
    assert_int_equal(program.segments[0].bytes, 0);
    assert_int_equal(program.segments[0].memory_bytes, 12);
    machine_program_free(&program);
    /* What is no byte in the file must be in the address space all the same. */
    memset(file + header + offsetof(Elf32_Phdr, p_memsz), 0xff, 4);
    assert_int_equal(elf_load(file, sizeof file, "x", &program, &err), MF_E_IMAGE);
}

/* One field of a good file changed, and what the message must say. */
struct elf_change {
    size_t at, bytes;
    uint32_t value;
    const char *says;
};

#define IN_HEADER(field, value, says) \
    {offsetof(Elf32_Ehdr, field), sizeof(((Elf32_Ehdr *)0)->field), value, says}
#define IN_SEGMENT(field, value, says) \
    {sizeof(Elf32_Ehdr) + offsetof(Elf32_Phdr, field), 4, value, says}

static void refuses_bad_elf(void **state)
{
    static const struct elf_change changes[] = {
        IN_HEADER(e_machine, EM_X86_64, "x86-64"),
        IN_HEADER(e_machine, EM_RISCV, "RISC-V"),
        IN_HEADER(e_machine, 9999, "machine number 9999"),
        IN_HEADER(e_type, ET_DYN, "position independent"),
        IN_HEADER(e_type, ET_REL, "object file"),
        IN_HEADER(e_flags, 0x90000000u, "64-bit or newer"),
        IN_HEADER(e_flags, EF_MIPS_ARCH_32R2 | EF_MIPS_ABI2, "n32"),
        IN_HEADER(e_flags, EF_MIPS_ARCH_32R2 | 0x04000000, "MIPS16"),
        IN_HEADER(e_flags, EF_MIPS_ARCH_32R2 | 0x200, "FPU"),
        IN_HEADER(e_entry, TEXT_AT + 2, "begins at"),
        IN_HEADER(e_entry, 0x500000, "begins at"),
        IN_HEADER(e_phoff, 0xffffffffu, "program headers"),
        IN_HEADER(e_phnum, 0, "program headers"),
        IN_HEADER(e_phnum, 0xffff, "program headers"),
        IN_HEADER(e_phentsize, 8, "program headers"),
        IN_SEGMENT(p_offset, 0xfffffff0u, "does not fit"),
        IN_SEGMENT(p_filesz, 0xffffffffu, "does not fit"),
        IN_SEGMENT(p_memsz, 4, "does not fit"),
        IN_SEGMENT(p_vaddr, 0xfffffff8u, "does not fit"),
        IN_SEGMENT(p_flags, PF_R, "begins at"),
        IN_SEGMENT(p_type, PT_INTERP, "dynamically"),
    };

    (void)state;
    for (size_t i = 0; i < sizeof changes / sizeof changes[0]; i++) {
        const struct elf_change *c = &changes[i];
        struct machine_program program;
        struct mf_error err;
        uint8_t file[FILE_LEN];
        make_elf(file, false);
        for (size_t b = 0; b < c->bytes; b++)
            file[c->at + b] = (uint8_t)(c->value >> 8 * b);
        assert_int_equal(elf_load(file, sizeof file, "x", &program, &err), MF_E_IMAGE);
        assert_non_null(strstr(err.message, c->says));
    }
}

/* No prefix and no changed byte may do more than load or be refused. */
static void survives_damage(void **state)
{
    uint8_t good[FILE_LEN];
    size_t loaded = 0;

    (void)state;
    make_elf(good, true);
    for (size_t len = 0; len < FILE_LEN; len++) {
        uint8_t *cut = malloc(len + 1);
        struct machine_program program;
        struct mf_error err;
        memcpy(cut, good, len);
        assert_int_equal(elf_load(cut, len, "x", &program, &err), MF_E_IMAGE);
        free(cut);
    }
    for (size_t at = 0; at < FILE_LEN; at++) {
        for (int bit = 0; bit < 8; bit++) {
            struct machine_program program;
            struct mf_error err;
            uint8_t file[FILE_LEN];
            memcpy(file, good, sizeof file);
            file[at] ^= (uint8_t)(1 << bit);
            if (elf_load(file, sizeof file, "x", &program, &err) == MF_OK) {
                machine_program_free(&program);
                loaded++;
            }
        }
    }
    assert_true(loaded > 8 * 8);
}

/* ---- the older snapshot format ---- */

/* A program of three written instructions, the second of two words. */
static struct machine_program three_instructions(void)
{
    static struct machine_segment text = {
        .kind = SEGMENT_TEXT, .address = TEXT_AT, .bytes = 16, .memory_bytes = 16,
        .executable = true};
    static struct machine_line lines[] = {
        {TEXT_AT, 0, 1}, {TEXT_AT + 4, 0, 2}, {TEXT_AT + 12, 0, 5}};
    static char *files[] = {(char *)(uintptr_t)"x.s"};

    return (struct machine_program){.segments = &text, .nsegments = 1, .lines = lines,
                                    .nlines = 3, .files = files, .nfiles = 1, .simple = true};
}

static void legacy_counts_written_instructions(void **state)
{
    static const uint32_t places[] = {0, 4, 12, 16};
    struct machine_program program = three_instructions();
    uint32_t index, address;

    (void)state;
    for (uint32_t i = 0; i < 4; i++) {
        assert_true(program_address_of(&program, i, &address));
        assert_int_equal(address, TEXT_AT + places[i]);
        assert_true(program_index_of(&program, address, &index));
        assert_int_equal(index, i);
    }
    assert_false(program_address_of(&program, 4, &address));
    assert_false(program_index_of(&program, TEXT_AT + 8, &index));
    assert_false(program_index_of(&program, TEXT_AT + 20, &index));
    assert_false(program_index_of(&program, TEXT_AT - 4, &index));
}

static void legacy_is_the_bytes_it_ever_was(void **state)
{
    struct machine_program program = three_instructions();
    struct machine_state out = {.pc = TEXT_AT + 12}, in = {.executed = 5};
    uint8_t bytes[LEGACY_BYTES], golden[LEGACY_BYTES] = {0};

    (void)state;
    out.registers[1] = 0x04030201;
    out.registers[31] = 0xfffffffe;
    memcpy(golden + 4, "\1\2\3\4", 4);
    memcpy(golden + 124, "\xfe\xff\xff\xff\2\0\0\0", 8);
    assert_true(snapshot_encode_legacy(&program, &out, bytes));
    assert_memory_equal(bytes, golden, LEGACY_BYTES);
    bytes[0] = 9; /* $zero stays 0 */
    assert_true(snapshot_decode_legacy(&program, bytes, &in));
    assert_memory_equal(in.registers, out.registers, sizeof in.registers);
    assert_int_equal(in.pc, TEXT_AT + 12);
    assert_int_equal(in.next_pc, TEXT_AT + 16);
    assert_int_equal(in.executed, 5);
    bytes[128] = 4;
    assert_false(snapshot_decode_legacy(&program, bytes, &in));
    out.in_delay_slot = 1;
    assert_false(snapshot_encode_legacy(&program, &out, bytes));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_all_keys),
        cmocka_unit_test(has_defaults),
        cmocka_unit_test(names_line_of_mistakes),
        cmocka_unit_test(refuses_what_is_no_text),
        cmocka_unit_test(loads_elf_of_both_orders),
        cmocka_unit_test(loads_elf_without_bytes),
        cmocka_unit_test(refuses_bad_elf),
        cmocka_unit_test(survives_damage),
        cmocka_unit_test(legacy_counts_written_instructions),
        cmocka_unit_test(legacy_is_the_bytes_it_ever_was),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
