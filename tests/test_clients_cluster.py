"""Commands in a Redis Cluster: each reaches the node of its key."""

import asyncio
import logging
import uuid
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest

from sessions_redis import clients, conf
from sessions_redis.clients import pools, replicas
from sessions_redis.clients.slots import slot_of
from sessions_redis.engine import SessionStore
from sessions_redis.storage import probes, replies, servers
from sessions_redis.storage.commands import session_id
from sessions_redis.storage.steps import Command
from tests.clustered import SLOTS, Cluster
from tests.monitored import instrumented
from tests.servers import wait_until
from tests.test_clients_names import CLIENT_INFO, OWN_NAME

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


def test_the_name_of_this_package(run_all, raw):
    """The list of clients of each node names this package."""
    (primaries,) = run_all([servers.slot_ranges()])
    shown = run_all([CLIENT_INFO._replace(slot=primary.slot) for primary in primaries])
    major, minor = raw.info("server")["redis_version"].split(".")[:2]
    expected = OWN_NAME if (int(major), int(minor)) >= (7, 2) else None
    fields = [dict(field.split("=", 1) for field in one.split()) for one in shown]
    assert [one.get("lib-name") for one in fields] == [expected] * 3


def test_all_nodes_are_asked_before_any_answers(run_all, cluster, settings, raw, names):
    """A node that takes its time does not keep other nodes from beginning."""
    settings.SESSION_REDIS = {"LOCATION": cluster.url, "OPTIONS": {"socket_timeout": 60.0}}
    commands = [Command(("EVAL", PUSH, 1, name, "a"), same, PUSH) for name in names]
    run_all([get(name) for name in names])
    slow = min(cluster.masters(), key=lambda server: server.port)  # the first that is asked
    elsewhere = [name for name in names if slot_owner(raw, name) != slow.port]
    with slow.client() as client, ThreadPoolExecutor(1) as executor:
        client.client_pause(60_000, all=False)  # writes only, so that it can end
        try:
            answers = executor.submit(run_all, commands)
            wait_until(lambda: all(map(raw.llen, elsewhere)), "the other nodes have run theirs")
            assert not answers.done()
        finally:
            client.client_unpause()
        assert answers.result() == [1] * len(names)


def test_a_cancelled_list(raw, names):
    """Wherever it is cancelled, no later command reads an answer to it."""
    for name in names:
        raw.hset(name, "name", name)

    async def ask():
        reads = [get(name) for name in names]
        for turns in range(30):
            task = asyncio.create_task(clients.arun_all(reads[::-1]))
            for _ in range(turns):
                await asyncio.sleep(0)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            answers = await clients.arun_all(reads)
            assert [answer[b"name"].decode() for answer in answers] == names
        return task

    assert asyncio.run(ask()).done()


def test_tools_that_monitor_commands(run_all, raw, names):
    """A list is one operation for them, whatever nodes it reaches. So is a single command."""
    run_all([get(name) for name in names])
    with instrumented() as spans:
        (one,) = spans.of(run_all, [get(names[0])])
        assert one.name == "HGETALL"
        assert slot_owner(raw, names[0]) in one.attributes.values()
        assert spans.names_of(run_all, [get(name) for name in names]) == ["PIPELINE"]


def test_the_first_command_is_monitored(run_all, names):
    """A tool sees the node of a command though the process did not know the nodes before it."""
    with instrumented() as spans:
        (*_, span) = spans.of(run_all, [get(names[0])])
        assert span.name == "HGETALL"


class RefusedError(Exception):
    """Raised by code that reads a reply."""


def refuse(reply):
    raise RefusedError


def test_an_error_that_is_not_of_redis(run_all, raw, names):
    """It is raised as it is. The connections to all nodes are in step afterwards."""
    for name in names:
        raw.hset(name, "name", name)
    with pytest.raises(RefusedError):
        run_all([get(name)._replace(read=refuse) for name in names])
    answers = run_all([get(name) for name in names])
    assert [answer[b"name"].decode() for answer in answers] == names


def test_a_script_without_keys(run_all):
    """It runs on any node, or on the node of a slot if it says one."""
    commands = [*probes.runs_scripts()]
    assert [run_all([command]) for command in commands] == [[True]] * len(commands)


def create():
    session = SessionStore()
    session["_auth_user_id"] = "1"
    session.create()
    return conf.current().keyspace.session(session_id(session.session_key))


def holds(server, key):
    with server.client() as client:
        return client.keys(key) != []


def test_waiting_for_replicas(cluster, settings, session_redis, caplog):
    """With WAIT_REPLICAS, a replica of the session's node has it when it is created."""
    options = {"socket_timeout": 60.0}
    settings.SESSION_REDIS = {**session_redis, "WAIT_REPLICAS": 1, "OPTIONS": options}
    with caplog.at_level(logging.WARNING, "sessions_redis"):
        key = create()
        assert [holds(server, key) for server in cluster.servers].count(True) == 2
    assert not caplog.records


def test_too_few_replicas(settings, session_redis, caplog, monkeypatch):
    """A warning names the Cluster, and the session is there."""
    monkeypatch.setattr(replicas, "PART", 0.01)
    settings.SESSION_REDIS = {**session_redis, "WAIT_REPLICAS": 2}
    with caplog.at_level(logging.WARNING, "sessions_redis"):
        create()
    assert "of 2 replicas of Redis at redis+cluster://" in caplog.text
