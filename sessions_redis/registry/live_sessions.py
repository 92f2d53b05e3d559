"""A live session as the registry shows it, and how it is read from Redis."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from django.conf import settings
from django.utils.module_loading import import_string

from sessions_redis import conf
from sessions_redis.clients import Steps, aperform, perform
from sessions_redis.clock import TOLERANCE
from sessions_redis.json_serializer import made
from sessions_redis.serializer_probes import executes_code
from sessions_redis.storage import commands, expiring, listings
from sessions_redis.storage.entries import StoredEntry, stored_entries, unread_entries
from sessions_redis.storage.keyspaces import Keyspace
from sessions_redis.storage.listings import BATCH_SIZE, Metadata
from sessions_redis.storage.steps import Command

# Stands for a time that is damaged in Redis.
NOT_KNOWN = datetime.fromtimestamp(0, UTC)

# Stands for an expiry that is missing, or later than this. ``datetime`` cannot
# hold more than one later year, which a time zone may need.
NEVER = datetime(9999, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class LiveSession:
    """
    A session as it was when the registry read it.

    ``id``: the session ID, 32 hex digits, the digest of the session key. ``user_pk``: the primary
    key of the signed-in user, as text, or ``None``. ``created``, ``updated``, ``expires``: aware,
    in UTC, by the server's clock. If they are damaged in Redis, the first two are `NOT_KNOWN` and
    the last one is `NEVER`. ``ip`` and ``user_agent``: as the session middleware last saw them.
    They are ``None`` without that middleware, or with ``METADATA`` off. ``tenant``: the prefix that
    the function in ``KEY_PREFIX`` returned when the session was read; ``None`` without a function.
    ``seen``: when that middleware last noted that the session is in use, or ``None``.
    ``last_active``: the later of ``updated`` and ``seen``; `NOT_KNOWN` if both are damaged. A time
    that is still to come is damaged. ``ends``: when the session ends even if it is in use, by
    ``ABSOLUTE_AGE``; ``None`` if it does not.
    """

    id: str
    user_pk: str | None
    created: datetime
    updated: datetime
    expires: datetime
    ip: str | None = None
    user_agent: str | None = None
    tenant: str | None = field(default=None, repr=False)
    seen: datetime | None = None
    last_active: datetime = NOT_KNOWN
    ends: datetime | None = None

    def _entries(self) -> Steps[list[StoredEntry]]:
        keyspace = conf.keyspace_in(self.tenant)
        stored = yield commands.load(keyspace, self.id)
        if stored is None or isinstance(stored, commands.WrongType):
            return []
        left = yield from expiring.left_in(keyspace, self.id, stored)
        serializer = import_string(settings.SESSION_SERIALIZER)
        if executes_code(serializer):
            return unread_entries(stored, left)
        return stored_entries(made(serializer), stored, left)

    def entries(self) -> list[StoredEntry]:
        """
        Return the session's entries as they are now, by name; none if it has ended since.

        Values are not decoded if the serializer can execute code, as pickle does.
        """
        return perform(self._entries())

    async def aentries(self) -> list[StoredEntry]:
        return await aperform(self._entries())


def user_pk_of(user: Any) -> str:
    """Return a user's primary key in the text that Django's login stores. Text stays as it is."""
    if hasattr(user, "_meta"):
        text: str = user._meta.pk.value_to_string(user)
        return text
    return str(user)


def read(keyspace: Keyspace, ids: Sequence[str]) -> Steps[list[LiveSession]]:
    """Read the sessions of these ids that are live: one round trip for each thousand."""
    found: list[LiveSession] = []
    for start in range(0, len(ids), BATCH_SIZE):
        part = ids[start : start + BATCH_SIZE]
        found += answered(keyspace, part, (yield asking(keyspace, part)))
    return found


def asking(keyspace: Keyspace, ids: Sequence[str]) -> list[Command[Any]]:
    """The commands that read sessions: `answered` takes their answers."""
    asked = [ask(keyspace, id) for id in ids for ask in (listings.metadata, listings.ttl)]
    return [listings.now(), *asked] if asked else []


def answered(keyspace: Keyspace, ids: Sequence[str], answers: Sequence[Any]) -> list[LiveSession]:
    """Those of the sessions that are live."""
    if not ids:
        return []
    now, *more = answers
    return [
        session_of(id, held, now, ttl, keyspace.tenant)
        for id, held, ttl in zip(ids, more[::2], more[1::2], strict=True)
        if held and ttl > 0
    ]


def session_of(
    id: str, metadata: Metadata, now: float, ttl: float, tenant: str | None = None
) -> LiveSession:
    """``now``: epoch seconds. ``ttl``: seconds, of any size."""
    # A session that was last saved before METADATA was turned off still has some.
    is_shown = conf.current().metadata
    past = [time for time in (metadata.updated, metadata.seen) if time <= now + TOLERANCE]
    return LiveSession(
        id,
        metadata.user_pk,
        _moment(metadata.created),
        _moment(metadata.updated),
        _moment(now + ttl),
        metadata.ip if is_shown else None,
        metadata.user_agent if is_shown else None,
        tenant,
        _moment(metadata.seen) if metadata.seen else None,
        _moment(max(past, default=0)),
        _moment(metadata.ends) if metadata.ends else None,
    )


def _moment(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC) if seconds < NEVER.timestamp() else NEVER
