"""The same with Flask: notes each POST in a file when it begins to run, so that tests can count."""
import os
import time

from flask import Flask, request

NOTES = os.path.join(os.path.dirname(os.path.abspath(__file__)), "runs.txt")
WAIT = float(os.environ.get("WAIT", "0.02"))

app = Flask(__name__)


def note(text):
    # One write in append mode is atomic.
    fd = os.open(NOTES, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(fd, (text + "\n").encode())
    os.close(fd)


@app.route("/run/<run>", methods=["GET", "POST"])
def run(run):
    body = request.get_data(as_text=True)
    note(f"{run} {os.getpid()}")
    time.sleep(WAIT)
    return f"{run} {body} {os.environ.get('HOSTNAME')}"
