"""How a session begins in Redis: under a new key, and perhaps in place of another session."""

from collections.abc import Callable, Mapping
from time import monotonic, time
from typing import TypeVar

from django.contrib.sessions.backends.base import CreateError

from sessions_redis import binding, conf, lifetimes, moving_in, notices, policies, sealing, sharing
from sessions_redis.calls import Call, StoreSteps
from sessions_redis.clock import server_clock
from sessions_redis.exceptions import GONE, SessionGone
from sessions_redis.expiry import AgingStore
from sessions_redis.keys import Key, random_key
from sessions_redis.policies import Write
from sessions_redis.storage import layouts, shard_counts
from sessions_redis.storage.changes import Changes, Known, whole
from sessions_redis.storage.commands import Taken
from sessions_redis.storage.entries import ENDS, SealingSerializer
from sessions_redis.storage.keyspaces import Keyspace
from sessions_redis.storage.listings import margin
from sessions_redis.storage.rules import ENDS_AT, Outcome, Refused, Written
from sessions_redis.storage.steps import Command, Steps

T = TypeVar("T")


def shards_to_note(keyspace: Keyspace, age: float) -> list[Command[int]]:
    """The command that notes ``INDEX_SHARDS`` in Redis, if it is due. Mostly none."""
    if not keyspace.is_spread:
        return []
    now = int(time() * 1000)
    return shard_counts.to_note(keyspace, now, now + int((age + margin(age)) * 1000))


class Predecessor:
    """
    The session under the ``key``, which ``cycle_key()`` moves to a new key.

    ``is_replaced``: a new session has its entries by now.
    """

    __slots__ = ("id", "is_replaced", "key")

    def __init__(self, key: Key) -> None:
        self.key = key
        self.id = key.id
        self.is_replaced = False


class CreatingStore(AgingStore):
    """A session store that creates sessions."""

    # Set while cycle_key() runs methods that a subclass overrides.
    _predecessor: Predecessor | None = None

    def _get_new_session_key(self) -> str:
        # SessionBase asks the server whether the key is taken. create() finds that out by itself.
        return random_key()

    async def _aget_new_session_key(self) -> str:
        return self._get_new_session_key()

    def _new_key(self) -> Key:
        return Key(self._get_new_session_key())

    async def _anew_key(self) -> Key:
        return Key(await self._aget_new_session_key())

    def _created(self, new: Key, predecessor: Predecessor | None) -> StoreSteps[bool]:
        """Store the session under the key ``new``. ``False`` if that key is taken."""
        if self._is_overridden("save", "asave"):
            return (yield from self._created_by_save(new))
        if not (yield from self._beginning(new, predecessor)):
            return False
        self._session_key = new.session_key
        return True

    def _created_by_save(self, new: Key) -> StoreSteps[bool]:
        former = None if self.session_key is None else Key(self.session_key)
        self._session_key = new.session_key
        saved = False
        try:
            yield Call("save", must_create=True)
            saved = True
        except CreateError:
            pass
        finally:
            # An overridden save() may raise after it has written the session under the new key.
            if not saved and self._known.id != new.id:
                self._session_key = None if former is None else former.session_key
        return saved

    def _beginning(self, key: Key, predecessor: Predecessor | None = None) -> StoreSteps[bool]:
        """
        Write a new hash for the session with this ``key``. ``False`` if there is one already.

        The fields of a ``predecessor`` move to the new hash.
        """
        moved: bool | type[Taken] = False
        keyspace, age = conf.keyspace_of(self), (yield from self._age())
        if predecessor:
            before = self._known_of(predecessor.id)
            moved = yield from self._moving(key.id, predecessor, keyspace, age)
            if moved is Taken:
                return False
            if moved:
                predecessor.is_replaced = True
                yield from self._noticed(keyspace, before)
        if not moved:
            changes = whole(self._entries, self._made_serializer(), self._metadata(keyspace))
            changes = yield from self._with_rules(keyspace, changes, Write.CREATE)
            first = shards_to_note(keyspace, age)
            done, changes = yield from self._sealed(
                key.id, changes, lambda sealed: layouts.create(keyspace, key.id, age, sealed, first)
            )
            if not (yield from self._done(keyspace, done)):
                return False
            self._lock = None  # nobody else has the new key
            self._record_written(key.id, changes)
            yield from notices.created(keyspace, key.id, changes.user, age)
        if keyspace.is_shared:
            left = self._capped(key.id, age)
            yield from sharing.created(key, self._lasting_entries(), left)
        if keyspace.moves_in and predecessor:
            yield from moving_in.deleted(keyspace, predecessor.key)
        return True

    def _with_rules(
        self, keyspace: Keyspace, changes: Changes, write: Write
    ) -> StoreSteps[Changes]:
        changes = self._with_lifetimes(changes)
        if self._lock is not None and write is Write.SAVE:
            changes = self._lock.released_by(changes)
        # A session keeps its end, whatever the settings say now.
        keeps_end = write is Write.BESIDE and ENDS in self._known.fields
        if not (keyspace.has_policies or self._lock is not None or keeps_end):
            return changes
        lifetimes.listen()
        self._asked = monotonic()
        rules = yield from policies.rules(self, keyspace, changes, write)
        return changes._replace(rules={**changes.rules, **rules})

    def _sealed(
        self, id: str, changes: Changes, write: Callable[[Changes], Steps[T]]
    ) -> StoreSteps[tuple[T, Changes]]:
        """
        Carry out ``write`` with the changes of the session ``id``, encrypted if the site wants it.

        Returns its answer, and the changes as they were written.
        """
        serializer = self._made_serializer() if changes.written else None
        if not isinstance(serializer, SealingSerializer):
            return (yield from write(changes)), changes
        before = self._known_of(id)
        answer, sealed, known = yield from sealing.written(before, changes, serializer, write)
        if known is not before:
            self._known = known
        return answer, sealed

    def _done(self, keyspace: Keyspace, outcome: Outcome) -> StoreSteps[bool]:
        """Whether a write was done. Raises the exception of the policy that refused it."""
        if isinstance(outcome, Refused):
            policies.refused_by(self, outcome)
        if isinstance(outcome, Written):
            if outcome.at is not None:
                server_clock.set_after(outcome.at / 1000, self._asked)
            yield from policies.ended(keyspace, outcome)
            return True
        return outcome

    def _in_time(self, keyspace: Keyspace, id: str, outcome: Outcome) -> StoreSteps[Outcome]:
        """The same outcome. A session that is too old to be written is ended, so it is gone."""
        if isinstance(outcome, Refused) and outcome.rule == ENDS_AT:
            yield from lifetimes.end(keyspace, id)
            return False
        return outcome

    def _noticed(self, keyspace: Keyspace, before: Known) -> StoreSteps[None]:
        """Send `session_moved` if the session is used from elsewhere than ``before``."""
        yield from binding.noticed(keyspace, before, self._known, self._made_serializer())

    def _record_written(self, id: str, changes: Changes, former_id: str | None = None) -> None:
        if changes.rules:
            fields = lifetimes.recorded(self, former_id or id, changes.rules)
            changes = changes._replace(written={**changes.written, **fields})
        super()._record_written(id, changes, former_id)

    def _metadata(self, keyspace: Keyspace) -> Mapping[bytes, bytes]:
        """The metadata of a new hash."""
        source = self.metadata_source()
        return {**source, **sharing.MARKED} if keyspace.is_shared else source

    def _moving(
        self, id: str, predecessor: Predecessor, keyspace: Keyspace, age: float
    ) -> StoreSteps[bool | type[Taken]]:
        """``False`` if the ``predecessor`` is gone, and had no user. `Taken` if the id is taken."""
        known, serializer = self._known_of(predecessor.id), self._made_serializer()
        changes = known.changes(self._entries, serializer, self._metadata(keyspace))
        changes = yield from self._with_rules(keyspace, changes, Write.CYCLE)
        user = known.user(serializer)
        user_pk, first = user.decode("utf-8", "backslashreplace"), shards_to_note(keyspace, age)
        old_id = predecessor.id
        moved, changes = yield from self._sealed(
            old_id,
            changes,
            lambda sealed: layouts.cycle(keyspace, old_id, id, age, sealed, user_pk, first),
        )
        if isinstance(moved, type):
            return Taken
        outcome = yield from self._in_time(keyspace, old_id, moved)
        if (yield from self._done(keyspace, outcome)):
            self._record_written(id, changes, old_id)
            return True
        if not user:
            return False
        # Another request may have cycled the session: then create a second session beside it.
        changes = whole(self._entries, serializer, self._metadata(keyspace))
        changes = yield from self._with_rules(keyspace, changes, Write.BESIDE)
        done, changes = yield from self._sealed(
            id,
            changes,
            lambda sealed: layouts.create_beside(keyspace, old_id, user, id, age, sealed),
        )
        if not (yield from self._done(keyspace, done)):
            raise SessionGone(GONE)
        self._lock = None
        self._record_written(id, changes)
        yield from notices.created(keyspace, id, changes.user, age)
        return True

    def _must_load(self, keyspace: Keyspace) -> bool:
        """Whether only loading finds out if the session may be used."""
        return (
            keyspace.moves_in
            or self._is_overridden("load", "aload")  # it may refuse the session
            or binding.applies_to(self)
        )

    def _admitted(self) -> StoreSteps[None]:
        """Look whether ``BIND_TO`` lets this request use the session, if it was not loaded."""
        if self._id != self._admitted_id and binding.applies_to(self):
            yield Call("load")

    def _shared(self, keyspace: Keyspace) -> StoreSteps[None]:
        """Save all entries in the former engine, whose workers read them there."""
        key, age = self._key, (yield from self._age())
        if key is None:
            return
        left, entries = self._capped(key.id, age), self._lasting_entries()
        if not (yield from sharing.saved(keyspace, key, entries, left)):
            raise SessionGone(GONE)
