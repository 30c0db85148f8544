"""Handlers that take long, in all the ways there are."""
import ctypes
import os
import threading
import time

DIRECTORY = os.path.dirname(os.path.abspath(__file__))
LEAKED = []
STUCK = threading.Lock()
STUCK.acquire()
COUNTED = os.path.join(DIRECTORY, "counted")
os.makedirs(COUNTED, exist_ok=True)


def note(text, name="notes.txt"):
    with open(os.path.join(DIRECTORY, name), "a") as file:
        file.write(text + "\n")


def wait_for_ever():
    while True:
        time.sleep(0.01)


def steps(count):
    for step in range(count):
        yield str(step % 10).encode()
        time.sleep(0.05)


def app(environ, start_response):
    path = environ["PATH_INFO"]
    ok = lambda: start_response("200 OK", [("Content-Type", "text/plain")])
    if path == "/loop":
        try:
            wait_for_ever()
        except BaseException as error:
            note(f"loop {type(error).__name__}")
            raise
    if path == "/steps":
        ok()
        return steps(int(environ["QUERY_STRING"]))
    if path == "/stuck":
        STUCK.acquire()
    if path == "/hold":
        note("hold")
        # A PyDLL does not release the GIL.
        ctypes.PyDLL(None).sleep(3)
        note("held")
        ok()
        return [b"held"]
    if path == "/bounded":
        note("bounded begins")
        try:
            for _ in range(100):
                time.sleep(0.02)
            note("bounded ends")
        except BaseException as error:
            note(f"bounded {type(error).__name__}")
            raise
    if path == "/counted":
        mine = os.path.join(COUNTED, f"{os.getpid()}-{threading.get_ident()}")
        open(mine, "w").close()
        note(f"counted {len(os.listdir(COUNTED))}")
        time.sleep(0.05)
        os.remove(mine)
    if path == "/leak":
        LEAKED.append(os.urandom(1 << 20) * 120)
    if path.startswith("/run/"):
        note(path, "runs.txt")
    ok()
    return [str(os.getpid()).encode()]
