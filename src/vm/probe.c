/* Trying a backend out: a small VM of its own, from creation to its first exit. */
#include "base/error.h"
#include "vm/vm.h"
#include "vm/x86.h"

#include <mayfly/sandbox.h>

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define PROBE_BYTES (UINT64_C(1) << 20)

static void set_text(char *out, size_t size, const char *text)
{
    snprintf(out, size, "%s", text);
}

/* What to do about it, as far as the library can know. */
static const char *advice_kvm(const struct mf_error *why)
{
    if (why->code == MF_E_NO_MEMORY)
        return "free memory, or raise the limit of memory or VMs that applies to this process";
    switch (why->sys_errno) {
    case ENOENT:
    case ENXIO:
    case ENODEV:
        return "load the module kvm_intel or kvm_amd, enable virtualisation in the firmware, or "
               "give the device /dev/kvm to the container; meanwhile the soft backend works";
    case EACCES:
    case EPERM:
        return "add the user to the group kvm (usermod -aG kvm USER) and log in again";
    case EMFILE:
    case ENFILE:
        return "raise the limit of open files (ulimit -n)";
    default:
        return "use the soft backend; the kernel's log (dmesg) may say what is wrong with KVM";
    }
}

static const char *advice_soft(const struct mf_error *why)
{
    if (why->code == MF_E_NO_MEMORY)
        return "free memory, or raise the limit of address space (ulimit -v)";
    return "install Unicorn 2 (apt install libunicorn2), or set MAYFLY_MODULE_PATH to the "
           "directory of libmayfly_soft.so";
}

/* Creates the VM, which runs its first instruction while it is created. */
static int try_backend(enum mf_backend backend, struct mf_backend_info *info, struct mf_error *why)
{
    const struct vm_ops *ops;
    int rc = vm_backend_get(backend, &ops, why);
    if (rc < 0)
        return rc;
    struct mem mem;
    rc = mem_init(&mem, PROBE_BYTES, why);
    if (rc < 0)
        return rc;
    struct vm *vm = NULL;
    struct vm_config config = {.mem = &mem, .interrupt_signal = MF_SIGNAL_NONE};
    if (!x86_build(&mem, 1, 0)) /* an empty range: no port is open */
        rc = error_set(why, MF_E_NO_MEMORY, "no room for the system pages of a small VM");
    else
        rc = ops->create(&config, &vm, why);
    if (rc == 0) {
        ops->describe(vm, info->features, sizeof info->features);
        ops->destroy(vm);
    }
    mem_fini(&mem);
    return rc;
}

int mf_backend_probe(enum mf_backend backend, struct mf_backend_info *info, struct mf_error *err)
{
    error_clear(err);
    if (!info || (backend != MF_BACKEND_KVM && backend != MF_BACKEND_SOFT))
        return error_set(err, MF_E_ARGUMENT, "mf_backend_probe: wants kvm or soft, and where to "
                                             "put what it finds");
    memset(info, 0, sizeof *info);
    info->name = mf_backend_name(backend);
    struct mf_error why;
    error_clear(&why);
    if (try_backend(backend, info, &why) == 0) {
        info->usable = 1;
        set_text(info->reason, sizeof info->reason, "a VM was created and ran");
        return 0;
    }
    set_text(info->reason, sizeof info->reason, why.message);
    set_text(info->advice, sizeof info->advice,
             backend == MF_BACKEND_KVM ? advice_kvm(&why) : advice_soft(&why));
    return 0;
}
