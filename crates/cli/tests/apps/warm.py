"""Learns from its requests; and can do what stands in the way of a fork."""
import atexit
import os
import signal
import socket
import sys
import threading
import time

import runs

DIRECTORY = os.path.dirname(os.path.abspath(__file__))
KNOWN = {}
KEPT = []
last = None
ZYGOTE = os.getpid()


def note(name, text):
    with open(os.path.join(DIRECTORY, name), "a") as file:
        file.write(f"{text}\n")


signal.signal(signal.SIGUSR1, lambda number, frame: note("signals.txt", os.getpid()))
os.register_at_fork(before=lambda: note("paces.txt", sys.getswitchinterval()))
atexit.register(lambda: note("exits.txt", os.getpid()))

if "THREADS" in os.environ:
    threading.Thread(target=time.sleep, args=(3600,), daemon=True).start()

if "CLOSES" in os.environ:
    os.register_at_fork(before=lambda: [kept.close() for kept in KEPT])

if "NO_FORK" in os.environ:
    real, forked = os.fork, 0

    def fork():
        global forked
        if os.getpid() != ZYGOTE:
            forked += 1
        if 1 < forked:
            raise BlockingIOError(11, "no process to spare")
        return real()

    os.fork = fork


def thread():
    threading.Thread(target=time.sleep, args=(3600,), name="poller", daemon=True).start()
    return os.getpid()


def connect():
    listener = socket.create_server(("127.0.0.1", 0))
    KEPT.extend([listener, socket.create_connection(listener.getsockname())])
    return os.getpid()


def fork():
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    return f"child {os.waitpid(pid, 0)[1]}"


def pace():
    return sys.getswitchinterval()


def wait():
    note("begun.txt", os.getpid())
    while not os.path.exists(os.path.join(DIRECTORY, "go")):
        time.sleep(0.01)
    return os.getpid()


def known():
    return " ".join(KNOWN)


def learn(what):
    KNOWN[what] = True
    return os.getpid()


def app(environ, start_response):
    global last
    last = environ, start_response
    path = environ["PATH_INFO"]
    if path.startswith("/run/"):
        return runs.app(environ, start_response)
    name, _, rest = path[1:].partition("/")
    answer = globals()[name](*[rest] if rest else [])
    start_response("200 OK", [])
    return [str(answer).encode()]
