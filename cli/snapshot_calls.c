/*
 * --call 'FUNCTION ARG...': one word of the command line that is split again, as a shell
 * does. All of them are read before a VM is made: a slip in the last one costs nothing.
 */
#include "snapshot_calls.h"
#include "call_lines.h"
#include "values.h"

#include <stdlib.h>
#include <string.h>

struct snapshot_call {
    char *text; /* what the words point into */
    char **words;
    size_t index;
    struct values values;
};

static bool reads_input(const struct snapshot_call *call)
{
    for (char **word = call->words + 1; *word != NULL; word++) {
        if (strcmp(*word, "@-") == 0)
            return true;
    }
    return false;
}

static int parse_call(struct guest *guest, const char *text, struct snapshot_call *call)
{
    struct mf_error *err = &guest->err;
    const char *why;

    call->text = strdup(text);
    if (call->text == NULL)
        return mf_fail(err, MF_E_NO_MEMORY, "out of memory");
    int nwords = call_lines_split(call->text, &call->words, &why);
    if (nwords < 0) {
        call->words = NULL;
        return mf_fail(err, MF_E_ARGUMENT, "--call: '%.120s' %s", text, why);
    }
    if (nwords == 0)
        return mf_fail(err, MF_E_ARGUMENT, "--call: which function? ('%.60s' names none)", text);
    int index = mf_image_find_export(guest->image, call->words[0], err);
    if (index < 0)
        return index;
    call->index = (size_t)index;
    return values_parse(mf_image_export(guest->image, call->index), call->words + 1,
                        (size_t)nwords - 1, &call->values, err);
}

int snapshot_calls_parse(struct guest *guest, struct snapshot_calls *calls)
{
    const struct cli_options *options = guest->options;
    bool input_taken = false;

    *calls = (struct snapshot_calls){0};
    if (options->ncalls == 0)
        return MF_OK;
    calls->call = calloc(options->ncalls, sizeof *calls->call);
    if (calls->call == NULL)
        return mf_fail(&guest->err, MF_E_NO_MEMORY, "out of memory");
    for (size_t i = 0; i < options->ncalls; i++) {
        struct snapshot_call *call = &calls->call[i];
        calls->n = i + 1;
        int status = parse_call(guest, options->calls[i], call);
        if (status != MF_OK)
            return status;
        if (reads_input(call) && input_taken)
            return mf_fail(&guest->err, MF_E_TYPE, "--call: only one of them can have @-");
        input_taken |= reads_input(call);
        calls->bytes += call->values.bytes;
    }
    return MF_OK;
}

void snapshot_calls_fini(struct snapshot_calls *calls)
{
    for (size_t i = 0; i < calls->n; i++) {
        values_fini(&calls->call[i].values);
        free(calls->call[i].words);
        free(calls->call[i].text);
    }
    free(calls->call);
    *calls = (struct snapshot_calls){0};
}

int snapshot_calls_make(struct guest *guest, const struct snapshot_calls *calls, size_t i,
                        json_t *results)
{
    const struct snapshot_call *call = &calls->call[i];
    struct mf_value result = mf_void();

    uint64_t begin = guest_begin_phase(guest);
    int status = mf_sandbox_call_index(guest->sandbox, call->index, call->values.value,
                                       call->values.n, &result, &guest->err);
    guest->times.run += guest_end_phase(guest, begin);
    if (status == MF_OK && results != NULL)
        json_array_append_new(results, json_pack("{s:s, s:o, s:s}", "function", call->words[0],
                                                 "result", values_json(&result), "type",
                                                 mf_type_name(result.type)));
    return status;
}
