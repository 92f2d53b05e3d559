"""A request for annotations, so that type checkers know what ``request.session`` can do."""

from django.http import HttpRequest

from sessions_redis.engine import SessionStore


class SessionHttpRequest(HttpRequest):
    """
    A request whose ``session`` is a session of this package's engine.

    Annotate the argument of a view with it. Django creates requests of its own class, so no request
    is an instance of this one: ``isinstance`` belongs on ``request.session``.
    """

    session: SessionStore
