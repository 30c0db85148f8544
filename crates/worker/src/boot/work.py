"""A worker, from its fork to its end.

Invariant: `ready` is said once requests are served, and everything that was accepted is finished before it ends.
"""

import _thread
import os
import signal
import socket
import sys
import traceback

from tierce_obstacles import obstacle, sockets
from tierce_process import PACKET, freeze, line_by_line, say

# The sockets by which this process answers, as long as it is a worker.
OWN = []


def work(app, number, descriptors, settings, control, native):
    """Serves until drained. Then it returns None, so that Python exits in its usual way, or what it is told by as zygote."""
    out, orders, *links = descriptors
    orders = socket.socket(fileno=orders)
    inherited = sockets()
    null = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
    for source, target in ((null, 0), (out, 1), (out, 2)):
        os.dup2(source, target)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    # The application may have put others in their places.
    line_by_line()
    if settings["crowded"]:
        run_longer()
    log = errors()
    templates = [template(listener, settings, native, log) for listener in settings["listeners"]]
    OWN[:] = [orders.fileno(), *links[0::2], out]
    pairs = list(zip(links[0::2], links[1::2]))
    interval = sys.getswitchinterval()
    in_greenlets = native["greenlets"].of_application()
    serving = native["serve"](app, pairs, templates, (null, out), in_greenlets, settings)
    say(control, say="ready", worker=number, pid=os.getpid())
    control.close()
    if in_greenlets is None:
        wait(serving)
    else:
        in_greenlets.run(serving)
    if not is_to_fork(orders):
        return None
    # Now, whatever the application has kept may hold them.
    serving.shut()
    OWN.clear()
    sys.setswitchinterval(interval)
    stands_in_the_way = {"obstacle": "gevent", "names": []} if in_greenlets else obstacle(inherited, native)
    if stands_in_the_way is not None:
        say(orders, say="cannot_fork", **stands_in_the_way)
        return None
    freeze()
    say(orders, say="frozen")
    return orders


def wait(serving):
    """Until the worker has been drained.

    The application's signal handlers run in this thread alone, and not while it waits outside of Python; they can only have
    been set before, as only this thread may set them.
    """
    if not any(callable(signal.getsignal(number)) for number in signal.valid_signals()):
        serving.wait()
        return
    drained = _thread.allocate_lock()
    drained.acquire()

    def tell():
        try:
            serving.wait()
        finally:
            drained.release()

    _thread.start_new_thread(tell, ())
    while True:
        try:
            drained.acquire()
            return
        except BaseException:
            # A handler has raised it; the requests have nothing to do with that.
            traceback.print_exc()


def is_to_fork(orders):
    """Whether there is an order, which came before the last request had ended."""
    try:
        return orders.recv(PACKET, socket.MSG_DONTWAIT) != b""
    except OSError:
        # None has come, or the application has closed what is not its own.
        return False


def errors():
    """wsgi.errors: the application's standard error if that can be one, else the log."""
    for stream in (sys.stderr, sys.__stderr__):
        try:
            if not stream.closed and all(map(callable, (stream.write, stream.writelines, stream.flush))):
                return stream
        except Exception:
            pass
    return open(2, "w", buffering=1, encoding="utf-8", errors="backslashreplace", closefd=False)


def disown(native):
    """In a child that a handler has forked: the links are its parent's, and are seen to end when that ends."""
    if not OWN:
        return
    native["disown"]()
    null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    for descriptor in OWN:
        os.dup2(null, descriptor, inheritable=False)
    os.close(null)


def run_longer():
    """Lets this worker's threads, which inherit it, run until they wait, instead of giving way to whoever wakes up.

    Many workers on few cores would interrupt each other in the middle of requests and find each other's data in the
    caches: 25 on 2 cores need a tenth less CPU so. Few workers would only answer later.
    """
    try:
        os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
    except (AttributeError, OSError):
        # It is a matter of speed only.
        pass


def template(listener, settings, native, log):
    """The part of the environ that is the same for every request of a listener."""
    return {
        "SCRIPT_NAME": "",
        "SERVER_NAME": listener["name"],
        "SERVER_PORT": listener["port"],
        "SERVER_PROTOCOL": "HTTP/1.1",
        "REQUEST_METHOD": "GET",
        "QUERY_STRING": "",
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": listener["scheme"],
        "wsgi.errors": log,
        "wsgi.multithread": settings["threads"] != 1,
        # Whatever is configured: `scale` adds processes, and in a reload two generations overlap.
        "wsgi.multiprocess": True,
        "wsgi.run_once": False,
        "wsgi.input_terminated": True,
        "wsgi.file_wrapper": native["FileWrapper"],
    }
