"""Addresses of a Redis Cluster: those that this machine cannot reach, with TLS, and of IPv6."""

import pytest

from sessions_redis import registry
from sessions_redis.clients import pools
from sessions_redis.engine import SessionStore
from sessions_redis.exceptions import SessionStoreUnavailable
from tests.certificates import Certificates
from tests.clustered import SLOTS, Cluster
from tests.servers import free_port, required, wait_until
from tests.test_clients_cluster import NUMBERS, get
from tests.test_ipv6 import needs_ipv6

# The nodes say that they are there. No such host exists.
ELSEWHERE = "node.invalid"


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
def unnamed(tmp_path_factory):
    """A Cluster whose nodes name no host, so that clients use the host which they asked."""
    options = ("--cluster-preferred-endpoint-type", "unknown-endpoint")
    cluster = Cluster(tmp_path_factory.mktemp("unnamed"), *options, replicas=0)
    try:
        cluster.keep_nodes()
        yield cluster
    finally:
        cluster.stop()


def test_nodes_that_name_no_host(unnamed, settings, session_redis, run_all):
    """All of them are at the host that was asked, also in redirections."""
    settings.SESSION_REDIS = {**session_redis, "LOCATION": unnamed.url}
    reads = [get(f"{number}") for number in NUMBERS]
    assert run_all(reads) == [{}] * len(reads)
    ours = pools.current()
    assert {*ours._addresses()} == {("127.0.0.1", server.port) for server in unnamed.servers}
    ours.shards = [ours.shards[0]] * SLOTS
    assert run_all(reads) == [{}] * len(reads)
    assert len(ours._masters()) == 3


@pytest.fixture(scope="module")
def certificates(tmp_path_factory):
    return Certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="module")
def secure_ports(tmp_path_factory, certificates):
    """The ports of three nodes that speak TLS, also with each other."""
    binary, ports = required("redis-server"), []

    def of_each():
        ports.append(free_port())
        return (*certificates.server_arguments(ports[-1]), "--tls-cluster", "yes")

    folder = tmp_path_factory.mktemp("secure")
    cluster = Cluster(folder, replicas=0, binary=binary, of_each=of_each)
    try:
        cluster.keep_nodes()
        yield ports
    finally:
        cluster.stop()


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_tls(secure_ports, certificates, settings, session_redis, run_all, host):
    """With ``rediss+cluster://``, all connections use TLS: to read the topology, and later."""
    settings.SESSION_REDIS = {
        **session_redis,
        "LOCATION": f"rediss+cluster://{host}:{secure_ports[0]}",
        "OPTIONS": certificates.client_options(),
    }
    reads = [get(f"{number}") for number in NUMBERS]
    assert run_all(reads) == [{}] * len(reads)
    assert {port for _, port in pools.current()._addresses()} == {*secure_ports}
    session = SessionStore()
    session["_auth_user_id"] = "1"
    session.save()
    session.cycle_key()
    assert registry.end_all_of("1") == 1


def test_no_certificate(secure_ports, certificates, settings, session_redis, run_all):
    """Nodes that require a certificate of the client refuse it without one."""
    settings.SESSION_REDIS = {
        **session_redis,
        "LOCATION": f"rediss+cluster://127.0.0.1:{secure_ports[0]}",
        "OPTIONS": certificates.client_options(shows_certificate=False),
    }
    with pytest.raises(SessionStoreUnavailable, match="certificate"):
        run_all([get("1")])


@pytest.fixture(scope="module")
def ipv6(tmp_path_factory):
    """Nodes that say that they are at the address ::1."""
    arguments = ("--bind", "127.0.0.1", "::1", "--cluster-announce-ip", "::1")
    cluster = Cluster(tmp_path_factory.mktemp("ipv6"), *arguments, replicas=0)
    try:
        wait_until(lambda: hosts_of(cluster) == {b"::1"}, "all nodes know the address")
        cluster.keep_nodes()
        yield cluster
    finally:
        cluster.stop()


@needs_ipv6
def test_ipv6(ipv6, settings, session_redis, run_all):
    """Nodes at IPv6 addresses are found by such an address, and redirect to them."""
    port = ipv6.servers[0].port
    settings.SESSION_REDIS = {**session_redis, "LOCATION": f"redis+cluster://[::1]:{port}"}
    reads = [get(f"{number}") for number in NUMBERS]
    assert run_all(reads) == [{}] * len(reads)
    ours = pools.current()
    assert {*ours._addresses()} == {("::1", server.port) for server in ipv6.servers}
    ours.shards = [ours.shards[0]] * SLOTS
    assert run_all(reads) == [{}] * len(reads)
    assert len(ours._masters()) == 3
