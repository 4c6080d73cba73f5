# SPDX-License-Identifier: MIT
"""A small web application, as WSGI (`application`) and as ASGI (`asgi`): some Python work, some that lets go of the
GIL."""
import hashlib
import json


def answer(path):
    """The same for the same path."""
    words = [f"{path}-{i}" for i in range(400)]
    text = json.dumps({w: len(w) for w in words}, sort_keys=True)
    return hashlib.sha256(text.encode() * 20).hexdigest().encode()


def application(environ, start_response):
    """WSGI."""
    body = answer(environ["PATH_INFO"])
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
    return [body]


async def asgi(scope, receive, send):
    """ASGI."""
    if scope["type"] != "http":
        return
    while (await receive()).get("more_body"):
        pass
    body = answer(scope["path"])
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]})
    await send({"type": "http.response.body", "body": body})
