# SPDX-License-Identifier: MIT
# shellcheck shell=bash
#
# deps.sh - finds out what a script's needs are missing and installs it, on Debian and Ubuntu; elsewhere says what to
# install.  Sourced by ./quickstart and ./runtests.

deps_python() { # a python3 that runs
    local python
    for python in python3 /usr/bin/python3; do
        if "$python" -c 'import sys; sys.exit(sys.version_info < (3, 8))' >/dev/null 2>&1; then
            command -v "$python"
            return 0
        fi
    done
    return 1
}

deps_files() { # the library that a package brings, where it is there
    local name
    case $1 in
    libjemalloc2) name=libjemalloc.so.2 ;;
    libgoogle-perftools4) name=libtcmalloc.so.4 ;;
    libtcmalloc-minimal4) name=libtcmalloc_minimal.so.4 ;;
    esac
    find /usr/lib -name "$name" -print -quit 2>/dev/null
}

deps_have() {
    case $1 in
    autoconf) command -v autoreconf >/dev/null ;;
    libtool) command -v libtoolize >/dev/null ;;
    pkg-config) command -v pkg-config >/dev/null ;;
    libjansson-dev) command -v pkg-config >/dev/null && pkg-config --exists 'jansson >= 2.7' ;;
    libelf-dev) command -v pkg-config >/dev/null && pkg-config --exists libelf ;;
    libdw-dev) command -v pkg-config >/dev/null && pkg-config --exists libdw ;;
    libprotobuf-c-dev) command -v pkg-config >/dev/null && pkg-config --exists libprotobuf-c ;;
    protobuf-c-compiler) command -v protoc-c >/dev/null ;;
    zlib1g-dev) command -v pkg-config >/dev/null && pkg-config --exists zlib ;;
    libc6-dev) echo '#include <argp.h>' | gcc -E - >/dev/null 2>&1 ;;
    libbpf-dev) command -v pkg-config >/dev/null && pkg-config --exists libbpf ;;
    bpftool) [ -x /usr/sbin/bpftool ] || command -v bpftool >/dev/null ;;
    binutils) command -v readelf >/dev/null ;;
    xz-utils) command -v xz >/dev/null ;;
    man-db) command -v man >/dev/null ;;
    libcap2-bin) [ -x /usr/sbin/setcap ] || [ -x /sbin/setcap ] || command -v setcap >/dev/null ;;
    clang-sanitizers) # not in clang's own package
        echo 'int LLVMFuzzerTestOneInput(const char *d, long n) { return n && d[0]; }' |
            clang -x c -fsanitize=fuzzer,address,undefined - -o /dev/null >/dev/null 2>&1 ;;
    # A python3 that somebody installed elsewhere will do for a first look; the tests want the system's own too.
    python3) deps_python >/dev/null ;;
    python3-system) [ -x /usr/bin/python3 ] ;;
    python3-venv) /usr/bin/python3 -c 'import venv, ensurepip' >/dev/null 2>&1 ;;
    python3-pytest) /usr/bin/python3 -c 'import pytest' >/dev/null 2>&1 ;;
    python3-selenium) /usr/bin/python3 -c 'import selenium' >/dev/null 2>&1 ;;
    chromium-driver) command -v chromedriver >/dev/null ;;
    golang-go) [ -x /usr/local/go/bin/go ] || command -v go >/dev/null ;;
    libdevel-nytprof-perl) [ -f /usr/share/perl5/Devel/NYTProf/flamegraph.pl ] || command -v flamegraph.pl >/dev/null ;;
    musl-tools) command -v musl-gcc >/dev/null ;;
    psmisc) command -v fuser >/dev/null ;;
    libunwind8) [ -n "$(find /usr/lib /lib -name 'libunwind.so.8' -print -quit 2>/dev/null)" ] ;;
    libpython3-testsuite) /usr/bin/python3 -c 'import test.test_threading' >/dev/null 2>&1 ;;
    libjemalloc2 | libgoogle-perftools4 | libtcmalloc-minimal4) [ -n "$(deps_files "$1")" ] ;;
    # Modules: the distribution's python3 has them.
    python3-numpy | python3-scipy | python3-pandas | python3-sklearn | python3-torch | python3-greenlet | \
        python3-gevent | python3-gunicorn | python3-uvicorn) /usr/bin/python3 -c "import ${1#python3-}" >/dev/null 2>&1 ;;
    uwsgi-plugin-python3) [ -n "$(find /usr/lib/uwsgi -name 'python3*_plugin.so' -print -quit 2>/dev/null)" ] ;;
    uwsgi-core) command -v uwsgi-core >/dev/null ;;
    apache2-bin) [ -x /usr/sbin/apache2 ] ;;
    libapache2-mod-wsgi-py3) [ -e /usr/lib/apache2/modules/mod_wsgi.so ] ;;
    python3-dev) [ -n "$(find /usr/include -path '*/python3*/Python.h' -print -quit 2>/dev/null)" ] ;;
    *) command -v "$1" >/dev/null ;;
    esac
}

deps_package() { # the package that brings it
    case $1 in
    python3-system) echo python3 ;;
    libpython3-testsuite)
        /usr/bin/python3 -c 'import sys; print("libpython%d.%d-testsuite" % sys.version_info[:2])' ;;
    clang-sanitizers) echo "libclang-rt-$(clang -dumpversion | cut -d. -f1)-dev" ;;
    *) echo "$1" ;;
    esac
}

# deps_need NAME...: returns 0 once all are there.
deps_need() {
    local name missing=() packages=() root=()

    for name in "$@"; do
        if ! deps_have "$name"; then
            missing+=("$name")
            packages+=("$(deps_package "$name")")
        fi
    done
    [ ${#missing[@]} -eq 0 ] && return 0

    if ! command -v apt-get >/dev/null; then
        echo "This needs: ${packages[*]} (the names are Debian's)." >&2
        echo "Install them with this system's package manager, for instance on Fedora:" >&2
        echo "  dnf install gcc make autoconf automake libtool pkgconf jansson-devel elfutils-devel protobuf-c-devel zlib-devel python3-devel" >&2
        return 1
    fi
    if [ "$(id -u)" -ne 0 ]; then
        if ! command -v sudo >/dev/null; then
            echo "This needs: ${packages[*]}.  Install them as root: apt-get install ${packages[*]}" >&2
            return 1
        fi
        root=(sudo)
    fi
    echo "Installing ${packages[*]}"
    "${root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get update -qq >/dev/null ||
        echo "apt-get update failed; trying with the package lists that are there" >&2
    if ! "${root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
        "${packages[@]}" >/dev/null; then
        echo "apt-get could not install: ${packages[*]}" >&2
        return 1
    fi
    for name in "${missing[@]}"; do
        if ! deps_have "$name"; then
            echo "Still missing after the installation: $name" >&2
            return 1
        fi
    done
}

DEPS_BUILD=(gcc libc6-dev make autoconf automake libtool pkg-config libjansson-dev libelf-dev libdw-dev
    libprotobuf-c-dev protobuf-c-compiler zlib1g-dev)
# What the program is tried beside: a test whose software is not there is skipped and says so.
DEPS_BESIDE=(gdb strace libpython3-testsuite libjemalloc2 libgoogle-perftools4 libtcmalloc-minimal4 python3-numpy
    python3-greenlet python3-gevent python3-gunicorn python3-uvicorn cython3 musl-tools)
DEPS_BESIDE_FULL=(valgrind python3-scipy python3-pandas python3-sklearn python3-torch uwsgi-core uwsgi-plugin-python3
    apache2-bin libapache2-mod-wsgi-py3)
export DEPS_BUILD DEPS_BESIDE DEPS_BESIDE_FULL
