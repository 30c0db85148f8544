"""Plain WSGI: notes each POST in a file when it begins to run, so that tests can count."""
import os
import time

NOTES = os.path.join(os.path.dirname(os.path.abspath(__file__)), "runs.txt")
WAIT = float(os.environ.get("WAIT", "0.02"))


def note(text):
    # One write in append mode is atomic.
    fd = os.open(NOTES, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(fd, (text + "\n").encode())
    os.close(fd)


def app(environ, start_response):
    path = environ["PATH_INFO"]
    body = environ["wsgi.input"].read()
    if path.startswith("/run/"):
        note(f"{path[5:]} {os.getpid()}")
        time.sleep(WAIT)
    text = f"{path} {os.getpid()} {os.environ.get('HOSTNAME')} {len(body)}".encode()
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(text)))])
    return [text]
