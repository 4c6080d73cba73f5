/* SPDX-License-Identifier: MIT */
/*
 * doctor-attach.c - says whether `gilscope attach` works here, by which method, and what is missing for the better one.
 */
#include <errno.h>
#include <linux/bpf.h>
#include <linux/capability.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "collect.h"
#include "doctor.h"
#include "privileges.h"
#include "refused.h"
#include "textfile.h"

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
    textfile_read(path, text, size);
    text[strcspn(text, "\n")] = '\0';
}

static const char *own_path(void)
{
    static char path[512];
    ssize_t n = readlink("/proc/self/exe", path, sizeof path - 1);

    path[n > 0 ? n : 0] = '\0';
    return path[0] ? path : "gilscope";
}

static void report_capabilities(void)
{
    char missing[256] = "", docker[256] = "", kubernetes[256] = "", reasons[512] = "";

    for (size_t i = 0; i < sizeof capabilities / sizeof *capabilities; i++) {
        const char *name = capabilities[i].name, *comma = missing[0] ? ", " : "";
        size_t m = strlen(missing), d = strlen(docker), k = strlen(kubernetes), r = strlen(reasons);
        if (capabilities[i].number == CAP_SYS_PTRACE ? privileges_have(CAP_SYS_PTRACE)
                                                     : privileges_have_for_bpf(capabilities[i].number))
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
    doctor_line("", DOCTOR_NOTE, "for all users of this machine: sudo setcap cap_bpf,cap_perfmon+ep %s", own_path());
}

/* Which of the system calls a filter keeps away.  They are called with arguments that do nothing. */
static void report_filter(void)
{
    char refused[128] = "", byte = 0;
    union bpf_attr attr = {.map_fd = UINT32_MAX};
    struct iovec here = {&byte, 1};

    if (!privileges_are_filtered()) {
        doctor_line("seccomp", DOCTOR_OK, "no filter of system calls");
        return;
    }
    if (privileges_have_for_bpf(CAP_BPF) && syscall(SYS_bpf, BPF_MAP_LOOKUP_ELEM, &attr, sizeof attr) < 0 &&
        errno != EBADF)
        strcat(refused, "bpf ");
    if (syscall(SYS_perf_event_open, NULL, 0, 0, -1, ~0UL) < 0 && errno != EINVAL)
        strcat(refused, "perf_event_open ");
    if (process_vm_readv(getpid(), &here, 1, &here, 1, 0) != 1)
        strcat(refused, "process_vm_readv ");
    if (refused[0])
        doctor_line("seccomp", DOCTOR_MISSING,
                    "a filter refuses %s: docker run --security-opt seccomp=unconfined, or a profile that allows it; "
                    "Kubernetes securityContext.seccompProfile.type: Unconfined",
                    refused);
    else
        doctor_line("seccomp", DOCTOR_OK, "a filter is at work, and lets through what attach needs");
}

/* Whether this is another namespace of that kind than the machine's first; numbers by include/linux/proc_ns.h. */
static bool is_contained(const char *kind, unsigned first)
{
    char path[64], text[64] = "", own[64];
    ssize_t n;

    snprintf(path, sizeof path, "/proc/self/ns/%s", kind);
    n = readlink(path, text, sizeof text - 1);
    snprintf(own, sizeof own, "%s:[%u]", kind, first);
    return n > 0 && strcmp(text, own) != 0;
}

static void report_namespaces(void)
{
    if (is_contained("user", 0xEFFFFFFDu))
        doctor_line("namespaces", DOCTOR_MISSING,
                    "the user is one of a user namespace (rootless docker, podman), and BPF takes the machine's "
                    "capabilities: run gilscope on the host, as root");
    if (is_contained("pid", 0xEFFFFFFCu))
        doctor_line("namespaces", DOCTOR_NOTE,
                    "this is a container, in which its own processes are seen; the host's: docker run --pid host, "
                    "Kubernetes hostPID: true; another container's: docker run --pid container:NAME, Kubernetes "
                    "shareProcessNamespace: true");
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
    if (refused_ptrace_scope() <= 0 || privileges_have(CAP_SYS_PTRACE))
        doctor_line("ptrace_scope", DOCTOR_OK, "%s", text[0] ? text : "there is no Yama");
    else
        doctor_line("ptrace_scope", DOCTOR_NOTE,
                    "%s: processes can be read by root only, or by their user if they were started by gilscope run "
                    "--ptracer or "
                    "under the preload library with GILSCOPE=ptracer",
                    text);
}

/* Whether the programs load and attach, which says more than any list of conditions. */
static int try_bpf(void)
{
    static volatile const sig_atomic_t never = 0;
    const struct collect_options options = {.sample_hz = COLLECT_SAMPLE_HZ, .n_threads = 1, .stop = &never};
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
    report_filter();
    report_namespaces();
    int bpf = try_bpf();
    doctor_line("attach sample", DOCTOR_OK, "works for every process that may be read%s",
                privileges_have(CAP_SYS_PTRACE) && !privileges_have(CAP_DAC_READ_SEARCH) &&
                        !privileges_have(CAP_DAC_OVERRIDE)
                    ? "; of other users, it takes CAP_DAC_READ_SEARCH besides"
                    : "");
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
    if (!bpf && !collect_sample_may(pid, error)) {
        doctor_line("attach sample", DOCTOR_MISSING, "%s", error);
        return 0;
    }
    doctor_line("attach", DOCTOR_OK, "gilscope attach %d will use --method %s", pid, bpf ? "bpf" : "sample");
    return 1;
}
