/*
 * The raw KVM guest of the floors. Theory of operation: long mode with one
 * 2 MiB page, entered at CPL 3 from the first instruction on, so that nothing
 * ever runs at CPL 0; there is no IDT, because any exception here is a mistake.
 * A guest at CPL 3 may execute `out` when the I/O permission bitmap of its TSS
 * says so, on every kind of host; RFLAGS.IOPL would do on most, but not on all.
 *
 * Sources: Linux, Documentation/virt/kvm/api.rst; AMD64 APM vol. 2, ch. 4
 * (descriptors), 5 (paging), 12 (TSS); Intel SDM vol. 3, 26.3.1 (the checks of
 * the guest state that a VM entry makes).
 */
#include "floor_kvm.h"

#include <mayfly/host.h>

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#define PORT 0xb0

/* Guest physical pages, which are also the guest's virtual ones. */
#define GPA_PML4        0x1000
#define GPA_PDPT        0x2000
#define GPA_PD          0x3000
#define GPA_DESCRIPTORS 0x4000 /* the GDT, and the TSS behind it */
#define GPA_CODE        0x5000

#define GDT_BYTES    56 /* null, two of the kernel, two of the user, TSS (16 bytes) */
#define TSS_OFFSET   64
#define TSS_BYTES    104
#define BITMAP_BYTES (PORT / 8 + 1)
#define PORT_WIDTH   0x0f /* `out %eax` writes to four ports */
/* The CPU reads one byte beyond the one that holds the port's bit. */
#define TSS_LIMIT    (TSS_BYTES + BITMAP_BYTES)

#define PTE_PRESENT 0x01
#define PTE_WRITE   0x02
#define PTE_USER    0x04
#define PTE_LARGE   0x80

#define CR0_PE_MP_ET_NE_WP_PG 0x80010033
#define CR4_PAE               0x20
#define EFER_SCE_LME_LMA      0x501

#define CPUID_ENTRIES 256

/* `out %eax, $PORT; jmp` back to it, and `out %eax, $PORT; jmp` to the jump itself. */
static const uint8_t code_exits[] = {0xe7, PORT, 0xeb, 0xfc};
static const uint8_t code_spins[] = {0xe7, PORT, 0xeb, 0xfe};

static int fail_errno(struct mf_error *err, const char *what)
{
    int number = errno;

    mf_fail(err, MF_E_SYSTEM, "floor: %s: %s", what, strerror(number));
    if (err != NULL)
        err->sys_errno = number;
    return MF_E_SYSTEM;
}

int floor_kvm_init(struct floor_kvm *kvm, struct mf_error *err)
{
    size_t cpuid_bytes = sizeof(*kvm->cpuid) + CPUID_ENTRIES * sizeof(struct kvm_cpuid_entry2);
    int run_bytes;

    kvm->fd = open("/dev/kvm", O_RDWR | O_CLOEXEC);
    if (kvm->fd < 0) {
        fail_errno(err, "cannot open /dev/kvm");
        return MF_E_BACKEND;
    }
    kvm->cpuid = calloc(1, cpuid_bytes);
    run_bytes = ioctl(kvm->fd, KVM_GET_VCPU_MMAP_SIZE, 0);
    if (kvm->cpuid == NULL || run_bytes < (int)sizeof(struct kvm_run)) {
        floor_kvm_fini(kvm);
        return mf_fail(err, MF_E_BACKEND, "floor: /dev/kvm does not tell the size of a vCPU");
    }
    kvm->run_bytes = (size_t)run_bytes;
    kvm->cpuid->nent = CPUID_ENTRIES;
    if (ioctl(kvm->fd, KVM_GET_SUPPORTED_CPUID, kvm->cpuid) < 0) {
        fail_errno(err, "KVM_GET_SUPPORTED_CPUID");
        floor_kvm_fini(kvm);
        return MF_E_BACKEND;
    }
    return MF_OK;
}

void floor_kvm_fini(struct floor_kvm *kvm)
{
    free(kvm->cpuid);
    kvm->cpuid = NULL;
    if (kvm->fd >= 0)
        close(kvm->fd);
    kvm->fd = -1;
}

static void put_u64(uint8_t *memory, size_t offset, uint64_t value)
{
    memcpy(memory + offset, &value, sizeof(value));
}

/* Page tables, descriptors and code. The TSS needs no stack: nothing enters CPL 0. */
static void build_memory(uint8_t *memory, enum floor_guest guest)
{
    uint8_t *tss = memory + GPA_DESCRIPTORS + TSS_OFFSET;
    uint64_t tss_base = GPA_DESCRIPTORS + TSS_OFFSET;
    uint16_t bitmap_offset = TSS_BYTES;

    put_u64(memory, GPA_PML4, GPA_PDPT | PTE_PRESENT | PTE_WRITE | PTE_USER);
    put_u64(memory, GPA_PDPT, GPA_PD | PTE_PRESENT | PTE_WRITE | PTE_USER);
    put_u64(memory, GPA_PD, PTE_PRESENT | PTE_WRITE | PTE_USER | PTE_LARGE);

    put_u64(memory, GPA_DESCRIPTORS + 0x08, 0x00af9b000000ffff); /* kernel code */
    put_u64(memory, GPA_DESCRIPTORS + 0x10, 0x00cf93000000ffff); /* kernel data */
    put_u64(memory, GPA_DESCRIPTORS + 0x18, 0x00cff3000000ffff); /* user data */
    put_u64(memory, GPA_DESCRIPTORS + 0x20, 0x00affb000000ffff); /* user code */
    put_u64(memory, GPA_DESCRIPTORS + 0x28,                      /* busy 64-bit TSS */
            UINT64_C(0x00008b0000000000) | (tss_base << 16) | TSS_LIMIT);

    memcpy(tss + 102, &bitmap_offset, sizeof(bitmap_offset));
    memset(tss + TSS_BYTES, 0xff, BITMAP_BYTES + 1);
    tss[TSS_BYTES + PORT / 8] &= (uint8_t) ~(PORT_WIDTH << (PORT % 8));

    if (guest == FLOOR_GUEST_SPINS)
        memcpy(memory + GPA_CODE, code_spins, sizeof(code_spins));
    else
        memcpy(memory + GPA_CODE, code_exits, sizeof(code_exits));
}

static struct kvm_segment user_segment(uint16_t selector, uint8_t type, bool code)
{
    struct kvm_segment segment = {
        .limit = 0xffffffff,
        .selector = selector,
        .type = type,
        .present = 1,
        .dpl = 3,
        .db = !code,
        .s = 1,
        .l = code,
        .g = 1,
    };
    return segment;
}

/* The registers of a CPU that is in long mode, at CPL 3, at the first instruction. */
static int load_registers(struct floor_vm *vm, struct mf_error *err)
{
    struct kvm_regs regs = {.rip = GPA_CODE, .rflags = 0x2};
    struct kvm_sregs sregs;

    if (ioctl(vm->vcpu_fd, KVM_GET_SREGS, &sregs) < 0)
        return fail_errno(err, "KVM_GET_SREGS");
    sregs.cs = user_segment(0x23, 11, true);
    sregs.ss = user_segment(0x1b, 3, false);
    sregs.ds = sregs.es = sregs.fs = sregs.gs = sregs.ss;
    sregs.tr = (struct kvm_segment){
        .base = GPA_DESCRIPTORS + TSS_OFFSET,
        .limit = TSS_LIMIT,
        .selector = 0x28,
        .type = 11,
        .present = 1,
    };
    sregs.gdt.base = GPA_DESCRIPTORS;
    sregs.gdt.limit = GDT_BYTES - 1;
    sregs.idt.base = 0;
    sregs.idt.limit = 0;
    sregs.cr0 = CR0_PE_MP_ET_NE_WP_PG;
    sregs.cr3 = GPA_PML4;
    sregs.cr4 = CR4_PAE;
    sregs.efer = EFER_SCE_LME_LMA;
    if (ioctl(vm->vcpu_fd, KVM_SET_SREGS, &sregs) < 0)
        return fail_errno(err, "KVM_SET_SREGS");
    if (ioctl(vm->vcpu_fd, KVM_SET_REGS, &regs) < 0)
        return fail_errno(err, "KVM_SET_REGS");
    return MF_OK;
}

static int create_vm(const struct floor_kvm *kvm, struct floor_vm *vm, struct mf_error *err)
{
    struct kvm_userspace_memory_region region = {.memory_size = vm->memory_bytes};
    void *run;

    vm->vm_fd = ioctl(kvm->fd, KVM_CREATE_VM, 0);
    if (vm->vm_fd < 0)
        return fail_errno(err, "KVM_CREATE_VM");
    region.userspace_addr = (uintptr_t)vm->memory;
    if (ioctl(vm->vm_fd, KVM_SET_USER_MEMORY_REGION, &region) < 0)
        return fail_errno(err, "KVM_SET_USER_MEMORY_REGION");
    vm->vcpu_fd = ioctl(vm->vm_fd, KVM_CREATE_VCPU, 0);
    if (vm->vcpu_fd < 0)
        return fail_errno(err, "KVM_CREATE_VCPU");
    if (ioctl(vm->vcpu_fd, KVM_SET_CPUID2, kvm->cpuid) < 0)
        return fail_errno(err, "KVM_SET_CPUID2");
    run = mmap(NULL, kvm->run_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, vm->vcpu_fd, 0);
    if (run == MAP_FAILED)
        return fail_errno(err, "mmap of the vCPU");
    vm->run = run;
    vm->run_bytes = kvm->run_bytes;
    return load_registers(vm, err);
}

int floor_vm_open(const struct floor_kvm *kvm, size_t memory_bytes, enum floor_guest guest,
                  struct floor_vm *vm, struct mf_error *err)
{
    void *memory = mmap(NULL, memory_bytes, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    int status;

    *vm = (struct floor_vm){.vm_fd = -1, .vcpu_fd = -1};
    if (memory == MAP_FAILED) {
        fail_errno(err, "mmap of the guest's memory");
        return MF_E_NO_MEMORY;
    }
    vm->memory = memory;
    vm->memory_bytes = memory_bytes;
    build_memory(vm->memory, guest);
    status = create_vm(kvm, vm, err);
    if (status != MF_OK)
        floor_vm_close(vm);
    return status;
}

void floor_vm_close(struct floor_vm *vm)
{
    if (vm->run != NULL)
        munmap(vm->run, vm->run_bytes);
    if (vm->vcpu_fd >= 0)
        close(vm->vcpu_fd);
    if (vm->vm_fd >= 0)
        close(vm->vm_fd);
    if (vm->memory != NULL)
        munmap(vm->memory, vm->memory_bytes);
    *vm = (struct floor_vm){.vm_fd = -1, .vcpu_fd = -1};
}

int floor_vm_run(struct floor_vm *vm, struct mf_error *err)
{
    /* EINTR: a signal of the process, like a terminal that changed its size. */
    while (ioctl(vm->vcpu_fd, KVM_RUN, 0) < 0) {
        if (errno != EINTR)
            return fail_errno(err, "KVM_RUN");
    }
    if (vm->run->exit_reason != KVM_EXIT_IO || vm->run->io.port != PORT)
        return mf_fail(err, MF_E_SYSTEM, "floor: the raw guest ended with KVM exit %u",
                       vm->run->exit_reason);
    return MF_OK;
}

int floor_vm_run_until_signal(struct floor_vm *vm, struct mf_error *err)
{
    if (ioctl(vm->vcpu_fd, KVM_RUN, 0) >= 0)
        return mf_fail(err, MF_E_SYSTEM, "floor: the raw guest ended with KVM exit %u",
                       vm->run->exit_reason);
    if (errno != EINTR)
        return fail_errno(err, "KVM_RUN");
    return MF_OK;
}
