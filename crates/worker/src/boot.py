"""Imports the application, says how that went, and forks workers of it. A worker that has been drained may be told to
fork others in its turn.

Invariant: the supervisor is told exactly one of `imported` and `failed`; only then is a command obeyed. Requests are
never seen here.
"""

import _thread
import ast
import gc
import importlib
import inspect
import json
import os
import select
import signal
import socket
import stat
import sys
import time
import traceback

PACKET = 64 * 1024
# The kernel passes at most so many descriptors at a time.
DESCRIPTORS = 253
# How often children are looked after where the kernel has no pidfd.
ROUND_MS = 100
# How long threads of ours that have been joined may be seen by the kernel.
PARTING = 2.0
# Of what stands in the way of a fork, so much is told.
TOLD = 8

# The sockets by which this process answers, as long as it is a worker.
OWN = []


def main(text, native):
    settings = json.loads(text)
    control = socket.socket(fileno=settings["control"])
    control.set_inheritable(False)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    set_up(settings)
    line_by_line()
    app = load(settings, control)
    if app is None:
        sys.exit(78)
    os.register_at_fork(after_in_child=lambda: disown(native))
    freeze()
    while control is not None:
        command, descriptors = Zygote(control, native).run()
        if command is None:
            os._exit(0)
        control = work(app, command["worker"], descriptors, settings, control, native)


def say(control, **message):
    control.send(json.dumps(message).encode())


def set_up(settings):
    os.chdir(settings["project"])
    sys.argv = ["tierce"]
    ours = [settings["project"], *settings["pythonpath"]]
    sys.path[:] = ours + [entry for entry in sys.path if entry != "" and entry not in ours]
    if "" in sys.path_importer_cache:
        del sys.path_importer_cache[""]


def line_by_line():
    """So that the log has what is printed when it is printed."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.reconfigure(line_buffering=True)
        except Exception:
            # None, closed, or something of the application's own.
            pass


def freeze():
    """Makes forks cheap: what there is now is not looked at by their collectors, and so stays shared."""
    # What waits in a buffer would be printed by every worker.
    flush()
    # What was frozen before and is garbage by now would be so for ever.
    gc.unfreeze()
    gc.collect()
    gc.freeze()


def flush():
    for stream in (sys.stdout, sys.stderr, sys.__stdout__, sys.__stderr__):
        try:
            stream.flush()
        except Exception:
            pass


# The application


def load(settings, control):
    """The callable; None after the supervisor has been told why there is none."""
    module, wanted = None, settings["callable"]
    try:
        module = importlib.import_module(settings["module"])
        app = resolve(module, wanted)
        if not callable(app):
            kind = type(app).__name__
            raise TypeError(f"`{settings['module']}:{wanted}` is no application but of type {kind}")
        if not takes_requests(app):
            raise TypeError(f"`{settings['module']}:{wanted}` cannot be called with environ and start_response")
    except BaseException as error:
        say(control, **failure(error, module))
        return None
    threads = len(os.listdir("/proc/self/task"))
    python = ".".join(str(part) for part in sys.version_info[:3])
    interface = "asgi" if is_asgi(app) else "wsgi"
    say(control, say="imported", python=python, interface=interface, threads=threads, callable=wanted)
    return app


def resolve(module, wanted):
    """`app`, `package.app` or `create_app("production")`: names, and calls with literal arguments."""
    return evaluate(ast.parse(wanted.strip(), mode="eval").body, module, wanted)


def evaluate(node, module, wanted):
    if isinstance(node, ast.Name):
        return getattr(module, node.id)
    if isinstance(node, ast.Attribute):
        return getattr(evaluate(node.value, module, wanted), node.attr)
    if isinstance(node, ast.Call):
        try:
            positional = [ast.literal_eval(argument) for argument in node.args]
            named = {keyword.arg: ast.literal_eval(keyword.value) for keyword in node.keywords}
        except ValueError:
            raise ValueError(f"the arguments in `{wanted}` must be plain values") from None
        return evaluate(node.func, module, wanted)(*positional, **named)
    raise ValueError(f"`{wanted}` is neither a name nor a call with plain arguments")


def is_asgi(app):
    """Whether calling it returns a coroutine, or (a class) an object whose call does."""
    call = getattr(app, "__call__", None)
    return inspect.iscoroutinefunction(app) or inspect.iscoroutinefunction(call)


def takes_requests(app):
    """False for a function of other parameters, mostly a factory that was named without `()`."""
    if not inspect.isfunction(app) or is_asgi(app):
        return True
    try:
        inspect.signature(app, follow_wrapped=False).bind({}, None)
    except TypeError:
        return False
    return True


def failure(error, module):
    """What to tell; a message must fit a packet, and the end of a traceback tells the most."""
    trace = error.__traceback__
    while trace is not None and trace.tb_frame.f_code.co_filename.startswith("<"):
        trace = trace.tb_next
    if trace is not None and trace.tb_frame.f_code.co_filename == importlib.__file__:
        trace = trace.tb_next
        while trace is not None and trace.tb_frame.f_code.co_filename.startswith("<frozen importlib"):
            trace = trace.tb_next
    text = "".join(traceback.format_exception(type(error), error, trace))
    return {
        "say": "failed",
        "cause": f"{type(error).__name__}: {error}"[: PACKET // 16],
        "traceback": text[-PACKET // 4 :],
        "missing_module": error.name if isinstance(error, ModuleNotFoundError) else None,
        "found": candidates(module) if module is not None else [],
    }


def candidates(module):
    """What in the module looks like an application."""
    found = []
    for name, value in vars(module).items():
        if name.startswith("_") or inspect.isclass(value) or inspect.ismodule(value):
            continue
        if name in ("create_app", "make_app") and inspect.isfunction(value):
            found.append(f"{name}()")
        elif callable(value) and (hasattr(value, "wsgi_app") or name in ("app", "application", "wsgi", "asgi")):
            found.append(name)
    return found[:16]


# The zygote


class Zygote:
    """Forks at the supervisor's word, and tells how its children end."""

    def __init__(self, control, native):
        self.control = control
        self.native = native
        self.children = {}
        self.unwatched = set()
        self.original = native["greenlets"].original
        self.poll = self.original(select, "poll")()
        self.poll.register(control, select.POLLIN)

    def run(self):
        """In the zygote: None when it is to exit. In a worker: its command and descriptors."""
        # How the application wants to learn of its children is for the workers; here it would hide how those end.
        about_children = self.original(signal, "signal")(signal.SIGCHLD, signal.SIG_DFL)
        command, descriptors = self.obey()
        if command is not None and about_children is not None:
            signal.signal(signal.SIGCHLD, about_children)
        return command, descriptors

    def obey(self):
        while True:
            for descriptor, _ in self.poll.poll(ROUND_MS if self.unwatched else None):
                if descriptor != self.control.fileno():
                    self.reap(self.children.pop(descriptor), descriptor)
                    continue
                command, descriptors = self.receive()
                if command is None or command["do"] == "exit":
                    return None, []
                if command["do"] in ("let_go", "stay"):
                    self.change_parent(command)
                    continue
                if len(descriptors) < command["descriptors"]:
                    # The kernel has dropped those for which this process has no room.
                    close(descriptors)
                    say(self.control, say="fork_failed", worker=command["worker"], cause="too many open files")
                    if command["do"] == "become":
                        return None, []
                    continue
                if command["do"] == "become" or self.fork(command, descriptors):
                    return command, descriptors
            for pid in list(self.unwatched):
                self.reap(pid, None)

    def receive(self):
        """A command with its descriptors, which may come in several packets."""
        command, descriptors, left = None, [], DESCRIPTORS + 1
        while DESCRIPTORS < left:
            try:
                text, more, _, _ = socket.recv_fds(self.control, PACKET, DESCRIPTORS)
            except ConnectionError:
                text = b""
            if not text:
                return None, []
            packet = json.loads(text)
            command, left = command or packet, packet["descriptors"]
            descriptors += more
        for descriptor in descriptors:
            os.set_inheritable(descriptor, False)
        return command, descriptors

    def change_parent(self, command):
        """Lets the parent, from which this process was forked, end; then the supervisor is the parent."""
        if command["do"] == "let_go":
            self.native["outlive_parent"]()
            say(self.control, say="has_let_go")
            return
        self.native["die_with_parent"]()
        if os.getppid() != command["parent"]:
            os._exit(0)
        say(self.control, say="stays")

    def fork(self, command, descriptors):
        """True in the child."""
        parent = os.getpid()
        try:
            pid = self.original(os, "fork")()
        except OSError as error:
            say(self.control, say="fork_failed", worker=command["worker"], cause=str(error))
            close(descriptors)
            return False
        if pid == 0:
            self.native["die_with_parent"]()
            if os.getppid() != parent:
                os._exit(0)
            self.native["greenlets"].after_fork()
            close(self.children)
            return True
        close(descriptors)
        try:
            descriptor = self.native["open_pidfd"](pid)
        except OSError:
            self.unwatched.add(pid)
        else:
            self.children[descriptor] = pid
            self.poll.register(descriptor, select.POLLIN)
        say(self.control, say="forked", worker=command["worker"], pid=pid)
        return False

    def reap(self, pid, descriptor):
        if descriptor is not None:
            self.poll.unregister(descriptor)
            os.close(descriptor)
        code, by = None, None
        try:
            ended, status = self.original(os, "waitpid")(pid, 0 if descriptor is not None else os.WNOHANG)
        except ChildProcessError:
            # Somebody else has waited for it, so nobody knows how it has ended.
            pass
        else:
            if ended == 0:
                return
            if os.WIFSIGNALED(status):
                by = os.WTERMSIG(status)
            else:
                code = os.WEXITSTATUS(status)
        self.unwatched.discard(pid)
        say(self.control, say="exited", pid=pid, code=code, signal=by)


def close(descriptors):
    for descriptor in descriptors:
        os.close(descriptor)


# A worker


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


def obstacle(inherited, native):
    """Why this process, which serves no more, cannot be forked; None if it can."""
    threads = other_threads()
    if threads:
        return {"obstacle": "threads", "names": threads}
    try:
        peers = connections(inherited, native)
    except OSError as error:
        return {"obstacle": "fork", "names": [str(error)]}
    return {"obstacle": "connections", "names": peers} if peers else None


def other_threads():
    """Those besides this one, which a fork would not have, by name."""
    until = time.monotonic() + PARTING
    while True:
        left = [int(name) for name in os.listdir("/proc/self/task") if int(name) != os.getpid()]
        if not left or until < time.monotonic():
            break
        time.sleep(0.001)
    threading = sys.modules.get("threading")
    known = {thread.native_id: thread.name for thread in threading.enumerate()} if threading else {}
    names = dict.fromkeys(known.get(thread) or native_name(thread) for thread in left)
    return list(names)[:TOLD]


def native_name(thread):
    try:
        with open(f"/proc/self/task/{thread}/comm", encoding="utf-8", errors="replace") as file:
            return f"{file.read().strip()}, which is not Python's"
    except OSError:
        return "one that has just ended"


def sockets():
    """Those of this process, by what the kernel tells them apart: descriptors by inode."""
    found = {}
    for name in os.listdir("/proc/self/fd"):
        try:
            seen = os.stat(int(name))
        except OSError:
            continue
        if stat.S_ISSOCK(seen.st_mode):
            found[seen.st_ino] = int(name)
    return found


def connections(inherited, native):
    """Connections made since this process was forked itself which a fork would share with it, by their peers. Tried with a
    fork, so that the application may close them when it is about to be forked (`os.register_at_fork`)."""
    reader, writer = os.pipe()
    parent = os.getpid()
    pid = os.fork()
    if pid == 0:
        try:
            native["die_with_parent"]()
            if os.getppid() == parent:
                os.write(writer, json.dumps(peers(inherited)).encode())
        finally:
            os._exit(0)
    os.close(writer)
    with open(reader, "rb") as told:
        text = told.read()
    os.waitpid(pid, 0)
    if not text:
        raise OSError("a fork that was tried has ended at once")
    return json.loads(text)


def peers(inherited):
    found = []
    for inode, descriptor in sockets().items():
        if inode in inherited:
            continue
        with socket.socket(fileno=os.dup(descriptor)) as one:
            # Others, such as one to a log, have no state that could be mixed up.
            if one.type not in (socket.SOCK_STREAM, socket.SOCK_SEQPACKET):
                continue
            try:
                found.append(address(one.getpeername()))
            except OSError:
                # It listens, or the peer has gone.
                pass
    return list(dict.fromkeys(found))[:TOLD]


def address(peer):
    """`10.0.0.1:5432`, or a path."""
    if isinstance(peer, tuple):
        return f"{peer[0]}:{peer[1]}"
    if isinstance(peer, bytes):
        peer = peer.decode(errors="replace").replace("\0", "@")
    return peer or "a socket without a name"


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
