"""
Lists of sessions whose indexes are in different slots of a Cluster.

There, no script sees an index and a session. So the registry asks all indexes at once, merges the
answers, and then reads the sessions in a round of their own. A list of commands is one round of
parallel trips.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import chain
from math import inf
from operator import attrgetter
from typing import Any, cast

from sessions_redis.clients import Steps
from sessions_redis.registry.live_sessions import LiveSession, read
from sessions_redis.registry.selections import Selection, indexes_of
from sessions_redis.storage import commands, listings, parts, replies, shard_counts, shards
from sessions_redis.storage.keyspaces import Keyspace
from sessions_redis.storage.listings import BATCH_SIZE, MARGIN, is_id
from sessions_redis.storage.parts import Bounds, Part, Ranks, Span, from_now
from sessions_redis.storage.shards import Member, Window
from sessions_redis.storage.steps import Command

# To find a page far down, each index says the scores of so many of its members in each round.
SAMPLES = 128

# So many rounds at most, until the indexes return members around the page: up to so many together.
ROUNDS, FETCHED = 3, 10_000

# How many more members than those of the page are looked at, in case that some are dead.
SPARE = 25

# How many expired members of each index are looked at in each round.
TRIMMED = 100

# The most times that a page is read again, after dead members were removed.
REREADS = 50


@dataclass(frozen=True, slots=True)
class Listed:
    """
    ``total``: how many members match. ``rows``: the requested ones, with their indexes' names.

    ``now``: in epoch seconds. ``is_wide``: some of the rows may have more time left than asked.
    """

    total: int
    rows: tuple[tuple[str, Member], ...]
    now: float
    is_wide: bool = False


def of_each(
    keyspace: Keyspace, half: str, ask: Callable[[str], Sequence[Command[Any]]]
) -> Steps[dict[str, list[Any]]]:
    """
    Ask each index of all sessions, and return the answers by its name. ``half``: its name's end.

    One round. If other numbers of shards were in use, and are not removed yet, one more.
    """
    wanted = [f"{name}{half}" for name in shard_counts.indexes(keyspace)]
    counts, *answers = yield [
        shard_counts.in_use(keyspace),
        *(command for name in wanted for command in ask(name)),
    ]
    known = {f"{name}{half}": None for name in shard_counts.indexes(keyspace, counts)}
    former = [name for name in known if name not in wanted]
    if former:
        answers += yield [command for name in former for command in ask(name)]
    size = len(answers) // len(known)
    return {
        name: answers[at * size : (at + 1) * size] for at, name in enumerate([*wanted, *former])
    }


def ask_indexes(
    keyspace: Keyspace, selection: Selection, ask: Callable[[str], Sequence[Command[Any]]]
) -> Steps[dict[str, list[Any]]]:
    """As `of_each`, for the indexes of a selection: those of users, or those of all sessions."""
    if selection.users is None:
        half = {None: "", True: ":signed-in", False: ":anonymous"}[selection.signed_in]
        return (yield from of_each(keyspace, half, ask))
    answers: dict[str, list[Any]] = {}
    names = indexes_of(keyspace, selection)
    for start in range(0, len(names), BATCH_SIZE):
        some = names[start : start + BATCH_SIZE]
        found = yield [command for name in some for command in ask(name)]
        size = len(found) // len(some)
        answers |= {name: found[at * size : (at + 1) * size] for at, name in enumerate(some)}
    return answers


def count(keyspace: Keyspace, selection: Selection) -> Steps[int]:
    if selection.within is None:
        answers = yield from ask_indexes(
            keyspace, selection, lambda name: [listings.count([name], (0, inf))]
        )
        return sum(int(counts[0][0]) for (counts,) in answers.values())
    found = yield from ask_indexes(keyspace, selection, lambda name: _asked(name, selection))
    _, late = yield from _late(keyspace, selection, [*found.values()])
    return late + sum(int(answer[0].total) for answer in found.values())


def by_time_left(keyspace: Keyspace, bounds: Sequence[float]) -> Steps[tuple[list[int], list[int]]]:
    answers = yield from of_each(
        keyspace,
        "",
        lambda name: [
            listings.count([f"{name}{half}"], bounds) for half in (":signed-in", ":anonymous")
        ],
    )
    signed_in, anonymous = zip(*answers.values(), strict=True)
    return _sums(signed_in), _sums(anonymous)


def _sums(counts: Sequence[list[list[int]]]) -> list[int]:
    return [sum(numbers) for numbers in zip(*(row for (row,) in counts), strict=True)]


def _asked(name: str, selection: Selection, *ranges: Ranks) -> list[Command[Part]]:
    """
    What is asked of an index first: its members, and those that may match although listed longer.

    An index lists a session for up to two margins longer than it lives.
    """
    within = selection.longest
    first = parts.part(name, from_now(0, within), *ranges)
    if within == inf:
        return [first]
    return [first, parts.part(name, from_now(within, within + 2 * MARGIN), Ranks(0, BATCH_SIZE))]


def _late(
    keyspace: Keyspace, selection: Selection, answers: Sequence[list[Part]]
) -> Steps[tuple[list[Member], int]]:
    """
    Those of the members that are listed for longer whose sessions match, and how many match.

    If there are more than a thousand of them, all count, and none is returned.
    """
    if selection.within is None:
        return [], 0
    late = [answer[1] for answer in answers]
    total = sum(part.total for part in late)
    if not 0 < total <= BATCH_SIZE:
        return [], total
    members, _ = shards.between([part.spans[0] for part in late], [p.total for p in late], 0, total)
    ids = [replies.text(member.name) for member in members]
    named = [(id, one) for id, one in zip(ids, members, strict=True) if is_id(id)]
    left = yield [listings.ttl(keyspace, id) for id, _ in named]
    most = selection.within
    fitting = [one for (_, one), ttl in zip(named, left, strict=True) if 0 < ttl <= most]
    return fitting, len(fitting)


def members(keyspace: Keyspace, selection: Selection, start: int, stop: int) -> Steps[Listed]:
    """
    The members from ``start`` up to, but not including, ``stop``, of all indexes of ``selection``.

    One round for the first and for the last ones, or two if an index has many of them; up to four
    for others. One more if the selection limits the time left.
    """
    is_deep = stop > BATCH_SIZE
    size = stop - start if is_deep else stop
    share = min(2 * size // keyspace.shards + 32, size, BATCH_SIZE)
    near, far = Ranks.at_start(share), Ranks.at_end(share)
    if selection.latest_first:
        near, far = far, near
    ranges = [far, Ranks(0, -1, SAMPLES)] if is_deep else [near]
    found = yield from ask_indexes(
        keyspace, selection, lambda name: _asked(name, selection, *ranges)
    )
    answers = [*found.values()]
    late, more = yield from _late(keyspace, selection, answers)
    of_parts = [answer[0] for answer in answers]
    is_wide = more > len(late)
    totals = [part.total for part in of_parts]
    bounds = [part.bounds for part in of_parts]
    if is_wide:
        totals = [total + answer[1].total for total, answer in zip(totals, answers, strict=True)]
        bounds = [
            Bounds(one.low, answer[1].bounds.high)
            for one, answer in zip(bounds, answers, strict=True)
        ]
    before = sum(totals)
    total = before + len(late)
    first, last = max(total - stop, 0), max(total - start, 0)
    if not selection.latest_first:
        first, last = start, min(stop, total)
    asked = [*zip(found, bounds, totals, strict=True)]
    rows = yield from _from_parts(of_parts, asked, first, min(last, before))
    rows += late[max(first - before, 0) : max(last - before, 0)]
    names = [*found]
    listed = [(names[member.part], member) for member in rows]
    now = float(of_parts[0].bounds.low) if of_parts else 0
    return Listed(total, tuple(listed[::-1] if selection.latest_first else listed), now, is_wide)


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


def page(
    keyspace: Keyspace, selection: Selection, start: int, stop: int
) -> Steps[tuple[int, list[LiveSession]]]:
    """
    Live sessions from the position ``start`` on, and the total.

    If some members are dead, later ones take their places, and the dead ones leave the indexes of
    all sessions.
    """
    size = stop - start
    for _ in range(1 + REREADS):
        listed = yield from members(keyspace, selection, start, stop + SPARE)
        live = yield from _read(keyspace, listed.rows[:size])
        dead = _dead(listed.rows[:size], live)
        if dead:
            removed = yield from _tidied(keyspace, selection, listed, dead, live, size)
            is_full = len(live) >= size or len(listed.rows) < size + SPARE
            if not is_full and removed:
                continue
        break
    rows = [live[member.name] for _, member in listed.rows if member.name in live][:size]
    rows = [*{session.id: session for session in rows}.values()]
    if listed.is_wide:
        latest = datetime.fromtimestamp(listed.now + selection.longest, UTC)
        rows = [session for session in rows if session.expires <= latest]
    rows.sort(key=attrgetter("expires"), reverse=selection.latest_first)
    return listed.total, rows


Rows = Sequence[tuple[str, Member]]


def _dead(rows: Rows, live: dict[bytes, LiveSession]) -> list[tuple[str, Member]]:
    return [(name, member) for name, member in rows if member.name not in live]


def _read(keyspace: Keyspace, rows: Rows) -> Steps[dict[bytes, LiveSession]]:
    """The live sessions by their members."""
    texts = dict.fromkeys(replies.text(member.name) for _, member in rows)
    found = yield from read(keyspace, [text for text in texts if is_id(text)])
    return {session.id.encode(): session for session in found}


def _tidied(
    keyspace: Keyspace,
    selection: Selection,
    listed: Listed,
    dead: list[tuple[str, Member]],
    live: dict[bytes, LiveSession],
    size: int,
) -> Steps[bool]:
    """
    Add what was read instead of dead members to ``live``, and remove these from their indexes.

    A session is listed before it is created, so a member without one may be about to have one. This
    looks at it a second time before it removes the member. It never removes it from the index of a
    user, which must not lose a session that is created very late.
    """
    live |= yield from _read(keyspace, [*dead, *listed.rows[size:]])
    gone = _dead(dead, live)
    if selection.users is not None:
        gone = [(name, one) for name, one in gone if not is_id(replies.text(one.name))]
    leaving: dict[str, list[tuple[bytes, float]]] = {}
    for name, member in gone:
        leaving.setdefault(name, []).append((member.name, member.score))
    if leaving:
        yield [
            command
            for name, some in leaving.items()
            for command in parts.unlist(keyspace, name, some)
        ]
    return bool(leaving)


def starting_with(keyspace: Keyspace, digits: str, most: int) -> Steps[tuple[list[str], bool]]:
    """
    The listed ids that start with ``digits``, and whether all members were looked at.

    Looks at about a thousand members of each index in each round, at ``most`` in all.
    """
    answers = yield from of_each(
        keyspace, "", lambda name: [listings.starting_with(name, digits, 0)]
    )
    found = {name: answer for name, (answer,) in answers.items()}
    ids, looked_at = dict[str, None](), 0
    while True:
        ids |= dict.fromkeys(id for _, some in found.values() for id in some)
        looked_at += BATCH_SIZE * len(found)
        cursors = {name: cursor for name, (cursor, _) in found.items() if cursor}
        if not cursors or looked_at >= most:
            return [*ids], not cursors
        more = yield [listings.starting_with(name, digits, at) for name, at in cursors.items()]
        found = dict(zip(cursors, more, strict=True))


def counted(keyspace: Keyspace, bounds: Sequence[float]) -> Steps[dict[str, list[list[int]]]]:
    """For each index of all sessions: the counts of all, of signed-in and of anonymous sessions."""
    halves = ("", ":signed-in", ":anonymous")
    answers = yield from of_each(
        keyspace, "", lambda name: [listings.count([f"{name}{half}"], bounds) for half in halves]
    )
    return {name: [row for (row,) in rows] for name, rows in answers.items()}


def sample(sizes: dict[str, int]) -> Steps[tuple[float, list[Any]]]:
    """The time, and so many members of each index, with the times until which it lists them."""
    now, *samples = yield [
        listings.now(),
        *(listings.sample(name, size) for name, size in sizes.items() if size),
    ]
    return now, [member for some in samples for member in some]


def user_page(index: str, start: int, stop: int) -> Command[listings.Page]:
    """The members of a user's index from ``start`` up to ``stop``, those that expire last first."""
    asked = parts.part(index, from_now(0, inf), Ranks(-stop, -start - 1))

    def read(reply: Any) -> listings.Page:
        found = asked.read(reply)
        names = [name for name, _ in found.spans[0].members]
        return listings.Page.of(found.total, names[::-1])

    return cast("Command[listings.Page]", asked._replace(read=cast("Any", read)))


def trim(keyspace: Keyspace, names: Sequence[str]) -> Steps[int]:
    """
    Remove members that expired ten minutes ago, and have no session, from each of these indexes.

    Looks at a bounded number in each step: first at the members, then at their sessions.
    """
    kept, removed = dict.fromkeys(names, 0), 0
    while kept:
        answers = yield [
            parts.part(name, from_now(-inf, -parts.GRACE), Ranks(at, at + TRIMMED - 1))
            for name, at in kept.items()
        ]
        found = {name: answer.spans[0].members for name, answer in zip(kept, answers, strict=True)}
        kept = {name: kept[name] for name, some in found.items() if some}
        texts = [replies.text(one) for some in found.values() for one, _ in some]
        ids = [*dict.fromkeys(filter(is_id, texts))]
        exist = yield [commands.exists(keyspace, id) for id in ids]
        live = {id for id, exists in zip(ids, exist, strict=True) if exists}
        asked: list[Command[int]] = []
        for name in kept:
            dead = [one for one in found[name] if replies.text(one[0]) not in live]
            kept[name] += len(found[name]) - len(dead)
            asked += parts.unlist(keyspace, name, dead)
        removed += sum((yield asked))
    return removed
