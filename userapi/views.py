"""``GET /api/user/<username>``: who asks, and in which session."""

import logging
import unicodedata
from typing import Any

from django.contrib.sessions.backends.base import UpdateError
from django.http import HttpRequest, JsonResponse
from django.views.decorators.cache import cache_control
from django.views.decorators.csrf import csrf_exempt

from sessions_redis.exceptions import SessionStoreUnavailable

logger = logging.getLogger("userapi")


@csrf_exempt  # Only safe methods are answered; the others get their 405, not the CSRF check's page.
@cache_control(no_store=True)
def user(request: HttpRequest, username: str) -> JsonResponse:
    """The user name and the session's id. A name without a status in the session becomes ACTIVE."""
    if request.method not in {"GET", "HEAD"}:
        return answer(405, {"Allow": "GET, HEAD"}, error=f"{request.method} is not answered here.")
    if problem := problem_with(username):
        return answer(400, error=problem)
    try:
        activate(request, username)
    except UpdateError:
        request.session.modified = False  # The cookie may name a newer session by now: leave it.
        return answer(409, error="The session ended meanwhile. Ask again.")
    except SessionStoreUnavailable:  # The session middleware logs it.
        return answer(503, {"Retry-After": "5"}, error="Sessions cannot be reached. Ask again.")
    return answer(userName=username, sessionId=request.session.session_key)


@csrf_exempt
@cache_control(no_store=True)
def unknown(request: HttpRequest) -> JsonResponse:
    return answer(404, error=f"{request.path} is not here. Ask for /api/user/<username>.")


def activate(request: HttpRequest, username: str) -> None:
    """Make the status of ``username`` in the session ACTIVE; write nothing if it has one."""
    scope = request.session.scope(username)
    if "sessionStatus" not in scope:
        logger.info("There is no active session.")
        scope["sessionStatus"] = "ACTIVE"
        request.session.save()  # Here and not in the middleware, so that a failure can be answered.


def problem_with(username: str) -> str | None:
    if not username.strip():
        return "The user name is empty."
    if len(username) > 150:
        return "The user name has more than 150 characters."
    if any(unicodedata.category(character) == "Cc" for character in username):
        return "The user name has control characters."
    return None


def answer(
    status: int = 200, headers: dict[str, str] | None = None, **content: Any
) -> JsonResponse:
    readable = {"ensure_ascii": False}
    return JsonResponse(content, status=status, headers=headers, json_dumps_params=readable)
