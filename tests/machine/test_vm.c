/*
 * Machines in sandboxes: a snapshot at every instruction goes on as if nothing had been, turns
 * give the same output on every run, and the computer is the same on both backends.
 */
#include "machine/host/machine.h"
#include "machine/host/schedule.h"
#include "machine/host/snapshot.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define OUTPUT_MAX 65536

static enum mf_backend backend;
static char folder[] = "/tmp/mayfly-machine-XXXXXX";

static struct mf_image *open_guest(void)
{
    struct mf_image *image;
    struct mf_error err;
    char path[4096];
    const char *name = getenv("MACHINE_TEST_GUEST"); /* another than usual, if any */

    snprintf(path, sizeof path, "%s/machine/guest/%s", getenv("MAYFLY_BUILD_DIR"),
             name != NULL ? name : "machine");
    if (mf_image_open(path, &image, &err) != MF_OK) {
        printf("%s\n", err.message);
        exit(1);
    }
    return image;
}

static struct vmm_common *make_common_on(enum mf_backend on)
{
    struct vmm_common *common = calloc(1, sizeof *common);

    assert_non_null(common);
    common->guest = open_guest();
    common->backend = on;
    common->terminal.wake_fd = -1;
    pthread_mutex_init(&common->terminal.lock, NULL);
    return common;
}

static struct vmm_common *make_common(void)
{
    return make_common_on(backend);
}

static void free_common(struct vmm_common *common)
{
    mf_image_close(common->guest);
    free(common);
}

/*
 * A machine that runs a program, of machine/examples or with a path from the top of the sources,
 * and writes to `output` in the folder.
 */
static void make(struct vmm_machine *machine, struct vmm_common *common, const char *program,
                 const char *output)
{
    struct vmm_config config;
    struct mf_error err;
    char path[4096];

    snprintf(path, sizeof path, "%s/%s%s", getenv("MAYFLY_SOURCE_DIR"),
             strchr(program, '/') != NULL ? "" : "machine/examples/", program);
    assert_int_equal(vmm_config_of_program(path, &config, &err), MF_OK);
    free(config.folder);
    config.folder = strdup(folder);
    assert_true(asprintf(&config.stdout_path, "%s/%s", folder, output) > 0);
    config.slice = 3;
    vmm_machine_init(machine, common, &config, false);
}

/* What a machine printed so far. */
static char *read_output(const char *output)
{
    char path[256], *text = calloc(1, OUTPUT_MAX);

    snprintf(path, sizeof path, "%s/%s", folder, output);
    int fd = open(path, O_RDONLY);
    assert_true(fd >= 0 && text != NULL);
    assert_true(read(fd, text, OUTPUT_MAX - 1) >= 0);
    close(fd);
    return text;
}

/* The same; the file goes. */
static char *take_output(const char *output)
{
    char path[256], *text = read_output(output);

    snprintf(path, sizeof path, "%s/%s", folder, output);
    unlink(path);
    return text;
}

static void run_to_end(struct vmm_machine *machine)
{
    enum vmm_turn turn;

    do {
        turn = vmm_machine_turn(machine, UINT64_MAX);
    } while (turn == VMM_GOES_ON);
    assert_int_equal(turn, VMM_ENDED);
    assert_int_equal(machine->outcome, VMM_EXITED);
}

/* The registers at the end and the output of a run without interruption. */
static char *run_whole(const char *program, struct machine_state *state, uint64_t *executed)
{
    struct vmm_common *common = make_common();
    struct vmm_machine machine;

    make(&machine, common, program, "whole.out");
    assert_int_equal(vmm_machine_open(&machine), MF_OK);
    run_to_end(&machine);
    assert_true(machine.has_state);
    *state = machine.state;
    *executed = machine.executed;
    vmm_machine_close(&machine);
    free_common(common);
    return take_output("whole.out");
}

/* Goes on to the `n`th instruction from the start. */
static void walk_to(struct vmm_machine *machine, uint64_t n)
{
    while (machine->executed < n)
        assert_int_equal(vmm_machine_turn(machine, n - machine->executed), VMM_GOES_ON);
    assert_int_equal(machine->executed, n);
}

/* Resumes the snapshot and runs it to its end: the registers are those of `whole`. */
static void finish_from(struct vmm_common *common, const char *program, const char *path,
                        const struct machine_state *whole, bool legacy)
{
    struct vmm_machine machine;

    make(&machine, common, program, "second.out");
    machine.config.snapshot = strdup(path);
    assert_int_equal(vmm_machine_open(&machine), MF_OK);
    run_to_end(&machine);
    assert_memory_equal(machine.state.registers, whole->registers, sizeof whole->registers);
    assert_int_equal(machine.state.pc, whole->pc);
    if (!legacy)
        assert_int_equal(machine.state.executed, whole->executed);
    vmm_machine_close(&machine);
}

/* The output up to a snapshot and that of the machine which went on from it are the whole. */
static void join_outputs(const char *whole)
{
    char *first = read_output("first.out"), *second = take_output("second.out");
    char both[2 * OUTPUT_MAX];

    snprintf(both, sizeof both, "%s%s", first, second);
    assert_string_equal(both, whole);
    free(first);
    free(second);
}

/*
 * One machine is saved before each of its instructions; each snapshot goes on with the backend
 * `then`, in a machine of its own. The older format has no number for a place between the two words
 * of one written instruction.
 */
static void snapshot_at_every_instruction(const char *program, bool legacy, enum mf_backend then)
{
    struct machine_state whole;
    uint64_t executed, between = 0;
    char *output = run_whole(program, &whole, &executed), path[256];
    struct vmm_common *common = make_common(), *other = make_common_on(then);
    struct vmm_machine walker;

    common->legacy_snapshots = legacy;
    assert_true(executed > 5 && executed < 400);
    snprintf(path, sizeof path, "%s/every.snap", folder);
    make(&walker, common, program, "first.out");
    assert_int_equal(vmm_machine_open(&walker), MF_OK);
    for (uint64_t n = 0; n < executed; n++) {
        walk_to(&walker, n);
        int status = snapshot_write(&walker, path);
        if (status == MF_OK) {
            finish_from(other, program, path, &whole, legacy);
            join_outputs(output);
        } else {
            assert_true(legacy);
            assert_int_equal(status, MF_E_STATE);
            between++;
        }
    }
    run_to_end(&walker);
    vmm_machine_close(&walker);
    char *walked = take_output("first.out");
    assert_string_equal(walked, output);
    assert_true(between <= (legacy ? 1 : 0));
    unlink(path);
    free(walked);
    free(output);
    free_common(other);
    free_common(common);
}

static void goes_on_from_every_instruction(void **state)
{
    (void)state;
    snapshot_at_every_instruction("numbers.s", false, backend);
}

/* With loads, stores and branches both ways: the memory goes on, too. */
static void goes_on_from_every_instruction_of_a_sort(void **state)
{
    (void)state;
    snapshot_at_every_instruction("tests/machine/programs/sort8.s", false, backend);
}

static void goes_on_with_the_other_backend(void **state)
{
    enum mf_backend other = backend == MF_BACKEND_KVM ? MF_BACKEND_SOFT : MF_BACKEND_KVM;
    struct mf_backend_info info;

    (void)state;
    mf_backend_probe(other, &info, NULL);
    if (!info.usable)
        skip();
    snapshot_at_every_instruction("numbers.s", false, other);
}

static void goes_on_from_every_instruction_legacy(void **state)
{
    (void)state;
    snapshot_at_every_instruction("simple.s", true, backend);
}

static void refuses_other_snapshots(void **state)
{
    struct vmm_common *common = make_common();
    struct vmm_machine machine;
    char path[256];

    (void)state;
    snprintf(path, sizeof path, "%s/other.snap", folder);
    make(&machine, common, "simple.s", "first.out");
    assert_int_equal(vmm_machine_open(&machine), MF_OK);
    walk_to(&machine, 2);
    assert_int_equal(snapshot_write(&machine, path), MF_OK);
    vmm_machine_close(&machine);
    make(&machine, common, "numbers.s", "second.out");
    machine.config.snapshot = strdup(path);
    assert_int_equal(vmm_machine_open(&machine), MF_E_SNAPSHOT);
    assert_non_null(strstr(machine.err.message, "another program"));
    assert_int_equal(machine.outcome, VMM_FAILED);
    vmm_machine_close(&machine);
    /* Cut by one byte. */
    FILE *file = fopen(path, "r+");
    assert_non_null(file);
    fseek(file, -1, SEEK_END);
    assert_int_equal(ftruncate(fileno(file), ftell(file)), 0);
    fclose(file);
    make(&machine, common, "simple.s", "second.out");
    machine.config.snapshot = strdup(path);
    assert_int_equal(vmm_machine_open(&machine), MF_E_SNAPSHOT);
    vmm_machine_close(&machine);
    unlink(path);
    free_common(common);
}

/* Three machines that share one output, in turns. */
static char *run_in_turns(void)
{
    struct vmm_common *common = make_common();
    struct vmm_machine machines[3];
    struct mf_error err;
    char path[256];

    snprintf(path, sizeof path, "%s/turns.out", folder);
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    int before = dup(STDOUT_FILENO);
    assert_true(fd >= 0 && before >= 0);
    common->terminal.names = true;
    for (int i = 0; i < 3; i++) {
        make(&machines[i], common, i == 1 ? "simple.s" : "numbers.s", "unused");
        free(machines[i].config.stdout_path);
        machines[i].config.stdout_path = NULL;
        machines[i].config.name[0] = (char)('a' + i);
    }
    fflush(stdout);
    dup2(fd, STDOUT_FILENO);
    int status = vmm_schedule(machines, 3, VMM_ROUND_ROBIN, &err);
    dup2(before, STDOUT_FILENO);
    close(before);
    close(fd);
    assert_int_equal(status, MF_OK);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(machines[i].outcome, VMM_EXITED);
        vmm_machine_close(&machines[i]);
    }
    free_common(common);
    return take_output("turns.out");
}

static void turns_are_the_same_every_time(void **state)
{
    char *first = run_in_turns();

    (void)state;
    assert_non_null(strstr(first, "[aumbers] "));
    assert_non_null(strstr(first, "[cumbers] "));
    for (int i = 1; i < 10; i++) {
        char *again = run_in_turns();
        assert_string_equal(again, first);
        free(again);
    }
    free(first);
}

static void confines_snapshots(void **state)
{
    static const char *const bad[] = {"/tmp/x", "../x", "a/../../x", "..", "", "x/", "a\nb"};
    struct vmm_common *common = make_common();
    struct vmm_machine machine;
    char *path, link[256], target[256];

    (void)state;
    make(&machine, common, "simple.s", "unused");
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        assert_int_equal(snapshot_resolve(&machine, bad[i], &path), MF_E_ARGUMENT);
        assert_null(path);
    }
    snprintf(link, sizeof link, "%s/out", folder);
    assert_int_equal(symlink("/tmp", link), 0);
    assert_int_equal(snapshot_resolve(&machine, "out/x", &path), MF_E_ARGUMENT);
    unlink(link);
    snprintf(target, sizeof target, "%s/notes.txt", folder);
    int fd = open(target, O_WRONLY | O_CREAT, 0600);
    assert_int_equal(write(fd, "dear diary", 10), 10);
    close(fd);
    assert_int_equal(snapshot_resolve(&machine, "notes.txt", &path), MF_E_ARGUMENT);
    unlink(target);
    assert_int_equal(snapshot_resolve(&machine, "notes..txt", &path), MF_OK);
    free(path);
    common->snapshots_anywhere = true;
    assert_int_equal(snapshot_resolve(&machine, "/tmp/mayfly-no-such-file", &path), MF_OK);
    assert_string_equal(path, "/tmp/mayfly-no-such-file");
    free(path);
    vmm_machine_close(&machine);
    free_common(common);
}

static void write_file(const char *name, const void *data, size_t len)
{
    char path[256];

    snprintf(path, sizeof path, "%s/%s", folder, name);
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, data, len), len);
    close(fd);
}

/* Every instruction that was executed stands in one basic block, whatever the turns are. */
static void counts_basic_blocks(void **state)
{
    static const char *const programs[] = {"numbers.s", "timer.s", "crash.s"};
    static const uint64_t slices[] = {UINT64_MAX, 100, 1};

    (void)state;
    for (size_t i = 0; i < 9; i++) {
        struct vmm_common *common = make_common();
        struct vmm_machine machine;
        uint64_t sum = 0;
        common->statistics = true;
        make(&machine, common, programs[i / 3], "blocks.out");
        assert_int_equal(vmm_machine_open(&machine), MF_OK);
        while (vmm_machine_turn(&machine, slices[i % 3]) == VMM_GOES_ON)
            ;
        const struct vmm_statistics *s = &machine.statistics;
        for (size_t b = 0; b < s->nblocks; b++) {
            sum += s->blocks[b].n * s->blocks[b].times;
            if (b > 0)
                assert_true(s->blocks[b].n * s->blocks[b].times <=
                            s->blocks[b - 1].n * s->blocks[b - 1].times);
        }
        assert_int_equal(sum, machine.executed);
        if (i < 3) {
            assert_int_equal(s->blocks[0].times, 5);
            assert_int_equal(s->blocks[0].address, MACHINE_TEXT + 4);
        }
        vmm_machine_close(&machine);
        free_common(common);
        free(take_output("blocks.out"));
    }
}

/* What a program, given as its text, prints; `devices` as in a configuration file. */
static char *run_text(const char *program, const char *devices)
{
    struct vmm_common *common = make_common();
    struct vmm_machine machine;
    struct vmm_config config;
    struct mf_error err;
    char text[256], path[256];

    write_file("text.s", program, strlen(program));
    snprintf(text, sizeof text, "vm_binary = text.s\nvm_devices = %s\nvm_stdout = text.out\n",
             devices);
    write_file("text.conf", text, strlen(text));
    snprintf(path, sizeof path, "%s/text.conf", folder);
    assert_int_equal(vmm_config_read(path, &config, &err), MF_OK);
    vmm_machine_init(&machine, common, &config, false);
    assert_int_equal(vmm_machine_open(&machine), MF_OK);
    run_to_end(&machine);
    vmm_machine_close(&machine);
    free_common(common);
    return take_output("text.out");
}

/* Sector 0 is changed and written as sector 1; sector 4 of 4 is an error for both commands. */
static void reads_and_writes_a_disk(void **state)
{
    static const char program[] = "        .data\n"
                                  "buffer: .space  512\n"
                                  "        .text\n"
                                  "main:   lui     $s0, 0xffff\n"
                                  "        la      $s1, buffer\n"
                                  "        sw      $s1, 0x14($s0)\n"
                                  "        li      $a1, 0\n"
                                  "        li      $a2, 1\n"
                                  "        jal     disk\n"
                                  "        lb      $t0, 511($s1)\n"
                                  "        addi    $t0, $t0, 1\n"
                                  "        sb      $t0, 511($s1)\n"
                                  "        li      $a1, 1\n"
                                  "        li      $a2, 2\n"
                                  "        jal     disk\n"
                                  "        li      $a1, 4\n"
                                  "        jal     disk\n"
                                  "        li      $a2, 1\n"
                                  "        jal     disk\n"
                                  "        lw      $a0, 0x20($s0)\n"
                                  "        li      $v0, 1\n"
                                  "        syscall\n"
                                  "        li      $v0, 10\n"
                                  "        syscall\n"
                                  "disk:   sw      $a1, 0x10($s0)\n"
                                  "        sw      $a2, 0x18($s0)\n"
                                  "        lw      $a0, 0x1c($s0)\n"
                                  "        li      $v0, 1\n"
                                  "        syscall\n"
                                  "        jr      $ra\n";
    uint8_t disk[4 * 512], after[4 * 512];
    char path[256];

    (void)state;
    for (size_t i = 0; i < sizeof disk; i++)
        disk[i] = (uint8_t)(i * 7 + i / 512);
    write_file("disk.img", disk, sizeof disk);
    char *output = run_text(program, "console disk:disk.img");
    assert_string_equal(output, "55774");
    free(output);
    snprintf(path, sizeof path, "%s/disk.img", folder);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    assert_int_equal(read(fd, after, sizeof after), sizeof after);
    close(fd);
    memcpy(disk + 512, disk, 512);
    disk[1023]++;
    assert_memory_equal(after, disk, sizeof disk);
}

/*
 * A program that is a small kernel: its user mode tries what it may not, and its handler prints
 * the code of each exception and goes on behind it.
 */
static void keeps_user_mode_out(void **state)
{
    static const char program[] = "main:   li      $t0, 0x20000010\n" /* CU1, UM */
                                  "        lui     $t1, 0x9000\n"
                                  "        lui     $t2, 0xffff\n"
                                  "        mtc0    $t0, $12\n"
                                  "        mfc0    $t3, $12\n"  /* 11 */
                                  "        tlbwi\n"             /* 11 */
                                  "        lw      $t3, 0($t1)\n" /* 4 */
                                  "        sw      $t3, 0($t1)\n" /* 5 */
                                  "        sb      $t3, 12($t2)\n" /* 5 */
                                  "        rdhwr   $t3, $3\n"   /* 10 */
                                  "        add.s   $f0, $f2, $f4\n"
                                  "        syscall\n"           /* 8: the end */
                                  "        .ktext  0x80000180\n"
                                  "        mfc0    $k0, $13\n"
                                  "        srl     $k0, $k0, 2\n"
                                  "        andi    $a0, $k0, 31\n"
                                  "        li      $v0, 1\n"
                                  "        syscall\n"
                                  "        li      $v0, 10\n"
                                  "        beq     $a0, 8, last\n"
                                  "        li      $a0, ' '\n"
                                  "        li      $v0, 11\n"
                                  "        syscall\n"
                                  "        mfc0    $k0, $14\n"
                                  "        addi    $k0, $k0, 4\n"
                                  "        mtc0    $k0, $14\n"
                                  "        eret\n"
                                  "last:   syscall\n";

    (void)state;
    char *output = run_text(program, "all");
    assert_string_equal(output, "11 11 4 5 5 10 8");
    free(output);
}

/* 1 / 3, 1 / 0, least * least: inexact, division by zero, underflow; the flags stay. */
static void has_floating_point_flags(void **state)
{
    static const char program[] = "main:   li.s    $f0, 1.0\n"
                                  "        li.s    $f2, 3.0\n"
                                  "        div.s   $f4, $f0, $f2\n"
                                  "        jal     print\n"
                                  "        mtc1    $zero, $f2\n"
                                  "        div.s   $f4, $f0, $f2\n"
                                  "        jal     print\n"
                                  "        li      $t0, 1\n"
                                  "        mtc1    $t0, $f2\n"
                                  "        mul.s   $f4, $f2, $f2\n"
                                  "        jal     print\n"
                                  "        li      $v0, 10\n"
                                  "        syscall\n"
                                  "print:  cfc1    $a0, $31\n"
                                  "        li      $v0, 34\n"
                                  "        syscall\n"
                                  "        jr      $ra\n";

    (void)state;
    char *output = run_text(program, "all");
    assert_string_equal(output, "0x000010040x000080240x0000302c");
    free(output);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(goes_on_from_every_instruction),
        cmocka_unit_test(goes_on_from_every_instruction_of_a_sort),
        cmocka_unit_test(goes_on_with_the_other_backend),
        cmocka_unit_test(goes_on_from_every_instruction_legacy),
        cmocka_unit_test(refuses_other_snapshots),
        cmocka_unit_test(turns_are_the_same_every_time),
        cmocka_unit_test(confines_snapshots),
        cmocka_unit_test(counts_basic_blocks),
        cmocka_unit_test(reads_and_writes_a_disk),
        cmocka_unit_test(keeps_user_mode_out),
        cmocka_unit_test(has_floating_point_flags),
    };
    const char *name = getenv("MAYFLY_TEST_BACKEND");
    struct mf_backend_info info;

    backend = name != NULL && strcmp(name, "soft") == 0 ? MF_BACKEND_SOFT : MF_BACKEND_KVM;
    mf_backend_probe(backend, &info, NULL);
    if (!info.usable) {
        printf("skipped: backend %s: %s\n", info.name, info.reason);
        return 77;
    }
    if (mkdtemp(folder) == NULL)
        return 1;
    int status = cmocka_run_group_tests(tests, NULL, NULL);
    char command[128];
    snprintf(command, sizeof command, "rm -rf %s", folder);
    return system(command) == 0 ? status : 1;
}
