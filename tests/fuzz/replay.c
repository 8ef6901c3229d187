/*
 * Runs a fuzz target over files instead of generated input, so that the corpus
 * and the regression cases in it are tests with any compiler. Arguments are
 * files and folders of files; a folder that is missing or empty is an error,
 * because a replay of nothing shows nothing.
 */
#include <dirent.h>
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* The fuzz target, as libFuzzer calls it. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int replay_file(const char *path)
{
    FILE *file = fopen(path, "rb");
    if (file == NULL) {
        fprintf(stderr, "replay: %s: %s\n", path, strerror(errno));
        return -1;
    }
    struct stat st;
    uint8_t *data = NULL;
    int status = -1;
    if (fstat(fileno(file), &st) == 0) {
        /* Exactly as long as the input, so that a sanitizer sees the end of it. */
        size_t size = (size_t)st.st_size;
        data = malloc(size ? size : 1);
        if (data != NULL && fread(data, 1, size, file) == size) {
            LLVMFuzzerTestOneInput(data, size);
            status = 0;
        }
    }
    if (status != 0)
        fprintf(stderr, "replay: cannot read %s\n", path);
    free(data);
    fclose(file);
    return status;
}

/* Replays each regular file of a folder; returns how many, or -1. */
static long replay_folder(const char *path, DIR *folder)
{
    long count = 0;
    struct dirent *entry;
    while ((entry = readdir(folder)) != NULL) {
        char name[4096];
        struct stat st;
        if (entry->d_name[0] == '.')
            continue;
        if (snprintf(name, sizeof name, "%s/%s", path, entry->d_name) >= (int)sizeof name)
            return -1;
        if (stat(name, &st) != 0 || !S_ISREG(st.st_mode))
            continue;
        if (replay_file(name) != 0)
            return -1;
        count++;
    }
    return count;
}

int main(int argc, char **argv)
{
    long total = 0;
    for (int i = 1; i < argc; i++) {
        DIR *folder = opendir(argv[i]);
        long count = 1;
        if (folder != NULL) {
            count = replay_folder(argv[i], folder);
            closedir(folder);
        } else if (replay_file(argv[i]) != 0) {
            return 1;
        }
        if (count < 0)
            return 1;
        total += count;
    }
    printf("replayed %ld inputs\n", total);
    return total > 0 ? 0 : 1;
}
