/* Freeing a program: what assembler, loader and image decoder share. */
#include "machine/program.h"

#include <stdlib.h>
#include <string.h>

static void free_texts(char **texts, size_t n)
{
    for (size_t i = 0; texts != NULL && i < n; i++)
        free(texts[i]);
    free(texts);
}

void machine_program_free(struct machine_program *program)
{
    if (program == NULL)
        return;
    for (size_t i = 0; program->segments != NULL && i < program->nsegments; i++)
        free(program->segments[i].data);
    for (size_t i = 0; program->symbols != NULL && i < program->nsymbols; i++)
        free(program->symbols[i].name);
    free(program->segments);
    free(program->symbols);
    free(program->lines);
    free_texts(program->files, program->nfiles);
    free_texts(program->strings, program->nstrings);
    memset(program, 0, sizeof(*program));
}
