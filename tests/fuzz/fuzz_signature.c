/* The signature parser: what it accepts comes back from its own canonical form. */
#include <mayfly/signature.h>

#include "tests/fuzz/fuzz.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct mf_signature sig, again;
    struct mf_error err = {0};
    char first[4096], second[4096];

    char *text = malloc(size + 1);
    if (!text)
        return 0;
    memcpy(text, data, size);
    text[size] = 0;
    int rc = mf_signature_parse(text, &sig, &err);
    free(text);
    if (rc != 0) {
        CHECK(rc == MF_E_SIGNATURE && err.code == rc && err.message[0] != 0);
        return 0;
    }
    CHECK(sig.name[0] != 0 && strnlen(sig.name, sizeof(sig.name)) < sizeof(sig.name));
    CHECK(sig.nparams <= MF_PARAMS_MAX);
    size_t len = mf_signature_format(&sig, first, sizeof(first));
    CHECK(len == strlen(first));
    CHECK(mf_signature_parse(first, &again, &err) == 0);
    CHECK(memcmp(&sig, &again, sizeof(sig)) == 0);
    CHECK(mf_signature_equal(&sig, &again));
    mf_signature_format(&again, second, sizeof(second));
    CHECK(strcmp(first, second) == 0);
    /* A short buffer gets the beginning, and nothing behind it. */
    char cut[8] = "#######";
    CHECK(mf_signature_format(&sig, cut, 5) == len);
    CHECK(memcmp(cut, first, 4) == 0 && cut[4] == 0 && cut[5] == '#');
    return 0;
}
