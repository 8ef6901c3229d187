/*
 * Attentive sandboxes.
 *
 * Theory of operation. Three kinds of threads meet here: the *attendant*, which runs the
 * guest; *callers*, of which one at a time has its turn (turn.h); and the watchdog
 * (limits.c), which counts quiet times.
 *
 * The guest polls the call ring (abi/mailbox.h, "Attention"). The caller whose turn
 * it is posts a call, spins until the answer is in the result ring, and takes it: the attendant
 * stays in the guest and has no part in it. Only when the answer takes long does the caller set
 * MF_ABI_HOST_RETURN and sleep until the attendant comes out of the guest.
 *
 * `core` is the lock of everything that belongs to the sandbox. The attendant has it whenever
 * it is not in the guest (attend_before_entry, attend_after_exit; a host function and
 * what it does count as "not in the guest"), a caller while it posts and while it takes. So
 * a guest that answers and then makes a system call, or leaves at an odd moment, finds
 * host threads that wait for each other, and nothing is touched by two at once. The spinning
 * in between looks at one word of the mailbox, and believes nothing.
 *
 * What the guest does between two calls (a destructor that gives memory back, after
 * the answer) counts as a use of its own, see `between`.
 *
 * All else that can be done with a sandbox (batches, large arguments, mappings, ..) is *work*:
 * the caller recalls the guest to READY and has the attendant do it, in the ordinary way.
 *
 * The attendant enters the guest when a call is there to be answered, or when it may poll and
 * should not rest. It rests, asleep, after the guest came out though nobody waited for
 * that: the watchdog asked it to, or it does not know how to poll (ABI 1.0). A guest that
 * is entered at READY with a call before it, and leaves at READY without an answer, broke
 * the protocol; so the number of entries per call is bounded.
 */
#include "sandbox/attend.h"

#include "abi/version.h"
#include "base/checked.h"
#include "base/cpu.h"
#include "base/error.h"
#include "sandbox/call.h"
#include "sandbox/large.h"
#include "sandbox/sandbox.h"
#include "sandbox/turn.h"

#include <mayfly/attend.h>
#include <mayfly/batch.h>

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#define NS_PER_S UINT64_C(1000000000)
#define IDLE_DEFAULT_NS UINT64_C(1000000)
#define IDLE_MIN_NS UINT64_C(100000)

/* How long a guest with nothing to do may take to come back. */
#define RECALL_NS (2 * NS_PER_S)

/* Looks for an answer before the caller sleeps: some 20 to 50 us. */
#define SPINS 1000

/*
 * How long it sleeps before it looks again by itself: a guest may have more to do
 * after its answer, and then does not leave at once.
 */
#define LOOK_MIN_NS UINT64_C(500000)
#define LOOK_MAX_NS UINT64_C(20000000)

#define ARENA_BYTES (64u << 10)

struct work {
    attend_work function;
    void *argument;
    struct mf_error *err;
    int rc;
    bool done;
};

struct attendance {
    struct turn turn;
    atomic_bool active;     /* it has an attendant */
    atomic_bool destroying; /* and will have none any more */
    atomic_uint outs;       /* counts when the attendant comes out of the guest */

    _Alignas(64) pthread_mutex_t core; /* guards all that follows */
    pthread_cond_t out;                /* it came out, or a work is done */
    pthread_cond_t wake;               /* for the attendant */
    struct mf_sandbox *sandbox;
    pthread_t thread;
    unsigned spinners; /* callers that may spin for their turn */
    bool polls;        /* the guest can be asked to poll, and there is a processor for it */
    bool attending;    /* the attendant is in the run loop to wait for calls */
    bool between;      /* out of the guest for something that belongs to no call */
    bool at_ready;     /* the guest stands in READY; otherwise somewhere in its loop */
    bool rest;         /* does not enter before the next call */
    bool asleep, stop;
    unsigned wanted_back;    /* callers that sleep until the guest comes back */
    const char *waiting;     /* function of the call in flight, or NULL */
    uint64_t posted;         /* calls ever */
    uint64_t posted_at_entry; /* those that a guest at READY saw for certain */
    bool told;               /* the end of the guest was reported to somebody, */
    bool failed;             /* or is still to be: */
    struct mf_error failure;
    struct work *work;
};

/* The attendance whose attendant this thread is. */
static _Thread_local const struct attendance *mine;

/* ---- arenas of threads ---- */

static _Thread_local struct arena thread_arena;
static pthread_key_t arena_key;
static bool have_arena_key;

static void free_arena(void *arena)
{
    arena_fini(arena);
}

static void make_arena_key(void)
{
    have_arena_key = pthread_key_create(&arena_key, free_arena) == 0;
}

struct arena *attend_arena(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    if (thread_arena.base)
        return &thread_arena;
    pthread_once(&once, make_arena_key);
    if (!have_arena_key || arena_init(&thread_arena, ARENA_BYTES, NULL) != 0)
        return NULL;
    if (pthread_setspecific(arena_key, &thread_arena) == 0)
        return &thread_arena;
    arena_fini(&thread_arena);
    return NULL;
}

/* ---- what the run loop calls ---- */

struct attendance *attend_of(const struct mf_sandbox *sandbox)
{
    struct attendance *a = sandbox->attendance;
    return a && a != mine && atomic_load(&a->active) ? a : NULL;
}

/* Between two entries, on the attendant, in no host function: the guest's loop itself. */
static bool in_guest_loop(const struct mf_sandbox *sandbox)
{
    const struct attendance *a = sandbox->attendance;
    return a && a == mine && a->attending && !sandbox->innermost;
}

static void end_between(struct attendance *a)
{
    if (!a->between)
        return;
    a->between = false;
    a->sandbox->depth = 0;
    a->sandbox->state = a->sandbox->poisoned ? SANDBOX_ENDED : SANDBOX_READY;
}

void attend_before_entry(struct mf_sandbox *sandbox)
{
    if (!in_guest_loop(sandbox))
        return;
    end_between(sandbox->attendance);
    pthread_mutex_unlock(&sandbox->attendance->core);
}

void attend_after_exit(struct mf_sandbox *sandbox)
{
    if (!in_guest_loop(sandbox))
        return;
    struct attendance *a = sandbox->attendance;
    pthread_mutex_lock(&a->core);
    a->between = sandbox->depth == 0;
    if (!a->between)
        return;
    sandbox->depth = 1;
    sandbox->state = SANDBOX_RUNNING;
}

bool attend_between_calls(const struct mf_sandbox *sandbox)
{
    return in_guest_loop(sandbox) && sandbox->attendance->between;
}

/* ---- the attendant ---- */

static uint32_t *host_flags(const struct attendance *a)
{
    return &a->sandbox->rings.control->host_flags;
}

static void set_flags(struct attendance *a, uint32_t flags)
{
    struct rings *rings = &a->sandbox->rings;
    __atomic_store_n(host_flags(a), flags, __ATOMIC_SEQ_CST);
    mem_mark(rings->mem, rings->control_gpa, sizeof *rings->control);
}

/* Also by the watchdog, which has no lock. */
static void ask_back(void *attendance)
{
    struct attendance *a = attendance;
    __atomic_fetch_or(host_flags(a), MF_ABI_HOST_RETURN, __ATOMIC_SEQ_CST);
}

static bool call_is_open(const struct attendance *a)
{
    return a->waiting && !ring_has_answer(&a->sandbox->rings);
}

static bool should_enter(const struct attendance *a)
{
    if (a->stop || a->sandbox->poisoned || a->sandbox->state == SANDBOX_NEW)
        return false;
    if (call_is_open(a) || (a->work && !a->at_ready))
        return true;
    return !a->work && a->polls && !a->rest;
}

static void announce_out(struct attendance *a)
{
    atomic_fetch_add(&a->outs, 1);
    if (a->wanted_back > 0)
        pthread_cond_broadcast(&a->out);
}

/* The guest is at its end; the caller that waits, or else the next one, hears why. */
static void fail(struct attendance *a, const struct mf_error *err)
{
    sandbox_poison(a->sandbox, err);
    if (a->told)
        return;
    a->told = a->failed = true;
    a->failure = *err;
}

/* The guest came out by itself, at READY or by an exit of the program. */
static void look_at_end(struct attendance *a, const struct run_result *run)
{
    struct mf_error err;
    a->at_ready = run->end == RUN_READY;
    if (run->end == RUN_IDLE)
        return;
    if (run->end == RUN_READY) {
        if (!call_is_open(a) || a->posted_at_entry != a->posted)
            return;
        error_set(&err, MF_E_PROTOCOL, "the guest did not answer a call of %s", a->waiting);
    } else if (a->waiting) {
        call_check_end(run, a->waiting, &err);
    } else {
        error_set(&err, MF_E_GUEST_EXIT,
                  "the guest exited with status %d while it waited for calls", run->status);
    }
    fail(a, &err);
}

/* Enters the guest, to answer or to poll, until it comes out. */
static void enter_guest(struct attendance *a)
{
    struct run_result run;
    struct mf_error err;
    uint32_t flags = a->polls ? MF_ABI_HOST_ATTEND : 0;
    /* A caller whose answer is there needs nothing, though it may sleep for a moment more. */
    if (a->wanted_back > 0 && (call_is_open(a) || a->work))
        flags |= MF_ABI_HOST_RETURN;
    set_flags(a, flags);
    a->posted_at_entry = a->at_ready ? a->posted : 0;
    a->at_ready = false;
    a->attending = true;
    limits_set_polling(&a->sandbox->limits, true);
    int rc = run_guest(a->sandbox, &run, &err);
    limits_set_polling(&a->sandbox->limits, false);
    end_between(a);
    a->attending = false;
    set_flags(a, 0);
    a->rest = a->wanted_back == 0;
    if (rc != 0)
        fail(a, &err);
    else
        look_at_end(a, &run);
    announce_out(a);
}

static void do_work(struct attendance *a)
{
    struct work *work = a->work;
    a->work = NULL;
    /* Nobody waits for the guest any more. */
    limits_take_some(&a->sandbox->limits, STOP_RECALL | STOP_IDLE);
    work->rc = work->function(a->sandbox, work->argument, work->err);
    /* A restored sandbox is as good as new; one that the work poisoned has told it. */
    a->at_ready = a->sandbox->state == SANDBOX_READY;
    if (!a->sandbox->poisoned)
        a->told = a->failed = false;
    else if (!a->failed)
        a->told = true;
    work->done = true;
    pthread_cond_broadcast(&a->out);
}

static void *attend(void *attendance)
{
    struct attendance *a = attendance;
    mine = a;
    pthread_mutex_lock(&a->core);
    while (!a->stop) {
        if (should_enter(a)) {
            enter_guest(a);
        } else if (a->work) {
            do_work(a);
        } else {
            a->asleep = true;
            pthread_cond_wait(&a->wake, &a->core);
            a->asleep = false;
        }
    }
    pthread_mutex_unlock(&a->core);
    return NULL;
}

/* ---- callers ---- */

static void wake_attendant(struct attendance *a)
{
    if (a->asleep)
        pthread_cond_signal(&a->wake);
}

/* The guest is wanted back until the caller does not sleep any more. */
static void want_back(struct attendance *a)
{
    a->wanted_back++;
    ask_back(a);
}

static void end_want_back(struct attendance *a)
{
    if (--a->wanted_back == 0 && a->attending)
        __atomic_fetch_and(host_flags(a), ~MF_ABI_HOST_RETURN, __ATOMIC_SEQ_CST);
}

/* With the lock, at the start of a turn: whether this sandbox is there to be used. */
static int check_open(const struct attendance *a, struct mf_error *err)
{
    if (atomic_load(&a->destroying))
        return error_set(err, MF_E_STATE, "the sandbox is being destroyed");
    if (!atomic_load(&a->active))
        return error_set(err, MF_E_STATE, "the sandbox is no longer attentive");
    return 0;
}

/* Takes what ended the guest, if nobody has heard of it yet. */
static int take_failure(struct attendance *a, struct mf_error *err)
{
    if (!a->failed)
        return 0;
    a->failed = false;
    *err = a->failure;
    return err->code;
}

/* What an answer said is impossible: the guest is stopped, wherever it is. */
static void give_up(struct attendance *a, const struct mf_error *err)
{
    struct vm *vm = a->sandbox->vm;
    a->told = true;
    sandbox_poison(a->sandbox, err);
    __atomic_store_n(host_flags(a), MF_ABI_HOST_RETURN, __ATOMIC_SEQ_CST);
    vm->ops->interrupt(vm);
}

static int begin_call(struct attendance *a, const struct image_function *function,
                      const struct mf_value *args, size_t nargs, uint64_t *id,
                      struct mf_error *err)
{
    struct mf_sandbox *sandbox = a->sandbox;
    struct codec_references references;
    struct frame frame;
    if (ring_has_answer(&sandbox->rings)) {
        error_set(err, MF_E_PROTOCOL, "the guest answered a call that nobody made");
        give_up(a, err);
        return err->code;
    }
    int rc = call_begin_use(sandbox, sandbox->options.timeout_ns, err);
    if (rc != 0)
        return rc;
    arena_reset(&sandbox->arena);
    rc = call_prepare(sandbox, function, args, nargs, sandbox->rings.call.size, &references,
                      &frame, err);
    if (rc == 0)
        rc = ring_post(&sandbox->rings, &frame, &sandbox->arena, err);
    if (rc != 0) {
        call_end_use(sandbox);
        return rc;
    }
    *id = frame.header.id;
    a->waiting = function->signature.name;
    a->posted++;
    atomic_fetch_add(&sandbox->limits.idle.turns, 1);
    wake_attendant(a);
    return 0;
}

/* Waits until the attendant is out, or for some time; false when that has passed. */
static bool wait_out(struct attendance *a, uint64_t ns)
{
    uint64_t when = limits_now() + ns;
    struct timespec at = {(time_t)(when / NS_PER_S), (long)(when % NS_PER_S)};
    return pthread_cond_timedwait(&a->out, &a->core, &at) == 0;
}

static bool is_over(const struct attendance *a)
{
    return a->failed || ring_has_answer(&a->sandbox->rings);
}

/* Waits until there is an answer or none will come; returns with the lock. */
static void wait_for_answer(struct attendance *a, unsigned outs)
{
    const struct rings *rings = &a->sandbox->rings;
    for (int i = 0; a->polls && i < SPINS; i++) {
        if (ring_has_answer(rings) || atomic_load(&a->outs) != outs)
            break;
        cpu_relax();
    }
    pthread_mutex_lock(&a->core);
    if (is_over(a))
        return;
    want_back(a);
    for (uint64_t pause = LOOK_MIN_NS; !is_over(a); pause = MIN(2 * pause, LOOK_MAX_NS))
        wait_out(a, pause);
    end_want_back(a);
}

static int take_answer(struct attendance *a, const struct image_function *function, uint64_t id,
                       struct arena *arena, struct mf_value *result, struct mf_error *err)
{
    struct mf_sandbox *sandbox = a->sandbox;
    struct mf_abi_frame *frame;
    int rc = take_failure(a, err);
    if (rc != 0)
        return rc;
    arena_reset(arena);
    rc = ring_take(&sandbox->rings, arena, &frame, err);
    if (rc == 0)
        rc = error_set(err, MF_E_PROTOCOL, "the guest took back an answer");
    else if (rc > 0 && ring_has_answer(&sandbox->rings))
        rc = error_set(err, MF_E_PROTOCOL, "the guest left more than one answer to one call");
    if (rc > 0)
        rc = frame_answer(sandbox, arena, frame, id, &function->signature, false, result, err);
    if (rc != 0 && !call_is_soft_error(rc))
        give_up(a, err);
    return rc;
}

static int exchange_calls(struct attendance *a, const struct image_function *function,
                          const struct mf_value *args, size_t nargs, struct arena *arena,
                          struct mf_value *result, struct mf_error *err)
{
    struct mf_sandbox *sandbox = a->sandbox;
    uint64_t id = 0;
    int rc = begin_call(a, function, args, nargs, &id, err);
    if (rc != 0)
        return rc;
    unsigned outs = atomic_load(&a->outs);
    pthread_mutex_unlock(&a->core);
    wait_for_answer(a, outs);
    rc = take_answer(a, function, id, arena, result, err);
    a->waiting = NULL;
    atomic_fetch_add(&sandbox->limits.idle.turns, 1);
    rc = call_finish(sandbox, rc, err);
    call_end_use(sandbox);
    if (rc == 0 || rc == MF_E_GUEST_ERROR)
        sandbox->stats.calls++;
    return rc;
}

/* ---- work ---- */

/* Has the attendant do it. With the lock, which it gives back while it waits. */
static int do_on_attendant(struct attendance *a, attend_work function, void *argument,
                           struct mf_error *err)
{
    struct work work = {.function = function, .argument = argument, .err = err};
    struct limits *limits = &a->sandbox->limits;
    atomic_fetch_add(&limits->idle.turns, 1);
    a->work = &work;
    want_back(a);
    wake_attendant(a);
    /* The attendant keeps the lock from the begin of the work to its end. */
    while (!work.done)
        if (!wait_out(a, RECALL_NS) && !work.done)
            limits_stop(limits, STOP_RECALL);
    end_want_back(a);
    atomic_fetch_add(&limits->idle.turns, 1);
    return work.rc;
}

int attend_do(struct mf_sandbox *sandbox, attend_work work, void *argument, struct mf_error *err)
{
    struct mf_error own;
    struct attendance *a = attend_of(sandbox);
    err = err ? err : &own;
    if (!a)
        return work(sandbox, argument, err);
    unsigned ticket = turn_take(&a->turn, a->spinners);
    pthread_mutex_lock(&a->core);
    int rc = check_open(a, err);
    if (rc == 0)
        rc = do_on_attendant(a, work, argument, err);
    pthread_mutex_unlock(&a->core);
    turn_give(&a->turn, ticket);
    return rc;
}

struct attendance *attend_hold(const struct mf_sandbox *sandbox)
{
    struct attendance *a = attend_of(sandbox);
    if (a)
        pthread_mutex_lock(&a->core);
    return a;
}

void attend_release(struct attendance *attendance)
{
    if (attendance)
        pthread_mutex_unlock(&attendance->core);
}

/* What a result points to becomes the calling thread's own. */
static int keep_result(struct arena *arena, struct mf_value *result, struct mf_error *err)
{
    bool text = result->type == MF_STRING;
    if (!text && result->type != MF_BYTES)
        return 0;
    size_t len = result->bytes.len; /* the same member for strings, which end in a zero byte */
    uint8_t *copy = arena_alloc(arena, (uint64_t)len + 1);
    if (!copy)
        copy = arena_alloc_chunk(arena, (uint64_t)len + 1);
    if (!copy) {
        *result = mf_void();
        return error_set(err, MF_E_NO_MEMORY, "cannot allocate %zu bytes for a result", len);
    }
    memcpy(copy, result->bytes.data, len);
    copy[len] = 0;
    result->bytes.data = copy;
    return 0;
}

/* A call whose arguments have to be mapped, or a guest that has to be started. */
struct whole_call {
    size_t function;
    const struct mf_value *args;
    size_t nargs;
    struct mf_value *result; /* may be NULL */
    struct arena *arena;
};

static int make_whole_call(struct mf_sandbox *sandbox, void *argument, struct mf_error *err)
{
    const struct whole_call *call = argument;
    int rc = mf_sandbox_call_index(sandbox, call->function, call->args, call->nargs, call->result,
                                   err);
    /* Arguments may be the result before, so it goes only now. */
    arena_reset(call->arena);
    return rc == 0 && call->result ? keep_result(call->arena, call->result, err) : rc;
}

struct batch_work {
    struct mf_call *calls;
    size_t ncalls;
    struct arena *arena;
    bool made;
};

/* Nothing was made. */
static void refuse_batch(struct batch_work *batch, const struct mf_error *err)
{
    for (size_t i = 0; i < batch->ncalls; i++) {
        struct mf_call *call = &batch->calls[i];
        call->result = mf_void();
        call->error = *err;
        call->status = err->code;
    }
}

static int make_batch(struct mf_sandbox *sandbox, void *argument, struct mf_error *err)
{
    struct batch_work *batch = argument;
    batch->made = true;
    int rc = take_failure(sandbox->attendance, err);
    if (rc != 0)
        refuse_batch(batch, err);
    else
        rc = batch_call(sandbox, batch->calls, batch->ncalls, err);
    arena_reset(batch->arena);
    for (size_t i = 0; i < batch->ncalls; i++) {
        struct mf_call *call = &batch->calls[i];
        if (call->status == 0 && !call->buffer)
            call->status = keep_result(batch->arena, &call->result, &call->error);
    }
    return rc;
}

int attend_batch(struct mf_sandbox *sandbox, struct mf_call *calls, size_t ncalls,
                 struct mf_error *err)
{
    struct batch_work batch = {calls, ncalls, attend_arena(), false};
    int rc;
    if (!batch.arena)
        rc = error_set(err, MF_E_NO_MEMORY, "cannot allocate this thread's room for results");
    else
        rc = attend_do(sandbox, make_batch, &batch, err);
    if (!batch.made)
        refuse_batch(&batch, err);
    return rc;
}

/* Whether nothing has to be mapped for the call: what is mapped already goes by reference. */
static bool fits_ring(const struct mf_sandbox *sandbox, const struct mf_value *args, size_t nargs)
{
    struct codec_references references = {.mask = 0};
    uint64_t room = sandbox->rings.call.size;
    if (codec_frame_size(args, nargs, NULL) <= room)
        return true;
    if (sandbox->image->abi_version < MF_ABI_VERSION_REFERENCES)
        return true; /* call_prepare refuses it */
    for (size_t i = 0; i < nargs; i++)
        if (args[i].type == MF_BYTES && args[i].bytes.len >= LARGE_MIN &&
            map_find(sandbox, args[i].bytes.data, args[i].bytes.len, &references.address[i]))
            references.mask |= UINT32_C(1) << i;
    return codec_frame_size(args, nargs, &references) <= room;
}

int attend_call(struct mf_sandbox *sandbox, struct attendance *a,
                const struct image_function *function, const struct mf_value *args, size_t nargs,
                struct mf_value *result, struct mf_error *err)
{
    int rc = codec_check_args(&function->signature, args, nargs, err);
    if (rc != 0)
        return rc;
    struct arena *arena = attend_arena();
    if (!arena)
        return error_set(err, MF_E_NO_MEMORY, "cannot allocate this thread's room for results");
    struct whole_call whole = {(size_t)(function - sandbox->image->exports), args, nargs, result,
                               arena};
    unsigned ticket = turn_take(&a->turn, a->spinners);
    pthread_mutex_lock(&a->core);
    rc = check_open(a, err);
    if (rc == 0)
        rc = take_failure(a, err);
    if (rc == 0)
        rc = sandbox_check_alive(sandbox, err);
    if (rc == 0 && sandbox->state == SANDBOX_READY && fits_ring(sandbox, args, nargs))
        rc = exchange_calls(a, function, args, nargs, arena, result, err);
    else if (rc == 0)
        rc = do_on_attendant(a, make_whole_call, &whole, err);
    pthread_mutex_unlock(&a->core);
    turn_give(&a->turn, ticket);
    return rc;
}

struct resume_work {
    struct mf_value *result; /* may be NULL */
    int *status;
    struct arena *arena;
};

static int make_resume(struct mf_sandbox *sandbox, void *argument, struct mf_error *err)
{
    const struct resume_work *resume = argument;
    struct mf_value result = mf_void();
    int rc = mf_sandbox_resume(sandbox, &result, resume->status, err);
    arena_reset(resume->arena);
    if (rc == 0 && resume->result) {
        rc = keep_result(resume->arena, &result, err);
        *resume->result = result;
    }
    return rc;
}

int attend_resume(struct mf_sandbox *sandbox, struct mf_value *result, int *status,
                  struct mf_error *err)
{
    struct resume_work resume = {result, status, attend_arena()};
    if (!resume.arena)
        return error_set(err, MF_E_NO_MEMORY, "cannot allocate this thread's room for results");
    return attend_do(sandbox, make_resume, &resume, err);
}

/* ---- beginning and ending ---- */

static unsigned count_cpus(void)
{
    cpu_set_t set;
    /* On hosts with more of them than the set has room for. */
    if (sched_getaffinity(0, sizeof set, &set) != 0)
        return CPU_SETSIZE;
    return (unsigned)CPU_COUNT(&set);
}

static int create_attendance(struct mf_sandbox *sandbox, struct mf_error *err)
{
    pthread_condattr_t clock;
    struct attendance *a = aligned_alloc(_Alignof(struct attendance), sizeof *a);
    if (!a)
        return error_set(err, MF_E_NO_MEMORY, "cannot allocate what an attentive sandbox needs");
    memset(a, 0, sizeof *a);
    a->sandbox = sandbox;
    pthread_condattr_init(&clock);
    pthread_condattr_setclock(&clock, CLOCK_MONOTONIC);
    pthread_mutex_init(&a->core, NULL);
    pthread_cond_init(&a->out, &clock);
    pthread_cond_init(&a->wake, NULL);
    pthread_condattr_destroy(&clock);
    sandbox->attendance = a;
    return 0;
}

/* The thread takes none of the program's signals but the one for interrupts. */
static int start_attendant(struct attendance *a, struct mf_error *err)
{
    sigset_t all, old;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    int failed = pthread_create(&a->thread, NULL, attend, a);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    if (failed)
        return error_set_errno(err, MF_E_SYSTEM, failed,
                               "cannot start the thread of an attentive sandbox");
    return 0;
}

/* Prepares for the attendant; the caller has the sandbox for itself. */
static int prepare(struct attendance *a, uint64_t idle_ns, struct mf_error *err)
{
    unsigned cpus = count_cpus();
    struct mf_sandbox *sandbox = a->sandbox;
    a->polls = cpus > 1 && sandbox->image->abi_version >= MF_ABI_VERSION_ATTEND;
    a->spinners = cpus > 2 ? cpus - 2 : 0;
    a->at_ready = true;
    a->rest = a->stop = a->told = a->failed = false;
    ring_reset(&sandbox->rings);
    if (idle_ns == UINT64_MAX)
        return 0;
    return limits_watch_idle(&sandbox->limits, idle_ns, ask_back, a, err);
}

static int begin_attendance(struct mf_sandbox *sandbox, uint64_t idle_ns, struct mf_error *err)
{
    int rc = sandbox->attendance ? 0 : create_attendance(sandbox, err);
    if (rc != 0)
        return rc;
    struct attendance *a = sandbox->attendance;
    rc = prepare(a, idle_ns, err);
    if (rc != 0)
        return rc;
    pthread_mutex_lock(&a->core);
    rc = start_attendant(a, err);
    if (rc == 0) {
        limits_set_thread(&sandbox->limits, &a->thread);
        atomic_store(&a->active, true);
    } else {
        limits_watch_idle(&sandbox->limits, 0, NULL, NULL, NULL);
    }
    pthread_mutex_unlock(&a->core);
    return rc;
}

int mf_sandbox_attend(struct mf_sandbox *sandbox, const struct mf_attend_options *options,
                      struct mf_error *err)
{
    struct mf_error own;
    struct mf_attend_options o = {.size = sizeof o};
    err = err ? err : &own;
    error_clear(err);
    if (options && options->size < sizeof o.size)
        return error_set(err, MF_E_ARGUMENT,
                         "options.size is %zu; set it to sizeof(struct mf_attend_options)",
                         options->size);
    if (options)
        memcpy(&o, options, MIN(options->size, sizeof o));
    if (o.idle_ns == 0)
        o.idle_ns = IDLE_DEFAULT_NS;
    if (o.idle_ns < IDLE_MIN_NS)
        return error_set(err, MF_E_ARGUMENT, "idle_ns is %llu; it must be at least %llu",
                         (unsigned long long)o.idle_ns, (unsigned long long)IDLE_MIN_NS);
    if (sandbox->attendance && atomic_load(&sandbox->attendance->active))
        return error_set(err, MF_E_STATE, "the sandbox is attentive already");
    int rc = sandbox_check_alive(sandbox, err);
    if (rc == 0 && sandbox->state == SANDBOX_RUNNING)
        rc = error_set(err, MF_E_STATE, "a sandbox cannot become attentive inside of a call");
    if (rc == 0 && atomic_load(&sandbox->pause.wanted))
        rc = error_set(err, MF_E_STATE, "the sandbox is paused, or being migrated");
    if (rc == 0 && sandbox->state == SANDBOX_NEW)
        rc = mf_sandbox_start(sandbox, err);
    return rc == 0 ? begin_attendance(sandbox, o.idle_ns, err) : rc;
}

/* The attendant ends; others find the sandbox as if it had never been attentive. */
static void stop_attendant(struct attendance *a)
{
    struct limits *limits = &a->sandbox->limits;
    pthread_mutex_lock(&a->core);
    a->stop = true;
    a->wanted_back++;
    ask_back(a);
    wake_attendant(a);
    pthread_mutex_unlock(&a->core);
    pthread_join(a->thread, NULL);
    a->wanted_back--;
    atomic_store(&a->active, false);
    limits_watch_idle(limits, 0, NULL, NULL, NULL);
    limits_set_thread(limits, NULL);
}

/* On the attendant itself: the guest does not run again. */
static int stop_here(struct mf_sandbox *sandbox, void *argument, struct mf_error *err)
{
    (void)argument;
    (void)err;
    sandbox->attendance->stop = true;
    return 0;
}

int mf_sandbox_unattend(struct mf_sandbox *sandbox, struct mf_error *err)
{
    struct mf_error own;
    struct attendance *a = attend_of(sandbox);
    err = err ? err : &own;
    error_clear(err);
    if (!a)
        return error_set(err, MF_E_STATE, sandbox->attendance && sandbox->attendance == mine
                                              ? "not possible inside of a call"
                                              : "the sandbox is not attentive");
    unsigned ticket = turn_take(&a->turn, a->spinners);
    pthread_mutex_lock(&a->core);
    int rc = check_open(a, err);
    bool open = rc == 0;
    if (open)
        rc = do_on_attendant(a, stop_here, NULL, err);
    /* Whatever else ended the guest meanwhile is no failure of this function. */
    if (open && a->failed && a->failure.code == MF_E_PROTOCOL)
        rc = take_failure(a, err);
    pthread_mutex_unlock(&a->core);
    if (open)
        stop_attendant(a);
    turn_give(&a->turn, ticket);
    return rc;
}

void attend_fini(struct mf_sandbox *sandbox)
{
    struct attendance *a = sandbox->attendance;
    if (!a)
        return;
    atomic_store(&a->destroying, true);
    if (atomic_load(&a->active))
        limits_stop(&sandbox->limits, STOP_DESTROY);
    unsigned ticket = turn_take(&a->turn, a->spinners);
    if (atomic_load(&a->active)) {
        /* The one before may have been taken by the call in flight. */
        limits_stop(&sandbox->limits, STOP_DESTROY);
        stop_attendant(a);
    }
    turn_drain(&a->turn, ticket);
    pthread_cond_destroy(&a->wake);
    pthread_cond_destroy(&a->out);
    pthread_mutex_destroy(&a->core);
    free(a);
    sandbox->attendance = NULL;
}
