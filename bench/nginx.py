"""How nginx is run here: as a peer, as a server of files, and as the upstream of all proxies.

Invariant: whatever it writes is in its directory, and its workers may read what is there: they are root's if it is.
"""

import os

TEMPORARY = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
CONNECTIONS = 16384  # of a worker; its default is 512


def command(program, http, workers=1):
    """`http` makes the lines of the `http` block from a port and an empty directory."""

    def words(port, directory):
        file = directory / "nginx.conf"
        file.write_text("\n".join([*main_lines(directory, workers), *http(port, directory), "}", ""]))
        return [program, "-e", "stderr", "-c", file]

    return words


def main_lines(directory, workers):
    return [
        *(["user root;"] if os.geteuid() == 0 else []),
        f"daemon off; pid {directory}/nginx.pid; error_log stderr crit; worker_processes {workers};",
        f"events {{ worker_connections {CONNECTIONS}; }}",
        "http {",
        "access_log off; keepalive_requests 1000000000; keepalive_timeout 1h;",
        *(f"{kind}_temp_path {directory}/{kind};" for kind in TEMPORARY),
    ]
