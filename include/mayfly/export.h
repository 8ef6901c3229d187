/* MF_API marks what the shared library exports; see src/mayfly.map. */
#ifndef MAYFLY_EXPORT_H
#define MAYFLY_EXPORT_H

#define MF_API __attribute__((visibility("default")))

#endif
