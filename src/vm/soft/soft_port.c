/*
 * The arithmetic flags at port instructions.
 *
 * The emulated CPU does not compute flags when an instruction sets them: it keeps the
 * operands and which operation it was, and the latter only in the translator's head
 * until a block of translated code ends or something may go wrong. A port instruction
 * counts as neither. So where it leaves the guest in the middle of a block, the
 * operands are those of the last operation but the operation is an older one, and the
 * flags are nonsense, for whoever reads RFLAGS and for the guest's next branch.
 *
 * A hook on the very instruction (which has nothing to do) makes Unicorn write the
 * operation before it. It must be there when the block is translated; so a hook looks
 * at each new block for a port instruction that has none, on_block (soft_run.c) then
 * stops the CPU before that block begins, and the block is translated again. Only the
 * first port instruction of a block matters, because the guest leaves there; and at the
 * very beginning of a block all is well. A hook that is taken away again does not make
 * the block wrong that was translated with it.
 */
#include "vm/soft/soft.h"

#include "base/error.h"

#include <string.h>

/* A block begins and ends in the same page, but for its last instruction. */
#define BLOCK_BYTES_MAX (PAGE_BYTES + sizeof((struct soft_insn *)0)->bytes)

static void on_place(uc_engine *uc, uint64_t address, uint32_t size, void *context)
{
    (void)uc;
    (void)address;
    (void)size;
    (void)context;
}

/* The instruction that begins at `offset` of the code, or what is there of it. */
static void insn_at(const uint8_t *code, size_t size, size_t offset, struct soft_insn *insn)
{
    size_t left = size - offset;
    insn->len = left < sizeof insn->bytes ? (unsigned)left : (unsigned)sizeof insn->bytes;
    memcpy(insn->bytes, code + offset, insn->len);
}

/*
 * Goes from instruction to instruction. False when it does not come to the end of the
 * block with the right count of them, so that not all of them were understood. The
 * first port instruction that is not at the beginning is at *first, else that is 0.
 */
static bool find_port(const uint8_t *code, size_t size, unsigned count, size_t *first)
{
    struct soft_insn insn;
    size_t offset = 0;
    *first = 0;
    for (; count > 0 && offset < size; count--) {
        insn_at(code, size, offset, &insn);
        unsigned len = soft_insn_length(&insn);
        if (len == 0)
            return false;
        if (*first == 0 && soft_insn_is_port(&insn))
            *first = offset;
        offset += len;
    }
    return count == 0 && offset == size;
}

/* The first and last offset at which a port instruction could begin; false: none. */
static bool guess_ports(const uint8_t *code, size_t size, size_t *first, size_t *last)
{
    struct soft_insn insn;
    *first = *last = 0;
    for (size_t offset = 1; offset < size; offset++) {
        insn_at(code, size, offset, &insn);
        if (!soft_insn_is_port(&insn))
            continue;
        *last = offset;
        if (*first == 0)
            *first = offset;
    }
    return *first != 0;
}

static bool is_known(const struct soft_ports *ports, mf_gva first, mf_gva last)
{
    for (unsigned i = 0; i < SOFT_PORT_PLACES; i++) {
        const struct soft_port_place *place = &ports->places[i];
        if (place->hook && place->first <= first && last <= place->last)
            return true;
    }
    return false;
}

/* A block was translated, and runs next. */
static void on_translated(uc_engine *uc, uc_tb *block, uc_tb *previous, void *context)
{
    (void)previous;
    struct soft_ports *ports = &((struct soft_vm *)context)->ports;
    uint8_t code[BLOCK_BYTES_MAX];
    size_t first, last;
    if (block->size > sizeof code || uc_mem_read(uc, block->pc, code, block->size) != UC_ERR_OK)
        return;
    if (find_port(code, block->size, block->icount, &first)) {
        if (first == 0)
            return;
        last = first;
    } else if (!guess_ports(code, block->size, &first, &last)) {
        return;
    }
    if (is_known(ports, block->pc + first, block->pc + last))
        return;
    ports->found = true;
    ports->block = block->pc;
    ports->first = block->pc + first;
    ports->last = block->pc + last;
}

int soft_port_init(struct soft_vm *soft, struct mf_error *err)
{
    uc_hook handle;
    uc_err rc = uc_hook_add(soft->uc, &handle, UC_HOOK_EDGE_GENERATED, (void *)on_translated,
                            soft, (uint64_t)1, (uint64_t)0);
    if (rc != UC_ERR_OK)
        return error_set(err, MF_E_BACKEND, "the emulator lacks a hook: %s", uc_strerror(rc));
    return 0;
}

void soft_port_settle(struct soft_vm *soft)
{
    struct soft_ports *ports = &soft->ports;
    struct soft_port_place *place = &ports->places[ports->next];
    ports->found = false;
    ports->next = (ports->next + 1) % SOFT_PORT_PLACES;
    if (place->hook)
        uc_hook_del(soft->uc, place->hook);
    place->hook = 0;
    place->first = ports->first;
    place->last = ports->last;
    if (uc_hook_add(soft->uc, &place->hook, UC_HOOK_CODE, (void *)on_place, soft, place->first,
                    place->last) != UC_ERR_OK ||
        uc_ctl_remove_cache(soft->uc, ports->block, ports->block + 1) != UC_ERR_OK)
        soft->broken = "the emulator cannot translate a port instruction";
}
