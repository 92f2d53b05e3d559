"""
A site that Sentry watches: ``python -m tests.sentry_site <an address without a server>``.

The environment has its ``SESSION_REDIS``. Sentry's changes to redis-py cannot be undone, so the
site is a process of its own. It answers some requests, the last one without Redis, and prints what
Sentry would have sent.
"""

import asyncio
import json
import os
import sys
import warnings
from typing import Any

import sentry_sdk
from django.conf import settings
from django.core.asgi import get_asgi_application
from django.core.signals import setting_changed
from django.core.wsgi import get_wsgi_application
from django.http import HttpResponse
from django.test import RequestFactory
from django.urls import path
from sentry_sdk.integrations.logging import unignore_logger
from sentry_sdk.transport import Transport

VALUE = "a-value-2002"
EMAIL = "lovelace@example.com"

sent: list[Any] = []


class Kept(Transport):
    """Keeps what it should send."""

    def capture_envelope(self, envelope: Any) -> None:
        sent.extend(item.payload.json for item in envelope.items)


def view(request: Any) -> HttpResponse:
    request.session["card"] = VALUE
    request.session["_auth_user_id"] = EMAIL
    return HttpResponse()


async def aview(request: Any) -> HttpResponse:
    await request.session.aset("card", VALUE)
    return HttpResponse()


urlpatterns = [path("", view), path("async", aview)]


def visit(site: Any, cookie: str = "") -> str:
    """Make a request, and return the cookie of the session."""
    headers = {"Set-Cookie": cookie}
    environ = RequestFactory().get("/", HTTP_COOKIE=cookie).environ
    response = site(environ, lambda status, pairs: headers.update(pairs))
    response.close()
    return headers["Set-Cookie"].strip().partition(";")[0]


async def avisit(site: Any, cookie: str) -> None:
    scope = {
        "type": "http",
        "method": "GET",
        "path": "/async",
        "query_string": b"",
        "headers": [(b"cookie", cookie.encode())],
    }
    received = asyncio.Queue[Any]()
    received.put_nowait({"type": "http.request"})
    sent_back = []

    async def send(message: Any) -> None:
        sent_back.append(message)

    await site(scope, received.get, send)
    assert sent_back[0]["status"] == 200


def main() -> None:
    warnings.simplefilter("ignore", DeprecationWarning)  # of Sentry's own options
    # The option that makes Sentry keep all arguments of commands.
    sentry_sdk.init(
        "http://public@127.0.0.1:9/1", transport=Kept, traces_sample_rate=1.0, send_default_pii=True
    )
    unignore_logger("django.request")
    settings.configure(
        ALLOWED_HOSTS=["*"],
        SECRET_KEY="for tests alone",
        ROOT_URLCONF=__name__,
        INSTALLED_APPS=["django.contrib.contenttypes", "django.contrib.auth", "sessions_redis"],
        MIDDLEWARE=["sessions_redis.middleware.SessionMiddleware"],
        SESSION_ENGINE="sessions_redis.engine",
        SESSION_REDIS=json.loads(os.environ["WORKER_SESSION_REDIS"]),
    )
    site = get_wsgi_application()
    cookie = visit(site)
    visit(site, cookie)
    asyncio.run(avisit(get_asgi_application(), cookie))
    signing_in = settings.SESSION_REDIS["LOCATION"].partition("@")[0]
    settings.SESSION_REDIS["LOCATION"] = f"{signing_in}@{sys.argv[1]}/0"
    setting_changed.send(sender=None, setting="SESSION_REDIS", value=None, enter=True)
    visit(site, cookie)
    sentry_sdk.flush()
    print(json.dumps({"cookie": cookie, "sent": sent}))


if __name__ == "__main__":
    main()
