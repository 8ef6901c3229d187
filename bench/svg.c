/*
 * The picture: for each figure with a floor a bar whose length is its ratio to the
 * floor, beside the bar of the floor itself, which is 1, and a mark at the target. The
 * scale is logarithmic, because the ratios lie between a few hundredths and a hundred.
 * One file without anything from elsewhere: colours are in its style, for light and for
 * dark surroundings; fonts are whatever the viewer has.
 */
#include "bench.h"

#include <float.h>
#include <math.h>
#include <string.h>

#define WIDTH      900
#define TOP        96 /* above the first row */
#define ROW        46
#define HEADING    30 /* of a group */
#define BOTTOM     64
#define PLOT_LEFT  170
#define PLOT_RIGHT 560
#define BAR        13
/* A line of text that fits, and its end. */
#define LINE_BYTES 121

/* The powers of ten between which all bars end. */
struct scale {
    int first, last;
};

/* Text between tags and in attributes (XML 1.0, 2.4). Control characters cannot be said. */
static void print_escaped(FILE *out, const char *text)
{
    for (; *text != '\0'; text++) {
        switch (*text) {
        case '<':
            fputs("&lt;", out);
            break;
        case '>':
            fputs("&gt;", out);
            break;
        case '&':
            fputs("&amp;", out);
            break;
        case '"':
            fputs("&quot;", out);
            break;
        default:
            /* What is no ASCII may be no UTF-8 either (a path). */
            fputc(*text >= ' ' && *text <= '~' ? *text : '?', out);
        }
    }
}

static bool has_bar(const struct bench_result *result)
{
    return bench_ratio(result) > 0;
}

/*
 * The decimal logarithm, to a millionth, and its inverse. Not those of the mathematical library:
 * it would be loaded at every start of the command, for this page alone.
 */
static double decades(double x)
{
    double result = 0, part = 1;
    int bit;

    for (; x >= 10 && result < DBL_MAX_10_EXP; x /= 10)
        result++;
    for (; x < 1 && result > DBL_MIN_10_EXP; x *= 10)
        result--;
    for (bit = 0; bit < 20; bit++) {
        part /= 2;
        x *= x;
        if (x >= 10) {
            x /= 10;
            result += part;
        }
    }
    return result;
}

static double power_of_ten(int power)
{
    double result = 1;

    for (; power > 0; power--)
        result *= 10;
    for (; power < 0; power++)
        result /= 10;
    return result;
}

static struct scale scale_of(const struct bench_result *results, size_t count)
{
    struct scale scale = {-1, 1};
    size_t i;

    for (i = 0; i < count; i++) {
        double ends[2] = {bench_ratio(&results[i]), results[i].target};
        int k;

        for (k = 0; k < 2 && has_bar(&results[i]); k++) {
            if (ends[k] <= 0)
                continue;
            if (decades(ends[k]) < scale.first)
                scale.first = (int)floor(decades(ends[k]));
            if (decades(ends[k]) > scale.last)
                scale.last = (int)ceil(decades(ends[k]));
        }
    }
    return scale;
}

/* Where a ratio is in the plot. */
static double x_of(const struct scale *scale, double ratio)
{
    return PLOT_LEFT +
           (PLOT_RIGHT - PLOT_LEFT) * (decades(ratio) - scale->first) /
               (scale->last - scale->first);
}

static void print_style(FILE *out)
{
    fputs("<style>\n"
          "text { font: 13px system-ui, sans-serif; fill: #1f2328; }\n"
          ".title { font-size: 18px; font-weight: 600; }\n"
          ".group { font-weight: 600; }\n"
          ".small { font-size: 12px; fill: #57606a; }\n"
          ".back { fill: #ffffff; }\n"
          ".grid { stroke: #d0d7de; }\n"
          ".one { stroke: #57606a; }\n"
          ".floor { fill: #8c959f; }\n"
          ".met { fill: #1f7a4d; }\n"
          ".missed { fill: #b35900; }\n"
          ".free { fill: #0969da; }\n"
          ".target { stroke: #cf222e; stroke-width: 2; }\n"
          "@media (prefers-color-scheme: dark) {\n"
          "text { fill: #e6edf3; }\n"
          ".small { fill: #9da7b3; }\n"
          ".back { fill: #0d1117; }\n"
          ".grid { stroke: #30363d; }\n"
          ".one { stroke: #9da7b3; }\n"
          ".floor { fill: #6e7681; }\n"
          ".met { fill: #3fb950; }\n"
          ".missed { fill: #e3893b; }\n"
          ".free { fill: #58a6ff; }\n"
          ".target { stroke: #ff7b72; }\n"
          "}\n"
          "</style>\n",
          out);
}

static void print_head(FILE *out, int height, const char *command)
{
    char machine[LINE_BYTES], line[LINE_BYTES];

    bench_machine(machine, sizeof(machine));
    fprintf(out,
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n"
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%d\" height=\"%d\" "
            "viewBox=\"0 0 %d %d\" role=\"img\">\n<title>Mayfly: figures beside their floors"
            "</title>\n",
            WIDTH, height, WIDTH, height);
    print_style(out);
    fprintf(out, "<rect class=\"back\" width=\"%d\" height=\"%d\"/>\n", WIDTH, height);
    fputs("<text class=\"title\" x=\"20\" y=\"32\">Mayfly: figures beside their floors</text>\n"
          "<text class=\"small\" x=\"20\" y=\"52\">",
          out);
    print_escaped(out, machine);
    snprintf(line, sizeof(line), "mayfly %s: %s", mf_version(), command);
    fputs("</text>\n<text class=\"small\" x=\"20\" y=\"70\">", out);
    print_escaped(out, line);
    fprintf(out, "%s</text>\n", strlen(line) == sizeof(line) - 1 ? "..." : "");
}

/* The lines at the powers of ten, and what is written below them. */
static void print_grid(FILE *out, const struct scale *scale, int bottom)
{
    int power;

    for (power = scale->first; power <= scale->last; power++) {
        double ratio = power_of_ten(power), x = x_of(scale, ratio);

        fprintf(out,
                "<line class=\"%s\" x1=\"%.1f\" y1=\"%d\" x2=\"%.1f\" y2=\"%d\"/>\n"
                "<text class=\"small\" x=\"%.1f\" y=\"%d\" text-anchor=\"middle\">%g</text>\n",
                power == 0 ? "one" : "grid", x, TOP - 8, x, bottom, x, bottom + 16, ratio);
    }
}

static void print_row(FILE *out, const struct scale *scale, const struct bench_result *result,
                      int y)
{
    double ratio = bench_ratio(result);
    bool met = result->target > 0 && ratio <= result->target;
    const char *look = result->target <= 0 ? "free" : met ? "met" : "missed";
    int digits = result->value.median < 10 ? 2 : 1;

    fputs("<g>\n<title>", out);
    print_escaped(out, result->figure->what);
    fputs("; floor: ", out);
    print_escaped(out, result->floor_measure->name);
    fprintf(out, "</title>\n<text x=\"20\" y=\"%d\">", y + 18);
    print_escaped(out, result->figure->name);
    fprintf(out,
            "</text>\n<rect class=\"%s\" x=\"%d\" y=\"%d\" width=\"%.1f\" height=\"%d\"/>\n"
            "<rect class=\"floor\" x=\"%d\" y=\"%d\" width=\"%.1f\" height=\"%d\"/>\n",
            look, PLOT_LEFT, y, x_of(scale, ratio) - PLOT_LEFT, BAR, PLOT_LEFT, y + BAR + 2,
            x_of(scale, 1) - PLOT_LEFT, BAR);
    if (result->target > 0)
        fprintf(out, "<line class=\"target\" x1=\"%.1f\" y1=\"%d\" x2=\"%.1f\" y2=\"%d\"/>\n",
                x_of(scale, result->target), y - 3, x_of(scale, result->target), y + BAR + 3);
    fprintf(out, "<text x=\"%d\" y=\"%d\">%.*f : %.*f %s = %.*f%s</text>\n", PLOT_RIGHT + 20,
            y + 12, digits, result->value.median, digits, result->floor.median,
            result->figure->unit, ratio < 0.1 ? 3 : 2, ratio,
            bench_is_noisy(result, NULL) ? " (noisy)" : "");
    if (result->target > 0)
        fprintf(out, "<text class=\"small\" x=\"%d\" y=\"%d\">target %g, %s</text>\n",
                PLOT_RIGHT + 20, y + 28, result->target, look);
    fputs("</g>\n", out);
}

/* The one after `result` that has a bar, up to `end`. */
static const struct bench_result *next_bar(const struct bench_result *result,
                                           const struct bench_result *end)
{
    while (result < end && !has_bar(result))
        result++;
    return result;
}

/* Whether bars of more than one group are there, so that each group needs its name. */
static bool has_groups(const struct bench_result *results, const struct bench_result *end)
{
    const struct bench_result *first = next_bar(results, end), *at;

    for (at = first; at < end; at = next_bar(at + 1, end)) {
        if (strcmp(at->figure->group, first->figure->group) != 0)
            return true;
    }
    return false;
}

/* Prints them one below the other; without `out` nothing. Returns where the last one ends. */
static int print_rows(FILE *out, const struct scale *scale, const struct bench_result *results,
                      size_t count)
{
    const struct bench_result *end = results + count, *at;
    bool groups = has_groups(results, end);
    const char *group = "";
    int y = TOP;

    for (at = next_bar(results, end); at < end; at = next_bar(at + 1, end)) {
        if (groups && strcmp(at->figure->group, group) != 0) {
            group = at->figure->group;
            if (out != NULL)
                fprintf(out, "<text class=\"group\" x=\"20\" y=\"%d\">%s</text>\n", y + 14,
                        group);
            y += HEADING;
        }
        if (out != NULL)
            print_row(out, scale, at, y);
        y += ROW;
    }
    return y;
}

void bench_print_svg(FILE *out, const struct bench_result *results, size_t count,
                     const char *command)
{
    struct scale scale = scale_of(results, count);
    int bottom = print_rows(NULL, &scale, results, count);

    print_head(out, bottom + BOTTOM, command);
    print_grid(out, &scale, bottom);
    print_rows(out, &scale, results, count);
    fprintf(out,
            "<text class=\"small\" x=\"20\" y=\"%d\">Bars: the figure, below it its floor (grey, "
            "1); logarithmic. Red: the target. Shorter is better. Figures without a floor are left "
            "out.</text>\n</svg>\n",
            bottom + 44);
}
