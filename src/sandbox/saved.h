/*
 * Collect state, load state: all that a sandbox is apart from the contents of its
 * pages, its host functions, limits and callbacks. The same struct is what snapshots
 * keep, what the file holds (encoded by src/snapshot) and what a restore loads.
 */
#ifndef SANDBOX_SAVED_H
#define SANDBOX_SAVED_H

#include "sandbox/sandbox.h"

struct saved_area {
    mf_gpa gpa;
    uint32_t size;
    uint64_t offset;
};

struct saved_state {
    struct vm_state cpu;

    /* Guest memory: who owns which page (mem.h). */
    uint64_t memory_bytes;
    uint32_t mem_next, mem_nfree;
    uint32_t *mem_free; /* mem_nfree of them */

    /* The address space. */
    struct area *areas;
    size_t nareas;
    mf_gva brk_start, brk;

    /* The sandbox. */
    uint64_t stack_bytes, mailbox_bytes;
    uint32_t started; /* 0: no instruction has run; 1: it has */
    struct sandbox_pending pending; /* of a guest that was stopped */
    uint64_t entry, entry_stack;
    mf_gva stack_low, stack_high;
    mf_gpa control_gpa; /* 0: no mailbox */
    struct saved_area call_ring, result_ring, exchange;
    uint64_t call_tail, result_head, next_id;

    struct syscall_state sys; /* clock_base_ns is not used: monotonic_ns is */
    uint64_t monotonic_ns;    /* the guest's clock */
    uint64_t cpu_ns;          /* its CPU time */
    uint64_t output_bytes;    /* counted against max_output_bytes */
    enum mf_backend backend;  /* where it was collected; for people */
};

/*
 * Collects the state of a sandbox that is not in a call. Errors: as
 * mf_sandbox_snapshot. On failure *out is empty.
 */
int saved_collect(struct mf_sandbox *sandbox, struct saved_state *out, struct mf_error *err);

/*
 * Loads it into a sandbox whose guest memory holds the pages that belong to it, page tables
 * included. The state's numbers are believed: src/snapshot checks those of a file
 * (check.h). Errors: MF_E_NO_MEMORY, MF_E_SYSTEM, MF_E_BACKEND.
 */
int saved_load(struct mf_sandbox *sandbox, const struct saved_state *saved, struct mf_error *err);

/* Frees what it points to; a zeroed one is allowed. */
void saved_fini(struct saved_state *saved);

#endif
