"""Reads a session that is about to move out of Redis, and removes what is left of it. Pure."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from sessions_redis.storage import adoption, commands, expiring, keys, layouts, replies, scripts
from sessions_redis.storage.entries import AGENT, COPIED, IP, Serializer
from sessions_redis.storage.keyspaces import Keyspace
from sessions_redis.storage.lazy_entries import entries_in
from sessions_redis.storage.steps import Command, Steps, script_command


@dataclass(frozen=True, repr=False, slots=True)
class Departing:
    """
    A session as it is in Redis. ``ttl``: seconds left.

    Its ``repr()`` does not show the fields, because error reports print it.
    """

    fields: Mapping[bytes, bytes]
    ttl: float

    @property
    def is_shared(self) -> bool:
        """Whether the former engine had a copy that decides whether the session lives."""
        return self.fields.get(COPIED) == adoption.SHARED

    @property
    def visitor(self) -> dict[str, str]:
        """Where the session was last used, if that is known: ``ip`` and ``agent``."""
        named = {"ip": self.fields.get(IP, b""), "agent": self.fields.get(AGENT, b"")}
        return {name: value.decode("utf-8", "replace") for name, value in named.items()}

    def entries(
        self, serializer: Serializer, on_damaged: Callable[[bytes], None]
    ) -> dict[str, Any]:
        """Without those that expire by themselves: there, they would not."""
        entries = entries_in(self.fields, serializer, on_damaged)
        return expiring.lasting(entries, expiring.names_in(self.fields))


def look(keyspace: Keyspace, id: str) -> Command[Departing | None]:
    """Read the session and its lifetime at the same moment. ``None`` if it is not in Redis."""

    def read(reply: Any) -> Departing | None:
        left, pairs = replies.listing(reply, 2)
        ttl = replies.number(left, commands.GONE)
        fields = commands.live_fields(pairs)
        return None if fields is None or ttl <= 0 else Departing(fields, ttl / 1000)

    return script_command(
        scripts.INSPECT, (keyspace.session(id),), (), read, read_wrong_type=lambda: None
    )


def finish(keyspace: Keyspace, id: str) -> Steps[bool]:
    """
    End the session here, because the next engine has it. ``False`` if there was none any more.

    It has not ended for its visitor. So no note stays that would keep it from moving in again.
    """
    silent = replace(keyspace, moves_in=False, is_shared=False, events=False)
    ended = yield from layouts.end(silent, id)
    if keyspace.moves_in and ended is not None:
        yield keys.unlink(keyspace.moved(id))
    return ended is not None


def share(keyspace: Keyspace, id: str) -> Steps[bool]:
    """
    Keep the session here as a copy, for workers that use both. ``False`` if it is gone.

    From then on, the next engine decides whether it lives.
    """
    noted = yield from layouts.note(keyspace, id, {COPIED: adoption.SHARED})
    return noted > 0
