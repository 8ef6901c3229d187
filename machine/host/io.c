/* Lines of machines to shared descriptors, and input without waiting. */
#include "machine/host/io.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* How long a wait for remote input goes on before it is asked whether the machine shall stop. */
#define SLICE_MS 50

/* Waits until writing to `fd` is possible; false after a signal, if it is not. */
static bool wait_writable(const struct vmm_io *io, int fd)
{
    struct pollfd fds[3] = {
        {.fd = fd, .events = POLLOUT},
        {.fd = io->terminal->wake_fd, .events = POLLIN},
        {.fd = io->stop_fd, .events = POLLIN},
    };

    while (poll(fds, 3, -1) < 0) {
        if (errno != EINTR && errno != EAGAIN)
            return true;
    }
    return fds[0].revents != 0 || (fds[1].revents == 0 && fds[2].revents == 0);
}

/* What a write has come to; a failure is kept for the end. */
static ssize_t note_remote(struct vmm_io *io, ssize_t n)
{
    if (n < 0 && n != -EINTR && io->write_error == 0)
        io->write_error = (int)-n;
    return n;
}

/* All of it: 0, or a negative errno, -EINTR when nobody reads and the machine shall stop. */
static int write_remote(struct vmm_io *io, int fd, const char *data, size_t len)
{
    struct pollfd stop = {.fd = io->stop_fd, .events = POLLIN};

    while (len > 0) {
        ssize_t n = io->remote->write(io->remote->context, fd, data, len);
        if (n == -EINTR && poll(&stop, 1, 0) <= 0)
            continue;
        if (n < 0)
            return (int)note_remote(io, n);
        data += n;
        len -= (size_t)n;
    }
    return 0;
}

/*
 * 0, or a negative errno. Never blocks in write: a pipe that is ready takes PIPE_BUF bytes, and
 * a signal must end the wait for a reader that does not read.
 */
static int write_all(struct vmm_io *io, int fd, const char *data, size_t len)
{
    if (io->remote != NULL)
        return write_remote(io, fd, data, len);
    while (len > 0) {
        /* Nobody reads, and the user wants it to end: that is no failure. */
        if (!wait_writable(io, fd))
            return -EINTR;
        ssize_t n = write(fd, data, len < PIPE_BUF ? len : PIPE_BUF);
        if (n >= 0) {
            data += n;
            len -= (size_t)n;
        } else if (errno != EINTR && errno != EAGAIN) {
            int error = errno;
            if (io->write_error == 0)
                io->write_error = error;
            return -error;
        }
    }
    return 0;
}

/* One line with its name in one piece, so that those of other machines do not mix with it. */
static int write_line(struct vmm_io *io, int fd, const char *data, size_t len)
{
    size_t head = strlen(io->name) + strlen("[] ");
    char *whole = malloc(head + len + 2);

    if (whole == NULL)
        return -ENOMEM;
    snprintf(whole, head + 1, "[%s] ", io->name);
    memcpy(whole + head, data, len);
    whole[head + len] = '\n';
    pthread_mutex_lock(&io->terminal->lock);
    int status = write_all(io, fd, whole, head + len + 1);
    pthread_mutex_unlock(&io->terminal->lock);
    free(whole);
    return status;
}

static int flush_line(struct vmm_io *io, int stream, int fd)
{
    struct vmm_line *line = &io->lines[stream];
    int status = 0;

    if (line->len > 0)
        status = write_line(io, fd, line->data, line->len);
    line->len = 0;
    return status;
}

static int add_to_line(struct vmm_io *io, int stream, int fd, const char *data, size_t len)
{
    struct vmm_line *line = &io->lines[stream];

    if (line->data == NULL)
        line->data = malloc(VMM_LINE_MAX);
    if (line->data == NULL)
        return -ENOMEM;
    for (size_t i = 0; i < len; i++) {
        int status = 0;
        if (data[i] == '\n') {
            status = write_line(io, fd, line->data, line->len);
            line->len = 0;
        } else {
            line->data[line->len++] = data[i];
            if (line->len == VMM_LINE_MAX)
                status = flush_line(io, stream, fd);
        }
        if (status != 0)
            return status;
    }
    return 0;
}

static int descriptor_of(const struct vmm_io *io, int stream)
{
    return stream == STDOUT_FILENO ? io->output : io->trace;
}

static ssize_t machine_write(void *context, int stream, const void *data, size_t len)
{
    struct vmm_io *io = context;
    int fd = descriptor_of(io, stream);
    int status;

    if (fd < 0 || len == 0)
        return (ssize_t)len;
    if (stream == STDOUT_FILENO)
        io->line_open = ((const char *)data)[len - 1] != '\n';
    /* Bytes as they are may wait outside of this call, where the guest can be moved. */
    if (io->remote != NULL && !io->prefix[stream])
        return note_remote(io, io->remote->write(io->remote->context, fd, data, len));
    if (io->prefix[stream]) {
        status = add_to_line(io, stream, fd, data, len);
    } else {
        status = write_all(io, fd, data, len);
    }
    return status == 0 ? (ssize_t)len : status;
}

/* As much as one line, byte by byte: what follows belongs to the debugger. */
static ssize_t read_line(int fd, char *buf, size_t len)
{
    size_t n = 0;

    while (n < len) {
        ssize_t got = read(fd, buf + n, 1);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0 && n == 0)
            return -1;
        if (got <= 0 || buf[n++] == '\n')
            break;
    }
    return (ssize_t)n;
}

static ssize_t read_input(const struct vmm_io *io, void *buf, size_t len)
{
    ssize_t n;

    if (io->remote != NULL) {
        n = io->remote->read(io->remote->context, buf, len);
        return n == -EINTR ? -EAGAIN : n;
    }
    do {
        n = io->terminal->input_by_line ? read_line(io->input, buf, len)
                                        : read(io->input, buf, len);
    } while (n < 0 && errno == EINTR);
    return n < 0 ? -errno : n;
}

static ssize_t machine_read(void *context, void *buf, size_t len)
{
    struct vmm_io *io = context;

    if (io->input < 0 || io->input_ended) {
        io->input_ended = true;
        io->reads++;
        return 0;
    }
    if (!vmm_io_wait(io, 0))
        return -EAGAIN;
    ssize_t n = read_input(io, buf, len);
    if (n < 0)
        return n;
    io->input_ended = n == 0;
    io->reads++;
    return n;
}

static void machine_log(void *context, enum mf_log_level level, const char *text, size_t len)
{
    (void)level;
    vmm_io_say(context, "%.*s", (int)len, text);
}

void vmm_io_table(struct vmm_io *io, struct mf_io *table)
{
    memset(table, 0, sizeof *table);
    table->context = io;
    table->read = machine_read;
    table->write = machine_write;
    table->log = machine_log;
}

/* In slices: what makes the machine stop is a descriptor, and the remote input is none. */
static bool wait_remote(const struct vmm_io *io, int timeout_ms)
{
    struct pollfd stop = {.fd = io->stop_fd, .events = POLLIN};

    do {
        int slice = timeout_ms < 0 || timeout_ms > SLICE_MS ? SLICE_MS : timeout_ms;
        if (io->remote->wait(io->remote->context, slice))
            return true;
        if (timeout_ms > 0)
            timeout_ms -= slice;
    } while (timeout_ms != 0 && poll(&stop, 1, 0) <= 0);
    return false;
}

bool vmm_io_wait(struct vmm_io *io, int timeout_ms)
{
    struct pollfd fds[3] = {
        {.fd = io->input, .events = POLLIN},
        {.fd = io->terminal->wake_fd, .events = POLLIN},
        {.fd = io->stop_fd, .events = POLLIN},
    };

    if (io->input < 0 || io->input_ended)
        return true;
    if (io->remote != NULL)
        return wait_remote(io, timeout_ms);
    if (poll(fds, 3, timeout_ms) <= 0)
        return false;
    return fds[0].revents != 0;
}

static int open_file(struct vmm_io *io, int stream, const char *path, int flags, int *fd,
                     struct mf_error *err)
{
    *fd = open(path, flags | O_CLOEXEC, 0666);
    if (*fd < 0)
        return mf_fail(err, MF_E_SYSTEM, "cannot open %.150s: %s", path, strerror(errno));
    io->own[stream] = true;
    return MF_OK;
}

int vmm_io_open(struct vmm_io *io, struct vmm_terminal *terminal, const struct vmm_config *config,
                bool gets_input, struct mf_error *err)
{
    const int write_flags = O_WRONLY | O_CREAT | O_TRUNC | O_APPEND;
    int status = MF_OK;

    memset(io, 0, sizeof *io);
    io->terminal = terminal;
    io->name = config->name;
    io->input = gets_input ? STDIN_FILENO : -1;
    io->output = terminal->output_to_stderr ? STDERR_FILENO : STDOUT_FILENO;
    io->trace = STDERR_FILENO;
    io->stop_fd = -1;
    io->prefix[STDOUT_FILENO] = terminal->names && config->stdout_path == NULL;
    io->prefix[STDERR_FILENO] = terminal->names && config->trace_path == NULL;
    if (config->stdin_path != NULL)
        status = open_file(io, STDIN_FILENO, config->stdin_path, O_RDONLY, &io->input, err);
    if (status == MF_OK && config->stdout_path != NULL)
        status = open_file(io, STDOUT_FILENO, config->stdout_path, write_flags, &io->output, err);
    if (status == MF_OK && config->trace_path != NULL)
        status = open_file(io, STDERR_FILENO, config->trace_path, write_flags, &io->trace, err);
    return status;
}

void vmm_io_receive(struct vmm_io *io, struct vmm_terminal *terminal, const char *name,
                    const struct vmm_remote *remote)
{
    io->terminal = terminal;
    io->name = name;
    io->remote = remote;
    io->input = remote != NULL ? STDIN_FILENO : -1;
    io->output = terminal->output_to_stderr ? STDERR_FILENO : STDOUT_FILENO;
    io->trace = STDERR_FILENO;
    io->prefix[STDOUT_FILENO] = io->prefix[STDERR_FILENO] = terminal->names;
}

void vmm_io_flush(struct vmm_io *io)
{
    flush_line(io, STDOUT_FILENO, io->output);
    flush_line(io, STDERR_FILENO, io->trace);
}

void vmm_io_close(struct vmm_io *io)
{
    int fds[3] = {io->input, io->output, io->trace};

    for (int stream = 0; stream < 3; stream++) {
        if (io->own[stream] && fds[stream] >= 0)
            close(fds[stream]);
        free(io->lines[stream].data);
    }
    memset(io, 0, sizeof *io);
    io->input = io->output = io->trace = io->stop_fd = -1;
}

static void print_message(struct vmm_io *io, const char *text)
{
    bool names = io->terminal->names;
    char *whole;

    if (asprintf(&whole, "mayfly vm: %s%s%s\n", names ? io->name : "", names ? ": " : "", text) < 0)
        return;
    vmm_io_print(io, whole);
    free(whole);
}

void vmm_io_say(struct vmm_io *io, const char *format, ...)
{
    char *text;
    va_list args;

    va_start(args, format);
    int n = vasprintf(&text, format, args);
    va_end(args);
    if (n < 0)
        return;
    /* Messages quote what programs and files say. */
    for (char *c = text; *c != 0; c++) {
        if (((unsigned char)*c < ' ' && *c != '\n') || *c == 0x7f)
            *c = '?';
    }
    print_message(io, text);
    free(text);
}

void vmm_io_print(struct vmm_io *io, const char *text)
{
    pthread_mutex_lock(&io->terminal->lock);
    if (io->remote != NULL)
        write_remote(io, STDERR_FILENO, text, strlen(text));
    else
        fputs(text, stderr);
    pthread_mutex_unlock(&io->terminal->lock);
}
