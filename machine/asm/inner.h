/*
 * What the files of the assembler share.
 *
 * lexer.c       a line to tokens
 * source.c      files to statements: labels, .include, .eqv
 * macro.c       .macro and its uses
 * symbol.c      names and their values
 * expression.c  tokens to values
 * directive.c, data.c   statements that begin with a dot
 * operand.c     operands of an instruction
 * native.c      instructions of the table
 * pseudo.c, pseudo_branch.c, pseudo_memory.c   instructions that become others
 * layout.c      where bytes go
 * error.c       messages
 * asm.c         the order of all that
 *
 * Theory of operation. Files are read once, into a list of statements; macros, includes and
 * .eqv are gone then. The list is gone through several times. All but the last time are
 * silent and only find addresses: a symbol has the value of the time before, a branch that
 * does not reach its target is marked `far` and gets longer, until nothing changes. The last
 * time writes bytes and reports errors. The length of an instruction may depend only on what
 * is the same each time: see value.fixed.
 *
 * Memory comes from an arena that goes with the assembler. When there is none left, that is
 * an error like others, and `hopeless` ends the work soon.
 */
#ifndef MACHINE_ASM_INNER_H
#define MACHINE_ASM_INNER_H

#include "machine/asm/asm.h"
#include "machine/isa/isa.h"

#define ASM_LENGTH(array) (sizeof(array) / sizeof((array)[0]))

/* Limits, against sources that want to fill memory. */
#define ASM_INCLUDE_DEPTH 16
#define ASM_INCLUDES_MAX 256
#define ASM_MACRO_DEPTH 64
#define ASM_MACRO_PARAMETERS 32
#define ASM_NESTING 100            /* parentheses */
#define ASM_LINE_TOKENS 4096       /* after .eqv and macro parameters */
#define ASM_TOKENS_MAX 4000000     /* of all statements */
#define ASM_SOURCE_MAX (64u << 20) /* bytes of a file */
#define ASM_NAME_MAX 512
#define ASM_NUMERIC_DIGITS 10 /* of numeric labels */
#define ASM_STRINGS_MAX 0xfffff /* SNAPSHOT has 20 bits for it */
#define ASM_PASSES 12

enum token_kind {
    TOKEN_END, /* behind the last one of a statement */
    TOKEN_NAME, /* "1b", "1f": the numeric label 1 before or behind; see asm_number_label */
    TOKEN_PERCENT, /* %name: macro parameter, %hi, or modulo and a name */
    TOKEN_REGISTER,
    TOKEN_FPU,
    TOKEN_INTEGER,
    TOKEN_FLOAT,
    TOKEN_STRING,
    TOKEN_PUNCT, /* value: the character; SHIFT_LEFT, SHIFT_RIGHT */
};

enum { SHIFT_LEFT = 'L', SHIFT_RIGHT = 'R' };

struct token {
    enum token_kind kind;
    uint32_t column; /* from 1 */
    uint32_t len;
    const char *text; /* as written; STRING: the bytes it stands for; PERCENT: the name */
    union {
        int64_t value; /* INTEGER, PUNCT, register number */
        double number; /* FLOAT */
    };
};

/* A use of a macro: messages about its lines say where it was used. */
struct use {
    const char *name;
    uint32_t file, line;
};

struct origin {
    uint32_t file, line;
    const struct use *use; /* or NULL */
};

enum statement_kind {
    STATEMENT_LABEL,
    STATEMENT_ASSIGN,
    STATEMENT_DIRECTIVE,
    STATEMENT_INSTRUCTION,
};

struct statement {
    enum statement_kind kind;
    bool far; /* its branch or jump does not reach: longer form */
    uint32_t unit; /* index of the source: the scope of its labels */
    struct origin origin;
    const struct token *tokens; /* TOKEN_END is the last one */
    struct symbol *symbol;      /* LABEL, ASSIGN */
};

struct symbol {
    const char *name;
    uint32_t len;
    uint32_t unit;
    bool defined;  /* a label or a constant */
    bool constant; /* = or .set */
    bool fixed;    /* a constant of numbers and fixed constants */
    bool global;
    uint32_t pass;    /* the last one that gave it its value */
    int64_t value;
    uint32_t extern_bytes;    /* .extern, .comm: room for it when nobody defines it */
    uint32_t extern_align;
    struct symbol *alias;     /* a global name: the symbol that has it */
    const struct token *eqv;  /* .eqv: what stands for it */
    struct macro *macro;      /* macros of this name */
    uint32_t times;           /* a numeric label: how often it stood so far */
    struct origin origin;
    struct symbol *next;      /* in the order of definition */
};

struct value {
    int64_t number;
    bool fixed; /* may decide about lengths: made of numbers and constants known before */
    bool low;   /* %lo: 16 bits as they are */
    bool ok;    /* false: an error was reported, or will be */
};

struct source_file {
    char *name;
    const char *text;
    char *owned; /* the text, when the assembler frees it */
    size_t len;
    uint32_t *starts; /* of lines, in the text */
    bool reading; /* it, or what it includes */
    uint32_t nlines;
};

/* Bytes at consecutive addresses. Layout passes count only. */
struct chunk {
    enum machine_segment_kind kind;
    uint32_t address, size, room;
    uint8_t *data;
    struct origin origin;
};

struct macro;
struct arena_block;

struct assembler {
    const struct asm_options *options;
    struct asm_errors *errors;
    struct arena_block *arena;
    bool hopeless; /* no memory, or a limit that makes going on pointless */
    bool quiet;    /* a layout pass: errors come in the last one */

    struct source_file *files;
    uint32_t nfiles, files_room;
    uint32_t include_depth;
    uint32_t macro_depth;

    struct token *line; /* the tokens of the line at work */
    uint32_t nline;
    struct token *spare; /* the line without .eqv, while it is made */
    bool has_eqv;
    bool has_numeric; /* uses of numeric labels */
    uint32_t nmacros;
    struct macro *defining; /* between .macro and .end_macro */
    uint32_t expansions;

    struct statement *statements;
    uint32_t nstatements, statements_room;
    uint32_t ntokens;

    struct symbol **table; /* hashed */
    uint32_t nsymbols, table_room;
    struct symbol *first, **last;

    /* The pass at work. */
    uint32_t pass;
    bool changed;
    bool writing;            /* the last pass */
    struct statement *at;
    uint32_t unit;
    struct origin origin;
    uint32_t column;         /* of the operand at work */
    uint32_t label_from;     /* statements from this one on were labels only */
    bool reorder, auto_align;
    struct chunk *chunks;
    uint32_t nchunks, chunks_room;
    uint32_t chunk;          /* the current one */
    int64_t chunk_of[4];     /* by kind; -1: none yet */
    uint64_t bytes;          /* in all chunks */

    bool delayed;            /* the machine has delay slots */
    bool simple;             /* no label, directive or branch so far */
    struct machine_program *program;
    uint32_t lines_room, strings_room;
};

/* error.c: reports at the current origin, unless the pass is silent. */
__attribute__((format(printf, 3, 4))) void asm_fail(struct assembler *as, uint32_t column,
                                                    const char *format, ...);
/* Reports in any pass, and ends the work. */
void asm_give_up(struct assembler *as, const char *message);
void asm_no_memory(struct assembler *as);
/* Whether `typed` is a slip of the fingers away from `name`. */
bool asm_near(const char *typed, size_t len, const char *name, size_t name_len);
void asm_sort_errors(struct assembler *as);
/* A token as messages show it, in `text` of 48 bytes. */
#define TOKEN_TEXT 48
const char *asm_show(const struct token *token, char *text);

/* arena.c: zeroed memory until the end; NULL and hopeless when there is none. */
void *asm_alloc(struct assembler *as, size_t size);
void asm_arena_free(struct assembler *as);
/* Makes room for one more element; false and hopeless when there is no memory. */
bool asm_grow(struct assembler *as, void *array, uint32_t count, uint32_t *room, size_t size);

/*
 * lexer.c: splits one line (without its end) from `from` on into as->line. Returns where
 * the next statement of the line begins, or `len`; after an error the rest is left out.
 */
size_t asm_lex(struct assembler *as, const char *text, size_t len, size_t from);
/* A token array that lasts; TOKEN_END is put behind it. */
struct token *asm_keep_tokens(struct assembler *as, const struct token *tokens, uint32_t n);

/* Whether a name is a numeric label, or a use of one. */
static inline bool is_numeric(const char *name)
{
    return name[0] >= '0' && name[0] <= '9';
}

static inline bool token_is(const struct token *token, int punct)
{
    return token->kind == TOKEN_PUNCT && token->value == punct;
}

/* Whether a name is this word; letter case counts. */
bool token_is_word(const struct token *token, const char *word);

/* source.c */
void asm_read_source(struct assembler *as, uint32_t file);
int64_t asm_add_file(struct assembler *as, const char *name, const char *text, size_t len,
                     char *owned);
/* Whether a label stands at `tokens`: NAME: or NUMBER:, before the token `end`. */
bool asm_is_label(const struct token *tokens, const struct token *end);
/* Handles the line in as->line: once more for lines that macros make. */
void asm_take_line(struct assembler *as);

/* macro.c */
bool asm_macro_line(struct assembler *as);  /* inside a definition: takes the line */
void asm_macro_begin(struct assembler *as); /* as->line begins with .macro */
/* Whether as->line, from token `first` on, uses a macro: then it was expanded. */
bool asm_macro_use(struct assembler *as, uint32_t first);

/*
 * symbol.c: names in a scope. A unit is the index of a source, or one of these, or
 * UNIT_MACRO_LABELS and the number of a macro.
 */
#define UNIT_GLOBAL UINT32_MAX
#define UNIT_EQV (UINT32_MAX - 1)
#define UNIT_MACRO (UINT32_MAX - 2)
#define UNIT_MACRO_LABELS UINT32_C(0x80000000)
struct symbol *asm_symbol(struct assembler *as, const char *name, size_t len, uint32_t unit);
/* What a name means in the unit at work; NULL: undefined. */
struct symbol *asm_symbol_find(struct assembler *as, const char *name, size_t len);
void asm_define(struct assembler *as, struct symbol *symbol, const struct token *token,
                bool constant);
void asm_undefined(struct assembler *as, const struct token *token);
void asm_bind_globals(struct assembler *as);
void asm_place_externs(struct assembler *as);

/* expression.c: *at moves behind the expression. */
struct value asm_expression(struct assembler *as, const struct token **at);
/* The same as a number from `min` to `max` that does not depend on later labels. */
bool asm_constant(struct assembler *as, const struct token **at, int64_t min, int64_t max,
                  int64_t *number);
/* As 32 bits; false with an error when it does not fit. */
bool asm_word(struct assembler *as, struct value value, uint32_t *word);

/* layout.c */
void asm_select(struct assembler *as, enum machine_segment_kind kind, const uint32_t *address);
uint32_t asm_location(const struct assembler *as);
void asm_put(struct assembler *as, const void *bytes, uint32_t n);
void asm_put_number(struct assembler *as, uint64_t number, uint32_t n); /* in byte order */
void asm_put_zeros(struct assembler *as, uint64_t n);
/* To a multiple of `bytes`; with `labels`, those right before the statement move along. */
void asm_align(struct assembler *as, uint32_t bytes, bool labels);
void asm_finish_segments(struct assembler *as);

/*
 * directive.c, data.c. What declares names or holds for the whole program acts when it is
 * read: asm_declare returns false for what is a statement.
 */
bool asm_declare(struct assembler *as, const struct token *tokens, uint32_t n);
void asm_directive(struct assembler *as, const struct token *tokens);
bool asm_data_directive(struct assembler *as, const struct token *tokens);
/* At the end of a statement: otherwise an error. */
bool asm_expect_end(struct assembler *as, const struct token *token);

/* operand.c */
enum operand_kind {
    OPERAND_REGISTER = 1,
    OPERAND_FPU = 2,
    OPERAND_VALUE = 4,
    OPERAND_MEMORY = 8, /* value(reg); value is 0 when left out */
    OPERAND_INDEX = 16, /* index(reg) */
    OPERAND_FCC = 32,
    OPERAND_COP0 = 64, /* $Status: reg */
    OPERAND_STRING = 128,
    OPERAND_FLOAT = 256,
};

#define OPERANDS_MAX 5

struct operand {
    enum operand_kind kind;
    uint8_t reg, index;
    struct value value;
    const struct token *token; /* its first one */
};

struct operands {
    const struct token *mnemonic;
    uint32_t n;
    struct operand list[OPERANDS_MAX];
};

bool asm_parse_operands(struct assembler *as, const struct token *tokens, struct operands *ops);
/* Reports that an operand is not what was expected; returns false. */
bool asm_wrong_operand(struct assembler *as, const struct operand *op, const char *expected);
/* Whether there are `n` operands of these kinds (bits); says nothing. */
bool asm_match(const struct operands *ops, uint32_t n, const uint16_t *kinds);

/* native.c */
void asm_instruction(struct assembler *as, const struct token *tokens);
void asm_native(struct assembler *as, enum isa_insn insn, const struct operands *ops);
/* One word of an instruction; with a nop behind a branch when the assembler fills slots. */
void asm_emit(struct assembler *as, enum isa_insn insn, uint32_t fields);
void asm_emit_r(struct assembler *as, enum isa_insn insn, unsigned rd, unsigned rs, unsigned rt);
void asm_emit_i(struct assembler *as, enum isa_insn insn, unsigned rt, unsigned rs, uint32_t imm);
void asm_emit_shift(struct assembler *as, enum isa_insn insn, unsigned rd, unsigned rt,
                    unsigned sa);
/* A branch whose other fields are given, to an address: near or far. */
void asm_emit_branch(struct assembler *as, enum isa_insn insn, uint32_t fields,
                     const struct operand *target);
void asm_emit_jump(struct assembler *as, enum isa_insn insn, const struct operand *target);

/* pseudo*.c: whether the instruction was taken (perhaps with an error). */
typedef bool pseudo_handler(struct assembler *as, const struct operands *ops, int32_t what);

struct pseudo {
    const char *name;
    pseudo_handler *handler;
    int32_t what;  /* an instruction, or a choice of the handler */
};

#define REGISTER_AT 1u

extern const struct pseudo asm_pseudo_integer[], asm_pseudo_branch[], asm_pseudo_memory[];
extern const size_t asm_npseudo_integer, asm_npseudo_branch, asm_npseudo_memory;

bool asm_pseudo(struct assembler *as, const struct operands *ops);
/* Loads a constant in the shortest way; `fixed` false: always two words. */
void asm_load_constant(struct assembler *as, unsigned reg, uint32_t value, bool fixed);
/*
 * Takes $at for a pseudo-instruction; an error when a register that it reads, an operand
 * from number `from` on, is $at itself.
 */
bool asm_take_at(struct assembler *as, const struct operands *ops, uint32_t from);
/*
 * The last operand that may be a number, op, as a register: it, or $at with its value.
 * `from`: the first operand that the instruction reads.
 */
bool asm_in_register(struct assembler *as, const struct operands *ops, uint32_t from,
                     const struct operand *op, unsigned *reg);
/* Whether a value is known to fit into 16 bits: signed, or unsigned. */
bool asm_fits_signed(struct value value, int32_t *imm);
bool asm_fits_unsigned(struct value value, uint32_t *imm);

#endif
