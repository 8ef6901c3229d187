/*
 * Names of running sandboxes, and the folder with their control sockets: NAME.sock, one for each
 * name, in $XDG_RUNTIME_DIR/mayfly; where that variable is not set, in /run/user/UID/mayfly or,
 * without the former, in /tmp/mayfly-UID. A socket that can be seen there has somebody who
 * listens, or whoever listened was killed: then it is stale, and whoever notices removes it.
 */
#ifndef CLI_NAMES_H
#define CLI_NAMES_H

#include <mayfly/mayfly.h>

#include <stdbool.h>
#include <stddef.h>

/* The longest name, without its NUL. */
#define NAMES_LEN_MAX 64

/* Whether `len` bytes are a name: 1 to 64 of [A-Za-z0-9._-], the first one neither '.' nor '-'. */
bool names_are_valid(const char *text, size_t len);

/* MF_E_ARGUMENT, with the rule, when `name` is none. */
int names_check(const char *name, struct mf_error *err);

/*
 * Opens the folder, with `create` made if need be. *dir is the caller's to close; it is -1, with
 * MF_OK, when there is no folder and none shall be made. A folder that others can look into,
 * that belongs to somebody else, or that is a symbolic link, is refused with MF_E_SYSTEM:
 * whoever made it could have put sockets there.
 */
int names_open(bool create, int *dir, struct mf_error *err);

/*
 * A listening, non-blocking socket of mode 0600 that nobody finds yet: `path` gets the entry of
 * the folder where it is. Returns the descriptor, or MF_E_SYSTEM.
 */
#define NAMES_TEMPORARY_MAX 64
int names_listen(int dir, char path[NAMES_TEMPORARY_MAX], struct mf_error *err);

/* Removes that entry; names that were given to the socket stay. */
void names_hide(int dir, const char *path);

/*
 * Gives the socket a name, and takes the place of a stale one. MF_E_BUSY: somebody who is
 * running has it.
 */
int names_publish(int dir, const char *path, const char *name, struct mf_error *err);

/* Takes a name that names_publish gave away again; before the socket is closed. */
void names_remove(int dir, const char *name);

/*
 * Connects to the socket of a name; a non-blocking descriptor, or MF_E_NO_FUNCTION: nobody is
 * called so (a stale socket is removed), MF_E_SYSTEM otherwise.
 */
int names_connect(int dir, const char *name, struct mf_error *err);

/*
 * All names in the folder, sorted; stale ones too, which names_connect notices. *names is
 * freed with names_free. Returns how many there are, or MF_E_SYSTEM, MF_E_NO_MEMORY.
 */
int names_list(int dir, char ***names, struct mf_error *err);
void names_free(char **names, int n);

#endif
