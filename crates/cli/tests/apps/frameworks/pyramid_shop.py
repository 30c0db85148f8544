"""A shop in Pyramid; its siblings answer the same."""
import os

from pyramid.config import Configurator
from pyramid.httpexceptions import HTTPFound
from pyramid.response import FileResponse, Response
from pyramid.view import view_config

HERE = os.path.dirname(os.path.abspath(__file__))


@view_config(route_name="text", request_method="GET")
def text(request):
    return Response(f"hello {request.matchdict['name']}", content_type="text/plain", charset="utf-8")


@view_config(route_name="json", request_method="POST", renderer="json")
def json(request):
    return {"got": request.json_body}


@view_config(route_name="form", request_method="POST")
def form(request):
    return Response(request.POST["name"])


@view_config(route_name="upload", request_method="POST")
def upload(request):
    file = request.POST["file"]
    return Response(f"{request.POST['name']} {file.filename} {len(file.file.read())}")


@view_config(route_name="stream-in", request_method="POST")
def stream_in(request):
    count = 0
    while piece := request.body_file.read(8192):
        count += len(piece)
    return Response(str(count))


@view_config(route_name="stream-out")
def stream_out(request):
    return Response(app_iter=(f"line {number}\n".encode() for number in range(3)))


@view_config(route_name="cookies")
def cookies(request):
    response = Response(request.cookies.get("seen", "none"))
    response.set_cookie("a", "1")
    response.set_cookie("b", "2")
    return response


@view_config(route_name="file")
def file(request):
    return FileResponse(os.path.join(HERE, "file.txt"), request=request)


@view_config(route_name="moved")
def moved(request):
    return HTTPFound("/text/moved")


@view_config(route_name="broken")
def broken(request):
    raise ValueError("broken on purpose")


def main():
    with Configurator() as config:
        config.add_route("text", "/text/{name}")
        for name in ("json", "form", "upload", "stream-in", "stream-out", "cookies", "file", "moved", "broken"):
            config.add_route(name, f"/{name}")
        config.scan(__name__)
        return config.make_wsgi_app()


app = main()
