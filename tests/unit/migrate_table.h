/*
 * The table of docs/formats/migration.md: what each side sends and takes, in order. Rounds are
 * alike, so that one or two of them are enough. For the model (test_migrate_model.c), and for
 * who compares it with a real conversation (tests/integration/test_migrate_faults.c).
 */
#ifndef TESTS_MIGRATE_TABLE_H
#define TESTS_MIGRATE_TABLE_H

#include <stdbool.h>
#include <stdint.h>

/* frame(NAME, type) */
#define TABLE_FRAMES(frame)                                                                  \
    frame(HELLO, 1) frame(OFFER, 2) frame(WANT, 3) frame(BYTES, 4) frame(PREPARED, 5)        \
    frame(PAGES, 6) frame(ROUND, 7) frame(ROUND_DONE, 8) frame(STATE, 9) frame(MISSING, 10)  \
    frame(LOADED, 11) frame(COMMIT, 12) frame(RUNNING, 13) frame(REQUEST, 14)                \
    frame(COMPLETE, 15)

enum table_frame {
#define TABLE_FRAME(name, type) TABLE_##name = type,
    TABLE_FRAMES(TABLE_FRAME)
#undef TABLE_FRAME
};

/* One step of a side: it sends a frame, or takes one; then it is at the next step. */
struct step {
    enum table_frame frame;
    bool sends;
};

#define SEND(name) {TABLE_##name, true}
#define TAKE(name) {TABLE_##name, false}

/* Without and with a post-copy. */
static const struct step source_plain[] = {
    SEND(HELLO), TAKE(HELLO), SEND(OFFER), TAKE(WANT), SEND(BYTES), TAKE(PREPARED),
    SEND(PAGES), SEND(ROUND), TAKE(ROUND_DONE), SEND(PAGES), SEND(ROUND), TAKE(ROUND_DONE),
    SEND(PAGES), SEND(STATE), SEND(BYTES), TAKE(LOADED), SEND(COMMIT), TAKE(RUNNING),
};
static const struct step receiver_plain[] = {
    SEND(HELLO), TAKE(HELLO), TAKE(OFFER), SEND(WANT), TAKE(BYTES), SEND(PREPARED),
    TAKE(PAGES), TAKE(ROUND), SEND(ROUND_DONE), TAKE(PAGES), TAKE(ROUND), SEND(ROUND_DONE),
    TAKE(PAGES), TAKE(STATE), TAKE(BYTES), SEND(LOADED), TAKE(COMMIT), SEND(RUNNING),
};
static const struct step source_post[] = {
    SEND(HELLO), TAKE(HELLO), SEND(OFFER), TAKE(WANT), SEND(BYTES), TAKE(PREPARED),
    SEND(PAGES), SEND(ROUND), TAKE(ROUND_DONE), SEND(PAGES), SEND(STATE), SEND(BYTES),
    SEND(MISSING), TAKE(LOADED), SEND(COMMIT), TAKE(RUNNING), SEND(PAGES), SEND(ROUND),
    TAKE(REQUEST), SEND(PAGES), TAKE(ROUND_DONE), TAKE(COMPLETE),
};
static const struct step receiver_post[] = {
    SEND(HELLO), TAKE(HELLO), TAKE(OFFER), SEND(WANT), TAKE(BYTES), SEND(PREPARED),
    TAKE(PAGES), TAKE(ROUND), SEND(ROUND_DONE), TAKE(PAGES), TAKE(STATE), TAKE(BYTES),
    TAKE(MISSING), SEND(LOADED), TAKE(COMMIT), SEND(RUNNING), SEND(REQUEST), TAKE(PAGES),
    TAKE(ROUND), SEND(ROUND_DONE), TAKE(PAGES), SEND(COMPLETE),
};

struct table {
    const struct step *steps[2]; /* SOURCE, RECEIVER */
    uint8_t n[2];
};
enum { SOURCE, RECEIVER };

#define N(array) (uint8_t)(sizeof array / sizeof array[0])
static const struct table plain = {{source_plain, receiver_plain},
                                   {N(source_plain), N(receiver_plain)}};
static const struct table post = {{source_post, receiver_post},
                                  {N(source_post), N(receiver_post)}};
#undef N
#undef SEND
#undef TAKE

#endif
