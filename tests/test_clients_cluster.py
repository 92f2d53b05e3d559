"""Commands in a Redis Cluster: each reaches the node of its key."""

import asyncio
import uuid
from collections import Counter

import pytest

from sessions_redis import clients
from sessions_redis.clients import pools
from sessions_redis.clients.nodes import slot_of
from sessions_redis.storage import replies, servers
from sessions_redis.storage.commands import Command
from tests.clustered import SLOTS, Cluster

# So many keys are in slots of all nodes.
NUMBERS = range(60)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    cluster = Cluster(tmp_path_factory.mktemp("cluster"))
    try:
        cluster.keep_nodes()
        yield cluster
    finally:
        cluster.stop()


@pytest.fixture
def raw(cluster):
    with cluster.client() as client:
        yield client


@pytest.fixture
def names():
    prefix = uuid.uuid4().hex
    return [f"{prefix}:{number}" for number in NUMBERS]


@pytest.fixture(autouse=True)
def session_redis(settings, cluster, prefix):
    settings.SESSION_REDIS = {"LOCATION": cluster.url, "KEY_PREFIX": prefix}
    return settings.SESSION_REDIS


@pytest.fixture(params=["sync", "async"])
def run_all(request):
    """Runs a list of commands, as threads and as tasks do."""
    if request.param == "sync":
        return clients.run_all
    return lambda commands: asyncio.run(clients.arun_all(commands))


def same(reply):
    return reply


def push(name, *values):
    """Appends to a list, which says how often that was done."""
    return Command(("EVALSHA", PUSH_SHA, 1, name, *values), same, PUSH, repeatable=False)


PUSH = "return redis.call('RPUSH', KEYS[1], unpack(ARGV))"
PUSH_SHA = "b9d4d8ca6bbbe4b2ba8d7ba2f5ff1b6e3a9a4c11"  # the server does not know it


def get(name):
    return Command(("HGETALL", name), replies.fields)


def slot_owner(raw, name):
    return raw.get_node_from_key(name).port


def test_a_list_of_commands_reaches_all_nodes(run_all, raw, names):
    """The answers are in the order of the commands, whatever node they come from."""
    for name in names:
        raw.hset(name, "name", name)
    assert len({slot_owner(raw, name) for name in names}) == 3
    answers = run_all([get(name) for name in names])
    assert [answer[b"name"].decode() for answer in answers] == names


def test_scripts_reach_the_nodes_of_their_keys(run_all, raw, names):
    """Each node learns a script that it does not know, and runs each command once."""
    assert run_all([push(name, "a") for name in names]) == [1] * len(names)
    assert [raw.lrange(name, 0, -1) for name in names] == [[b"a"]] * len(names)


def test_a_moved_slot(run_all, raw, names):
    """What this process takes for the node of a slot may be wrong. The node itself corrects it."""
    run_all([get(names[0])])
    ours = pools.current()
    wrong = next(one for one in ours._masters() if one[1] != slot_owner(raw, names[0]))
    ours.shards = [(wrong,)] * SLOTS
    assert run_all([push(name, "a") for name in names]) == [1] * len(names)
    slot = slot_of(get(names[0]))
    assert ours.shards[slot][0][1] == slot_owner(raw, names[0])


def test_a_command_without_a_key(run_all, raw):
    """It goes to the node of a slot if it says one, so every master can be asked."""
    (primaries,) = run_all([servers.slot_ranges()])
    assert [primary.ranges for primary in primaries] == [
        ((0, 5460),),
        ((5461, 10921),),
        ((10922, 16383),),
    ]
    asked = Command(("INFO", "server"), lambda reply: reply)
    found = run_all([asked._replace(slot=primary.slot) for primary in primaries])
    ports = [reply.split(b"tcp_port:")[1].split()[0].decode() for reply in found]
    assert [primary.name.rpartition(":")[2] for primary in primaries] == ports
    assert run_all([asked])


def test_one_round_trip(run_all, cluster, raw, names):
    """When the nodes are known, a command is one call on one server."""
    run_all([get(name) for name in names])

    def calls():
        found = Counter()
        for server in cluster.servers:
            with server.client() as client:
                found.update(
                    {
                        name: stats["calls"]
                        for name, stats in client.info("commandstats").items()
                        if not name.startswith(("cmdstat_info", "cmdstat_repl", "cmdstat_ping"))
                    }
                )
        return found

    before = calls()
    run_all([get(names[0])])
    made = calls() - before
    made = {name: count for name, count in made.items() if "hello" not in name}
    assert made.pop("cmdstat_hgetall") == 1
    assert not {name for name in made if "cluster" in name and run_all is clients.run_all}
