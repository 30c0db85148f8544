"""Answers when it is told to, and writes down what it does."""

import os
import time


def app(environ, start_response):
    path = environ["PATH_INFO"]
    if path.startswith("/held"):
        note(f"begin {path}")
        while not os.path.exists("go"):
            time.sleep(0.01)
        note(f"end {path}")
    if path == "/announced":
        start_response("200 OK", [("Content-Length", "1001")])
        return Closed(b"x" * 1001 for _ in range(1))
    if path == "/grows":
        start_response("200 OK", [])
        return Closed(b"x" * 100 for _ in range(100_000))
    if path == "/fits":
        start_response("200 OK", [])
        return Closed(b"x" * 100 for _ in range(10))
    if path == "/raise":
        raise RuntimeError("on purpose")
    if path == "/missing":
        start_response("404 Not Found", [("Content-Type", "text/html")])
        return [b"the application's own"]
    start_response("200 OK", [])
    return [path.encode()]


class Closed:
    """Notes that it was closed."""

    def __init__(self, blocks):
        self.blocks = blocks

    def __iter__(self):
        return self.blocks

    def close(self):
        note("closed")


def note(text):
    with open("notes.txt", "a") as notes:
        notes.write(text + "\n")
