"""Handlers that hurt the process they run in."""
import ctypes
import multiprocessing
import os
import subprocess
import sys
import time

DIRECTORY = os.path.dirname(os.path.abspath(__file__))
LEAKED = []


def note(text):
    fd = os.open(os.path.join(DIRECTORY, "notes.txt"), os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(fd, (text + "\n").encode())
    os.close(fd)


def square(number):
    return number * number


def recursion():
    return 1 + recursion()


def leak_descriptors():
    while True:
        LEAKED.append(os.open(os.devnull, os.O_RDONLY))


def fork_and_live_on():
    pid = os.fork()
    if pid == 0:
        note(f"child {os.getpid()}")
        time.sleep(600)
        os._exit(0)


def fork_and_return():
    if os.fork() == 0:
        note(f"child {os.getpid()}")


def fork_and_exit():
    if os.fork() == 0:
        note(f"child {os.getpid()}")
        sys.exit(0)


def close_links():
    """All sockets; what waits for events on them is not told."""
    for fd in os.listdir("/proc/self/fd"):
        try:
            if os.readlink(f"/proc/self/fd/{fd}").startswith("socket:"):
                os.close(int(fd))
        except FileNotFoundError:
            pass


def spin():
    note("spinning")
    while True:
        pass


def stubborn():
    """Ends neither by an exception nor by itself."""
    note("stubborn")
    while True:
        try:
            time.sleep(600)
        except BaseException:
            pass


def wait():
    note("waiting")
    time.sleep(1)


def flood():
    # 32 MiB in lines, and 32 MiB in one.
    line = "x" * 1000
    for _ in range(32 << 10):
        print(line)
    for _ in range(32):
        sys.stdout.write("y" * (1 << 20))
    print(flush=True)


def pool(method):
    with multiprocessing.get_context(method).Pool(2) as workers:
        assert workers.map(square, range(4)) == [0, 1, 4, 9]


HARM = {
    "/segv": lambda: ctypes.string_at(0),
    "/exit": lambda: os._exit(3),
    "/abort": os.abort,
    "/recursion": recursion,
    "/memory": lambda: b"x" * (1 << 62),
    "/descriptors": leak_descriptors,
    "/close-standard": lambda: [os.close(fd) for fd in (0, 1, 2)],
    "/standard": lambda: print("printed again"),
    "/redirect": lambda: os.dup2(os.open(os.path.join(DIRECTORY, "redirected.txt"), os.O_WRONLY | os.O_CREAT), 1),
    "/close-all": lambda: os.closerange(3, 100),
    "/close-links": close_links,
    "/fork-lives": fork_and_live_on,
    "/fork-returns": fork_and_return,
    "/fork-exits": fork_and_exit,
    "/subprocess": lambda: subprocess.run([sys.executable, "-c", "pass"], check=True),
    "/subprocess-lives": lambda: LEAKED.append(subprocess.Popen(["sleep", "600"])),
    "/pool-fork": lambda: pool("fork"),
    "/pool-spawn": lambda: pool("spawn"),
    "/setsid": os.setsid,
    "/chdir": lambda: os.chdir("/"),
    "/spin": spin,
    "/stubborn": stubborn,
    "/wait": wait,
    "/flood": flood,
    "/": lambda: None,
}


def app(environ, start_response):
    HARM[environ["PATH_INFO"]]()
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [str(os.getpid()).encode()]
