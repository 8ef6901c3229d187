/* The system calls that map memory: arguments from registers to addrspace.c. */
#include "sandbox/linux_abi.h"
#include "sandbox/syscall_impl.h"

#include <errno.h>

int64_t sys_mmap(struct syscall_call *call)
{
    const uint64_t *arg = call->arg;
    /* Linux looks at the descriptor first; none of the three can be mapped. */
    if (!(arg[3] & LINUX_MAP_ANONYMOUS) && !syscall_fd_open(call, arg[4]))
        return -EBADF;
    if (arg[5] % PAGE_BYTES != 0)
        return -EINVAL;
    return addrspace_mmap(&call->sandbox->as, arg[0], arg[1], arg[2], arg[3]);
}

int64_t sys_munmap(struct syscall_call *call)
{
    return addrspace_munmap(&call->sandbox->as, call->arg[0], call->arg[1]);
}

int64_t sys_mprotect(struct syscall_call *call)
{
    return addrspace_mprotect(&call->sandbox->as, call->arg[0], call->arg[1], call->arg[2]);
}

int64_t sys_mremap(struct syscall_call *call)
{
    const uint64_t *arg = call->arg;
    return addrspace_mremap(&call->sandbox->as, arg[0], arg[1], arg[2], arg[3], arg[4]);
}

int64_t sys_brk(struct syscall_call *call)
{
    return addrspace_brk(&call->sandbox->as, call->arg[0]);
}

int64_t sys_madvise(struct syscall_call *call)
{
    return addrspace_madvise(&call->sandbox->as, call->arg[0], call->arg[1],
                             (uint32_t)call->arg[2]);
}
