/*
 * Values to frames and back. The decoder's input is a private copy of guest
 * bytes: it was copied once, is checked here, and only it is used.
 */
#ifndef SANDBOX_CODEC_H
#define SANDBOX_CODEC_H

#include "abi/mailbox.h"
#include "abi/value.h"

#include <mayfly/error.h>
#include <mayfly/signature.h>
#include <mayfly/value.h>

/*
 * Checks values that a caller gave against the parameters of `sig`: number,
 * types, bool, pointers, UTF-8 of strings. Errors: MF_E_TYPE, MF_E_UTF8,
 * MF_E_ARGUMENT, naming the function and parameter.
 */
int codec_check_args(const struct mf_signature *sig, const struct mf_value *args, size_t nargs,
                     struct mf_error *err);

/* The same for one result of a host function. */
int codec_check_result(const struct mf_signature *sig, const struct mf_value *result,
                       struct mf_error *err);

/* Which values of a frame travel by reference (bit n for value n), and where they stand. */
struct codec_references {
    uint32_t mask;
    uint64_t address[MF_ABI_PARAMS_MAX]; /* guest virtual */
};

/*
 * Bytes that a frame with these values takes; UINT64_MAX when that overflows.
 * `references` may be NULL: all values stand in the frame.
 */
uint64_t codec_frame_size(const struct mf_value *values, size_t n,
                          const struct codec_references *references);

/*
 * Writes a frame of `size` = codec_frame_size(values, n, references) bytes to `dst`: *header
 * with its size and count set, then the values. Every byte up to the end of the
 * last value is written, so nothing of the host leaks; the padding behind it is not.
 */
void codec_encode(uint8_t *dst, uint32_t size, const struct mf_abi_frame *header,
                  const struct mf_value *values, size_t n,
                  const struct codec_references *references);

/*
 * Decodes the values of a frame of `size` bytes (a private copy, 8-aligned,
 * header included and checked against `size` by the caller) into out[MF_PARAMS_MAX];
 * strings and bytes point into the copy. Of those by reference, `references` says
 * which and where; their data is NULL, their len what the guest claims: anything.
 * With `references` NULL they are refused. Errors: MF_E_PROTOCOL for anything that
 * abi/value.h does not allow.
 */
int codec_decode(const uint8_t *frame, uint32_t size, struct mf_value *out, size_t *n,
                 struct codec_references *references, struct mf_error *err);

/* Whether decoded values have the types of sig's parameters (or its result). MF_E_PROTOCOL. */
int codec_match_params(const struct mf_signature *sig, const struct mf_value *values, size_t n,
                       struct mf_error *err);
int codec_match_result(const struct mf_signature *sig, const struct mf_value *values, size_t n,
                       struct mf_error *err);

#endif
