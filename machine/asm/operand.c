/* The operands of an instruction, whatever it is: registers, values, memory. */
#include "machine/asm/inner.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

/* $fcc0 to $fcc7, and the names of coprocessor 0: $Status, $c0_status. */
static bool special_register(const struct token *token, struct operand *op)
{
    const char *name = token->text + 1;
    size_t len = token->len - 1;

    if (token->kind != TOKEN_NAME || token->text[0] != '$')
        return false;
    if (len == 4 && memcmp(name, "fcc", 3) == 0 && name[3] >= '0' && name[3] <= '7') {
        op->kind = OPERAND_FCC;
        op->reg = (uint8_t)(name[3] - '0');
        return true;
    }
    if (len > 3 && strncasecmp(name, "c0_", 3) == 0) {
        name += 3;
        len -= 3;
    }
    for (uint8_t i = 0; i < 32; i++) {
        if (len > 0 && strncasecmp(isa_cop0_names[i], name, len) == 0 &&
            isa_cop0_names[i][len] == 0) {
            op->kind = OPERAND_COP0;
            op->reg = i;
            return true;
        }
    }
    return false;
}

/* ( $register ) */
static bool is_base(const struct token *at)
{
    return token_is(at, '(') && at[1].kind == TOKEN_REGISTER && token_is(at + 2, ')');
}

/* A register that is none, with the one that may be meant. */
static bool wrong_register(struct assembler *as, const struct token *token)
{
    for (int i = 0; i < 32; i++) {
        const char *name = isa_register_names[i];
        if (asm_near(token->text, token->len, name, strlen(name))) {
            asm_fail(as, token->column, "unknown register '%.*s'; did you mean '%s'?",
                     (int)token->len, token->text, name);
            return false;
        }
    }
    asm_fail(as, token->column, "unknown register '%.*s'; expected $0 to $31, $t0 and so on",
             (int)token->len, token->text);
    return false;
}

static bool value_operand(struct assembler *as, const struct token **at, struct operand *op)
{
    const struct token *token = *at;
    bool minus = token_is(token, '-');

    if (token[minus].kind == TOKEN_FLOAT) {
        op->kind = OPERAND_FLOAT;
        *at += 1 + minus;
        return true;
    }
    if (token->kind == TOKEN_NAME && token->text[0] == '$' &&
        asm_symbol_find(as, token->text, token->len) == NULL && as->writing)
        return wrong_register(as, token);
    op->kind = OPERAND_VALUE;
    if (token->kind == TOKEN_NAME && token->text[0] == '$' &&
        asm_symbol_find(as, token->text, token->len) == NULL)
        return false;
    op->value = asm_expression(as, at);
    if (!op->value.ok)
        return false;
    if (is_base(*at)) {
        op->kind = OPERAND_MEMORY;
        op->reg = (uint8_t)(*at)[1].value;
        *at += 3;
    }
    return true;
}

static bool parse_operand(struct assembler *as, const struct token **at, struct operand *op)
{
    const struct token *token = *at;

    *op = (struct operand){.token = token, .value = {.fixed = true, .ok = true}};
    if (token->kind == TOKEN_REGISTER && is_base(token + 1)) {
        op->kind = OPERAND_INDEX;
        op->index = (uint8_t)token->value;
        op->reg = (uint8_t)token[2].value;
        *at += 4;
    } else if (token->kind == TOKEN_REGISTER || token->kind == TOKEN_FPU) {
        op->kind = token->kind == TOKEN_FPU ? OPERAND_FPU : OPERAND_REGISTER;
        op->reg = (uint8_t)token->value;
        ++*at;
    } else if (token->kind == TOKEN_STRING) {
        op->kind = OPERAND_STRING;
        ++*at;
    } else if (is_base(token)) {
        op->kind = OPERAND_MEMORY;
        op->reg = (uint8_t)token[1].value;
        *at += 3;
    } else if (special_register(token, op)) {
        ++*at;
    } else {
        return value_operand(as, at, op);
    }
    return true;
}

bool asm_parse_operands(struct assembler *as, const struct token *tokens, struct operands *ops)
{
    const struct token *at = tokens + 1;

    ops->mnemonic = tokens;
    ops->n = 0;
    while (at->kind != TOKEN_END) {
        if (ops->n == OPERANDS_MAX) {
            asm_fail(as, at->column, "too many operands for '%.*s'", (int)tokens->len,
                     tokens->text);
            return false;
        }
        if (!parse_operand(as, &at, &ops->list[ops->n]))
            return false;
        ops->n++;
        if (token_is(at, ',') && (++at)->kind == TOKEN_END) {
            asm_fail(as, at->column, "expected an operand after the comma");
            return false;
        }
    }
    return true;
}

bool asm_wrong_operand(struct assembler *as, const struct operand *op, const char *expected)
{
    char text[TOKEN_TEXT];

    asm_fail(as, op->token->column, "expected %s, not %s", expected, asm_show(op->token, text));
    return false;
}

bool asm_match(const struct operands *ops, uint32_t n, const uint16_t *kinds)
{
    if (ops->n != n)
        return false;
    for (uint32_t i = 0; i < n; i++) {
        if (!(ops->list[i].kind & kinds[i]))
            return false;
    }
    return true;
}
