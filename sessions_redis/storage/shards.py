"""
One list of sessions from several indexes, which list a part of them each. Pure, as `commands`.

Members are in the order of their scores. Of equal scores, those of the first part come first, in
the order that they have there. So each member has one position, and no page lacks or repeats one.
"""

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple

from sessions_redis.storage.parts import Span


class Member(NamedTuple):
    """``part``: the number of the index that the member is in. ``rank``: its rank there."""

    score: float
    part: int
    rank: int
    name: bytes


class Window(NamedTuple):
    """Of a part, at least ``least`` and at most ``most`` members are before a position."""

    least: int
    most: int


def between(
    spans: Sequence[Span], totals: Sequence[int], start: int, stop: int
) -> tuple[list[Member], bool]:
    """
    The members from the position ``start`` up to, but not including, ``stop``.

    ``spans``: what is known of each part, without gaps. ``totals``: how many members each part has.
    Also returns whether that is sure: whether no member that is not known can be among them.
    """
    if start >= stop:
        return [], True
    before = sum(span.first for span in spans)
    known = sorted(member for number, span in enumerate(spans) for member in _members(number, span))
    found = known[max(start - before, 0) : max(stop - before, 0)]
    if len(found) != stop - start:
        return found, False
    return found, all(
        _is_enough(number, span, total, found)
        for number, (span, total) in enumerate(zip(spans, totals, strict=True))
    )


def _is_enough(number: int, span: Span, total: int, found: Sequence[Member]) -> bool:
    """Whether members of this part that are not known come before ``found``, or after it."""
    members = [*_members(number, span)]
    ends_before = not span.first or (bool(members) and members[0] <= found[0])
    return ends_before and (span.end >= total or (bool(members) and members[-1] >= found[-1]))


def narrowed(windows: Sequence[Window], spans: Sequence[Span], position: int) -> list[Window]:
    """
    Narrow the ``windows`` by some members of each part, from within its window.

    The members of all parts before ``position`` are the first ones of each part. A window says how
    many these can be.
    """
    least = [window.least for window in windows]
    most = [window.most for window in windows]
    # How many members of each part are before the member at hand: at least and at most.
    low, high = list(least), list(most)
    points = [[*_members(number, span)] for number, span in enumerate(spans)]
    after: dict[tuple[int, int], int] = {}
    for number, members in enumerate(points):
        for one, next_one in pairwise(members):
            after[number, one.rank] = next_one.rank
        if members:
            high[number] = members[0].rank
    at_least, at_most = sum(low), sum(high)
    for member in sorted(member for members in points for member in members):
        number, rank = member.part, member.rank
        if at_most < position:
            least[number] = max(least[number], rank + 1)
        elif at_least - low[number] + rank >= position:
            most[number] = min(most[number], rank)
        following = after.get((number, rank), windows[number].most)
        at_least += rank + 1 - low[number]
        at_most += following - high[number]
        low[number], high[number] = rank + 1, following
    # While others write, members move between two questions: then a window can be empty.
    return [Window(a, max(a, b)) for a, b in zip(least, most, strict=True)]


def _members(number: int, span: Span) -> Iterator[Member]:
    for place, (name, score) in enumerate(span.members):
        yield Member(score, number, span.first + place * span.step, name)
