/* Values as text: arguments of the command line in, results out. */
#ifndef CLI_VALUES_H
#define CLI_VALUES_H

#include <mayfly/mayfly.h>

#include <jansson.h>

/* The largest string or bytes argument: what fits the largest mailbox. */
#define VALUES_BYTES_MAX ((UINT64_C(1) << 30) - 4096)

/* Arguments of a call and the memory behind them. */
struct values {
    struct mf_value value[MF_PARAMS_MAX];
    void *owned[MF_PARAMS_MAX]; /* what value[i] points to, or NULL */
    size_t n;
    uint64_t bytes; /* of all strings and bytes together */
};

/*
 * Reads `n` words as the parameters of `sig`. Errors name the parameter:
 * MF_E_TYPE (number of words, not of that type), MF_E_RANGE, MF_E_TOO_LARGE,
 * MF_E_SYSTEM (a file cannot be read), MF_E_NO_MEMORY. *values is to be given to
 * values_fini in every case.
 */
int values_parse(const struct mf_signature *sig, char **words, size_t n, struct values *values,
                 struct mf_error *err);
void values_fini(struct values *values);

/*
 * Prints a result to standard output. Numbers, bool and strings get a newline;
 * void prints nothing. bytes are written as they are, or as hex:... and a
 * newline on a terminal, where control characters of strings are escaped too.
 */
void values_print(const struct mf_value *value);

/*
 * A result as JSON: void null; bool; i32, u32, i64 and u64 integers, but u64 above
 * 2^63 - 1 as a string of decimal digits; f32 and f64 reals, but "nan", "inf" and
 * "-inf" as strings; string as string; bytes as base64. NULL: no memory.
 */
json_t *values_json(const struct mf_value *value);

#endif
