"""A Cluster in the weather: three masters, each with a replica."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import redis
from redis.cluster import RedisCluster

from tests.clustered import FAILOVER_DEADLINE, Cluster
from tests.servers import Server, wait_until
from tests.weather.places import Disturber, Place, Weather, with_clock

# Parts of the index of all sessions.
SHARDS = 4

# Milliseconds of silence after which a master is replaced. On a busy machine, a shorter time makes
# the nodes replace a master that only was slow.
NODE_TIMEOUT = 5000


@contextmanager
def with_cluster(weather: Weather, folder: Path) -> Iterator[Place]:
    arguments = ("--appendonly", "yes", *weather.server)
    cluster = Cluster(folder, *arguments, timeout=NODE_TIMEOUT)
    with ExitStack() as stack:
        stack.callback(cluster.stop)
        if weather.clock:
            _shift_clocks(cluster, weather.clock, folder)
        if weather.password:
            _set_password(cluster, weather.password)
        password = {"password": weather.password} if weather.password else {}
        clients = [server.client(**password) for server in cluster.servers]
        relays = _announced(cluster, clients, stack) if weather.in_network else []
        ports = [one.port for one in relays or cluster.servers]
        secret = f":{weather.password}@" if weather.password else ""
        yield Place(
            server=cluster.servers[0],
            admin=clients[0],
            url=f"redis+cluster://{secret}" + ",".join(f"127.0.0.1:{port}" for port in ports),
            ports=set(ports),
            relays=relays,
            everything=partial(_everything, cluster, password),
            cluster=cluster,
            nodes=clients,
            masters=clients[: len(clients) // 2],
            settings={"INDEX_SHARDS": SHARDS},
        )


def _everything(cluster: Cluster, password: dict[str, str]) -> RedisCluster:
    if not password:
        wait_until(cluster.is_ready, "the Cluster serves all slots", FAILOVER_DEADLINE)
    return cluster.client(**password)


def _shift_clocks(cluster: Cluster, seconds: int, folder: Path) -> None:
    """Start a master and its replica again, with clocks that are ahead."""
    program = with_clock(seconds, folder)
    for server in (cluster.servers[0], replica_of(cluster, cluster.servers[0])):
        server.stop()
        server.binary = program
        server.start()
    wait_until(cluster.is_ready, "the Cluster serves all slots", FAILOVER_DEADLINE)


def _set_password(cluster: Cluster, password: str) -> None:
    for server in cluster.servers:
        with server.client() as client:
            client.config_set("masterauth", password)
            client.config_set("requirepass", password)


def _announced(cluster: Cluster, clients: list[redis.Redis], stack: ExitStack) -> list[Disturber]:
    """A relay before each node. The nodes announce the relays' ports in place of theirs."""
    relays = [stack.enter_context(Disturber(server.port)) for server in cluster.servers]
    for client, relay in zip(clients, relays, strict=True):
        client.config_set("cluster-announce-port", relay.port)
    known = {relay.port for relay in relays}

    def all_know() -> bool:
        return all(_ports(client) == known for client in clients)

    wait_until(all_know, "all nodes know the relays' ports", FAILOVER_DEADLINE)
    return relays


def _ports(client: redis.Redis) -> set[int]:
    """The ports of all nodes, as this one knows them."""
    return {int(address.rpartition(":")[2]) for address in nodes_known_to(client)}


def nodes_known_to(client: redis.Redis) -> dict[str, Any]:
    """By address: what the node knows of each."""
    known: dict[str, Any] = client.execute_command("CLUSTER NODES")
    return known


def name_of(client: redis.Redis) -> str:
    """The ID of the node in the Cluster."""
    name: bytes | str = client.execute_command("CLUSTER MYID")
    return name.decode() if isinstance(name, bytes) else name


def replica_of(cluster: Cluster, master: Server) -> Server:
    """
    The replica of this master. Each master has one, and the Cluster makes them in this order.
    """
    masters = len(cluster.servers) // 2
    return cluster.servers[masters + cluster.servers.index(master)]


def wait_for_promotion(cluster: Cluster, replica: Server, others: list[redis.Redis]) -> None:
    """Wait until the replica is a master, and ``others``, which are nodes, see all slots served."""

    def is_promoted() -> bool:
        states = [node.execute_command("CLUSTER INFO")["cluster_state"] for node in others]
        return cluster.role(replica) == "master" and set(states) == {"ok"}

    wait_until(is_promoted, "the replica is promoted", FAILOVER_DEADLINE)
