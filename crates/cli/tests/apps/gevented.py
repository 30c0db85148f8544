"""An application that gevent has patched on import, as for gunicorn's gevent workers."""
from gevent import monkey

monkey.patch_all()

import contextvars
import logging
import os
import subprocess
import threading
import time
from urllib.request import urlopen

import gevent

DIRECTORY = os.path.dirname(os.path.abspath(__file__))
LOCAL = threading.local()
VARIABLE = contextvars.ContextVar("variable")
LOCK = threading.Lock()
OPENED = threading.Event()
INSIDE = []
LEFT = []

logging.basicConfig(level=logging.INFO)


def note(text):
    with open(os.path.join(DIRECTORY, "notes.txt"), "a") as file:
        file.write(text + "\n")


def beat():
    """Started on import: goes on in each worker, and in nobody else."""
    while True:
        time.sleep(0.02)
        note(f"beat {os.getpid()}")


threading.Thread(target=beat, daemon=True).start()


def meet(count):
    """Returns when so many are inside at the same time."""
    INSIDE.append(count)
    while len(INSIDE) < count:
        time.sleep(0.01)
    return "met"


def locked(name):
    with LOCK:
        INSIDE.append(name)
        assert INSIDE == [name]
        time.sleep(0.002)
        logging.info("inside %s", name)
        INSIDE.remove(name)
    return "locked"


def own(name):
    LOCAL.name = name
    VARIABLE.set(name)
    time.sleep(0.05)
    return f"{LOCAL.name} {VARIABLE.get()}"


def spawned():
    jobs = [gevent.spawn(lambda number=number: (time.sleep(0.02), number)[1]) for number in range(5)]
    gevent.joinall(jobs)
    thread = threading.Thread(target=lambda: (time.sleep(0.02), jobs.append(None)))
    thread.start()
    thread.join()
    return repr([job if job is None else job.value for job in jobs])


def leave(name):
    gevent.spawn(lambda: (OPENED.wait(), LEFT.append(name)))
    return "left"


def wait_for_ever():
    note("waiting")
    try:
        while True:
            time.sleep(0.01)
    except BaseException as error:
        note(f"interrupted {type(error).__name__}")
        raise


def compute_for_ever():
    note("computing")
    while True:
        pass


def blocks():
    for _ in range(64):
        yield b"x" * 65536


def app(environ, start_response):
    path, query = environ["PATH_INFO"], environ["QUERY_STRING"]
    handlers = {
        "/": lambda: str(os.getpid()),
        "/meet": lambda: meet(int(query)),
        "/locked": lambda: locked(query),
        "/own": lambda: own(query),
        "/spawned": spawned,
        "/leave": lambda: leave(query),
        "/open": lambda: OPENED.set() or "opened",
        "/left": lambda: repr(sorted(LEFT)),
        "/fetch": lambda: urlopen(f"http://127.0.0.1:{environ['SERVER_PORT']}/own?x").read().decode(),
        "/subprocess": lambda: subprocess.run(["echo", "said"], capture_output=True, check=True).stdout.decode(),
        "/for-ever": wait_for_ever,
        "/compute": compute_for_ever,
        "/length": lambda: (note("reading"), str(len(environ["wsgi.input"].read())))[1],
    }
    if path == "/blocks":
        start_response("200 OK", [])
        return blocks()
    body = handlers[path]()
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [body.encode()]
