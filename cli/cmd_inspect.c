/* mayfly inspect: what an image, or a snapshot, holds. Nothing of it is run. */
#include "inspect.h"
#include "snapfile.h"
#include "snapshot.h"
#include "text.h"
#include "units.h"

#include <inttypes.h>
#include <stdio.h>

/* Room for the longest signature that an image may hold. */
#define SIGNATURE_TEXT 8192

static json_t *signature_json(const struct mf_signature *sig)
{
    char text[SIGNATURE_TEXT];
    json_t *params = json_array();

    mf_signature_format(sig, text, sizeof text);
    for (uint32_t i = 0; i < sig->nparams; i++)
        json_array_append_new(params,
                              json_pack("{s:s, s:s}", "type", mf_type_name(sig->params[i].type),
                                        "name", sig->params[i].name));
    return json_pack("{s:s, s:s, s:s, s:o}", "name", sig->name, "signature", text, "result",
                     mf_type_name(sig->result), "params", params);
}

typedef const struct mf_signature *signature_at(const struct mf_image *image, size_t index);

static json_t *signatures_json(const struct mf_image *image, size_t n, signature_at *at)
{
    json_t *array = json_array();

    for (size_t i = 0; i < n; i++)
        json_array_append_new(array, signature_json(at(image, i)));
    return array;
}

static json_t *segments_json(const struct mf_image *image, size_t n)
{
    json_t *array = json_array();

    for (size_t i = 0; i < n; i++) {
        const struct mf_segment *s = mf_image_segment(image, i);
        json_array_append_new(
            array, json_pack("{s:I, s:I, s:I, s:I, s:b, s:b, s:b}", "address",
                             (json_int_t)s->address, "memory_bytes", (json_int_t)s->memory_bytes,
                             "file_offset", (json_int_t)s->file_offset, "file_bytes",
                             (json_int_t)s->file_bytes, "readable", s->readable, "writable",
                             s->writable, "executable", s->executable));
    }
    return array;
}

static json_t *abi_json(const struct mf_image_info *info)
{
    char version[24], min_version[24];

    if (!info->has_note)
        return json_null();
    snprintf(version, sizeof version, "%u.%u", info->abi_version >> 16, info->abi_version & 0xffff);
    snprintf(min_version, sizeof min_version, "%u.%u", info->abi_min_version >> 16,
             info->abi_min_version & 0xffff);
    return json_pack("{s:s, s:s, s:I}", "version", version, "min_version", min_version, "features",
                     (json_int_t)info->abi_features);
}

json_t *inspect_image_json(const struct mf_image *image)
{
    struct mf_image_info all, *info = &all;

    mf_image_get_info(image, info);
    return json_pack(
        "{s:o, s:I, s:I, s:I, s:I, s:b, s:I, s:o, s:o, s:o, s:o}", "name",
        report_text_json(info->name), "file_bytes", (json_int_t)info->file_bytes, "load_bytes",
        (json_int_t)info->load_bytes, "memory_bytes", (json_int_t)info->memory_bytes, "entry",
        (json_int_t)info->entry, "static_pie", info->position_independent, "symbols",
        (json_int_t)info->nsymbols, "abi", abi_json(info), "segments",
        segments_json(image, info->nsegments), "exports",
        signatures_json(image, info->nexports, mf_image_export), "imports",
        signatures_json(image, info->nimports, mf_image_import));
}

static void print_summary(const struct mf_image_info *info)
{
    char file[32], load[32], memory[32];

    units_format_size(info->file_bytes, file, sizeof file);
    units_format_size(info->load_bytes, load, sizeof load);
    units_format_size(info->memory_bytes, memory, sizeof memory);
    text_print_line_safe(stdout, info->name);
    printf("\n  kind     static x86-64 program, %s\n",
           info->position_independent ? "position-independent (static-pie)" : "fixed addresses");
    printf("  file     %s, %zu symbols\n", file, info->nsymbols);
    printf("  memory   %s loaded; needs at least %s\n", load, memory);
    printf("  entry    0x%" PRIx64 "\n", info->entry);
    if (!info->has_note) {
        printf("  ABI      none: built without the guest SDK\n");
        return;
    }
    printf("  ABI      %u.%u, works with hosts from %u.%u on", info->abi_version >> 16,
           info->abi_version & 0xffff, info->abi_min_version >> 16, info->abi_min_version & 0xffff);
    if (info->abi_features != 0)
        printf(", needs the features 0x%" PRIx64, info->abi_features);
    putchar('\n');
}

static void print_segments(const struct mf_image *image, size_t n)
{
    printf("\nSegments:\n  %-18s  %10s  %10s  rights\n", "address", "memory", "file");
    for (size_t i = 0; i < n; i++) {
        const struct mf_segment *s = mf_image_segment(image, i);
        printf("  0x%016" PRIx64 "  %10" PRIu64 "  %10" PRIu64 "  %c%c%c\n", s->address,
               s->memory_bytes, s->file_bytes, s->readable ? 'r' : '-', s->writable ? 'w' : '-',
               s->executable ? 'x' : '-');
    }
}

static void print_signatures(const char *title, const struct mf_image *image, size_t n,
                             signature_at *at)
{
    char text[SIGNATURE_TEXT];

    printf("\n%s:%s\n", title, n == 0 ? " none" : "");
    for (size_t i = 0; i < n; i++) {
        mf_signature_format(at(image, i), text, sizeof text);
        fputs("  ", stdout);
        text_print_line_safe(stdout, text);
        fputc('\n', stdout);
    }
}

void inspect_print_image(const struct mf_image *image)
{
    struct mf_image_info info;

    mf_image_get_info(image, &info);
    print_summary(&info);
    print_segments(image, info.nsegments);
    print_signatures("Exported functions", image, info.nexports, mf_image_export);
    print_signatures("Host functions that it needs", image, info.nimports, mf_image_import);
}

static int inspect(const char *path, const struct cli_options *options)
{
    struct mf_error err = {0};
    struct mf_image *image;

    if (snapfile_recognise(path))
        return snapshot_show("inspect", path, options);
    if (mf_image_open(path, &image, &err) != MF_OK)
        return cli_library_error("inspect", options->json, &err);
    int status;
    if (options->json) {
        status = report_print_json(inspect_image_json(image), CLI_OK);
    } else {
        inspect_print_image(image);
        status = cli_finish(CLI_OK);
    }
    mf_image_close(image);
    return status;
}

int cmd_inspect(int argc, char **argv)
{
    struct cli_options options;
    int status = cli_options_parse(argc, argv, &options);

    if (status == CLI_GO_ON && options.noperands != 1)
        status = cli_usage_error("inspect", options.json,
                                 options.noperands == 0 ? "which image?" : "one image at a time");
    if (status == CLI_GO_ON)
        status = inspect(options.operands[0], &options);
    cli_options_fini(&options);
    return status;
}
