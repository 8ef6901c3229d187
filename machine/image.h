/*
 * The bytes of an assembled program: what travels into the guest, and what
 * `mayfly asm -o` writes. program.h has the program in memory.
 *
 * All numbers are little-endian and 32 bits wide. The header is followed by the records
 * in the order of its counts, without gaps:
 *
 *   header   magic[8] version flags entry nsegments nsymbols nlines nfiles nstrings
 *   segment  kind address bytes memory_bytes rights, then `bytes` bytes
 *   symbol   address flags len, then `len` bytes of name
 *   line     address file line
 *   file     len, then `len` bytes
 *   string   len, then `len` bytes
 */
#ifndef MACHINE_IMAGE_H
#define MACHINE_IMAGE_H

#include "machine/program.h"

#define MACHINE_IMAGE_MAGIC "MFMIPS\r\n"
#define MACHINE_IMAGE_VERSION 1

enum machine_image_flag {
    IMAGE_BIG_ENDIAN = 1,
    IMAGE_DELAYED_BRANCHES = 2,
    IMAGE_SIMPLE = 4,
    IMAGE_RETURNS = 8,
};
enum machine_image_right { IMAGE_WRITABLE = 1, IMAGE_EXECUTABLE = 2 };
enum machine_image_symbol { IMAGE_GLOBAL = 1 };

/* What a decoder accepts. No program comes near these, but hostile files do. */
#define IMAGE_SEGMENTS_MAX 1024
#define IMAGE_RECORDS_MAX 4000000 /* symbols, lines, files, strings, each */
#define IMAGE_NAME_MAX 4096       /* bytes of a name or path */

/* Whether the bytes begin like an image (of any version). */
bool machine_image_recognise(const void *bytes, size_t len);

/*
 * Encodes a program into memory from malloc, which the caller frees. 0, or -1 when there
 * is no memory or the program is beyond the limits above.
 */
int machine_image_encode(const struct machine_program *program, uint8_t **bytes, size_t *len);

/*
 * Decodes bytes that nobody vouches for. Segments come out sorted, inside of the address
 * space and apart from each other; symbols and lines sorted; names as text without control
 * characters; indices in range. Returns 0 and a program for machine_program_free, or -1
 * and why not in `why` (a static string), which may be NULL.
 */
int machine_image_decode(const void *bytes, size_t len, struct machine_program *program,
                         const char **why);

#endif
