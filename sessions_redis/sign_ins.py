"""What happens at ``login()``, for `MAX_SESSIONS_PER_USER`."""

from typing import Any

from django.http import HttpRequest

from sessions_redis import capping, conf
from sessions_redis.engine import SessionStore
from sessions_redis.exceptions import SessionLimitReached


def signed_in(*, request: HttpRequest, user: Any, **kwargs: Any) -> None:
    """
    Receives ``user_logged_in``.

    If the policy is to refuse, this saves the session at once, so that ``login()`` raises
    `SessionLimitReached` inside the view. The request and its session then have no user.
    """
    session = getattr(request, "session", None)
    if not isinstance(session, SessionStore) or conf.current().max_sessions_per_user is None:
        return
    session.signed_in_user = user
    if not capping.is_refusing():
        return
    try:
        session.save()
    except SessionLimitReached:
        _sign_out(request)
        raise


def _sign_out(request: Any) -> None:
    from django.contrib.auth.models import AnonymousUser  # noqa: PLC0415 - needs the app registry

    async def auser() -> AnonymousUser:
        return AnonymousUser()

    request.user = AnonymousUser()
    if hasattr(request, "auser"):
        request.auser = auser
