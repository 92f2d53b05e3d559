"""
The members at given positions of all indexes of a Cluster, as if these were one list.

First, each index says how many members match, and some of them. These are enough for the first and
the last positions. For others, samples of each index narrow down where the position is.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from math import inf

from sessions_redis.clients import Steps
from sessions_redis.registry.indexes import of_selection
from sessions_redis.registry.selections import Selection
from sessions_redis.storage import listings, parts, replies, shard_counts, shards
from sessions_redis.storage.keyspaces import Keyspace
from sessions_redis.storage.listings import BATCH_SIZE, MARGIN, is_id
from sessions_redis.storage.parts import Bounds, Part, Ranks, Span, from_now
from sessions_redis.storage.shards import Member, Window
from sessions_redis.storage.steps import Command

# To find a page far down, each index says the scores of so many of its members in each round. Two
# rounds are enough for 160 million sessions.
SAMPLES = 256

# So many rounds at most, until the indexes return members around the page: up to so many together.
ROUNDS, FETCHED = 3, 10_000

# A member, with the name of its index.
Row = tuple[str, Member]
Rows = list[Row]


@dataclass(frozen=True, slots=True)
class Listed:
    """
    ``total``: how many members match. ``rows``: the requested ones, with their indexes' names.

    ``now``: in epoch seconds. ``is_wide``: some of the rows may have more time left than asked.
    """

    total: int
    rows: Rows
    now: float
    is_wide: bool = False


@dataclass(frozen=True)
class FirstLook:
    """What the indexes say first about the positions from ``start`` up to ``stop``."""

    selection: Selection
    start: int
    stop: int
    answers: dict[str, list[Part]]

    @property
    def parts(self) -> list[Part]:
        return [answer[0] for answer in self.answers.values()]

    @property
    def _late_parts(self) -> list[Part]:
        is_limited = self.selection.within is not None
        return [answer[1] for answer in self.answers.values()] if is_limited else []

    @cached_property
    def late_total(self) -> int:
        """
        How many members are listed for a little longer than the selection asks.

        Their sessions may match: an index lists a session for up to two margins longer than it
        lives. If there are more than a thousand of them, all count, and none is looked at.
        """
        return sum(part.total for part in self._late_parts)

    @property
    def is_wide(self) -> bool:
        return self.late_total > BATCH_SIZE

    @cached_property
    def late(self) -> list[Member]:
        """Those of them to look at, in order."""
        if not self.late_total or self.is_wide:
            return []
        spans = [part.spans[0] for part in self._late_parts]
        totals = [part.total for part in self._late_parts]
        members, _ = shards.between(spans, totals, 0, self.late_total)
        return [one for one in members if is_id(replies.text(one.name))]

    def look_at_late(self, keyspace: Keyspace) -> list[Command[float]]:
        return [listings.ttl(keyspace, replies.text(one.name)) for one in self.late]

    def fitting(self, left: Sequence[float]) -> list[Member]:
        """Those of the late members whose sessions match. ``left``: the answers about them."""
        most = self.selection.longest
        return [one for one, ttl in zip(self.late, left, strict=True) if 0 < ttl <= most]

    def likely(self, size: int) -> Rows:
        """
        Members that can be among the first ``size`` ones, before it is known which late ones fit.

        None if the position is far down.
        """
        total = sum(part.total for part in self.parts)
        first, last = self.start, self.start + size
        if self.selection.latest_first:
            first, last = total - last, total - max(first - len(self.late), 0)
        spans, totals = [part.spans[0] for part in self.parts], [p.total for p in self.parts]
        found, is_sure = shards.between(spans, totals, max(first, 0), max(min(last, total), 0))
        return self.named(found) if is_sure else []

    def named(self, members: Sequence[Member]) -> Rows:
        names = [*self.answers]
        return [(names[member.part], member) for member in members]


def _asked(name: str, selection: Selection, *ranges: Ranks) -> list[Command[Part]]:
    within = selection.longest
    first = parts.part(name, from_now(0, within), *ranges)
    if within == inf:
        return [first]
    return [first, parts.part(name, from_now(within, within + 2 * MARGIN), Ranks(0, BATCH_SIZE))]


def count(keyspace: Keyspace, selection: Selection) -> Steps[int]:
    if selection.within is None:
        answers = yield from of_selection(
            keyspace, selection, lambda name: [listings.count([name], (0, inf))]
        )
        return sum(int(counts[0][0]) for (counts,) in answers.values())
    answers = yield from of_selection(keyspace, selection, lambda name: _asked(name, selection))
    look = FirstLook(selection, 0, 0, answers)
    late = look.late_total if look.is_wide else 0
    if look.late:
        late = len(look.fitting((yield look.look_at_late(keyspace))))
    return late + sum(part.total for part in look.parts)


def first_look(keyspace: Keyspace, selection: Selection, start: int, stop: int) -> Steps[FirstLook]:
    """One round. It suffices for the first and the last positions, if no index has most of them."""
    is_deep = stop > BATCH_SIZE
    size = stop - start if is_deep else stop
    is_at_end = selection.latest_first != is_deep

    def ask(name: str) -> list[Command[Part]]:
        share = _share(keyspace, name, size)
        near = Ranks.at_end(share) if is_at_end else Ranks.at_start(share)
        return _asked(name, selection, near, *([Ranks(0, -1, SAMPLES)] if is_deep else []))

    return FirstLook(selection, start, stop, (yield from of_selection(keyspace, selection, ask)))


def _share(keyspace: Keyspace, name: str, size: int) -> int:
    """How many of ``size`` members this index returns. Each shard has about as many of them."""
    if not name.startswith(f"{keyspace.index}:{{"):
        return min(size, BATCH_SIZE)
    shards_in_use = min([keyspace.shards, *shard_counts.last_in_use(keyspace)])
    return min(2 * size // shards_in_use + 32, size, BATCH_SIZE)


def members(keyspace: Keyspace, selection: Selection, start: int, stop: int) -> Steps[Listed]:
    """
    The members from ``start`` up to, but not including, ``stop``, of all indexes of ``selection``.

    One round for the first and for the last ones, or two if an index has many of them; up to four
    for others. One more if the selection limits the time left.
    """
    look = yield from first_look(keyspace, selection, start, stop)
    left = (yield look.look_at_late(keyspace)) if look.late else []
    return (yield from located(look, look.fitting(left)))


def located(look: FirstLook, late: Sequence[Member]) -> Steps[Listed]:
    """
    The members at the positions, from what is known: no round for the first and the last ones.

    ``late``: the late members that fit.
    """
    totals = [part.total for part in look.parts]
    bounds = [part.bounds for part in look.parts]
    if look.is_wide:
        both = [*look.answers.values()]
        totals = [first.total + late.total for first, late in both]
        bounds = [Bounds(first.bounds.low, late.bounds.high) for first, late in both]
    before = sum(totals)
    total = before + len(late)
    first, last = look.start, min(look.stop, total)
    if look.selection.latest_first:
        first, last = max(total - look.stop, 0), max(total - look.start, 0)
    asked = [*zip(look.answers, bounds, totals, strict=True)]
    found = yield from _from_parts(look.parts, asked, first, min(last, before))
    found += late[max(first - before, 0) : max(last - before, 0)]
    rows = look.named(found)
    now = float(look.parts[0].bounds.low)
    return Listed(total, rows[::-1] if look.selection.latest_first else rows, now, look.is_wide)


# The name of an index, the scores of the members that match, and how many these are.
Asked = tuple[str, Bounds, int]


def _from_parts(
    answers: Sequence[Part], asked: Sequence[Asked], first: int, last: int
) -> Steps[list[Member]]:
    """The members at the positions from ``first`` up to ``last``, if ``answers`` lack them."""
    totals = [total for _, _, total in asked]
    found, is_sure = shards.between([part.spans[0] for part in answers], totals, first, last)
    if is_sure:
        return found
    size = last - first
    samples = [part.spans[1:] for part in answers]
    windows = [Window(0, total) for total in totals]
    if not all(samples):
        # Near one end: so many members of each index are enough.
        near = [(max(total - (sum(totals) - first), 0), min(last, total)) for total in totals]
        return (yield from _fetched(asked, near, first, last))
    if len(asked) == 1:
        windows = [Window(first, first)]
    spans: list[Span] = [span for (span,) in samples]
    for _ in range(ROUNDS):
        windows = shards.narrowed(windows, spans, first)
        if sum(most - least for least, most in windows) <= FETCHED:
            break
        parts_of = yield [
            parts.part(name, bounds, Ranks(least, most - 1, SAMPLES))
            for (name, bounds, _), (least, most) in zip(asked, windows, strict=True)
        ]
        spans = [part.spans[0] for part in parts_of]
    wanted = [
        (least, min(most + size, total))
        for (least, most), total in zip(windows, totals, strict=True)
    ]
    return (yield from _fetched(asked, wanted, first, last))


def _fetched(
    asked: Sequence[Asked], wanted: Sequence[tuple[int, int]], first: int, last: int
) -> Steps[list[Member]]:
    answers = yield [
        parts.part(name, bounds, Ranks(at, min(high, at + BATCH_SIZE) - 1))
        for (name, bounds, _), (low, high) in zip(asked, wanted, strict=True)
        for at in range(low, high, BATCH_SIZE)
    ]
    spans = []
    for low, high in wanted:
        some = [answers.pop(0).spans[0].members for _ in range(low, high, BATCH_SIZE)]
        spans.append(Span(low, 1, tuple(chain(*some))))
    found, _ = shards.between(spans, [total for _, _, total in asked], first, last)
    return found
