"""Says where a request has come in; notes each POST when it begins to run, so that tests can count."""
import os
import time


def note(text):
    # One write in append mode is atomic.
    fd = os.open("runs.txt", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(fd, (text + "\n").encode())
    os.close(fd)


def app(environ, start_response):
    path = environ["PATH_INFO"]
    environ["wsgi.input"].read()
    if path.startswith("/run/"):
        note(path[5:])
    if path == "/wait":
        note("wait")
        while not os.path.exists("go"):
            time.sleep(0.01)
    text = f"{environ['wsgi.url_scheme']} {environ['SERVER_NAME']} {environ['SERVER_PORT']}".encode()
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(text)))])
    return [text]
