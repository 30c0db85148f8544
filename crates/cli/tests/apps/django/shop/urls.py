from django.http import FileResponse, HttpResponse, JsonResponse, StreamingHttpResponse
from django.middleware.csrf import get_token
from django.urls import path


def index(request):
    visits = request.session.get("visits", 0) + 1
    request.session["visits"] = visits
    return HttpResponse(f"{request.GET.get('q', '')} {visits}")


def token(request):
    return HttpResponse(get_token(request))


def form(request):
    upload = request.FILES["file"].read() if request.FILES else b""
    return JsonResponse({"name": request.POST.get("name"), "bytes": len(upload)})


def stream(request):
    return StreamingHttpResponse(f"{n}\n" for n in range(5))


def file(request):
    return FileResponse(open(__file__, "rb"))


def broken(request):
    raise ValueError("broken on purpose")


urlpatterns = [
    path("", index),
    path("token/", token),
    path("form/", form),
    path("stream/", stream),
    path("file/", file),
    path("broken/", broken),
]
