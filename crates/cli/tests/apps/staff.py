"""Handlers that compute, and handlers that wait."""
import os
import time

DIRECTORY = os.path.dirname(os.path.abspath(__file__))


def app(environ, start_response):
    path = environ["PATH_INFO"]
    if path == "/compute":
        until = time.thread_time() + 0.03
        while time.thread_time() < until:
            pass
    elif path == "/long":
        while not os.path.exists(os.path.join(DIRECTORY, "go")):
            time.sleep(0.01)
    elif path.startswith("/run/"):
        with open(os.path.join(DIRECTORY, "runs.txt"), "a") as file:
            file.write(path + "\n")
        time.sleep(0.05)
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [str(os.getpid()).encode()]
