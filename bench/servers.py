"""A server under test: started in a process group of its own, waited for, and ended with all that it has started.

Invariant: leaving the `with` block, on whatever path, leaves nothing of the server behind. (Tierce's workers are in groups
of their own; they end with it.)
"""

import http.client
import os
import shutil
import signal
import socket
import ssl
import subprocess
import time
from itertools import count

import proc

PORTS = range(18300, 18390)  # those from 18390 on are for upstreams
READY_SECONDS = 30  # 25 processes that import Flask on a busy machine
STOP_SECONDS = 5

# Variables by which a shell could set up a server behind our back.
FOREIGN = ("TIERCE_", "GRANIAN_", "GUNICORN_", "UWSGI_", "PYTHON", "WEB_CONCURRENCY", "PORT", "HOSTNAME", "VIRTUAL_ENV")

_turn = count()


class Failed(Exception):
    """A measurement that cannot be had; its text is the reason in the table."""


def free_port():
    """Another one each time: what lingers of the last server's connections does not meet the next one."""
    for _ in PORTS:
        port = PORTS[next(_turn) % len(PORTS)]
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
                return port
            except OSError:
                continue
    raise Failed(f"no port of {PORTS.start} to {PORTS.stop - 1} is free")


class Server:
    """`setup` with its command for a port; `where` has room for its log and files. Without `port` it gets a free one."""

    def __init__(self, setup, apps, where, cores, host="127.0.0.1", port=None):
        self.setup, self.apps, self.where, self.cores = setup, apps, where, cores
        self.process = None
        self.host, self.port = host, port or free_port()
        self.log = where / f"{setup.label}.log"

    def url(self, path=None):
        return f"{self.setup.scheme}://{self.host}:{self.port}{path or self.setup.path}"

    def cpu_seconds(self):
        return proc.cpu_seconds(self.process.pid)

    def pss_bytes(self):
        return proc.pss_bytes(self.process.pid)

    def anonymous_bytes(self):
        return proc.anonymous_bytes(self.process.pid)

    def __enter__(self):
        directory = self.where / self.setup.label
        shutil.rmtree(directory, ignore_errors=True)
        directory.mkdir(parents=True)
        self.words = [str(word) for word in self.setup.command(self.port, directory)]
        environment = {name: value for name, value in os.environ.items() if not name.startswith(FOREIGN)}
        environment["PYTHONPATH"] = str(self.apps)
        # Until the process is known here, no signal may take us out of here.
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
        try:
            self.spawn(directory, environment, mask)
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
            self.wait_until_ready()
        except BaseException:
            self.stop()
            raise
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        return self

    def spawn(self, directory, environment, mask):
        def before_exec():
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
            if self.cores:
                os.sched_setaffinity(0, self.cores)

        with open(self.log, "w") as log:
            self.process = subprocess.Popen(
                self.words,
                cwd=directory,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                preexec_fn=before_exec,
            )

    def __exit__(self, *_):
        self.stop()

    def wait_until_ready(self):
        """Until it answers and has stopped working: other workers may still be importing when the first answers."""
        deadline = time.monotonic() + READY_SECONDS
        while not self.answers():
            if self.ended():
                raise Failed(f"did not start: {self.last_words()}")
            if time.monotonic() > deadline:
                raise Failed(f"does not answer after {READY_SECONDS} s: {self.last_words()}")
            time.sleep(0.02)
        used = self.cpu_seconds()
        while time.monotonic() < deadline:
            time.sleep(0.2)
            before, used = used, self.cpu_seconds()
            if used - before <= 0.01:
                return

    def answers(self):
        connection = self.connection()
        try:
            connection.request("GET", self.setup.path)
            return connection.getresponse().status == 200
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()

    def connection(self):
        if self.setup.scheme == "http":
            return http.client.HTTPConnection(self.host, self.port, timeout=5)
        context = ssl._create_unverified_context()  # the certificate is its own
        return http.client.HTTPSConnection(self.host, self.port, timeout=5, context=context)

    def last_words(self):
        lines = [line.strip() for line in self.log.read_text(errors="replace").splitlines() if line.strip()]
        return f"{lines[-1] if lines else 'it said nothing'} ({self.log})"

    def stop(self):
        """Asks, waits, then ends the group. The leader is reaped last, so that its group's number is still its own."""
        if self.process is None:
            return
        if self.process.returncode is None:
            os.kill(self.process.pid, signal.SIGTERM)
            deadline = time.monotonic() + STOP_SECONDS
            while not self.ended() and time.monotonic() < deadline:
                time.sleep(0.02)
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self.process.wait()

    def ended(self):
        return os.waitid(os.P_PID, self.process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
