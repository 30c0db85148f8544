"""Three handlers that share the workers: one fast, one that waits 1 s, one that computes for 20 ms."""

import time

from flask import Flask

app = Flask(__name__)


@app.route("/")
def fast():
    return "fast\n"


@app.route("/wait")
def wait():
    time.sleep(1)
    return "waited\n"


@app.route("/burn")
def burn():
    """The clock of the thread counts, so that the work is the same however much competes for the cores."""
    until = time.thread_time() + 0.02
    while time.thread_time() < until:
        pass
    return "burnt\n"
