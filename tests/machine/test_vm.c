/*
 * Machines in sandboxes: a snapshot at every instruction goes on as if nothing had been, and
 * turns give the same output on every run.
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

static struct vmm_common *make_common(void)
{
    struct vmm_common *common = calloc(1, sizeof *common);

    assert_non_null(common);
    common->guest = open_guest();
    common->backend = backend;
    common->terminal.wake_fd = -1;
    pthread_mutex_init(&common->terminal.lock, NULL);
    return common;
}

static void free_common(struct vmm_common *common)
{
    mf_image_close(common->guest);
    free(common);
}

/* A machine that runs a program of machine/examples and writes to `output` in the folder. */
static void make(struct vmm_machine *machine, struct vmm_common *common, const char *program,
                 const char *output)
{
    struct vmm_config config;
    struct mf_error err;
    char path[4096];

    snprintf(path, sizeof path, "%s/machine/examples/%s", getenv("MAYFLY_SOURCE_DIR"), program);
    assert_int_equal(vmm_config_of_program(path, &config, &err), MF_OK);
    free(config.folder);
    config.folder = strdup(folder);
    assert_true(asprintf(&config.stdout_path, "%s/%s", folder, output) > 0);
    config.slice = 3;
    vmm_machine_init(machine, common, &config, false);
}

/* What a machine printed; the file goes. */
static char *take_output(const char *output)
{
    char path[256], *text = calloc(1, OUTPUT_MAX);

    snprintf(path, sizeof path, "%s/%s", folder, output);
    int fd = open(path, O_RDONLY);
    assert_true(fd >= 0 && text != NULL);
    assert_true(read(fd, text, OUTPUT_MAX - 1) >= 0);
    close(fd);
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

/*
 * Runs `n` instructions and saves to a file. False: the older format has no number for this place,
 * which is between the two words of one written instruction.
 */
static bool run_and_save(struct vmm_common *common, const char *program, uint64_t n,
                         const char *path)
{
    struct vmm_machine machine;

    make(&machine, common, program, "first.out");
    assert_int_equal(vmm_machine_open(&machine), MF_OK);
    while (machine.executed < n)
        assert_int_equal(vmm_machine_turn(&machine, n - machine.executed), VMM_GOES_ON);
    assert_int_equal(machine.executed, n);
    int status = snapshot_write(&machine, path);
    if (status != MF_OK) {
        assert_true(common->legacy_snapshots);
        assert_int_equal(status, MF_E_STATE);
    }
    vmm_machine_close(&machine);
    return status == MF_OK;
}

static void snapshot_at_every_instruction(const char *program, bool legacy)
{
    struct machine_state whole;
    uint64_t executed, between = 0;
    char *output = run_whole(program, &whole, &executed), path[256], both[2 * OUTPUT_MAX];
    struct vmm_common *common = make_common();

    common->legacy_snapshots = legacy;
    assert_true(executed > 5 && executed < 200);
    snprintf(path, sizeof path, "%s/every.snap", folder);
    for (uint64_t n = 0; n < executed; n++) {
        struct vmm_machine machine;
        if (!run_and_save(common, program, n, path)) {
            between++;
            continue;
        }
        make(&machine, common, program, "second.out");
        machine.config.snapshot = strdup(path);
        assert_int_equal(vmm_machine_open(&machine), MF_OK);
        run_to_end(&machine);
        assert_memory_equal(machine.state.registers, whole.registers, sizeof whole.registers);
        assert_int_equal(machine.state.pc, whole.pc);
        if (!legacy)
            assert_int_equal(machine.state.executed, whole.executed);
        vmm_machine_close(&machine);
        char *first = take_output("first.out"), *second = take_output("second.out");
        snprintf(both, sizeof both, "%s%s", first, second);
        assert_string_equal(both, output);
        free(first);
        free(second);
    }
    assert_true(between <= (legacy ? 1 : 0));
    unlink(path);
    free(output);
    free_common(common);
}

static void goes_on_from_every_instruction(void **state)
{
    (void)state;
    snapshot_at_every_instruction("numbers.s", false);
}

static void goes_on_from_every_instruction_legacy(void **state)
{
    (void)state;
    snapshot_at_every_instruction("simple.s", true);
}

static void refuses_other_snapshots(void **state)
{
    struct vmm_common *common = make_common();
    struct vmm_machine machine;
    char path[256];

    (void)state;
    snprintf(path, sizeof path, "%s/other.snap", folder);
    assert_true(run_and_save(common, "simple.s", 2, path));
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(goes_on_from_every_instruction),
        cmocka_unit_test(goes_on_from_every_instruction_legacy),
        cmocka_unit_test(refuses_other_snapshots),
        cmocka_unit_test(turns_are_the_same_every_time),
        cmocka_unit_test(confines_snapshots),
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
