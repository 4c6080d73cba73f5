# SPDX-License-Identifier: MIT
"""Web servers that run Python: pre-fork, threads, an event loop, embedded with sub-interpreters. With the shim they give
the same answers and end the same way."""
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from helpers import beside, gs
from helpers.servers import end_group, fetch, free_port, wait_until_ready

sys.path.insert(0, str(beside.PROGRAMS))
from app import answer  # noqa: E402  (needs the path above)

REQUESTS = 200


def serve(command, where, port, preload, prefixes=("",), stop=signal.SIGTERM):
    """Starts a server, asks it much from several threads, ends it. Returns the answers and the exit status."""
    log = where / "log"
    with open(log, "wb") as out:
        process = subprocess.Popen([str(c) for c in command], cwd=where, env=beside.environment(where, preload),
                                   stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True)
    try:
        wait_until_ready(process, port, f"{prefixes[0]}/start")
        paths = [f"{prefixes[i % len(prefixes)]}/{i}" for i in range(REQUESTS)]
        with ThreadPoolExecutor(8) as pool:
            answers = list(pool.map(lambda path: fetch(port, path), paths))
        process.send_signal(stop)
        status = process.wait(60)
    except BaseException:
        print(log.read_text(errors="replace")[-3000:])
        raise
    finally:
        end_group(process)
    own = [line for line in log.read_text(errors="replace").splitlines() if "gilscope" in line]
    assert not own, own
    return answers, status


def same(command, where, port, at_least, **kwargs):
    """The answers and the exit status are those without the shim, and each of the server's processes was measured."""
    expected = None
    for preload in ([], [""]):
        answers, status = serve(command, where, port, preload, **kwargs)
        expected = expected or (answers, status)
        assert (answers, status) == expected
    if "prefixes" not in kwargs:
        assert answers == [answer(f"/{i}") for i in range(REQUESTS)]
    return beside.measured(where, at_least)


@pytest.mark.parametrize("kind", ["sync", "gthread", "gevent"])
def test_gunicorn(kind, where):
    """gunicorn with two workers, made by a fork of a process that has had a GIL already."""
    beside.need_module("gunicorn", "python3-gunicorn")
    if kind == "gevent":
        beside.need_module("gevent", "python3-gevent")
    port = free_port()
    processes = same([beside.SYSTEM_PYTHON, "-m", "gunicorn", "-w", "2", "-k", kind, "--threads", "4", "-b",
                      f"127.0.0.1:{port}", "--chdir", beside.PROGRAMS, "app:application"], where, port, 3)
    if kind == "gthread":
        assert max(len(p["threads"]) for p in processes) >= 4


def test_uvicorn(where):
    """uvicorn: an event loop in one thread."""
    beside.need_module("uvicorn", "python3-uvicorn")
    port = free_port()
    same([beside.SYSTEM_PYTHON, "-m", "uvicorn", "--host", "127.0.0.1", "--port", port, "--app-dir", beside.PROGRAMS,
          "app:asgi"], where, port, 1)


@pytest.mark.parametrize("tells_python", [True, False], ids=["Python is told of forks", "Python is not"])
def test_uwsgi(tells_python, where):
    """uwsgi: CPython inside another program, pre-fork, with threads. Its workers are measured if it tells Python that it
    forked, whereupon Python makes its GIL anew; else the master only, and all is served as well."""
    if not gs.FULL:
        pytest.skip("only with --full")
    uwsgi = beside.need_program("uwsgi", "uwsgi-core uwsgi-plugin-python3")
    port = free_port()
    command = [uwsgi, "--plugin", "python3", "--http-socket", f"127.0.0.1:{port}", "--master", "--processes", "2",
               "--threads", "4", "--enable-threads", "--die-on-term", "--chdir", beside.PROGRAMS, "--wsgi-file",
               beside.PROGRAMS / "app.py"]
    if tells_python:
        processes = same([*command, "--py-call-osafterfork"], where, port, 3)
        assert max(len(p["threads"]) for p in processes) >= 2
    else:
        same(command, where, port, 1)


APACHE = """
ServerRoot {where}
ServerName localhost
PidFile {where}/pid
Listen 127.0.0.1:{port}
DefaultRuntimeDir {where}
Mutex pthread
ErrorLog {where}/error
User {user}
Group {group}
LoadModule mpm_event_module {modules}/mod_mpm_event.so
LoadModule authz_core_module {modules}/mod_authz_core.so
LoadModule wsgi_module {modules}/mod_wsgi.so
StartServers 2
ServerLimit 2
ThreadsPerChild 8
MaxRequestWorkers 16
WSGISocketPrefix {where}/wsgi
WSGIDaemonProcess measured processes=2 threads=4
WSGIScriptAlias /embedded {where}/app.py application-group=%{{GLOBAL}}
WSGIScriptAlias /sub {where}/app.py application-group=sub
WSGIScriptAlias /daemon {where}/app.py process-group=measured application-group=%{{GLOBAL}}
WSGIScriptAlias /daemon-sub {where}/app.py process-group=measured application-group=sub
<Directory {where}>
    Require all granted
</Directory>
"""


def test_apache():
    """Apache with mod_wsgi: embedded in pre-forked children and in daemon processes, with sub-interpreters."""
    if not gs.FULL:
        pytest.skip("only with --full")
    apache = beside.need_program("apache2", "apache2-bin libapache2-mod-wsgi-py3")
    modules = Path("/usr/lib/apache2/modules")
    if not (modules / "mod_wsgi.so").exists():
        pytest.skip("no mod_wsgi here: apt-get install libapache2-mod-wsgi-py3")
    # Its processes give up root's rights, and must still be able to write their recordings.
    user = "www-data" if os.geteuid() == 0 else str(os.geteuid())
    where = Path(tempfile.mkdtemp(prefix="gilscope-apache-"))
    try:
        for folder in (where, where / "rec.gilscope"):
            folder.mkdir(exist_ok=True)
            folder.chmod(0o700 if folder != where else 0o755)
        if os.geteuid() == 0:
            shutil.chown(where, user)
            shutil.chown(where / "rec.gilscope", user, user)
        shutil.copy(beside.PROGRAMS / "app.py", where)
        (where / "app.py").chmod(0o644)
        port = free_port()
        (where / "conf").write_text(APACHE.format(where=where, port=port, modules=modules, user=user,
                                                  group=user if user == "www-data" else f"#{os.getegid()}"))
        processes = same([apache, "-f", where / "conf", "-DFOREGROUND"], where, port, 3,
                         prefixes=("/embedded", "/sub", "/daemon", "/daemon-sub"))
        assert max(len(p["threads"]) for p in processes) >= 3
        print((where / "error").read_text()[-2000:])
    finally:
        shutil.rmtree(where, ignore_errors=True)
