"""
The kinds of servers that the engine runs on, besides one server, which the whole suite uses.

A module of tests that runs on some of them writes ``server = on("tls", "sentinel")`` and imports
the other fixtures of this module. They take the place of those in conftest.py. A server starts
when a test first needs it, once in each process.
"""

import copy
import os
import uuid
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import fakeredis
import pytest
import redis
from redis.cluster import RedisCluster

from sessions_redis.clients import memory
from tests.certificates import Certificates
from tests.clustered import Cluster
from tests.conftest import DELETE_ALL
from tests.raw import client_at
from tests.replicated import Replicated
from tests.servers import Server, free_port, required, wait_until

# A prefix with a hash tag: all keys of a test are in one slot of a Cluster.
IN_ONE_SLOT = "{{test-{}}}"


class Topology:
    """
    ``location`` and ``options``: for the site. ``url``: of the server with the sessions, for tests.

    ``prefix``: a prefix of a test's own, from any text.
    """

    url: str = ""
    prefix = "test-{}"

    def __init__(self, location: str, **options: Any) -> None:
        self.location = location
        self.options = options

    def client(self) -> Any:
        """A client for the tests. It finds keys on whichever node they are."""
        return client_at(self.url)

    def delete_all(self, client: Any, prefix: str) -> list[bytes]:
        """Delete all that is under a prefix, and return what had no TTL there."""
        return client.eval(DELETE_ALL, 0, f"{prefix}:*")

    def stop(self) -> None:
        """Stop the servers."""


class Memory(Topology):
    """The memory of the process."""

    def __init__(self, folder: Path) -> None:
        super().__init__("memory://")

    def client(self) -> redis.Redis:
        return fakeredis.FakeRedis(server=memory.fakeredis_at(self.location)[1])


class Encrypted(Topology):
    """A server with a certificate of a private authority, which asks clients for a certificate."""

    def __init__(self, folder: Path) -> None:
        certificates, port = Certificates(folder), free_port()
        super().__init__(f"rediss://127.0.0.1:{port}/0", **certificates.client_options())
        arguments = certificates.server_arguments(port)
        self.server = Server(folder, *arguments, binary=required("redis-server"))
        self.url = self.server.url  # without TLS
        self.stop = self.server.stop


class Watched(Topology):
    """A master and two replicas, which three Sentinels watch."""

    def __init__(self, folder: Path) -> None:
        self.replicated = Replicated(folder)
        super().__init__(self.replicated.url)
        self.url = self.replicated.master.url
        self.stop = self.replicated.stop


class OneSlot(Topology):
    """
    One node in cluster mode, with a prefix that puts all keys into one of its slots.

    Hosted Redis that is called serverless behaves so. A script that touches a key of another slot
    fails there.
    """

    prefix = IN_ONE_SLOT

    def __init__(self, folder: Path) -> None:
        self.server = Server(folder, "--cluster-enabled", "yes")
        super().__init__(self.server.url)
        self.url, self.stop = self.server.url, self.server.stop
        with self.client() as client:
            client.execute_command("CLUSTER", "ADDSLOTSRANGE", 0, 16383)
            wait_until(partial(self.is_ready, client), "the node serves its slots")

    @staticmethod
    def is_ready(client: redis.Redis) -> bool:
        return client.execute_command("CLUSTER INFO")["cluster_state"] == "ok"


class Spread(Topology):
    """A Cluster of three masters, each with a replica. A test's keys are on all of them."""

    def __init__(self, folder: Path) -> None:
        self.cluster = Cluster(folder)
        self.cluster.keep_nodes()
        super().__init__(self.cluster.url)
        self.url, self.stop = self.cluster.url, self.cluster.stop

    def delete_all(self, client: Any, prefix: str) -> list[bytes]:
        nodes = RedisCluster.PRIMARIES
        answers = client.execute_command("EVAL", DELETE_ALL, 0, f"{prefix}:*", target_nodes=nodes)
        return [key for keys in answers.values() for key in keys]


KINDS: dict[str, Callable[[Path], Topology]] = {
    "memory": Memory,
    "tls": Encrypted,
    "sentinel": Watched,
    "slot": OneSlot,
    "cluster": Spread,
}


@pytest.fixture(scope="session")
def topologies(tmp_path_factory):
    """Starts a topology if it does not run yet, and returns it."""
    running: dict[str, Topology] = {}
    with ExitStack() as stack:

        def start(name: str) -> Topology:
            if name == "cluster-tag":  # the same Cluster, of which a site uses one slot
                tagged = copy.copy(start("cluster"))
                tagged.prefix = IN_ONE_SLOT
                return tagged
            if name not in running:
                running[name] = KINDS[name](tmp_path_factory.mktemp(name))
                stack.callback(running[name].stop)
            return running[name]

        yield start


def on(*names: str, with_all: tuple[str, ...] = ()) -> Any:
    """
    The fixture ``server``: each of these topologies.

    ``with_all``: further ones, with TOPOLOGIES=all in the environment.
    """
    names = (*names, *(with_all if os.environ.get("TOPOLOGIES") == "all" else ()))

    @pytest.fixture(params=names, name="server")
    def server(request, topologies):
        return topologies(request.param)

    return server


@pytest.fixture
def prefix(server):
    return server.prefix.format(uuid.uuid4().hex[:12])


@pytest.fixture
def delete_all(server):
    with server.client() as client:
        yield partial(server.delete_all, client)


@pytest.fixture(autouse=True)
def session_redis(settings, server, prefix, delete_all):
    settings.SESSION_REDIS = {
        "LOCATION": server.location,
        "OPTIONS": server.options,
        "KEY_PREFIX": prefix,
    }
    yield settings.SESSION_REDIS
    assert delete_all(prefix) == []


def chosen(tests: dict[Any, tuple[str, ...]]) -> dict[str, Any]:
    """The tests with these names of other modules, under names that say the module."""
    return {
        f"{module.__name__.removeprefix('tests.')}__{name}": getattr(module, f"test_{name}")
        for module, names in tests.items()
        for name in names
    }
