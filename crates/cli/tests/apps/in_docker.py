"""Says which container has answered; holds a request until a file is there."""

import os
import socket
import time

from flask import Flask

app = Flask(__name__)


@app.get("/")
def hello():
    time.sleep(0.1)
    return socket.gethostname()


@app.get("/held")
def held():
    open(".tierce/held", "w").close()
    while not os.path.exists(".tierce/go"):
        time.sleep(0.01)
    return "finished"
