"""One small application for each rule of PEP 3333; a path names the rule."""
import os
import sys
import time
from urllib.parse import unquote

DIRECTORY = os.path.dirname(os.path.abspath(__file__))
KEPT = {}


def note(text):
    with open(os.path.join(DIRECTORY, "notes.txt"), "a") as file:
        file.write(text + "\n")


def wait_for_gate(name):
    """Until the client has opened it; the test fails long before this gives up."""
    for _ in range(6000):
        if os.path.exists(os.path.join(DIRECTORY, name)):
            return
        time.sleep(0.01)
    raise TimeoutError(name)


class Body:
    """An iterable whose `close` is counted."""

    def __init__(self, name, blocks):
        self.name, self.blocks = name, blocks

    def __iter__(self):
        return iter(self.blocks)

    def close(self):
        note(f"closed {self.name}")


class Broken(BaseException):
    pass


class Text(str):
    pass


class Bytes(bytes):
    pass


class ClosedList(list):
    def close(self):
        note("closed list")


class Sequence:
    """Iterable only as things were before iterators."""

    def __getitem__(self, index):
        return [b"old ", b"style"][index]


class Attributes(Body):
    """An iterable with what only wsgi.file_wrapper may be asked for; none of it is true."""

    def __len__(self):
        return 1

    def fileno(self):
        raise AssertionError("nobody may ask for it")

    def read(self, size=-1):
        raise AssertionError("nobody may ask for it")

    def __bool__(self):
        return False


class FailingClose(Body):
    def close(self):
        super().close()
        raise ValueError("close has failed")


class FailingIter(Body):
    def __iter__(self):
        raise ValueError("iter has failed")


def argument(environ):
    return unquote(environ["QUERY_STRING"])


def answer(start_response, text):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [text.encode("latin-1", "backslashreplace")]


def value(environ, start_response):
    """One variable of the environ."""
    return answer(start_response, ascii(environ.get(argument(environ))))


def violations(environ, start_response):
    """What of the environ is not as it must be."""
    found = []
    check = lambda ok, what: ok or found.append(what)
    check(type(environ) is dict, "a real dict")
    for name, content in environ.items():
        check(type(name) is str, f"{name!r} is a str")
        if not name.startswith("wsgi."):
            check(type(content) is str, f"{name} is a str")
            check(all(ord(char) < 256 for char in content), f"{name} holds bytes")
    for name in ("REQUEST_METHOD", "SCRIPT_NAME", "PATH_INFO", "QUERY_STRING", "SERVER_NAME", "SERVER_PORT", "SERVER_PROTOCOL"):
        check(name in environ, name)
    check(environ["SERVER_NAME"] != "" and environ["SERVER_PORT"].isdigit(), "the server's name and port")
    check(environ["wsgi.version"] == (1, 0) and type(environ["wsgi.version"]) is tuple, "wsgi.version")
    for name in ("read", "readline", "readlines", "__iter__"):
        check(hasattr(environ["wsgi.input"], name), f"wsgi.input.{name}")
    for name in ("flush", "write", "writelines"):
        check(hasattr(environ["wsgi.errors"], name), f"wsgi.errors.{name}")
    return answer(start_response, "; ".join(found))


def changed(environ, start_response):
    """The application may do with its environ what it likes."""
    seen = environ.get("mine"), environ.get("SERVER_NAME") is not None
    environ["mine"] = "yes"
    del environ["SERVER_NAME"]
    return answer(start_response, repr(seen))


def errors(environ, start_response):
    log = environ["wsgi.errors"]
    log.write("written caf\u00e9 \u20ac \udcff\n")
    log.writelines(["one line\n", "another line\n"])
    log.flush()
    return answer(start_response, "")


def started(environ, start_response):
    """`start_response` with the arguments that the query gives; what it raises is told."""
    try:
        write = start_response(*eval(argument(environ)))
    except Exception as error:
        return answer(start_response, type(error).__name__)
    return [b"accepted" if callable(write) else b"no write()"]


def exc_info():
    try:
        raise ValueError("an error of the application")
    except ValueError:
        return sys.exc_info()


def replaced_after_empty_blocks(environ, start_response):
    """Empty blocks do not send the head, so that it can still be replaced, more than once."""
    start_response("200 OK", [("X-First", "yes"), ("Content-Length", "1")])
    yield b""
    start_response("500 First", [("X-Second", "yes")], exc_info())
    yield b""
    start_response("503 Second", [("X-Third", "yes")], exc_info())
    yield b"replaced"


def not_replaced(environ, start_response):
    """Once the head has been sent, the error is raised again, as it was."""
    start_response("200 OK", [("Content-Length", "10")])
    yield b"begun"
    try:
        start_response("500 Too Late", [], exc_info())
    except ValueError as error:
        frames = []
        trace = error.__traceback__
        while trace is not None:
            frames.append(trace.tb_frame.f_code.co_name)
            trace = trace.tb_next
        note(f"raised again {error} {'exc_info' in frames}")
        raise


def late_start(environ, start_response):
    yield b""
    yield b""
    start_response("201 Late", [("X-Late", "yes")])
    yield b"late"


def never_started(environ, start_response):
    yield b""


def written_at_once(environ, start_response):
    write = start_response("200 OK", [])
    write(b"first")
    wait_for_gate("gate")
    write(b"second")
    return []


def written_too_much(environ, start_response):
    write = start_response("200 OK", [("Content-Length", "3")])
    for piece in (b"12", b"345", b"6"):
        try:
            write(piece)
        except Exception as error:
            note(f"write {piece!r} {type(error).__name__}")
    return []


def written_text(environ, start_response):
    try:
        start_response("200 OK", [])("text")
    except TypeError:
        return [b"TypeError"]
    return []


def kept(environ, start_response):
    """What was kept of a request that has ended does nothing but raise, and waits for nothing."""
    told = []
    if KEPT:
        for name, call in KEPT.items():
            try:
                told.append(f"{name} {call()!r}")
            except Exception as error:
                told.append(f"{name} {type(error).__name__}")
    write = start_response("200 OK", [])
    body = environ["wsgi.input"]
    KEPT.update(
        write=lambda: write(b"late"),
        start_response=lambda: start_response("500 Late", [], exc_info()),
        read=lambda: body.read(),
    )
    return ["; ".join(told).encode()]


def one_at_a_time(environ, start_response):
    start_response("200 OK", [])
    yield b"first"
    wait_for_gate("gate")
    yield b"second"


def complete_before_the_end(environ, start_response):
    """All of the announced bytes have been given, and the application goes on."""

    def body():
        yield b"12345"
        wait_for_gate("end")
        note("at the end")

    note("begun")
    wait_for_gate("begin")
    start_response("200 OK", [("Content-Length", "5")])
    return body()


def complete_before_close(environ, start_response):
    class Slow(Body):
        def close(self):
            wait_for_gate("end")
            note("at the end")

    note("begun")
    wait_for_gate("begin")
    start_response("200 OK", [("Content-Length", "5")])
    return Slow("", [b"12345"])


def complete_by_write(environ, start_response):
    note("begun")
    wait_for_gate("begin")
    start_response("200 OK", [("Content-Length", "5")])(b"12345")
    wait_for_gate("end")
    note("at the end")
    return []


def slow_close(environ, start_response):
    class Slow(Body):
        def close(self):
            time.sleep(0.02)

    start_response("200 OK", [])
    return Slow("", [])


def announced(environ, start_response):
    """An endless body with a length, of which no more is asked for than can be sent."""

    def endless():
        asked = 0
        try:
            while True:
                asked += 1
                yield b"x" * 10
        finally:
            note(f"asked {asked}")

    start_response("200 OK", [("Content-Length", "25")])
    return endless()


def kind(environ, start_response):
    """Bodies of every kind."""
    start_response("200 OK", [])
    kinds = {
        "list": lambda: [b"a", b"b"],
        "tuple": lambda: (b"a", b"b"),
        "one": lambda: [b"ab"],
        "generator": lambda: (block for block in [b"a", b"", b"b"]),
        "iterator": lambda: iter([b"a", b"b"]),
        "set": lambda: {b"ab"},
        "sequence": Sequence,
        "subclass": lambda: [Bytes(b"ab")],
        "attributes": lambda: Attributes("attributes", [b"a", b"b"]),
        "nothing": lambda: [],
        "empty": lambda: [b""],
        "file": lambda: open(os.path.join(DIRECTORY, "file.txt"), "rb"),
        "wrapper": lambda: environ["wsgi.file_wrapper"](open(os.path.join(DIRECTORY, "file.txt"), "rb"), 4),
        "None": lambda: None,
        "text": lambda: "text",
        "texts": lambda: ["a", "b"],
        "bytes": lambda: b"bytes",
        "number": lambda: 7,
        "numbers": lambda: [b"a", 7],
        "bytearray": lambda: [bytearray(b"ab")],
    }
    return kinds[argument(environ)]()


def closed(environ, start_response):
    """Paths on which `close` has to be called, once."""

    def failing(error):
        yield b"begun"
        raise error

    name = argument(environ)
    bodies = {
        "end": lambda: Body(name, [b"ab", b"c"]),
        "length": lambda: Body(name, [b"abcdef", b"g"]),
        "204": lambda: Body(name, [b"ab"]),
        "304": lambda: Body(name, [b"ab"]),
        "nothing": lambda: Body(name, []),
        "unstarted": lambda: Body(name, [b"ab"]),
        "exception": lambda: Body(name, failing(ValueError("in the middle"))),
        "base-exception": lambda: Body(name, failing(Broken("in the middle"))),
        "iter": lambda: FailingIter(name, []),
        "close": lambda: FailingClose(name, [b"abc"]),
        "both": lambda: FailingClose(name, failing(ValueError("in the middle of both"))),
        "not-bytes": lambda: Body(name, [b"a", "text"]),
        "list": lambda: ClosedList([b"abc"]),
    }
    if name != "unstarted":
        start_response(
            {"204": "204 No Content", "304": "304 Not Modified"}.get(name, "200 OK"),
            [("Content-Length", "3")] if name in ("end", "length") else [],
        )
    return bodies[name]()


def raised(environ, start_response):
    """Exceptions of every kind, in the call or in the iteration (before the first byte)."""
    name, place = argument(environ).split()
    error = {"Broken": Broken}.get(name) or getattr(__builtins__, name, None) or __builtins__[name]

    def body():
        raise error("on purpose")
        yield b""

    if place == "call":
        raise error("on purpose")
    start_response("200 OK", [])
    return body()


def input(environ, start_response):
    """The body as the expression in the query reads it; `i` is wsgi.input."""
    return answer(start_response, repr(eval(argument(environ), {"i": environ["wsgi.input"]})))


def echoed(environ, start_response):
    """Every byte as it came, in blocks that end anywhere."""
    body = environ["wsgi.input"].read()
    start_response("200 OK", [])
    return (body[at : at + 7] for at in range(0, len(body), 7))


def early(environ, start_response):
    """Reads a part of the body while the rest has not come."""
    return answer(start_response, repr(environ["wsgi.input"].read(5)))


def cut(environ, start_response):
    note("cut begins")
    try:
        environ["wsgi.input"].read()
        note("cut read all")
    except Exception as error:
        note(f"cut {type(error).__name__}")
        raise
    return answer(start_response, "")


RULES = {name: rule for name, rule in globals().items() if callable(rule) and name.islower()}


def app(environ, start_response, /):
    """The server has to call it with positional arguments."""
    name = environ["PATH_INFO"].strip("/").split("/")[0] or "value"
    return RULES[name](environ, start_response)
