"""An application that does everything, inside wsgiref's own check of both sides."""
import os
from wsgiref.validate import validator

DIRECTORY = os.path.dirname(os.path.abspath(__file__))


class Body:
    def __init__(self, blocks):
        self.blocks = iter(blocks)

    def __iter__(self):
        return self

    def __next__(self):
        return next(self.blocks)

    def close(self):
        pass


def generated(count):
    for number in range(count):
        yield b"block %d\n" % number


@validator
def app(environ, start_response):
    path = environ["PATH_INFO"]
    body = environ["wsgi.input"]
    fields = [("Content-Type", "text/plain"), ("Set-Cookie", "a=1"), ("Set-Cookie", "b=2")]
    if path == "/write":
        write = start_response("200 OK", fields)
        write(b"written ")
        return [b"returned"]
    if path == "/generator":
        start_response("200 OK", fields)
        return generated(3)
    if path == "/file":
        start_response("200 OK", fields)
        return environ["wsgi.file_wrapper"](open(os.path.join(DIRECTORY, "app.py"), "rb"), 1000)
    if path == "/length":
        start_response("200 OK", [*fields, ("Content-Length", "5")])
        return Body([b"12", b"345"])
    if path == "/nothing":
        start_response("204 No Content", [])
        return []
    if path == "/unchanged":
        start_response("304 Not Modified", [("ETag", '"x"')])
        return []
    if path == "/broken":
        raise ValueError("broken on purpose")
    if path == "/read":
        parts = [body.read(2), body.readline(), *body.readlines(), body.read(10)]
        text = repr(parts).encode()
    elif path == "/lines":
        text = repr(list(body)).encode()
    else:
        environ["wsgi.errors"].write("noted\n")
        environ["wsgi.errors"].writelines(["also ", "noted\n"])
        environ["wsgi.errors"].flush()
        text = path.encode("latin-1")
    start_response("200 OK", fields)
    return [text]
