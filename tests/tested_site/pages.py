"""Pages with a form, with messages and with the signed-in user. Tests use it as ROOT_URLCONF."""

from django.contrib import messages
from django.contrib.auth import login
from django.contrib.auth.models import User
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.middleware.csrf import get_token
from django.shortcuts import redirect
from django.urls import path

from tests.tested_site.urls import urlpatterns as pages


def color(request: HttpRequest) -> JsonResponse:
    """What the session has, which this page only reads."""
    return JsonResponse({"color": request.session.get("color")})


def paint(request: HttpRequest) -> JsonResponse:
    request.session["color"] = "red"
    return color(request)


def form(request: HttpRequest) -> HttpResponse:
    return HttpResponse("sent" if request.method == "POST" else get_token(request))


def sign_in(request: HttpRequest) -> HttpResponse:
    """Sign in the user whose name the form has."""
    login(request, User.objects.get(username=request.POST["name"]))
    return HttpResponse(get_token(request))


def who(request: HttpRequest) -> JsonResponse:
    return JsonResponse({"user": request.user.get_username()})


def order(request: HttpRequest) -> HttpResponse:
    messages.success(request, "Thank you.", extra_tags="large")
    messages.info(request, "It takes 2 days.")
    return redirect("/messages/")


def show_messages(request: HttpRequest) -> JsonResponse:
    return JsonResponse({"shown": [[m.tags, m.message] for m in messages.get_messages(request)]})


urlpatterns = [
    *pages,
    path("color/", color),
    path("paint/", paint),
    path("form/", form),
    path("sign-in/", sign_in),
    path("who/", who),
    path("order/", order),
    path("messages/", show_messages),
]
