/* The table of the software backend; creating and ending VMs. */
#include "vm/soft/soft.h"

#include "base/error.h"
#include "vm/x86.h"

#include <mayfly/export.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

#define TRANSLATOR_BYTES (UINT64_C(1) << 30)
#define SPARE_BYTES (UINT64_C(64) << 20)

/* What the module exports; the build hides everything else. */
extern MF_API const struct vm_ops mf_backend_ops;

static void soft_destroy(struct vm *vm)
{
    struct soft_vm *soft = (struct soft_vm *)vm;
    if (!soft)
        return;
    soft_state_fini(soft);
    if (soft->uc)
        uc_close(soft->uc);
    soft_map_fini(soft);
    free(soft);
}

/*
 * Unicorn ends the whole process when it cannot have its buffer for translated code.
 * So a mapping like that is tried first, which also leaves some room for the rest.
 */
static int check_room(struct mf_error *err)
{
    void *room = mmap(NULL, TRANSLATOR_BYTES + SPARE_BYTES, PROT_READ | PROT_WRITE | PROT_EXEC,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (room == MAP_FAILED)
        return error_set_errno(err, MF_E_NO_MEMORY, errno,
                               "cannot reserve 1 GiB of address space that is writable and "
                               "executable, which the emulator (Unicorn) needs");
    munmap(room, TRANSLATOR_BYTES + SPARE_BYTES);
    return 0;
}

static int open_emulator(struct soft_vm *soft, struct mf_error *err)
{
    int room = check_room(err);
    if (room < 0)
        return room;
    uc_err rc = uc_open(UC_ARCH_X86, UC_MODE_64, &soft->uc);
    if (rc != UC_ERR_OK)
        return error_set(err, rc == UC_ERR_NOMEM ? MF_E_NO_MEMORY : MF_E_BACKEND,
                         "cannot start the emulator (Unicorn): %s", uc_strerror(rc));
    /* Without this, a jump to the address 0 would end a run in silence. */
    rc = uc_ctl_exits_enable(soft->uc);
    if (rc != UC_ERR_OK)
        return error_set(err, MF_E_BACKEND, "the emulator (Unicorn) is too old: %s",
                         uc_strerror(rc));
    return 0;
}

static int self_test_failed(const char *what, const struct vm_exit *exit, struct mf_error *err)
{
    return error_set(err, MF_E_BACKEND,
                     "the emulator (Unicorn %u) fails the self-test with %s (exit %d, vector %u, "
                     "error code %#llx); version 2.0.1 is known to work",
                     uc_version(NULL, NULL) >> 24, what, (int)exit->kind, exit->vector,
                     (unsigned long long)exit->error_code);
}

/*
 * A system call, and a page fault: with these the emulator shows that it runs code
 * at CPL 3 and keeps to the page tables.
 */
static int self_test(struct soft_vm *soft, struct mf_error *err)
{
    struct vm_exit exit = {0};
    struct mf_registers start = *soft->vm.regs;
    soft->vm.regs->rip = X86_SELFTEST_GVA;
    soft->vm.regs_changed = true;
    soft_run(&soft->vm, &exit, err);
    if (exit.kind != VM_EXIT_SYSCALL || soft->vm.regs->rcx != X86_SELFTEST_GVA + 2)
        return self_test_failed("a system call", &exit, err);
    soft->vm.regs->rip = LAYOUT_GVA(DESCRIPTORS);
    soft->vm.regs_changed = true;
    soft_run(&soft->vm, &exit, err);
    if (exit.kind != VM_EXIT_EXCEPTION || exit.vector != 14 ||
        exit.address != LAYOUT_GVA(DESCRIPTORS))
        return self_test_failed("a page fault", &exit, err);
    *soft->vm.regs = start;
    soft->vm.regs_changed = true;
    return 0;
}

static int soft_create(const struct vm_config *config, struct vm **out, struct mf_error *err)
{
    struct soft_vm *soft = calloc(1, sizeof *soft);
    if (!soft)
        return error_set(err, MF_E_NO_MEMORY, "cannot allocate a VM");
    soft->vm.ops = &mf_backend_ops;
    soft->vm.mem = config->mem;
    soft->vm.regs = &soft->registers;
    atomic_init(&soft->stop, false);

    int rc = open_emulator(soft, err);
    if (rc == 0)
        rc = soft_map_init(soft, err);
    if (rc == 0)
        rc = soft_run_init(soft, err);
    if (rc == 0)
        rc = soft_state_init(soft, err);
    if (rc == 0)
        rc = self_test(soft, err);
    if (rc < 0) {
        soft_destroy(&soft->vm);
        return rc;
    }
    *out = &soft->vm;
    return 0;
}

static void soft_describe(struct vm *vm, char *buf, size_t size)
{
    (void)vm;
    unsigned version = uc_version(NULL, NULL);
    snprintf(buf, size, "unicorn-%u.%u.%u sse2 ssse3 sse4.1 sse4.2 no-avx", version >> 24 & 0xff,
             version >> 16 & 0xff, version >> 8 & 0xff);
}

const struct vm_ops mf_backend_ops = {
    .name = "soft",
    .id = MF_BACKEND_SOFT,
    .create = soft_create,
    .destroy = soft_destroy,
    .map = soft_map,
    .map_at = soft_map_at,
    .protect = soft_protect,
    .unmap = soft_unmap,
    .discard = soft_discard,
    .move = soft_move,
    .run = soft_run,
    .interrupt = soft_interrupt,
    .attach = soft_attach,
    .detach = soft_detach,
    .save = soft_save,
    .load = soft_load,
    .dirty_start = soft_dirty_start,
    .dirty_collect = soft_dirty_collect,
    .dirty_clean = soft_dirty_clean,
    .retable = soft_retable,
    .set_segment_base = soft_set_segment_base,
    .get_segment_base = soft_get_segment_base,
    .describe = soft_describe,
};
