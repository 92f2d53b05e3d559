"""The checks of deployment and ``sessionstats`` with a Redis Cluster."""

import json
from io import StringIO
from time import time

import pytest
from django.core.management import call_command

from sessions_redis import checks, clients, conf
from sessions_redis.checks import cluster as of_cluster
from sessions_redis.checks import server as of_server
from sessions_redis.registry.inspection import Index, Inspection, Server, inspect
from sessions_redis.storage import servers
from sessions_redis.storage.keyspaces import Keyspace
from sessions_redis.storage.servers import SLOTS, Identity, Memory, Persistence, Primary
from tests.clustered import Cluster
from tests.servers import wait_until

HALF = SLOTS // 2


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    cluster = Cluster(tmp_path_factory.mktemp("cluster"), "--appendonly", "yes")
    try:
        wait_until(lambda: has_replicas(cluster), "all nodes know that each master has a replica")
        yield cluster
    finally:
        cluster.stop()


def has_replicas(cluster):
    """Whether all nodes see a replica of each master: only after it has copied something."""
    for server in cluster.running():
        with server.client() as client:
            primaries = servers.slot_ranges().read(client.execute_command("CLUSTER SLOTS"))
        if not all(one.replicas for one in primaries):
            return False
    return True


@pytest.fixture
def raw(cluster):
    """A client of the Cluster, which starts empty."""
    with cluster.client() as client:
        client.flushall(target_nodes="primaries")
        yield client


@pytest.fixture(autouse=True)
def session_redis(settings, cluster, raw):
    settings.SESSION_REDIS = {"LOCATION": cluster.url, "INDEX_SHARDS": 16}
    return settings.SESSION_REDIS


@pytest.fixture
def found():
    """
    The messages of the checks that ask the servers, by their IDs, and no W023.

    That depends on the version of the server that runs the tests.
    """

    def messages():
        by_id = {one.id.rpartition(".")[2]: one for one in checks.check_server()}
        by_id.pop("W023", None)
        return by_id

    return messages


@pytest.fixture
def put(raw):
    """Writes a session and lists it, as the engine does."""

    def put(number, user="", **fields):
        keyspace = conf.current().keyspace
        id = f"{number:08x}" + "0" * 24
        half = "signed-in" if user else "anonymous"
        index = keyspace.index_of(id)
        raw.hset(keyspace.session(id), mapping={"@created": 1, "@user": user, **fields})
        raw.expire(keyspace.session(id), 600)
        names = [index, f"{index}:{half}", *([keyspace.user(user)] if user else [])]
        for name in names:
            raw.zadd(name, {id: time() + 600})
            raw.expire(name, 900)
        return id

    return put


@pytest.fixture
def differing(cluster):
    """Gives one master another setting, until the test ends. Returns its name."""
    changed = []

    def differ(name, value):
        master = cluster.masters()[1]
        with master.client() as client:
            changed.append((master, name, client.config_get(name)[name]))
            client.config_set(name, value)
        return f"127.0.0.1:{master.port}"

    yield differ
    for master, name, value in changed:
        with master.client() as client:
            client.config_set(name, value)


# On a Cluster


@pytest.mark.parametrize("prefix", ["session", "{session}"])
def test_a_cluster_as_the_docs_recommend_it(found, put, settings, session_redis, prefix):
    """Nothing is found, with keys in all slots or in one."""
    settings.SESSION_REDIS = {**session_redis, "KEY_PREFIX": prefix}
    assert found() == {}
    for number in range(40):
        put(number, user=str(number % 3 or ""))
    assert found() == {}


@pytest.mark.parametrize(
    ("setting", "value", "id", "words"),
    [
        ("maxmemory-policy", "allkeys-lru", "W009", "has the maxmemory-policy allkeys-lru"),
        ("appendonly", "no", "W016", "keeps sessions in memory only"),
        ("hash-max-listpack-value", "64", "W017", "has hash-max-listpack-value 64"),
    ],
)
def test_a_node_that_differs(found, differing, setting, value, id, words):
    """The message names that node alone."""
    node = differing(setting, value)
    (message,) = found().values()
    assert message.id == f"sessions_redis.{id}"
    assert f"(node {node})" in message.msg
    assert words in message.msg


def test_the_sample_is_of_all_shards(put):
    """Sessions of all shards are looked at, with the indexes that list each."""
    ids = {put(number, user=str(number % 2 or "")) for number in range(64)}
    seen = clients.perform(inspect(conf.current().keyspace, 64))
    keyspace = conf.current().keyspace
    assert len(seen.servers) == 3
    assert seen.listed == len(ids)
    assert {one.key for one in seen.sample} == {keyspace.session(id) for id in ids}
    for one in seen.sample:
        id = one.key.rpartition(":")[2]
        user = keyspace.user("1") if int(id[:8], 16) % 2 else None
        half = "signed-in" if user else "anonymous"
        index = keyspace.index_of(id)
        assert [found.key for found in one.indexes] == [
            index, f"{index}:{half}", *([user] if user else []),
        ]  # fmt: skip
        assert all(found.size_per_member > 0 for found in one.indexes)


def test_rounds(put):
    """One round more than with one server."""
    put(1, user="7")
    rounds = 0

    def counted(steps):
        nonlocal rounds
        try:
            yielded = next(steps)
            while True:
                rounds += 1
                yielded = steps.send((yield yielded))
        except StopIteration as stop:
            return stop.value

    found = clients.perform(counted(inspect(conf.current().keyspace, 50)))
    assert len(found.sample) == 1
    assert rounds == 4


def test_an_index_of_another_type(found, put, raw):
    """The index of a shard is named, as any other."""
    index = conf.current().keyspace.indexes[3]
    put(1)
    raw.set(f"{index}:anonymous", "no index", ex=60)
    (message,) = found().values()
    assert message.id == "sessions_redis.E020"
    assert repr(f"{index}:anonymous") in message.msg


def test_statistics_of_the_servers(cluster, put, differing):
    """The memory of all nodes is added up, and each node has a line."""
    for number in range(8):
        put(number)
    differing("maxmemory-policy", "allkeys-lru")
    seen = clients.perform(inspect(conf.current().keyspace, 8))
    assert seen.memory.used == sum(one.memory.used for one in seen.servers)
    assert seen.memory.limit == 0
    assert seen.memory.policy == "noeviction, allkeys-lru"
    assert seen.survives_restart is True


@pytest.mark.parametrize("setting", [{"KEY_PREFIX": "{session}"}, {}, {"INDEX_SHARDS": 16}])
def test_the_command(cluster, settings, put, setting):
    """Its output has the nodes of the Cluster, with the memory of each."""
    settings.SESSION_REDIS = {"LOCATION": cluster.url, **setting}
    for number in range(8):
        put(number)
    out = StringIO()
    call_command("sessionstats", "--json", stdout=out)
    said = json.loads(out.getvalue())
    ports = {str(master.port) for master in cluster.masters()}
    assert {one["name"].rpartition(":")[2] for one in said["nodes"]} == ports
    assert sum(one["slots"] for one in said["nodes"]) == SLOTS
    assert said["memory_used"] == sum(one["memory_used"] for one in said["nodes"])
    assert said["encodings"] == {"listpack": 8}
    assert (said["live"], said["anonymous"], said["sampled"], said["drift"]) == (8, 8, 8, 0)
    assert said["bytes_per_session"] > 0
    assert said["bytes_of_listings_per_session"] > 0
    out = StringIO()
    call_command("sessionstats", stdout=out)
    assert "nodes of the Cluster        3 masters, 3 replicas" in out.getvalue()
    assert all(f"memory of 127.0.0.1:{port}" in out.getvalue() for port in ports)


def is_complete(cluster):
    return cluster.is_ready() and has_replicas(cluster)


@pytest.fixture
def incomplete(cluster):
    """No node serves two of the slots."""

    def on_each(command, *servers):
        for server in servers:
            with server.client() as client:
                client.execute_command(command, 0, 1)

    on_each("CLUSTER DELSLOTS", *cluster.running())
    yield
    on_each("CLUSTER ADDSLOTS", cluster.servers[0])
    wait_until(lambda: is_complete(cluster), "all slots are served")


def test_slots_without_a_node(found, put, incomplete, differing):
    """It is an error, and the other checks go on, although Redis refuses all keys."""
    node = differing("maxmemory-policy", "allkeys-lru")
    messages = found()
    assert messages.keys() == {"E026", "W009"}
    assert "no node serves 2 of 16,384 slots" in messages["E026"].msg
    assert node in messages["W009"].msg


# Without a Cluster


def a_node(number, *, replicas=1, ranges=((0, SLOTS - 1),), **others):
    said = {
        "identity": Identity("Redis", "8.4.0"),
        "memory": Memory(1, 0, "noeviction"),
        "persistence": Persistence(appends=True, took_snapshot=False, changes=0),
        "save_points": "",
        "compact_limit": 256,
    }
    return Server(**said | others, node=Primary(f"10.0.0.{number}:6379", ranges, replicas))


def said(*nodes, listed=0, keyspace=None):
    """The messages about a Cluster of these nodes, by their IDs."""
    indexes = [Index(f"session:{name}", listed, 1) for name in ("index", "index:a", "index:b")]
    inspection = Inspection(nodes, tuple(indexes))
    keyspace = keyspace or Keyspace("session", is_spread=True)
    every = [*of_server.problems(inspection), *of_cluster.problems(inspection, keyspace)]
    messages = {one.id.rpartition(".")[2]: one for one in every}
    assert len(messages) == len(every)
    assert all(one.hint for one in every)
    return messages


def of_servers(*nodes):
    return {one.id.rpartition(".")[2]: one for one in of_server.problems(Inspection(nodes))}


def halves(**others):
    return [
        a_node(1, ranges=((0, HALF - 1),), **others),
        a_node(2, ranges=((HALF, SLOTS - 1),), **others),
    ]


def test_masters_without_a_replica():
    """One warning names them."""
    first, second = halves()
    assert said(first, second) == {}
    (message,) = said(first, *halves(replicas=0)[1:]).values()
    assert message.id == "sessions_redis.W027"
    assert "the master 10.0.0.2:6379 is without a replica" in message.msg
    assert "masters 10.0.0.1:6379, 10.0.0.2:6379 are" in said(*halves(replicas=0))["W027"].msg


def test_many_nodes():
    """Of many nodes, some are named."""
    nodes = [
        a_node(number, replicas=0, ranges=((number * 16, number * 16 + 15),), memory=memory)
        for number in range(1024)
        for memory in [Memory(1, 9, "allkeys-lru" if number % 2 else "noeviction")]
    ]
    messages = said(*nodes)
    assert "10.0.0.0:6379, 10.0.0.1:6379, 10.0.0.2:6379 and 1021 more are" in messages["W027"].msg
    assert "10.0.0.1:6379, 10.0.0.3:6379, 10.0.0.5:6379 and 509 more)" in messages["W009"].msg


def test_nodes_that_are_all_alike():
    """The message says that it concerns all of them, once."""
    (message,) = said(*halves(memory=Memory(1, 9, "allkeys-lru"))).values()
    assert "(each of 2 masters) has the maxmemory-policy allkeys-lru" in message.msg


def test_nodes_of_different_versions():
    """Each kind of version is one message."""
    old, new = a_node(1, identity=Identity("Redis", "6.0.1")), a_node(2)
    (message,) = of_servers(old, new).values()
    assert "(node 10.0.0.1:6379) is Redis 6.0.1" in message.msg
    both = of_servers(
        a_node(1, identity=Identity("Redis", "7.0.1")),
        a_node(2, identity=Identity("Redis", "7.2.1")),
    )
    assert both.keys() == {"W023"}
    assert "is Redis 7.0.1 or Redis 7.2.1" in both["W023"].msg


@pytest.mark.parametrize(
    ("keyspace", "listed", "warns"),
    [
        (Keyspace("session", is_spread=True), 1_000_001, True),
        (Keyspace("session", is_spread=True), 1_000_000, False),
        (Keyspace("session", is_spread=True, shards=16), 5_000_000, False),
        (Keyspace("{session}"), 5_000_000, False),
    ],
)
def test_many_sessions_in_one_index(keyspace, listed, warns):
    """From a million on, the index should be split. The hint says how."""
    messages = said(*halves(), listed=listed, keyspace=keyspace)
    assert messages.keys() == ({"W028"} if warns else set())
    if warns:
        assert '"INDEX_SHARDS": 16' in messages["W028"].hint
        assert "rebuildindex" in messages["W028"].hint


CLUSTER = "redis+cluster://127.0.0.1:1"


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ({"LOCATION": "redis://127.0.0.1:1"}, "not the URL of a Redis Cluster"),
        ({"LOCATION": CLUSTER, "KEY_PREFIX": "{shop}"}, "has a part in braces"),
        ({"LOCATION": CLUSTER, "INDEX": False}, "the engine keeps no indexes"),
        ({"LOCATION": CLUSTER}, None),
        ({"LOCATION": CLUSTER, "KEY_PREFIX": lambda: "{shop}"}, None),
        ({"LOCATION": "redis://127.0.0.1:1", "INDEX_SHARDS": 1}, None),
    ],
)
def test_shards_without_effect(settings, setting, words):
    """A warning says why. Nothing is said where shards have an effect, or may have one."""
    settings.SESSION_REDIS = {"INDEX_SHARDS": 16, **setting}
    messages = [one for one in checks.check_settings() if one.id.endswith("W029")]
    assert [words in one.msg for one in messages] == ([True] if words else [])
