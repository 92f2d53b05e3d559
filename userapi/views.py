"""
``GET /api/user/<username>``: the user name and the session of the visitor.

``sessionId`` in its answer is the session key, the secret that the cookie carries.
"""

import logging
import unicodedata
from typing import Any

from django.contrib.sessions.backends.base import UpdateError
from django.http import HttpRequest, JsonResponse
from django.views.decorators.cache import cache_control
from django.views.decorators.csrf import csrf_exempt

from sessions_redis.engine import SessionStore
from sessions_redis.exceptions import SessionStoreUnavailable

logger = logging.getLogger("userapi")

# User names that a session takes: no visitor fills Redis with one session.
MAX_NAMES = 50
FULL = (
    f"This session has {MAX_NAMES} user names already, the most that one takes. "
    "Ask for one of those, or start another session: ask without the cookie."
)


@csrf_exempt  # Only safe methods are answered; the others get their 405, not the CSRF check's page.
@cache_control(no_store=True)
def user(request: HttpRequest, username: str) -> JsonResponse:
    """The user name and the session key. A name without a status in the session becomes ACTIVE."""
    if request.method not in {"GET", "HEAD"}:
        return answer(405, {"Allow": "GET, HEAD"}, error=f"{request.method} is not answered here.")
    if problem := problem_with(username):
        return answer(400, error=problem)
    try:
        if is_too_many(request.session, username):
            return answer(429, error=FULL)
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


def is_too_many(session: SessionStore, username: str) -> bool:
    """
    Whether ``username`` would be one name more than the session takes.

    Each request counts what it has loaded, so requests that run at the same moment may each add a
    name: the bound is ``MAX_NAMES`` and as many more as the site answers at a time.
    """
    # The entry of a scope is the session's entry "scope:<name>:<key>".
    names = {key.split(":")[1] for key in session.keys() if key.startswith("scope:")}  # noqa: SIM118
    return len(names) >= MAX_NAMES and "sessionStatus" not in session.scope(username)


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
