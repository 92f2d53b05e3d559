"""Addresses of a Redis Cluster: those that this machine cannot reach, and those with TLS."""

import asyncio

import pytest

from sessions_redis import clients
from sessions_redis.clients import pools
from tests.certificates import Certificates
from tests.clustered import SLOTS, Cluster
from tests.servers import free_port, required, wait_until
from tests.test_clients_cluster import NUMBERS, get

# The nodes say that they are there. No such host exists.
ELSEWHERE = "node.invalid"


@pytest.fixture(params=["sync", "async"])
def run_all(request):
    if request.param == "sync":
        return clients.run_all
    return lambda commands: asyncio.run(clients.arun_all(commands))


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory):
    """A Cluster whose nodes name a host that this machine does not know."""
    options = ("--cluster-preferred-endpoint-type", "hostname")
    names = ("--cluster-announce-hostname", ELSEWHERE)
    cluster = Cluster(tmp_path_factory.mktemp("elsewhere"), *options, *names, replicas=0)
    try:
        wait_until(lambda: hosts_of(cluster) == {ELSEWHERE.encode()}, "all nodes know the host")
        cluster.keep_nodes()
        yield cluster
    finally:
        cluster.stop()


def hosts_of(cluster):
    """The hosts of the masters, as all nodes see them."""
    hosts = set()
    for server in cluster.servers:
        with server.client() as client:
            hosts |= {master[0] for _, _, master, *_ in client.execute_command("CLUSTER SLOTS")}
    return hosts


def test_addresses_that_this_machine_cannot_reach(elsewhere, settings, session_redis, run_all):
    """The option address_remap of redis-py translates them, also in redirections."""

    def remap(address):
        host, port = address
        return ("127.0.0.1", port) if host == ELSEWHERE else address

    settings.SESSION_REDIS = {
        **session_redis,
        "LOCATION": elsewhere.url,
        "OPTIONS": {"address_remap": remap},
    }
    reads = [get(f"{number}") for number in NUMBERS]
    assert run_all(reads) == [{}] * len(reads)
    ours = pools.current()
    assert {address[0] for address in ours._addresses()} == {"127.0.0.1"}
    ours.shards = [ours.shards[0]] * SLOTS
    assert run_all(reads) == [{}] * len(reads)
    assert len(ours._masters()) == 3


@pytest.fixture(scope="module")
def certificates(tmp_path_factory):
    return Certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="module")
def secure_port(tmp_path_factory, certificates):
    """The port of a node that speaks TLS, also with other nodes."""
    binary, port = required("redis-server"), free_port()
    arguments = (*certificates.server_arguments(port), "--tls-cluster", "yes")
    folder = tmp_path_factory.mktemp("secure")
    cluster = Cluster(folder, *arguments, masters=1, replicas=0, binary=binary)
    yield port
    cluster.stop()


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_tls(secure_port, certificates, settings, session_redis, run_all, host):
    """With ``rediss+cluster://``, all connections use TLS: to read the topology, and later."""
    settings.SESSION_REDIS = {
        **session_redis,
        "LOCATION": f"rediss+cluster://{host}:{secure_port}",
        "OPTIONS": certificates.client_options(),
    }
    reads = [get(f"{number}") for number in NUMBERS]
    assert run_all(reads) == [{}] * len(reads)
    assert {port for _, port in pools.current()._addresses()} == {secure_port}
