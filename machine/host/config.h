/*
 * Configuration files of machines: `key = value` lines, `#` comments, paths relative to the
 * file. docs/machine.md and mayfly-vm(1) say what each key means; KEYS in config.c has them.
 */
#ifndef MACHINE_HOST_CONFIG_H
#define MACHINE_HOST_CONFIG_H

#include <mayfly/mayfly.h>

enum vmm_endian { VMM_ENDIAN_ANY, VMM_ENDIAN_LITTLE, VMM_ENDIAN_BIG };

#define VMM_SLICE_DEFAULT  100
#define VMM_MEMORY_DEFAULT (UINT64_C(16) << 20)
#define VMM_MEMORY_MIN     (UINT64_C(64) << 10)
#define VMM_MEMORY_MAX     (UINT64_C(2) << 30)

/* How one machine is made. Strings are from malloc; NULL: not given. */
struct vmm_config {
    char *file;    /* the configuration file */
    char *name;    /* never NULL once read */
    char *binary;  /* the program; never NULL once read */
    char *snapshot; /* to start from */
    bool snapshot_may_miss; /* it is the default one: without it the start is a cold one */
    char *folder;  /* where SNAPSHOT writes */
    char *stdin_path, *stdout_path, *trace_path;
    char *disk_path;
    bool trace;
    enum vmm_endian endian;
    uint32_t devices; /* enum machine_device bits */
    uint64_t slice, memory_bytes;
    uint64_t max_instructions; /* 0: no limit */
};

/*
 * Reads the configuration file. Errors name file and line: MF_E_ARGUMENT (unknown or repeated
 * key, bad value), MF_E_SYSTEM, MF_E_NO_MEMORY. *config is to be given to vmm_config_fini
 * in every case.
 */
int vmm_config_read(const char *path, struct vmm_config *config, struct mf_error *err);

/* What a machine has that a program alone stands for. The same rules. */
int vmm_config_of_program(const char *path, struct vmm_config *config, struct mf_error *err);

/* Whether the file at `path` is a program and no configuration, by its name and beginning. */
bool vmm_config_is_program(const char *path);

/* Why no machine can have this name, as the rest of a sentence (static); NULL: it can. */
const char *vmm_config_refuse_name(const char *name);

void vmm_config_fini(struct vmm_config *config);

#endif
