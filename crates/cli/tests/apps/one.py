"""Notes whenever a handler runs beside another one of the same process, from its call to the end of `close`."""
import os
import threading
import time

DIRECTORY = os.path.dirname(os.path.abspath(__file__))
STUCK = threading.Lock()
STUCK.acquire()
INSIDE = []


def note(text):
    fd = os.open(os.path.join(DIRECTORY, "notes.txt"), os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(fd, (text + "\n").encode())
    os.close(fd)


def is_open(gate):
    return os.path.exists(os.path.join(DIRECTORY, gate))


def wait_for_gate(gate):
    while not is_open(gate):
        time.sleep(0.005)


class Body:
    def __init__(self, blocks, end):
        self.blocks, self.end = blocks, end

    def __iter__(self):
        return iter(self.blocks)

    def close(self):
        self.end()
        INSIDE.pop()


def unlucky():
    """Its time is up while it waits, and it takes its time to put things in order."""
    note("waiting")
    try:
        wait_for_gate("never")
    finally:
        note("interrupted")
        wait_for_gate("in-order")
        note("in order")


def app(environ, start_response):
    path = environ["PATH_INFO"]
    note(f"begins {path}")
    if INSIDE:
        note(f"beside {INSIDE} {path}")
    INSIDE.append(path)
    blocks, end = [str(os.getpid()).encode()], lambda: None
    try:
        if path == "/long":
            time.sleep(0.02)
        if path == "/large":
            blocks = [b"x" * (32 << 20)]
        if path == "/late-close":
            end = lambda: wait_for_gate("closed")
        if path == "/unlucky":
            unlucky()
        if path == "/stuck":
            STUCK.acquire()
    except BaseException:
        INSIDE.pop()
        raise
    start_response("200 OK", [("Content-Length", str(sum(map(len, blocks))))])
    return Body(blocks, end)
