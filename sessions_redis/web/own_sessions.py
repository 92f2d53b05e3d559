"""
The sessions of who asks: what self-service pages and APIs stand on.

Each function takes a request whose user is signed in. Somebody else's session is absent here, so
nobody learns from an answer whether an id exists.
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

# Sessions that a page or an answer has at most.
SHOWN = 100


class MayHaveEnded(SessionStoreUnavailable):
    """Redis failed while sessions were being ended: some or all of them may have been ended."""


@dataclass(frozen=True, slots=True)
class OwnSession:
    """
    One place where the user is signed in. ``current``: the one that asks.

    ``device``: in words. ``ip``: as last seen, ``None`` if not known. Times are aware, in UTC;
    one that was damaged in Redis is 1970's first moment.
    """

    id: str
    current: bool
    device: str
    ip: str | None
    created: datetime
    updated: datetime
    expires: datetime

    @property
    def started(self) -> datetime | None:
        """For people: ``created`` in the site's time zone, or ``None`` if it is not known."""
        return _shown(self.created)

    @property
    def last_saved(self) -> datetime | None:
        """As `started`: when the session was last saved."""
        return _shown(self.updated)


@dataclass(frozen=True, slots=True)
class OwnSessions:
    """Some of the user's sessions, the newest first. ``total``: how many there are."""

    sessions: list[OwnSession]
    total: int


@dataclass(frozen=True, slots=True)
class Overview:
    """
    ``current``: the session that asks. ``others``: the newest of the others, `SHOWN` at most.

    ``more``: how many there are beside those.
    """

    current: OwnSession | None
    others: list[OwnSession]
    more: int


def sessions_of(request: HttpRequest, start: int = 0) -> OwnSessions:
    """
    Up to `SHOWN` of the user's sessions, from ``start`` on, in the order of `registry.of_user`.

    The total comes from the index, which can lag, unless this page shows that it is the last one.
    """
    found = registry.of_user(request.user, start, start + SHOWN)
    total = start + len(found)
    if len(found) == SHOWN or (start and not found):
        pk = registry.user_pk_of(request.user)
        counted = registry.count(Selection(users=(pk,)))
        total = max(counted, total) if found else counted
    return OwnSessions([_own(request, live) for live in found], total)


def overview_of(request: HttpRequest) -> Overview:
    """The user's newest sessions, and the one that asks, however old that is."""
    newest = sessions_of(request)
    others = [session for session in newest.sessions if not session.current]
    current = next((session for session in newest.sessions if session.current), None)
    more = newest.total - len(newest.sessions)
    if more and current is None and request.session.session_key is not None:
        current = session_of(request, session_id(request.session.session_key))
        more -= current is not None
    return Overview(current, others, more)


def session_of(request: HttpRequest, id: str) -> OwnSession | None:
    """The user's session of this id; ``None`` if there is none, or it is somebody else's."""
    live = registry.find(id)
    if live is None or live.user_pk != registry.user_pk_of(request.user):
        return None
    return _own(request, live)


def end(request: HttpRequest, session: OwnSession) -> bool:
    """
    End one of the user's sessions. ``False`` if it has ended meanwhile.

    The one that asks is ended by Django's logout, so that its cookie goes as well.
    """
    with _replies_wanted():
        if session.current:
            logout(request)
            return True
        return registry.end(session.id)


def end_others(request: HttpRequest) -> int:
    """End all of the user's sessions but the one that asks, and return how many those were."""
    with _replies_wanted():
        return registry.end_all_of(request.user, request.session.session_key)


@contextmanager
def _replies_wanted() -> Iterator[None]:
    try:
        yield
    except SessionStoreUnavailable as error:
        if error.may_have_been_done or error.ended:
            raise MayHaveEnded(str(error)) from error
        raise


def _own(request: HttpRequest, live: LiveSession) -> OwnSession:
    return OwnSession(
        id=live.id,
        # No variable holds the key: error reports print those.
        current=live.id == session_id(request.session.session_key or ""),
        device=device_of(live.user_agent),
        ip=live.ip,
        created=live.created,
        updated=live.updated,
        expires=live.expires,
    )


def _shown(moment: datetime) -> datetime | None:
    # Templates convert a time themselves, but not where USE_TZ is False.
    return None if moment == NOT_KNOWN else localtime(moment)
