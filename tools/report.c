/* SPDX-License-Identifier: MIT */
/*
 * report.c - from recordings to a report on a stream or in a file.
 */
#include "report.h"

#include <errno.h>
#include <jansson.h>
#include <langinfo.h>
#include <locale.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "cmd.h"
#include "mem.h"
#include "msg.h"
#include "utf8.h"
#include "view.h"

#define COLUMNS_DEFAULT 120 /* where there is no terminal that says so */
#define COLUMNS_MIN 40
#define COLUMNS_MAX 1000
#define BUFFER_BYTES (256u << 10) /* the JSON of 100,000 stacks is a gigabyte */

static const struct view *const views[] = {&view_text, &view_json,       &view_html, &view_folded,
                                           &view_svg,  &view_speedscope, &view_pprof};
#define N_VIEWS (sizeof views / sizeof views[0])

static const struct view *find_view(const char *name)
{
    for (size_t i = 0; i < N_VIEWS; i++)
        if (!strcmp(views[i]->name, name))
            return views[i];
    return NULL;
}

bool report_has_format(const char *name)
{
    return find_view(name) != NULL;
}

const char *report_formats(void)
{
    static char names[N_VIEWS * 16];

    names[0] = 0;
    for (size_t i = 0; i < N_VIEWS; i++) {
        strncat(names, i ? ", " : "", sizeof names - strlen(names) - 1);
        strncat(names, views[i]->name, sizeof names - strlen(names) - 1);
    }
    return names;
}

bool report_find_view(const char *name, enum model_view *view)
{
    for (enum model_view i = 0; i < MODEL_VIEWS; i++) {
        if (strcmp(model_view_name(i), name))
            continue;
        *view = i;
        return true;
    }
    return false;
}

/* Says what went wrong, in the way of the format. */
static void say(const struct view *view, const char *error)
{
    json_t *document;
    char *clean, *text;

    if (view != &view_json) {
        msg_error("%s", error);
        return;
    }
    clean = utf8_clean(error, strlen(error));
    document = json_pack("{s:s, s:s}", "schema", "gilscope.error/1", "error", clean);
    text = document ? json_dumps(document, JSON_COMPACT | JSON_ENSURE_ASCII) : NULL;
    if (text)
        fprintf(stderr, "%s\n", text); /* stderr is line-buffered: one write */
    free(text);
    free(clean);
    json_decref(document);
}

static int columns_of(FILE *stream)
{
    const char *text = getenv("COLUMNS");
    struct winsize size;
    int columns = text ? atoi(text) : 0;

    if (columns <= 0 && !ioctl(fileno(stream), TIOCGWINSZ, &size))
        columns = size.ws_col;
    if (columns <= 0)
        return COLUMNS_DEFAULT;
    return columns < COLUMNS_MIN ? COLUMNS_MIN : columns > COLUMNS_MAX ? COLUMNS_MAX : columns;
}

/* The conventions of no-color.org and bixense.com/clicolors. */
static bool wants_color(FILE *stream)
{
    const char *no = getenv("NO_COLOR"), *force = getenv("CLICOLOR_FORCE"), *term = getenv("TERM");

    if (no && no[0])
        return false;
    if (force && force[0] && strcmp(force, "0"))
        return true;
    return isatty(fileno(stream)) && term && strcmp(term, "dumb");
}

/* The argument as a shell takes it. */
static char *shell_word(const char *word)
{
    static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-./+:@%=,";
    char *quoted, *to;

    if (word[0] && word[0] != '-' && strspn(word, plain) == strlen(word))
        return mem_print("%s", word);
    to = quoted = mem_zeroed(strlen(word) * 4 + 8, 1);
    to += sprintf(to, "%s'", word[0] == '-' ? "./" : "");
    for (; *word; word++)
        to += sprintf(to, *word == '\'' ? "'\\''" : "%c", *word);
    strcpy(to, "'");
    return quoted;
}

/* A path below the working directory without it. */
static const char *shortened(const char *path)
{
    char *here = getcwd(NULL, 0);
    size_t length = here ? strlen(here) : 0;

    if (length > 1 && !strncmp(path, here, length) && path[length] == '/' && path[length + 1])
        path += length + 1;
    free(here);
    return path;
}

/* What follows the format's name on the command line of another report on the same. */
static char *shell_words(char *const *words, size_t n)
{
    char *line = mem_print("%s", "");

    for (size_t i = 0; i < n; i++) {
        char *word = shell_word(shortened(words[i])), *longer = mem_print("%s%s%s", line, i ? " " : "", word);
        free(word);
        free(line);
        line = longer;
    }
    return line;
}

static void render(const struct view *view, const struct report_options *asked, const struct model *model,
                   char *const *recordings, size_t n, FILE *stream)
{
    struct view_options options = {.view = MODEL_CHARGED};
    char *words = shell_words(recordings, n);

    options.view_given = asked->view && report_find_view(asked->view, &options.view);
    if (view->needs & VIEW_NEEDS_TERMINAL) {
        setlocale(LC_CTYPE, "");
        options.columns = columns_of(stream);
        options.color = wants_color(stream);
        options.utf8 = !strcmp(nl_langinfo(CODESET), "UTF-8");
        options.recording = n <= 4 ? words : NULL;
    }
    view->render(model, &options, stream);
    free(words);
}

/* Writes the report; false after an error line. */
static bool write_report(const struct view *view, const struct report_options *options, const struct model *model,
                         char *const *recordings, size_t n, FILE *stream)
{
    const char *name = options->output ? options->output : stream == stderr ? "standard error" : "standard output";
    FILE *out = options->output ? fopen(options->output, "we") : stream;
    bool failed;
    char *error;

    if (out && (view->needs & VIEW_BINARY) && isatty(fileno(out))) {
        say(view, "this format is not for a terminal: give a file with -o FILE, or a pipe");
        if (out != stream)
            fclose(out);
        return false;
    }
    if (out) {
        if (out != stream || (out == stdout && !isatty(fileno(out))))
            setvbuf(out, NULL, _IOFBF, BUFFER_BYTES);
        errno = 0;
        render(view, options, model, recordings, n, out);
        failed = fflush(out) || ferror(out);
        if (out != stream)
            failed |= fclose(out) != 0;
        if (!failed)
            return true;
        if (out == stream)
            clearerr(stream); /* it has been said; main() need not say it again */
    }
    error = mem_print("cannot write '%s': %s", name, strerror(errno ? errno : EIO));
    say(view, error);
    free(error);
    return false;
}

int report_write(const struct report_options *options, char *const *recordings, size_t n_recordings, FILE *stream)
{
    const struct view *view = find_view(options->format ? options->format : view_text.name);
    int status = CMD_OK;
    struct model model;
    char *error = NULL;

    model_load(&model, recordings, n_recordings);
    for (size_t i = 0; i < model.n_failures; i++)
        say(view, model.failures[i].error);
    if (!model.n_processes && model.n_failures) {
        status = CMD_FAILED;
    } else if (!model.n_processes) {
        error = mem_print("no Python process was recorded in '%s': the program started none that gilscope can measure, "
                          "or none yet; see `gilscope doctor`",
                          recordings[0]);
        say(view, error);
        status = REPORT_NOTHING;
    } else if (!write_report(view, options, &model, recordings, n_recordings, stream)) {
        status = CMD_FAILED;
    } else if (model.n_failures) {
        status = REPORT_PARTIAL;
    }
    free(error);
    model_free(&model);
    return status;
}
