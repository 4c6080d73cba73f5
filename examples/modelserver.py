#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""A small model server, of the kind that wonders why more threads do not help.

Clients' requests are queued; workers turn each one's text into tokens (pure Python, with the GIL) and run a stand-in for
the model's arithmetic (hashing and compressing large buffers, which releases the GIL); a logger writes what happened.
Only the standard library is needed.

    modelserver.py [SECONDS [WORKERS]]
"""
import hashlib
import os
import queue
import sys
import tempfile
import threading
import time
import zlib

TEXT = ("The quick brown fox jumps over the lazy dog; pack my box with five dozen liquor jugs. " * 400).lower()
WEIGHTS = os.urandom(256 * 1024)


def tokenize(text, vocabulary):
    """Splits text into words and gives each a number: a loop in Python, as many tokenisers have at their core."""
    tokens = []
    word = ""
    for letter in text:
        if letter.isalpha():
            word += letter
        elif word:
            tokens.append(vocabulary.setdefault(word, len(vocabulary)))
            word = ""
    return tokens


def infer(tokens):
    """The model: arithmetic on large buffers in C, which lets other threads run meanwhile."""
    digest = hashlib.sha256(WEIGHTS)
    digest.update(bytes(token & 0xFF for token in tokens))
    return zlib.crc32(zlib.compress(WEIGHTS[: 64 * 1024], 1), digest.digest()[0])


class Server:
    def __init__(self, workers):
        self.requests = queue.Queue(maxsize=4 * workers)
        self.results = queue.Queue()
        self.workers = [threading.Thread(target=self.work, name="worker-%d" % i) for i in range(workers)]
        self.logger = threading.Thread(target=self.log, name="request-log")
        for thread in self.workers + [self.logger]:
            thread.start()

    def work(self):
        vocabulary = {}
        while True:
            text = self.requests.get()
            if text is None:
                return
            started = time.monotonic()
            answer = infer(tokenize(text, vocabulary))
            self.results.put((answer, time.monotonic() - started))

    def log(self):
        """Writes one line for each answer, and makes it durable now and then."""
        self.answers, self.busy = 0, 0.0
        with tempfile.TemporaryFile("w") as log:
            while True:
                result = self.results.get()
                if result is None:
                    return
                log.write("%08x %.6f\n" % result)
                self.answers += 1
                self.busy += result[1]
                if self.answers % 64 == 0:
                    log.flush()
                    os.fsync(log.fileno())

    def stop(self):
        for _ in self.workers:
            self.requests.put(None)
        for worker in self.workers:
            worker.join()
        self.results.put(None)
        self.logger.join()


def main():
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 3.0
    workers = int(sys.argv[2]) if len(sys.argv) > 2 else 4
    server = Server(workers)
    began = time.monotonic()
    while time.monotonic() - began < seconds:
        server.requests.put(TEXT)
    server.stop()
    took = time.monotonic() - began
    print("%d requests in %.1f s: %.0f a second with %d workers, %.1f ms each"
          % (server.answers, took, server.answers / took, workers, 1000 * server.busy / max(server.answers, 1)))


if __name__ == "__main__":
    main()
