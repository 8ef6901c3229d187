/*
 * Checked copies between host and guest, in runs of pages that the guest's tables
 * put side by side and that are adjacent in the host.
 *
 * Pages of a mapped file can go away at any moment, when somebody makes the file
 * shorter; touching them would kill the host by SIGBUS. The kernel copies those, from
 * this process to itself, and reports a page that is gone instead.
 */
#include "mem/guestmem.h"

#include "base/checked.h"
#include "mem/pagetable.h"
#include "mem/root.h"

#include <string.h>
#include <sys/uio.h>
#include <unistd.h>


/* Bytes of the guest that are adjacent in the host. */
struct run {
    uint8_t *at;
    uint64_t bytes;
    bool may_vanish;
    mf_gpa gpa;
};

/*
 * The bytes at `gva`, at most `len` > 0 of them, up to where the guest itself could
 * not reach on or the next page is elsewhere in the host. False when there are none.
 */
static bool find_run(const struct mem *mem, mf_gva gva, uint64_t len, bool write, struct run *run)
{
    unsigned need = PT_USER | PT_READ | (write ? PT_WRITE : 0);
    if (gva >= LAYOUT_GVA_USER_END)
        return false;
    uint64_t offset = gva & PAGE_MASK_LOW;
    len = MIN(len, LAYOUT_GVA_USER_END - gva);
    mf_gpa gpa;
    uint64_t npages = pt_run(mem, gva - offset, (offset + len + PAGE_MASK_LOW) >> PAGE_SHIFT, need,
                             &gpa);
    if (npages == 0)
        return false;
    *run = (struct run){.bytes = MIN(len, npages * PAGE_BYTES - offset), .gpa = gpa + offset};
    if (gpa < mem->bytes) {
        run->at = mem_at(mem, run->gpa);
        run->may_vanish = mem_may_vanish(mem);
        return true;
    }
    const struct mem_window *window = mem_window_find(mem, run->gpa);
    if (!window)
        return false;
    run->at = window->host + (run->gpa - window->gpa);
    run->may_vanish = window->may_vanish;
    return true;
}

/* Whether the kernel could copy all of it, between two places of this process. */
static bool copy_all(ssize_t (*copy)(pid_t, const struct iovec *, unsigned long,
                                     const struct iovec *, unsigned long, unsigned long),
                     void *here, uint8_t *vanishing, uint64_t len)
{
    uint64_t done = 0;
    while (done < len) {
        struct iovec local = {(uint8_t *)here + done, len - done};
        struct iovec remote = {vanishing + done, len - done};
        ssize_t n = copy(getpid(), &local, 1, &remote, 1, 0);
        if (n <= 0)
            return false;
        done += (uint64_t)n;
    }
    return true;
}

bool guestmem_read(const struct mem *mem, void *dst, mf_gva gva, uint64_t len)
{
    uint8_t *out = dst;
    struct run run;
    while (len > 0) {
        if (!find_run(mem, gva, len, false, &run))
            return false;
        if (!run.may_vanish)
            memcpy(out, run.at, run.bytes);
        else if (!copy_all(process_vm_readv, out, run.at, run.bytes))
            return false;
        out += run.bytes;
        gva += run.bytes;
        len -= run.bytes;
    }
    return true;
}

bool guestmem_write(struct mem *mem, mf_gva gva, const void *src, uint64_t len)
{
    const uint8_t *in = src;
    struct run run;
    while (len > 0) {
        if (!find_run(mem, gva, len, true, &run))
            return false;
        if (!run.may_vanish)
            memcpy(run.at, in, run.bytes);
        else if (!copy_all(process_vm_writev, (void *)(uintptr_t)in, run.at, run.bytes))
            return false;
        mem_mark(mem, run.gpa, run.bytes);
        in += run.bytes;
        gva += run.bytes;
        len -= run.bytes;
    }
    return true;
}

uint64_t guestmem_reach(const struct mem *mem, mf_gva gva, uint64_t len, bool write)
{
    uint64_t done = 0;
    struct run run;
    while (done < len && find_run(mem, gva + done, len - done, write, &run))
        done += run.bytes;
    return done;
}

bool guestmem_span(const struct mem *mem, mf_gva gva, uint64_t len, const uint8_t **at)
{
    struct run run;
    if (len == 0 || !find_run(mem, gva, len, false, &run) || run.bytes != len || run.may_vanish)
        return false;
    *at = run.at;
    return true;
}
