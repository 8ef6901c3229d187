/*
 * The assembler: any text is either a program or at least one error with a message. A
 * program survives its own image, and errors can be shown.
 */
#include "machine/asm/asm.h"
#include "machine/image.h"

#include "tests/fuzz/fuzz.h"

#include <string.h>

/* Every .include finds the same text, which includes itself. */
static const char *read_again(void *context, const char *path, const char *from, char **name,
                              char **text, size_t *len)
{
    static const char included[] = ".include \"again\"\nN = 3\n.eqv X $t0\nnop\n";

    (void)context;
    CHECK(path != NULL && from != NULL);
    if (strcmp(path, "again") != 0)
        return "there is no such file";
    *name = strdup(path);
    *text = strdup(included);
    *len = sizeof included - 1;
    CHECK(*name != NULL && *text != NULL);
    return NULL;
}

static void check_errors(const struct asm_errors *errors)
{
    char text[64 + ASM_MESSAGE];

    CHECK(errors->count > 0 && errors->count <= ASM_ERRORS_MAX);
    for (size_t i = 0; i < errors->count; i++) {
        CHECK(errors->list[i].message[0] != 0);
        CHECK(asm_error_format(&errors->list[i], text, sizeof text) == strlen(text));
    }
}

static void check_program(const struct machine_program *program)
{
    struct machine_program again;
    uint8_t *bytes, *more;
    size_t len, more_len;
    const char *why = NULL;

    CHECK(program->nfiles > 0);
    CHECK(machine_image_encode(program, &bytes, &len) == 0);
    if (machine_image_decode(bytes, len, &again, &why) != 0) {
        /* Only names can be in the way: those of sources are not checked when assembling. */
        CHECK(why != NULL);
        CHECK(strstr(why, "name") != NULL);
        free(bytes);
        return;
    }
    CHECK(machine_image_encode(&again, &more, &more_len) == 0);
    CHECK(more_len == len && memcmp(more, bytes, len) == 0);
    machine_program_free(&again);
    free(bytes);
    free(more);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct asm_options options = {
        .big_endian = size % 2 != 0,
        .delayed_branches = size % 3 == 0,
        .read = read_again,
        .max_bytes = 1 << 20,
    };
    /* Two sources, when a NUL divides the input. */
    const uint8_t *middle = size > 0 ? memchr(data, 0, size) : NULL;
    size_t first = middle != NULL ? (size_t)(middle - data) : size;
    struct asm_source sources[2] = {
        {"one", (const char *)data, first},
        {"two", (const char *)data + first, size - first},
    };
    struct machine_program program;
    struct asm_errors errors;

    if (asm_assemble(sources, middle != NULL ? 2 : 1, &options, &program, &errors) == 0) {
        CHECK(errors.count == 0 && errors.more == 0);
        check_program(&program);
    } else {
        CHECK(program.segments == NULL);
        check_errors(&errors);
    }
    machine_program_free(&program);
    asm_errors_free(&errors);
    return 0;
}
