"""What is left in Redis, and what the visitors find in their sessions, when the weather is over."""

import asyncio
import json
import re
from dataclasses import dataclass

import redis
from redis.cluster import RedisCluster

from sessions_redis.storage.commands import session_id
from sessions_redis.storage.entries import CREATED, USER, USER_KEY
from sessions_redis.storage.keyspaces import Keyspace
from tests.weather.visitors import Crowd, Visitor, fetch

# What stays for a minute at the ID of a session that has been cycled, or ended in a Cluster.
MARKERS = ({b"@cycled"}, {b"@ended"})

Client = redis.Redis | RedisCluster

# What Django's cache engine and django-redis put in front of a session's key.
IN_CACHE = "{prefix}:1:django.contrib.sessions.cache{key}"


@dataclass(frozen=True)
class Findings:
    """
    ``after``: users who were never signed out without asking. ``lost``: acknowledged writes and
    increments that are missing. ``twice``: increments that were applied more than once. ``back``:
    sessions that live although their end was acknowledged. ``forever``: keys without TTL.
    ``halves``: sessions without all of their metadata. ``unlisted``: sessions that an index lacks.
    """

    after: int
    lost: int
    twice: int
    back: int
    forever: int
    halves: int
    unlisted: int


async def inspected(crowd: Crowd, client: Client, shards: int | None) -> Findings:
    """
    Ask every visitor and look at every key. Nothing else may use the site meanwhile. ``shards``:
    those of the index in a Cluster.
    """
    gate = asyncio.Semaphore(crowd.site.at_a_time)

    async def one(visitor: Visitor) -> tuple[int, int]:
        async with gate:
            return await _asked(visitor, crowd.site.port)

    asked = await asyncio.gather(*map(one, crowd.visitors))
    ours = crowd.site.engine == "ours"
    keyspace = Keyspace(crowd.site.prefix, is_spread=bool(shards), shards=shards or 1)
    halves, unlisted = _halves(keyspace, client) if ours else (0, 0)
    return Findings(
        after=sum(not visitor.times_signed_out for visitor in crowd.visitors),
        lost=sum(lost for lost, _ in asked),
        twice=sum(twice for _, twice in asked),
        back=_back(crowd, client),
        forever=_forever(crowd.site.prefix, client),
        halves=halves,
        unlisted=unlisted,
    )


async def _asked(visitor: Visitor, port: int) -> tuple[int, int]:
    """How many acknowledged changes the visitor misses, and how many increments came twice."""
    if visitor.is_signed_in is None:
        await visitor.do("who", port)
    if not visitor.is_signed_in:
        await visitor.sign_in(port)
        return 0, 0  # the session is new
    response = await fetch(port, "everything", visitor.cookie)
    assert response.status == 200, f"{visitor.name} is answered {response.status} in good weather"
    found = json.loads(response.body)
    if found["user"] != visitor.name:
        visitor.times_signed_out += 1
        return 0, 0
    entries = found["entries"]
    lost = sum(name not in entries for name in visitor.writes)
    lost += sum(known and name not in entries for name, known in visitor.increments.items())
    twice = sum(entries.get(name, 0) > 1 for name in visitor.increments)
    return lost, twice


def _back(crowd: Crowd, client: Client) -> int:
    keys = [key for visitor in crowd.visitors for key in visitor.ended]
    prefix = crowd.site.prefix
    with client.pipeline(transaction=False) as pipeline:
        for key in keys:
            if crowd.site.engine == "ours":
                pipeline.hexists(Keyspace(prefix).session(session_id(key)), CREATED)
            else:
                pipeline.exists(IN_CACHE.format(prefix=prefix, key=key))
        return sum(map(bool, pipeline.execute()))


def _forever(prefix: str, client: Client) -> int:
    keys = list(client.scan_iter(f"{prefix}:*", count=1000))
    with client.pipeline(transaction=False) as pipeline:
        for key in keys:
            pipeline.ttl(key)
        return pipeline.execute().count(-1)


def _halves(keyspace: Keyspace, client: Client) -> tuple[int, int]:
    halves = unlisted = 0
    for key in client.scan_iter(f"{keyspace.prefix}:*", count=1000):
        id = key.decode().rpartition(":")[2]
        if not re.fullmatch("[0-9a-f]{32}", id):
            continue
        fields = client.hgetall(key)
        if not fields or fields.keys() in MARKERS:
            continue
        if CREATED not in fields or (USER in fields) != (USER_KEY.encode() in fields):
            halves += 1
        elif not _is_listed(keyspace, id, fields.get(USER), client):
            unlisted += 1
    return halves, unlisted


def _is_listed(keyspace: Keyspace, id: str, user: bytes | None, client: Client) -> bool:
    index = keyspace.index_of(id)
    half = "signed-in" if user else "anonymous"
    indexes = [index, f"{index}:{half}", *([keyspace.user(user.decode())] if user else [])]
    return all(client.zscore(index, id) is not None for index in indexes)
