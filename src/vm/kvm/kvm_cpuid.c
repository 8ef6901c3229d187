/*
 * What the guest may see of the CPU. The list is the same for every VM of the
 * host, and asking KVM for it takes longer than creating a VM, so it is asked for
 * once per process and published as an immutable table. (Two threads that come
 * first at the same time both ask; one of the tables is kept.)
 */
#include "vm/kvm/kvm.h"

#include "base/error.h"

#include <errno.h>
#include <linux/kvm.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

#define CPUID_ENTRIES 256
#define CPUID_HYPERVISOR_FIRST 0x40000000u
#define CPUID_HYPERVISOR_LAST 0x400fffffu
/* Leaf 7: protection keys, which would need CR4.PKE. */
#define CPUID_7_ECX_PKU (3u << 3)
/* Leaf 7: AVX-512 in all its parts, and AMX, whose registers XCR0 leaves out. */
#define CPUID_7_EBX_AVX512 0xdc230000u
#define CPUID_7_ECX_AVX512 0x00005842u
#define CPUID_7_EDX_AVX512 0x0080010cu
#define CPUID_7_EDX_AMX 0x03400000u

static _Atomic(const struct kvm_cpu *) published;

/*
 * What KVM offers, less what our state does not enable. Notes which extended state
 * there is (leaf 13 has the bits of XCR0): not every KVM lists XSAVE in leaf 1,
 * though it has it.
 */
static void filter(struct kvm_cpu *cpu)
{
    struct kvm_cpuid2 *cpuid = cpu->cpuid;
    uint32_t kept = 0;
    for (uint32_t i = 0; i < cpuid->nent; i++) {
        struct kvm_cpuid_entry2 entry = cpuid->entries[i];
        if (entry.function >= CPUID_HYPERVISOR_FIRST && entry.function <= CPUID_HYPERVISOR_LAST)
            continue;
        if (entry.function == 7 && entry.index == 0) {
            entry.ebx &= ~CPUID_7_EBX_AVX512;
            entry.ecx &= ~(CPUID_7_ECX_AVX512 | CPUID_7_ECX_PKU);
            entry.edx &= ~(CPUID_7_EDX_AVX512 | CPUID_7_EDX_AMX);
        }
        if (entry.function == 13 && entry.index == 0)
            cpu->has_avx = (entry.eax & KVM_XCR0) == KVM_XCR0;
        else if (entry.function == 13 && entry.index < KVM_XSAVE_COMPONENTS)
            cpu->xsave_offset[entry.index] = entry.ebx;
        cpuid->entries[kept++] = entry;
    }
    cpuid->nent = kept;
}

/* The bits of MXCSR that this CPU has: loading others would fault (Intel SDM vol. 1, 11.6.6). */
static uint32_t read_mxcsr_mask(void)
{
    struct {
        uint8_t bytes[512];
    } __attribute__((aligned(16))) image;
    uint32_t mask;
    __asm__ volatile("fxsave64 %0" : "=m"(image));
    memcpy(&mask, image.bytes + KVM_FXSAVE_MXCSR + 4, sizeof mask);
    return mask != 0 ? mask : 0xffbf;
}

static void cpu_free(struct kvm_cpu *cpu)
{
    if (cpu)
        free(cpu->cpuid);
    free(cpu);
}

static int ask(int kvm_fd, struct kvm_cpu **out, struct mf_error *err)
{
    struct kvm_cpu *cpu = calloc(1, sizeof *cpu);
    if (cpu)
        cpu->cpuid = calloc(1, sizeof *cpu->cpuid + CPUID_ENTRIES * sizeof cpu->cpuid->entries[0]);
    if (!cpu || !cpu->cpuid) {
        cpu_free(cpu);
        return error_set(err, MF_E_NO_MEMORY, "cannot allocate the CPUID table");
    }
    cpu->cpuid->nent = CPUID_ENTRIES;
    if (ioctl(kvm_fd, KVM_GET_SUPPORTED_CPUID, cpu->cpuid) != 0) {
        cpu_free(cpu);
        return error_set_errno(err, MF_E_BACKEND, errno, "KVM cannot list the CPU's features");
    }
    filter(cpu);
    cpu->mxcsr_mask = read_mxcsr_mask();
    *out = cpu;
    return 0;
}

int kvm_cpu_get(int kvm_fd, const struct kvm_cpu **out, struct mf_error *err)
{
    *out = atomic_load(&published);
    if (*out)
        return 0;
    struct kvm_cpu *mine = NULL;
    int rc = ask(kvm_fd, &mine, err);
    if (rc != 0)
        return rc;
    const struct kvm_cpu *expected = NULL;
    if (atomic_compare_exchange_strong(&published, &expected, mine)) {
        *out = mine;
    } else {
        cpu_free(mine);
        *out = expected;
    }
    return 0;
}
