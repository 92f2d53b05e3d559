"""Promise 4 on a Cluster: rounds of round trips, each to several nodes at once."""

import asyncio

import pytest

from sessions_redis import clusters, conf, registry
from sessions_redis.engine import SessionStore
from sessions_redis.registry import Selection
from sessions_redis.storage import scripts
from sessions_redis.storage.commands import session_id
from sessions_redis.storage.scripts import Script
from tests.rounds import Rounds
from tests.test_round_trips import OPERATIONS, exercise, saved
from tests.topologies import delete_all, on, prefix, session_redis, topologies  # noqa: F401

pytestmark = pytest.mark.topology

server = on("cluster", "cluster-tag")

# So often each operation runs before it counts, each time with other keys: by then there are
# connections to all nodes.
BEFORE = 25
COUNTED = 8

# The rounds where a session and its indexes are on different nodes. Other operations take as many
# as on one server.
ACROSS_SLOTS = {
    "clear and save": 2,  # the user is signed out
    "create": 2,
    "save a new session": 2,
    "cycle": 3,
    "login (cycle, then save)": 4,
    "delete": 2,
    "flush": 2,
}

REGISTRY = {
    "count": (registry.count, 1),
    "count of some": (lambda: registry.count(Selection(signed_in=True, within=60)), 1),
    "count of a user": (lambda: registry.count(Selection(users=("1",))), 1),
    "the first page": (registry.latest, 3),
    "the last page": (lambda: registry.latest(0, 20, Selection(latest_first=False)), 3),
    "a page of a user": (lambda: registry.latest(0, 20, Selection(users=("1",))), 3),
    "find": (lambda: registry.find("0" * 32), 1),
    "of_user": (lambda: registry.of_user("1"), 3),
    "end": (lambda: registry.end("0" * 32), 3),
    "end_many": (lambda: registry.end_many(["0" * 32]), 3),
}


@pytest.fixture
def rounds(server, session_redis, monkeypatch):  # noqa: F811
    """The rounds to a Cluster on which every script is known."""
    known = [one for one in vars(scripts).values() if isinstance(one, Script)]
    for node in server.cluster.masters():
        with node.client() as client:
            for script in known:
                client.script_load(script.text)
    exercise(SessionStore())
    ports = {node.port for node in server.cluster.servers}
    return Rounds(ports, monkeypatch)


def most(rounds, operate, prepare=lambda: None):
    """The most rounds that an operation takes, whichever nodes its keys are on."""
    counted = [rounds.counted(operate, prepare()) for _ in range(BEFORE + COUNTED)]
    return max(counted[BEFORE:])


def has_tag(server):
    return clusters.has_tag(server.prefix.format(""))


@pytest.mark.parametrize("operation", OPERATIONS)
def test_sessions(rounds, server, operation):
    """Reading and plain saves take one round trip, the others three at most."""
    operate, prepare, in_one_slot = OPERATIONS[operation]
    across_slots = ACROSS_SLOTS.get(operation, in_one_slot)

    def prepared():
        return prepare(saved(color="red", _auth_user_id="1"))

    assert most(rounds, operate, prepared) == (in_one_slot if has_tag(server) else across_slots)


def sign_in(session):
    session["_auth_user_id"] = "2"
    session.save()


def test_a_sign_in(rounds, server):
    """The save that gives a session a user lists it first."""
    promised = 1 if has_tag(server) else 2
    assert most(rounds, sign_in, lambda: saved(color="red")) == promised


@pytest.mark.parametrize("method", ["aload", "asave", "acreate", "acycle_key", "adelete"])
def test_async_methods(rounds, server, method):
    """The asynchronous methods take as many rounds."""
    promised = {"acreate": 2, "acycle_key": 3, "adelete": 2}

    async def count():
        counted = []
        for _ in range(BEFORE + COUNTED):
            session = SessionStore()
            await session.aset("color", "red")
            await session.asave()
            other = SessionStore(session.session_key)
            await other.aget("color")
            before = rounds.count
            await getattr(other, method)()
            counted.append(rounds.count - before)
        return max(counted[BEFORE:])

    assert asyncio.run(count()) == (1 if has_tag(server) else promised.get(method, 1))


@pytest.mark.parametrize("shards", [1, 16])
@pytest.mark.parametrize("operation", REGISTRY)
def test_the_registry(settings, session_redis, rounds, operation, shards):  # noqa: F811
    """Pages take three rounds at most, counting one."""
    settings.SESSION_REDIS = {**session_redis, "INDEX_SHARDS": shards}
    for number in range(30):
        saved(**({"_auth_user_id": "1"} if number % 2 else {"color": "red"}))
    operate, promised = REGISTRY[operation]
    assert 0 < most(rounds, lambda _: operate()) <= promised


@pytest.mark.parametrize("shards", [1, 16])
@pytest.mark.parametrize("latest_first", [True, False])
def test_a_page_with_dead_members(settings, session_redis, rounds, server, shards, latest_first):  # noqa: F811
    """It takes no more rounds."""
    settings.SESSION_REDIS = {**session_redis, "INDEX_SHARDS": shards}
    keyspace = conf.current().keyspace

    def prepared():
        keys = [saved(color="red").session_key for _ in range(3)]
        with server.client() as client:
            for key in keys[:2]:
                client.delete(keyspace.session(session_id(key)))

    def listed(_):
        assert registry.latest(0, 1, Selection(latest_first=latest_first))

    assert 0 < most(rounds, listed, prepared) <= (5 if has_tag(server) else 3)
