"""Find sessions by their ids, or by the first digits of an id."""

from collections.abc import Sequence
from dataclasses import dataclass

from sessions_redis import conf
from sessions_redis.clients import Steps, aperform, perform
from sessions_redis.registry import indexes
from sessions_redis.registry.live_sessions import LiveSession, read
from sessions_redis.registry.selections import indexed
from sessions_redis.storage import listings
from sessions_redis.storage.listings import BATCH_SIZE, is_id, is_short_start, is_start

# A search by the first digits of an id looks at this many sessions at most. A step looks at about a
# thousand, which takes a server up to 1 ms.
SEARCHED = 500_000


@dataclass(frozen=True, slots=True)
class Started:
    """
    The result of a search by the first digits of an id.

    ``is_complete``: whether the search looked at all sessions. If not, there may be more.
    """

    sessions: tuple[LiveSession, ...]
    is_complete: bool = True


def _find(session_id: str) -> Steps[LiveSession | None]:
    found = yield from _find_many([session_id])
    return found[0] if found else None


def find(session_id: str) -> LiveSession | None:
    """Return the session of this id; ``None`` if there is none, or the id is not well-formed."""
    return perform(_find(session_id))


async def afind(session_id: str) -> LiveSession | None:
    return await aperform(_find(session_id))


def _find_many(session_ids: Sequence[str]) -> Steps[list[LiveSession]]:
    keyspace = conf.current().keyspace
    return (yield from read(keyspace, [id for id in session_ids if is_id(id)]))


def find_many(session_ids: Sequence[str]) -> list[LiveSession]:
    """Return the live sessions of these ids, in this order; one round trip for each thousand."""
    return perform(_find_many(session_ids))


async def afind_many(session_ids: Sequence[str]) -> list[LiveSession]:
    return await aperform(_find_many(session_ids))


def _starting_with(digits: str) -> Steps[Started]:
    keyspace = indexed()
    if is_short_start(digits):
        raise ValueError(
            f"Sessions whose IDs start with {digits!r} were not searched for. Fewer than 6 "
            "characters can be the start of too many IDs. Pass 6 or more of the first characters."
        )
    if not is_start(digits):
        return Started(())
    if keyspace.is_spread:
        found, is_complete = yield from indexes.starting_with(keyspace, digits, SEARCHED)
        sessions = yield from read(keyspace, found)
        return Started(tuple(sessions), is_complete)
    cursor, ids = 0, dict[str, None]()
    for _ in range(0, SEARCHED, BATCH_SIZE):
        cursor, found = yield listings.starting_with(keyspace.index, digits, cursor)
        # A server may return a member twice.
        ids |= dict.fromkeys(found)
        if not cursor:
            break
    sessions = yield from read(keyspace, [*ids])
    return Started(tuple(sessions), is_complete=not cursor)


def starting_with(digits: str) -> Started:
    """
    Find the sessions whose ids start with ``digits``: 6 to 32 of the characters 0-9 and a-f.

    Raises ``ValueError`` for fewer than 6. Other characters, or more than 32, find nothing.

    The indexes are not ordered by id, so this looks at the sessions one after the other, a thousand
    in each round trip (in a Cluster: a thousand of each shard), and at about 500,000 at most. The
    result says whether that was all of them.
    """
    return perform(_starting_with(digits))


async def astarting_with(digits: str) -> Started:
    return await aperform(_starting_with(digits))
