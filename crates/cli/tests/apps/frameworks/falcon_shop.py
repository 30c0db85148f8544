"""A shop in Falcon; its siblings answer the same."""
import os

import falcon

HERE = os.path.dirname(os.path.abspath(__file__))


class Text:
    def on_get(self, request, response, name):
        response.content_type = falcon.MEDIA_TEXT
        response.text = f"hello {name}"

    on_head = on_get


class Json:
    def on_post(self, request, response):
        response.media = {"got": request.get_media()}


class Form:
    def on_post(self, request, response):
        response.text = request.get_media()["name"]


class Upload:
    def on_post(self, request, response):
        found = {}
        for part in request.get_media():
            found[part.name] = (part.secure_filename, len(part.stream.read())) if part.filename else part.text
        response.text = f"{found['name']} {found['file'][0]} {found['file'][1]}"


class StreamIn:
    def on_post(self, request, response):
        count = 0
        while piece := request.stream.read(8192):
            count += len(piece)
        response.text = str(count)


class StreamOut:
    def on_get(self, request, response):
        response.stream = (f"line {number}\n".encode() for number in range(3))


class Cookies:
    def on_get(self, request, response):
        response.text = request.cookies.get("seen", "none")
        response.set_cookie("a", "1", secure=False)
        response.set_cookie("b", "2", secure=False)


class File:
    def on_get(self, request, response):
        path = os.path.join(HERE, "file.txt")
        response.set_stream(open(path, "rb"), os.path.getsize(path))


class Moved:
    def on_get(self, request, response):
        raise falcon.HTTPFound("/text/moved")


class Broken:
    def on_get(self, request, response):
        raise ValueError("broken on purpose")


app = falcon.App()
for path, resource in {
    "/text/{name}": Text(),
    "/json": Json(),
    "/form": Form(),
    "/upload": Upload(),
    "/stream-in": StreamIn(),
    "/stream-out": StreamOut(),
    "/cookies": Cookies(),
    "/file": File(),
    "/moved": Moved(),
    "/broken": Broken(),
}.items():
    app.add_route(path, resource)
