"""How many sessions there are, and how much memory they take, by the indexes and a sample."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, inf
from random import shuffle
from typing import Any

from sessions_redis.clients import Steps, aperform, perform
from sessions_redis.registry import indexes
from sessions_redis.registry.selections import indexed
from sessions_redis.storage import commands, listings
from sessions_redis.storage.keyspaces import Keyspace
from sessions_redis.storage.listings import BATCH_SIZE, is_id

# How many of the sessions in a sample are named as its largest.
LARGEST = 20


@dataclass(frozen=True, slots=True)
class Size:
    """How many ``bytes`` the session with this ``id`` takes in Redis."""

    id: str
    bytes: int


@dataclass(frozen=True, slots=True)
class Statistics:
    """
    ``live``, ``signed_in``, ``anonymous``: sessions that the indexes count. This can include
    sessions that expired up to 20 minutes ago.

    ``expired``: expired members that the index of all sessions still holds. ``sampled``: how many
    members that have not expired were looked at. ``bytes_per_session``: the average size of the
    live sessions among them; ``None`` if none is live, or the server refuses to say. ``drift``: the
    share of them, from 0 to 1, whose session is gone, and which ``live`` counts nevertheless;
    ``None`` for an empty sample. ``largest``: up to 20 sessions of the sample, the largest first;
    none if the server refuses to say.
    """

    live: int
    signed_in: int
    anonymous: int
    expired: int
    sampled: int
    bytes_per_session: float | None
    drift: float | None
    largest: tuple[Size, ...] = ()


def _measure(sample: int) -> Steps[Statistics]:
    keyspace = indexed()
    if keyspace.is_spread:
        counts, (now, members) = yield from _spread(keyspace, sample)
    else:
        names = [keyspace.index, keyspace.signed_in, keyspace.anonymous]
        counts = yield listings.count(names, (listings.EVER, 0, inf))
        now, members = yield [listings.now(), listings.sample(keyspace.index, sample)]
    (expired, total), (_, signed_in), (_, anonymous) = counts
    ids = [id for id, expires in members if expires > now]
    sizes: dict[str, int | None] = {}
    for start in range(0, len(ids), BATCH_SIZE):
        sizes |= yield from _sizes(keyspace, ids[start : start + BATCH_SIZE])
    known = [Size(id, size) for id, size in sizes.items() if size]
    return Statistics(
        total,
        signed_in,
        anonymous,
        expired,
        sampled=len(ids),
        bytes_per_session=sum(one.bytes for one in known) / len(known) if known else None,
        drift=(len(ids) - len(sizes)) / len(ids) if ids else None,
        largest=tuple(sorted(known, key=lambda one: -one.bytes)[:LARGEST]),
    )


def _spread(keyspace: Keyspace, sample: int) -> Steps[Any]:
    """The counts of all indexes together, and of each one a part of the sample."""
    of_each = yield from indexes.counted(keyspace, (listings.EVER, 0, inf))
    counts = [
        [sum(column) for column in zip(*rows, strict=True)]
        for rows in zip(*of_each.values(), strict=True)
    ]
    all_members = sum(counts[0]) or 1
    shares = {name: ceil(sample * sum(rows[0]) / all_members) for name, rows in of_each.items()}
    now, members = yield from indexes.sample(shares)
    shuffle(members)
    return counts, (now, members[:sample])


def _sizes(keyspace: Keyspace, ids: Sequence[str]) -> Steps[dict[str, int | None]]:
    """The bytes that each live session among ``ids`` takes in Redis; ``None`` if not known."""
    asked, some = (commands.exists, listings.memory), list(filter(is_id, ids))
    answers = yield [ask(keyspace, id) for id in some for ask in asked]
    sizes = zip(some, answers[::2], answers[1::2], strict=True)
    return {id: size for id, live, size in sizes if live}


def measure(sample: int) -> Statistics:
    """
    Look at up to ``sample`` sessions. Two round trips, and one for each thousand of the sample.

    Raises ``ImproperlyConfigured`` if ``INDEX`` is off.
    """
    return perform(_measure(sample))


async def ameasure(sample: int) -> Statistics:
    return await aperform(_measure(sample))
