#!/usr/bin/env python3
"""TLS 1.3 handshakes, one after the other: connect, handshake, one request and its answer, close.

Full ones, or resumed ones with the ticket of the first. The answer is part of it because a server has finished a handshake
only when it has read on, and because tickets come with it. Invariant: only a handshake of the wanted kind is counted.
"""

import json
import socket
import ssl
import sys
import time

REQUEST = b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
CURVE = "X25519"  # what all of these servers and all browsers know; offered alone, so that all do the same work


class Wrong(Exception):
    """A handshake that does not count."""


def context():
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    made.minimum_version = ssl.TLSVersion.TLSv1_3
    made.check_hostname, made.verify_mode = False, ssl.CERT_NONE  # the certificate is its own
    made.set_ecdh_curve(CURVE)
    return made


def ask(client, port, ticket=None):
    """Returns a ticket for the next one."""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as plain:
        with client.wrap_socket(plain, server_hostname="localhost", session=ticket) as connection:
            if connection.session_reused != (ticket is not None):
                raise Wrong("it was resumed" if ticket is None else "it was not resumed")
            connection.sendall(REQUEST)
            answer = connection.recv(4096)
            if not answer.startswith(b"HTTP/1.1 200 "):
                raise Wrong(f"answered {answer[:30]!r}")
            return connection.session


def main():
    port, seconds, kind = int(sys.argv[1]), float(sys.argv[2]), sys.argv[3]
    client, done, error = context(), 0, None
    try:
        ticket = ask(client, port) if kind == "resumed" else None
        began = time.perf_counter()
        while time.perf_counter() < began + seconds:
            ask(client, port, ticket)
            done += 1
    except (OSError, Wrong) as wrong:
        error = str(wrong)
    json.dump({"handshakes": done, "error": error}, sys.stdout)


if __name__ == "__main__":
    main()
