/* Memory of the host that a guest sees: buffers and files, without copies. */
#ifndef MAYFLY_MAP_H
#define MAYFLY_MAP_H

#include <mayfly/sandbox.h>

#ifdef __cplusplus
extern "C" {
#endif

/* The most mappings of a sandbox at a time, those for large arguments included. */
#define MF_MAPPINGS_MAX 64

/* What the guest may do there. */
enum mf_map_flags {
    MF_MAP_READ = 0,
    MF_MAP_WRITE = 1, /* read and write */
};

/*
 * Shows `len` bytes of the host at `data` to the guest, at *address in its memory,
 * until mf_sandbox_unmap or the end of the sandbox. Nothing is copied; the guest
 * sees what the host writes there, and with MF_MAP_WRITE the other way round: bytes
 * that a guest can write are hostile. `data` and `len` must be multiples of 4096,
 * since the guest sees whole pages: take memory from mmap or aligned_alloc. The
 * memory must stay mapped that long, and does not count as guest memory. It may be
 * read-only in the host unless MF_MAP_WRITE is given.
 *
 * A bytes argument of at least 4096 bytes that lies in such memory is passed by
 * its address there: neither copied nor mapped once more.
 *
 * Not during a call, except from a host function. Errors: MF_E_ARGUMENT, MF_E_STATE
 * (more than MF_MAPPINGS_MAX), MF_E_NO_MEMORY (guest memory for page tables),
 * MF_E_SYSTEM; MF_E_POISONED.
 */
MF_API int mf_sandbox_map(struct mf_sandbox *sandbox, void *data, size_t len, unsigned flags,
                          uint64_t *address, struct mf_error *err);

/*
 * The same for `len` bytes of the file `fd` from `offset` on (a multiple of 4096);
 * `fd` may be closed afterwards. `len` 0: to its end; otherwise it is a multiple of
 * 4096 or reaches to the end. Bytes behind the end of the
 * file, up to the end of its last page, read as zeros. With MF_MAP_WRITE the guest
 * writes to the file. On kvm the file's pages are shared; when it gets shorter
 * meanwhile, a guest that touches what is gone faults (MF_FAULT_BUS), and the host
 * does not. On soft the guest works on a copy, taken now, of anything but a memfd
 * sealed against shrinking; changes are written to the file when a call ends.
 *
 * Errors: as mf_sandbox_map; MF_E_ARGUMENT for an empty range, one that is not
 * within the file, and files that cannot be mapped.
 */
MF_API int mf_sandbox_map_file(struct mf_sandbox *sandbox, int fd, uint64_t offset, size_t len,
                               unsigned flags, uint64_t *address, struct mf_error *err);

/*
 * Ends the mapping at `address`: the guest faults when it touches it again.
 * MF_E_ARGUMENT when there is none.
 */
MF_API int mf_sandbox_unmap(struct mf_sandbox *sandbox, uint64_t address, struct mf_error *err);

#ifdef __cplusplus
}
#endif

#endif
