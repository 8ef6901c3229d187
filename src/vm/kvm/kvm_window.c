/*
 * Memory of the host in the guest: a memory slot for each window, and its pages in
 * the guest's tables. Called by sandbox/map.c through the backend's table.
 *
 * Taking the slot away makes the CPU forget all translations to it, on every kind of
 * KVM, so nothing else has to be done about entries that were removed. It must never
 * fail: the host memory is the caller's, who may give it to something else.
 */
#include "vm/kvm/kvm.h"

#include "base/error.h"
#include "vm/paging.h"

#include <errno.h>
#include <linux/kvm.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>

#define SLOT_TRIES 3

static int set_slot(struct kvm_vm *kvm, const struct mem_window *window, uint64_t bytes,
                    uint32_t flags)
{
    struct kvm_userspace_memory_region region = {
        .slot = window->slot,
        .flags = flags,
        .guest_phys_addr = window->gpa,
        .memory_size = bytes,
        .userspace_addr = (uintptr_t)window->host,
    };
    return ioctl(kvm->vm_fd, KVM_SET_USER_MEMORY_REGION, &region);
}

int kvm_attach(struct vm *vm, mf_gva gva, const struct mem_window *window, unsigned prot,
               struct mf_error *err)
{
    struct kvm_vm *kvm = (struct kvm_vm *)vm;
    uint64_t npages = window->bytes >> PAGE_SHIFT;
    /* The host's own rights may be no more than that. */
    uint32_t flags = prot & PT_WRITE ? 0 : KVM_MEM_READONLY;
    int rc = paging_map_at(vm->mem, gva, window->gpa, npages, prot, err);
    if (rc != 0)
        return rc;
    if (set_slot(kvm, window, window->bytes, flags) == 0)
        return 0;
    int saved = errno;
    paging_unmap_at(vm->mem, gva, npages);
    return error_set_errno(err, saved == ENOMEM ? MF_E_NO_MEMORY : MF_E_SYSTEM, saved,
                           "KVM cannot show %llu bytes of host memory to the guest",
                           (unsigned long long)window->bytes);
}

void kvm_detach(struct vm *vm, mf_gva gva, const struct mem_window *window)
{
    struct kvm_vm *kvm = (struct kvm_vm *)vm;
    paging_unmap_at(vm->mem, gva, window->bytes >> PAGE_SHIFT);
    for (int i = 0; i < SLOT_TRIES; i++)
        if (set_slot(kvm, window, 0, 0) == 0)
            return;
    kvm->broken = "KVM cannot take mapped host memory back from the guest";
}

/* Since Linux 6.8, and newer than the <linux/kvm.h> of some supported systems. */
#define EXIT_MEMORY_FAULT 39

static void set_bus(struct vm_exit *exit, uint64_t gpa)
{
    exit->kind = VM_EXIT_DEAD;
    exit->bus = true;
    exit->address = gpa;
    snprintf(exit->detail, sizeof exit->detail, "mapped host memory is gone");
}

bool kvm_lost_memory(struct kvm_vm *kvm, int number, struct vm_exit *exit)
{
    if ((number != EFAULT && number != EHWPOISON) || kvm->vm.mem->nwindows == 0)
        return false;
    /* What is behind the flags of that exit is the guest physical address. */
    struct {
        uint64_t flags, gpa, size;
    } fault = {0};
    if (kvm->run->exit_reason == EXIT_MEMORY_FAULT)
        memcpy(&fault, (const char *)kvm->run + offsetof(struct kvm_run, hw), sizeof fault);
    set_bus(exit, fault.gpa);
    return true;
}

void kvm_read_mmio(struct kvm_vm *kvm, struct vm_exit *exit)
{
    uint64_t gpa = kvm->run->mmio.phys_addr;
    if (mem_window_find(kvm->vm.mem, gpa)) {
        set_bus(exit, gpa);
        return;
    }
    exit->kind = VM_EXIT_DEAD;
    exit->bus = false;
    snprintf(exit->detail, sizeof exit->detail, "there is no memory at guest physical address "
             "%#llx", (unsigned long long)gpa);
}
