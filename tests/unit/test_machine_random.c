/*
 * Random programs: the machine against qemu-mips and qemu-mipsel, and against itself in
 * slices of random lengths and with its blocks translated to native code at once, soon, and
 * never. A program sets all registers, runs random instructions some times over, stores
 * all registers, and writes a page of memory to descriptor 1; the page must be the same, and
 * among the machine's own runs the number of each instruction too. Without qemu those are
 * still compared.
 */
#include "machine_run.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#define WORDS_MOST 2048
#define DATA       (TEXT + 4 * WORDS_MOST) /* the page that is compared */
#define DATA_BYTES 4096
#define DUMP       2048 /* registers from here on; random loads and stores stay below */
#define BODY       150
#define LOOPS      6
#define COUNTER    (DUMP + 512) /* how often the body is still to run */
#define PROGRAMS   40
#define BASE       28 /* register that holds DATA, and is never changed */

struct code {
    uint32_t words[WORDS_MOST];
    size_t n;
    uint64_t random;
    uint32_t end; /* address behind the dump */
};

static void put(struct code *code, uint32_t word)
{
    assert_true(code->n < WORDS_MOST);
    code->words[code->n++] = word;
}

static uint32_t pick(struct code *code, uint32_t below)
{
    return rig_random(&code->random) % below;
}

static uint32_t immediate(uint32_t op, uint32_t rs, uint32_t rt, uint32_t imm)
{
    return op << 26 | rs << 21 | rt << 16 | (imm & 0xffff);
}

static void load_constant(struct code *code, uint32_t reg, uint32_t value)
{
    put(code, immediate(15, 0, reg, value >> 16));
    put(code, immediate(13, reg, reg, value));
}

/* A register that may be written. */
static uint32_t destination(struct code *code)
{
    uint32_t reg = pick(code, 31);

    return reg == BASE ? 31 : reg;
}

static uint32_t interesting(struct code *code)
{
    static const uint32_t values[] = {0,          1,          0xffffffff, 0x7fffffff, 0x80000000,
                                      0x80000001, 0xff,       0x8000,     0xffff8000, 0x55555555};
    return pick(code, 2) != 0 ? rig_random(&code->random)
                              : values[pick(code, sizeof(values) / sizeof(values[0]))];
}

static uint32_t interesting_float(struct code *code)
{
    static const uint32_t values[] = {
        0x00000000, 0x80000000, 0x3f800000, 0xbf800000, 0x7f800000, 0xff800000, 0x7fbfffff,
        0x7fc00000, 0xffc12345, 0x00000001, 0x807fffff, 0x00800000, 0x7f7fffff, 0x4f000000,
        0xcf000000, 0x3f000000, 0x40200000, 0xc0600000, 0x7f812345, 0x40490fdb, 0x7ff00000,
        0x7ff7ffff, 0x7ff80000, 0x3ff00000, 0xc0000000, 0x41e00000, 0x43e00000, 0x000fffff};
    return pick(code, 4) == 0 ? rig_random(&code->random)
                              : values[pick(code, sizeof(values) / sizeof(values[0]))];
}

/* Instructions with effects that are compared elsewhere, or that no two processors share. */
static bool excluded(enum isa_insn insn)
{
    uint32_t flags = isa_table[insn].flags;

    return (flags & (ISA_TRAP | ISA_OVERFLOW | ISA_PRIVILEGED | ISA_JUMP | ISA_ENDS_BLOCK)) != 0 ||
           insn == ISA_RDHWR || insn == ISA_SYNCI || insn == ISA_LL || insn == ISA_SC ||
           insn == ISA_CFC1 || insn == ISA_MFHC1 || insn == ISA_MTHC1 || insn == ISA_PREFX ||
           insn == ISA_RECIP_S || insn == ISA_RECIP_D || insn == ISA_RSQRT_S ||
           insn == ISA_RSQRT_D || isa_table[insn].form == ISA_FORM_FD_INDEX ||
           isa_table[insn].form == ISA_FORM_FS_INDEX;
}

static unsigned access_bytes(enum isa_insn insn)
{
    switch (insn) {
    case ISA_LH:
    case ISA_LHU:
    case ISA_SH:
        return 2;
    case ISA_LW:
    case ISA_SW:
    case ISA_LWC1:
    case ISA_SWC1:
        return 4;
    case ISA_LDC1:
    case ISA_SDC1:
        return 8;
    default:
        return 1;
    }
}

/* Pairs where doubles are: all FPU fields even, whatever the instruction. */
static uint32_t even_pairs(enum isa_insn insn, uint32_t word)
{
    uint32_t fields = UINT32_C(0x00010840) | UINT32_C(0x00200000);

    if (!(isa_table[insn].flags & ISA_FPU) || isa_table[insn].flags & ISA_BRANCH)
        return word;
    return word & ~(fields & ~isa_table[insn].mask);
}

static bool one_insn(struct code *code, bool in_slot);

static void branch(struct code *code, uint32_t word)
{
    uint32_t skip = 2 + pick(code, 2);

    put(code, (word & UINT32_C(0xffff0000)) | skip);
    /* The delay slot, and one or two that may be skipped; each is one word. */
    for (uint32_t i = 0; i <= skip; i++)
        while (!one_insn(code, true))
            ;
}

/* One random instruction; false: it was none that fits here. */
static bool one_insn(struct code *code, bool in_slot)
{
    enum isa_insn insn = (enum isa_insn)pick(code, ISA_COUNT);
    const struct isa_entry *e = &isa_table[insn];
    uint32_t word = e->match | (rig_random(&code->random) & ~e->mask);

    if (excluded(insn) || (in_slot && (e->flags & ISA_BRANCH || insn == ISA_DIV ||
                                       insn == ISA_DIVU)))
        return false;
    word = even_pairs(insn, word);
    if (e->flags & ISA_W_RD)
        word = (word & ~UINT32_C(0xf800)) | destination(code) << 11;
    if (e->flags & ISA_W_RT)
        word = (word & ~UINT32_C(0x1f0000)) | destination(code) << 16;
    if (e->form == ISA_FORM_US) /* rt repeats rd */
        word = (word & ~UINT32_C(0x1f0000)) | (word >> 11 & 31) << 16;
    if (insn == ISA_EXT && (word >> 6 & 31) + (word >> 11 & 31) > 31)
        return false;
    if (insn == ISA_INS && (word >> 6 & 31) > (word >> 11 & 31))
        return false;
    if (e->flags & (ISA_LOAD | ISA_STORE)) {
        uint32_t offset = pick(code, DUMP - 8) & ~(uint32_t)(access_bytes(insn) - 1);
        word = (word & UINT32_C(0xfc1f0000)) | (uint32_t)BASE << 21 | offset;
    }
    if (insn == ISA_DIV || insn == ISA_DIVU) { /* not by zero */
        put(code, immediate(13, 25, 25, 1));
        word = (word & ~UINT32_C(0x1f0000)) | UINT32_C(25) << 16;
    }
    assert_int_equal(isa_decode(word), insn);
    if (e->flags & ISA_BRANCH)
        branch(code, word);
    else
        put(code, word);
    return true;
}

static void prologue(struct code *code)
{
    load_constant(code, 1, pick(code, 4)); /* rounding mode */
    put(code, UINT32_C(0x44c1f800));       /* ctc1 $1, $31 */
    load_constant(code, BASE, DATA);
    for (uint32_t i = 0; i < 32; i++) {
        load_constant(code, 1, interesting_float(code));
        put(code, UINT32_C(0x44810000) | i << 11); /* mtc1 $1, $fi */
    }
    for (uint32_t i = 0; i < 64; i++) {
        load_constant(code, 1, pick(code, 2) != 0 ? interesting(code) : interesting_float(code));
        put(code, immediate(43, BASE, 1, 4 * pick(code, DUMP / 4)));
    }
    for (uint32_t i = 1; i < 32; i++)
        if (i != BASE)
            load_constant(code, i, interesting(code));
    put(code, UINT32_C(0x00400011)); /* mthi $2 */
    put(code, UINT32_C(0x00600013)); /* mtlo $3 */
}

static void epilogue(struct code *code)
{
    for (uint32_t i = 1; i < 32; i++)
        put(code, immediate(43, BASE, i, DUMP + 4 * i));
    put(code, UINT32_C(0x00000810)); /* mfhi $1 */
    put(code, immediate(43, BASE, 1, DUMP + 128));
    put(code, UINT32_C(0x00000812)); /* mflo $1 */
    put(code, immediate(43, BASE, 1, DUMP + 132));
    put(code, UINT32_C(0x4441f800)); /* cfc1 $1, $31 */
    put(code, immediate(43, BASE, 1, DUMP + 136));
    for (uint32_t i = 0; i < 32; i++)
        put(code, immediate(57, BASE, i, DUMP + 140 + 4 * i)); /* swc1 */
    code->end = TEXT + 4 * (uint32_t)code->n;
    load_constant(code, 4, 1); /* write(1, DATA, DATA_BYTES), exit(0) of Linux */
    load_constant(code, 5, DATA);
    load_constant(code, 6, DATA_BYTES);
    load_constant(code, 2, 4004);
    put(code, UINT32_C(0x0000000c));
    load_constant(code, 4, 0);
    load_constant(code, 2, 4001);
    put(code, UINT32_C(0x0000000c));
}

static void make(struct code *code, uint64_t seed)
{
    memset(code, 0, sizeof(*code));
    code->random = seed * UINT64_C(0x9e3779b97f4a7c15) + 1;
    prologue(code);
    load_constant(code, 1, LOOPS);
    put(code, immediate(43, BASE, 1, COUNTER));
    size_t top = code->n;
    for (int i = 0; i < BODY; i++)
        while (!one_insn(code, false))
            ;
    put(code, immediate(35, BASE, 1, COUNTER));
    put(code, immediate(9, 1, 1, 0xffff)); /* addiu $1, $1, -1 */
    put(code, immediate(43, BASE, 1, COUNTER));
    put(code, immediate(5, 1, 0, (uint32_t)(top - code->n - 1))); /* bne $1, $0, top */
    put(code, 0);
    epilogue(code);
}

#define FLAGS_AT 120

/* A static ELF of one segment, everything in it. */
static void write_elf(const char *path, const struct code *code, bool big)
{
    const uint32_t offset = 4096, bytes = 4 * WORDS_MOST + DATA_BYTES;
    uint8_t *file = calloc(1, offset + bytes);
    const uint8_t ident[16] = {0x7f, 'E', 'L', 'F', 1, big ? 2 : 1, 1};
    /* type 2 and machine 8 are halves, as are the last words of the header */
    const uint32_t header[] = {big ? 0x00020008u : 0x00080002u,
                               1,
                               TEXT,
                               52,
                               0,
                               0x70001000u,
                               big ? 0x00340020u : 0x00200034u,
                               big ? 0x00020028u : 0x00280002u,
                               0,
                               1, /* the program header: load */
                               offset,
                               TEXT,
                               TEXT,
                               bytes,
                               bytes,
                               7,
                               4096,
                               0x70000003u, /* flags of the ABI, for FR = 0 */
                               FLAGS_AT,
                               TEXT,
                               TEXT,
                               24,
                               24,
                               4,
                               8};
    const uint8_t flags[8] = {0, 0, 32, 2, 1, 1, 0, 1}; /* MIPS32 release 2; pairs are doubles */

    assert_non_null(file);
    memcpy(file, ident, sizeof(ident));
    for (size_t i = 0; i < sizeof(header) / sizeof(header[0]); i++)
        rig_put(file + 16 + 4 * i, big, header[i]);
    memcpy(file + FLAGS_AT, flags, sizeof(flags));
    for (size_t i = 0; i < code->n; i++)
        rig_put(file + offset + 4 * i, big, code->words[i]);
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0700);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, file, offset + bytes), offset + bytes);
    close(fd);
    free(file);
}

/* The page as the oracle leaves it; false: there is no oracle. */
static bool ask_oracle(const struct code *code, bool big, uint8_t page[DATA_BYTES])
{
    char path[] = "/tmp/mayfly-machine-XXXXXX", command[128];
    int fd = mkstemp(path);

    assert_true(fd >= 0);
    assert_int_equal(fchmod(fd, 0700), 0);
    close(fd);
    write_elf(path, code, big);
    snprintf(command, sizeof(command), "timeout 20 %s %s", big ? "qemu-mips" : "qemu-mipsel", path);
    FILE *pipe = popen(command, "re");
    assert_non_null(pipe);
    size_t got = fread(page, 1, DATA_BYTES, pipe);
    int status = pclose(pipe);
    unlink(path);
    assert_int_equal(status, 0);
    return got == DATA_BYTES;
}

static bool have_oracle(void)
{
    return system("qemu-mips --version >/dev/null 2>&1 && qemu-mipsel --version >/dev/null 2>&1") ==
           0;
}

/* How a program is run, and what comes of it. */
struct way {
    const char *name;
    uint32_t slice;     /* most instructions of a run; 0: all */
    uint64_t threshold; /* entries that make a block hot */
    bool exact;         /* as on a host without floating-point flags */
};

struct result {
    uint8_t page[DATA_BYTES];
    uint64_t executed;
    uint64_t stats[sizeof(struct machine_stats) / 8 + ISA_COUNT];
};

/* Runs to the end of the dump. */
static void run_ours(const struct code *code, bool big, const struct way *way, uint64_t seed,
                     struct result *outcome)
{
    struct rig rig;
    struct rig_setup setup = {.big = big,
                              .delayed = true,
                              .writable = true,
                              .zeros = DATA + DATA_BYTES - TEXT - 4 * (uint32_t)code->n};
    enum machine_stop_reason reason;

    rig_open(&rig, &setup, code->words, code->n);
    rig.m->native.threshold = way->threshold;
    rig.m->fpu_exact = rig.m->fpu_exact_always = way->exact;
    assert_true(control_set_break(rig.m, code->end, true));
    do {
        uint64_t n = way->slice == 0 ? UINT64_MAX : 1 + rig_random(&seed) % way->slice;
        reason = rig_run(&rig, n);
        if (reason == MACHINE_SLICE)
            assert_int_equal(rig.stop.executed, n);
    } while (reason == MACHINE_SLICE);
    if (reason != MACHINE_BREAK)
        fail_msg("%s: stopped at %08x: %s", way->name, rig.stop.pc, rig.stop.text);
    assert_int_equal(rig.stop.pc, code->end);
    assert_int_equal(memory_read(rig.m, DATA, outcome->page, DATA_BYTES), DATA_BYTES);
    assert_int_not_equal(control_stats(rig.m, outcome->stats, sizeof(outcome->stats)), 0);
    ((struct machine_stats *)outcome->stats)->blocks = 0; /* more in short slices */
    outcome->executed = rig.m->executed;
    if (!rig.m->native.refused)
        assert_int_equal(rig.m->native.units != 0, way->threshold < LOOPS);
    rig_close(&rig);
}

static void compare(const struct code *code, uint64_t seed, bool big, const uint8_t *ours,
                    const uint8_t *theirs, const char *what)
{
    for (size_t i = 0; i < DATA_BYTES; i += 4) {
        if (memcmp(ours + i, theirs + i, 4) == 0)
            continue;
        print_error("program %u, %s-endian, %s: word %zu (register %d) differs:"
                    " %02x%02x%02x%02x, not %02x%02x%02x%02x\n",
                    (unsigned)seed, big ? "big" : "little", what, i, (int)(i - DUMP) / 4, ours[i],
                    ours[i + 1], ours[i + 2], ours[i + 3], theirs[i], theirs[i + 1], theirs[i + 2],
                    theirs[i + 3]);
        for (size_t j = 0; getenv("MACHINE_TEST_LIST") != NULL && j < code->n; j++) {
            char text[ISA_TEXT];
            isa_disassemble(code->words[j], TEXT + 4 * (uint32_t)j, NULL, text, sizeof(text));
            print_message("%08x %s\n", TEXT + 4 * (unsigned)j, text);
        }
        fail();
    }
}

static void one_program(uint64_t seed, bool big, bool oracle)
{
    static const struct way ways[] = {
        {"whole", 0, NATIVE_NEVER, false},   {"in slices", 7, NATIVE_NEVER, false},
        {"translated at once", 0, 0, false}, {"at once, in slices", 60, 0, false},
        {"at once, in steps", 3, 0, false},  {"translated soon", 0, 2, false},
        {"soon, in slices", 100, 3, false},  {"without flags of the host", 0, 0, true},
    };
    static struct code code;
    static struct result first, other;
    uint8_t theirs[DATA_BYTES];

    make(&code, seed);
    run_ours(&code, big, &ways[0], seed, &first);
    for (size_t i = 1; i < sizeof(ways) / sizeof(ways[0]); i++) {
        run_ours(&code, big, &ways[i], seed, &other);
        compare(&code, seed, big, other.page, first.page, ways[i].name);
        assert_int_equal(other.executed, first.executed);
        for (size_t j = 0; j < sizeof(other.stats) / 8; j++)
            if (other.stats[j] != first.stats[j])
                fail_msg("program %u, %s: statistic %zu is %llu, not %llu", (unsigned)seed,
                         ways[i].name, j, (unsigned long long)other.stats[j],
                         (unsigned long long)first.stats[j]);
    }
    if (oracle && ask_oracle(&code, big, theirs))
        compare(&code, seed, big, first.page, theirs, "against qemu");
}

static void test_random_programs(void **state)
{
    bool oracle = have_oracle();
    const char *count = getenv("MACHINE_TEST_PROGRAMS");
    uint64_t programs = count != NULL ? strtoull(count, NULL, 10) : PROGRAMS;

    (void)state;
    if (!oracle)
        print_message("qemu-mips and qemu-mipsel are not installed: compared with itself only\n");
    const char *from = getenv("MACHINE_TEST_FROM");
    for (uint64_t seed = from != NULL ? strtoull(from, NULL, 10) : 1; seed <= programs; seed++) {
        one_program(seed, true, oracle);
        one_program(seed, false, oracle);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_random_programs),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
