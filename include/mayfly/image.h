/*
 * Images: checked programs. An image is immutable after it was opened, may be
 * used from any thread, and may be shared by any number of sandboxes.
 */
#ifndef MAYFLY_IMAGE_H
#define MAYFLY_IMAGE_H

#include <mayfly/error.h>
#include <mayfly/signature.h>

#ifdef __cplusplus
extern "C" {
#endif

struct mf_image;

/*
 * Opens the static x86-64 Linux ELF at `path`, reads it once, and checks all of
 * it that is ever used: headers, segments, the note and function table of the
 * SDK, symbols. Nothing is run. On success *out is the caller's, to be given
 * back with mf_image_close. Errors: MF_E_SYSTEM (cannot be read), MF_E_IMAGE,
 * MF_E_ABI, MF_E_SIGNATURE, MF_E_NO_MEMORY. At most 1 GiB.
 */
MF_API int mf_image_open(const char *path, struct mf_image **out, struct mf_error *err);

/* The same from `len` bytes at `data`, which are copied. `name` is for messages. */
MF_API int mf_image_from_memory(const void *data, size_t len, const char *name,
                                struct mf_image **out, struct mf_error *err);

/* One more hold on it, for mf_image_close. Any thread. Returns `image`. */
MF_API struct mf_image *mf_image_hold(struct mf_image *image);

/*
 * Gives the caller's hold on the image back. Sandboxes keep the image as long
 * as they need it. NULL is allowed.
 */
MF_API void mf_image_close(struct mf_image *image);

/* What can be known of an image without running it. */
struct mf_image_info {
    const char *name;          /* as opened */
    uint64_t file_bytes;
    uint64_t load_bytes;       /* guest memory that the segments take */
    uint64_t memory_bytes;     /* the least `memory_bytes` of a sandbox, with the default stack */
    uint64_t entry;            /* guest virtual address */
    bool position_independent; /* static-pie */
    bool has_note;             /* built with the guest SDK */
    uint32_t abi_version;      /* major << 16 | minor; 0 without a note */
    uint32_t abi_min_version;
    uint64_t abi_features;
    size_t nsegments, nexports, nimports, nsymbols;
};

/* One loadable segment. */
struct mf_segment {
    uint64_t address; /* guest virtual address, as linked (plus the load base of a static-pie) */
    uint64_t memory_bytes;
    uint64_t file_offset;
    uint64_t file_bytes;
    bool readable, writable, executable;
};

/* Fills *info. The pointers in it live as long as the image. */
MF_API void mf_image_get_info(const struct mf_image *image, struct mf_image_info *info);

/* Segment `index` (below nsegments), or NULL. Lives as long as the image. */
MF_API const struct mf_segment *mf_image_segment(const struct mf_image *image, size_t index);

/* Exported function `index` (below nexports), or NULL. Lives as long as the image. */
MF_API const struct mf_signature *mf_image_export(const struct mf_image *image, size_t index);

/* Needed host function `index` (below nimports), or NULL. Lives as long as the image. */
MF_API const struct mf_signature *mf_image_import(const struct mf_image *image, size_t index);

/*
 * The index of the exported function `name`, at least 0, or MF_E_NO_FUNCTION,
 * with near names in the message.
 */
MF_API int mf_image_find_export(const struct mf_image *image, const char *name,
                                struct mf_error *err);

#ifdef __cplusplus
}
#endif

#endif
