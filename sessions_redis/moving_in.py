"""
Sessions of the former engine move into Redis, each with the first request that brings its key.

``SESSION_REDIS["FORMER_ENGINE"]`` names that engine, and `sessions_redis.former` reads its
sessions. A session that is not in Redis is looked up there. If it is alive, it is created in Redis
in one atomic step, under the same key and with the lifetime that it has left. Then it is deleted
there. `sharing` does this while workers of both engines run.
"""

from collections.abc import Mapping
from contextlib import suppress
from functools import partial
from time import monotonic, time
from typing import Any

from django.conf import settings

from sessions_redis import capping, conf, former, lifetimes, logs
from sessions_redis.calls import Call, CallTo, Store, StoreSteps
from sessions_redis.clients import arun, run
from sessions_redis.exceptions import SessionStoreUnavailable
from sessions_redis.former import FormerSession, FormerStore
from sessions_redis.keys import Key
from sessions_redis.sealing import begun
from sessions_redis.storage import adoption, commands
from sessions_redis.storage.adoption import Adoption, Times
from sessions_redis.storage.changes import whole
from sessions_redis.storage.commands import WrongType
from sessions_redis.storage.entries import AGENT, COPIED, IP, Serializer
from sessions_redis.storage.keyspaces import Keyspace
from sessions_redis.storage.rules import Written
from sessions_redis.storage.steps import Command
from sessions_redis.unknown_keys import UnknownKeys

# What `commands.load` answers.
Stored = Mapping[bytes, bytes] | WrongType | None

# Seconds for which a process deletes nothing in the former engine after that was away.
PAUSE = 30

log = logs.named("sessions_redis")

# Those of this process.
unknown_keys = UnknownKeys()


def former_store() -> FormerStore:
    return former.of(conf.current().former_engine)


def loaded(
    keyspace: Keyspace, key: Key, stored: Stored, serializer: Serializer
) -> StoreSteps[Stored]:
    """
    The session's fields, after it has moved in if the former engine has it.

    ``stored``: what is in Redis. Raises `SessionStoreUnavailable` if the former engine is needed
    and away.
    """
    if isinstance(stored, WrongType):
        return stored
    copied = None if stored is None else stored.get(COPIED)
    if stored is not None and copied != adoption.SHARED:
        return (yield from _settled(keyspace, key, stored)) if copied else stored
    if stored is None and key.id in unknown_keys:
        return None
    if (yield from moved(keyspace, key, serializer, was_shared=stored is not None)):
        stored = yield commands.load(keyspace, key.id)
        if stored is not None and not isinstance(stored, WrongType):
            return (yield from _settled(keyspace, key, stored))
        return stored
    # Another request may have moved it after this one looked here, and before it looked there.
    stored = yield commands.load(keyspace, key.id)
    if stored is None:
        unknown_keys.add(key.id)
    return stored


def moved(
    keyspace: Keyspace, key: Key, serializer: Serializer, *, was_shared: bool = False
) -> StoreSteps[bool]:
    """
    Create the session here if the former engine has it. Whether it is here now.

    ``was_shared``: it was here when the stores were shared. Then the former engine's copy decides,
    once more: its workers may have written or ended the session last.
    """
    began = time()
    session: FormerSession | None = yield CallTo(former_store(), "load", key)
    entries = None if session is None else kept(session, serializer, key.id)
    if session is None or entries is None:
        if was_shared:
            yield adoption.unshare(keyspace, key.id)
        return False
    changes = begun(whole(entries, serializer, metadata_of(session)), serializer)
    times = times_of(session, began)
    if keyspace.has_policies:
        aged = yield from lifetimes.move_in(lifetimes.user_of(entries))
        capped = yield from capping.rules(keyspace, changes.user)
        changes = changes._replace(rules=aged | capped)
    became = yield from adoption.adopt(keyspace, key.id, session.ttl, changes, times)
    if isinstance(became, Written):
        yield from capping.ended(keyspace, became.ended)
    if became is Adoption.REFUSED:
        yield from deleted(keyspace, key)
    return became is not Adoption.REFUSED


def times_of(session: FormerSession, began: float) -> Times:
    """
    When the session was begun and saved. ``began``: when it was about to be read, as of `time`.

    The process may have been slow since then, so the session was saved at the time that this
    returns, or later. A time that is too late would bring back what was ended.
    """
    if session.created is not None:
        return Times(session.created, session.created * 1000)
    age = session.entries.get("_session_expiry") or settings.SESSION_COOKIE_AGE
    is_known = session.is_exact and isinstance(age, int | float)
    return Times(saved=int((began + session.ttl - age) * 1000) if is_known else None)


def metadata_of(session: FormerSession) -> dict[bytes, bytes]:
    """Where the session was used, if the former engine knows it."""
    if not conf.current().metadata:
        return {}
    named = {IP: session.ip, AGENT: session.agent}
    return {name: text.encode("utf-8", "replace") for name, text in named.items() if text}


def kept(session: FormerSession, serializer: Serializer, id: str) -> dict[str, Any] | None:
    """
    The entries that ``SESSION_SERIALIZER`` can write.

    The others are left out, and the log names them. A former engine that pickles can have such
    entries. ``None`` if there are some and ``FORMER_ENGINE_PARTIAL`` is ``False``.
    """
    entries, left_out = divided(session.entries, serializer)
    if not left_out:
        return entries
    names, partial = ", ".join(left_out), conf.current().former_engine_partial
    log.warning(
        "Session %s %s: SESSION_SERIALIZER cannot write %s.",
        id, "moves in without some entries" if partial else "does not move in", names,
    )  # fmt: skip
    return entries if partial else None


def divided(entries: Mapping[str, Any], serializer: Serializer) -> tuple[dict[str, Any], list[str]]:
    """The entries that ``SESSION_SERIALIZER`` can write, and the names and types of the others."""
    kept, left_out = {}, []
    for name, value in entries.items():
        try:
            whole({name: value}, serializer)
        except (TypeError, ValueError, OverflowError, RecursionError):
            left_out.append(f"{name!r} ({type(value).__name__})")
        else:
            kept[name] = value
    return kept, left_out


def _settled(keyspace: Keyspace, key: Key, stored: Mapping[bytes, bytes]) -> StoreSteps[Stored]:
    """Delete the former engine's copy of a session that has moved in."""
    yield Settling(keyspace, former_store(), key)
    return {name: value for name, value in stored.items() if name != COPIED}


def deleted(keyspace: Keyspace, key: Key) -> StoreSteps[None]:
    """Delete the former engine's copy of a session that was ended here."""
    if not (yield Deletion(former_store(), key)):
        # The copy stays there, so the tombstone has to stay as well.
        yield adoption.tombstone(keyspace, key.id, lasts=True)


class Deletion(Call):
    """
    Deletes the former engine's copy of a session, and returns whether it is gone.

    If the former engine is away, the log says so and the request goes on: the session is safe here.
    For a while, no other request of the process tries it then: each might wait until it times out.
    """

    __slots__ = ("former", "key")

    # The time, as of `monotonic`, until which no request tries it.
    paused_until = 0.0

    def __init__(self, former: FormerStore, key: Key) -> None:
        super().__init__("delete")
        self.former = former
        self.key = key

    @classmethod
    def is_paused(cls) -> bool:
        # Workers of the former engine must not go on with a session that was ended here.
        return monotonic() < Deletion.paused_until and not conf.current().former_engine_shared

    def of(self, store: Store) -> bool:
        if self.is_paused():
            return False
        try:
            self.former.delete(self.key)
        except SessionStoreUnavailable as error:
            return self._failed(error)
        return True

    async def aof(self, store: Store) -> bool:
        if self.is_paused():
            return False
        try:
            await self.former.adelete(self.key)
        except SessionStoreUnavailable as error:
            return self._failed(error)
        return True

    def _failed(self, error: SessionStoreUnavailable) -> bool:
        Deletion.paused_until = monotonic() + PAUSE
        log.warning("Session %s could not be deleted in FORMER_ENGINE. %s", self.key.id, error)
        return False


class Settling(Deletion):
    """
    As `Deletion`, and then notes in Redis that the copy is gone.

    Inside a transaction of the former engine's database, it does both after the commit: a rollback
    would bring the copy back. If it never does, the next request that loads the session does it.
    """

    __slots__ = ("keyspace",)

    def __init__(self, keyspace: Keyspace, former: FormerStore, key: Key) -> None:
        super().__init__(former, key)
        self.keyspace = keyspace

    def of(self, store: Store) -> bool:
        if self.is_paused():
            return False
        try:
            self.former.after_commit(partial(self._settle, store))
        except SessionStoreUnavailable as error:
            return self._failed(error)
        return True

    def _settle(self, store: Store) -> None:
        if super().of(store):
            with suppress(SessionStoreUnavailable):  # the next request does it
                run(self._note)

    async def aof(self, store: Store) -> bool:
        if await super().aof(store):
            with suppress(SessionStoreUnavailable):
                await arun(self._note)
        return True

    @property
    def _note(self) -> Command[bool]:
        return adoption.settle(self.keyspace, self.key.id)
