/* Checked copies between host and guest, page by page through the guest's tables. */
#include "mem/guestmem.h"

#include "base/checked.h"
#include "mem/pagetable.h"

#include <string.h>

/* The addresses that a guest can name: the lower half of the address space. */
#define USER_END (UINT64_C(1) << 47)

/*
 * Host address of the bytes at `gva` and how many of `len` lie on that page; NULL
 * when the guest itself could not reach them.
 */
static uint8_t *page_piece(const struct mem *mem, mf_gva gva, uint64_t len, bool write,
                           uint64_t *piece)
{
    struct pt_page page;
    unsigned need = PT_USER | PT_READ | (write ? PT_WRITE : 0);
    if (gva >= USER_END || !pt_lookup(mem, gva, &page) || (page.prot & need) != need)
        return NULL;
    uint64_t offset = gva & PAGE_MASK_LOW;
    *piece = MIN(len, PAGE_BYTES - offset);
    return (uint8_t *)mem_at(mem, page.gpa) + offset;
}

bool guestmem_read(const struct mem *mem, void *dst, mf_gva gva, uint64_t len)
{
    uint8_t *out = dst;
    while (len > 0) {
        uint64_t piece;
        const uint8_t *from = page_piece(mem, gva, len, false, &piece);
        if (!from)
            return false;
        memcpy(out, from, piece);
        out += piece;
        gva += piece;
        len -= piece;
    }
    return true;
}

bool guestmem_write(struct mem *mem, mf_gva gva, const void *src, uint64_t len)
{
    const uint8_t *in = src;
    while (len > 0) {
        uint64_t piece;
        uint8_t *to = page_piece(mem, gva, len, true, &piece);
        if (!to)
            return false;
        memcpy(to, in, piece);
        in += piece;
        gva += piece;
        len -= piece;
    }
    return true;
}

uint64_t guestmem_reach(const struct mem *mem, mf_gva gva, uint64_t len, bool write)
{
    uint64_t done = 0;
    while (done < len) {
        uint64_t piece;
        if (!page_piece(mem, gva + done, len - done, write, &piece))
            break;
        done += piece;
    }
    return done;
}
