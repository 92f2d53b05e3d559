"""Which numbers of shards list sessions: noted by each process, seldom, and forgotten in time."""

from dataclasses import replace

import pytest

from sessions_redis import conf
from sessions_redis.clients import run, run_all
from sessions_redis.storage import shard_counts
from sessions_redis.storage.keyspaces import Keyspace
from tests.spread import spread  # noqa: F401 - fixture

MINUTE = 60_000


@pytest.fixture
def keyspace(spread):  # noqa: F811
    return spread.keyspace


@pytest.fixture
def now(raw):
    return raw.time()[0] * 1000


def test_noting(keyspace, raw, now):
    """A process notes its number once a minute, or if a session is listed for longer than noted."""
    (command,) = shard_counts.to_note(keyspace, now, now + MINUTE)
    assert shard_counts.to_note(keyspace, now, now + MINUTE)  # until the server has answered
    run(command)
    assert run(shard_counts.in_use(keyspace)) == [16]
    assert shard_counts.to_note(keyspace, now + 10, now + MINUTE + 10) == []
    assert shard_counts.to_note(keyspace, now + MINUTE, now + MINUTE)
    assert shard_counts.to_note(keyspace, now + 10, now + 60 * MINUTE)
    key = shard_counts.counts_key(keyspace)
    assert raw.pexpiretime(key) >= now + 11 * MINUTE
    assert raw.zscore(key, 16) == (now + 11 * MINUTE) / 1000


def test_several_numbers(keyspace, raw, now):
    """All of them are in use, each until the last session that it lists has expired for long."""
    for shards, listed in ((16, MINUTE), (8, 60 * MINUTE), (4, -30 * MINUTE), (16, -MINUTE)):
        of_number = replace(keyspace, shards=shards)
        shard_counts._noted.clear()
        run_all(shard_counts.to_note(of_number, now, now + listed))
    assert run(shard_counts.in_use(keyspace)) == [8, 16]
    assert raw.zscore(shard_counts.counts_key(keyspace), 16) == (now + 11 * MINUTE) / 1000
    assert raw.pexpiretime(shard_counts.counts_key(keyspace)) >= now + 70 * MINUTE
    run(shard_counts.forget(keyspace, [8, 4]))
    assert run(shard_counts.in_use(keyspace)) == [16]
    assert shard_counts.to_note(keyspace, now, now + MINUTE)


def test_damage(keyspace, raw):
    """What is not a number of shards is left out, and so is a key of another type."""
    key = shard_counts.counts_key(keyspace)
    assert run(shard_counts.in_use(keyspace)) == []
    raw.zadd(key, {"0": 1, "257": 1, "x": 1, b"\xff": 1, "-8": 1, "8": 1})
    raw.expire(key, 100)
    assert run(shard_counts.in_use(keyspace)) == [8]
    raw.set(key, "8", ex=100)
    assert run(shard_counts.in_use(keyspace)) == []


def test_who_notes_nothing(session_redis, keyspace, now):
    """A single shard, no indexes, and a site whose keys are in one slot."""
    for others in ({"shards": 1}, {"indexed": False}, {"is_spread": False}):
        assert shard_counts.to_note(replace(keyspace, **others), now, now + MINUTE) == []


def test_the_numbers_that_were_read_last(keyspace, now):
    """A process remembers them, to ask the shards of all of them at once."""
    assert shard_counts.last_in_use(keyspace) == ()
    run_all(shard_counts.to_note(replace(keyspace, shards=8), now, now + MINUTE))
    assert shard_counts.last_in_use(keyspace) == ()
    run(shard_counts.in_use(keyspace))
    assert shard_counts.last_in_use(keyspace) == (8,)


def test_very_many_tenants(keyspace, now, monkeypatch):
    """A process forgets what it has noted and read before that takes much memory."""
    monkeypatch.setattr(shard_counts, "TENANTS", 2)
    for shards in (2, 3, 4):
        of_number = replace(keyspace, shards=shards)
        run_all(
            [*shard_counts.to_note(of_number, now, now + MINUTE), shard_counts.in_use(of_number)]
        )
    assert len(shard_counts._noted) == len(shard_counts._read) == 1


def test_the_indexes_of_a_session():
    """Those of each number in use, and the plain one."""
    keyspace = Keyspace("site", is_spread=True, shards=4)
    id = f"{10:08x}" + "0" * 24
    assert shard_counts.indexes_of(keyspace, id, []) == ["site:index:{2}", "site:index"]
    names = shard_counts.indexes_of(keyspace, id, [4, 6, 8])
    assert names == ["site:index:{2}", "site:index", "site:index:{4}"]
    assert shard_counts.indexes(keyspace) == [
        *(f"site:index:{{{n}}}" for n in range(4)),
        "site:index",
    ]
    assert len(shard_counts.indexes(keyspace, [6, 2])) == 7
    assert shard_counts.indexes(replace(keyspace, shards=1)) == ["site:index"]
    assert conf.current().keyspace.indexes
