/* Directives other than those that hold data: segments, alignment, declarations, options. */
#include "machine/asm/inner.h"

#include <string.h>

/* What compilers write about their output, and nothing here needs. */
static const char *const ignored[] = {
    ".abicalls", ".end",  ".ent",     ".file",   ".fmask",         ".frame", ".ident", ".insn",
    ".loc",      ".mask", ".module",  ".nan",    ".gnu_attribute", ".size",  ".type",  ".weak",
    ".hidden",   ".local", ".option", ".cfi_startproc", ".cfi_endproc", ".cfi_sections",
};

/* For near names. */
static const char *const known[] = {
    ".text",   ".data",  ".ktext", ".kdata", ".rdata",   ".sdata",  ".bss",   ".section", ".align",
    ".balign", ".space", ".globl", ".extern", ".set",    ".eqv",    ".macro", ".include", ".word",
    ".half",   ".byte",  ".float", ".double", ".ascii",  ".asciiz", ".end_macro", ".comm",
};

bool asm_expect_end(struct assembler *as, const struct token *token)
{
    char text[TOKEN_TEXT];

    if (token->kind == TOKEN_END)
        return true;
    asm_fail(as, token->column, "expected the end of the line, not %s", asm_show(token, text));
    return false;
}

static void skip_comma(const struct token **at)
{
    if (token_is(*at, ','))
        ++*at;
}

/* .globl NAME ... */
static void declare_global(struct assembler *as, const struct token *at)
{
    do {
        char text[TOKEN_TEXT];
        if (at->kind != TOKEN_NAME || is_numeric(at->text)) {
            asm_fail(as, at->column, "expected a name, not %s", asm_show(at, text));
            return;
        }
        struct symbol *symbol = asm_symbol(as, at->text, at->len, as->unit);
        if (symbol != NULL)
            symbol->global = true;
        at++;
        skip_comma(&at);
    } while (at->kind != TOKEN_END);
}

/* .extern NAME SIZE, .comm NAME, SIZE, ALIGNMENT: the size of .extern may be missing. */
static void declare_extern(struct assembler *as, const struct token *at)
{
    const struct token *name = at++;
    int64_t bytes = 0, align = 0;

    if (name->kind != TOKEN_NAME) {
        asm_fail(as, name->column, "expected a name and a size");
        return;
    }
    skip_comma(&at);
    if (at->kind != TOKEN_END && !asm_constant(as, &at, 0, 65536, &bytes))
        return;
    skip_comma(&at);
    if (at->kind != TOKEN_END && !asm_constant(as, &at, 1, 4096, &align))
        return;
    if (!asm_expect_end(as, at))
        return;
    if (align == 0)
        align = bytes >= 8 ? 8 : bytes >= 4 ? 4 : bytes >= 2 ? 2 : 1;
    struct symbol *symbol = asm_symbol(as, name->text, name->len, UNIT_GLOBAL);
    if (symbol == NULL)
        return;
    symbol->origin = as->origin;
    if ((uint32_t)bytes > symbol->extern_bytes)
        symbol->extern_bytes = (uint32_t)bytes;
    if ((uint32_t)align > symbol->extern_align)
        symbol->extern_align = (uint32_t)align;
}

bool asm_declare(struct assembler *as, const struct token *tokens, uint32_t n)
{
    bool global = token_is_word(tokens, ".globl") || token_is_word(tokens, ".global");
    bool external = token_is_word(tokens, ".extern") || token_is_word(tokens, ".comm") ||
                    token_is_word(tokens, ".lcomm");

    if (token_is_word(tokens, ".set") && n == 2 && token_is_word(&tokens[1], "noreorder"))
        as->delayed = true;
    if (!global && !external)
        return false;
    const struct token *kept = asm_keep_tokens(as, tokens, n);
    if (kept == NULL)
        return true;
    if (global)
        declare_global(as, kept + 1);
    else
        declare_extern(as, kept + 1);
    return true;
}

/* .text and so on, with an address or without one. */
static void segment(struct assembler *as, enum machine_segment_kind kind, const struct token *at)
{
    int64_t address;

    if (at->kind == TOKEN_END) {
        asm_select(as, kind, NULL);
        return;
    }
    const struct token *first = at;
    if (!asm_constant(as, &at, -INT64_C(0x80000000), UINT32_MAX, &address) ||
        !asm_expect_end(as, at))
        return;
    bool text = kind == SEGMENT_TEXT || kind == SEGMENT_KTEXT;
    if (text && address % 4 != 0) {
        asm_fail(as, first->column, "expected an address that is a multiple of 4");
        return;
    }
    uint32_t start = (uint32_t)address;
    asm_select(as, kind, &start);
}

/* .section NAME, ...: by the beginning of the name; what follows it is not needed. */
static void section(struct assembler *as, const struct token *at)
{
    if (at->kind != TOKEN_NAME && at->kind != TOKEN_STRING)
        asm_fail(as, at->column, "expected the name of a section");
    else
        asm_select(as,
                   at->len >= 5 && memcmp(at->text, ".text", 5) == 0 ? SEGMENT_TEXT : SEGMENT_DATA,
                   NULL);
}

static void align(struct assembler *as, const struct token *at, bool power)
{
    const struct token *first = at;
    int64_t n;

    if (!asm_constant(as, &at, 0, power ? 16 : 65536, &n))
        return;
    skip_comma(&at);
    int64_t fill;
    if (at->kind != TOKEN_END && !asm_constant(as, &at, 0, 255, &fill))
        return;
    if (!asm_expect_end(as, at))
        return;
    if (power && n == 0) {
        as->auto_align = false;
        return;
    }
    if (!power && (n == 0 || (n & (n - 1)) != 0)) {
        asm_fail(as, first->column, "expected a power of two");
        return;
    }
    asm_align(as, power ? 1u << n : (uint32_t)n, false);
}

static void space(struct assembler *as, const struct token *at)
{
    int64_t n, fill = 0;

    if (!asm_constant(as, &at, 0, UINT32_MAX, &n))
        return;
    skip_comma(&at);
    if (at->kind != TOKEN_END && !asm_constant(as, &at, 0, 0, &fill))
        return;
    if (asm_expect_end(as, at))
        asm_put_zeros(as, (uint64_t)n);
}

static void set(struct assembler *as, const struct token *at)
{
    static const char *const options[] = {
        "at", "noat", "macro", "nomacro", "mips32", "mips32r2", "push", "pop", "nomips16",
        "nomicromips", "volatile", "novolatile", "move", "nomove", "arch", "fp", "hardfloat",
        "softfloat", "oddspreg", "nooddspreg", "mips0", "mips1", "mips2",
    };

    if (token_is_word(at, "reorder") || token_is_word(at, "noreorder")) {
        as->reorder = token_is_word(at, "reorder");
        asm_expect_end(as, at + 1);
        return;
    }
    for (size_t i = 0; i < ASM_LENGTH(options); i++) {
        if (token_is_word(at, options[i]))
            return;
    }
    asm_fail(as, at->column, "expected noreorder, reorder, noat, at, or NAME, VALUE behind .set");
}

static void unknown(struct assembler *as, const struct token *name)
{
    for (size_t i = 0; i < ASM_LENGTH(known); i++) {
        if (asm_near(name->text, name->len, known[i], strlen(known[i]))) {
            asm_fail(as, name->column, "unknown directive '%.*s'; did you mean '%s'?",
                     (int)name->len, name->text, known[i]);
            return;
        }
    }
    asm_fail(as, name->column, "unknown directive '%.*s'", (int)name->len, name->text);
}

void asm_directive(struct assembler *as, const struct token *tokens)
{
    static const struct {
        const char *name;
        enum machine_segment_kind kind;
    } segments[] = {
        {".text", SEGMENT_TEXT},   {".data", SEGMENT_DATA},  {".ktext", SEGMENT_KTEXT},
        {".kdata", SEGMENT_KDATA}, {".rdata", SEGMENT_DATA}, {".sdata", SEGMENT_DATA},
        {".bss", SEGMENT_DATA},    {".sbss", SEGMENT_DATA},  {".rodata", SEGMENT_DATA},
    };

    for (size_t i = 0; i < ASM_LENGTH(segments); i++) {
        if (token_is_word(tokens, segments[i].name)) {
            segment(as, segments[i].kind, tokens + 1);
            return;
        }
    }
    for (size_t i = 0; i < ASM_LENGTH(ignored); i++) {
        if (token_is_word(tokens, ignored[i]))
            return;
    }
    if (token_is_word(tokens, ".section"))
        section(as, tokens + 1);
    else if (token_is_word(tokens, ".align") || token_is_word(tokens, ".p2align"))
        align(as, tokens + 1, true);
    else if (token_is_word(tokens, ".balign"))
        align(as, tokens + 1, false);
    else if (token_is_word(tokens, ".space") || token_is_word(tokens, ".skip") ||
             token_is_word(tokens, ".zero"))
        space(as, tokens + 1);
    else if (token_is_word(tokens, ".set"))
        set(as, tokens + 1);
    else if (!asm_data_directive(as, tokens))
        unknown(as, tokens);
}
