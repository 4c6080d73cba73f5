/* SPDX-License-Identifier: MIT */
/*
 * gzip.c - writes compressed bytes to a stream, with zlib.
 */
#include "gzip.h"

#include <stdlib.h>
#include <zlib.h>

#include "cmd.h"
#include "mem.h"
#include "msg.h"

#define BLOCK_BYTES 65536
#define GZIP_WINDOW (MAX_WBITS + 16) /* a gzip header around it */
#define FAST 3                       /* a report is to be had at once */

struct gzip {
    z_stream stream;
    FILE *out;
    unsigned char block[BLOCK_BYTES];
};

struct gzip *gzip_begin(FILE *out)
{
    struct gzip *gzip = mem_zeroed(1, sizeof *gzip);

    gzip->out = out;
    if (deflateInit2(&gzip->stream, FAST, Z_DEFLATED, GZIP_WINDOW, 8, Z_DEFAULT_STRATEGY) != Z_OK) {
        msg_error("out of memory");
        exit(CMD_FAILED);
    }
    return gzip;
}

static void compress_all(struct gzip *gzip, int flush)
{
    do {
        gzip->stream.next_out = gzip->block;
        gzip->stream.avail_out = BLOCK_BYTES;
        deflate(&gzip->stream, flush);
        fwrite(gzip->block, 1, BLOCK_BYTES - gzip->stream.avail_out, gzip->out);
    } while (!gzip->stream.avail_out);
}

void gzip_write(struct gzip *gzip, const void *bytes, size_t n)
{
    gzip->stream.next_in = (unsigned char *)bytes;
    gzip->stream.avail_in = (unsigned)n;
    compress_all(gzip, Z_NO_FLUSH);
}

void gzip_end(struct gzip *gzip)
{
    compress_all(gzip, Z_FINISH);
    deflateEnd(&gzip->stream);
    free(gzip);
}
