"""
The commands that read indexes, and those for many sessions at once. Pure, as `commands`.

An index lists a session for a little longer than it lives. This margin is 1/32 of its lifetime when
it was listed, at most `MARGIN` seconds. A save moves that time if it is too early, or more than two
margins too late.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import inf
from typing import Any

from sessions_redis.storage import replies, scripts
from sessions_redis.storage.commands import GONE
from sessions_redis.storage.entries import (
    AGENT,
    CREATED,
    ENDS,
    IP,
    SEEN,
    UPDATED,
    USER,
    is_moment,
    is_time,
)
from sessions_redis.storage.events import ENDED
from sessions_redis.storage.keyspaces import Keyspace
from sessions_redis.storage.steps import Argument, Command, script_command

# `margins.lua` has the same.
MARGIN_PART, MARGIN = 32, 600

# A bound below any expired member, however long ago it expired: no time is before 1970.
EVER = -1e10

# The last second of the year 9999: Python has no later dates.
LATEST = 253_402_300_799

# Cursors are unsigned.
LAST_CURSOR = 2**64 - 1

# What PTTL answers for a key without a time to live.
PERSISTENT = -1

# Other clients wait while a script runs, so each works on about a thousand members or keys. Where
# sessions end, are listed or dropped, these are the sessions, the indexes that they are in (three,
# and one for each user), and up to a hundred names that a session to spare had before.
BATCH_SIZE = 1000
END_ALL_BATCH_SIZE = BATCH_SIZE - 4 - 100
END_MANY_BATCH_SIZE = (BATCH_SIZE - 3) // 2
LIST_MANY_BATCH_SIZE = END_MANY_BATCH_SIZE
SWEEP_BATCH_SIZE = BATCH_SIZE - 4

# Bytes of an IP address or a user agent that are read. The middleware writes fewer.
MAX_METADATA_BYTES = 1000


@dataclass(frozen=True, slots=True)
class Page:
    """
    ``total``: how many members match. ``ids``: the requested ones, which may be dead.

    ``strays``: requested members that are not the id of any session.
    """

    total: int
    ids: tuple[str, ...]
    strays: tuple[bytes, ...] = ()

    @classmethod
    def of(cls, total: int, members: Sequence[bytes]) -> "Page":
        texts = [replies.text(member) for member in members]
        strays = (raw for raw, text in zip(members, texts, strict=True) if not is_id(text))
        return cls(total, tuple(filter(is_id, texts)), tuple(strays))

    @property
    def members(self) -> int:
        """How many of the requested members there are."""
        return len(self.ids) + len(self.strays)


@dataclass(frozen=True, slots=True)
class Ended:
    """
    The result of one step: the ids of the sessions that it ended, and their users or ``""``.

    ``spared``: the id that the spared session has now, ``""`` for none. ``more``: whether there may
    be more sessions to end.
    """

    sessions: tuple[tuple[str, str], ...]
    spared: str = ""
    more: bool = False


@dataclass(frozen=True, slots=True)
class Metadata:
    """
    A live session's metadata as stored. Times in epoch seconds; ``None``: not known.

    ``seen``: when it was last noted that the session is in use, 0 if never. ``ends``: when it ends
    even if it is in use, 0 if it does not, or that is not known.
    """

    created: int
    updated: int
    user_pk: str | None
    ip: str | None
    user_agent: str | None
    seen: int = 0
    ends: int = 0


def margin(lifetime: float) -> float:
    """Seconds for which a session is listed longer than it lives, when it was just listed."""
    return min(lifetime / MARGIN_PART, MARGIN)


def is_id(id: str) -> bool:
    """Whether ``id`` has the form of a session's id."""
    return re.fullmatch("[0-9a-f]{32}", id) is not None


def is_start(digits: str) -> bool:
    """Whether ``digits`` can be the start of a session's id, and are enough to search for."""
    return re.fullmatch("[0-9a-f]{6,32}", digits) is not None


def is_short_start(digits: str) -> bool:
    """Whether ``digits`` can be the start of a session's id, but are too few to search for."""
    return re.fullmatch("[0-9a-f]{0,5}", digits) is not None


def page(
    keyspace: Keyspace,
    index: str,
    within: float = inf,
    *,
    start: int,
    stop: int,
    latest_first: bool = True,
    trim: bool = False,
) -> Command[Page]:
    """
    Ids from ``start`` up to, but not including, ``stop``, by rank: a page far down costs no more.

    ``within``: only sessions that expire within this many seconds. If the index lists more than
    1,000 sessions for up to 20 minutes longer than that, the total includes all of these, and a
    page leaves out those that do not match.
    ``trim``: drop some of the members that expired.
    """
    arguments = (
        keyspace.session(""),
        _text(within),
        start,
        stop - start,
        int(latest_first),
        BATCH_SIZE if trim else 0,
    )
    return script_command(scripts.PAGE, (index,), arguments, _page)


def _page(reply: Any) -> Page:
    total, members = replies.listing(reply, 2)
    return Page.of(replies.number(total), [*map(replies.raw, replies.listing(members))])


def sweep(
    keyspace: Keyspace,
    index: str,
    within: float,
    others: Sequence[str],
    *,
    start: int,
    latest_first: bool,
) -> Command[tuple[int, int]]:
    """
    Remove members without a session from ``index`` and the ``others``, from a page's start on.

    Returns how many members it looked at, up to `SWEEP_BATCH_SIZE`, and how many of them had no
    session.
    """

    def read(reply: Any) -> tuple[int, int]:
        looked_at, gone = replies.listing(reply, 2)
        return replies.number(looked_at), replies.number(gone, most=looked_at)

    arguments = (
        keyspace.session(""),
        _text(within),
        start,
        SWEEP_BATCH_SIZE,
        int(latest_first),
    )
    return script_command(scripts.SWEEP, (index, *others), arguments, read)


def first(
    index: str, low: float, high: float, size: int, *, latest_first: bool
) -> Command[list[tuple[bytes, float]]]:
    """The first ``size`` members that are listed until later than ``low`` and up to ``high``."""
    least, most = f"({low:.3f}", _text(high)
    name, *between = (
        ("ZREVRANGEBYSCORE", most, least) if latest_first else ("ZRANGEBYSCORE", least, most)
    )
    return Command((name, index, *between, "WITHSCORES", "LIMIT", 0, size), _pairs)


def starting_with(index: str, digits: str, cursor: int) -> Command[tuple[int, list[str]]]:
    """
    Look at the next members, about `BATCH_SIZE`, for ids that start with ``digits``.

    Returns the cursor to go on from, 0 at the end, and the ids that were found. A member that stays
    in the index from the first call to the last one is found, even if its time changes meanwhile.
    """

    def read(reply: Any) -> tuple[int, list[str]]:
        following, found = replies.listing(reply, 2)
        members = [replies.text(member) for member, _ in _pairs(found)]
        return replies.decimal(following, most=LAST_CURSOR), [*filter(is_id, members)]

    words = ("ZSCAN", index, cursor, "MATCH", f"{digits}*", "COUNT", BATCH_SIZE)
    return Command(words, read)


def count(indexes: Sequence[str], bounds: Sequence[float]) -> Command[list[list[int]]]:
    """For each index, how many members lie between each of the rising bounds and the next."""

    def read(reply: Any) -> list[list[int]]:
        rows, wide = replies.listing(reply, len(indexes)), max(len(bounds) - 1, 0)
        return [[*map(replies.number, replies.listing(row, wide))] for row in rows]

    return script_command(scripts.COUNT, tuple(indexes), tuple(map(_text, bounds)), read)


def drop(
    keyspace: Keyspace, indexes: Sequence[str], members: Iterable[str | bytes]
) -> Command[int]:
    """
    Remove those of ``members`` that are not ids, or whose session is gone: the server checks.

    At most `BATCH_SIZE` members and indexes together.
    """
    arguments = (keyspace.session(""), *members)
    return script_command(scripts.DROP, tuple(indexes), arguments, replies.number)


def trim(index: str) -> Command[int]:
    """Remove some members that have expired; ask again until there are none."""
    return script_command(scripts.TRIM, (index,), (BATCH_SIZE,), replies.number)


def end_all(
    keyspace: Keyspace, user_pk: str, spared_id: str = "", reason: str = ENDED
) -> Command[Ended]:
    """
    End sessions of a user in one step, except one. Ask again while there may be more.

    The spared session is known by the id that it has now, or had before it was cycled.
    """

    def read(reply: Any) -> Ended:
        ids, spared, more = replies.listing(reply, 3)
        ended = tuple((replies.text(id), user_pk) for id in replies.listing(ids))
        return Ended(ended, replies.text(spared), replies.flag(more))

    return script_command(
        scripts.END_ALL,
        (keyspace.user(user_pk), keyspace.index),
        (
            keyspace.session(""), user_pk, spared_id, END_ALL_BATCH_SIZE,
            *keyspace.announcing(reason),
        ),
        read,
        repeatable=False,  # again, it would find nothing
        awaits_replicas=True,
    )  # fmt: skip


def end_many(keyspace: Keyspace, ids: Sequence[str], reason: str = ENDED) -> Command[Ended]:
    """End these sessions, all different and at most `END_MANY_BATCH_SIZE`, in one step."""

    def read(reply: Any) -> Ended:
        ended = ((replies.text(id), replies.text(user)) for id, user in replies.pairs(reply))
        return Ended(tuple(ended))

    indexes, users = ((keyspace.index,), keyspace.users) if keyspace.indexed else ((), "")
    arguments = (keyspace.session(""), users, *keyspace.announcing(reason), *ids)
    return script_command(
        scripts.END_MANY, indexes, arguments, read, repeatable=False, awaits_replicas=True
    )


def list_many(
    keyspace: Keyspace, ids: Sequence[str], *, only_look: bool = False
) -> Command[tuple[int, int]]:
    """
    List those of these sessions, at most `LIST_MANY_BATCH_SIZE`, that an index has lost.

    Returns how many of them there are, and how many were not listed. ``only_look``: writes nothing.
    """

    def read(reply: Any) -> tuple[int, int]:
        live, unlisted = replies.listing(reply, 2)
        return replies.number(live), replies.number(unlisted, most=live)

    arguments: tuple[Argument, ...]
    arguments = (keyspace.session(""), keyspace.users, int(not only_look), *ids)
    return script_command(scripts.LIST_MANY, (keyspace.index,), arguments, read)


def session_ids(keyspace: Keyspace, cursor: int) -> Command[tuple[int, list[str]]]:
    """
    Look at the next keys of the database, about `BATCH_SIZE`, for sessions.

    Returns the cursor to go on from, 0 at the end, and ids. A session that stays from the first
    call to the last one is found, maybe more than once.
    """
    start = keyspace.session("")

    def read(reply: Any) -> tuple[int, list[str]]:
        following, names = replies.listing(reply, 2)
        keys = [replies.text(name) for name in replies.listing(names)]
        ids = [key.removeprefix(start) for key in keys]
        return replies.decimal(following, most=LAST_CURSOR), [*filter(is_id, ids)]

    # The characters that have a meaning in a pattern.
    pattern = re.sub(r"[*?\[\]\\]", r"\\\g<0>", start) + "*"
    return Command(("SCAN", cursor, "MATCH", pattern, "COUNT", BATCH_SIZE), read)


def keys() -> Command[int]:
    """How many keys the database has, of any kind."""
    return Command(("DBSIZE",), replies.number)


def now() -> Command[float]:
    """The server's clock in epoch seconds."""

    def read(reply: Any) -> float:
        seconds, microseconds = replies.listing(reply, 2)
        return replies.decimal(seconds, most=LATEST) + replies.decimal(microseconds) / 1e6

    return Command(("TIME",), read)


def metadata(keyspace: Keyspace, id: str) -> Command[Metadata | None]:
    """``None`` if there is no such session."""
    fields = (CREATED, UPDATED, USER, IP, AGENT, SEEN, ENDS)
    return Command(
        ("HMGET", keyspace.session(id), *fields), _metadata, read_wrong_type=lambda: None
    )


def ttl(keyspace: Keyspace, id: str) -> Command[float]:
    """Seconds left; negative if the session is gone, ``inf`` if somebody made it persistent."""

    def read(reply: Any) -> float:
        left = replies.number(reply, GONE)
        return inf if left == PERSISTENT else left / 1000

    return Command(("PTTL", keyspace.session(id)), read)


def sample(index: str, size: int) -> Command[list[tuple[str, float]]]:
    """
    Up to ``size`` different members at random, and until when the index lists them.

    These times are in epoch seconds. Members that are not IDs are included, as text.
    """

    def read(reply: Any) -> list[tuple[str, float]]:
        return [(replies.text(member), expires) for member, expires in _pairs(reply)]

    return Command(("ZRANDMEMBER", index, size, "WITHSCORES"), read)


def memory(keyspace: Keyspace, id: str) -> Command[int | None]:
    """Bytes that the session takes; ``None`` if it is gone, or the server does not say."""
    # SAMPLES 0: measure all fields. Otherwise five would stand for all, even if one is huge.
    words = ("MEMORY", "USAGE", keyspace.session(id), "SAMPLES", 0)
    return Command(words, _number_or_none, read_refusal=lambda _: None)


def _number_or_none(reply: Any) -> int | None:
    return None if reply is None else replies.number(reply)


def _metadata(reply: Any) -> Metadata | None:
    values = [None if one is None else replies.raw(one) for one in replies.listing(reply, 7)]
    created, updated, user, ip, agent, seen, ends = values
    if created is None:
        return None
    began = _seconds(created)
    return Metadata(
        began,
        _seconds(updated) or began,
        replies.text(user) if user else None,  # the scripts take an empty user for none, too
        _metadata_text(ip),
        _metadata_text(agent),
        _seconds(seen),
        int(ends) // 1000 if is_moment(ends) else 0,
    )


def _pairs(reply: Any) -> list[tuple[bytes, float]]:
    # Redis' newer protocol has pairs, the older one members and scores in turn.
    return [(replies.raw(member), replies.real(score)) for member, score in replies.pairs(reply)]


def _seconds(text: bytes | None) -> int:
    # A damaged time must cost no more than itself: 1970 stands for it.
    return int(text) if is_time(text) else 0


def _metadata_text(value: bytes | None) -> str | None:
    return None if value is None else replies.text(value[:MAX_METADATA_BYTES])


def _text(seconds: float) -> Any:
    return "inf" if seconds == inf else seconds
