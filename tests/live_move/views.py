"""Views that read the session."""

from django.http import HttpRequest, HttpResponse
from django.urls import path


def read(request: HttpRequest) -> HttpResponse:
    return HttpResponse(request.session.get("color", "nothing"))


async def aread(request: HttpRequest) -> HttpResponse:
    return HttpResponse(await request.session.aget("color", "nothing"))


urlpatterns = [path("read", read), path("aread", aread)]
