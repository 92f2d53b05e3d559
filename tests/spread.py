"""
A site whose keys are in different slots, without a Cluster.

One server carries out the commands that a Cluster would get, so it can test what reads many indexes
and merges them.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import pytest

from sessions_redis import conf
from sessions_redis.conf import Conf
from sessions_redis.storage import shard_counts
from sessions_redis.storage.keyspaces import Keyspace

LIFETIME = 1000


@pytest.fixture
def spread(settings, session_redis, monkeypatch, raw):
    """A function that sets the number of shards, 16 at first, and writes sessions."""

    in_one_slot = Conf._keyspace

    def keyspace_of(self: Conf, prefix: str, tenant: str | None = None) -> Keyspace:
        keyspace = in_one_slot(self, prefix, tenant)
        return replace(keyspace, is_spread=True, shards=self.index_shards)

    monkeypatch.setattr(Conf, "_keyspace", keyspace_of)
    shard_counts._noted.clear()
    shard_counts._read.clear()
    site = Spread(settings, session_redis, raw)
    site.use(16)
    return site


@dataclass
class Spread:
    settings: Any
    session_redis: dict[str, Any]
    raw: Any
    batch: Any = None

    def use(self, shards: int) -> Keyspace:
        self.settings.SESSION_REDIS = {**self.session_redis, "INDEX_SHARDS": shards}
        return self.keyspace

    @property
    def keyspace(self) -> Keyspace:
        return conf.current().keyspace

    def put(
        self,
        id: str,
        left: float = LIFETIME,
        *,
        user: str = "",
        listed: float | None = None,
        is_live: bool = True,
        shards: int | None = None,
    ) -> str:
        """
        Write a session, or a member alone. Returns its id.

        ``left``: seconds that it lives; ``listed``: that it is listed for, as long by default.
        """
        keyspace = self.keyspace if shards is None else replace(self.keyspace, shards=shards)
        now_ms = int(self.now * 1000)
        pipeline = self.raw.pipeline(transaction=False) if self.batch is None else self.batch
        if is_live:
            fields = {"@created": now_ms // 1000, "@updated": now_ms // 1000, "color": '"red"'}
            pipeline.hset(keyspace.session(id), mapping=fields | ({"@user": user} if user else {}))
            pipeline.pexpireat(keyspace.session(id), now_ms + int(left * 1000))
        until = now_ms + int((left if listed is None else listed) * 1000)
        index = keyspace.index_of(id)
        names = [index, f"{index}:{'signed-in' if user else 'anonymous'}"]
        for name in [*names, *([keyspace.user(user)] if user else [])]:
            pipeline.zadd(name, {id: until / 1000})
            pipeline.pexpire(name, 10_000_000)
        if self.batch is None:
            pipeline.execute()
        return id

    @contextmanager
    def together(self) -> Iterator[None]:
        """Write what the block puts in one round trip, at its end."""
        self.batch = self.raw.pipeline(transaction=False)
        yield
        self.batch.execute()
        self.batch = None

    @property
    def now(self) -> float:
        """The time of the test: the same for all that it writes, so that scores can be equal."""
        if not hasattr(self, "_now"):
            seconds, microseconds = self.raw.time()
            self._now = seconds + microseconds / 1e6
        return self._now
