#!/usr/bin/env python3
"""A load generator that does not wait: requests begin at times fixed beforehand, however late the answers to others are.

wrk and ab ask again when they have been answered, so a server that halts for a second is asked little in this second, and
its p99 hides it. Here the time of an answer is counted from when its request was due, so also from when nobody had time to
send it. What this program itself was late by is told beside it: at the rates of these cells it has most of a core to spare.
The times are those of independent clients (exponential gaps), the same ones in each run.

Invariant: each request that was due is counted once, as answered or as failed.
"""

import argparse
import gc
import json
import random
import re
import select
import socket
import sys
import time
from collections import Counter, deque

SEED = 5  # any; all servers get the same times
GRACE_SECONDS = 5  # for the last answers; what has none by then has failed


def arrivals(rate, seconds):
    """When requests are due, in seconds from the start."""
    gaps, times, at = random.Random(SEED), [], 0.0
    while (at := at + gaps.expovariate(rate)) < seconds:
        times.append(at)
    return times


def percentile(ordered, share):
    """The smallest value that is not exceeded by this share of all."""
    return ordered[max(0, -(-len(ordered) * share // 100) - 1)]


def answer_status(data):
    """The status of an answer that is whole, None while it is not; and whether its connection can be used again. It has
    a Content-Length or ends in the last chunk; an answer that is no success counts as soon as its head is here."""
    end = data.find(b"\r\n\r\n")
    if end < 0:
        return None, True
    head, status = data[:end].lower(), int(data[9:12])
    if not 200 <= status < 300:
        return status, False
    found = re.search(rb"\r\ncontent-length: *(\d+)", head)
    whole = len(data) >= end + 4 + int(found[1]) if found else data.endswith(b"0\r\n\r\n")
    return (status if whole else None), head.startswith(b"http/1.1") and b"\r\nconnection: close" not in head


class Exchange:
    """A connection, and the request on it."""

    __slots__ = ("socket", "due", "data")

    def __init__(self, sock):
        self.socket, self.due, self.data = sock, 0.0, b""


class Load:
    def __init__(self, host, port, path, times):
        self.address, self.times = (host, port), times
        self.request = f"GET {path} HTTP/1.1\r\nHost: {host}:{port}\r\n\r\n".encode()
        self.poll = select.epoll()
        self.idle, self.busy = deque(), {}
        self.took, self.late, self.failures = [], [], Counter()

    def run(self):
        self.start, sent = time.perf_counter(), 0
        end = self.times[-1] + GRACE_SECONDS
        while sent < len(self.times) or self.busy:
            now = self.now()
            if now > end:
                break
            while sent < len(self.times) and self.times[sent] <= now:
                self.send(self.times[sent])
                sent += 1
            # select() waits for microseconds, which epoll does not.
            until = self.times[sent] if sent < len(self.times) else end
            select.select([self.poll], [], [], max(0, until - self.now()))
            for descriptor, _ in self.poll.poll(0):
                self.receive(descriptor)
        for exchange in self.busy.values():
            self.ended(exchange, f"no answer {GRACE_SECONDS} s after the end")
        for exchange in (*self.busy.values(), *self.idle):
            exchange.socket.close()

    def now(self):
        return time.perf_counter() - self.start

    def send(self, due):
        exchange = self.idle.pop() if self.idle else self.connect()
        self.late.append(self.now() - due)
        exchange.due, exchange.data = due, b""
        self.busy[exchange.socket.fileno()] = exchange
        try:
            exchange.socket.sendall(self.request)
        except OSError as error:
            self.close(exchange, str(error))

    def connect(self):
        """Over loopback that takes no time worth the name."""
        sock = socket.create_connection(self.address, timeout=GRACE_SECONDS)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setblocking(False)
        self.poll.register(sock, select.EPOLLIN)
        return Exchange(sock)

    def receive(self, descriptor):
        exchange = self.busy.get(descriptor)
        if exchange is None:  # an idle one: the server has closed it
            exchange = next(one for one in self.idle if one.socket.fileno() == descriptor)
            self.idle.remove(exchange)
            return exchange.socket.close()
        try:
            more = exchange.socket.recv(65536)
        except BlockingIOError:
            return None
        except OSError as error:
            return self.close(exchange, str(error))
        if not more:
            return self.close(exchange, "closed without an answer")
        exchange.data += more
        status, again = answer_status(exchange.data)
        if status is None:
            return None
        if not 200 <= status < 300:
            return self.close(exchange, f"status {status}")
        if not again:
            return self.close(exchange, None)
        del self.busy[descriptor]
        self.ended(exchange, None)
        return self.idle.append(exchange)

    def close(self, exchange, failure):
        del self.busy[exchange.socket.fileno()]
        exchange.socket.close()
        self.ended(exchange, failure)

    def ended(self, exchange, failure):
        """Failed ones took their time too: a client has waited for it."""
        self.took.append(self.now() - exchange.due)
        if failure:
            self.failures[failure] += 1

    def report(self):
        took, late = sorted(self.took), sorted(self.late)
        return {
            "requests": len(took),
            "p50_ms": percentile(took, 50) * 1000,
            "p99_ms": percentile(took, 99) * 1000,
            "longest_ms": took[-1] * 1000,
            "late_p99_ms": percentile(late, 99) * 1000,
            "busy_percent": time.process_time() / self.now() * 100,
            "failures": dict(self.failures),
        }


def main():
    parser = argparse.ArgumentParser(description="Requests at fixed times.")
    parser.add_argument("host")
    parser.add_argument("port", type=int)
    parser.add_argument("path")
    parser.add_argument("--rate", type=float, required=True, help="requests a second")
    parser.add_argument("--seconds", type=float, required=True)
    options = parser.parse_args()
    load = Load(options.host, options.port, options.path, arrivals(options.rate, options.seconds))
    gc.disable()  # nothing here is in a cycle, and a collection is a halt
    load.run()
    json.dump(load.report(), sys.stdout)


if __name__ == "__main__":
    main()
