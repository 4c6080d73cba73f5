/* SPDX-License-Identifier: MIT */
/*
 * doctor-attach.c - says whether `gilscope attach` works here, by which method, and what is missing for the better one.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "collect.h"
#include "doctor.h"
#include "privileges.h"

static const struct {
    unsigned number;
    const char *name, *purpose;
} capabilities[] = {
    {CAP_BPF, "BPF", "to load BPF programs"},
    {CAP_PERFMON, "PERFMON", "to attach them to the scheduler, and to sample the processors"},
    {CAP_SYS_PTRACE, "SYS_PTRACE", "to read processes of other users"},
};

/* The first line of a file; "" where there is none. */
static void first_line(const char *path, char *text, size_t size)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd >= 0 ? read(fd, text, size - 1) : 0;

    if (fd >= 0)
        close(fd);
    text[n > 0 ? n : 0] = '\0';
    text[strcspn(text, "\n")] = '\0';
}

static void report_capabilities(void)
{
    char missing[256] = "", docker[256] = "", kubernetes[256] = "", reasons[512] = "";

    for (size_t i = 0; i < sizeof capabilities / sizeof *capabilities; i++) {
        const char *name = capabilities[i].name, *comma = missing[0] ? ", " : "";
        size_t m = strlen(missing), d = strlen(docker), k = strlen(kubernetes), r = strlen(reasons);
        if (privileges_have(capabilities[i].number))
            continue;
        snprintf(missing + m, sizeof missing - m, "%sCAP_%s", comma, name);
        snprintf(docker + d, sizeof docker - d, " --cap-add %s", name);
        snprintf(kubernetes + k, sizeof kubernetes - k, "%s\"%s\"", comma, name);
        snprintf(reasons + r, sizeof reasons - r, "%sCAP_%s %s", comma, name, capabilities[i].purpose);
    }
    if (!missing[0]) {
        doctor_line("capabilities", DOCTOR_OK, "CAP_BPF, CAP_PERFMON and CAP_SYS_PTRACE");
        return;
    }
    doctor_line("capabilities", DOCTOR_MISSING, "%s", reasons);
    doctor_line("", DOCTOR_NOTE,
                "run gilscope as root, or give a container what is missing: docker run%s, Kubernetes "
                "securityContext.capabilities.add: [%s]",
                docker, kubernetes);
}

static void report_kernel(void)
{
    char text[256];
    struct rlimit limit;
    struct utsname name;
    unsigned major = 0, minor = 0;

    if (!uname(&name))
        sscanf(name.release, "%u.%u", &major, &minor);
    doctor_line("kernel", major > 5 || (major == 5 && minor >= 15) ? DOCTOR_OK : DOCTOR_MISSING,
                "Linux %u.%u; BPF needs 5.15", major, minor);
    if (access("/sys/kernel/btf/vmlinux", R_OK))
        doctor_line("BTF", DOCTOR_MISSING, "/sys/kernel/btf/vmlinux: %s (CONFIG_DEBUG_INFO_BTF)", strerror(errno));
    else
        doctor_line("BTF", DOCTOR_OK, "/sys/kernel/btf/vmlinux");
    first_line("/sys/kernel/security/lockdown", text, sizeof text);
    if (!text[0])
        doctor_line("lockdown", DOCTOR_NOTE, "not known (/sys/kernel/security is not mounted, or there is none)");
    else
        doctor_line("lockdown", strstr(text, "[confidentiality]") ? DOCTOR_MISSING : DOCTOR_OK, "%s%s", text,
                    strstr(text, "[confidentiality]") ? ": BPF may not read memory" : "");
    if (!getrlimit(RLIMIT_MEMLOCK, &limit) && limit.rlim_cur != RLIM_INFINITY)
        doctor_line("memlock", DOCTOR_OK, "%llu KiB; kernels from 5.11 on do not count BPF maps against it",
                    (unsigned long long)limit.rlim_cur / 1024);
    else
        doctor_line("memlock", DOCTOR_OK, "not limited");
    first_line("/proc/sys/kernel/yama/ptrace_scope", text, sizeof text);
    if (!text[0] || text[0] == '0' || privileges_have(CAP_SYS_PTRACE))
        doctor_line("ptrace_scope", DOCTOR_OK, "%s", text[0] ? text : "there is no Yama");
    else
        doctor_line(
            "ptrace_scope", DOCTOR_NOTE,
            "%s: processes can be read by root only, or by their user if they run under the preload library with "
            "GILSCOPE=ptracer",
            text);
}

/* Whether the programs load and attach, which says more than any list of conditions. */
static int try_bpf(void)
{
    static volatile const sig_atomic_t never = 0;
    const struct collect_options options = {.sample_hz = 997, .n_threads = 1, .stop = &never};
    char error[COLLECT_ERROR_BYTES] = "";

    if (!collect_bpf.usable(error) || collect_bpf.start(&options, error)) {
        doctor_line("attach bpf", DOCTOR_MISSING, "%s", error);
        return 0;
    }
    collect_bpf.stop();
    doctor_line("attach bpf", DOCTOR_OK, "its programs were loaded, attached and taken away again");
    return 1;
}

int doctor_attach(void)
{
    report_kernel();
    report_capabilities();
    int bpf = try_bpf();
    doctor_line("attach sample", DOCTOR_OK, "works for every process that may be read");
    return bpf;
}

int doctor_attach_process(int pid)
{
    struct find_process found;
    char error[FIND_GIL_ERROR_BYTES];

    if (find_gil(pid, &found, error)) {
        doctor_line("attach", DOCTOR_MISSING, "%s", error);
        return 0;
    }
    doctor_line("GIL", DOCTOR_OK, "CPython %s in %s: %u GIL%s, switch interval %llu us", found.version, found.module,
                found.n_gils, found.n_gils == 1 ? "" : "s", (unsigned long long)found.interval_us);
    int bpf = try_bpf();
    doctor_line("attach", DOCTOR_OK, "gilscope attach %d will use --method %s", pid, bpf ? "bpf" : "sample");
    return 1;
}
