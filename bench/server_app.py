# SPDX-License-Identifier: MIT
"""The web application of bench/attach_server.py: a scikit-learn model behind WSGI and ASGI, with a handler in pure Python."""
import numpy
from sklearn.linear_model import LogisticRegression

RANDOM = numpy.random.default_rng(1)
MODEL = LogisticRegression(max_iter=200).fit(RANDOM.random((500, 20)), RANDOM.integers(0, 2, 500))
TEXT = "the quick brown fox jumps over the lazy dog " * 60


def features(text):
    """Turns text into numbers, letter by letter: the work that holds the GIL."""
    counts = [0.0] * 20
    for letter in text:
        counts[ord(letter) % 20] += 1
    return numpy.array([counts])


def predict(environ, start_response):
    answer = MODEL.predict(features(TEXT))[0]
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"%d\n" % answer]


app = predict


async def asgi(scope, receive, send):
    """The same for uvicorn: the handler runs in the event loop's thread."""
    if scope["type"] == "lifespan":
        while True:
            message = await receive()
            await send({"type": message["type"] + ".complete"})
            if message["type"] == "lifespan.shutdown":
                return
    answer = MODEL.predict(features(TEXT))[0]
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]})
    await send({"type": "http.response.body", "body": b"%d\n" % answer})
