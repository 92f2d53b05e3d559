"""
Live sessions: what is read of one, and the steps to find, end and trim them. `lists` lists them.

Each is a generator of commands, which `registry` carries out in either world.
"""

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.utils.module_loading import import_string

from sessions_redis import conf
from sessions_redis.clients import Steps, aperform, perform
from sessions_redis.serializers import executes_code
from sessions_redis.storage import commands, listings
from sessions_redis.storage.commands import Command, Keyspace
from sessions_redis.storage.entries import StoredEntry, stored_entries, unread_entries
from sessions_redis.storage.listings import ANY, Bounds, Ended, Metadata, Page, is_id

# Sessions that are read in one round trip.
AT_ONCE = 1000

# A generator that yields commands that end sessions, and gets what each ended. Not `Steps`, for the
# registry tells of that after each command, before the next.
Endings = Generator[Command[Ended], Ended, None]

# What stands for a time that was damaged in Redis.
NOT_KNOWN = datetime.fromtimestamp(0, UTC)

# What stands for an expiry that is later than this, or missing: by damage, too. A year more or a
# time zone beside UTC would be more than ``datetime`` holds.
NEVER = datetime(9999, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class LiveSession:
    """
    A session as it was when the registry looked.

    ``id``: the digest that stands for it everywhere, 32 hex digits. ``user_pk``: the primary key of
    who is signed in, in text, or ``None``. ``created``, ``updated``, ``expires``: aware, in UTC, by
    the server's clock; the first two may be `NOT_KNOWN`, the last one `NEVER`, where they were
    damaged in Redis. ``ip`` and ``user_agent``: as the session middleware last saw them, ``None``
    if it did not or ``METADATA`` is off.
    """

    id: str
    user_pk: str | None
    created: datetime
    updated: datetime
    expires: datetime
    ip: str | None = None
    user_agent: str | None = None

    def entries(self) -> list[StoredEntry]:
        """
        The entries of the session now, by name; none if it has ended meanwhile.

        Values are not decoded if the serializer can execute code, as pickle does.
        """
        return perform(entries(self.id))

    async def aentries(self) -> list[StoredEntry]:
        return await aperform(entries(self.id))


@dataclass(frozen=True, slots=True)
class Selection:
    """
    Which sessions to list, and in which order.

    ``signed_in``: those with a user, those without, or all. ``within``: those that expire within
    that many seconds. ``users``: those of these primary keys in text, or of anybody.
    ``latest_first``: by expiry, the latest or the soonest first.
    """

    signed_in: bool | None = None
    within: float | None = None
    users: tuple[str, ...] | None = None
    latest_first: bool = True

    @property
    def bounds(self) -> Bounds:
        return ANY if self.within is None else (0, self.within)


ALL = Selection()


@dataclass(frozen=True, slots=True)
class Started:
    """
    Live sessions whose ids start with some digits.

    ``is_complete``: whether all sessions were looked at. If not, there may be more.
    """

    sessions: tuple[LiveSession, ...]
    is_complete: bool = True


def user_pk_of(user: Any) -> str:
    """The primary key of a user, in the text that Django's login stores; text stays as it is."""
    if hasattr(user, "_meta"):
        text: str = user._meta.pk.value_to_string(user)
        return text
    return str(user)


def find(id: str) -> Steps[LiveSession | None]:
    if not is_id(id):
        return None
    found = yield from read([id])
    return found[0] if found else None


def find_many(ids: Sequence[str]) -> Steps[list[LiveSession]]:
    return (yield from read([id for id in ids if is_id(id)]))


def end(id: str) -> Steps[str | None]:
    if not is_id(id):
        return None
    # Sent again after a lost reply it would tell that there was nothing to end.
    delete = commands.delete(conf.current().keyspace, id)._replace(repeatable=False)
    user_pk: str | None = yield delete
    return user_pk


def end_many(ids: Sequence[str]) -> Endings:
    wanted = list(dict.fromkeys(id for id in ids if is_id(id)))
    for start in range(0, len(wanted), listings.END_MANY_AT_ONCE):
        batch = wanted[start : start + listings.END_MANY_AT_ONCE]
        yield listings.end_many(conf.current().keyspace, batch)


def end_all_of(user_pk: str, spared_id: str) -> Endings:
    """
    Each step ends as many as it looks at, so the last one looks at the whole index at one moment.

    Whatever was in it when the first step began was in it until it was ended: a session that is
    cycled meanwhile stays in it under its new id.
    """
    more = True
    while more:
        ended = yield listings.end_all(indexed(), user_pk, spared_id)
        spared_id, more = ended.spared, ended.more


def by_time_left(bounds: Sequence[float]) -> Steps[list[list[int]]]:
    keyspace = indexed()
    counts: list[list[int]] = yield listings.count([keyspace.signed_in, keyspace.anonymous], bounds)
    return counts


def trim() -> Steps[int]:
    keyspace = conf.current().keyspace
    if not keyspace.indexed:
        return 0
    total = 0
    for index in (keyspace.index, keyspace.signed_in, keyspace.anonymous):
        removed = listings.AT_ONCE
        while removed == listings.AT_ONCE:
            removed = yield listings.trim(index)
            total += removed
    return total


def read(ids: Sequence[str]) -> Steps[list[LiveSession]]:
    """Those of ``ids`` that are live, in one round trip for each thousand."""
    keyspace = conf.current().keyspace
    found: list[LiveSession] = []
    for start in range(0, len(ids), AT_ONCE):
        part = ids[start : start + AT_ONCE]
        asked = [ask(keyspace, id) for id in part for ask in (listings.metadata, listings.ttl)]
        now, *answers = yield [listings.now(), *asked]
        read = zip(part, answers[::2], answers[1::2], strict=True)
        found += [session_of(id, held, now + ttl) for id, held, ttl in read if held and ttl > 0]
    return found


def drop(page: Page, found: Sequence[LiveSession], *more: str) -> Steps[None]:
    """Drop the members of ``page`` that were not found from the indexes of all, and ``more``."""
    live = {session.id for session in found}
    keyspace = conf.current().keyspace
    names = [keyspace.index, keyspace.signed_in, keyspace.anonymous, *more]
    gone: list[str | bytes] = [*page.strays, *(id for id in page.ids if id not in live)]
    at_once = listings.AT_ONCE - len(names)
    for start in range(0, len(gone), at_once):
        yield listings.drop(keyspace, names, gone[start : start + at_once])


def entries(id: str) -> Steps[list[StoredEntry]]:
    stored = yield commands.load(conf.current().keyspace, id)
    if stored is None or isinstance(stored, commands.WrongType):
        return []
    make = import_string(settings.SESSION_SERIALIZER)
    return unread_entries(stored) if executes_code(make) else stored_entries(make(), stored)


def session_of(id: str, metadata: Metadata, expires: float) -> LiveSession:
    """``expires`` in epoch seconds, however many."""
    # A session that was last saved before METADATA was turned off still has some.
    is_shown = conf.current().metadata
    return LiveSession(
        id,
        metadata.user_pk,
        _moment(metadata.created),
        _moment(metadata.updated),
        _moment(expires),
        metadata.ip if is_shown else None,
        metadata.user_agent if is_shown else None,
    )


def _moment(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC) if seconds < NEVER.timestamp() else NEVER


def indexed() -> Keyspace:
    """The names in Redis. Raises ``ImproperlyConfigured`` where no indexes are kept."""
    keyspace = conf.current().keyspace
    if not keyspace.indexed:
        raise ImproperlyConfigured(
            'Sessions cannot be listed: SESSION_REDIS["INDEX"] is False. Set it to True; sessions '
            "enter the index when they are next saved."
        )
    return keyspace
