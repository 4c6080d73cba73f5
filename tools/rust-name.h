/* SPDX-License-Identifier: MIT */
/*
 * rust-name.h - readable names of Rust's symbols.
 */
#ifndef GILSCOPE_RUST_NAME_H
#define GILSCOPE_RUST_NAME_H

/* The readable name of a symbol in Rust's mangling v0 ("_R..."), to be freed; cut to 1 KiB; NULL if it is none or is
 * damaged.  Any symbol may be passed.  For symbols.c. */
char *rust_name(const char *symbol);

#endif
