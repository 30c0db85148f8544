"""Flask as small as it gets: the call costs more than the server around it."""

from flask import Flask

app = Flask(__name__)


@app.route("/")
def hello():
    return "hello\n"
