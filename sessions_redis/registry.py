"""
Who is signed in: count, list, find and end sessions. Each function has an ``a…`` twin.

It reads the indexes and checks each session before it returns it, because an index can list a
session shortly after it expired. Members whose session is gone are dropped when it meets them.
Listing takes two round trips whatever the number of sessions; a page that met sessions that are
gone is read again, which takes three more, and twice at most. Nothing here needs the session keys,
and nothing reveals them.

What ends sessions is sent to Redis once: if the reply is lost `SessionStoreUnavailable` is raised,
and they may have been ended, of which no signal tells. Many sessions are ended in steps, each on a
thousand keys at most, so that other visitors never wait long. The signals of a step are sent before
the next one begins. If Redis fails then, the error's ``ended`` holds the ids of the sessions that
the steps before had ended.

Functions that need the indexes raise ``ImproperlyConfigured`` where ``INDEX`` is off; all raise
`SessionStoreUnavailable` when Redis is away.
"""

from collections.abc import Sequence
from typing import Any

from sessions_redis import lists, live
from sessions_redis.clients import aperform, arun, perform, run
from sessions_redis.exceptions import SessionStoreUnavailable
from sessions_redis.live import ALL, Endings, LiveSession, Selection, Started, user_pk_of
from sessions_redis.signals import session_ended
from sessions_redis.storage.commands import session_id
from sessions_redis.storage.listings import is_id, is_short_start, is_start

__all__ = [
    "ALL",
    "LiveSession",
    "Selection",
    "Started",
    "aby_time_left",
    "acount",
    "aend",
    "aend_all_of",
    "aend_each_of",
    "aend_many",
    "afind",
    "afind_many",
    "alatest",
    "aof_user",
    "astarting_with",
    "atrim",
    "by_time_left",
    "count",
    "end",
    "end_all_of",
    "end_each_of",
    "end_many",
    "find",
    "find_many",
    "is_id",
    "is_short_start",
    "is_start",
    "latest",
    "of_user",
    "starting_with",
    "trim",
    "user_pk_of",
]


def count(selection: Selection = ALL) -> int:
    """
    How many sessions have not expired, by the index and the server's clock; one round trip.

    For each further thousand of users that the selection names it takes one more.
    """
    return perform(lists.count(selection))


async def acount(selection: Selection = ALL) -> int:
    return await aperform(lists.count(selection))


def latest(start: int = 0, stop: int = 50, selection: Selection = ALL) -> list[LiveSession]:
    """
    The live sessions from ``start`` up to, not with, ``stop``: those that expire last first.

    Where the selection names several users, this reads ``stop`` members of each one's index.
    """
    return perform(lists.latest(start, stop, selection))


async def alatest(start: int = 0, stop: int = 50, selection: Selection = ALL) -> list[LiveSession]:
    return await aperform(lists.latest(start, stop, selection))


def find(session_id: str) -> LiveSession | None:
    """The session of this id; ``None`` if there is none, or the id is of no id's form."""
    return perform(live.find(session_id))


async def afind(session_id: str) -> LiveSession | None:
    return await aperform(live.find(session_id))


def find_many(session_ids: Sequence[str]) -> list[LiveSession]:
    """Those of these ids that are live, in this order; one round trip for each thousand."""
    return perform(live.find_many(session_ids))


async def afind_many(session_ids: Sequence[str]) -> list[LiveSession]:
    return await aperform(live.find_many(session_ids))


def starting_with(digits: str) -> Started:
    """
    Sessions whose ids start with ``digits``: 6 or more of 0-9 and a-f, else ``ValueError``. With
    other characters, or more than 32, there are none.

    The indexes are not ordered by id, so this looks at the sessions one after the other, a thousand
    in each round trip, and at about 500,000 at most. The result says whether that was all of them.
    """
    return perform(lists.starting_with(digits))


async def astarting_with(digits: str) -> Started:
    return await aperform(lists.starting_with(digits))


def of_user(user: Any, start: int = 0, stop: int | None = None) -> list[LiveSession]:
    """
    The sessions of ``user``, a user or a primary key, the newest first; or a part of them.

    From ``start`` up to, not with, ``stop``. Newest means created last, which is exact for a user
    with up to 1,000 sessions. Of more sessions the 1,000 that expire last come first, the newest of
    them first; then the next 1,000, and so on. So a part is found by reading the thousands that it
    is in, with two round trips each.
    """
    return perform(lists.of_user(user_pk_of(user), start, stop))


async def aof_user(user: Any, start: int = 0, stop: int | None = None) -> list[LiveSession]:
    return await aperform(lists.of_user(user_pk_of(user), start, stop))


def end(session_id: str, *, reason: str = "ended") -> bool:
    """End the session of this id at once, and send `session_ended`. ``False`` if there is none."""
    user_pk = perform(live.end(session_id))
    if user_pk is None:
        return False
    session_ended.send_robust(**_ended(session_id, user_pk, reason))
    return True


async def aend(session_id: str, *, reason: str = "ended") -> bool:
    user_pk = await aperform(live.end(session_id))
    if user_pk is None:
        return False
    await session_ended.asend_robust(**_ended(session_id, user_pk, reason))
    return True


def end_many(session_ids: Sequence[str], *, reason: str = "ended") -> list[str]:
    """
    End the sessions of these ids, hundreds at a moment, and return the ids of those there were.

    Sends `session_ended` for each. If Redis fails, the error's ``ended`` says which were ended.
    """
    return _end_each(live.end_many(session_ids), reason)


async def aend_many(session_ids: Sequence[str], *, reason: str = "ended") -> list[str]:
    return await _aend_each(live.end_many(session_ids), reason)


def end_all_of(
    user: Any,
    except_session_key: str | None = None,
    *,
    except_id: str | None = None,
    reason: str = "ended",
) -> int:
    """
    End all sessions that ``user`` has when this begins, and return how many there were.

    Up to a thousand end at a moment; those that are cycled meanwhile end as well. A session that
    signs in meanwhile may live. ``except_session_key`` is spared: the session of who asks; or
    ``except_id``, for who knows no more than the id. It is spared under whatever id it has by then:
    it may be cycled before this begins, and meanwhile. Sends `session_ended` for each. If Redis
    fails, the error's ``ended`` says which were ended; call again for the others.
    """
    spared = _spared(except_session_key, except_id)
    del except_session_key  # error reports print the variables of this frame
    return len(end_each_of(user, except_id=spared, reason=reason))


async def aend_all_of(
    user: Any,
    except_session_key: str | None = None,
    *,
    except_id: str | None = None,
    reason: str = "ended",
) -> int:
    spared = _spared(except_session_key, except_id)
    del except_session_key
    return len(await aend_each_of(user, except_id=spared, reason=reason))


def end_each_of(
    user: Any,
    except_session_key: str | None = None,
    *,
    except_id: str | None = None,
    reason: str = "ended",
) -> list[str]:
    """As `end_all_of`, for who has to know which there were: it returns their ids."""
    spared = _spared(except_session_key, except_id)
    del except_session_key
    return _end_each(live.end_all_of(user_pk_of(user), spared), reason)


async def aend_each_of(
    user: Any,
    except_session_key: str | None = None,
    *,
    except_id: str | None = None,
    reason: str = "ended",
) -> list[str]:
    spared = _spared(except_session_key, except_id)
    del except_session_key
    return await _aend_each(live.end_all_of(user_pk_of(user), spared), reason)


def by_time_left(bounds: Sequence[float]) -> tuple[list[int], list[int]]:
    """
    How many sessions with a user, and how many without, lie between each bound and the next.

    ``bounds`` are seconds left, rising. One round trip.
    """
    signed_in, anonymous = perform(live.by_time_left(bounds))
    return signed_in, anonymous


async def aby_time_left(bounds: Sequence[float]) -> tuple[list[int], list[int]]:
    signed_in, anonymous = await aperform(live.by_time_left(bounds))
    return signed_in, anonymous


def trim() -> int:
    """
    Drop what has expired from the indexes of all sessions, and return how many members that were.

    A bounded number in each round trip, so that nobody waits long. Without indexes: 0.
    """
    return perform(live.trim())


async def atrim() -> int:
    return await aperform(live.trim())


def _end_each(endings: Endings, reason: str) -> list[str]:
    ended: list[str] = []
    try:
        step = run(next(endings))
        while True:
            for id, user_pk in step.sessions:
                session_ended.send_robust(**_ended(id, user_pk, reason))
                ended.append(id)
            step = run(endings.send(step))
    except StopIteration:
        return ended
    except SessionStoreUnavailable as error:
        error.ended = ended
        raise


async def _aend_each(endings: Endings, reason: str) -> list[str]:
    ended: list[str] = []
    try:
        step = await arun(next(endings))
        while True:
            for id, user_pk in step.sessions:
                await session_ended.asend_robust(**_ended(id, user_pk, reason))
                ended.append(id)
            step = await arun(endings.send(step))
    except StopIteration:
        return ended
    except SessionStoreUnavailable as error:
        error.ended = ended
        raise


def _spared(session_key: str | None, id: str | None) -> str:
    """The id of the session to spare, ``""`` for none."""
    return session_id(session_key) if session_key else id or ""


def _ended(id: str, user_pk: str, reason: str) -> dict[str, Any]:
    return {
        "sender": LiveSession,
        "session_id": id,
        "user_pk": user_pk or None,
        "reason": reason,
    }
