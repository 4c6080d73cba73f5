/* SPDX-License-Identifier: MIT */
/*
 * label.c - names for people, harmless in every format.
 */
#include "label.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "mem.h"
#include "utf8.h"

char *label_plain(const char *text, const char *also)
{
    size_t size = strlen(text);
    char *plain = mem_zeroed(size * 4 + 1, 1), *to = plain; /* "\x1b" for one byte, "\u202e" for three */

    for (const char *c = text; *c;) {
        size_t n = utf8_sequence(c, size - (size_t)(c - text));
        if (n <= 1 && ((unsigned char)*c < 0x20 || *c == 0x7f || !n || strchr(also, *c)))
            to += sprintf(to, "\\x%02x", (unsigned char)*c);
        else if (n > 1 && utf8_is_deceptive(c, n))
            to += sprintf(to, "\\u%04x", (unsigned)utf8_code(c, n));
        else
            to = (char *)memcpy(to, c, n) + n;
        c += n ? n : 1;
    }
    return plain;
}

static char *plain_and_free(char *text)
{
    char *plain = label_plain(text, "");

    free(text);
    return plain;
}

char *label_process(const struct model_process *process)
{
    return plain_and_free(mem_print("%s (%u)", process->command, process->pid));
}

/* The signals that end programs; the C library has names for all from 2.32 on. */
static const char *signal_name(int number)
{
    static const char *const name[] = {
        [SIGHUP] = "SIGHUP",   [SIGINT] = "SIGINT",   [SIGQUIT] = "SIGQUIT", [SIGILL] = "SIGILL",
        [SIGABRT] = "SIGABRT", [SIGBUS] = "SIGBUS",   [SIGFPE] = "SIGFPE",   [SIGKILL] = "SIGKILL",
        [SIGSEGV] = "SIGSEGV", [SIGPIPE] = "SIGPIPE", [SIGALRM] = "SIGALRM", [SIGTERM] = "SIGTERM",
        [SIGUSR1] = "SIGUSR1", [SIGUSR2] = "SIGUSR2", [SIGXCPU] = "SIGXCPU", [SIGSYS] = "SIGSYS",
    };

    return (size_t)number < sizeof name / sizeof *name ? name[number] : NULL;
}

char *label_state(const struct model_process *process)
{
    if (process->complete)
        return mem_print("%s", "");
    if (process->replaced)
        return mem_print(" · went on as another program (exec)");
    if (process->cut)
        return mem_print(" · cut short");
    if (process->paused && process->running)
        return mem_print(" · paused");
    if (process->running)
        return mem_print(" · still running");
    if (process->end_signal && signal_name(process->end_signal))
        return mem_print(" · killed by %s", signal_name(process->end_signal));
    if (process->end_signal)
        return mem_print(" · killed by signal %d", process->end_signal);
    if (process->end_status >= 0)
        return mem_print(" · left by os._exit, status %d", process->end_status);
    return mem_print(process->paused ? " · paused" : " · killed, or left by os._exit");
}

char *label_thread(const struct model_process *process, uint32_t thread)
{
    if (thread >= process->n_threads || process->threads[thread].folded)
        return mem_print("ended threads");
    return plain_and_free(mem_print("%s (%u)", process->threads[thread].name, process->threads[thread].tid));
}

char *label_function(const struct model_function *function)
{
    if (!function->basename[0] || (function->native && !function->named))
        return label_plain(function->name, "");
    if (function->native || !function->first_line)
        return plain_and_free(mem_print("%s (%s)", function->name, function->basename));
    return plain_and_free(mem_print("%s (%s:%u)", function->name, function->basename, function->first_line));
}

void label_xml(FILE *out, const char *text)
{
    char *plain = label_plain(text, "");

    for (const char *c = plain; *c; c++) {
        switch (*c) {
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
        case '\'':
            fputs("&#39;", out);
            break;
        default:
            putc(*c, out);
        }
    }
    free(plain);
}

void label_json(FILE *out, const char *text)
{
    char *plain = label_plain(text, "");

    putc('"', out);
    for (const char *c = plain; *c; c++) {
        if (strchr("\"\\<>&", *c))
            fprintf(out, "\\u%04x", (unsigned char)*c);
        else
            putc(*c, out);
    }
    putc('"', out);
    free(plain);
}
