"""
Live sessions: what is read of one, and the steps to count, list, find and end them.

Each is a generator of commands, which `registry` carries out in either world.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.utils.module_loading import import_string

from sessions_redis import commands, conf, indexes
from sessions_redis.clients import Steps, aperform, perform
from sessions_redis.commands import Keyspace
from sessions_redis.fields import StoredEntry, stored_entries
from sessions_redis.indexes import ANY, Bounds, Metadata, Page, is_id

# How often a page is read again because some of its sessions turned out to be gone.
REREADS = 2

# Sessions that are read, or ended, in one round trip.
AT_ONCE = 1000

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
        """What the session holds now, by name; nothing if it has ended meanwhile."""
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


def user_pk_of(user: Any) -> str:
    """The primary key of a user, in the text that Django's login stores; text stays as it is."""
    if hasattr(user, "_meta"):
        text: str = user._meta.pk.value_to_string(user)
        return text
    return str(user)


def count(selection: Selection) -> Steps[int]:
    if selection.users is not None:
        return len((yield from _of_users(selection)))
    counts = yield indexes.count([_index(selection)], [*selection.bounds])
    total: int = counts[0][0]
    return total


def latest(start: int, stop: int, selection: Selection) -> Steps[list[LiveSession]]:
    if selection.users is not None:
        return (yield from _of_users(selection))[start:stop]
    index, found = _index(selection), []
    for _ in range(1 + REREADS):
        page = yield indexes.page(
            index,
            selection.bounds,
            start=start,
            stop=stop,
            latest_first=selection.latest_first,
        )
        found = yield from _read(page.ids)
        if len(found) == page.members:
            break
        yield from _drop(page, found)
    return found


def find(id: str) -> Steps[LiveSession | None]:
    if not is_id(id):
        return None
    found = yield from _read([id])
    return found[0] if found else None


def find_many(ids: Sequence[str]) -> Steps[list[LiveSession]]:
    wanted = [id for id in ids if is_id(id)]
    found: list[LiveSession] = []
    for start in range(0, len(wanted), AT_ONCE):
        found += yield from _read(wanted[start : start + AT_ONCE])
    return found


def of_user(user_pk: str) -> Steps[list[LiveSession]]:
    index = indexed().user(user_pk)
    page = yield indexes.page(index, trim=True)
    live: list[LiveSession] = []
    for start in range(0, len(page.ids), AT_ONCE):
        live += yield from _read(page.ids[start : start + AT_ONCE])
    if len(live) < page.members:
        yield from _drop(page, live, index)
    found = [session for session in live if session.user_pk == user_pk]
    return sorted(found, key=lambda session: session.created, reverse=True)


def _of_users(selection: Selection) -> Steps[list[LiveSession]]:
    found: list[LiveSession] = []
    for user_pk in dict.fromkeys(selection.users or ()):
        found += yield from of_user(user_pk)
    if selection.signed_in is False:
        return []
    if selection.within is not None:
        now = yield indexes.now()
        found = [one for one in found if one.expires.timestamp() - now <= selection.within]
    return sorted(found, key=lambda session: session.expires, reverse=selection.latest_first)


def end(id: str) -> Steps[str | None]:
    if not is_id(id):
        return None
    # Sent again after a lost reply it would tell that there was nothing to end.
    delete = commands.delete(conf.current().keyspace, id)._replace(repeatable=False)
    user_pk: str | None = yield delete
    return user_pk


def end_many(ids: Sequence[str]) -> Steps[list[tuple[str, str]]]:
    wanted = [id for id in ids if is_id(id)]
    ended: list[tuple[str, str]] = []
    for start in range(0, len(wanted), AT_ONCE):
        ended += yield indexes.end_many(conf.current().keyspace, wanted[start : start + AT_ONCE])
    return ended


def end_all_of(user_pk: str, spared_id: str) -> Steps[list[str]]:
    ids: list[str] = yield indexes.end_all(indexed(), user_pk, spared_id)
    return ids


def by_time_left(bounds: Sequence[float]) -> Steps[list[list[int]]]:
    keyspace = indexed()
    counts: list[list[int]] = yield indexes.count([keyspace.signed_in, keyspace.anonymous], bounds)
    return counts


def trim() -> Steps[int]:
    keyspace = conf.current().keyspace
    if not keyspace.indexed:
        return 0
    total = 0
    for index in (keyspace.index, keyspace.signed_in, keyspace.anonymous):
        removed = indexes.TRIM_AT_ONCE
        while removed == indexes.TRIM_AT_ONCE:
            removed = yield indexes.trim(index)
            total += removed
    return total


def _read(ids: Sequence[str]) -> Steps[list[LiveSession]]:
    """Those of ``ids`` that are live, in one round trip."""
    keyspace = conf.current().keyspace
    asked = [ask(keyspace, id) for id in ids for ask in (indexes.metadata, indexes.ttl)]
    now, *answers = yield [indexes.now(), *asked]
    read = zip(ids, answers[::2], answers[1::2], strict=True)
    return [_live(id, metadata, now + ttl) for id, metadata, ttl in read if metadata and ttl > 0]


def _drop(page: Page, found: Sequence[LiveSession], *more: str) -> Steps[None]:
    """Drop the members of ``page`` that were not found from the indexes of all, and ``more``."""
    live = {session.id for session in found}
    keyspace = conf.current().keyspace
    names = [keyspace.index, keyspace.signed_in, keyspace.anonymous, *more]
    gone: list[str | bytes] = [*page.strays, *(id for id in page.ids if id not in live)]
    for start in range(0, len(gone), AT_ONCE):
        yield indexes.drop(keyspace, names, gone[start : start + AT_ONCE])


def entries(id: str) -> Steps[list[StoredEntry]]:
    stored = yield commands.load(conf.current().keyspace, id)
    if stored is None or isinstance(stored, commands.WrongType):
        return []
    return stored_entries(import_string(settings.SESSION_SERIALIZER)(), stored)


def _live(id: str, metadata: Metadata, expires: float) -> LiveSession:
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


def _index(selection: Selection) -> str:
    keyspace = indexed()
    if selection.signed_in is None:
        return keyspace.index
    return keyspace.signed_in if selection.signed_in else keyspace.anonymous


def indexed() -> Keyspace:
    """The names in Redis. Raises ``ImproperlyConfigured`` where no indexes are kept."""
    keyspace = conf.current().keyspace
    if not keyspace.indexed:
        raise ImproperlyConfigured(
            'Sessions cannot be listed: SESSION_REDIS["INDEX"] is False. Set it to True; sessions '
            "enter the index when they are next saved."
        )
    return keyspace
