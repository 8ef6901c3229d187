#!/usr/bin/env bats
# Snapshots in OCI image layouts: to a layout and back, through skopeo if it is there, and
# layouts that somebody made who means no good.

load helpers

setup_file() {
    find_backend
}

setup() {
    need_backend
    mkdir -p "$BATS_TEST_TMPDIR/work/store"
    cd "$BATS_TEST_TMPDIR/work"
    K=$CLI_GUESTS/keeper
    mayfly snapshot create --backend "$MAYFLY_TEST_BACKEND" "$K" -o base.mfs --call 'keep apples'
    mayfly snapshot create --backend "$MAYFLY_TEST_BACKEND" base.mfs -o child.mfs \
        --parent base.mfs --call 'keep pears'
}

# digest FILE: as an OCI layout writes it.
digest() {
    sha256sum "$1" | cut -d' ' -f1
}

# change_layout PYTHON: changes index.json (i), the manifest (m) and its first layer (l), with
# digests and sizes made right again from the manifest upwards.
change_layout() {
    python3 - "$1" <<'PYTHON'
import hashlib, json, os, sys
def load(path):
    with open(path, "rb") as file:
        return json.load(file)
blobs = "layout/blobs/sha256/"
i = load("layout/index.json")
m = load(blobs + i["manifests"][0]["digest"][7:])
l = m["layers"][0]
exec(sys.argv[1])
data = json.dumps(m).encode()
name = hashlib.sha256(data).hexdigest()
with open(blobs + name, "wb") as file:
    file.write(data)
i["manifests"][0].update(digest="sha256:" + name, size=len(data))
with open("layout/index.json", "w") as file:
    json.dump(i, file)
PYTHON
}

# refused WORDS: the import fails, says so, and brings nothing into the store.
refused() {
    run --separate-stderr mayfly snapshot import layout --store store
    status_is 125
    [[ $stderr == *$1* ]]
    [ -z "$(ls -A store)" ]
}

@test "the digest of a layer is the digest of the snapshot file" {
    mayfly snapshot export child.mfs layout --tag v1
    [ -f "layout/blobs/sha256/$(digest base.mfs)" ]
    [ -f "layout/blobs/sha256/$(digest child.mfs)" ]
    cmp child.mfs "layout/blobs/sha256/$(digest child.mfs)"
    mayfly snapshot import layout --store store
    [ "$(ls store | wc -l)" = 2 ]
    cmp child.mfs "store/$(digest child.mfs).mfs"
    run --separate-stderr mayfly call "store/$(digest child.mfs).mfs" recall
    [ "$output" = pears ]
}

@test "the same snapshots give the same layout" {
    mayfly snapshot export child.mfs one
    mayfly snapshot export child.mfs two
    diff -r one two
    mayfly snapshot export child.mfs two
    diff -r one two
}

@test "a layout holds several images, and one replaces that of its tag" {
    mayfly snapshot export base.mfs layout --tag a
    mayfly snapshot export base.mfs layout --tag b
    mayfly snapshot export child.mfs layout --tag a
    run --separate-stderr mayfly snapshot import layout --store store
    status_is 2
    [[ $stderr == *"2 images"* ]]
    mayfly snapshot import layout --store store --tag a
    [ -f "store/$(digest child.mfs).mfs" ]
    run --separate-stderr mayfly snapshot import layout --store store --tag c
    [ "$status" -ne 0 ]
    for tag in '' -x .x a/b 'a b'; do
        run --separate-stderr mayfly snapshot export base.mfs layout "--tag=$tag"
        [ "$status" -ne 0 ]
    done
}

@test "skopeo copies it as it is" {
    command -v skopeo >/dev/null || skip "no skopeo here"
    mayfly snapshot export child.mfs layout --tag v1
    skopeo copy -q oci:layout:v1 dir:flat
    skopeo copy -q dir:flat oci:back:v2
    mayfly snapshot import back --tag v2 --store store
    cmp child.mfs "store/$(digest child.mfs).mfs"
    cmp base.mfs "store/$(digest base.mfs).mfs"
}

@test "what cannot be exported" {
    mkdir lonely
    cp child.mfs lonely
    run --separate-stderr mayfly snapshot export lonely/child.mfs layout
    status_is 125
    [[ $stderr == *"$(digest base.mfs)"* ]]
    [ ! -e layout ]
    printf x | dd of=base.mfs bs=1 seek=5000 conv=notrunc status=none
    run --separate-stderr mayfly snapshot export base.mfs layout
    status_is 125
    [ ! -e layout ]
}

@test "a layout whose blobs are damaged" {
    mayfly snapshot export base.mfs layout
    local blob="layout/blobs/sha256/$(digest base.mfs)"
    printf x | dd of="$blob" bs=1 seek=5000 conv=notrunc status=none
    refused digest
    truncate -s -1 "$blob"
    refused size
    rm "$blob"
    refused opened
}

@test "a layout that leads elsewhere" {
    mayfly snapshot export base.mfs layout
    local blob="layout/blobs/sha256/$(digest base.mfs)"
    mv "$blob" elsewhere
    ln -s "$PWD/elsewhere" "$blob"
    refused opened
    change_layout 'l["digest"] = "sha256:../../../elsewhere"'
    refused digest
    change_layout 'l["digest"] = "sha256:" + "../" * 21 + "a"'
    refused digest
    change_layout 'l["digest"] = "md5:" + "0" * 32'
    refused digest
}

@test "a layout with sizes that cannot be" {
    mayfly snapshot export base.mfs layout
    change_layout 'l["size"] = 2 ** 62'
    refused size
    change_layout 'l["size"] = -1'
    refused descriptor
    change_layout 'm["layers"] *= 33'
    refused layers
    change_layout 'm["layers"] = []'
    refused layers
    truncate -s 8M layout/index.json
    refused bytes
}

@test "an image of something else" {
    mayfly snapshot export base.mfs layout
    cp -r layout right
    change_layout 'l["mediaType"] = "application/vnd.oci.image.layer.v1.tar+gzip"'
    refused "no snapshot"
    rm -r layout
    cp -r right layout
    change_layout 'm["config"]["mediaType"] = "application/vnd.oci.image.config.v1+json"'
    refused "no snapshot"
    # A file that is no snapshot, with everything else right.
    rm -r layout
    cp -r right layout
    change_layout '
data = b"no snapshot file at all"
name = hashlib.sha256(data).hexdigest()
open(blobs + name, "wb").write(data)
l.update(digest="sha256:" + name, size=len(data))'
    refused "no snapshot file"
    echo '[]' >layout/index.json
    refused object
    rm layout/oci-layout
    refused opened
}
