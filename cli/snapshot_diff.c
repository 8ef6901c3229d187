/*
 * mayfly snapshot diff: which pages of guest memory differ between two snapshots, and by how
 * much. For who wants to know why a snapshot is as large as it is.
 */
#include "snapfile.h"
#include "snapshot.h"
#include "text.h"
#include "units.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PAGE_BYTES 4096

/* Where a guest sees a page of its memory; `area` is NULL where it does not. */
struct place {
    uint64_t address;
    const char *area;
};

/* The places of all pages of one snapshot. */
struct places {
    struct place *place;
    uint64_t npages;
};

struct diff {
    const struct cli_options *options;
    struct mf_snapshot *a, *b;
    struct places in_a, in_b;
    json_t *pages;       /* with --json */
    bool headed;         /* the line above the columns was printed */
    uint64_t bytes;      /* that differ */
    uint64_t new_pages;  /* zero in A */
    uint64_t gone_pages; /* zero in B */
};

static bool is_zero(const uint8_t *page)
{
    return page[0] == 0 && memcmp(page, page + 1, PAGE_BYTES - 1) == 0;
}

static unsigned count_differing(const uint8_t *a, const uint8_t *b)
{
    unsigned n = 0;

    for (size_t i = 0; i < PAGE_BYTES; i++)
        n += a[i] != b[i];
    return n;
}

static void note_place(void *context, uint64_t address, uint64_t page, const char *area)
{
    struct places *places = context;

    /* A page of the mailbox is seen twice; one address is enough. */
    if (page < places->npages && places->place[page].area == NULL)
        places->place[page] = (struct place){.address = address, .area = area};
}

static int find_places(const struct mf_snapshot *snapshot, struct places *places,
                       struct mf_error *err)
{
    struct mf_snapshot_info info = {.size = sizeof info};

    mf_snapshot_get_info(snapshot, &info);
    places->npages = info.memory_bytes / PAGE_BYTES;
    places->place = calloc(places->npages, sizeof *places->place);
    if (places->place == NULL)
        return mf_fail(err, MF_E_NO_MEMORY, "out of memory");
    return mf_snapshot_each_page(snapshot, note_place, places, err) < 0 ? err->code : MF_OK;
}

/* Where it is in B, or was in A. What nobody sees are page tables, or free pages. */
static struct place place_of(const struct diff *diff, uint64_t page)
{
    struct place place = diff->in_b.place[page];

    return place.area != NULL ? place : diff->in_a.place[page];
}

static void print_page(const struct place *place, uint64_t page, unsigned bytes, const char *what)
{
    printf("  0x%010" PRIx64 "  ", page * PAGE_BYTES);
    if (place->area != NULL)
        printf("0x%012" PRIx64 "  %-7s", place->address, place->area);
    else
        printf("%-14s  %-7s", "-", "-");
    printf("  %5u  %s\n", bytes, what);
}

static void take_page(void *context, uint64_t page, const void *in_a, const void *in_b)
{
    struct diff *diff = context;
    unsigned bytes = count_differing(in_a, in_b);
    const char *what = "changed";

    if (is_zero(in_a)) {
        what = "new";
        diff->new_pages++;
    } else if (is_zero(in_b)) {
        what = "zeroed";
        diff->gone_pages++;
    }
    diff->bytes += bytes;
    struct place place = place_of(diff, page);
    if (!diff->options->json) {
        if (!diff->headed)
            printf("  %-12s  %-14s  %-7s  %s\n", "guest page", "address", "area", "bytes");
        diff->headed = true;
        print_page(&place, page, bytes, what);
        return;
    }
    json_t *address =
        place.area != NULL ? json_integer((json_int_t)place.address) : json_null();
    json_array_append_new(diff->pages, json_pack("{s:I, s:o, s:s?, s:i, s:s}", "page",
                                                 (json_int_t)page, "address", address, "area",
                                                 place.area, "bytes", (int)bytes, "change", what));
}

static json_t *side_json(const char *path, const struct mf_snapshot *snapshot)
{
    json_t *object = snapshot_json(snapshot);

    json_object_set_new(object, "file", report_text_json(path));
    return object;
}

static int print_json(struct diff *diff, int64_t differ)
{
    char **path = diff->options->operands;
    json_t *object =
        json_pack("{s:o, s:o, s:I, s:I, s:I, s:I, s:O}", "a", side_json(path[0], diff->a), "b",
                  side_json(path[1], diff->b), "differing_pages", (json_int_t)differ, "new_pages",
                  (json_int_t)diff->new_pages, "zeroed_pages", (json_int_t)diff->gone_pages,
                  "differing_bytes", (json_int_t)diff->bytes, "pages", diff->pages);

    return report_print_json(object, differ == 0 ? CLI_OK : CLI_FAILED);
}

static void print_summary(const struct diff *diff, int64_t differ)
{
    struct mf_snapshot_info a = {.size = sizeof a}, b = {.size = sizeof b};
    char size[32];

    mf_snapshot_get_info(diff->a, &a);
    mf_snapshot_get_info(diff->b, &b);
    units_format_size((uint64_t)differ * PAGE_BYTES, size, sizeof size);
    printf("%" PRId64 " pages differ (%s), in %" PRIu64 " bytes; %" PRIu64 " of them new, %" PRIu64
           " zeroed. Pages not zero: %" PRIu64 " and %" PRIu64 ".\n",
           differ, size, diff->bytes, diff->new_pages, diff->gone_pages, a.pages, b.pages);
}

/* Both are open. */
static int compare(const char *name, struct diff *diff)
{
    struct mf_error err = {0};
    bool json = diff->options->json;

    if (find_places(diff->a, &diff->in_a, &err) != MF_OK ||
        find_places(diff->b, &diff->in_b, &err) != MF_OK)
        return cli_library_error(name, json, &err);
    int64_t differ = mf_snapshot_diff(diff->a, diff->b, take_page, diff, &err);
    if (differ < 0)
        return cli_library_error(name, json, &err);
    if (json)
        return print_json(diff, differ);
    print_summary(diff, differ);
    return cli_finish(differ == 0 ? CLI_OK : CLI_FAILED);
}

int snapshot_diff(const char *name, struct cli_options *options)
{
    struct diff diff = {.options = options};
    struct mf_error err = {0};
    int status;

    if (options->noperands != 2)
        return cli_usage_error(name, options->json, "which two files?");
    if (options->json)
        diff.pages = json_array();
    if (snapfile_open(options->operands[0], options, &diff.a, &err) != MF_OK ||
        snapfile_open(options->operands[1], options, &diff.b, &err) != MF_OK)
        status = cli_library_error(name, options->json, &err);
    else
        status = compare(name, &diff);
    free(diff.in_a.place);
    free(diff.in_b.place);
    mf_snapshot_close(diff.a);
    mf_snapshot_close(diff.b);
    json_decref(diff.pages);
    return status;
}
