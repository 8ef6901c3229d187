/* Images of assembled programs: what the decoder accepts comes back byte for byte. */
#include "machine/image.h"

#include "tests/fuzz/fuzz.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct machine_program program;
    const char *why = NULL;
    uint8_t *bytes;
    size_t len;

    if (machine_image_decode(data, size, &program, &why) != 0) {
        CHECK(why != NULL && program.segments == NULL);
        return 0;
    }
    CHECK(machine_image_recognise(data, size));
    for (size_t i = 0; i < program.nsegments; i++) {
        const struct machine_segment *s = &program.segments[i];
        CHECK(s->bytes <= s->memory_bytes);
        CHECK((uint64_t)s->address + s->memory_bytes <= UINT64_C(1) << 32);
        CHECK(i == 0 || (uint64_t)s[-1].address + s[-1].memory_bytes <= s->address);
    }
    for (size_t i = 0; i < program.nlines; i++)
        CHECK(program.lines[i].file < program.nfiles);
    CHECK(machine_image_encode(&program, &bytes, &len) == 0);
    CHECK(len == size && memcmp(bytes, data, len) == 0);
    free(bytes);
    machine_program_free(&program);
    return 0;
}
