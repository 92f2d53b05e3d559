"""Entries that several requests change at the same time, each from the value that it finds."""

from collections.abc import Callable
from copy import deepcopy
from random import uniform
from typing import Any

from sessions_redis import conf, moving_in
from sessions_redis.calls import StoreSteps
from sessions_redis.creation import shards_to_note
from sessions_redis.exceptions import GONE, Contended, SessionGone
from sessions_redis.keys import Key
from sessions_redis.locks import LockingStore
from sessions_redis.policies import Write
from sessions_redis.storage import layouts
from sessions_redis.storage.changes import USER_FIELD, Changes
from sessions_redis.storage.entries import DAMAGED, decoded, field_of
from sessions_redis.storage.rules import Outcome, Refused, condition
from sessions_redis.storage.steps import Pause

# How often an entry is changed again because another request was faster, before its request gives
# up. Each time, another one has succeeded.
ATTEMPTS = 100

# After so many attempts in a row, a request that is slower than others lets them go ahead for up to
# so many seconds. Not after each attempt: the value that it has just received would be an old one.
PATIENCE = 10
LONGEST_PAUSE = 0.05


class UpdatingStore(LockingStore):
    """A session store that changes entries by compare-and-set."""

    def _updating(self, key: str, function: Callable[[Any], Any], default: Any) -> StoreSteps[Any]:
        if not isinstance(key, str):
            raise TypeError(f"The key of an entry to update is a string, not {key!r}.")
        yield from self._loaded()
        serializer, of = self._made_serializer(), self._key
        if of is None or self._is_changed(of.id, key):
            self._session[key] = function(self.get(key, deepcopy(default)))  # keeps its lifetime
            self.modified = True
            return self[key]
        # What this request has loaded is mostly what Redis still holds, so nothing is read first.
        name = field_of(key)
        stored = self._known_of(of.id).fields.get(name)
        for attempt in range(ATTEMPTS):
            held = DAMAGED if stored is None else self._decoded(of.id, name, stored)
            value = function(deepcopy(default) if held is DAMAGED else held)
            user = ("" if value is None else str(value)) if name == USER_FIELD else None
            rules = condition(name, stored)
            changes = Changes({name: serializer.dumps(value)}, user=user, rules=rules)
            outcome, changes = yield from self._saved_if(of, changes)
            if not isinstance(outcome, Refused):
                self._entries[key] = value
                self._record_written(of.id, changes)
                yield from self._shared_if_it_is()
                self.modified = True
                return value
            stored = outcome.value
            if attempt % PATIENCE == PATIENCE - 1:
                yield Pause(uniform(0, LONGEST_PAUSE))  # noqa: S311 - no secret
        raise Contended(
            f"Other requests changed the session entry {key!r} at each of {ATTEMPTS} attempts to "
            "update it. If so many do so all the time, let them take turns with session.lock()."
        )

    def update_entry(self, key: str, function: Callable[[Any], Any], default: Any = None) -> Any:
        """
        Set the entry ``key`` to ``function(value)`` on the server at once, and return that.

        ``value`` is what Redis holds at that moment; ``default`` if the entry is missing. No change
        of another request is lost: if one was faster, the function is called again with the newer
        value. So it may be called several times, and should do nothing but return a value.

        Raises `Contended` after 100 attempts, and `SessionGone` if the session is gone. If the
        reply is lost, raises `SessionStoreUnavailable`: the change may have been made, and is never
        made twice. If the entry has an unsaved change, or the session has no key yet, this changes
        the entry here, and the next save writes it.
        """
        return self._perform(self._updating(key, function, default))

    async def aupdate_entry(
        self, key: str, function: Callable[[Any], Any], default: Any = None
    ) -> Any:
        """As `update_entry`. The function is a plain one."""
        return await self._aperform(self._updating(key, function, default))

    def append(self, key: str, value: Any) -> list[Any]:
        """
        Add ``value`` to the list in the entry ``key`` on the server at once, and return the list.

        A missing entry counts as an empty list. Raises ``TypeError`` if the entry is not a list.
        Otherwise as `update_entry`.
        """
        return self._perform(self._updating(key, _with(key, value), []))

    async def aappend(self, key: str, value: Any) -> list[Any]:
        """As `append`."""
        return await self._aperform(self._updating(key, _with(key, value), []))

    def _is_changed(self, id: str, key: str) -> bool:
        known = self._known_of(id)
        return key in self._lifetimes or known.is_changed(
            key, self._entries, self._made_serializer()
        )

    def _decoded(self, id: str, name: bytes, stored: bytes) -> Any:
        fields = {**self._known_of(id).fields, name: stored}
        return decoded(self._made_serializer(), fields, name)

    def _saved_if(self, key: Key, changes: Changes) -> StoreSteps[tuple[Outcome, Changes]]:
        """
        Save ``changes``, unless the condition in their rules does not hold.

        Returns them as they were written.
        """
        keyspace, age = conf.keyspace_of(self), (yield from self._age())
        changes = yield from self._with_rules(keyspace, changes, Write.SAVE)
        first = shards_to_note(keyspace, age)
        outcome: Outcome
        outcome, changes = yield from self._sealed(
            key.id, changes, lambda sealed: layouts.save(keyspace, key.id, age, sealed, first)
        )
        outcome = yield from self._in_time(keyspace, key.id, outcome)
        if isinstance(outcome, Refused) and outcome.is_of_a_condition:
            return outcome, changes
        if not (yield from self._done(keyspace, outcome)):
            if keyspace.moves_in:
                yield from moving_in.deleted(keyspace, key)
            raise SessionGone(GONE)
        return True, changes

    def _shared_if_it_is(self) -> StoreSteps[None]:
        keyspace = conf.keyspace_of(self)
        if keyspace.is_shared:
            yield from self._shared(keyspace)


def _with(key: str, value: Any) -> Callable[[Any], list[Any]]:
    def appended(entry: Any) -> list[Any]:
        if not isinstance(entry, list):
            raise TypeError(f"The session entry {key!r} is not a list, so nothing is appended.")
        return [*entry, value]

    return appended
