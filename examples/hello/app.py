"""The demo: a page that waits as if for a database, and says who has answered."""
import os
import socket
import time

from flask import Flask

app = Flask(__name__)


@app.get("/")
def hello():
    time.sleep(0.1)
    host = os.environ.get("HOSTNAME") or socket.gethostname()
    return f"Hello World! This is {host}, process {os.getpid()}.\n"
