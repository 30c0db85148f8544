"""A shop in Bottle; its siblings answer the same."""
import os

from bottle import Bottle, redirect, request, response, static_file

HERE = os.path.dirname(os.path.abspath(__file__))
app = Bottle()


@app.get("/text/<name>")
def text(name):
    response.content_type = "text/plain; charset=utf-8"
    return f"hello {name}"


@app.post("/json")
def json():
    return {"got": request.json}


@app.post("/form")
def form():
    return request.forms.getunicode("name")


@app.post("/upload")
def upload():
    file = request.files["file"]
    return f"{request.forms['name']} {file.filename} {len(file.file.read())}"


@app.post("/stream-in")
def stream_in():
    count, body = 0, request.body
    while piece := body.read(8192):
        count += len(piece)
    return str(count)


@app.get("/stream-out")
def stream_out():
    for number in range(3):
        yield f"line {number}\n"


@app.get("/cookies")
def cookies():
    response.set_cookie("a", "1")
    response.set_cookie("b", "2")
    return request.get_cookie("seen", "none")


@app.get("/file")
def file():
    return static_file("file.txt", root=HERE)


@app.get("/moved")
def moved():
    redirect("/text/moved")


@app.get("/broken")
def broken():
    raise ValueError("broken on purpose")
