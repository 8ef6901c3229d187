/*
 * Sizes and durations: "64M", "1.5s". Used by the options and wherever a
 * command prints one. Every multiplication is checked, because a limit that
 * wraps around would be no limit.
 */
#include "units.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

#define LEN(a) (sizeof(a) / sizeof((a)[0]))

struct unit {
    const char *name;
    uint64_t factor;
};

static const struct unit size_units[] = {
    {"K", UINT64_C(1) << 10},
    {"M", UINT64_C(1) << 20},
    {"G", UINT64_C(1) << 30},
    {"T", UINT64_C(1) << 40},
};

static const struct unit time_units[] = {
    {"ns", 1},
    {"us", 1000},
    {"ms", 1000000},
    {"s", UINT64_C(1000000000)},
    {"m", UINT64_C(60000000000)},
    {"h", UINT64_C(3600000000000)},
};

/* Reads decimal digits; false when there are none or they overflow. */
static bool parse_digits(const char **text, uint64_t *value, bool *overflow)
{
    const char *p = *text;

    *value = 0;
    *overflow = false;
    for (; *p >= '0' && *p <= '9'; p++) {
        if (__builtin_mul_overflow(*value, UINT64_C(10), value) ||
            __builtin_add_overflow(*value, (uint64_t)(*p - '0'), value))
            *overflow = true;
    }
    if (p == *text)
        return false;
    *text = p;
    return !*overflow;
}

/* The factor of a size suffix: "", "B", "K", "KB", "KiB" and so on; 0 for none of these. */
static uint64_t size_factor(const char *suffix)
{
    if (*suffix == 0 || strcasecmp(suffix, "B") == 0)
        return 1;
    for (size_t i = 0; i < LEN(size_units); i++) {
        if (strncasecmp(suffix, size_units[i].name, 1) != 0)
            continue;
        const char *rest = suffix + 1;
        if (*rest == 0 || strcasecmp(rest, "B") == 0 || strcasecmp(rest, "iB") == 0)
            return size_units[i].factor;
    }
    return 0;
}

bool units_parse_size(const char *text, uint64_t *bytes, const char **why)
{
    bool overflow;
    uint64_t number;

    if (!parse_digits(&text, &number, &overflow)) {
        *why = overflow ? "is too large"
                        : "is not a size: write a number with K, M or G behind it, like 64M";
        return false;
    }
    uint64_t factor = size_factor(text);
    if (factor == 0) {
        *why = "is not a size: write a number with K, M or G behind it, like 64M";
        return false;
    }
    if (__builtin_mul_overflow(number, factor, bytes)) {
        *why = "is too large";
        return false;
    }
    if (*bytes == 0) {
        *why = "is not allowed: it must be above 0";
        return false;
    }
    return true;
}

static uint64_t time_factor(const char *suffix)
{
    for (size_t i = 0; i < LEN(time_units); i++) {
        if (strcmp(suffix, time_units[i].name) == 0)
            return time_units[i].factor;
    }
    return 0;
}

/*
 * Reads ".5" behind a number into *part, in units of 1 / *scale. Digits after
 * the ninth are below a nanosecond for every unit up to a second, and dropped.
 */
static bool parse_fraction(const char **text, uint64_t *part, uint64_t *scale)
{
    const char *p = *text;

    *part = 0;
    *scale = 1;
    if (*p != '.')
        return true;
    const char *digits = ++p;
    for (; *p >= '0' && *p <= '9'; p++) {
        if (*scale < UINT64_C(1000000000)) {
            *part = *part * 10 + (uint64_t)(*p - '0');
            *scale *= 10;
        }
    }
    *text = p;
    return p != digits;
}

/* *ns = (number + part / scale) * factor; false on overflow. */
static bool scale_time(uint64_t number, uint64_t part, uint64_t scale, uint64_t factor,
                       uint64_t *ns)
{
    /* part < scale <= 1e9 and factor <= 3.6e12: the product needs 128 bits. */
    uint64_t fraction = (uint64_t)((unsigned __int128)part * factor / scale);

    return !__builtin_mul_overflow(number, factor, ns) &&
           !__builtin_add_overflow(*ns, fraction, ns);
}

bool units_parse_duration(const char *text, uint64_t *ns, const char **why)
{
    bool overflow;
    uint64_t number, part, scale;

    if (!parse_digits(&text, &number, &overflow) || !parse_fraction(&text, &part, &scale)) {
        *why = overflow ? "is too long"
                        : "is not a duration: write a number and ns, us, ms, s, m or h, like 5s";
        return false;
    }
    uint64_t factor = time_factor(text);
    if (factor == 0) {
        *why = *text == 0 ? "has no unit: write ns, us, ms, s, m or h behind it, like 5s"
                          : "is not a duration: write a number and ns, us, ms, s, m or h, like 5s";
        return false;
    }
    if (!scale_time(number, part, scale, factor, ns)) {
        *why = "is too long";
        return false;
    }
    if (*ns == 0) {
        *why = "is not allowed: it must be above 0";
        return false;
    }
    return true;
}

void units_format_size(uint64_t bytes, char *buf, size_t size)
{
    for (size_t i = LEN(size_units); i-- > 0;) {
        uint64_t factor = size_units[i].factor;
        if (bytes < factor)
            continue;
        if (bytes % factor == 0)
            snprintf(buf, size, "%llu %siB", (unsigned long long)(bytes / factor),
                     size_units[i].name);
        else
            snprintf(buf, size, "%.1f %siB", (double)bytes / (double)factor, size_units[i].name);
        return;
    }
    snprintf(buf, size, "%llu bytes", (unsigned long long)bytes);
}

void units_format_duration(uint64_t ns, char *buf, size_t size)
{
    /* Microseconds are what most phases take; longer ones get the next unit. */
    if (ns < UINT64_C(10000000))
        snprintf(buf, size, "%.1f us", (double)ns / 1e3);
    else if (ns < UINT64_C(10000000000))
        snprintf(buf, size, "%.1f ms", (double)ns / 1e6);
    else
        snprintf(buf, size, "%.1f s", (double)ns / 1e9);
}
