"""Plain WSGI for a container: slow answers, streams, and processes that lose their parent."""
import os
import subprocess
import time

HERE = os.path.dirname(os.path.abspath(__file__))
VERSION = "old"


def app(environ, start_response):
    path = environ["PATH_INFO"]
    start_response("200 OK", [("Content-Type", "text/plain")])
    if path == "/orphan":
        # Its parent ends at once; it goes on until the test says so.
        script = "while [ ! -e go ]; do sleep 0.05; done"
        subprocess.run(["sh", "-c", f"({script}) & exit 0"], cwd=HERE, stdout=subprocess.DEVNULL)
    if path == "/stream":
        return (f"{number}\n".encode() for number in range(20) if time.sleep(0.1) is None)
    if path.startswith("/run/"):
        environ["wsgi.input"].read()
        time.sleep(float(os.environ.get("WAIT", "0.02")))
    return [f"{VERSION} {os.getuid()} {os.environ.get('HOSTNAME')}".encode()]
