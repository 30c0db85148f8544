"""Tells what it is told, and answers in every framing."""

import json


def app(environ, start_response):
    path = environ["PATH_INFO"]
    if path == "/echo":
        body = environ["wsgi.input"].read()
        start_response("200 OK", [("Content-Length", str(len(body)))])
        return [body]
    if path == "/stream":
        start_response("200 OK", [("X-Accel-Buffering", "no")])
        # More than a worker may send ahead, so that its end is not known when its head leaves.
        return (b"%s\nblock %d\n" % (b"x" * 1000, number) for number in range(1000))
    if path == "/broken":
        start_response("200 OK", [("X-Accel-Buffering", "no")])
        return broken()
    if path == "/raise":
        raise RuntimeError("on purpose")
    if path == "/204":
        start_response("204 No Content", [])
        return []
    if path == "/304":
        start_response("304 Not Modified", [("ETag", '"x"')])
        return []
    if path == "/large":
        start_response("200 OK", [("X-Large", "y" * 3000), ("Content-Length", "2")])
        return [b"ok"]
    told = {name: value for name, value in environ.items() if isinstance(value, str)}
    start_response("200 OK", [("Content-Type", "application/json")])
    return [json.dumps(told).encode()]


def broken():
    yield b"begun"
    raise RuntimeError("on purpose")
