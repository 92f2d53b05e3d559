"""The commands for an index that lists one part of the sessions. Pure, as `commands`."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf
from typing import Any, NamedTuple

from sessions_redis.storage import replies, scripts
from sessions_redis.storage.keyspaces import Keyspace
from sessions_redis.storage.listings import BATCH_SIZE, LAST_CURSOR, MARGIN
from sessions_redis.storage.replies import WrongShape
from sessions_redis.storage.steps import Argument, Command, script_command

# Seconds after the time until which a member is listed, before readers remove it from an index that
# must not lose a session. No session lives so long, even if the clocks of two nodes differ.
GRACE = MARGIN


class Ranks(NamedTuple):
    """
    Members from the rank ``first`` to ``last``, which count from the end if negative.

    ``most``: at most so many of them, with the same distance from each to the next.
    """

    first: int
    last: int
    most: int = BATCH_SIZE

    @classmethod
    def at_start(cls, number: int) -> "Ranks":
        return cls(0, number - 1)

    @classmethod
    def at_end(cls, number: int) -> "Ranks":
        return cls(-number, -1)


class Bounds(NamedTuple):
    """Members that are listed for longer than ``low``, and up to ``high``, in epoch seconds."""

    low: str
    high: str
    from_now: bool = False


class Span(NamedTuple):
    """``members``: with their scores. The first has the rank ``first``, the next ``step`` more."""

    first: int
    step: int
    members: tuple[tuple[bytes, float], ...]

    @property
    def end(self) -> int:
        """The rank after the last member."""
        return self.first + self.step * max(len(self.members) - 1, 0) + bool(self.members)


@dataclass(frozen=True, slots=True)
class Part:
    """``total``: how many members are within ``bounds``. ``spans``: one for each of the ranges."""

    bounds: Bounds
    total: int
    spans: tuple[Span, ...]


def from_now(low: float, high: float) -> Bounds:
    """Seconds left, as the node of an index sees it."""
    return Bounds(_text(low), _text(high), from_now=True)


def part(index: str, bounds: Bounds, *ranges: Ranks) -> Command[Part]:
    """Members of ``index`` by rank: from the one that is listed for the shortest time."""

    def read(reply: Any) -> Part:
        if len(replies.listing(reply)) != 3 + len(ranges):
            raise WrongShape("expected the reply to a question for ranks, got another list")
        low, high, total, *spans = reply
        found = Bounds(replies.text(low), replies.text(high))
        return Part(found, replies.number(total), tuple(map(_span, spans)))

    numbers = [number for ranks in ranges for number in ranks]
    arguments: tuple[Argument, ...] = (bounds.low, bounds.high, int(bounds.from_now), *numbers)
    return script_command(scripts.PART, (index,), arguments, read)


def _span(reply: Any) -> Span:
    first, step, members = replies.listing(reply, 3)
    pairs = tuple(
        (replies.raw(name), replies.real(score)) for name, score in replies.pairs(members)
    )
    return Span(replies.number(first), replies.number(step, 1), pairs)


def unlist(
    keyspace: Keyspace, index: str, members: Sequence[tuple[bytes, float]]
) -> list[Command[int]]:
    """
    Remove ``members`` from ``index``, and from those of all sessions that belong to it.

    A member that has been listed for longer since then stays. ``members``: with their scores.
    """
    whole = index.removesuffix(":signed-in").removesuffix(":anonymous")
    together: list[tuple[str, ...]]
    together = [(whole, f"{whole}:signed-in", f"{whole}:anonymous")]
    if index.startswith(keyspace.users):
        together = [(index,)]
    elif whole == keyspace.index:
        together = [(name,) for name in together[0]]  # in different slots
    size = BATCH_SIZE - 3
    return [
        script_command(scripts.UNLIST, names, _flat(members[at : at + size]), replies.number)
        for at in range(0, len(members), size)
        for names in together
    ]


def scan(index: str, cursor: int) -> Command[tuple[int, list[tuple[bytes, float]]]]:
    """
    Look at the next members, about `BATCH_SIZE`. Returns the cursor to go on from, 0 at the end.

    A member that stays from the first call to the last one is found, maybe more than once.
    """

    def read(reply: Any) -> tuple[int, list[tuple[bytes, float]]]:
        following, found = replies.listing(reply, 2)
        pairs = [(replies.raw(name), replies.real(score)) for name, score in replies.pairs(found)]
        return replies.decimal(following, most=LAST_CURSOR), pairs

    return Command(("ZSCAN", index, cursor, "COUNT", BATCH_SIZE), read)


def remove(index: str) -> Command[int]:
    """Remove a whole index. Returns 1; 0 if there was none."""
    return Command(("UNLINK", index), replies.number)


def _flat(members: Sequence[tuple[bytes, float]]) -> tuple[Argument, ...]:
    return tuple(word for name, score in members for word in (name, repr(score)))


def _text(seconds: float) -> str:
    return ("+inf" if seconds > 0 else "-inf") if abs(seconds) == inf else repr(seconds)
