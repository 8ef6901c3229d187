/* Private copies of pages that the host touches; see vanish.h. */
#include "snapshot/vanish.h"

#include "base/error.h"
#include "mem/pagetable.h"
#include "mem/root.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>

/* Replaces one page of the mapped file by memory with the same contents. */
static int secure_page(struct mem *mem, mf_gpa gpa, struct mf_error *err)
{
    uint8_t contents[PAGE_BYTES];
    uint32_t page = (uint32_t)(gpa >> PAGE_SHIFT);
    if (gpa >= mem->bytes)
        return error_set(err, MF_E_SNAPSHOT, "the snapshot's page tables lead out of its memory");
    if (!mem_root_find(mem->root, page))
        return 0;
    if (!mem_root_read(mem->root, page, contents))
        return error_set(err, MF_E_SNAPSHOT,
                         "the snapshot file has got shorter since it was opened");
    void *at = mem_at(mem, gpa);
    if (mmap(at, PAGE_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1,
             0) != at)
        return error_set_errno(err, MF_E_NO_MEMORY, errno, "cannot copy a page of a snapshot");
    memcpy(at, contents, PAGE_BYTES);
    return 0;
}

static int secure_range(struct mem *mem, mf_gpa gpa, uint64_t bytes, struct mf_error *err)
{
    int rc = 0;
    for (uint64_t offset = 0; rc == 0 && offset < bytes; offset += PAGE_BYTES)
        rc = secure_page(mem, gpa + offset, err);
    return rc;
}

/* Tables from the top: each is copied before it is read. */
static int secure_tables(struct mem *mem, mf_gpa table, int level, struct mf_error *err)
{
    int rc = secure_page(mem, table, err);
    for (unsigned i = 0; rc == 0 && level > 0 && i < PT_ENTRIES; i++) {
        mf_gpa next;
        if (pt_table_at(mem, table, i, &next))
            rc = secure_tables(mem, next, level - 1, err);
    }
    return rc;
}

int vanish_secure(struct mem *mem, const struct saved_state *saved, struct mf_error *err)
{
    int rc = secure_range(mem, 0, LAYOUT_GPA(FREE), err);
    if (rc == 0)
        rc = secure_tables(mem, LAYOUT_GPA(PML4), PT_LEVELS - 1, err);
    if (rc != 0 || saved->control_gpa == 0)
        return rc;
    rc = secure_range(mem, saved->control_gpa, PAGE_BYTES, err);
    const struct saved_area *areas[] = {&saved->call_ring, &saved->result_ring, &saved->exchange};
    for (size_t i = 0; rc == 0 && i < sizeof areas / sizeof areas[0]; i++)
        rc = secure_range(mem, areas[i]->gpa, areas[i]->size, err);
    return rc;
}
