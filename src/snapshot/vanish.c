/* Private copies of pages that the host touches; see vanish.h. */
#include "snapshot/vanish.h"

#include "base/error.h"
#include "mem/root.h"
#include "snapshot/check.h"
#include "snapshot/pages.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>

int vanish_secure_page(struct mem *mem, const struct mf_snapshot *snapshot, mf_gpa gpa,
                       struct mf_error *err)
{
    uint8_t contents[PAGE_BYTES];
    uint32_t page = (uint32_t)(gpa >> PAGE_SHIFT);
    if (gpa >= mem->bytes)
        return error_set(err, MF_E_SNAPSHOT, "the snapshot's page tables lead out of its memory");
    if (!mem->root || !mem_root_find(mem->root, page))
        return 0;
    if (!snap_read(snapshot, page, contents))
        return error_set(err, MF_E_SNAPSHOT,
                         "the snapshot file has got shorter since it was opened");
    void *at = mem_at(mem, gpa);
    if (mmap(at, PAGE_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1,
             0) != at)
        return error_set_errno(err, MF_E_NO_MEMORY, errno, "cannot copy a page of a snapshot");
    memcpy(at, contents, PAGE_BYTES);
    return 0;
}

static int secure_range(struct mem *mem, const struct mf_snapshot *snapshot, mf_gpa gpa,
                        uint64_t bytes, struct mf_error *err)
{
    int rc = 0;
    for (uint64_t offset = 0; rc == 0 && offset < bytes; offset += PAGE_BYTES)
        rc = vanish_secure_page(mem, snapshot, gpa + offset, err);
    return rc;
}

int vanish_secure(struct mem *mem, const struct mf_snapshot *snapshot, struct mf_error *err)
{
    const struct saved_state *saved = &snapshot->saved;
    int rc = secure_range(mem, snapshot, 0, LAYOUT_GPA(FREE), err);
    if (rc == 0)
        rc = check_memory(snapshot, mem, err);
    if (rc != 0 || saved->control_gpa == 0)
        return rc;
    rc = secure_range(mem, snapshot, saved->control_gpa, PAGE_BYTES, err);
    const struct saved_area *areas[] = {&saved->call_ring, &saved->result_ring, &saved->exchange};
    for (size_t i = 0; rc == 0 && i < sizeof areas / sizeof areas[0]; i++)
        rc = secure_range(mem, snapshot, areas[i]->gpa, areas[i]->size, err);
    return rc;
}
