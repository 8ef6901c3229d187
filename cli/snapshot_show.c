/*
 * What a snapshot file holds, for people and for programs: where its guest is, how much of
 * it there is, what it stands on, and the program in it.
 */
#include "inspect.h"
#include "snapfile.h"
#include "snapshot.h"
#include "text.h"
#include "units.h"

#include <inttypes.h>
#include <stdio.h>
#include <time.h>

/* Bits of cpu_components. */
static const char *const components[] = {"x87", "sse", "avx"};

#define NCOMPONENTS (sizeof components / sizeof components[0])

static json_t *components_json(uint64_t bits)
{
    json_t *array = json_array();

    for (size_t i = 0; i < NCOMPONENTS; i++) {
        if (bits >> i & 1)
            json_array_append_new(array, json_string(components[i]));
    }
    return array;
}

/* The digest, or null. */
static json_t *digest_json(const struct mf_snapshot *snapshot)
{
    char digest[SNAPFILE_DIGEST_TEXT];

    snapfile_digest(snapshot, digest);
    return digest[0] != 0 ? json_string(digest) : json_null();
}

json_t *snapshot_json(const struct mf_snapshot *snapshot)
{
    struct mf_snapshot_info info = {.size = sizeof info};
    json_t *parents = json_array();

    mf_snapshot_get_info(snapshot, &info);
    for (const struct mf_snapshot *s = mf_snapshot_parent(snapshot); s != NULL;
         s = mf_snapshot_parent(s))
        json_array_append_new(parents, digest_json(s));
    return json_pack("{s:o, s:s, s:o, s:I, s:s, s:I, s:I, s:I, s:o}", "digest",
                     digest_json(snapshot), "frozen_in", snapfile_stopped_name(info.stopped),
                     "parents", parents, "taken_unix_ns", (json_int_t)info.taken_unix_ns,
                     "backend", mf_backend_name(info.backend), "memory_bytes",
                     (json_int_t)info.memory_bytes, "pages", (json_int_t)info.pages, "own_pages",
                     (json_int_t)info.own_pages, "cpu_state",
                     components_json(info.cpu_components));
}

static int show_json(const char *path, const struct mf_snapshot_file_info *head,
                     const struct mf_snapshot *snapshot)
{
    json_t *object = snapshot_json(snapshot);
    char version[24];

    snprintf(version, sizeof version, "%u.%u", head->version >> 16, head->version & 0xffff);
    json_object_set_new(object, "file", report_text_json(path));
    json_object_set_new(object, "file_bytes", json_integer((json_int_t)head->file_bytes));
    json_object_set_new(object, "format", json_string(version));
    json_object_set_new(object, "written_by", report_text_json(head->tool));
    json_object_set_new(object, "compressed", json_boolean(head->compressed));
    json_object_set_new(object, "stored_pages", json_integer((json_int_t)head->stored_pages));
    json_object_set_new(object, "program", inspect_image_json(mf_snapshot_image(snapshot)));
    return report_print_json(object, CLI_OK);
}

static void print_time(uint64_t unix_ns)
{
    time_t seconds = (time_t)(unix_ns / 1000000000);
    struct tm parts;
    char text[64];

    if (gmtime_r(&seconds, &parts) != NULL &&
        strftime(text, sizeof text, "%Y-%m-%d %H:%M:%S UTC", &parts) > 0)
        fputs(text, stdout);
    else
        printf("%" PRIu64 " ns after 1970", unix_ns);
}

static void print_parents(const struct mf_snapshot *snapshot)
{
    const struct mf_snapshot *s = mf_snapshot_parent(snapshot);
    const char *title = "parent";

    for (; s != NULL; s = mf_snapshot_parent(s)) {
        char digest[SNAPFILE_DIGEST_TEXT];
        snapfile_digest(s, digest);
        printf("  %-8s %s\n", title, digest);
        title = "";
    }
}

static void print_summary(const char *path, const struct mf_snapshot_file_info *head,
                          const struct mf_snapshot *snapshot)
{
    struct mf_snapshot_info info = {.size = sizeof info};
    char digest[SNAPFILE_DIGEST_TEXT], memory[32], held[32], file[32];

    mf_snapshot_get_info(snapshot, &info);
    snapfile_digest(snapshot, digest);
    units_format_size(info.memory_bytes, memory, sizeof memory);
    units_format_size(info.pages * 4096, held, sizeof held);
    units_format_size(head->file_bytes, file, sizeof file);
    text_print_line_safe(stdout, path);
    printf("\n  kind     snapshot, %s\n", snapfile_stopped_text(info.stopped));
    printf("  digest   %s\n", digest);
    print_parents(snapshot);
    printf("  file     %s%s with %" PRIu64 " pages, format %u.%u, written by ", file,
           head->compressed ? ", compressed," : "", head->stored_pages, head->version >> 16,
           head->version & 0xffff);
    text_print_line_safe(stdout, head->tool);
    putchar('\n');
    fputs("  taken    ", stdout);
    print_time(info.taken_unix_ns);
    printf(", on %s\n", mf_backend_name(info.backend));
    printf("  memory   %s, of it %" PRIu64 " pages (%s) not zero", memory, info.pages, held);
    if (info.depth > 0)
        printf(", %" PRIu64 " changed since the parent", info.own_pages);
    fputs("\n  CPU      state in use:", stdout);
    for (size_t i = 0; i < NCOMPONENTS; i++) {
        if (info.cpu_components >> i & 1)
            printf(" %s", components[i]);
    }
    printf("%s\n\nProgram: ", info.cpu_components == 0 ? " general registers only" : "");
}

int snapshot_show(const char *name, const char *path, const struct cli_options *options)
{
    struct mf_error err = {0};
    struct mf_snapshot *snapshot;
    struct mf_snapshot_file_info head = {.size = sizeof head};
    int status;

    if (mf_snapshot_get_file_info(path, &head, &err) != MF_OK ||
        snapfile_open(path, options, &snapshot, &err) != MF_OK)
        return cli_library_error(name, options->json, &err);
    if (options->json) {
        status = show_json(path, &head, snapshot);
    } else {
        print_summary(path, &head, snapshot);
        inspect_print_image(mf_snapshot_image(snapshot));
        status = cli_finish(CLI_OK);
    }
    mf_snapshot_close(snapshot);
    return status;
}
