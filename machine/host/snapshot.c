/*
 * Files of snapshots. A program names the file that it is saved to, so the name is hostile:
 * it stays below one folder, and replaces nothing but other snapshots.
 */
#include "machine/host/snapshot.h"

#include "machine/host/file.h"
#include "machine/host/program.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* The beginning of Mayfly's snapshot files (docs/formats/snapshot.md). */
static const char magic[4] = "\x89MFS";

static int fail_system(struct vmm_machine *machine, const char *what, const char *path)
{
    return mf_fail(&machine->err, MF_E_SYSTEM, "cannot %s %.150s: %s", what, path,
                   strerror(errno));
}

enum snapshot_format snapshot_recognise(struct vmm_machine *machine, const char *path)
{
    char begin[sizeof magic];
    struct stat st;

    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0 || fstat(fd, &st) != 0) {
        fail_system(machine, "read", path);
        if (fd >= 0)
            close(fd);
        return SNAPSHOT_NONE;
    }
    bool ours = pread(fd, begin, sizeof begin, 0) == (ssize_t)sizeof begin &&
                memcmp(begin, magic, sizeof magic) == 0;
    close(fd);
    if (ours)
        return SNAPSHOT_MAYFLY;
    if (S_ISREG(st.st_mode) && st.st_size == LEGACY_BYTES)
        return SNAPSHOT_LEGACY;
    if (!S_ISREG(st.st_mode))
        mf_fail(&machine->err, MF_E_SNAPSHOT, "%.150s is no ordinary file", path);
    else
        mf_fail(&machine->err, MF_E_SNAPSHOT,
                "%.120s is no snapshot: it does not begin like one, and has %lld bytes, where the "
                "older format has %d", path, (long long)st.st_size, LEGACY_BYTES);
    return SNAPSHOT_NONE;
}

/* A name that stays where it is: relative, without "..", and printable. */
static bool name_is_plain(const char *name)
{
    size_t len = strlen(name);

    if (len == 0 || name[0] == '/' || name[len - 1] == '/')
        return false;
    for (const char *part = name; part != NULL; part = strchr(part, '/')) {
        part += *part == '/';
        if (strncmp(part, "..", 2) == 0 && (part[2] == '/' || part[2] == 0))
            return false;
    }
    return true;
}

static bool is_printable(const char *name)
{
    for (; *name != 0; name++) {
        if ((unsigned char)*name < ' ' || *name == 0x7f)
            return false;
    }
    return true;
}

/* Whether the folder that `path` is in lies in `folder`, links followed. */
static int check_folder(struct vmm_machine *machine, const char *path)
{
    char inside[PATH_MAX], root[PATH_MAX];
    char *folder = hostfile_folder(path);

    if (folder == NULL)
        return mf_fail(&machine->err, MF_E_NO_MEMORY, "out of memory");
    bool found = realpath(folder, inside) != NULL && realpath(machine->config.folder, root) != NULL;
    if (!found)
        fail_system(machine, "find the folder", folder);
    free(folder);
    if (!found)
        return MF_E_SYSTEM;
    size_t len = strlen(root);
    if (strncmp(inside, root, len) != 0 || (root[1] != 0 && inside[len] != 0 && inside[len] != '/'))
        return mf_fail(&machine->err, MF_E_ARGUMENT,
                       "SNAPSHOT: %.100s leads out of the snapshot folder %.60s by a link", path,
                       machine->config.folder);
    return MF_OK;
}

/* What is there may only be a snapshot: a program shall not overwrite its user's files. */
static int check_replaced(struct vmm_machine *machine, const char *path)
{
    struct stat st;
    struct mf_error before = machine->err;

    if (lstat(path, &st) != 0)
        return errno == ENOENT ? MF_OK : fail_system(machine, "write", path);
    if (S_ISREG(st.st_mode) && snapshot_recognise(machine, path) != SNAPSHOT_NONE) {
        machine->err = before;
        return MF_OK;
    }
    return mf_fail(&machine->err, MF_E_ARGUMENT,
                   "SNAPSHOT: %.150s exists and is no snapshot; it is not replaced", path);
}

int snapshot_resolve(struct vmm_machine *machine, const char *name, char **path)
{
    bool anywhere = machine->common->snapshots_anywhere;

    *path = NULL;
    if (!is_printable(name) || *name == 0)
        return mf_fail(&machine->err, MF_E_ARGUMENT, "SNAPSHOT: not a usable file name");
    if (!anywhere && !name_is_plain(name))
        return mf_fail(&machine->err, MF_E_ARGUMENT,
                       "SNAPSHOT: %.120s leaves the snapshot folder; --snapshot-anywhere would "
                       "allow it", name);
    if (name[0] == '/')
        *path = strdup(name);
    else if (asprintf(path, "%s/%s", machine->config.folder, name) < 0)
        *path = NULL;
    if (*path == NULL)
        return mf_fail(&machine->err, MF_E_NO_MEMORY, "out of memory");
    int status = anywhere ? MF_OK : check_folder(machine, *path);
    if (status == MF_OK)
        status = check_replaced(machine, *path);
    if (status != MF_OK) {
        free(*path);
        *path = NULL;
    }
    return status;
}

static void put32(uint8_t *out, uint32_t value)
{
    for (int i = 0; i < 4; i++)
        out[i] = (uint8_t)(value >> 8 * i);
}

static uint32_t get32(const uint8_t *in)
{
    return (uint32_t)in[0] | (uint32_t)in[1] << 8 | (uint32_t)in[2] << 16 | (uint32_t)in[3] << 24;
}

bool snapshot_encode_legacy(const struct machine_program *program,
                            const struct machine_state *state, uint8_t out[LEGACY_BYTES])
{
    uint32_t index;

    if (state->in_delay_slot != 0 || !program_index_of(program, state->pc, &index))
        return false;
    for (int i = 0; i < 32; i++)
        put32(out + 4 * i, state->registers[i]);
    put32(out + 128, index);
    return true;
}

bool snapshot_decode_legacy(const struct machine_program *program, const uint8_t in[LEGACY_BYTES],
                            struct machine_state *state)
{
    uint32_t pc;

    if (!program_address_of(program, get32(in + 128), &pc))
        return false;
    /* $zero is 0, whatever the file says. */
    for (int i = 1; i < 32; i++)
        state->registers[i] = get32(in + 4 * i);
    state->pc = pc;
    state->next_pc = pc + 4;
    state->in_delay_slot = 0;
    return true;
}

int snapshot_load_legacy(struct vmm_machine *machine, const char *path)
{
    struct machine_state state;
    uint8_t *data;
    size_t len;

    int status = hostfile_read(path, LEGACY_BYTES, &data, &len, &machine->err);
    if (status != MF_OK)
        return status;
    if (len != LEGACY_BYTES)
        status = mf_fail(&machine->err, MF_E_SNAPSHOT, "%.150s has %zu bytes instead of %d", path,
                         len, LEGACY_BYTES);
    if (status == MF_OK)
        status = vmm_machine_state(machine, &state);
    if (status == MF_OK && !snapshot_decode_legacy(&machine->program, data, &state))
        status = mf_fail(&machine->err, MF_E_SNAPSHOT,
                         "%.100s goes on at instruction %u, which %.80s does not have: a snapshot "
                         "of another program", path, get32(data + 128), machine->config.binary);
    free(data);
    return status == MF_OK ? vmm_machine_set_state(machine, &state) : status;
}

/* Writes beside the file and renames, so that there is always a whole one. */
static int write_bytes(struct vmm_machine *machine, const char *path, const uint8_t *data,
                       size_t len)
{
    char *temporary;

    if (asprintf(&temporary, "%s.XXXXXX", path) < 0)
        return mf_fail(&machine->err, MF_E_NO_MEMORY, "out of memory");
    int fd = mkstemp(temporary), status = MF_OK;
    if (fd < 0 || write(fd, data, len) != (ssize_t)len || fsync(fd) != 0 ||
        rename(temporary, path) != 0) {
        status = fail_system(machine, "write", path);
        if (fd >= 0)
            unlink(temporary);
    }
    if (fd >= 0)
        close(fd);
    free(temporary);
    return status;
}

static int write_legacy(struct vmm_machine *machine, const char *path)
{
    struct machine_state state;
    uint8_t data[LEGACY_BYTES];

    int status = vmm_machine_state(machine, &state);
    if (status != MF_OK)
        return status;
    if (!snapshot_encode_legacy(&machine->program, &state, data))
        return mf_fail(&machine->err, MF_E_STATE,
                       "the older format cannot say where this is: 0x%08x is not the beginning of "
                       "an instruction of the text", state.pc);
    if (!machine->program.simple && !machine->warned_legacy) {
        machine->warned_legacy = true;
        vmm_io_say(&machine->io, "%s: the older format holds the registers only, not memory, HI, "
                                 "LO and devices", path);
    }
    return write_bytes(machine, path, data, sizeof data);
}

int snapshot_write(struct vmm_machine *machine, const char *path)
{
    struct mf_snapshot_write_options options = {.size = sizeof options};
    struct mf_snapshot *snapshot;

    if (machine->common->legacy_snapshots)
        return write_legacy(machine, path);
    int status =
        mf_sandbox_snapshot(atomic_load(&machine->sandbox), &snapshot, &machine->err);
    if (status != MF_OK)
        return status;
    status = mf_snapshot_write(snapshot, path, &options, NULL, &machine->err);
    mf_snapshot_close(snapshot);
    return status;
}
