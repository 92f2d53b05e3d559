"""What the steps of a session store build on: what it holds, and how steps are carried out."""

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from django.contrib.sessions.backends.base import SessionBase

from sessions_redis.calls import PASSED_ON, Call, Outcome, StoreSteps
from sessions_redis.changes import UNKNOWN, Changes, Known
from sessions_redis.clients import arun, run
from sessions_redis.commands import session_id
from sessions_redis.entries import Entries

T = TypeVar("T")


class StoreBase(SessionBase):
    """A session store that knows which of its entries Redis holds."""

    # Where the session's metadata beside its times comes from; the session middleware sets it.
    metadata_source: Callable[[], Mapping[bytes, bytes]] = dict

    # What Redis is known to hold of the entries in `_session_cache`.
    _known: Known = UNKNOWN

    # On what this store has loaded since it last wrote. Only that is known to be in Redis.
    _mark: object = None

    def _is_overridden(self, *names: str) -> bool:
        """Whether one of the engine's own methods is replaced, in a subclass or otherwise."""
        raise NotImplementedError

    # Entries, once there are any

    @property
    def _session_cache(self) -> dict[Any, Any]:
        # SessionBase takes the AttributeError for "not loaded yet".
        return self._entries

    @_session_cache.setter
    def _session_cache(self, mapping: Mapping[Any, Any]) -> None:
        if mapping is getattr(self, "_entries", None):
            return
        self._entries = mapping if isinstance(mapping, dict) else dict(mapping)
        self._known = UNKNOWN
        if isinstance(mapping, Entries) and mapping.known and mapping.mark is self._mark:
            self._known = mapping.known

    @_session_cache.deleter
    def _session_cache(self) -> None:
        del self._entries

    # Whatever reaches Redis marks the session as accessed first, also if it raises then: what the
    # view answers depends on the visitor's session, and no cache may give it to another.

    def _perform(self, steps: StoreSteps[T]) -> T:
        self.accessed = True
        try:
            asked = next(steps)
            while True:
                if isinstance(asked, Call):
                    asked = self._outcome(asked).resume(steps)
                else:
                    asked = steps.send(run(asked))
        except StopIteration as stop:
            result: T = stop.value
            return result
        finally:
            steps.close()  # for what the steps have to undo when something raised

    async def _aperform(self, steps: StoreSteps[T]) -> T:
        self.accessed = True
        try:
            asked = next(steps)
            while True:
                if isinstance(asked, Call):
                    asked = (await self._aoutcome(asked)).resume(steps)
                else:
                    asked = steps.send(await arun(asked))
        except StopIteration as stop:
            result: T = stop.value
            return result
        finally:
            steps.close()

    def _outcome(self, call: Call) -> Outcome:
        try:
            return Outcome(call.of(self))
        except PASSED_ON as error:
            return Outcome(error=error)

    async def _aoutcome(self, call: Call) -> Outcome:
        try:
            return Outcome(await call.aof(self))
        except PASSED_ON as error:
            return Outcome(error=error)

    @property
    def _id(self) -> str | None:
        """The id of the session's key; ``None`` if it has no key."""
        return None if self.session_key is None else session_id(self.session_key)

    def _known_of(self, id: str) -> Known:
        """What Redis is known to hold of the session ``id``: nothing if its key was set by hand."""
        return self._known if self._known.id == id else UNKNOWN

    def _settle(self, id: str, changes: Changes, former_id: str | None = None) -> None:
        """Take ``changes`` as written: later changes are those against them."""
        self._known = self._known_of(former_id or id).after(changes, id)
        self._mark = None
