"""
Pages of sessions whose indexes are in different slots of a Cluster.

There, no script sees an index and a session. So the registry asks all indexes at once, merges the
answers, and then reads the sessions in a round of their own. A list of commands is one round of
parallel trips.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import chain
from math import inf
from operator import attrgetter
from typing import Any, cast

from sessions_redis.clients import Steps
from sessions_redis.registry import trimming
from sessions_redis.registry.live_sessions import LiveSession, answered, asking, read
from sessions_redis.registry.positions import Listed, Row, Rows, first_look, located
from sessions_redis.registry.selections import Selection
from sessions_redis.storage import listings, parts, replies
from sessions_redis.storage.across_slots import writing
from sessions_redis.storage.keyspaces import Keyspace
from sessions_redis.storage.listings import BATCH_SIZE, MARGIN, Page, is_id
from sessions_redis.storage.parts import Ranks, from_now
from sessions_redis.storage.steps import Command

# So many more members than those of the page are read, in case that some are dead; and so many are
# known by name, in case that many are.
SPARE, MOST_SPARE = 25, 100

# The most times that a page is read again, after dead members were removed.
REREADS = 50


@dataclass
class Members:
    """What is known of some members of indexes. ``live``: the sessions that were found."""

    keyspace: Keyspace
    live: dict[bytes, LiveSession] = field(default_factory=dict)
    looked_at: set[bytes] = field(default_factory=set)
    removed: set[Row] = field(default_factory=set)

    def reading(self, rows: Rows) -> list[Command[Any]]:
        return asking(self.keyspace, _ids(rows))

    def read(self, rows: Rows, answers: Sequence[Any]) -> None:
        found = answered(self.keyspace, _ids(rows), answers)
        self.live |= {session.id.encode(): session for session in found}
        self.looked_at |= {member.name for _, member in rows}

    def is_dead(self, row: Row) -> bool:
        name = row[1].name
        return name in self.looked_at and name not in self.live

    def unknown(self, rows: Rows) -> Rows:
        return [row for row in rows if row[1].name not in self.looked_at]

    def needed(self, rows: Rows, size: int) -> Rows:
        """The first rows, of which ``size`` are live, or may be."""
        places = [at for at, row in enumerate(rows) if not self.is_dead(row)]
        return rows[: places[size - 1] + 1] if len(places) >= size else rows

    def sessions(self, rows: Rows) -> list[LiveSession]:
        return [self.live[member.name] for _, member in rows if member.name in self.live]


def _ids(rows: Rows) -> list[str]:
    texts = dict.fromkeys(replies.text(member.name) for _, member in rows)
    return [text for text in texts if is_id(text)]


def page(
    keyspace: Keyspace, selection: Selection, start: int, stop: int
) -> Steps[tuple[int, list[LiveSession]]]:
    """
    Live sessions from the position ``start`` on, and the total.

    If some members are dead, later ones take their places, and the dead ones leave the indexes of
    all sessions. The first and the last pages take two rounds, or three if up to `SPARE` members
    are dead, or the selection limits the time left. One more if an index has most of the page.
    """
    size, spare = stop - start, MOST_SPARE
    for attempt in range(1 + REREADS):
        known, first = Members(keyspace), size + (spare if attempt else SPARE)
        listed = yield from _listed(known, selection, start, stop + spare, first)
        yield from _completed(known, selection, listed.rows, size)
        found = known.sessions(listed.rows)[:size]
        if len(found) == size or len(listed.rows) < size + spare or not known.removed:
            break
        # So many are dead that more are looked at, and all together.
        spare = max(min(4 * spare, BATCH_SIZE - stop), MOST_SPARE)
    rows = [*{session.id: session for session in found}.values()]
    if listed.is_wide:
        latest = datetime.fromtimestamp(listed.now + selection.longest, UTC)
        rows = [session for session in rows if session.expires <= latest]
    rows.sort(key=attrgetter("expires"), reverse=selection.latest_first)
    return listed.total, rows


def _listed(
    known: Members, selection: Selection, start: int, stop: int, first: int
) -> Steps[Listed]:
    """
    The members of a page, and some more. Reads the ``first`` ones.

    A filter by expiry has to look at sessions to find out which members match. In the same round,
    this reads those that are likely to be among the first ones.
    """
    look = yield from first_look(known.keyspace, selection, start, stop)
    likely, late = look.likely(first) if look.late else [], look.look_at_late(known.keyspace)
    answers = (yield [*late, *known.reading(likely)]) if look.late else []
    known.read(likely, answers[len(late) :])
    listed = yield from located(look, look.fitting(answers[: len(late)]))
    if not likely:
        rows = listed.rows[:first]
        known.read(rows, (yield known.reading(rows)))
    return listed


def _completed(known: Members, selection: Selection, rows: Rows, size: int) -> Steps[None]:
    """Remove the dead members of a page from their indexes, and read what is missing."""
    while True:
        needed = known.needed(rows, size)
        dead = [row for row in needed if known.is_dead(row) and row not in known.removed]
        if selection.users is not None:
            # An index of a user must not lose a session that is created very late.
            dead = [row for row in dead if not is_id(replies.text(row[1].name))]
        unknown = known.unknown(needed)
        if unknown and len(needed) > size:
            unknown = known.unknown(rows)[: len(unknown) + SPARE]
        if not dead and not unknown:
            return
        yield from _tidied(known, unknown, dead)


def _tidied(known: Members, unknown: Rows, dead: Rows) -> Steps[None]:
    """
    Remove dead members, look at them once more, and read unknown ones, in one round.

    A session is listed before it is created. So a member without a session may be about to have
    one, and the indexes of all sessions lose it here. If the second look finds it, this lists it
    again. If it is created after that look, as by a request that has taken longer than two rounds
    since it listed it, it is missing there until its next note. Nothing but lists and counts of all
    sessions notices: this leaves it in the index of its user, which is what ``end_all_of`` reads.
    The order of the answers does not matter: what the look finds is listed again after the removal.
    If this process dies between the two, the session is missing until its next note as well.
    """
    keyspace, ids, both = known.keyspace, _ids(dead), [*unknown, *dead]
    reading, looks = known.reading(both), writing.looks(keyspace, ids)
    answers = yield [*reading, *looks, *_removals(keyspace, dead)]
    known.read(both, answers[: len(reading)])
    known.removed.update(dead)
    alive = writing.to_list(ids, answers[len(reading) : len(reading) + len(looks)])
    if alive:
        yield from writing.relist(keyspace, alive)


def _removals(keyspace: Keyspace, dead: Rows) -> list[Command[int]]:
    leaving: dict[str, list[tuple[bytes, float]]] = {}
    for name, member in dead:
        leaving.setdefault(name, []).append((member.name, member.score))
    return [
        command for name, some in leaving.items() for command in parts.unlist(keyspace, name, some)
    ]


def of_users(
    keyspace: Keyspace, names: Sequence[str], start: int, stop: int, selection: Selection
) -> Steps[list[LiveSession]]:
    """
    Sessions of users in one order: two rounds, and one more for each further thousand of members.

    Dead members stay in the index of a user until long after their time. So this reads the sessions
    from the first one on, up to ``stop`` and a thousand more. They say where the page begins.
    """
    if not names:
        return []
    most = stop + BATCH_SIZE
    ranks = Ranks(-most, -1, most) if selection.latest_first else Ranks(0, most - 1, most)
    bounds = from_now(0, selection.longest + 2 * MARGIN)
    answers: list[parts.Part] = []
    for at in range(0, len(names), BATCH_SIZE):
        answers += yield [parts.part(name, bounds, ranks) for name in names[at : at + BATCH_SIZE]]
    # A session that changed its user may be in two of them.
    scores = dict(chain(*(part.spans[0].members for part in answers)))
    ranked = sorted(scores, key=lambda name: scores[name], reverse=selection.latest_first)[:most]
    found = yield from read(keyspace, [*filter(is_id, map(replies.text, ranked))])
    found.sort(key=attrgetter("expires"), reverse=selection.latest_first)
    if selection.within is not None:
        now = float(answers[0].bounds.low)
        latest = datetime.fromtimestamp(now + selection.within, UTC)
        found = [session for session in found if session.expires <= latest]
    return found[start:stop]


def of_user(
    keyspace: Keyspace, index: str, start: int, *, trims: bool
) -> Steps[tuple[Page, list[LiveSession]]]:
    """
    A thousand members of a user's index, those that expire last first, and their live sessions.

    ``trims``: also removes members that expired long ago.
    """
    page, *expired = yield [
        _of_user(index, start, start + BATCH_SIZE),
        *([trimming.expired(index)] if trims else []),
    ]
    old = [member for part in expired for member in part.spans[0].members]
    reading, looks = asking(keyspace, page.ids), trimming.looks(keyspace, old)
    answers = yield [*reading, *looks]
    dead = trimming.without_session(old, answers[len(reading) :])
    yield parts.unlist(keyspace, index, dead)
    return page, answered(keyspace, page.ids, answers[: len(reading)])


def _of_user(index: str, start: int, stop: int) -> Command[Page]:
    asked = parts.part(index, from_now(0, inf), Ranks(-stop, -start - 1))

    def read(reply: Any) -> Page:
        found = asked.read(reply)
        names = [name for name, _ in found.spans[0].members]
        return Page.of(found.total, names[::-1])

    return cast("Command[listings.Page]", asked._replace(read=cast("Any", read)))
