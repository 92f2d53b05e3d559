"""
``GET /api/user/<username>``: returns the user name and the visitor's session key as JSON.

``sessionId`` in the response is the session key, the secret value of the cookie.
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
from sessions_redis.web.unavailable import RETRY_AFTER

logger = logging.getLogger("userapi")

# The most user names in one session, so that no visitor can fill Redis.
MAX_NAMES = 50
FULL = (
    f"This session has the most user names that are allowed: {MAX_NAMES}. "
    "Use one of these names, or send the request without the cookie to start a new session."
)


@csrf_exempt  # Only GET and HEAD are allowed. Others get a 405, not the CSRF page.
@cache_control(no_store=True)
def user(request: HttpRequest, username: str) -> JsonResponse:
    """Return the user name and the session key. Sets the name's status to ACTIVE if it has none."""
    if request.method not in {"GET", "HEAD"}:
        return answer(405, {"Allow": "GET, HEAD"}, error=f"{request.method} is not allowed here.")
    if problem := problem_with(username):
        return answer(400, error=problem)
    try:
        if is_too_many(request.session, username):
            return answer(429, error=FULL)
        activate(request, username)
    except UpdateError:
        request.session.modified = False  # Keep the cookie: it may have a newer key.
        return answer(409, error="The session ended during this request. Try again.")
    except SessionStoreUnavailable:  # The session middleware logs it.
        headers = {"Retry-After": str(RETRY_AFTER)}
        return answer(503, headers, error="Sessions cannot be reached. Try again in a moment.")
    return answer(userName=username, sessionId=request.session.session_key)


@csrf_exempt
@cache_control(no_store=True)
def unknown(request: HttpRequest) -> JsonResponse:
    return answer(404, error=f"{request.path} does not exist. Try /api/user/<username>.")


def is_too_many(session: SessionStore, username: str) -> bool:
    """
    Whether adding ``username`` would exceed ``MAX_NAMES``.

    Each request counts the names that it loaded. Requests that run at the same time can each add a
    name, so a session can exceed the limit by the number of such requests.
    """
    # A scope stores its entries in the session as "scope:<name>:<key>".
    names = {key.split(":")[1] for key in session.keys() if key.startswith("scope:")}  # noqa: SIM118
    return len(names) >= MAX_NAMES and "sessionStatus" not in session.scope(username)


def activate(request: HttpRequest, username: str) -> None:
    """Set the status of ``username`` to ACTIVE. Writes nothing if it already has a status."""
    scope = request.session.scope(username)
    if "sessionStatus" not in scope:
        logger.info("There is no active session.")
        scope["sessionStatus"] = "ACTIVE"
        request.session.save()  # Saved here, so that this view can answer failures.


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
