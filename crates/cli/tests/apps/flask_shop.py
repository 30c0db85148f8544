"""What Flask applications do besides answering with text."""
import os

from flask import Flask, Response, abort, g, jsonify, redirect, request, send_file, session, stream_with_context

app = Flask(__name__)
app.secret_key = "only for tests"
HERE = os.path.dirname(os.path.abspath(__file__))


def note(text):
    with open(os.path.join(HERE, "notes.txt"), "a") as file:
        file.write(text + "\n")


@app.before_request
def begin():
    g.name = request.path


@app.teardown_request
def end(error):
    note(f"{g.name} {type(error).__name__}")


@app.post("/json")
def json():
    return jsonify(got=request.get_json())


@app.post("/form")
def form():
    upload = request.files.get("file")
    return f"{request.form['name']} {len(upload.read()) if upload else 0}"


@app.post("/stream-in")
def stream_in():
    count = 0
    while piece := request.stream.read(8192):
        count += len(piece)
    return str(count)


@app.get("/stream-out")
def stream_out():
    def lines():
        for n in range(3):
            yield f"{request.path} {n}\n"

    return Response(stream_with_context(lines()), mimetype="text/plain")


@app.get("/endless")
def endless():
    def blocks():
        try:
            while True:
                yield b"x" * 65536
        finally:
            note("generator closed")

    return Response(blocks())


@app.get("/visits")
def visits():
    session["visits"] = session.get("visits", 0) + 1
    return str(session["visits"])


@app.get("/file")
def file():
    return send_file(os.path.join(HERE, "app.py"), mimetype="text/plain")


@app.get("/broken")
def broken():
    raise ValueError("broken on purpose")


@app.get("/teapot")
def teapot():
    abort(418)


@app.get("/moved")
def moved():
    return redirect("/visits")


@app.get("/text/<path:text>")
def text(text):
    return f"{text} {request.url}"
