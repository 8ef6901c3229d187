/*
 * Snapshots in OCI image layouts: folders that registry tools (skopeo, oras) copy to and from
 * registries. One layer is one snapshot file as it is, so the digest of a layer is the
 * digest of the snapshot; parents come first. docs/formats/snapshot.md has the media types.
 */
#ifndef CLI_OCI_H
#define CLI_OCI_H

#include <mayfly/mayfly.h>

#define OCI_TAG_DEFAULT "latest"

/*
 * Checks the snapshot file `path` with its parents and puts them into the layout `folder`, which is
 * made if need be, as the image `tag`, in the place of one of that name. `store` (may be
 * NULL) is where parents are looked for beside the folder of the file. The same
 * snapshot gives the same bytes. Errors: those of mf_snapshot_open; MF_E_ARGUMENT (no
 * layout, or no possible tag).
 */
int oci_export(const char *path, const char *store, const char *folder, const char *tag,
               struct mf_error *err);

/*
 * Takes the image `tag` (NULL: the only one) of a layout into the folder `store`, checked like
 * everything from outside. `digest` gets that of the snapshot. Errors: those of
 * mf_snapshot_store_add; MF_E_ARGUMENT (no layout, no such image), MF_E_SNAPSHOT (an
 * image of something else, or damaged).
 */
int oci_import(const char *folder, const char *tag, const char *store,
               uint8_t digest[MF_DIGEST_BYTES], struct mf_error *err);

#endif
