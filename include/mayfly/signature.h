/*
 * Signatures of exported functions and host functions, written as
 *
 *     type name(type [parameter], ...)        e.g. "string greet(string name)"
 *
 * with the type names of value.h. `void` is a result type only; "f()" and
 * "f(void)" both have no parameters. Names are C identifiers.
 */
#ifndef MAYFLY_SIGNATURE_H
#define MAYFLY_SIGNATURE_H

#include <mayfly/error.h>
#include <mayfly/value.h>

#ifdef __cplusplus
extern "C" {
#endif

/* The longest name of a function or parameter, with its terminator. */
#define MF_NAME_MAX 128

struct mf_param {
    enum mf_type type;
    char name[60]; /* "" when the signature gives none; longer ones are cut */
};

struct mf_signature {
    char name[MF_NAME_MAX];
    enum mf_type result;
    uint32_t nparams; /* 0 to MF_PARAMS_MAX */
    struct mf_param params[MF_PARAMS_MAX];
};

/*
 * Parses `text` into *out. Errors: MF_E_SIGNATURE, with the place and what was
 * expected there. Any thread.
 */
MF_API int mf_signature_parse(const char *text, struct mf_signature *out,
                              struct mf_error *err);

/*
 * Writes the signature in its one canonical form, "type name(type param, ...)",
 * into `buf` of `size` bytes, cut and NUL-terminated like snprintf; returns the
 * full length without the terminator.
 */
MF_API size_t mf_signature_format(const struct mf_signature *sig, char *buf, size_t size);

/* Whether name, result and parameter types are equal (parameter names are not compared). */
MF_API bool mf_signature_equal(const struct mf_signature *a, const struct mf_signature *b);

/* The name of a type as signatures write it, or "?" for no type. Static. */
MF_API const char *mf_type_name(enum mf_type type);

#ifdef __cplusplus
}
#endif

#endif
