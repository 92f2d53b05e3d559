"""
Finds and ends the sessions of the user who sent a request. Build your own pages and APIs on it.

Each function takes a request with a signed-in user. These functions treat another user's session
as if it did not exist, so a visitor cannot find out whether a session ID exists.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime

from django.contrib.auth import logout
from django.http import HttpRequest
from django.utils.timezone import localtime

from sessions_redis import registry
from sessions_redis.exceptions import SessionStoreUnavailable
from sessions_redis.registry import LiveSession, Selection
from sessions_redis.registry.live_sessions import NOT_KNOWN
from sessions_redis.storage.commands import session_id
from sessions_redis.web.devices import device_of
from sessions_redis.web.moments import ago

# The most sessions that a page or an API response lists.
PAGE_SIZE = 100


class MayHaveEnded(SessionStoreUnavailable):
    """Redis failed while sessions were being ended. Some or all of them may have ended."""


@dataclass(frozen=True, slots=True)
class SignedInDevice:
    """
    One session of the user: a device, or a browser on it, that is signed in.

    ``current``: whether it is the session of this request. ``device``: a description, such as
    "Firefox on Linux". ``ip``: the address of its latest request, ``None`` if it is not known.
    ``last_active``: when it was last saved or noted to be in use. Times are aware and in UTC. A
    time that is damaged in Redis is 1970-01-01 00:00.
    """

    id: str
    current: bool
    device: str
    ip: str | None
    created: datetime
    updated: datetime
    last_active: datetime
    expires: datetime

    @property
    def started(self) -> datetime | None:
        """``created`` in the site's time zone, for templates; ``None`` if it is not known."""
        return _in_local_time(self.created)

    @property
    def last_saved(self) -> datetime | None:
        """``updated`` in the site's time zone, for templates; ``None`` if it is not known."""
        return _in_local_time(self.updated)

    @property
    def used(self) -> datetime | None:
        """``last_active`` in the site's time zone, for templates; ``None`` if it is not known."""
        return _in_local_time(self.last_active)

    @property
    def used_ago(self) -> str:
        """``last_active`` in words, in the language of the request: "2 minutes ago"."""
        return ago(self.last_active, units=1)


@dataclass(frozen=True, slots=True)
class SessionPage:
    """
    One page of the user's sessions, the last active first.

    ``total``: how many sessions the user has.
    """

    sessions: list[SignedInDevice]
    total: int


@dataclass(frozen=True, slots=True)
class Overview:
    """
    The session of this request, and the user's other sessions.

    ``current``: the session of this request. ``others``: up to `PAGE_SIZE` other sessions, the last
    active first. ``more``: how many sessions are in neither of the two.
    """

    current: SignedInDevice | None
    others: list[SignedInDevice]
    more: int


def sessions_of(request: HttpRequest, start: int = 0) -> SessionPage:
    """
    Return up to `PAGE_SIZE` of the user's sessions. ``start``: how many to skip.

    The session that was used last comes first. If the user has more than 1,000 sessions, these are
    in thousands, by when they expire. A session that is used between two calls moves to the front.

    The total is exact if this is the last page. Otherwise the index counts the sessions, and may
    still count some that have just expired.
    """
    found = registry.of_user(request.user, start, start + PAGE_SIZE, order="last_active")
    total = start + len(found)
    if len(found) == PAGE_SIZE or (start and not found):
        pk = registry.user_pk_of(request.user)
        counted = registry.count(Selection(users=(pk,)))
        total = max(counted, total) if found else counted
    return SessionPage([_device(request, live) for live in found], total)


def overview_of(request: HttpRequest) -> Overview:
    """Return the sessions that the user used last, and in any case that of this request."""
    latest = sessions_of(request)
    others = [session for session in latest.sessions if not session.current]
    current = next((session for session in latest.sessions if session.current), None)
    more = latest.total - len(latest.sessions)
    if more and current is None and request.session.session_key is not None:
        current = session_of(request, session_id(request.session.session_key))
        more -= current is not None
    return Overview(current, others, more)


def session_of(request: HttpRequest, id: str) -> SignedInDevice | None:
    """Return the session with this ID; ``None`` if there is none or it is another user's."""
    live = registry.find(id)
    if live is None or live.user_pk != registry.user_pk_of(request.user):
        return None
    return _device(request, live)


def end(request: HttpRequest, session: SignedInDevice) -> bool:
    """
    End one of the user's sessions. Returns ``False`` if it had ended already.

    If it is the session of this request, Django's ``logout()`` ends it and deletes the cookie.
    Raises `MayHaveEnded` if the reply from Redis was lost.
    """
    with _raising_may_have_ended():
        if session.current:
            logout(request)
            return True
        return registry.end(session.id)


def end_others(request: HttpRequest) -> int:
    """
    End all of the user's sessions except the session of this request. Returns how many ended.

    Raises `MayHaveEnded` if Redis failed after some sessions ended, or if its reply was lost.
    """
    with _raising_may_have_ended():
        return registry.end_all_of(request.user, request.session.session_key)


@contextmanager
def _raising_may_have_ended() -> Iterator[None]:
    try:
        yield
    except SessionStoreUnavailable as error:
        if error.may_have_been_done or error.ended:
            raise MayHaveEnded(str(error)) from error
        raise


def _device(request: HttpRequest, live: LiveSession) -> SignedInDevice:
    return SignedInDevice(
        id=live.id,
        # The key is not put in a variable: error reports print the values of variables.
        current=live.id == session_id(request.session.session_key or ""),
        device=device_of(live.user_agent),
        ip=live.ip,
        created=live.created,
        updated=live.updated,
        last_active=live.last_active,
        expires=live.expires,
    )


def _in_local_time(moment: datetime) -> datetime | None:
    # With USE_TZ = False, templates do not convert times to the local time zone.
    return None if moment == NOT_KNOWN else localtime(moment)
