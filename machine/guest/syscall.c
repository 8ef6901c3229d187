/*
 * System calls: SPIM's 1 to 17 and MARS's 30, 34 to 36 and 40 to 44. The number is in $v0,
 * arguments are in $a0 to $a3 or $f12, results go to $v0, $f0 or $a0. Numbers are printed
 * in SPIM's formats.
 */
#include "core.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { V0 = 2, A0 = 4, A1 = 5, A2 = 6 };

#define LINE_MOST 256 /* characters of a number that is read */

enum service {
    PRINT_INT = 1,
    PRINT_FLOAT = 2,
    PRINT_DOUBLE = 3,
    PRINT_STRING = 4,
    READ_INT = 5,
    READ_FLOAT = 6,
    READ_DOUBLE = 7,
    READ_STRING = 8,
    SBRK = 9,
    EXIT = 10,
    PRINT_CHAR = 11,
    READ_CHAR = 12,
    OPEN = 13,
    READ = 14,
    WRITE = 15,
    CLOSE = 16,
    EXIT2 = 17,
    TIME = 30,
    PRINT_HEX = 34,
    PRINT_BINARY = 35,
    PRINT_UNSIGNED = 36,
    RANDOM_SEED = 40,
    RANDOM_INT = 41,
    RANDOM_RANGE = 42,
    RANDOM_FLOAT = 43,
    RANDOM_DOUBLE = 44,
};

static double double_of(uint64_t bits)
{
    double value;
    memcpy(&value, &bits, sizeof(value));
    return value;
}

static float single_of(uint32_t bits)
{
    float value;
    memcpy(&value, &bits, sizeof(value));
    return value;
}

__attribute__((format(printf, 2, 3))) static enum outcome print(struct machine *m,
                                                                const char *format, ...)
{
    char text[512]; /* the longest number: a double of 18 digits, or 32 binary ones */
    va_list args;

    va_start(args, format);
    int len = vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    if (len > 0)
        console_write(m, text, (size_t)len < sizeof(text) ? (size_t)len : sizeof(text) - 1);
    return OUTCOME_NEXT;
}

static enum outcome bad_address(struct machine *m, uint32_t address, bool store)
{
    fault_address(m, store ? EXC_ADES : EXC_ADEL, address,
                  "a system call was given an address that has no memory");
    return OUTCOME_FAULT;
}

static enum outcome print_string(struct machine *m)
{
    uint32_t address = m->r[A0];
    char part[256];

    for (;;) {
        size_t want = sizeof(part) - address % sizeof(part);
        size_t got = memory_read(m, address, part, want);
        size_t len = strnlen(part, got);
        console_write(m, part, len);
        if (len < got)
            return OUTCOME_NEXT;
        address += (uint32_t)got;
        if (got < want)
            return bad_address(m, address, false);
    }
}

static enum outcome print_binary(struct machine *m)
{
    char digits[32];

    for (unsigned i = 0; i < 32; i++)
        digits[i] = (char)('0' + (m->r[A0] >> (31 - i) & 1));
    console_write(m, digits, sizeof(digits));
    return OUTCOME_NEXT;
}

/* A line with a number in it, which at the end of the input is empty. */
static bool number_line(struct machine *m, char line[LINE_MOST + 1])
{
    long len = console_line(m, line, LINE_MOST);

    if (len < 0)
        return false;
    line[len] = 0;
    return true;
}

static enum outcome read_number(struct machine *m, enum service service)
{
    char line[LINE_MOST + 1];

    if (!number_line(m, line))
        return OUTCOME_AGAIN;
    if (service == READ_INT) {
        m->r[V0] = (uint32_t)strtoll(line, NULL, 10);
    } else if (service == READ_FLOAT) {
        float value = strtof(line, NULL);
        memcpy(&m->f[0], &value, sizeof(value));
    } else {
        double value = strtod(line, NULL);
        memcpy(&m->fd[0], &value, sizeof(value));
    }
    return OUTCOME_NEXT;
}

/* At most $a1 - 1 bytes of a line to $a0, with its newline, and a zero behind them. */
static enum outcome read_string(struct machine *m)
{
    char text[4096];
    size_t most = m->r[A1] > sizeof(text) ? sizeof(text) : m->r[A1];

    if (most == 0 || m->r[A1] > UINT32_C(0x7fffffff))
        return OUTCOME_NEXT;
    long len = console_line(m, text, most - 1);
    if (len < 0)
        return OUTCOME_AGAIN;
    text[len] = 0;
    size_t done = memory_write(m, m->r[A0], text, (size_t)len + 1, false);
    if (done <= (size_t)len)
        return bad_address(m, m->r[A0] + (uint32_t)done, true);
    return OUTCOME_NEXT;
}

static enum outcome read_char(struct machine *m)
{
    int byte = console_peek(m);

    if (byte == -2)
        return OUTCOME_AGAIN;
    if (byte >= 0)
        console_take(m);
    m->r[V0] = (uint32_t)byte;
    return OUTCOME_NEXT;
}

/* read: what is there, up to $a2 bytes or the end of a line. */
static enum outcome read_descriptor(struct machine *m)
{
    char bytes[4096];
    size_t most = m->r[A2] > sizeof(bytes) ? sizeof(bytes) : m->r[A2];

    if (m->r[A0] != 0) {
        m->r[V0] = UINT32_MAX;
        return OUTCOME_NEXT;
    }
    if (most == 0) {
        m->r[V0] = 0;
        return OUTCOME_NEXT;
    }
    long len = console_line(m, bytes, most);
    if (len < 0)
        return OUTCOME_AGAIN;
    size_t done = memory_write(m, m->r[A1], bytes, (size_t)len, false);
    if (done < (size_t)len)
        return bad_address(m, m->r[A1] + (uint32_t)done, true);
    m->r[V0] = (uint32_t)len;
    return OUTCOME_NEXT;
}

static enum outcome write_descriptor(struct machine *m)
{
    char part[512];
    uint32_t address = m->r[A1], left = m->r[A2];

    if (m->r[A0] != 1 && m->r[A0] != 2) {
        m->r[V0] = UINT32_MAX;
        return OUTCOME_NEXT;
    }
    if (m->r[A0] == 2)
        console_flush(m);
    while (left > 0) {
        size_t want = left < sizeof(part) ? left : sizeof(part);
        size_t got = memory_read(m, address, part, want);
        if (m->r[A0] == 2)
            m->host.write(m->host.context, 2, part, got);
        else
            console_write(m, part, got);
        address += (uint32_t)got;
        left -= (uint32_t)got;
        if (got < want)
            return bad_address(m, address, false);
    }
    m->r[V0] = m->r[A2];
    return OUTCOME_NEXT;
}

static enum outcome tell_time(struct machine *m)
{
    uint64_t now = m->host.time_ms(m->host.context);

    m->r[A0] = (uint32_t)now;
    m->r[A1] = (uint32_t)(now >> 32);
    return OUTCOME_NEXT;
}

static enum outcome random_service(struct machine *m, enum service service)
{
    uint32_t id = m->r[A0];

    if (service == RANDOM_SEED) {
        random_seed(m, id, m->r[A1]);
    } else if (service == RANDOM_INT) {
        m->r[A0] = random_bits(m, id, 32);
    } else if (service == RANDOM_RANGE) {
        if (m->r[A1] == 0 || m->r[A1] > INT32_MAX) {
            fault_plain(m, EXC_SYS, "the bound of a random number must be at least 1");
            return OUTCOME_FAULT;
        }
        m->r[A0] = random_below(m, id, m->r[A1]);
    } else if (service == RANDOM_FLOAT) {
        float value = (float)random_bits(m, id, 24) / 0x1p24f;
        memcpy(&m->f[0], &value, sizeof(value));
    } else {
        uint64_t high = (uint64_t)random_bits(m, id, 26) << 27;
        double value = (double)(high + random_bits(m, id, 27)) * 0x1p-53;
        memcpy(&m->fd[0], &value, sizeof(value));
    }
    return OUTCOME_NEXT;
}

static enum outcome leave(struct machine *m, int32_t code)
{
    cpu_stop(m, MACHINE_EXIT, code);
    return OUTCOME_NEXT;
}

static enum outcome unknown(struct machine *m)
{
    static const char why[] = "there is no service of the number in $v0";

    fault_plain(m, EXC_SYS, why);
    return OUTCOME_FAULT;
}

enum outcome syscall_run(struct machine *m)
{
    uint32_t *r = m->r;

    m->system_calls++;
    switch (r[V0]) {
    case PRINT_INT:
        return print(m, "%d", (int)(int32_t)r[A0]);
    case PRINT_FLOAT:
        return print(m, "%.8f", (double)single_of(m->f[12]));
    case PRINT_DOUBLE:
        return print(m, "%.18g", double_of(m->fd[6]));
    case PRINT_STRING:
        return print_string(m);
    case READ_INT:
    case READ_FLOAT:
    case READ_DOUBLE:
        return read_number(m, (enum service)r[V0]);
    case READ_STRING:
        return read_string(m);
    case SBRK:
        r[V0] = memory_sbrk(m, (int32_t)r[A0]);
        return OUTCOME_NEXT;
    case EXIT:
        return leave(m, 0);
    case PRINT_CHAR:
        return print(m, "%c", (int)(r[A0] & 0xff));
    case READ_CHAR:
        return read_char(m);
    case OPEN: /* there are no files */
        r[V0] = UINT32_MAX;
        return OUTCOME_NEXT;
    case READ:
        return read_descriptor(m);
    case WRITE:
        return write_descriptor(m);
    case CLOSE:
        r[V0] = r[A0] <= 2 ? 0 : UINT32_MAX;
        return OUTCOME_NEXT;
    case EXIT2:
        return leave(m, (int32_t)r[A0]);
    case TIME:
        return tell_time(m);
    case PRINT_HEX:
        return print(m, "0x%08x", (unsigned)r[A0]);
    case PRINT_BINARY:
        return print_binary(m);
    case PRINT_UNSIGNED:
        return print(m, "%u", (unsigned)r[A0]);
    case RANDOM_SEED:
    case RANDOM_INT:
    case RANDOM_RANGE:
    case RANDOM_FLOAT:
    case RANDOM_DOUBLE:
        return random_service(m, (enum service)r[V0]);
    default:
        return unknown(m);
    }
}
