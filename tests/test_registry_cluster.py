"""The registry on a real Cluster: sessions and shards are on three nodes."""

import pytest

from sessions_redis import conf, registry
from sessions_redis.clients.nodes import slot_of
from sessions_redis.engine import SessionStore
from sessions_redis.registry import Selection
from sessions_redis.registry.rebuilding import rebuild
from sessions_redis.registry.statistics import measure
from sessions_redis.storage import shard_counts
from sessions_redis.storage.commands import session_id
from sessions_redis.storage.steps import Command
from tests.clustered import Cluster
from tests.test_commands_management import run
from tests.weather.resharding import move

SESSIONS = 60


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    cluster = Cluster(tmp_path_factory.mktemp("cluster"), replicas=0)
    yield cluster
    cluster.stop()


@pytest.fixture
def raw(cluster):
    with cluster.client() as client:
        yield client


@pytest.fixture(params=[1, 16])
def shards(request):
    return request.param


@pytest.fixture(autouse=True)
def session_redis(settings, cluster, prefix, shards):
    settings.SESSION_REDIS = {
        "LOCATION": cluster.url,
        "KEY_PREFIX": prefix,
        "INDEX_SHARDS": shards,
    }
    return settings.SESSION_REDIS


@pytest.fixture
def ids():
    """Sessions, the first to expire first; every second one has a user."""
    ids = []
    for number in range(SESSIONS):
        session = SessionStore()
        if number % 2:
            session["_auth_user_id"] = str(number % 4)
        session.set_expiry(1000 + 10 * number)
        session.save()
        ids.append(session_id(session.session_key))
    return ids


def test_lists(ids):
    """Counts, pages, filters, users, the histogram, searches and statistics see all sessions."""
    assert registry.count() == SESSIONS
    pages = [registry.latest(at, at + 25) for at in range(0, SESSIONS, 25)]
    assert [one.id for page in pages for one in page] == ids[::-1]
    signed_in = registry.latest(0, 100, Selection(signed_in=True, within=1205, latest_first=False))
    assert [one.id for one in signed_in] == ids[1:21:2]
    assert {one.id for one in registry.of_user("3")} == {*ids[3::4]}
    assert [one.id for one in registry.latest(0, 3, Selection(users=("1", "3")))] == ids[:-6:-2]
    assert registry.by_time_left([0, 5000]) == ([SESSIONS // 2], [SESSIONS // 2])
    assert [one.id for one in registry.starting_with(ids[5][:8]).sessions] == [ids[5]]
    assert [one.id for one in registry.find_many(ids[:5])] == ids[:5]
    found = measure(1000)
    assert (found.live, found.sampled, found.drift) == (SESSIONS, SESSIONS, 0)
    assert registry.end_many(ids[:10])
    assert registry.end_all_of("3") == 13
    assert registry.count() == SESSIONS - 23
    assert len(registry.latest(0, 100)) == SESSIONS - 23
    assert registry.trim() == 0


def test_rebuilding(settings, session_redis, ids, raw):
    """Each node is searched, the present shards list all sessions, and the others are removed."""
    present = 16 if conf.current().keyspace.shards == 1 else 4
    former = conf.current().keyspace.indexes
    settings.SESSION_REDIS = {**session_redis, "INDEX_SHARDS": present}
    keyspace = conf.current().keyspace
    assert registry.count() == SESSIONS
    assert [one.id for one in registry.latest(0, 100)] == ids[::-1]
    assert run("rebuildindex").startswith(f"{SESSIONS} sessions found; ")
    assert not any(raw.exists(name) for name in former if name not in keyspace.indexes)
    assert sum(raw.zcard(name) for name in shard_counts.indexes(keyspace)) == SESSIONS
    assert registry.count() == SESSIONS
    assert [one.id for one in registry.latest(0, 100)] == ids[::-1]
    assert run("rebuildindex") == f"{SESSIONS} sessions found, none unlisted.\n"


def test_ending_before_rebuilding(settings, session_redis, ids, raw):
    """Until then, sessions that end leave the former shards as well."""
    settings.SESSION_REDIS = {**session_redis, "INDEX_SHARDS": 8}
    assert registry.end(ids[0])
    assert registry.end_many(ids[1:6]) == ids[1:6]
    assert registry.end_all_of("3") >= 13
    names = shard_counts.indexes(conf.current().keyspace, [16])
    left = {member.decode() for name in names for member in raw.zrange(name, 0, -1)}
    assert not left & {*ids[:6], *ids[3::4]}
    assert registry.count() == len(registry.latest(0, 100)) == len(left)


def test_slots_that_move_meanwhile(ids, cluster):
    """A node that got slots while the command ran is looked at again."""
    keyspace = conf.current().keyspace
    masters = [server.client() for server in cluster.servers]
    slots = [slot_of(Command(("PTTL", keyspace.session(id)), int)) for id in ids]
    moved = max(slots)
    last = next(node for node in masters if moved in _slots_of(node))
    first = next(node for node in masters if 0 in _slots_of(node))
    is_moved = []

    def report(progress):
        if not is_moved:
            is_moved.append(True)
            move(masters, last, first, [moved])

    try:
        assert rebuild(report=report).sessions >= SESSIONS
        assert is_moved
        move(masters, first, last, [moved])
        assert rebuild().sessions == SESSIONS
    finally:
        for client in masters:
            client.close()


def _slots_of(node):
    (me,) = [one for one in node.cluster("nodes").values() if "myself" in one["flags"]]
    ranges = [(int(pair[0]), int(pair[-1])) for pair in me["slots"]]
    return {slot for low, high in ranges for slot in range(low, high + 1)}


def test_a_prefix_with_a_hash_tag(settings, session_redis, prefix, raw):
    """All sessions of the site are on one node, which is found."""
    settings.SESSION_REDIS = {**session_redis, "KEY_PREFIX": f"{{{prefix}}}"}
    for _ in range(3):
        SessionStore().save()
    assert not conf.current().keyspace.is_spread
    raw.delete(conf.current().keyspace.index)
    assert run("rebuildindex") == "3 sessions found; 3 were listed again.\n"


def test_a_name_that_cycling_has_left(raw, prefix, monkeypatch):
    """A session cannot begin where a marker of cycling is. Then no index lists it there."""
    keys = iter(["a" * 32, "b" * 32])
    monkeypatch.setattr(SessionStore, "_get_new_session_key", lambda self: next(keys))
    marker = f"{prefix}:{session_id('a' * 32)}"
    raw.hset(marker, "@cycled", "f" * 32)
    raw.expire(marker, 60)
    session = SessionStore()
    session.create()
    assert session.session_key == "b" * 32
    assert [live.id for live in registry.latest(0, 10)] == [session_id("b" * 32)]
    assert registry.count() == 1
