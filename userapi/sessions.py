"""``/api/sessions/``: where the signed-in user is signed in, and how to end that."""

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
from userapi.views import answer

View = Callable[..., JsonResponse]

AWAY = "Sessions cannot be reached."
LOST = "Sessions may have been ended: the reply of Redis was lost. Ask for the list."


def for_users(*methods: str) -> Callable[[View], View]:
    """These methods alone, for who is signed in, with a CSRF token; all refusals are JSON."""

    def decorate(view: View) -> View:
        @csrf_exempt  # The check is made below, where it is answered in JSON.
        @cache_control(no_store=True)
        @wraps(view)
        def answered(request: HttpRequest, **captured: str) -> JsonResponse:
            if request.method not in methods:
                allow = {"Allow": ", ".join(methods)}
                return answer(405, allow, error=f"{request.method} is not answered here.")
            try:
                if not request.user.is_authenticated:
                    return answer(401, error="Sign in first.")
                return in_json(csrf_protect(view)(request, **captured))
            except SessionStoreUnavailable as error:  # The session middleware logs it.
                told = LOST if isinstance(error, own_sessions.MayHaveEnded) else AWAY
                return answer(503, {"Retry-After": "5"}, error=told)

        return answered

    return decorate


def in_json(response: HttpResponse) -> JsonResponse:
    """The view's own response; what is no JSON is the page of the CSRF check, which refused."""
    if isinstance(response, JsonResponse):
        return response
    return answer(403, error="Send the CSRF cookie's value as X-CSRFToken, from this site.")


@for_users("GET", "HEAD", "DELETE")
def sessions(request: HttpRequest) -> JsonResponse:
    """Up to 100 of the user's sessions; or, with ``?others=1``, the end of all but this one."""
    if request.method != "DELETE":
        get_token(request)  # Sets the cookie whose value DELETE sends as X-CSRFToken.
        return page(request)
    if request.GET.get("others") != "1":
        return answer(400, error="Say ?others=1 to end all sessions but this one.")
    return answer(ended=own_sessions.end_others(request))


def page(request: HttpRequest) -> JsonResponse:
    """The newest sessions first, from ``?offset=`` on. ``next``: the page that follows, if any."""
    offset = request.GET.get("offset", "0")
    if not re.fullmatch("[0-9]{1,9}", offset):
        return answer(400, error="The offset must be a whole number, such as ?offset=100.")
    own = own_sessions.sessions_of(request, int(offset))
    end = int(offset) + len(own.sessions)
    following = f"{request.path}?offset={end}" if own.sessions and end < own.total else None
    return answer(sessions=list(map(shown, own.sessions)), total=own.total, next=following)


def shown(session: own_sessions.OwnSession) -> dict[str, Any]:
    """The session with all times in whole seconds, as ``created`` and ``updated`` are in Redis."""
    fields = asdict(session)
    times = {
        name: fields[name].replace(microsecond=0) for name in ("created", "updated", "expires")
    }
    return fields | times


@for_users("DELETE")
def session(request: HttpRequest, session_id: str) -> JsonResponse:
    """The end of one session; somebody else's is as absent as one that never was."""
    own = own_sessions.session_of(request, session_id)
    if own is None or not own_sessions.end(request, own):
        return answer(404, error="You have no such session.")
    return answer(ended=1)
