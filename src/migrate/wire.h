/*
 * The migration stream: frames over a channel, both ways. docs/formats/migration.md says which
 * frame comes when; this is how each looks. All numbers are little-endian.
 *
 * Everything that comes in is the peer's: a frame is copied once into the wire's own
 * buffer, its length and checksum are checked, and only that copy is used.
 */
#ifndef MIGRATE_WIRE_H
#define MIGRATE_WIRE_H

#include "mem/layout.h"

#include <mayfly/migrate.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "frames are copied as they are");

#define WIRE_MAGIC "\x89MFM\r\n\x1a\n"
#define WIRE_MAGIC_BYTES 8
/* major << 16 | minor. Peers talk when neither's min_version is above the other's version. */
#define WIRE_VERSION UINT32_C(0x00010000)
#define WIRE_MIN_VERSION UINT32_C(0x00010000)

/* frame(NAME, type, longest contents in bytes, what it is) */
#define WIRE_FRAMES(frame)                                                                   \
    frame(HELLO, 1, 256, "first, both ways: magic, version, capabilities")                   \
    frame(OFFER, 2, 128u << 10, "source: the sandbox")                                       \
    frame(WANT, 3, 256, "receiver: what of the offer it lacks")                              \
    frame(BYTES, 4, 1u << 20, "source: the next part of something long")                     \
    frame(PREPARED, 5, 0, "receiver: memory and VM are there")                               \
    frame(PAGES, 6, 300u << 10, "source: pages of guest memory")                             \
    frame(ROUND, 7, 8, "source: a round has ended; its number")                              \
    frame(ROUND_DONE, 8, 8, "receiver: has it all; its number")                              \
    frame(STATE, 9, 128, "source: the guest stands still; sizes of what follows as BYTES")   \
    frame(MISSING, 10, 256u << 10, "source: pages that come after the commit, as a bitmap's part") \
    frame(LOADED, 11, 0, "receiver: could run it")                                           \
    frame(COMMIT, 12, 0, "source: it is the receiver's")                                     \
    frame(RUNNING, 13, 0, "receiver: it is")                                                 \
    frame(REQUEST, 14, 8, "receiver: the number of a page that the guest waits for")         \
    frame(COMPLETE, 15, 0, "receiver: has all pages")                                        \
    frame(REFUSE, 16, 1024, "either: an MF_E code and words; nothing comes after it")        \
    frame(ALIVE, 17, 0, "either: is busy, and has not gone")

enum wire_type {
#define WIRE_TYPE(name, type, most, text) WIRE_##name = type,
    WIRE_FRAMES(WIRE_TYPE)
#undef WIRE_TYPE
};

struct wire_head {
    uint16_t type;     /* enum wire_type */
    uint16_t flags;    /* enum wire_flag */
    uint32_t bytes;    /* that follow */
    uint64_t checksum; /* XXH3 of them, and of the head with this being 0 */
};
_Static_assert(sizeof(struct wire_head) == 16, "layout");

enum wire_flag {
    WIRE_COMPRESSED = 1, /* PAGES: the contents behind the runs are one zstd frame */
};

enum wire_capability {
    WIRE_ZSTD = 1,
    WIRE_POSTCOPY = 2, /* the receiver can fetch pages while the guest runs */
    /*
     * Memory goes from process to process by its descriptor: when both say so. It is passed
     * after PREPARED, beside the stream, and no PAGES are sent.
     */
    WIRE_HANDOVER = 4,
};

struct wire_hello {
    char magic[WIRE_MAGIC_BYTES];
    uint32_t version, min_version;
    uint64_t capabilities; /* enum wire_capability */
    uint32_t arch;         /* e_machine of the guest: 62 */
    uint32_t page_bytes;
    char tool[32]; /* for people; NUL-padded */
};
_Static_assert(sizeof(struct wire_hello) == 64, "layout");

/* Followed by the image's name (name_bytes), then the label (label_bytes). */
struct wire_offer {
    uint64_t memory_bytes, stack_bytes, mailbox_bytes;
    uint64_t image_bytes;
    uint8_t image_digest[MF_DIGEST_BYTES];
    uint8_t parent_digest[MF_DIGEST_BYTES]; /* of the snapshot file it was made from; or 0 */
    uint64_t cpu_components;                /* in use now */
    uint32_t backend;
    uint32_t postcopy; /* 1: the source may want to use it */
    uint32_t name_bytes, label_bytes;
};
_Static_assert(sizeof(struct wire_offer) == 120, "layout");

struct wire_want {
    uint32_t image;  /* 1: the image is to come as BYTES */
    uint32_t parent; /* 1: the receiver has the parent */
};

/* Pages of one kind with rising numbers. */
enum wire_kind {
    WIRE_ZERO = 1,
    WIRE_DATA = 2,   /* contents behind the runs */
    WIRE_IMAGE = 3,  /* as the bytes of the program from `offset` on */
    WIRE_PARENT = 4, /* as in the parent */
};
struct wire_run {
    uint32_t first, npages;
    uint32_t kind;
    uint32_t reserved; /* 0 */
    uint64_t offset;   /* IMAGE, else 0 */
};
_Static_assert(sizeof(struct wire_run) == 24, "layout");

/* PAGES: this, nruns runs, then the contents of DATA pages. */
struct wire_pages {
    uint32_t nruns;
    uint32_t ndata; /* DATA pages */
};
#define WIRE_DATA_PAGES 64  /* at most in a frame */
#define WIRE_RUNS       512 /* likewise */

/* MISSING: this, then words of a bitmap of guest pages, from `first_word` on. */
struct wire_missing {
    uint64_t first_word;
};
#define WIRE_MISSING_WORDS 32000 /* in a frame; the last one has fewer */

/*
 * The guest stands still. `state_bytes` of struct saved_state (src/snapshot/encode.h) and
 * `app_bytes` of the application follow as BYTES; then, for a post-copy, MISSING frames
 * for memory_pages bits.
 */
struct wire_state {
    uint64_t state_bytes, app_bytes;
    uint64_t timeout_left_ns, cpu_left_ns; /* of the call's or run's limits; 0: none */
    uint64_t missing; /* pages that come after the commit */
    uint64_t reserved; /* 0 */
};

struct wire_refuse {
    int32_t code;
    uint32_t text_bytes; /* text follows */
};

#define WIRE_FRAME_MOST (1u << 20)

struct wire {
    struct mf_channel channel; /* a copy: it may be used longer than the call lasts */
    uint64_t stall_ns;
    uint64_t deadline_ns; /* CLOCK_MONOTONIC; 0: none */
    /* Looked at while waiting; anything but 0 ends the wait with MF_E_CANCELLED. May be NULL. */
    int (*poll)(void *context);
    void *poll_context;
    uint64_t bytes_sent, bytes_received;
    uint8_t *out; /* WIRE_FRAME_MOST + a head: a frame is one write */
    uint8_t *in;
    struct wire_head head; /* of the frame that comes in; `head_have` bytes of it are here */
    size_t head_have;
};

/* A frame that came in. */
struct wire_frame {
    enum wire_type type;
    uint16_t flags;
    uint32_t bytes;
    uint8_t *data; /* in the wire's buffer, until the next one */
};

int wire_init(struct wire *wire, const struct mf_channel *channel, struct mf_error *err);
void wire_fini(struct wire *wire);

/* Where to build the contents of the next frame: WIRE_FRAME_MOST bytes. */
uint8_t *wire_body(struct wire *wire);

/* Sends a frame of the `bytes` in wire_body. MF_E_CHANNEL, MF_E_CANCELLED, MF_E_DEADLINE. */
int wire_send_body(struct wire *wire, enum wire_type type, uint16_t flags, size_t bytes,
                   struct mf_error *err);
/* The same with a copy of `data`. */
int wire_send(struct wire *wire, enum wire_type type, const void *data, size_t bytes,
              struct mf_error *err);
/* As many BYTES frames as it takes. */
int wire_send_long(struct wire *wire, const void *data, uint64_t bytes, struct mf_error *err);

/* Says why, and that nothing comes after it; failures do not matter. */
void wire_refuse(struct wire *wire, const struct mf_error *why);

/*
 * The next frame but ALIVE. A REFUSE is MF_E_REFUSED with the peer's words. Other
 * errors: MF_E_PEER (no frame, too long, damaged), MF_E_CHANNEL, MF_E_CANCELLED, MF_E_DEADLINE.
 */
int wire_receive(struct wire *wire, struct wire_frame *frame, struct mf_error *err);

/* The same if a frame has begun to come in; *got says so. */
int wire_try(struct wire *wire, struct wire_frame *frame, bool *got, struct mf_error *err);

/* The next frame, which must be of this type and have `bytes` bytes. Else MF_E_PEER. */
int wire_expect(struct wire *wire, enum wire_type type, size_t bytes, struct wire_frame *frame,
                struct mf_error *err);

/*
 * `bytes` bytes that come as BYTES frames, to memory from malloc, the caller's. Memory
 * grows with what has come, not with what was announced.
 */
int wire_receive_long(struct wire *wire, uint64_t bytes, uint8_t **out, struct mf_error *err);

/* HELLO both ways; *peer is checked. MF_E_PEER says what is the matter with it. */
int wire_hello(struct wire *wire, uint64_t capabilities, struct wire_hello *peer,
               struct mf_error *err);

/* "PAGES", or "frame 77". Static, or in `text`. */
const char *wire_type_name(unsigned type, char text[16]);

#endif
