"""Waits like a database query, then says which node and process has answered."""

import os
import socket
import time

from flask import Flask

app = Flask(__name__)
HOSTNAME = os.environ.get("HOSTNAME") or socket.gethostname()


@app.route("/")
def served_by():
    time.sleep(0.1)
    return f"HOSTNAME={HOSTNAME} PID={os.getpid()}\n"
