/*
 * The snapshot file, byte by byte; docs/formats/snapshot.md explains it. Written by
 * write.c, read by open.c, and looked at by nobody else. All numbers are little-endian:
 * the structs are copied as they are, which the build refuses on any other machine.
 *
 *   head      the first page: struct format_head, then head.nsections entries
 *   sections  in the order of their entries, each at the next multiple of its alignment
 *
 * What lies between is zero. The file ends where its last section ends.
 */
#ifndef SNAPSHOT_FORMAT_H
#define SNAPSHOT_FORMAT_H

#include "mem/layout.h"

#include <mayfly/image.h>
#include <mayfly/snapshot.h>

#include <stddef.h>
#include <stdint.h>

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "files are little-endian");

/* A byte with its top bit set and both kinds of line end: text conversions destroy it. */
#define FORMAT_MAGIC "\x89MFS\r\n\x1a\n"
#define FORMAT_MAGIC_BYTES 8

/* major << 16 | minor. A reader takes a file whose min_version is not above its own version. */
#define FORMAT_VERSION UINT32_C(0x00010000)
#define FORMAT_MIN_VERSION UINT32_C(0x00010000)

#define FORMAT_ARCH_X86_64 62 /* as e_machine of an ELF */

/* The head takes so many bytes at the start of the file, whatever is in it. */
#define FORMAT_HEAD_BYTES 4096
#define FORMAT_SECTIONS_MAX 32

/* Bits of format_head.flags. A reader refuses bits that it does not know. */
#define FORMAT_FLAG_CHILD UINT32_C(1)      /* holds the difference to `parent` */
#define FORMAT_FLAG_COMPRESSED UINT32_C(2) /* image and page data are zstd frames */
#define FORMAT_FLAGS (FORMAT_FLAG_CHILD | FORMAT_FLAG_COMPRESSED)

struct format_head {
    char magic[FORMAT_MAGIC_BYTES];
    uint32_t version, min_version;
    uint32_t arch;
    uint32_t page_bytes;
    uint64_t file_bytes;
    uint64_t memory_bytes;  /* guest memory */
    uint64_t run_pages;     /* guest pages in all runs */
    uint64_t stored_pages;  /* pages in DATA; fewer, as equal ones are there once */
    uint64_t taken_unix_ns; /* when the snapshot was taken */
    uint32_t flags;
    uint32_t nsections;
    uint8_t parent[MF_DIGEST_BYTES]; /* CHILD: SHA-256 of the parent's file, else 0 */
    uint64_t parent_head;            /* CHILD: `checksum` of the parent's head, else 0 */
    char tool[48];                   /* who wrote it, for people; NUL-terminated, NUL-padded */
    char program[64];                /* name of the image's file, for people; likewise */
    uint8_t reserved[24];            /* 0 */
    uint64_t checksum; /* of the FORMAT_HEAD_BYTES at the start, with this being 0 */
};

_Static_assert(sizeof(struct format_head) == 256, "head layout");
_Static_assert(offsetof(struct format_head, file_bytes) == 24, "head layout");
_Static_assert(offsetof(struct format_head, parent) == 72, "head layout");
_Static_assert(offsetof(struct format_head, tool) == 112, "head layout");
_Static_assert(offsetof(struct format_head, program) == 160, "head layout");
_Static_assert(offsetof(struct format_head, checksum) == 248, "head layout");

enum format_kind {
    FORMAT_STATE = 1,     /* encode.h */
    FORMAT_FUNCTIONS = 2, /* signatures of needed host functions, NUL-terminated, in order */
    FORMAT_IMAGE = 3,     /* the program: ELF; a child without it has that of its parent */
    FORMAT_RUNS = 4,      /* struct format_run, sorted by page, apart */
    FORMAT_BLOCKS = 5,    /* struct format_block, in the order of DATA */
    FORMAT_DATA = 6,      /* pages; always the last one */
};

/* A reader that does not know the kind of a section refuses the file if this is set. */
#define FORMAT_SECTION_NEEDED UINT32_C(1)

struct format_section {
    uint32_t kind, flags;
    uint64_t offset;
    uint64_t bytes;     /* in the file */
    uint64_t raw_bytes; /* uncompressed; the same as `bytes` unless IMAGE or DATA is compressed */
    uint64_t checksum;  /* of the bytes in the file; DATA: 0, its blocks have them */
};

_Static_assert(sizeof(struct format_section) == 40, "section layout");
_Static_assert(sizeof(struct format_head) + FORMAT_SECTIONS_MAX * sizeof(struct format_section) <=
                   FORMAT_HEAD_BYTES, "the head is one page");

#define FORMAT_ALIGN UINT64_C(8)
#define FORMAT_DATA_ALIGN PAGE_BYTES

/*
 * Adjacent guest pages whose contents stand side by side in DATA, from page `place` on; in
 * a child FORMAT_ZERO says that they became zero. Several runs may have the same place.
 */
struct format_run {
    uint32_t page, npages;
    uint64_t place;
};

_Static_assert(sizeof(struct format_run) == 16, "run layout");

#define FORMAT_ZERO UINT64_MAX

/*
 * A piece of DATA: one page, or, when compressed, one zstd frame of up to FORMAT_BLOCK_PAGES
 * pages, or the pages themselves if that is not longer.
 */
struct format_block {
    uint32_t bytes; /* in the file */
    uint32_t npages;
    uint64_t checksum; /* of the bytes in the file */
};

_Static_assert(sizeof(struct format_block) == 16, "block layout");

#define FORMAT_BLOCK_PAGES 64

/*
 * However well something compresses or repeats, the file has at least one byte for so many of
 * guest memory (DATA ends with zeros then): opening a file takes memory in proportion to it.
 */
#define FORMAT_EXPANSION_MAX 256

/* Copies text for people out of a file, NUL-terminated: what is no printable ASCII becomes '?'. */
void format_text(char *to, const char *from, size_t size);

/*
 * The contents of FUNCTIONS for an image: memory from malloc, the caller's, *len bytes of it.
 * NULL: no memory. (It says what can be read from the image, too, to whoever reads no ELF.)
 */
char *format_functions(const struct mf_image *image, size_t *len);

/* The longest chain of files. */
#define FORMAT_DEPTH_MAX 32

/* Guest memory that the format can describe. */
#define FORMAT_MEMORY_MAX (UINT64_C(64) << 30)

#endif
