/* SPDX-License-Identifier: MIT */
/* shim-host.h - what the header says of the process and its machine. */
#ifndef GILSCOPE_SHIM_HOST_H
#define GILSCOPE_SHIM_HOST_H

#include "record.h"

/* Fills in pid, ppid, cpus, the limit of the control group, host, boot_id and proc_start_jiffies, and writes the command line's record.  Where a GIL is
 * created, without any lock held. */
void shim_host_describe(struct rec_header *h);

#endif
