/*
 * Which pages the guest wrote, and forgetting translations after memory was replaced.
 *
 * The kernel's dirty log of memory slot 0 does the work. With
 * KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2 reading it changes nothing, and a page is watched
 * again only when KVM_CLEAR_DIRTY_LOG names it. So a page that every call writes is never
 * cleaned and costs the guest nothing; and since reading costs little more than a system
 * call, whole calls are cheap to undo.
 *
 * KVM_DIRTY_LOG_INITIALLY_SET is not used: it makes starting cheaper, but all pages are
 * dirty then, and cleaning them costs what was saved.
 *
 * Older kernels (before 5.0) forget the log when it is read, and watch all of its pages
 * again. What was read is kept in a bitmap of our own (`sticky`) until it is cleaned. It
 * also keeps the log when the memory slot has to be made anew.
 */
#include "vm/kvm/kvm.h"

#include "base/checked.h"
#include "base/error.h"

#include <errno.h>
#include <linux/kvm.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

#define WORD_PAGES 64
/* Words without a bit that are sooner passed to the kernel than made the end of a range. */
#define WORDS_GAP 1024

static size_t word_count(const struct kvm_vm *kvm)
{
    uint64_t pages = kvm->vm.mem->bytes >> PAGE_SHIFT;
    return (size_t)((pages + WORD_PAGES - 1) / WORD_PAGES);
}

/* Bits of word `i` that stand for pages. */
static uint64_t valid_bits(const struct kvm_vm *kvm, size_t i)
{
    uint64_t pages = (kvm->vm.mem->bytes >> PAGE_SHIFT) - (uint64_t)i * WORD_PAGES;
    return pages >= WORD_PAGES ? UINT64_MAX : (UINT64_C(1) << pages) - 1;
}

/* Reads the kernel's log into kvm->dirty_log. */
static int read_log(struct kvm_vm *kvm)
{
    struct kvm_dirty_log log = {.slot = 0, .dirty_bitmap = kvm->dirty_log};
    return ioctl(kvm->vm_fd, KVM_GET_DIRTY_LOG, &log);
}

static int log_error(struct mf_error *err, const char *what)
{
    return error_set_errno(err, errno == ENOMEM ? MF_E_NO_MEMORY : MF_E_SYSTEM, errno,
                           "KVM cannot %s the log of written pages", what);
}

/* Moves what the kernel logged to the sticky bitmap; when it does not tell, that is everything. */
static void keep_log(struct kvm_vm *kvm)
{
    if (!kvm->dirty_on)
        return;
    bool known = read_log(kvm) == 0;
    for (size_t i = 0; i < word_count(kvm); i++)
        kvm->dirty_sticky[i] |= known ? kvm->dirty_log[i] : valid_bits(kvm, i);
}

int kvm_dirty_collect(struct vm *vm, uint64_t *bitmap, struct mf_error *err)
{
    struct kvm_vm *kvm = (struct kvm_vm *)vm;
    uint64_t *sticky = kvm->dirty_sticky;
    if (read_log(kvm) != 0)
        return log_error(err, "read");
    size_t words = word_count(kvm);
    if (!kvm->dirty_manual)
        for (size_t i = 0; i < words; i++)
            sticky[i] |= kvm->dirty_log[i];
    for (size_t i = 0; i < words; i++)
        bitmap[i] |= sticky[i] | kvm->dirty_log[i];
    return 0;
}

/*
 * Cleans words `first` to `end` - 1 of the kernel's log. A range that ends in the middle
 * of a word is allowed at the end of the slot alone.
 */
static int clear_range(struct kvm_vm *kvm, const uint64_t *bitmap, size_t first, size_t end)
{
    uint64_t pages = kvm->vm.mem->bytes >> PAGE_SHIFT;
    struct kvm_clear_dirty_log log = {
        .slot = 0,
        .first_page = (uint64_t)first * WORD_PAGES,
        .num_pages = (uint32_t)(MIN((uint64_t)end * WORD_PAGES, pages) -
                                (uint64_t)first * WORD_PAGES),
        .dirty_bitmap = (void *)(uintptr_t)(bitmap + first),
    };
    return ioctl(kvm->vm_fd, KVM_CLEAR_DIRTY_LOG, &log);
}

/* From the first word with a bit to the last, but for long gaps. */
static int clear_log(struct kvm_vm *kvm, const uint64_t *bitmap)
{
    size_t words = word_count(kvm), first = 0, end = 0;
    for (size_t i = 0; i < words; i++) {
        if (bitmap[i] == 0)
            continue;
        if (end > 0 && i - end > WORDS_GAP) {
            if (clear_range(kvm, bitmap, first, end) != 0)
                return -1;
            end = 0;
        }
        if (end == 0)
            first = i;
        end = i + 1;
    }
    return end > 0 ? clear_range(kvm, bitmap, first, end) : 0;
}

static int allocate(struct kvm_vm *kvm, struct mf_error *err)
{
    if (kvm->dirty_sticky)
        return 0;
    kvm->dirty_sticky = calloc(word_count(kvm), sizeof *kvm->dirty_sticky);
    kvm->dirty_log = calloc(word_count(kvm), sizeof *kvm->dirty_log);
    if (kvm->dirty_sticky && kvm->dirty_log)
        return 0;
    kvm_dirty_fini(kvm);
    return error_set(err, MF_E_NO_MEMORY, "cannot allocate the log of written pages");
}

/* Tracking goes on, from now. */
static int restart(struct kvm_vm *kvm, struct mf_error *err)
{
    size_t bytes = word_count(kvm) * sizeof *kvm->dirty_log;
    memset(kvm->dirty_log, 0xff, bytes);
    /* An old kernel begins anew by itself when its log is read. */
    if ((kvm->dirty_manual ? clear_log(kvm, kvm->dirty_log) : read_log(kvm)) != 0)
        return log_error(err, "clear");
    memset(kvm->dirty_sticky, 0, bytes);
    return 0;
}

int kvm_dirty_start(struct vm *vm, struct mf_error *err)
{
    struct kvm_vm *kvm = (struct kvm_vm *)vm;
    struct kvm_enable_cap manual = {
        .cap = KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2,
        .args = {KVM_DIRTY_LOG_MANUAL_PROTECT_ENABLE},
    };
    int rc = allocate(kvm, err);
    if (rc != 0 || kvm->dirty_on)
        return rc != 0 ? rc : restart(kvm, err);
    kvm->dirty_manual = ioctl(kvm->vm_fd, KVM_ENABLE_CAP, &manual) == 0;
    kvm->dirty_on = true;
    if (kvm_set_memory_slot(kvm, vm->mem->bytes) == 0)
        return 0;
    kvm->dirty_on = false;
    return log_error(err, "start");
}

int kvm_dirty_clean(struct vm *vm, const uint64_t *bitmap, struct mf_error *err)
{
    struct kvm_vm *kvm = (struct kvm_vm *)vm;
    if (!kvm->dirty_manual)
        keep_log(kvm); /* which also makes the kernel watch its pages again */
    else if (clear_log(kvm, bitmap) != 0)
        return log_error(err, "clear");
    for (size_t i = 0; i < word_count(kvm); i++)
        kvm->dirty_sticky[i] &= ~bitmap[i];
    return 0;
}

void kvm_dirty_fini(struct kvm_vm *kvm)
{
    free(kvm->dirty_sticky);
    free(kvm->dirty_log);
    kvm->dirty_sticky = kvm->dirty_log = NULL;
}

/*
 * Drops everything that KVM knows of the memory and of the guest's tables, by taking the
 * memory slot away and putting it back. A change of the host's rights drops
 * translations only: with shadow paging the shadows of tables stay. Of a guest that was
 * never entered KVM knows nothing, and changing a slot waits for other processors.
 */
void kvm_zap_all(struct kvm_vm *kvm)
{
    if (!kvm->entered)
        return;
    keep_log(kvm);
    if (kvm_set_memory_slot(kvm, 0) != 0 ||
        kvm_set_memory_slot(kvm, kvm->vm.mem->bytes) != 0)
        kvm->broken = "KVM cannot forget the guest's old page tables";
}

void kvm_retable(struct vm *vm, const mf_gpa *stale, size_t n)
{
    struct kvm_vm *kvm = (struct kvm_vm *)vm;
    if (n == SIZE_MAX) {
        kvm_zap_all(kvm);
        return;
    }
    for (size_t i = 0, end; i < n; i = end) {
        for (end = i + 1; end < n && stale[end] == stale[end - 1] + PAGE_BYTES;)
            end++;
        kvm_zap(kvm, stale[i], (uint64_t)(end - i) * PAGE_BYTES);
    }
}
