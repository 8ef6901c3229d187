/*
 * OCI image layouts (opencontainers/image-spec, image-layout.md and manifest.md); see oci.h.
 *
 * A layout from outside is hostile: names of files are made from digests that were
 * parsed, never taken from it; sizes are bounded before anything is read; every blob has the
 * digest and the size that its descriptor says; and the snapshot files themselves
 * are checked by the library when they come into the store.
 */
#include "oci.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <limits.h>
#include <nettle/sha2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define TYPE_LAYER "application/vnd.mayfly.snapshot.v1"
#define TYPE_CONFIG "application/vnd.mayfly.snapshot.config.v1+json"
#define TYPE_MANIFEST "application/vnd.oci.image.manifest.v1+json"
#define TYPE_INDEX "application/vnd.oci.image.index.v1+json"
#define NOTE_TAG "org.opencontainers.image.ref.name"
#define NOTE_TITLE "org.opencontainers.image.title"

/* JSON files are small; the longest chain of snapshot files is as in the library. */
#define JSON_BYTES_MAX (4 << 20)
#define LAYERS_MAX 32
#define COPY_BYTES (256 << 10)

/* What a descriptor says of a blob. */
struct blob {
    uint8_t digest[MF_DIGEST_BYTES];
    uint64_t size;
};

static int fail_errno(struct mf_error *err, const char *path, const char *what)
{
    int failed = errno;
    mf_fail(err, MF_E_SYSTEM, "%.150s: %s: %s", path, what, strerror(failed));
    err->sys_errno = failed;
    return MF_E_SYSTEM;
}

static int no_memory(struct mf_error *err)
{
    return mf_fail(err, MF_E_NO_MEMORY, "no memory for an OCI image");
}

static int join(char path[PATH_MAX], const char *folder, const char *name, struct mf_error *err)
{
    if (snprintf(path, PATH_MAX, "%s/%s", folder, name) < PATH_MAX)
        return 0;
    return mf_fail(err, MF_E_ARGUMENT, "the path %.100s... is too long", folder);
}

static int blob_path(char path[PATH_MAX], const char *folder, const struct blob *blob,
                     struct mf_error *err)
{
    char name[sizeof "blobs/sha256/" + MF_DIGEST_TEXT] = "blobs/sha256/";
    mf_digest_format(blob->digest, name + strlen(name));
    return join(path, folder, name, err);
}

/* Opens a regular file that is no symbolic link; *size is its size. */
static int open_file(const char *path, int *fd, uint64_t *size, struct mf_error *err)
{
    struct stat st;
    *fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY);
    if (*fd < 0)
        return fail_errno(err, path, "cannot be opened");
    if (fstat(*fd, &st) != 0 || !S_ISREG(st.st_mode)) {
        close(*fd);
        return mf_fail(err, MF_E_ARGUMENT, "%.150s: is no regular file", path);
    }
    *size = (uint64_t)st.st_size;
    return 0;
}

/* ---- writing ---- */

static bool write_all(int fd, const void *data, size_t len)
{
    const char *at = data;
    while (len > 0) {
        ssize_t put = write(fd, at, len);
        if (put < 0 && errno == EINTR)
            continue;
        if (put <= 0)
            return false;
        at += put;
        len -= (size_t)put;
    }
    return true;
}

/* Gives a temporary file its name, or removes it if what came before failed. */
static int finish_file(int fd, const char *temp, const char *path, int rc, struct mf_error *err)
{
    if (rc == 0 && (fchmod(fd, 0644) != 0 || fsync(fd) != 0))
        rc = fail_errno(err, path, "cannot be written");
    close(fd);
    if (rc == 0 && rename(temp, path) != 0)
        rc = fail_errno(err, path, "cannot be written");
    if (rc != 0)
        unlink(temp);
    return rc;
}

static int open_temp(const char *path, char temp[PATH_MAX], int *fd, struct mf_error *err)
{
    if (snprintf(temp, PATH_MAX, "%s.XXXXXX", path) >= PATH_MAX)
        return mf_fail(err, MF_E_ARGUMENT, "the path %.100s... is too long", path);
    *fd = mkostemp(temp, O_CLOEXEC);
    return *fd < 0 ? fail_errno(err, path, "cannot be written") : 0;
}

static int write_file(const char *path, const void *data, size_t len, struct mf_error *err)
{
    char temp[PATH_MAX];
    int fd, rc = open_temp(path, temp, &fd, err);
    if (rc != 0)
        return rc;
    if (!write_all(fd, data, len))
        rc = fail_errno(err, path, "cannot be written");
    return finish_file(fd, temp, path, rc, err);
}

static int copy_bytes(int from, const char *path, int to, struct blob *blob, struct mf_error *err)
{
    struct sha256_ctx sha;
    uint8_t *buffer = malloc(COPY_BYTES);
    ssize_t got;
    if (!buffer)
        return no_memory(err);
    sha256_init(&sha);
    blob->size = 0;
    while ((got = read(from, buffer, COPY_BYTES)) != 0) {
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0 || (to >= 0 && !write_all(to, buffer, (size_t)got))) {
            free(buffer);
            return fail_errno(err, path, got < 0 ? "cannot be read" : "cannot be copied");
        }
        sha256_update(&sha, (size_t)got, buffer);
        blob->size += (uint64_t)got;
    }
    sha256_digest(&sha, MF_DIGEST_BYTES, blob->digest);
    free(buffer);
    return 0;
}

/* Copies a snapshot file to its blob; it must have the digest that *blob has. */
static int copy_layer(const char *from, const char *folder, struct blob *blob,
                      struct mf_error *err)
{
    char path[PATH_MAX], temp[PATH_MAX];
    struct blob copied;
    int in, out = -1;
    int rc = blob_path(path, folder, blob, err);
    if (rc != 0)
        return rc;
    in = open(from, O_RDONLY | O_CLOEXEC);
    if (in < 0)
        return fail_errno(err, from, "cannot be opened");
    rc = open_temp(path, temp, &out, err);
    if (rc == 0) {
        rc = copy_bytes(in, from, out, &copied, err);
        if (rc == 0 && memcmp(copied.digest, blob->digest, MF_DIGEST_BYTES) != 0)
            rc = mf_fail(err, MF_E_SNAPSHOT, "%.150s: was changed while it was exported", from);
        rc = finish_file(out, temp, path, rc, err);
        blob->size = copied.size;
    }
    close(in);
    return rc;
}

static int make_folder(const char *path, struct mf_error *err)
{
    return mkdir(path, 0777) == 0 || errno == EEXIST ? 0
                                                     : fail_errno(err, path, "cannot be made");
}

/* Writes JSON (whose reference it takes) as a blob, and tells its descriptor. */
static int write_json_blob(const char *folder, json_t *json, struct blob *blob,
                           struct mf_error *err)
{
    char path[PATH_MAX];
    struct sha256_ctx sha;
    char *text = json ? json_dumps(json, JSON_COMPACT | JSON_SORT_KEYS) : NULL;
    json_decref(json);
    if (!text)
        return no_memory(err);
    blob->size = strlen(text);
    sha256_init(&sha);
    sha256_update(&sha, blob->size, (const uint8_t *)text);
    sha256_digest(&sha, MF_DIGEST_BYTES, blob->digest);
    int rc = blob_path(path, folder, blob, err);
    if (rc == 0)
        rc = write_file(path, text, blob->size, err);
    free(text);
    return rc;
}

/* ---- descriptors ---- */

static json_t *make_descriptor(const char *type, const struct blob *blob, const char *note,
                               const char *value)
{
    char digest[sizeof "sha256:" + MF_DIGEST_TEXT] = "sha256:";
    mf_digest_format(blob->digest, digest + strlen(digest));
    json_t *descriptor = json_pack("{s:s, s:s, s:I}", "mediaType", type, "digest", digest, "size",
                                   (json_int_t)blob->size);
    if (descriptor && note)
        json_object_set_new(descriptor, "annotations", json_pack("{s:s}", note, value));
    return descriptor;
}

static int bad_layout(struct mf_error *err, const char *what)
{
    return mf_fail(err, MF_E_SNAPSHOT, "damaged OCI layout: %s", what);
}

/* Reads a descriptor of something of the media type `type`. */
static int read_descriptor(const json_t *json, const char *type, struct blob *blob,
                           struct mf_error *err)
{
    const char *media = json_string_value(json_object_get(json, "mediaType"));
    const char *digest = json_string_value(json_object_get(json, "digest"));
    const json_t *size = json_object_get(json, "size");
    if (!media || !digest || !json_is_integer(size) || json_integer_value(size) < 0)
        return bad_layout(err, "a descriptor is not complete");
    if (strcmp(media, type) != 0)
        return mf_fail(err, MF_E_SNAPSHOT,
                       "the OCI image is no snapshot: it has \"%.60s\" instead of \"%s\"", media,
                       type);
    if (strncmp(digest, "sha256:", 7) != 0 || strlen(digest) != 7 + MF_DIGEST_TEXT - 1 ||
        !mf_digest_parse(digest + 7, blob->digest))
        return bad_layout(err, "a digest is not \"sha256:\" and 64 hexadecimal digits");
    blob->size = (uint64_t)json_integer_value(size);
    return 0;
}

/* ---- reading ---- */

static int parse_json(const char *path, const char *text, size_t len, json_t **out,
                      struct mf_error *err)
{
    json_error_t why;
    *out = json_loadb(text, len, JSON_REJECT_DUPLICATES, &why);
    if (json_is_object(*out))
        return 0;
    json_decref(*out);
    *out = NULL;
    return mf_fail(err, MF_E_SNAPSHOT, "%.150s: is no JSON object", path);
}

/* Reads a JSON file; with `blob` it must have that size and digest. */
static int read_json(const char *path, const struct blob *blob, json_t **out,
                     struct mf_error *err)
{
    struct sha256_ctx sha;
    uint8_t digest[MF_DIGEST_BYTES];
    uint64_t size;
    int fd;
    *out = NULL;
    int rc = open_file(path, &fd, &size, err);
    if (rc != 0)
        return rc;
    char *text = size > JSON_BYTES_MAX ? NULL : malloc(size + 1);
    if (size > JSON_BYTES_MAX || (blob && size != blob->size))
        rc = mf_fail(err, MF_E_SNAPSHOT, "%.150s: has %llu bytes, which cannot be", path,
                     (unsigned long long)size);
    else if (!text)
        rc = no_memory(err);
    else if (read(fd, text, size) != (ssize_t)size)
        rc = fail_errno(err, path, "cannot be read");
    close(fd);
    if (rc == 0 && blob) {
        sha256_init(&sha);
        sha256_update(&sha, size, (const uint8_t *)text);
        sha256_digest(&sha, sizeof digest, digest);
        if (memcmp(digest, blob->digest, sizeof digest) != 0)
            rc = mf_fail(err, MF_E_SNAPSHOT, "%.150s: has another digest than its name says", path);
    }
    if (rc == 0)
        rc = parse_json(path, text, size, out, err);
    free(text);
    return rc;
}

static int check_layout(const char *folder, struct mf_error *err)
{
    char path[PATH_MAX];
    json_t *json;
    int rc = join(path, folder, "oci-layout", err);
    if (rc == 0)
        rc = read_json(path, NULL, &json, err);
    if (rc != 0)
        return rc;
    const char *version = json_string_value(json_object_get(json, "imageLayoutVersion"));
    if (!version || strncmp(version, "1.", 2) != 0)
        rc = mf_fail(err, MF_E_ARGUMENT, "%.150s: is no OCI layout of version 1", folder);
    json_decref(json);
    return rc;
}

/* The list of images of a layout, held by *index. */
static int read_index(const char *folder, json_t **index, json_t **images, struct mf_error *err)
{
    char path[PATH_MAX];
    int rc = join(path, folder, "index.json", err);
    if (rc == 0)
        rc = read_json(path, NULL, index, err);
    if (rc != 0)
        return rc;
    *images = json_object_get(*index, "manifests");
    if (json_is_array(*images))
        return 0;
    json_decref(*index);
    *index = NULL;
    return bad_layout(err, "index.json has no list of manifests");
}

static const char *tag_of(const json_t *image)
{
    return json_string_value(
        json_object_get(json_object_get(image, "annotations"), NOTE_TAG));
}

/* ---- export ---- */

/* A chain of snapshot files: the oldest last. */
struct chain {
    size_t n;
    char *paths[LAYERS_MAX];
    struct blob blobs[LAYERS_MAX];
};

static void chain_fini(struct chain *chain)
{
    for (size_t i = 0; i < chain->n; i++)
        free(chain->paths[i]);
}

static int find_chain(const char *path, const struct mf_snapshot_open_options *options,
                      struct chain *chain, struct mf_error *err)
{
    char parent[PATH_MAX];
    struct mf_snapshot_file_info info = {.size = sizeof info};
    chain->paths[0] = strdup(path);
    if (!chain->paths[0])
        return no_memory(err);
    for (chain->n = 1;; chain->n++) {
        const char *child = chain->paths[chain->n - 1];
        int rc = mf_snapshot_find_parent(child, options, parent, sizeof parent, err);
        if (rc == 0)
            rc = mf_snapshot_get_file_info(child, &info, err);
        if (rc != 0 || !parent[0])
            return rc;
        if (chain->n == LAYERS_MAX)
            return mf_fail(err, MF_E_PARENT, "a chain of more than %d snapshot files", LAYERS_MAX);
        memcpy(chain->blobs[chain->n].digest, info.parent, MF_DIGEST_BYTES);
        chain->paths[chain->n] = strdup(parent);
        if (!chain->paths[chain->n])
            return no_memory(err);
    }
}

/* What the image is, for whoever looks at its config. */
static json_t *make_config(const struct chain *chain)
{
    char digest[MF_DIGEST_TEXT];
    struct mf_snapshot_file_info info = {.size = sizeof info};
    struct mf_error ignored;
    mf_digest_format(chain->blobs[0].digest, digest);
    if (mf_snapshot_get_file_info(chain->paths[0], &info, &ignored) != 0)
        return NULL;
    return json_pack("{s:s, s:s, s:s, s:s, s:I, s:I, s:I}", "architecture", "amd64", "os",
                     "mayfly", "snapshot", digest, "program", info.program, "memory_bytes",
                     (json_int_t)info.memory_bytes, "taken_unix_ns",
                     (json_int_t)info.taken_unix_ns, "format_version", (json_int_t)info.version);
}

static int write_manifest(const char *folder, struct chain *chain, struct blob *manifest,
                          struct mf_error *err)
{
    char title[MF_DIGEST_TEXT + sizeof ".mfs"];
    struct blob config;
    int rc = write_json_blob(folder, make_config(chain), &config, err);
    if (rc != 0)
        return rc;
    json_t *layers = json_array();
    for (size_t i = chain->n; layers && i-- > 0;) {
        mf_digest_format(chain->blobs[i].digest, title);
        memcpy(title + MF_DIGEST_TEXT - 1, ".mfs", sizeof ".mfs");
        json_array_append_new(layers,
                              make_descriptor(TYPE_LAYER, &chain->blobs[i], NOTE_TITLE, title));
    }
    if (!layers || json_array_size(layers) != chain->n) {
        json_decref(layers);
        return no_memory(err);
    }
    return write_json_blob(folder,
                           json_pack("{s:i, s:s, s:o, s:o}", "schemaVersion", 2, "mediaType",
                                     TYPE_MANIFEST, "config",
                                     make_descriptor(TYPE_CONFIG, &config, NULL, NULL), "layers",
                                     layers),
                           manifest, err);
}

/* Puts the image into index.json, without another one of that name. */
static int update_index(const char *folder, const char *tag, const struct blob *manifest,
                        struct mf_error *err)
{
    char path[PATH_MAX];
    json_t *index = NULL, *images = NULL;
    int rc = join(path, folder, "index.json", err);
    if (rc == 0 && access(path, F_OK) == 0)
        rc = read_index(folder, &index, &images, err);
    else if (rc == 0)
        index = json_pack("{s:i, s:s, s:o}", "schemaVersion", 2, "mediaType", TYPE_INDEX,
                          "manifests", images = json_array());
    if (rc != 0)
        return rc;
    for (size_t i = json_array_size(images); i-- > 0;) {
        const char *other = tag_of(json_array_get(images, i));
        if (other && strcmp(other, tag) == 0)
            json_array_remove(images, i);
    }
    int failed = json_array_append_new(images,
                                       make_descriptor(TYPE_MANIFEST, manifest, NOTE_TAG, tag));
    char *text = failed ? NULL : json_dumps(index, JSON_COMPACT | JSON_SORT_KEYS);
    rc = text ? write_file(path, text, strlen(text), err) : no_memory(err);
    free(text);
    json_decref(index);
    return rc;
}

/* Makes the folders of a layout, or looks whether there is one. */
static int make_layout(const char *folder, struct mf_error *err)
{
    static const char layout[] = "{\"imageLayoutVersion\":\"1.0.0\"}";
    static const char *const folders[] = {"", "blobs", "blobs/sha256"};
    char path[PATH_MAX];
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < sizeof folders / sizeof folders[0]; i++) {
        rc = join(path, folder, folders[i], err);
        if (rc == 0)
            rc = make_folder(path, err);
    }
    if (rc == 0)
        rc = join(path, folder, "oci-layout", err);
    if (rc != 0)
        return rc;
    if (access(path, F_OK) == 0)
        return check_layout(folder, err);
    return write_file(path, layout, sizeof layout - 1, err);
}

/* What registries take as a tag. */
static bool possible_tag(const char *tag)
{
    static const char letters[] =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-";
    size_t len = strlen(tag);
    return len > 0 && len <= 128 && tag[0] != '.' && tag[0] != '-' && strspn(tag, letters) == len;
}

int oci_export(const char *path, const char *store, const char *folder, const char *tag,
               struct mf_error *err)
{
    const struct mf_snapshot_open_options options = {.size = sizeof options, .store = store};
    struct chain chain = {0};
    struct blob manifest;
    tag = tag ? tag : OCI_TAG_DEFAULT;
    if (!possible_tag(tag))
        return mf_fail(err, MF_E_ARGUMENT, "\"%.60s\" cannot be the tag of an OCI image", tag);
    int rc = mf_snapshot_verify(path, &options, chain.blobs[0].digest, err);
    if (rc == 0)
        rc = find_chain(path, &options, &chain, err);
    if (rc == 0)
        rc = make_layout(folder, err);
    for (size_t i = chain.n; rc == 0 && i-- > 0;)
        rc = copy_layer(chain.paths[i], folder, &chain.blobs[i], err);
    if (rc == 0)
        rc = write_manifest(folder, &chain, &manifest, err);
    if (rc == 0)
        rc = update_index(folder, tag, &manifest, err);
    chain_fini(&chain);
    return rc;
}

/* ---- import ---- */

/* The descriptor of the image `tag`, or of the only one. */
static int find_image(const char *folder, const char *tag, struct blob *manifest,
                      struct mf_error *err)
{
    json_t *index, *images;
    const json_t *found = NULL;
    int rc = read_index(folder, &index, &images, err);
    if (rc != 0)
        return rc;
    for (size_t i = 0; i < json_array_size(images); i++) {
        const json_t *image = json_array_get(images, i);
        const char *name = tag_of(image);
        if (tag ? name && strcmp(name, tag) == 0 : json_array_size(images) == 1)
            found = image;
    }
    if (found)
        rc = read_descriptor(found, TYPE_MANIFEST, manifest, err);
    else if (tag)
        rc = mf_fail(err, MF_E_ARGUMENT, "%.100s: has no image with the tag \"%.60s\"", folder,
                     tag);
    else
        rc = mf_fail(err, MF_E_ARGUMENT, "%.100s: has %zu images; name a tag", folder,
                     json_array_size(images));
    json_decref(index);
    return rc;
}

/* Checks size and digest of a blob, and tells its path. */
static int check_blob(const char *folder, const struct blob *blob, char path[PATH_MAX],
                      struct mf_error *err)
{
    struct blob found;
    uint64_t size;
    int fd, rc = blob_path(path, folder, blob, err);
    if (rc == 0)
        rc = open_file(path, &fd, &size, err);
    if (rc != 0)
        return rc;
    if (size != blob->size)
        rc = mf_fail(err, MF_E_SNAPSHOT, "%.150s: has another size than its descriptor says", path);
    else
        rc = copy_bytes(fd, path, -1, &found, err);
    close(fd);
    if (rc == 0 && memcmp(found.digest, blob->digest, MF_DIGEST_BYTES) != 0)
        rc = mf_fail(err, MF_E_SNAPSHOT, "%.150s: has another digest than its name says", path);
    return rc;
}

static int import_layer(const char *folder, const char *store, const json_t *layer,
                        uint8_t digest[MF_DIGEST_BYTES], struct mf_error *err)
{
    char path[PATH_MAX];
    struct blob blob;
    int rc = read_descriptor(layer, TYPE_LAYER, &blob, err);
    if (rc == 0)
        rc = check_blob(folder, &blob, path, err);
    if (rc == 0)
        rc = mf_snapshot_store_add(path, store, digest, err);
    if (rc == 0 && memcmp(digest, blob.digest, MF_DIGEST_BYTES) != 0)
        rc = mf_fail(err, MF_E_SNAPSHOT, "%.150s: was changed while it was imported", path);
    return rc;
}

static int import_layers(const char *folder, const char *store, const json_t *manifest,
                         uint8_t digest[MF_DIGEST_BYTES], struct mf_error *err)
{
    const json_t *layers = json_object_get(manifest, "layers");
    struct blob config;
    char path[PATH_MAX];
    size_t n = json_array_size(layers);
    if (n == 0 || n > LAYERS_MAX)
        return bad_layout(err, "an image of a snapshot has 1 to 32 layers");
    int rc = read_descriptor(json_object_get(manifest, "config"), TYPE_CONFIG, &config, err);
    if (rc == 0)
        rc = check_blob(folder, &config, path, err);
    for (size_t i = 0; rc == 0 && i < n; i++)
        rc = import_layer(folder, store, json_array_get(layers, i), digest, err);
    return rc;
}

int oci_import(const char *folder, const char *tag, const char *store,
               uint8_t digest[MF_DIGEST_BYTES], struct mf_error *err)
{
    char path[PATH_MAX];
    struct blob blob;
    json_t *manifest = NULL;
    int rc = check_layout(folder, err);
    if (rc == 0)
        rc = find_image(folder, tag, &blob, err);
    if (rc == 0)
        rc = blob_path(path, folder, &blob, err);
    if (rc == 0)
        rc = read_json(path, &blob, &manifest, err);
    if (rc == 0)
        rc = import_layers(folder, store, manifest, digest, err);
    json_decref(manifest);
    return rc;
}
