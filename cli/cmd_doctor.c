/*
 * mayfly doctor: what this host offers, and what to do about each problem. Each
 * backend is tried with a VM of its own; the facts beside it are in facts.c.
 */
#include "cli.h"
#include "facts.h"
#include "report.h"
#include "text.h"

#include <stdio.h>
#include <string.h>

/* A backend as it was tried. */
struct tried {
    struct mf_backend_info info;
    double ms; /* how long the probe took */
};

#define NBACKENDS 2

struct diagnosis {
    struct tried backends[NBACKENDS];
    bool usable; /* at least one */
    struct facts facts;
};

static const enum mf_backend backends[NBACKENDS] = {MF_BACKEND_KVM, MF_BACKEND_SOFT};

static int probe(enum mf_backend backend, struct tried *tried, struct mf_error *err)
{
    /* The second try tells what a VM costs once everything is loaded. */
    for (int round = 0; round < 2; round++) {
        uint64_t begin = report_now();
        int status = mf_backend_probe(backend, &tried->info, err);
        double ms = (double)(report_now() - begin) / 1e6;
        if (status != MF_OK)
            return status;
        if (round == 0 || ms < tried->ms)
            tried->ms = ms;
        if (!tried->info.usable)
            break;
    }
    return MF_OK;
}

static int diagnose(struct diagnosis *diagnosis, struct mf_error *err)
{
    memset(diagnosis, 0, sizeof *diagnosis);
    for (size_t i = 0; i < NBACKENDS; i++) {
        int status = probe(backends[i], &diagnosis->backends[i], err);
        if (status != MF_OK)
            return status;
        diagnosis->usable |= diagnosis->backends[i].info.usable != 0;
    }
    const struct tried *kvm = &diagnosis->backends[0];
    facts_host(&diagnosis->facts);
    facts_kvm(&diagnosis->facts, kvm->info.usable ? kvm->ms : -1);
    facts_limits(&diagnosis->facts);
    facts_cgroup(&diagnosis->facts);
    return MF_OK;
}

static json_t *backends_json(const struct diagnosis *diagnosis)
{
    json_t *array = json_array();

    for (size_t i = 0; i < NBACKENDS; i++) {
        const struct tried *tried = &diagnosis->backends[i];
        json_array_append_new(
            array, json_pack("{s:s, s:b, s:o, s:o, s:o, s:f}", "name", tried->info.name, "usable",
                             tried->info.usable, "reason", report_text_json(tried->info.reason),
                             "advice", report_text_json(tried->info.advice), "features",
                             report_text_json(tried->info.features), "probe_ms", tried->ms));
    }
    return array;
}

static json_t *problem_json(const char *section, const char *key, const char *level,
                            const char *text, const char *advice)
{
    char about[96];

    snprintf(about, sizeof about, "%s.%s", section, key);
    return json_pack("{s:s, s:s, s:o, s:o}", "about", about, "level", level, "text",
                     report_text_json(text), "advice", report_text_json(advice));
}

static json_t *problems_json(const struct diagnosis *diagnosis)
{
    json_t *array = json_array();

    for (size_t i = 0; i < NBACKENDS; i++) {
        const struct mf_backend_info *info = &diagnosis->backends[i].info;
        if (!info->usable)
            json_array_append_new(
                array, problem_json("backends", info->name, "problem", info->reason, info->advice));
    }
    for (size_t i = 0; i < diagnosis->facts.n; i++) {
        const struct fact *fact = &diagnosis->facts.list[i];
        if (fact->level >= FACT_WARNING)
            json_array_append_new(array,
                                  problem_json(fact->section, fact->key,
                                               fact->level == FACT_WARNING ? "warning" : "problem",
                                               fact->text, fact->advice));
    }
    return array;
}

static int print_json(const struct diagnosis *diagnosis, int status)
{
    json_t *object =
        json_pack("{s:b, s:o}", "usable", diagnosis->usable, "backends", backends_json(diagnosis));

    for (size_t i = 0; i < diagnosis->facts.n; i++) {
        const struct fact *fact = &diagnosis->facts.list[i];
        json_t *section = json_object_get(object, fact->section);
        if (section == NULL) {
            json_object_set_new(object, fact->section, json_object());
            section = json_object_get(object, fact->section);
        }
        json_object_set(section, fact->key, fact->value);
    }
    json_object_set_new(object, "problems", problems_json(diagnosis));
    return report_print_json(object, status);
}

/* Prints a word in a colour, padded to `width`. */
static void print_word(bool color, enum fact_level level, const char *word, int width)
{
    static const char *const codes[] = {"", "\033[32m", "\033[33m", "\033[31m"};
    bool painted = color && level != FACT_INFO;

    printf("%s%-*s%s", painted ? codes[level] : "", width, word, painted ? "\033[0m" : "");
}

static void print_advice(const char *advice)
{
    if (advice[0] == 0)
        return;
    fputs("      what to do: ", stdout);
    text_print_line_safe(stdout, advice);
    putchar('\n');
}

static void print_backends(const struct diagnosis *diagnosis, bool color)
{
    puts("backends");
    for (size_t i = 0; i < NBACKENDS; i++) {
        const struct mf_backend_info *info = &diagnosis->backends[i].info;
        fputs("  ", stdout);
        print_word(color, info->usable ? FACT_OK : FACT_PROBLEM, info->usable ? "ok" : "no", 8);
        printf("%-5s ", info->name);
        text_print_line_safe(stdout, info->reason);
        if (info->features[0] != 0) {
            fputs(" (", stdout);
            text_print_line_safe(stdout, info->features);
            putchar(')');
        }
        putchar('\n');
        print_advice(info->advice);
    }
}

static void print_facts(const struct facts *facts, bool color)
{
    static const char *const words[] = {"", "ok", "warning", "problem"};
    const char *section = "";

    for (size_t i = 0; i < facts->n; i++) {
        const struct fact *fact = &facts->list[i];
        if (strcmp(section, fact->section) != 0)
            printf("\n%s\n", fact->section);
        section = fact->section;
        fputs("  ", stdout);
        print_word(color, fact->level, words[fact->level], 8);
        printf("%-29s ", fact->key);
        text_print_line_safe(stdout, fact->text);
        putchar('\n');
        print_advice(fact->advice);
    }
}

static int print_text(const struct diagnosis *diagnosis, bool color, int status)
{
    const char *chosen = NULL;

    for (size_t i = NBACKENDS; i-- > 0;) {
        if (diagnosis->backends[i].info.usable)
            chosen = diagnosis->backends[i].info.name;
    }
    print_backends(diagnosis, color);
    print_facts(&diagnosis->facts, color);
    if (chosen != NULL)
        printf("\nGuests run here; --backend auto takes %s.\n", chosen);
    else
        printf("\nNo guest can run here: no backend is usable.\n");
    return cli_finish(status);
}

int cmd_doctor(int argc, char **argv)
{
    struct cli_options options;
    struct diagnosis diagnosis;
    struct mf_error err = {0};
    int status = cli_options_parse(argc, argv, &options);

    if (status == CLI_GO_ON && options.noperands != 0)
        status = cli_usage_error("doctor", options.json, "doctor takes no arguments");
    if (status == CLI_GO_ON && diagnose(&diagnosis, &err) != MF_OK) {
        status = cli_library_error("doctor", options.json, &err);
    } else if (status == CLI_GO_ON) {
        status = diagnosis.usable ? CLI_OK : CLI_FAILED;
        status = options.json ? print_json(&diagnosis, status)
                              : print_text(&diagnosis, options.color, status);
        facts_fini(&diagnosis.facts);
    }
    cli_options_fini(&options);
    return status;
}
