/*
 * Finding backends. kvm is part of the library on x86-64 Linux; soft is a module,
 * loaded when it is asked for, because it needs Unicorn (large, and GPL-2.0).
 *
 * The handle of the module is the one process-wide state of the library. It is
 * written once, under a lock, always with the same meaning (the table of functions
 * inside the module is constant), and never taken back; so no sandbox can notice
 * another by it.
 */
#include "base/checked.h"
#include "base/error.h"
#include "vm/vm.h"

#if MAYFLY_HAVE_KVM
#include "vm/kvm/kvm.h"
#endif

#include <dlfcn.h>
#include <limits.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <unistd.h>

#define MODULE_FILE "libmayfly_soft.so"

#if !defined(MAYFLY_MODULE_DIR) || !defined(MAYFLY_BIN_TO_LIB)
#error "the build must say where modules are installed: MAYFLY_MODULE_DIR, MAYFLY_BIN_TO_LIB"
#endif

static pthread_mutex_t soft_lock = PTHREAD_MUTEX_INITIALIZER;
static const struct vm_ops *soft_ops; /* guarded by soft_lock; set once */

const char *mf_backend_name(enum mf_backend backend)
{
    static const char *const names[] = {
        [MF_BACKEND_AUTO] = "auto", [MF_BACKEND_KVM] = "kvm", [MF_BACKEND_SOFT] = "soft"};
    return (unsigned)backend < ARRAY_LEN(names) ? names[backend] : NULL;
}

/* A growing line of what was tried; cut when it is full. */
struct trail {
    char text[160];
    size_t len;
};

static void __attribute__((format(printf, 2, 3))) trail_add(struct trail *trail,
                                                            const char *format, ...)
{
    va_list args;
    va_start(args, format);
    int n = vsnprintf(trail->text + trail->len, sizeof trail->text - trail->len, format, args);
    va_end(args);
    if (n > 0)
        trail->len = MIN(trail->len + (size_t)n, sizeof trail->text - 1);
}

/*
 * Tries one directory. A file that is not there is no news; one that does not load
 * is, and its reason goes to the trail.
 */
static void *try_directory(const char *directory, struct trail *trail)
{
    char path[PATH_MAX];
    int n = snprintf(path, sizeof path, "%s/%s", directory, MODULE_FILE);
    if (n < 0 || (size_t)n >= sizeof path)
        return NULL;
    if (access(path, F_OK) != 0) {
        trail_add(trail, "%s%s", trail->len ? ", " : "", directory);
        return NULL;
    }
    void *module = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (!module) {
        const char *reason = dlerror();
        trail_add(trail, "%s%s", trail->len ? ", " : "", reason ? reason : path);
    }
    return module;
}

/*
 * The directory of the file that holds this code: the library, or a program with it inside.
 * The name that the loader has for a program is argv[0], which anybody can choose, and
 * without a slash it would be looked for in the current directory.
 */
static bool own_directory(char *out, size_t size)
{
    Dl_info info, program;
    char path[PATH_MAX];
    if (!dladdr((void *)mf_backend_name, &info) || !info.dli_fname)
        return false;
    bool inside = dladdr((void *)getauxval(AT_PHDR), &program) &&
                  program.dli_fbase == info.dli_fbase;
    if (!realpath(inside ? "/proc/self/exe" : info.dli_fname, path))
        return false;
    char *slash = strrchr(path, '/');
    if (!slash)
        return false;
    *slash = '\0';
    int n = snprintf(out, size, "%s", path);
    return n >= 0 && (size_t)n < size;
}

static void *open_module(struct trail *trail)
{
    /* Not in programs with raised privileges: the variable belongs to their caller. */
    const char *given = secure_getenv("MAYFLY_MODULE_PATH");
    void *module = given && *given ? try_directory(given, trail) : NULL;
    /*
     * From the library in a build tree, the library in an installed tree, and a
     * program in the bin of an installed tree that has the library inside.
     */
    static const char *const places[] = {"", "/mayfly", "/" MAYFLY_BIN_TO_LIB "/mayfly"};
    char own[PATH_MAX - 32], directory[PATH_MAX];
    bool known = own_directory(own, sizeof own);
    for (size_t i = 0; !module && known && i < ARRAY_LEN(places); i++) {
        snprintf(directory, sizeof directory, "%s%s", own, places[i]);
        module = try_directory(directory, trail);
    }
    return module ? module : try_directory(MAYFLY_MODULE_DIR, trail);
}

static int load_soft(const struct vm_ops **out, struct mf_error *err)
{
    struct trail trail = {.len = 0};
    void *module = open_module(&trail);
    if (!module)
        return error_set(err, MF_E_BACKEND,
                         "the module " MODULE_FILE " is not there or does not load "
                         "(it needs Unicorn: apt install libunicorn2); tried %s",
                         trail.text);
    const struct vm_ops *ops = dlsym(module, VM_MODULE_SYMBOL);
    if (!ops || ops->id != MF_BACKEND_SOFT) {
        dlclose(module);
        return error_set(err, MF_E_BACKEND, "%s is not a backend module of this version",
                         MODULE_FILE);
    }
    *out = ops;
    return 0;
}

static int get_soft(const struct vm_ops **out, struct mf_error *err)
{
    int rc = 0;
    pthread_mutex_lock(&soft_lock);
    if (!soft_ops)
        rc = load_soft(&soft_ops, err);
    *out = soft_ops;
    pthread_mutex_unlock(&soft_lock);
    return rc;
}

static int get_kvm(const struct vm_ops **out, struct mf_error *err)
{
#if MAYFLY_HAVE_KVM
    (void)err;
    *out = &kvm_ops;
    return 0;
#else
    (void)out;
    return error_set(err, MF_E_BACKEND, "the kvm backend is for x86-64 Linux only");
#endif
}

int vm_backend_get(enum mf_backend id, const struct vm_ops **out, struct mf_error *err)
{
    switch (id) {
    case MF_BACKEND_KVM:
        return get_kvm(out, err);
    case MF_BACKEND_SOFT:
        return get_soft(out, err);
    case MF_BACKEND_AUTO:
        break;
    }
    return error_set(err, MF_E_ARGUMENT, "no backend has the number %d", (int)id);
}
