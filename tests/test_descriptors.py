# SPDX-License-Identifier: MIT
"""The program's descriptors are its own: none more than without the shim, and none that the shim still uses once the
program has closed it."""
import json
import subprocess

from helpers import gs

PROGRAM = """
import hashlib, json, os, sys, threading, time

def work(seconds=0.3):
    data, end = b"x" * 300000, time.monotonic() + seconds
    while time.monotonic() < end:
        hashlib.sha256(data).digest()
        json.dumps(list(range(300)))

def busy():
    threads = [threading.Thread(target=work) for _ in range(3)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()

def descriptors():
    found = {}
    for fd in os.listdir("/proc/self/fd"):
        try:
            to = os.readlink(f"/proc/self/fd/{fd}")
        except OSError:
            continue  # that of the listing itself
        if "libgcc_s" not in to:  # a thread that has just been joined may be in pthread_exit() yet, which loads it
            found[fd] = to
    return {fd: to.split(":")[0] for fd, to in found.items()}

busy()
first = descriptors()
os.closerange(3, 256)
# Files and pipes of the program's own at all low numbers; whoever still writes to those or reads from them is seen.
files = [os.open(f"file-{i}", os.O_RDWR | os.O_CREAT | os.O_TRUNC) for i in range(16)]
pipes = [os.pipe() for i in range(16)]
for _, end in pipes:
    os.write(end, b"0123456789")
busy()
sizes = [os.fstat(fd).st_size for fd in files]
texts = [os.read(end, 100).decode() for end, _ in pipes]
print(json.dumps({"first": first, "sizes": sizes, "texts": texts}))
"""


def run(python, where, env):
    """What the program says; standard input is closed, so that 0 is the lowest number that is free."""
    script = where / "program.py"
    script.write_text(PROGRAM)
    done = subprocess.run(["/bin/sh", "-c", 'exec "$@" <&-', "sh", python.path, str(script)], cwd=where,
                          env=gs.clean_env(env), stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=60,
                          check=False)
    assert (done.returncode, done.stderr) == (0, b""), done.stderr
    return json.loads(done.stdout)


def test_descriptors(python, where):
    """With the shim the program has the descriptors that it has without; nobody else reads or writes through them."""
    bare = run(python, where, {})
    shimmed = run(python, where, {"LD_PRELOAD": gs.preload(), "GILSCOPE": f"output={where}/rec.gilscope"})
    assert shimmed == bare
    assert bare["sizes"] == [0] * 16 and bare["texts"] == ["0123456789"] * 16
    stacks = gs.report(where / "rec.gilscope")["processes"][0]["stacks"]
    assert any(f["native"] for s in stacks for f in s["frames"]), "there was nothing to unwind"
