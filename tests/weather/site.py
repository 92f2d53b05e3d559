"""
The site in the weather: ``tests.weather.site:wsgi`` and ``:asgi``.

Its visitors sign in and out, read, write and increment. Each view answers with the name of the
signed-in user, or with "nobody", and then it has changed nothing. ``WEATHER_SITE`` is JSON:
``engine`` ("ours" or "cache"), ``url``, ``prefix``, ``database``, ``views`` ("sync" or "async"),
and ``more``: settings of ``SESSION_REDIS``.
"""

import json
import os
from typing import Any

import django
from django.conf import settings
from django.contrib.auth import alogin, alogout, login, logout
from django.core.asgi import get_asgi_application
from django.core.wsgi import get_wsgi_application
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.urls import path

NOBODY = "nobody"


def users() -> Any:
    from django.contrib.auth.models import User

    return User.objects


def answer(user: Any) -> HttpResponse:
    return HttpResponse(user.get_username() or NOBODY)


# Views of gunicorn and others


def who(request: HttpRequest) -> HttpResponse:
    return answer(request.user)


def greet(request: HttpRequest) -> HttpResponse:
    """Begin a session for somebody who then signs in."""
    request.session["greeted"] = True
    return answer(request.user)


def sign_in(request: HttpRequest, name: str) -> HttpResponse:
    login(request, users().get(username=name))
    return answer(request.user)


def write(request: HttpRequest, token: str) -> HttpResponse:
    if request.user.is_authenticated:
        request.session[f"write-{token}"] = 1
    return answer(request.user)


def increment(request: HttpRequest, token: str) -> HttpResponse:
    name = f"hit-{token}"
    if request.user.is_authenticated:
        if hasattr(request.session, "increment"):
            request.session.increment(name)
        else:
            request.session[name] = request.session.get(name, 0) + 1
    return answer(request.user)


def sign_out(request: HttpRequest) -> HttpResponse:
    logout(request)
    return answer(request.user)


def everything(request: HttpRequest) -> HttpResponse:
    name = request.user.get_username() or NOBODY
    return JsonResponse({"user": name, "entries": dict(request.session.items())})


# The same ones, for uvicorn


async def awho(request: HttpRequest) -> HttpResponse:
    return answer(await request.auser())


async def agreet(request: HttpRequest) -> HttpResponse:
    await request.session.aset("greeted", True)
    return answer(await request.auser())


async def asign_in(request: HttpRequest, name: str) -> HttpResponse:
    user = await users().aget(username=name)
    await alogin(request, user)
    return answer(user)


async def awrite(request: HttpRequest, token: str) -> HttpResponse:
    user = await request.auser()
    if user.is_authenticated:
        await request.session.aset(f"write-{token}", 1)
    return answer(user)


async def aincrement(request: HttpRequest, token: str) -> HttpResponse:
    name, user = f"hit-{token}", await request.auser()
    if user.is_authenticated:
        if hasattr(request.session, "aincrement"):
            await request.session.aincrement(name)
        else:
            await request.session.aset(name, await request.session.aget(name, 0) + 1)
    return answer(user)


async def asign_out(request: HttpRequest) -> HttpResponse:
    await alogout(request)
    return answer(await request.auser())


async def aeverything(request: HttpRequest) -> HttpResponse:
    name = (await request.auser()).get_username() or NOBODY
    return JsonResponse({"user": name, "entries": dict(await request.session.aitems())})


def paths(*views: Any) -> list[Any]:
    routes = (
        *("who", "greet", "login/<name>", "write/<token>", "increment/<token>", "logout"),
        "everything",
    )
    return [path(route, view) for route, view in zip(routes, views, strict=True)]


SYNC = paths(who, greet, sign_in, write, increment, sign_out, everything)
ASYNC = paths(awho, agreet, asign_in, awrite, aincrement, asign_out, aeverything)


def sessions(engine: str, url: str, prefix: str, more: dict[str, Any]) -> dict[str, Any]:
    """The settings of ``engine``, as its documentation shows them."""
    if engine == "ours":
        return {
            "SESSION_ENGINE": "sessions_redis.engine",
            "SESSION_REDIS": {"LOCATION": url, "KEY_PREFIX": prefix, **more},
            "MIDDLEWARE": ["sessions_redis.middleware.SessionMiddleware"],
        }
    cache = {
        "BACKEND": "django_redis.cache.RedisCache",
        "LOCATION": url,
        "KEY_PREFIX": prefix,
        "OPTIONS": {"CLIENT_CLASS": "django_redis.client.DefaultClient"},
    }
    return {
        "SESSION_ENGINE": "django.contrib.sessions.backends.cache",
        "CACHES": {"default": cache},
        "MIDDLEWARE": ["django.contrib.sessions.middleware.SessionMiddleware"],
    }


def configure(
    engine: str,
    url: str,
    prefix: str,
    database: str,
    views: str = "sync",
    more: dict[str, Any] | None = None,
) -> None:
    chosen = sessions(engine, url, prefix, more or {})
    chosen["MIDDLEWARE"].append("django.contrib.auth.middleware.AuthenticationMiddleware")
    settings.configure(
        **chosen,
        ROOT_URLCONF=tuple(SYNC if views == "sync" else ASYNC),
        INSTALLED_APPS=["django.contrib.auth", "django.contrib.contenttypes", "sessions_redis"],
        DATABASES={
            "default": {
                "ENGINE": "django.db.backends.sqlite3",
                "NAME": database,
                "OPTIONS": {"transaction_mode": "IMMEDIATE", "timeout": 60},
            }
        },
        SECRET_KEY="for the weather alone",
        ALLOWED_HOSTS=["*"],
        USE_TZ=True,
        LOGGING={
            "version": 1,
            "disable_existing_loggers": False,
            "handlers": {"console": {"class": "logging.StreamHandler"}},
            "root": {"handlers": ["console"], "level": "WARNING"},
        },
    )
    django.setup()


if "WEATHER_SITE" in os.environ:
    configure(**json.loads(os.environ["WEATHER_SITE"]))
    wsgi = get_wsgi_application()
    asgi = get_asgi_application()
