/* SPDX-License-Identifier: MIT */
/*
 * reader-stacks.c - the records that stacks are made of, each checked before anybody follows it.
 */
#include <string.h>

#include "reader.h"

bool reader_string(const struct reader_file *file, uint32_t cell, const char **bytes, size_t *length)
{
    const struct rec_string *string = reader_at(file, cell, REC_STRING, sizeof *string);
    size_t room;

    if (!string)
        return false;
    room = string->head.size - sizeof *string;
    *bytes = string->bytes;
    *length = string->length < room ? string->length : room;
    return true;
}

const struct rec_frame *reader_frame(const struct reader_file *file, uint32_t cell)
{
    return reader_at(file, cell, REC_FRAME, sizeof(struct rec_frame));
}

const struct rec_object *reader_object(const struct reader_file *file, const struct reader_record *record)
{
    const struct rec_object *object = (const struct rec_object *)(file->bytes + record->offset);

    if (record->type != REC_OBJECT || record->size < sizeof *object || object->start >= object->end)
        return NULL;
    return object->build_id_bytes <= REC_BUILD_ID_BYTES ? object : NULL;
}

bool reader_stack(const struct reader_file *file, const struct reader_record *record, struct reader_stack *stack)
{
    const struct rec_stack *raw = (const struct rec_stack *)(file->bytes + record->offset);
    uint64_t room;

    if (record->type != REC_STACK || record->size < sizeof *raw)
        return false;
    room = record->size - sizeof *raw;
    if (raw->n_native > READER_FRAMES_MAX || raw->n_python > READER_FRAMES_MAX)
        return false;
    if (raw->n_native * sizeof raw->native[0] + raw->n_python * sizeof(uint32_t) > room)
        return false;
    *stack = (struct reader_stack){
        .raw = raw,
        .native = raw->native,
        .n_native = raw->n_native,
        .python = (const uint32_t *)(raw->native + raw->n_native),
        .n_python = raw->n_python,
    };
    return true;
}
