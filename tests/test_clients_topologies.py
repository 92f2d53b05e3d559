"""Reading which node of a Redis Cluster serves which slot, from nodes that cannot say it."""

import asyncio
import socket
from contextlib import closing
from time import monotonic

import pytest
from redis.backoff import NoBackoff
from redis.retry import Retry

from sessions_redis import clients
from sessions_redis.clients import pools
from sessions_redis.exceptions import SessionStoreUnavailable
from tests.clustered import SLOTS
from tests.garbler import Garbler
from tests.servers import Server, wait_until
from tests.test_clients_cluster import get

# No request waits long for a node that says nothing.
ONCE = {"retry": Retry(NoBackoff(), 0), "socket_timeout": 0.2}


@pytest.fixture(scope="module")
def node(tmp_path_factory):
    """A Cluster of one node, which serves all slots."""
    server = Server(tmp_path_factory.mktemp("node"), "--cluster-enabled", "yes")
    with server.client() as client:
        client.execute_command("CLUSTER", "ADDSLOTSRANGE", 0, SLOTS - 1)
        wait_until(
            lambda: client.execute_command("CLUSTER INFO")["cluster_state"] == "ok",
            "the node serves its slots",
        )
    yield server
    server.stop()


@pytest.fixture(autouse=True)
def session_redis(settings, prefix):
    settings.SESSION_REDIS = {"LOCATION": "memory://", "KEY_PREFIX": prefix}
    return settings.SESSION_REDIS


@pytest.fixture
def use(redis_at):
    """Lets the site use a Cluster with nodes at these ports."""

    def use(*ports, **options):
        redis_at("redis+cluster://" + ",".join(f"127.0.0.1:{port}" for port in ports), **options)

    return use


def message_of(run_all):
    """The error of a command that reached no node."""
    with pytest.raises(SessionStoreUnavailable) as caught:
        run_all([get("a")])
    assert not caught.value.may_have_been_done
    return str(caught.value)


def test_a_node_without_slots(tmp_path, use, run_all):
    """A node that has not joined its Cluster yet is called so."""
    alone = Server(tmp_path, "--cluster-enabled", "yes")
    try:
        use(alone.port)
        assert "it knows no node that serves slots" in message_of(run_all)
    finally:
        alone.stop()


def slots_of(port):
    """A part of a reply to CLUSTER SLOTS: the node at ``port`` serves the first ten slots."""
    return f"*3\r\n:0\r\n:9\r\n*3\r\n$9\r\n127.0.0.1\r\n:{port}\r\n$1\r\nx\r\n"


@pytest.mark.parametrize(
    ("reply", "words"),
    [
        (":1\r\n", "not a reply to the command"),
        (":1x\r\n", "not a reply to the command"),
        ("*1\r\n*2\r\n:0\r\n:9\r\n", "it knows no node"),
        (f"*2\r\n{slots_of(1)}{slots_of(2)}", "agree on a valid"),
    ],
    ids=["a number", "no number", "slots without a node", "two masters of a slot"],
)
def test_garbage_in_place_of_the_slots(node, use, run_all, reply, words):
    """Whatever a node says of the slots, that is a failure, or it is understood."""
    with Garbler(node.port) as garbler:
        use(garbler.port, **ONCE)
        garbler.garble(reply.encode())
        assert words in message_of(run_all)


def test_a_node_that_says_nothing(node, silent, use, run_all):
    """The next node is asked. Later, the silent one is asked last."""
    use(silent, node.port, **ONCE)
    assert run_all([get("a")]) == [{}]
    ours = pools.current()
    assert ours.pools_at(("127.0.0.1", silent)).circuit.is_suspected
    assert [*ours._candidates(None, None)][-1].address == ("127.0.0.1", silent)


def test_no_node_says_anything(silent, use, run_all):
    """Soon, requests do not wait for them any more."""
    with closing(socket.create_server(("127.0.0.1", 0))) as other:
        use(silent, other.getsockname()[1], **ONCE)
        wait_until(
            lambda: "none of the nodes answers" in message_of(run_all),
            "the process knows that no node answers",
        )


def test_a_connection_that_is_lost_meanwhile(node, use, run_all):
    """If the reply to the question for the slots is cut, that is a failure."""
    with Garbler(node.port) as garbler:
        use(garbler.port, **ONCE)
        garbler.garble(b"*1\r\n*3\r\n", closes=True)
        assert "does not answer" in message_of(run_all)


def asked_for_slots(node):
    """How often this node was asked for the slots."""
    with node.client() as client:
        return client.info("commandstats")["cmdstat_cluster|slots"]["calls"]


def test_what_another_thread_has_read_meanwhile(node, use):
    """A thread or a task that had to wait for another one's reading does not read again."""
    use(node.port)
    assert clients.run_all([get("a")]) == [{}]
    ours, before = pools.current(), asked_for_slots(node)
    since = monotonic()
    ours.read_again(since=since)
    ours.read_again(since=since)
    assert asked_for_slots(node) == before + 1

    async def read_in_two_tasks():
        since = monotonic()
        await asyncio.gather(ours.aread_again(since=since), ours.aread_again(since=since))

    asyncio.run(read_in_two_tasks())
    assert asked_for_slots(node) == before + 2
