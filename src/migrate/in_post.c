/*
 * The receiver's side of a post-copy: the guest runs while pages are still missing.
 *
 * Theory of operation. Memory is registered with userfaultfd: whoever touches a page that is not
 * there (the guest, the emulator, this library on the guest's behalf) waits in the kernel
 * until it is put there. One thread reads those waits and asks the source for the page,
 * another takes what comes in and puts it there, which wakes who waits. A bitmap says which
 * pages are still to come; others that are not there are zeros.
 *
 * When the source is lost, the guest cannot go on: it is stopped (STOP_LOST) before the waits
 * are ended, so that nothing that it would do with the wrong bytes gets out.
 */
#include "base/checked.h"
#include "base/error.h"
#include "mem/pagetable.h"
#include "migrate/in.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

struct in_post {
    struct arrival arrival; /* first: what the sandbox knows of us */
    struct in *in;
    int fd;      /* userfaultfd */
    int wake_fd; /* ends the thread that reads it */
    _Atomic uint64_t *missing;
    size_t words;
    uint64_t left; /* pages that are missing; the page thread's */
    atomic_bool stop;
    pthread_mutex_t send_lock; /* two threads send */
    pthread_t pages, faults;
    bool has_faults;
    struct mf_error err;
};

/* ---- userfaultfd ---- */

static int open_userfaultfd(void)
{
    struct uffdio_api api = {.api = UFFD_API};
    int fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return -1;
    if (ioctl(fd, UFFDIO_API, &api) == 0)
        return fd;
    close(fd);
    return -1;
}

bool in_post_possible(void)
{
    int fd = open_userfaultfd();
    if (fd >= 0)
        close(fd);
    return fd >= 0 && sysconf(_SC_PAGESIZE) == (long)PAGE_BYTES;
}

/* Zeros to a page that is not there; one that has come meanwhile wakes who waits as well. */
static void put_zero(struct in_post *post, uint64_t at)
{
    struct uffdio_zeropage zero = {.range = {.start = at, .len = PAGE_BYTES}};
    struct uffdio_range range = zero.range;
    if (ioctl(post->fd, UFFDIO_ZEROPAGE, &zero) != 0)
        ioctl(post->fd, UFFDIO_WAKE, &range);
}

static bool is_missing(struct in_post *post, uint64_t page)
{
    return atomic_load(&post->missing[page / 64]) >> (page % 64) & 1;
}

/* ---- who waits ---- */

static void answer_fault(struct in_post *post, uint64_t address)
{
    uint64_t at = round_down_u64(address, PAGE_BYTES);
    uint64_t page = (at - (uintptr_t)post->in->sandbox->mem.base) >> PAGE_SHIFT;
    struct mf_error ignored;
    if (!is_missing(post, page)) {
        put_zero(post, at);
        return;
    }
    error_clear(&ignored);
    pthread_mutex_lock(&post->send_lock);
    wire_send(&post->in->wire, WIRE_REQUEST, &page, sizeof page, &ignored);
    pthread_mutex_unlock(&post->send_lock);
}

static void *read_faults(void *argument)
{
    struct in_post *post = argument;
    struct pollfd fds[] = {{.fd = post->fd, .events = POLLIN},
                           {.fd = post->wake_fd, .events = POLLIN}};
    while (!atomic_load(&post->stop)) {
        struct uffd_msg message;
        if (poll(fds, ARRAY_LEN(fds), -1) < 0 && errno != EINTR)
            break;
        while (read(post->fd, &message, sizeof message) == (ssize_t)sizeof message)
            if (message.event == UFFD_EVENT_PAGEFAULT)
                answer_fault(post, message.arg.pagefault.address);
    }
    return NULL;
}

/* ---- what comes in ---- */

static int put_awaited(struct in *in, uint32_t page, const uint8_t *contents)
{
    struct in_post *post = in->post;
    uint64_t at = (uintptr_t)in->sandbox->mem.base + ((uint64_t)page << PAGE_SHIFT);
    uint64_t bit = UINT64_C(1) << (page % 64);
    /* What the guest has, it may have changed since. */
    if (!is_missing(post, page))
        return 0;
    if (contents) {
        struct uffdio_copy copy = {.dst = at, .src = (uintptr_t)contents, .len = PAGE_BYTES};
        if (ioctl(post->fd, UFFDIO_COPY, &copy) != 0)
            return error_set_errno(in->err, MF_E_SYSTEM, errno, "cannot put a page to its place");
    }
    atomic_fetch_and(&post->missing[page / 64], ~bit);
    if (!contents)
        put_zero(post, at);
    post->left--;
    return 0;
}

static int answer_round(struct in_post *post, const struct wire_frame *frame)
{
    struct in *in = post->in;
    uint64_t round;
    if (frame->bytes != sizeof round)
        return error_set(in->err, MF_E_PEER, "the peer sent a round without a number");
    memcpy(&round, frame->data, sizeof round);
    pthread_mutex_lock(&post->send_lock);
    int rc = wire_send(&in->wire, WIRE_ROUND_DONE, &round, sizeof round, in->err);
    pthread_mutex_unlock(&post->send_lock);
    return rc;
}

static int fetch(struct in_post *post)
{
    struct in *in = post->in;
    char text[16];
    int rc = 0;
    while (rc == 0 && post->left > 0) {
        struct wire_frame frame;
        rc = wire_receive(&in->wire, &frame, in->err);
        if (rc != 0)
            return rc;
        if (frame.type == WIRE_PAGES)
            rc = in_pages(in, &frame, put_awaited);
        else if (frame.type == WIRE_ROUND)
            rc = answer_round(post, &frame);
        else
            rc = error_set(in->err, MF_E_PEER, "the peer sent %s during a post-copy",
                           wire_type_name(frame.type, text));
    }
    return rc;
}

/* Nobody waits any more, whatever is there. */
static void unregister_memory(struct in_post *post)
{
    const struct mem *mem = &post->in->sandbox->mem;
    struct uffdio_range range = {.start = (uintptr_t)mem->base, .len = mem->bytes};
    ioctl(post->fd, UFFDIO_UNREGISTER, &range);
}

static int poll_stop(void *context)
{
    struct in_post *post = context;
    return atomic_load(&post->stop);
}

static void *take_pages(void *argument)
{
    struct in_post *post = argument;
    struct in *in = post->in;
    struct mf_error ignored;
    int rc = fetch(post);
    error_clear(&ignored);
    if (rc == 0) {
        unregister_memory(post);
        pthread_mutex_lock(&post->send_lock);
        wire_send(&in->wire, WIRE_COMPLETE, NULL, 0, &ignored);
        pthread_mutex_unlock(&post->send_lock);
        arrival_finish(&post->arrival, in->sandbox, false);
    } else {
        /* The guest is stopped before those who wait for its pages are let go. */
        arrival_finish(&post->arrival, in->sandbox, true);
        unregister_memory(post);
    }
    return NULL;
}

/* ---- beginning and end ---- */

static void stop_faults(struct in_post *post)
{
    uint64_t one = 1;
    atomic_store(&post->stop, true);
    if (!post->has_faults)
        return;
    if (write(post->wake_fd, &one, sizeof one) == (ssize_t)sizeof one)
        pthread_join(post->faults, NULL);
    post->has_faults = false;
}

/* The sandbox is destroyed. */
static void end_arrival(struct arrival *arrival)
{
    struct in_post *post = (struct in_post *)arrival;
    atomic_store(&post->stop, true);
    pthread_join(post->pages, NULL);
    stop_faults(post);
    in_free(post->in);
}

void in_post_free(struct in_post *post)
{
    if (!post)
        return;
    if (post->fd >= 0)
        close(post->fd);
    if (post->wake_fd >= 0)
        close(post->wake_fd);
    pthread_mutex_destroy(&post->send_lock);
    arrival_fini(&post->arrival);
    free(post->missing);
    free(post);
}

static int receive_missing(struct in *in, struct in_post *post)
{
    uint64_t npages = in->offer.memory_bytes >> PAGE_SHIFT;
    for (uint64_t first = 0; first < post->words; first += WIRE_MISSING_WORDS) {
        uint64_t n = MIN(post->words - first, (uint64_t)WIRE_MISSING_WORDS);
        struct wire_missing head;
        struct wire_frame frame;
        int rc = wire_expect(&in->wire, WIRE_MISSING, sizeof head + n * 8, &frame, in->err);
        if (rc != 0)
            return rc;
        memcpy(&head, frame.data, sizeof head);
        if (head.first_word != first)
            return error_set(in->err, MF_E_PEER, "the peer names missing pages out of order");
        for (uint64_t i = 0; i < n; i++) {
            uint64_t word;
            memcpy(&word, frame.data + sizeof head + i * 8, sizeof word);
            atomic_init(&post->missing[first + i], word);
            post->left += (unsigned)__builtin_popcountll(word);
        }
    }
    if (post->left != in->state.missing ||
        (npages % 64 != 0 && atomic_load(&post->missing[npages / 64]) >> (npages % 64) != 0) ||
        (atomic_load(&post->missing[0]) & ((UINT64_C(1) << LAYOUT_PAGE_FREE) - 1)) != 0)
        return error_set(in->err, MF_E_PEER, "the peer names missing pages that cannot be");
    return 0;
}

/* What came before of pages that are going to come again goes. */
static void drop_missing(struct in *in, struct in_post *post)
{
    uint64_t npages = in->offer.memory_bytes >> PAGE_SHIFT;
    for (uint64_t page = 0; page < npages; page++) {
        uint64_t first = page;
        while (page < npages && is_missing(post, page))
            page++;
        if (page > first)
            mem_discard(&in->sandbox->mem, first << PAGE_SHIFT, (page - first) << PAGE_SHIFT);
    }
}

int in_post_prepare(struct in *in)
{
    struct in_post *post = calloc(1, sizeof *post);
    if (!post)
        return error_set(in->err, MF_E_NO_MEMORY, "cannot allocate a map of missing pages");
    in->post = post;
    post->in = in;
    post->fd = post->wake_fd = -1;
    post->words = (size_t)((in->offer.memory_bytes >> PAGE_SHIFT) + 63) / 64;
    post->missing = calloc(post->words, sizeof *post->missing);
    pthread_mutex_init(&post->send_lock, NULL);
    arrival_init(&post->arrival);
    if (!post->missing)
        return error_set(in->err, MF_E_NO_MEMORY, "cannot allocate a map of missing pages");
    int rc = receive_missing(in, post);
    if (rc != 0)
        return rc;
    post->fd = open_userfaultfd();
    post->wake_fd = eventfd(0, EFD_CLOEXEC);
    if (post->fd < 0 || post->wake_fd < 0)
        return error_set_errno(in->err, MF_E_SYSTEM, errno, "cannot open a userfaultfd");
    drop_missing(in, post);
    return 0;
}

struct tables {
    struct in_post *post;
    bool missing;
};

static void look_at_table(void *context, mf_gva gva, int level, mf_gpa table)
{
    struct tables *tables = context;
    (void)gva;
    (void)level;
    tables->missing = tables->missing || is_missing(tables->post, table >> PAGE_SHIFT);
}

/*
 * What was checked must not come again with other contents: tables, and pages that are free,
 * of which this host makes tables and believes that they are zero.
 */
static int check_missing(struct in *in)
{
    const struct mem *mem = &in->sandbox->mem;
    struct tables tables = {.post = in->post};
    pt_each_table(mem, look_at_table, &tables);
    bool missing = tables.missing;
    for (uint32_t i = 0; i < mem->nfree; i++)
        missing = missing || is_missing(in->post, mem->free[i]);
    for (uint64_t page = mem->next; page < mem->end; page++)
        missing = missing || is_missing(in->post, page);
    if (!missing)
        return 0;
    return error_set(in->err, MF_E_PEER, "the peer names missing pages that the host uses");
}

int in_post_register(struct in *in)
{
    const struct mem *mem = &in->sandbox->mem;
    struct uffdio_register range = {
        .range = {.start = (uintptr_t)mem->base, .len = mem->bytes},
        .mode = UFFDIO_REGISTER_MODE_MISSING,
    };
    int rc = check_missing(in);
    if (rc != 0)
        return rc;
    if (ioctl(in->post->fd, UFFDIO_REGISTER, &range) != 0)
        return error_set_errno(in->err, MF_E_SYSTEM, errno, "cannot wait for pages of the guest");
    /* Again: what was touched since, or filled in by the kernel, would never come. */
    drop_missing(in, in->post);
    return 0;
}

int in_post_start(struct in *in)
{
    struct in_post *post = in->post;
    /* The threads speak for themselves from now on. */
    struct mf_error *err = in->err;
    struct mf_error ignored;
    in->err = &post->err;
    in->options = NULL;
    in->wire.deadline_ns = 0;
    in->wire.poll = poll_stop;
    in->wire.poll_context = post;
    post->arrival.end = end_arrival;
    /* Nobody asks for a page before the source has heard that the guest runs. */
    pthread_mutex_lock(&post->send_lock);
    int failed = pthread_create(&post->faults, NULL, read_faults, post);
    post->has_faults = !failed;
    if (!failed)
        failed = pthread_create(&post->pages, NULL, take_pages, post);
    if (!failed) {
        in->sandbox->arrival = &post->arrival;
        error_clear(&ignored);
        wire_send(&in->wire, WIRE_RUNNING, NULL, 0, &ignored);
    }
    pthread_mutex_unlock(&post->send_lock);
    if (!failed)
        return 0;
    in->err = err;
    in->wire.poll = NULL;
    unregister_memory(post);
    stop_faults(post);
    return error_set_errno(err, MF_E_SYSTEM, failed, "cannot start a thread that fetches pages");
}
