"""Files of all kinds as responses, and hints ahead of them."""
import gzip
import io
import os
import subprocess
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
BIG = os.path.join(HERE, "big.bin")
GONE = {"shrinks": lambda file: os.truncate(BIG, 0), "grows": lambda file: open(BIG, "ab").write(b"more")}


def note(text):
    with open(os.path.join(HERE, "notes.txt"), "a") as file:
        file.write(text + "\n")


class Noted:
    """Passes the reading on, and notes where the file was left: at its beginning, unless Python has read it."""

    def __init__(self, name, file):
        self.name, self.file = name, file

    def __getattr__(self, attribute):
        return getattr(self.file, attribute)

    def close(self):
        where = self.file.tell() if self.file.seekable() else "the end"
        note(f"{self.name} closed at {where}")
        GONE.get(self.name, lambda file: None)(self.file)
        self.file.close()


class Changed:
    """Has the descriptor of a file whose bytes are not those that it reads."""

    def __init__(self, file):
        self.file, self.fileno = file, file.fileno

    def read(self, size):
        return self.file.read(size).swapcase()


def big(offset=0):
    file = open(BIG, "rb")
    file.seek(max(offset - 10, 0))
    # A buffered reader has read more of its file than was asked for.
    file.read(min(offset, 10))
    return file


def buffered():
    file = tempfile.TemporaryFile()
    file.write(b"x" * 10_000)
    file.seek(0)
    file.write(b"in the buffer")
    return file


def named():
    file = tempfile.NamedTemporaryFile(dir=HERE)
    file.write(b"named " * 1000)
    file.seek(6)
    return file


def pipe():
    return subprocess.Popen(["echo", "from a pipe"], stdout=subprocess.PIPE).stdout


def packed():
    path = os.path.join(HERE, "packed.gz")
    with gzip.open(path, "wb") as file:
        file.write(b"unpacked")
    return gzip.open(path, "rb")


FILES = {
    "offset": lambda: big(1_000_000),
    "end": lambda: big(os.path.getsize(BIG)),
    "bytes": lambda: io.BytesIO(b"in memory"),
    "pipe": pipe,
    "packed": packed,
    "buffered": buffered,
    "named": named,
    "changed": lambda: Changed(io.FileIO(__file__)),
    "unreadable": lambda: open(os.path.join(HERE, "written.txt"), "wb", buffering=0),
    "text": lambda: open(__file__),
    "made-up": lambda: open("/proc/self/status", "rb"),
}


def app(environ, start_response):
    name = environ["PATH_INFO"][1:]
    query = environ["QUERY_STRING"]
    hints = environ["wsgi.early_hints"]
    if name == "ok":
        start_response("200 OK", [("Content-Length", "2")])
        return [b"ok"]
    if name == "hinted":
        hints([("Link", "</style.css>; rel=preload; as=style"), ("Link", "</a.js>; rel=preload"), ("Content-Length", "9")])
        hints([])
        hints([("X-Second", "caf\u00e9")])
        if query == "wait":
            environ["wsgi.input"].read()
        start_response("200 OK", [("Content-Type", "text/plain")])
        write = start_response.__self__.write
        hints([("X-Third", "the head has not left")])
        write(b"body")
        hints([("X-Late", "too late")])
        KEPT.append(hints)
        return []
    if name == "kept":
        start_response("200 OK", [])
        try:
            KEPT[-1]([("X-Evil", "a hint in another request")])
        except RuntimeError as error:
            return [str(error).encode()]
    if name == "bad-hint":
        hints([("Link", "a\r\nX-Evil: b")])
    if name == "many-hints":
        for n in range(100):
            hints([("X-Number", str(n))])
    headers = [("Content-Length", query)] if query.isdigit() else []
    status = {"304": "304 Not Modified", "204": "204 No Content"}.get(name, "200 OK")
    if query != "no-start":
        write = start_response(status, headers)
        if query == "written" or name == "written":
            write(b"before")
    file = Noted(name, FILES.get(name, big)())
    wrapper = environ["wsgi.file_wrapper"](file)
    return passed_on(wrapper) if query == "wrapped" else wrapper


def passed_on(wrapper):
    try:
        yield from wrapper
    finally:
        wrapper.close()


KEPT = []
