"""
The site under load: ``benchmarks.served:wsgi`` and, with asynchronous views, ``:asgi``.

What it is made of the environment says: ``SERVED_ENGINE`` (a slug, or "none" for a site without
sessions), ``SERVED_REDIS_URL``, ``SERVED_DATABASE``, for a site with users ``SERVED_USERS=1``, and
for one that is bound to a core ``SERVED_CORE``.
"""

import os
from itertools import count
from pathlib import Path
from typing import Any

from django.core.asgi import get_asgi_application
from django.core.wsgi import get_wsgi_application
from django.http import HttpRequest, HttpResponse
from django.urls import path

from benchmarks import engines

# What a signed-in visitor's session holds, about.
ENTRIES = {
    "_auth_user_id": "4711",
    "_auth_user_backend": "django.contrib.auth.backends.ModelBackend",
    "_auth_user_hash": "5f4dcc3b5aa765d61d8327deb882cf99" * 2,
    "_language": "en",
    "theme": "dark",
    "seen": None,
    "cart": [{"article": number, "pieces": 1} for number in range(5)],
    "last_search": {"words": "garden chairs", "page": 2, "sorted_by": "price"},
}

_counter = count(1)


def start(request: HttpRequest, number: int) -> HttpResponse:
    """Begin the session of visitor ``number``."""
    request.session.update(ENTRIES | {"number": number})
    return _answer("started")


def untouched(request: HttpRequest) -> HttpResponse:  # noqa: ARG001
    return _answer("untouched")


def reading(request: HttpRequest, entry: str) -> HttpResponse:
    return _answer(request.session[entry])


def writing(request: HttpRequest) -> HttpResponse:
    request.session["seen"] = next(_counter)
    return _answer("written")


async def auntouched(request: HttpRequest) -> HttpResponse:  # noqa: ARG001
    return _answer("untouched")


async def areading(request: HttpRequest, entry: str) -> HttpResponse:
    return _answer(await request.session.aget(entry))


async def awriting(request: HttpRequest) -> HttpResponse:
    await request.session.aset("seen", next(_counter))
    return _answer("written")


def process(request: HttpRequest) -> HttpResponse:  # noqa: ARG001
    """The id of the process that answers, to watch what it costs."""
    return _answer(os.getpid())


def sign_in(request: HttpRequest, name: str) -> HttpResponse:
    from django.contrib.auth import get_user_model, login

    user, _ = get_user_model().objects.get_or_create(username=name)
    login(request, user)
    return _answer(name)


def who(request: HttpRequest) -> HttpResponse:
    return _answer(request.user.get_username() or "nobody")


def _answer(content: object) -> HttpResponse:
    # The servers would send it in chunks if they were not told its length.
    body = str(content).encode()
    return HttpResponse(body, headers={"Content-Length": str(len(body))})


urlpatterns = [
    path("start/<int:number>", start),
    path("wsgi/untouched", untouched),
    path("wsgi/reading/<entry>", reading),
    path("wsgi/writing", writing),
    path("asgi/untouched", auntouched),
    path("asgi/reading/<entry>", areading),
    path("asgi/writing", awriting),
    path("process", process),
    path("sign-in/<name>", sign_in),
    path("who", who),
]


def _engine_settings(slug: str) -> dict[str, Any]:
    if slug == "none":
        return {"MIDDLEWARE": []}
    if "SERVED_USERS" in os.environ:
        return {"slug": slug}
    # Nothing but sessions: what else a site does would only make engines look alike.
    package = "sessions_redis" if slug == "ours" else "django.contrib.sessions"
    return {"slug": slug, "MIDDLEWARE": [f"{package}.middleware.SessionMiddleware"]}


# Before there are threads: each starts with the cores of the one that starts it.
if "SERVED_CORE" in os.environ:
    os.sched_setaffinity(0, [int(os.environ["SERVED_CORE"])])

engines.configure(
    os.environ["SERVED_REDIS_URL"],
    Path(os.environ["SERVED_DATABASE"]),
    ROOT_URLCONF=__name__,
    **_engine_settings(os.environ["SERVED_ENGINE"]),
)
wsgi = get_wsgi_application()
asgi = get_asgi_application()
