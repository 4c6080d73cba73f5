/* SPDX-License-Identifier: MIT */
/* shim-python.c - which Python is in this process. */
#define _GNU_SOURCE
#include "shim-python.h"

#include <dlfcn.h>
#include <link.h>
#include <string.h>

#include "shim-libc.h"
#include "shim-native.h"

static unsigned number(const char **s)
{
    unsigned n = 0;
    while (**s >= '0' && **s <= '9')
        n = n * 10 + (unsigned)(*(*s)++ - '0');
    if (**s == '.')
        ++*s;
    return n & 255;
}

void shim_python_identify(struct shim_python *p, const void *caller)
{
    memset(p, 0, sizeof *p);
    void *module = NULL;
    Dl_info info;
    struct link_map *map = NULL;
    /* A libpython that was loaded with RTLD_LOCAL is not in the global scope: ask the module itself. */
    if (caller && dladdr1 && dladdr1(caller, &info, (void **)&map, RTLD_DL_LINKMAP) && map)
        module = dlopen(map->l_name && *map->l_name ? map->l_name : NULL, RTLD_LAZY | RTLD_NOLOAD);
    void *scope = module ? module : RTLD_DEFAULT;
    const char *(*get_version)(void) = NULL;
    *(void **)&get_version = dlsym(scope, "Py_GetVersion");
    if (get_version) {
        /* Formats constants into a static buffer; needs no initialised interpreter (Python/getversion.c). */
        const char *text = get_version(), *s = text;
        p->found = true;
        p->free_threaded = strstr(text, "free-threading build") != NULL;
        size_t n = strcspn(text, " ");
        if (n >= sizeof p->version)
            n = sizeof p->version - 1;
        memcpy(p->version, text, n);
        uint32_t major = number(&s), minor = number(&s), micro = number(&s);
        p->runtime = dlsym(scope, "_PyRuntime");
        *(void **)&p->is_initialized = dlsym(scope, "Py_IsInitialized");
        shim_native_find_interpreter(scope);
        p->hex = major << 24 | minor << 16 | micro << 8;
    } else if (!caller) {
        p->pypy = dlsym(scope, "pypy_execute_source") != NULL; /* PyPy's embedding interface */
    }
    if (module)
        dlclose(module);
}
