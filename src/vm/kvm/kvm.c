/* The table of the KVM backend; creating and ending VMs; mapping changes. */
#include "vm/kvm/kvm.h"

#include "base/error.h"
#include "vm/paging.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#define KVM_DEVICE "/dev/kvm"

static int open_device(struct kvm_vm *kvm, struct mf_error *err)
{
    kvm->kvm_fd = open(KVM_DEVICE, O_RDWR | O_CLOEXEC);
    if (kvm->kvm_fd < 0) {
        switch (errno) {
        case ENOENT:
        case ENXIO:
        case ENODEV:
            return error_set_errno(err, MF_E_BACKEND, errno,
                                   "this host offers no " KVM_DEVICE
                                   " (load the module kvm_intel or kvm_amd, switch virtualisation "
                                   "on in the firmware, or pass the device to the container)");
        case EACCES:
        case EPERM:
            return error_set_errno(err, MF_E_BACKEND, errno,
                                   "no permission to use " KVM_DEVICE
                                   " (add the user to the group kvm: usermod -aG kvm USER, then "
                                   "log in again)");
        default:
            return error_set_errno(err, MF_E_SYSTEM, errno, "cannot open " KVM_DEVICE);
        }
    }
    int version = ioctl(kvm->kvm_fd, KVM_GET_API_VERSION, 0);
    if (version != KVM_API_VERSION)
        return error_set(err, MF_E_BACKEND,
                         KVM_DEVICE " speaks KVM API version %d, not %d: it is not a KVM device",
                         version, KVM_API_VERSION);
    return 0;
}

static int check_extensions(struct kvm_vm *kvm, struct mf_error *err)
{
    static const struct {
        int number;
        const char *name;
    } needed[] = {
        {KVM_CAP_USER_MEMORY, "KVM_CAP_USER_MEMORY"},
        {KVM_CAP_IMMEDIATE_EXIT, "KVM_CAP_IMMEDIATE_EXIT"},
        {KVM_CAP_SYNC_REGS, "KVM_CAP_SYNC_REGS"},
    };
    for (size_t i = 0; i < sizeof needed / sizeof needed[0]; i++)
        if (ioctl(kvm->kvm_fd, KVM_CHECK_EXTENSION, needed[i].number) <= 0)
            return error_set(err, MF_E_BACKEND,
                             "this kernel's KVM lacks %s (Linux 4.17 or later has it)",
                             needed[i].name);
    return 0;
}

/* Tells a limit of the host from a KVM that does not work: only that is a reason to use soft. */
static int create_error(struct mf_error *err, const char *what)
{
    switch (errno) {
    case EMFILE:
    case ENFILE:
        return error_set_errno(err, MF_E_SYSTEM, errno,
                               "cannot create %s: raise the limit of open files (ulimit -n; a "
                               "sandbox takes 3)",
                               what);
    case ENOMEM:
    case ENOSPC:
    case EAGAIN:
        return error_set_errno(err, MF_E_NO_MEMORY, errno,
                               "cannot create %s: the host's limit of VMs or memory is reached",
                               what);
    default:
        return error_set_errno(err, MF_E_BACKEND, errno,
                               KVM_DEVICE " is there but cannot create %s", what);
    }
}

static int create_vm(struct kvm_vm *kvm, struct mf_error *err)
{
    do
        kvm->vm_fd = ioctl(kvm->kvm_fd, KVM_CREATE_VM, 0);
    while (kvm->vm_fd < 0 && errno == EINTR);
    if (kvm->vm_fd < 0)
        return create_error(err, "a VM");
    return 0;
}

int kvm_set_memory_slot(struct kvm_vm *kvm, uint64_t bytes)
{
    struct kvm_userspace_memory_region region = {
        .slot = 0,
        .flags = kvm->dirty_on && bytes > 0 ? KVM_MEM_LOG_DIRTY_PAGES : 0,
        .guest_phys_addr = 0,
        .memory_size = bytes,
        .userspace_addr = (uintptr_t)kvm->vm.mem->base,
    };
    return ioctl(kvm->vm_fd, KVM_SET_USER_MEMORY_REGION, &region);
}

static int create_vcpu(struct kvm_vm *kvm, struct mf_error *err)
{
    kvm->vcpu_fd = ioctl(kvm->vm_fd, KVM_CREATE_VCPU, 0);
    if (kvm->vcpu_fd < 0)
        return create_error(err, "a vCPU");
    int bytes = ioctl(kvm->kvm_fd, KVM_GET_VCPU_MMAP_SIZE, 0);
    if (bytes < (int)sizeof(struct kvm_run))
        return create_error(err, "a vCPU's shared page");
    void *run = mmap(NULL, (size_t)bytes, PROT_READ | PROT_WRITE, MAP_SHARED, kvm->vcpu_fd, 0);
    if (run == MAP_FAILED)
        return create_error(err, "a vCPU's shared page");
    kvm->run = run;
    kvm->run_bytes = (size_t)bytes;
    kvm->run->kvm_valid_regs = KVM_SYNC_X86_REGS | KVM_SYNC_X86_SREGS;
    kvm->vm.regs = (struct mf_registers *)&kvm->run->s.regs.regs;
    return 0;
}

static void kvm_destroy(struct vm *vm)
{
    struct kvm_vm *kvm = (struct kvm_vm *)vm;
    if (!kvm)
        return;
    if (kvm->run)
        munmap(kvm->run, kvm->run_bytes);
    if (kvm->vcpu_fd >= 0)
        close(kvm->vcpu_fd);
    if (kvm->vm_fd >= 0)
        close(kvm->vm_fd);
    if (kvm->kvm_fd >= 0)
        close(kvm->kvm_fd);
    kvm_dirty_fini(kvm);
    free(kvm);
}

static int kvm_create(const struct vm_config *config, struct vm **out, struct mf_error *err)
{
    struct kvm_vm *kvm = calloc(1, sizeof *kvm);
    if (!kvm)
        return error_set(err, MF_E_NO_MEMORY, "cannot allocate a VM");
    kvm->vm.ops = &kvm_ops;
    kvm->vm.mem = config->mem;
    kvm->kvm_fd = kvm->vm_fd = kvm->vcpu_fd = -1;

    int rc = open_device(kvm, err);
    if (rc == 0)
        rc = check_extensions(kvm, err);
    if (rc == 0)
        rc = kvm_signal_install(config->interrupt_signal, &kvm->signal, err);
    if (rc == 0)
        rc = create_vm(kvm, err);
    if (rc == 0 && kvm_set_memory_slot(kvm, kvm->vm.mem->bytes) != 0)
        rc = create_error(err, "a VM's memory");
    if (rc == 0)
        rc = create_vcpu(kvm, err);
    if (rc == 0)
        rc = kvm_state_init(kvm, err);
    if (rc != 0) {
        kvm_destroy(&kvm->vm);
        return rc;
    }
    *out = &kvm->vm;
    return 0;
}

/*
 * Makes the CPU forget every translation to a range of guest physical memory,
 * while its contents stay: a change of the host's rights runs KVM's MMU notifier,
 * which drops shadow or nested entries and flushes the TLB, on every kind of KVM.
 */
void kvm_zap(void *context, mf_gpa gpa, uint64_t bytes)
{
    struct kvm_vm *kvm = context;
    uint8_t *at = mem_at(kvm->vm.mem, gpa);
    if (mprotect(at, bytes, PROT_READ) == 0 && mprotect(at, bytes, PROT_READ | PROT_WRITE) == 0)
        return;
    /*
     * The host refused (its limit of mappings is reached). Taking the memory slot
     * away and back drops everything; the rights may have stayed read-only.
     */
    mprotect(kvm->vm.mem->base, kvm->vm.mem->bytes, PROT_READ | PROT_WRITE);
    kvm_zap_all(kvm);
}

static int kvm_map(struct vm *vm, mf_gva gva, uint64_t npages, unsigned prot,
                   struct mf_error *err)
{
    return paging_map(vm->mem, gva, npages, prot, err);
}

static int kvm_map_at(struct vm *vm, mf_gva gva, mf_gpa gpa, uint64_t npages, unsigned prot,
                      struct mf_error *err)
{
    return paging_map_at(vm->mem, gva, gpa, npages, prot, err);
}

static void kvm_protect(struct vm *vm, mf_gva gva, uint64_t npages, unsigned prot)
{
    paging_protect(vm->mem, gva, npages, prot, kvm_zap, vm);
}

static void kvm_unmap(struct vm *vm, mf_gva gva, uint64_t npages)
{
    paging_unmap(vm->mem, gva, npages);
}

static void kvm_discard(struct vm *vm, mf_gva gva, uint64_t npages)
{
    paging_discard(vm->mem, gva, npages);
}

static int kvm_move(struct vm *vm, mf_gva from, mf_gva to, uint64_t npages, struct mf_error *err)
{
    return paging_move(vm->mem, from, to, npages, kvm_zap, vm, err);
}

static void kvm_describe(struct vm *vm, char *buf, size_t size)
{
    const struct kvm_vm *kvm = (const struct kvm_vm *)vm;
    snprintf(buf, size, "sse2 %s syscall=%s", kvm->cpu->has_avx ? "avx" : "no-avx",
             kvm->syscall_keeps_cpl ? "cpl3" : "cpl0");
}

const struct vm_ops kvm_ops = {
    .name = "kvm",
    .id = MF_BACKEND_KVM,
    .create = kvm_create,
    .destroy = kvm_destroy,
    .map = kvm_map,
    .map_at = kvm_map_at,
    .protect = kvm_protect,
    .unmap = kvm_unmap,
    .discard = kvm_discard,
    .move = kvm_move,
    .run = kvm_run_guest,
    .interrupt = kvm_interrupt,
    .attach = kvm_attach,
    .detach = kvm_detach,
    .save = kvm_save,
    .load = kvm_load,
    .dirty_start = kvm_dirty_start,
    .dirty_collect = kvm_dirty_collect,
    .dirty_clean = kvm_dirty_clean,
    .retable = kvm_retable,
    .set_segment_base = kvm_set_segment_base,
    .get_segment_base = kvm_get_segment_base,
    .describe = kvm_describe,
};
