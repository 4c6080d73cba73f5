/* SPDX-License-Identifier: MIT */
/*
 * model-end.c - how a process ended, and what is not known of one that did not do so in an orderly way.
 */
#include <stdlib.h>
#include <sys/wait.h>

#include "format.h"
#include "mem.h"
#include "model-build.h"
#include "utf8.h"

/* Of the process's time: what threads waited for processors in less of it makes no difference. */
#define WORTH_TELLING 0.05

void build_end(struct build *build)
{
    const struct rec_header *header = &build->file->header;
    struct model_process *process = build->process;
    int status = (int)(header->end_status & 0xffff);
    bool known = header->end_status & REC_END_KNOWN && !header->complete;

    process->replaced = build->replaced || header->end_status & REC_END_EXEC;
    process->cut = build_is_cut(build) && !build->running;
    process->end_seen = build->end_seen;
    process->end_signal = known && WIFSIGNALED(status) ? WTERMSIG(status) : 0;
    process->end_status = known && WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

/* Adds a sentence. */
static void say(struct model_process *process, char *sentence)
{
    char *before = process->note;

    process->note = before ? mem_print("%s %s", before, sentence) : sentence;
    if (before) {
        free(before);
        free(sentence);
    }
}

static void say_what_is_missing(const struct build *build)
{
    struct model_process *process = build->process;
    char time[FORMAT_BYTES];

    format_time(time, process->wall_ns);
    if (build->file->header.source != REC_SOURCE_PRELOAD)
        say(process, mem_print("gilscope attach was killed, or could write no more: this is what it had written after "
                               "%s, and not all that it measured.",
                               time));
    else if (process->cut)
        say(process, mem_print("The recording was cut short, or its disk was full or failed: this is what was measured "
                               "up to %s, and not all that the program did.",
                               time));
    else if (!process->end_seen)
        say(process, mem_print("Nobody saw the end: this is what is known up to %s, and the program may have gone on "
                               "for longer.",
                               time));
}

static void say_what_delays_are_not_known(const struct build *build)
{
    struct model_process *process = build->process;
    uint64_t most_ns = 0;
    char time[FORMAT_BYTES];

    for (size_t i = 0; i < process->n_threads; i++)
        if (process->threads[i].run_delay_unknown_ns > most_ns)
            most_ns = process->threads[i].run_delay_unknown_ns;
    if ((double)most_ns > WORTH_TELLING * (double)process->wall_ns)
        say(process, mem_print("How long threads that were ready to run waited for a processor is not known for %s of "
                               "the time: a want of processors may be larger than told.",
                               format_time(time, most_ns)));
}

void build_note(struct build *build)
{
    const struct reader_text *note = reader_text(build->file, REC_TEXT_NOTE);
    struct model_process *process = build->process;

    if (note)
        say(process, utf8_clean(note->bytes, note->length));
    if (!process->complete && !process->running && !process->replaced)
        say_what_is_missing(build);
    say_what_delays_are_not_known(build);
}
