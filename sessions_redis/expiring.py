"""
Entries with a lifetime of their own, such as codes that work once.

The server removes them by itself. The next save of the session sets the lifetime, in the same step
as it writes the entry.
"""

from collections.abc import Iterable
from datetime import timedelta
from math import isfinite
from typing import Any

from django.core.exceptions import ImproperlyConfigured

from sessions_redis import conf
from sessions_redis.base import StoreBase
from sessions_redis.calls import StoreSteps
from sessions_redis.storage import expiring, servers
from sessions_redis.storage.changes import Changes
from sessions_redis.storage.commands import MAX_TTL
from sessions_redis.storage.entries import field_of, key_of
from sessions_redis.storage.expiring import Lifetime, Missing
from sessions_redis.storage.lazy_entries import Entries
from sessions_redis.storage.servers import Identity

# The locations whose servers can let fields expire, as far as this process has asked.
_capable: set[str] = set()

SHARED = (
    "An entry cannot have a lifetime of its own while FORMER_ENGINE_SHARED is True: the former "
    "engine's copy of the session would never lose it."
)

NEEDED = (
    "An entry with a lifetime of its own needs a server on which fields of a hash can expire: "
    "Redis 7.4 or later, or Valkey 9 or later."
)


class ExpiringStore(StoreBase):
    """A session store whose entries can have lifetimes of their own."""

    def _setting(self, key: str, value: Any, expires_in: float | timedelta) -> StoreSteps[None]:
        milliseconds = _milliseconds(key, expires_in)
        yield from self._needing_field_ttls()
        entries = yield from self._loaded()
        entries[key] = value
        self._want(key, Lifetime(milliseconds, is_set=True))
        self.modified = True

    def set(self, key: str, value: Any, *, expires_in: float | timedelta | None = None) -> None:
        """
        Set the entry ``key``. With ``expires_in`` seconds, it disappears by itself.

        The time counts from the save that writes the entry, by the server's clock. A session that
        expires or is ended before takes the entry along. Without ``expires_in`` this is
        ``session[key] = value``, which also makes an entry that would expire permanent.

        Raises ``ImproperlyConfigured`` if fields cannot expire on the server, and ``ValueError``
        for a time that is not above zero. Then nothing is changed. The first call in a process asks
        the server, which takes a round trip.
        """
        if expires_in is None:
            self[key] = value
        else:
            self._perform(self._setting(key, value, expires_in))

    async def aset(
        self, key: str, value: Any, *, expires_in: float | timedelta | None = None
    ) -> None:
        if expires_in is None:
            await super().aset(key, value)
            if self._has_expiring:
                self._make_permanent((key,))
        else:
            await self._aperform(self._setting(key, value, expires_in))

    def _expiring(self, key: str, seconds: float | timedelta) -> StoreSteps[None]:
        milliseconds = _milliseconds(key, seconds)
        yield from self._needing_field_ttls()
        entries = yield from self._loaded()
        if key not in entries:
            raise KeyError(key)
        before = self._lifetimes.get(key)
        self._want(key, Lifetime(milliseconds, is_set=before is not None and before.is_set))
        self.modified = True

    def expire_entry(self, key: str, seconds: float | timedelta) -> None:
        """
        Let the entry ``key``, which stays as it is, disappear after so many ``seconds``.

        Raises ``KeyError`` if there is no such entry. Everything else is as with `set`.
        """
        self._perform(self._expiring(key, seconds))

    async def aexpire_entry(self, key: str, seconds: float | timedelta) -> None:
        await self._aperform(self._expiring(key, seconds))

    # Ordinary assignments make an entry permanent

    def __setitem__(self, key: Any, value: Any) -> None:
        super().__setitem__(key, value)
        if self._has_expiring:
            self._make_permanent((key,))

    def update(self, dict_: Any) -> None:  # type: ignore[override]  # Django's signature
        given = dict(dict_)
        super().update(given)
        if self._has_expiring:
            self._make_permanent(given)

    async def aupdate(self, dict_: Any) -> None:
        given = dict(dict_)
        await super().aupdate(given)
        if self._has_expiring:
            self._make_permanent(given)

    def _make_permanent(self, keys: Iterable[Any]) -> None:
        names = self._names
        for key in keys:
            if isinstance(key, str) and (key in self._lifetimes or field_of(key) in names):
                self._want(key, Lifetime(None, is_set=True))

    def _want(self, key: str, lifetime: Lifetime) -> None:
        self._lifetimes, self._has_expiring = {**self._lifetimes, key: lifetime}, True

    @property
    def _names(self) -> frozenset[bytes]:
        """The fields that may expire in Redis, of those that the entries came from."""
        names = expiring.names_in(self._known.fields)
        if self._known.replaces and isinstance(self._entries, Entries):
            names |= expiring.names_in(self._entries.fields)
        return names

    # Writing

    def _with_lifetimes(self, changes: Changes) -> Changes:
        """
        The changes, with what they do to lifetimes.

        If all entries are written anew, the session loses those that would expire: written like the
        others, they would never do so.
        """
        if not self._has_expiring:
            return changes
        names = self._names
        dumps = self._made_serializer().dumps
        wanted = {key: one for key, one in self._lifetimes.items() if key in self._entries}
        lifetimes = {field_of(key): one for key, one in wanted.items()}
        values = {
            field_of(key): dumps(self._entries[key]) for key, one in wanted.items() if one.is_set
        }
        if changes.replaces:
            for name in names - lifetimes.keys():
                dict.pop(self._entries, key_of(name), None)
        return expiring.with_lifetimes(changes, names, lifetimes, values)

    def _record_written(self, id: str, changes: Changes, former_id: str | None = None) -> None:
        super()._record_written(id, changes, former_id)
        if self._lifetimes:
            self._lifetimes = {
                key: one
                for key, one in self._lifetimes.items()
                if not expiring.is_done(one, field_of(key), changes)
            }

    def _lasting_entries(self) -> dict[Any, Any]:
        """A copy of the entries, for a store in which they would never expire."""
        wanted = {field_of(key) for key, one in self._lifetimes.items() if one.milliseconds}
        return expiring.lasting(self._entries, self._names | wanted)

    def _needing_field_ttls(self) -> StoreSteps[None]:
        keyspace, location = conf.keyspace_of(self), conf.current().location
        if keyspace.is_shared:
            raise ImproperlyConfigured(SHARED)
        if location in _capable:
            return
        missing: Missing | None = yield expiring.can_expire(keyspace, self._id or "")
        if missing is not None:
            identity = yield servers.identity()
            raise not_here(missing, identity if isinstance(identity, Identity) else None)
        _capable.add(location)


def not_here(missing: Missing, identity: Identity | None = None) -> ImproperlyConfigured:
    """The exception if no field can expire on the server."""
    _capable.discard(conf.current().location)
    this = "This server" if identity is None else f"This server is {identity}, and"
    if missing.is_denied:
        return ImproperlyConfigured(
            f"{NEEDED} {this} does not let this user run {missing.command}. docs/redis.md has the "
            "commands to allow."
        )
    return ImproperlyConfigured(f"{NEEDED} {this} does not know the command {missing.command}.")


def _milliseconds(key: object, lifetime: object) -> int:
    if not isinstance(key, str):
        raise TypeError(f"The key of an entry that expires is a string, not {key!r}.")
    seconds = lifetime.total_seconds() if isinstance(lifetime, timedelta) else lifetime
    if not isinstance(seconds, int | float) or isinstance(seconds, bool):
        raise TypeError(f"An entry expires after a number of seconds, not after {lifetime!r}.")
    if not (isfinite(seconds) and seconds > 0):
        raise ValueError(
            f"An entry expires after a number of seconds above 0, not after {lifetime!r}. "
            "To remove it now, delete it."
        )
    return max(1, int(min(seconds, MAX_TTL) * 1000))
