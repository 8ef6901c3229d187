/* What an image holds; for images, and for the programs in snapshots. */
#ifndef CLI_INSPECT_H
#define CLI_INSPECT_H

#include "report.h"

/* Prints all of it for people to standard output. */
void inspect_print_image(const struct mf_image *image);

/* The same as a JSON object; NULL: no memory. */
json_t *inspect_image_json(const struct mf_image *image);

#endif
