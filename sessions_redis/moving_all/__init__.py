"""
Moves all sessions of a former engine at once, beside a site that serves visitors meanwhile.

A batch of sessions is created in Redis as `sessions_redis.moving_in` creates a single one: in
atomic steps, each unless the session is there already or was ended. Only then is it deleted in the
former engine. So the move can end at any moment, and begin again.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain
from time import monotonic, time
from typing import Any

from sessions_redis import capping, lifetimes
from sessions_redis.clients import perform, run_all
from sessions_redis.former import FormerStore, Found
from sessions_redis.keys import Key
from sessions_redis.moving_all.counts import Counts
from sessions_redis.moving_all.pace import Pace
from sessions_redis.moving_in import divided, metadata_of, times_of
from sessions_redis.sealing import begun
from sessions_redis.storage import adoption, listings, moves
from sessions_redis.storage.adoption import Adoption, Times
from sessions_redis.storage.changes import Changes, whole
from sessions_redis.storage.entries import Serializer
from sessions_redis.storage.keyspaces import Keyspace
from sessions_redis.storage.moves import Moved
from sessions_redis.storage.rules import Written
from sessions_redis.storage.steps import Command, Steps
from sessions_redis.storage.together import together

# Bytes of sessions that one round trip sends, about. Other clients of Redis wait meanwhile.
MOST_BYTES = 500_000

# Sessions that one round trip sends, at most.
MOST_SESSIONS = 500


@dataclass(frozen=True, repr=False)
class Ready:
    """A session of the former engine that can move. ``until``: when it expires, by `monotonic`."""

    key: Key
    changes: Changes
    until: float
    times: Times

    @property
    def left(self) -> float:
        return self.until - monotonic()

    @property
    def size(self) -> int:
        return sum(map(len, chain.from_iterable(self.changes.written.items())))


class Move:
    """
    The move of a former engine's sessions. ``counts`` says what has become of them so far.

    ``moves_partly``: a session moves without entries that ``serializer`` cannot write. Otherwise,
    it stays where it is. ``only_look``: say what would become of the sessions, and write nothing.
    """

    def __init__(
        self,
        former: FormerStore,
        keyspace: Keyspace,
        serializer: Serializer,
        *,
        moves_partly: bool = True,
        only_look: bool = False,
    ) -> None:
        self.counts = Counts()
        self._former = former
        self._keyspace = keyspace
        self._serializer = serializer
        self._moves_partly = moves_partly
        self.only_look = only_look

    def batches(self, size: int, pace: Pace) -> Iterator[int]:
        """
        Move the sessions in batches of ``size``. Yields how many the former engine had in each.

        Raises `SessionStoreUnavailable` if Redis or the former engine is away. The sessions of
        earlier batches have moved then, and those of this batch may have.
        """
        batches, began = self._former.batches(size), time()
        for found in batches:
            for piece in _pieces(self._ready(found, began)):
                self._look(piece) if self.only_look else self._move(piece)
            yield len(found)
            pace.wait(len(found))
            began = time()

    def _ready(self, found: Sequence[Found], began: float) -> list[Ready]:
        now = monotonic()
        ready = (self._examined(one, now, began) for one in found)
        return [one for one in ready if one is not None]

    def _examined(self, found: Found, now: float, began: float) -> Ready | None:
        session, id = found.session, found.key.id
        if session is None or session.ttl <= 0:
            self.counts.add(found.problem or "expired", id)
            return None
        entries = dict(session.entries)
        try:
            changes = whole(entries, self._serializer, metadata_of(session))
        except (TypeError, ValueError, OverflowError, RecursionError):
            entries, left_out = divided(entries, self._serializer)
            self.counts.leave_out(left_out, id, moves=self._moves_partly)
            if not self._moves_partly:
                return None
            changes = whole(entries, self._serializer, metadata_of(session))
        changes = begun(changes, self._serializer)
        return Ready(found.key, changes, now + session.ttl, times_of(session, began))

    def _look(self, piece: Sequence[Ready]) -> None:
        looks = [
            moves.prospect(self._keyspace, one.key.id, _user(one), one.times.saved) for one in piece
        ]
        for one, became in zip(piece, perform(together(looks)), strict=True):
            self.counts.add(became.value, one.key.id)

    def _move(self, piece: Sequence[Ready]) -> None:
        keyspace = self._keyspace
        adopted = [
            adoption.adopt(keyspace, one.key.id, one.left, _ruled(keyspace, one.changes), one.times)
            for one in piece
        ]
        answers: list[Any] = perform(together([_now(), *adopted]))
        now: float = answers[0]
        became = [Adoption.ADOPTED if isinstance(one, Written) else one for one in answers[1:]]
        sessions: list[tuple[Ready, Adoption]] = list(zip(piece, became, strict=True))
        for one, what in sessions:
            self.counts.add(what.value, one.key.id)
        moved = [_moved(one, now) for one, what in sessions if what is Adoption.ADOPTED]
        notes: list[Command[Any]] = [moves.remember(keyspace, moved)] if moved else []
        gone = [one.key for one, what in sessions if what is Adoption.REFUSED]
        if not keyspace.is_shared:
            here = [one.key for one, what in sessions if what is not Adoption.REFUSED]
            notes += [adoption.settle(keyspace, key.id) for key in here]
            gone += here
        for one in answers[1:]:
            if isinstance(one, Written):
                capping.at_once(capping.ended(keyspace, one.ended))
        # Inside a transaction, which could be rolled back, only after the commit.
        self._former.after_commit(partial(self._settle, gone, notes))

    def _settle(self, gone: Sequence[Key], notes: Sequence[Command[Any]]) -> None:
        if gone:
            self._former.delete_many(gone)
        run_all(notes)


def _ruled(keyspace: Keyspace, changes: Changes) -> Changes:
    if not keyspace.has_policies:
        return changes
    aged = capping.at_once(lifetimes.move_in(changes.user or ""))
    capped = capping.at_once(capping.rules(keyspace, changes.user))
    return changes._replace(rules=aged | capped)


def _pieces(ready: Sequence[Ready]) -> Iterator[list[Ready]]:
    piece: list[Ready] = []
    size = 0
    for one in ready:
        if piece and (size + one.size > MOST_BYTES or len(piece) == MOST_SESSIONS):
            yield piece
            piece, size = [], 0
        piece.append(one)
        size += one.size
    if piece:
        yield piece


def _user(one: Ready) -> str:
    return one.changes.user or ""


def _now() -> Steps[Any]:
    now = yield listings.now()
    return now


def _moved(one: Ready, now: float) -> Moved:
    digest = moves.digest_of(one.changes.written)
    return Moved(one.key.id, int(now), int(now + one.left), digest, _user(one))
