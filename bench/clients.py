"""Clients that the load generators are not: connections that stay idle, and readers of who has answered.

Invariant: what was opened here is closed when the block is left.
"""

import http.client
import re
import resource
import socket
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

from servers import Failed

BATCH = 100  # so many are opened at a time: fewer than any listen backlog
SPARE_DESCRIPTORS = 200


def allow_descriptors():
    """As many as the system lets us have; servers inherit it."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


class IdleConnections:
    """Keep-alive connections that have had one answer each and wait."""

    def __init__(self, port, number):
        self.port, self.number, self.sockets = port, number, []

    def __enter__(self):
        if resource.getrlimit(resource.RLIMIT_NOFILE)[0] < self.number + SPARE_DESCRIPTORS:
            raise Failed(f"{self.number:,} connections need a higher limit of open files (ulimit -n)")
        try:
            while len(self.sockets) < self.number:
                self.open_batch(min(BATCH, self.number - len(self.sockets)))
        except (OSError, ValueError) as error:
            self.__exit__()
            raise Failed(f"connection {len(self.sockets):,} of {self.number:,}: {error}") from None
        return self

    def open_batch(self, size):
        batch = []
        for _ in range(size):
            connection = socket.create_connection(("127.0.0.1", self.port), timeout=10)
            self.sockets.append(connection)
            batch.append(connection)
            connection.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        for connection in batch:
            read_answer(connection)

    def closed(self):
        """How many the server has closed."""
        return sum(map(is_closed, self.sockets))

    def __exit__(self, *_):
        for connection in self.sockets:
            connection.close()


def read_answer(connection):
    """One answer with a Content-Length, to its end."""
    data = b""
    while (end := data.find(b"\r\n\r\n")) < 0 or len(data) < end + 4 + content_length(data[:end]):
        more = connection.recv(65536)
        if not more:
            raise ValueError("closed by the server before its answer was whole")
        data += more
    if not data.startswith(b"HTTP/1.1 200 "):
        raise ValueError(f"answered {data.splitlines()[0].decode(errors='replace')}")


def content_length(head):
    found = re.search(rb"^content-length:\s*(\d+)", head, re.IGNORECASE | re.MULTILINE)
    if not found:
        raise ValueError("an answer without Content-Length")
    return int(found[1])


def is_closed(connection):
    connection.setblocking(False)
    try:
        return connection.recv(1, socket.MSG_PEEK) == b""
    except BlockingIOError:
        return False
    except OSError:
        return True


def who_answers(port, requests, at_a_time):
    """How many answers came from each host and from each process of a host. A connection per request, as ab has."""

    def ask(_):
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        try:
            connection.request("GET", "/")
            return parse_server(connection.getresponse().read().decode())
        except (OSError, http.client.HTTPException) as error:
            raise Failed(f"asking who answers: {error}") from None
        finally:
            connection.close()

    with ThreadPoolExecutor(at_a_time) as threads:
        answers = list(threads.map(ask, range(requests)))
    return Counter(host for host, _ in answers), Counter(answers)


def parse_server(body):
    found = re.fullmatch(r"HOSTNAME=(\S+) PID=(\d+)\n", body)
    if not found:
        raise Failed(f"an answer that does not say who served it: {body[:60]!r}")
    return found[1], int(found[2])


def spread(hosts, processes):
    """`5 hosts (19–21 each), 25 processes (3–5)`"""

    def counted(counter, one, many):
        low, high = min(counter.values()), max(counter.values())
        return f"{len(counter)} {one if len(counter) == 1 else many} ({low if low == high else f'{low}–{high}'} each)"

    return f"{counted(hosts, 'host', 'hosts')}, {counted(processes, 'process', 'processes')}"
