/* The version of the library and of the ABI that it speaks. */
#ifndef MAYFLY_VERSION_H
#define MAYFLY_VERSION_H

#include <mayfly/export.h>

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* The version that was compiled against: semantic versioning. */
#define MF_VERSION_MAJOR 0
#define MF_VERSION_MINOR 1
#define MF_VERSION_PATCH 0
#define MF_VERSION_STRING "0.1.0"

/* The version that is linked. Static. */
MF_API const char *mf_version(void);

/* The ABI between host and guest: major << 16 | minor. */
MF_API uint32_t mf_abi_version(void);

#ifdef __cplusplus
}
#endif

#endif
