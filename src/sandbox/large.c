/* Large values, both ways; see large.h. */
#include "sandbox/large.h"

#include "abi/version.h"
#include "base/checked.h"
#include "base/error.h"
#include "base/text.h"
#include "mem/guestmem.h"
#include "sandbox/sandbox.h"

/* ---- host to guest ---- */

static bool is_data(const struct mf_value *value)
{
    return value->type == MF_STRING || value->type == MF_BYTES;
}

/* The data of a string or bytes value: both members have the same layout. */
static struct mf_bytes_data data_of(const struct mf_value *value)
{
    return value->type == MF_STRING
               ? (struct mf_bytes_data){value->string.data, value->string.len}
               : value->bytes;
}

static void refer(struct codec_references *references, size_t i, mf_gva address)
{
    references->mask |= UINT32_C(1) << i;
    references->address[i] = address;
}

/* Bytes that the guest sees anyway need not be sent. */
static void refer_to_mapped(const struct mf_sandbox *sandbox, const struct mf_value *values,
                            size_t n, struct codec_references *references)
{
    for (size_t i = 0; i < n; i++) {
        mf_gva address;
        if (values[i].type == MF_BYTES && values[i].bytes.len >= LARGE_MIN &&
            map_find(sandbox, values[i].bytes.data, values[i].bytes.len, &address))
            refer(references, i, address);
    }
}

/* Places data of at least `least` bytes. */
static int place_data(struct mf_sandbox *sandbox, const struct large_use *use,
                      const struct mf_value *values, size_t n, uint64_t least,
                      struct codec_references *references, struct mf_error *err)
{
    for (size_t i = 0; i < n; i++) {
        if (!is_data(&values[i]) || references->mask >> i & 1)
            continue;
        struct mf_bytes_data data = data_of(&values[i]);
        if (data.len < least)
            continue;
        mf_gva address;
        int rc = map_place(sandbox, data.data, data.len, values[i].type == MF_STRING, use->level,
                           use->copy, &address, err);
        if (rc != 0)
            return rc;
        refer(references, i, address);
    }
    return 0;
}

static int too_large(const struct mf_sandbox *sandbox, const struct large_use *use, uint64_t room,
                     struct mf_error *err)
{
    if (sandbox->image->abi_version < MF_ABI_VERSION_REFERENCES)
        return error_set(err, MF_E_TOO_LARGE,
                         "%s: the %s do not fit into the %llu bytes of the mailbox, and the guest "
                         "was built with an SDK that knows no other way: link it again, or raise "
                         "mailbox_bytes (option --mailbox)",
                         use->name, use->what, (unsigned long long)room);
    return error_set(err, MF_E_TOO_LARGE,
                     "%s: the %s do not fit into the %llu bytes of the mailbox: raise "
                     "mailbox_bytes (option --mailbox)",
                     use->name, use->what, (unsigned long long)room);
}

int large_place(struct mf_sandbox *sandbox, const struct large_use *use,
                const struct mf_value *values, size_t n, uint64_t room,
                struct codec_references *references, struct frame *frame, struct mf_error *err)
{
    bool may_refer = sandbox->image->abi_version >= MF_ABI_VERSION_REFERENCES;
    frame->values = values;
    frame->n = n;
    frame->references = NULL;
    references->mask = 0;
    if (sandbox->mappings.count > 0 && may_refer)
        refer_to_mapped(sandbox, values, n, references);
    uint64_t size = codec_frame_size(values, n, references);
    static const uint64_t least[] = {LARGE_MIN, LARGE_LEAST};
    for (size_t i = 0; size > room && may_refer && i < ARRAY_LEN(least); i++) {
        int rc = place_data(sandbox, use, values, n, least[i], references, err);
        if (rc != 0)
            return rc;
        size = codec_frame_size(values, n, references);
    }
    if (size > room)
        return too_large(sandbox, use, room, err);
    if (references->mask != 0)
        frame->references = references;
    for (size_t i = 0; i < n; i++)
        if (references->mask >> i & 1)
            sandbox->stats.bytes_in += data_of(&values[i]).len;
    frame->size = (uint32_t)size;
    return 0;
}

/* ---- guest to host ---- */

/* A view of guest memory itself: what was mapped from the host may be gone by then. */
static bool view_at(const struct mf_sandbox *sandbox, mf_gva address, uint64_t len,
                    const uint8_t **at)
{
    const struct mem *mem = &sandbox->mem;
    return guestmem_span(mem, address, len, at) && *at >= mem->base &&
           (uint64_t)(*at - mem->base) < mem->bytes;
}

/* What copies of values may take: a guest must not make the host hold more than it has. */
static uint64_t copies_limit(const struct mem *mem)
{
    uint64_t limit = mem->bytes;
    for (unsigned i = 0; i < mem->nwindows; i++)
        limit += mem->windows[i].bytes;
    return limit;
}

static int fetch_copy(struct mf_sandbox *sandbox, struct arena *arena, mf_gva address,
                      struct mf_value *value, struct mf_error *err)
{
    size_t bad, len = value->bytes.len;
    /* Before memory is taken: the guest can claim any length. */
    if (guestmem_reach(&sandbox->mem, address, len, false) != len)
        return error_set(err, MF_E_PROTOCOL,
                         "the guest named %zu bytes at %#llx, which it cannot read itself", len,
                         (unsigned long long)address);
    if (arena->chunk_bytes + len > copies_limit(&sandbox->mem))
        return error_set(err, MF_E_TOO_LARGE,
                         "a value of %zu bytes, with those that are held already, is more than the "
                         "guest's memory: give results a buffer of their own",
                         len);
    char *copy = arena_alloc_chunk(arena, (uint64_t)len + 1);
    if (!copy)
        return error_set(err, MF_E_NO_MEMORY, "cannot allocate %zu bytes for a value", len);
    if (!guestmem_read(&sandbox->mem, copy, address, len))
        return error_set(err, MF_E_PROTOCOL, "the guest's value of %zu bytes cannot be read", len);
    copy[len] = 0;
    if (value->type == MF_STRING && !text_is_utf8(copy, len, &bad))
        return error_set(err, MF_E_PROTOCOL,
                         "the guest sent a string that is not UTF-8 without NUL");
    value->bytes.data = copy; /* the same member for strings */
    return 0;
}

int large_fetch(struct mf_sandbox *sandbox, struct arena *arena, struct mf_value *values, size_t n,
                const struct codec_references *references, bool view, struct mf_error *err)
{
    for (size_t i = 0; i < n && references->mask >> i != 0; i++) {
        const uint8_t *at;
        mf_gva address = references->address[i];
        if (!(references->mask >> i & 1))
            continue;
        sandbox->stats.bytes_out += values[i].bytes.len;
        if (view && values[i].type == MF_BYTES &&
            view_at(sandbox, address, values[i].bytes.len, &at)) {
            values[i].bytes.data = at;
            continue;
        }
        int rc = fetch_copy(sandbox, arena, address, &values[i], err);
        if (rc != 0)
            return rc;
    }
    return 0;
}
