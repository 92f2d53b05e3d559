"""The session of the request that this thread or task answers, as the middleware knows it."""

from contextvars import ContextVar

from django.contrib.sessions.backends.base import SessionBase
from django.http import HttpRequest

_request: ContextVar[HttpRequest | None] = ContextVar("request", default=None)


def begin(request: HttpRequest) -> HttpRequest | None:
    """
    Answer ``request`` from now on, in this thread or task, and in those that begin in it.

    Returns the request that it answered before, for `end`.
    """
    before = _request.get()
    _request.set(request)
    return before


def end(before: HttpRequest | None) -> None:
    _request.set(before)


def session() -> SessionBase | None:
    """``None`` outside of a request, or if the site uses another session middleware."""
    found = getattr(_request.get(), "session", None)
    return found if isinstance(found, SessionBase) else None
