"""``/api/sessions/``: lists the sessions of the signed-in user, and ends them."""

import re
from collections.abc import Callable
from dataclasses import asdict
from functools import wraps
from typing import Any

from django.http import HttpRequest, HttpResponse, JsonResponse
from django.middleware.csrf import get_token
from django.views.decorators.cache import cache_control
from django.views.decorators.csrf import csrf_exempt, csrf_protect

from sessions_redis.exceptions import SessionStoreUnavailable
from sessions_redis.web import own_sessions
from sessions_redis.web.unavailable import RETRY_AFTER
from userapi.views import answer

View = Callable[..., JsonResponse]

AWAY = "Sessions cannot be reached."
LOST = "Sessions may have been ended: the reply from Redis was lost. Request the list to see."

TIMES = ("created", "updated", "last_active", "expires")


def for_users(*methods: str) -> Callable[[View], View]:
    """
    Make a view that answers these methods for signed-in users, with a CSRF token.

    All its errors are JSON.
    """

    def decorate(view: View) -> View:
        @csrf_exempt  # Checked below, so that the error is JSON.
        @cache_control(no_store=True)
        @wraps(view)
        def answered(request: HttpRequest, **captured: str) -> JsonResponse:
            if request.method not in methods:
                allow = {"Allow": ", ".join(methods)}
                return answer(405, allow, error=f"{request.method} is not allowed here.")
            try:
                if not request.user.is_authenticated:
                    return answer(401, error="Sign in first.")
                return in_json(csrf_protect(view)(request, **captured))
            except SessionStoreUnavailable as error:  # The session middleware logs it.
                message = LOST if isinstance(error, own_sessions.MayHaveEnded) else AWAY
                return answer(503, {"Retry-After": str(RETRY_AFTER)}, error=message)

        return answered

    return decorate


def in_json(response: HttpResponse) -> JsonResponse:
    """Return the response; if it is the HTML page of the CSRF check, return JSON instead."""
    if isinstance(response, JsonResponse):
        return response
    return answer(
        403, error="Send the value of the CSRF cookie in the header X-CSRFToken, from this site."
    )


@for_users("GET", "HEAD", "DELETE")
def sessions(request: HttpRequest) -> JsonResponse:
    """List up to 100 of the user's sessions. DELETE with ``?others=1`` ends all but this one."""
    if request.method != "DELETE":
        get_token(request)  # Sets the cookie whose value DELETE sends as X-CSRFToken.
        return page(request)
    if request.GET.get("others") != "1":
        return answer(400, error="Add ?others=1 to end all sessions except this one.")
    return answer(ended=own_sessions.end_others(request))


def page(request: HttpRequest) -> JsonResponse:
    """List sessions, last active first. ``?offset=``: skip so many. ``next``: the next page."""
    offset = request.GET.get("offset", "0")
    if not re.fullmatch("[0-9]{1,9}", offset):
        return answer(400, error="The offset must be a whole number, such as ?offset=100.")
    own = own_sessions.sessions_of(request, int(offset))
    end = int(offset) + len(own.sessions)
    following = f"{request.path}?offset={end}" if own.sessions and end < own.total else None
    return answer(sessions=list(map(as_json, own.sessions)), total=own.total, next=following)


def as_json(session: own_sessions.SignedInDevice) -> dict[str, Any]:
    """Return the fields of the session, with its times in whole seconds."""
    fields = asdict(session)
    times = {name: fields[name].replace(microsecond=0) for name in TIMES}
    return fields | times


@for_users("DELETE")
def session(request: HttpRequest, session_id: str) -> JsonResponse:
    """End one session. The answer is 404 if it does not exist or is another user's."""
    own = own_sessions.session_of(request, session_id)
    if own is None or not own_sessions.end(request, own):
        return answer(404, error="You have no session with this ID.")
    return answer(ended=1)
