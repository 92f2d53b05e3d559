"""A Redis Cluster: nodes on this machine, of which some are replicas. All are processes."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

from redis.cluster import RedisCluster

from tests.servers import Server, free_port, wait_until

SLOTS = 16384

# A failover takes two or three seconds, and longer on a busy machine.
FAILOVER_DEADLINE = 90.0

# Milliseconds. No node is silent for so long because the machine is busy.
PATIENCE = 20_000


class Cluster:
    """
    A Cluster of ``masters``, each with ``replicas``.

    ``url``: for the site. ``timeout``: after so many milliseconds of silence, the nodes take a node
    for lost. ``arguments``: of the servers. ``of_each``: returns those that differ between nodes.
    """

    def __init__(
        self,
        folder: Path,
        *arguments: str,
        masters: int = 3,
        replicas: int = 1,
        timeout: int = 2000,
        binary: str | None = None,
        of_each: Callable[[], Sequence[str]] = tuple,
    ) -> None:
        self.servers: list[Server] = []
        with ExitStack() as stack:
            stack.callback(self.stop)
            for number in range(masters * (1 + replicas)):
                home = folder / f"node-{number}"
                home.mkdir(parents=True)
                self._start(home, timeout, (*arguments, *of_each()), binary)
            self._join(masters)
            stack.pop_all()
        self.url = "redis+cluster://" + ",".join(f"127.0.0.1:{one.port}" for one in self.servers)
        self.url_of_nodes = [server.url for server in self.servers]

    def _start(self, folder: Path, timeout: int, more: Sequence[str], binary: str | None) -> None:
        arguments = [
            "--cluster-enabled",
            "yes",
            "--cluster-node-timeout",
            str(timeout),
            "--cluster-replica-validity-factor",
            "0",
            "--repl-diskless-sync-delay",
            "0",
            "--cluster-port",
            str(free_port()),
            *more,
        ]
        self.servers.append(Server(folder, *arguments, binary=binary))

    def _join(self, masters: int) -> None:
        clients = [server.client(decode_responses=True) for server in self.servers]
        try:
            names = [client.execute_command("CLUSTER MYID") for client in clients]
            for number, client in enumerate(clients[:masters]):
                bounds = [SLOTS * (number + more) // masters for more in (0, 1)]
                client.execute_command("CLUSTER ADDSLOTSRANGE", bounds[0], bounds[1] - 1)
                client.execute_command("CLUSTER SET-CONFIG-EPOCH", number + 1)
            first, first_bus = self.servers[0].port, self._bus_port(0)
            for client in clients[1:]:
                client.execute_command("CLUSTER MEET", "127.0.0.1", first, first_bus)
            wait_until(partial(self._all_know, clients, names), "the nodes know each other")
            for number, client in enumerate(clients[masters:]):
                client.execute_command("CLUSTER REPLICATE", names[number % masters])
            wait_until(self.is_ready, "the Cluster serves all slots")
        finally:
            for client in clients:
                client.close()

    def _bus_port(self, number: int) -> str:
        arguments = self.servers[number].arguments
        return arguments[arguments.index("--cluster-port") + 1]

    @staticmethod
    def _all_know(clients: list[Any], names: list[str]) -> bool:
        """Whether each node knows the others by name. When it meets one, it invents a name."""
        known = [client.execute_command("CLUSTER NODES").values() for client in clients]
        return all({node["node_id"] for node in nodes} == {*names} for nodes in known)

    def is_ready(self) -> bool:
        """Whether all nodes that run see all slots served, and each replica follows its master."""
        for server in self.running():
            with server.client(decode_responses=True) as client:
                state = client.execute_command("CLUSTER INFO")["cluster_state"]
                role = client.info("replication")
                if state != "ok" or role.get("master_link_status", "up") != "up":
                    return False
        return True

    def keep_nodes(self) -> None:
        """From now on, take no node for lost only because the machine is busy."""
        for server in self.servers:
            with server.client() as client:
                client.config_set("cluster-node-timeout", PATIENCE)

    def is_settled(self) -> bool:
        """
        Whether, in addition, all nodes that run name the same nodes for each slot.

        They name a replica only when they have heard that it has copied something. So each master
        needs a write before.
        """
        seen = {self._slots_seen_by(server) for server in self.running()}
        return len(seen) == 1 and all(len(row) > 3 for row in seen.pop()) and self.is_ready()

    @staticmethod
    def _slots_seen_by(server: Server) -> frozenset[tuple[Any, ...]]:
        """For each range of slots: its bounds, the ID of the master, and those of the replicas."""
        with server.client() as client:
            rows = client.execute_command("CLUSTER SLOTS")
        return frozenset(
            (first, last, master[2], *sorted(replica[2] for replica in replicas))
            for first, last, master, *replicas in rows
        )

    def running(self) -> Iterator[Server]:
        return (server for server in self.servers if server.process.poll() is None)

    def masters(self) -> list[Server]:
        """The nodes that are masters now."""
        return [server for server in self.running() if self.role(server) == "master"]

    @staticmethod
    def role(server: Server) -> str:
        with server.client(decode_responses=True) as client:
            role: str = client.info("replication")["role"]
            return role

    def client(self, **options: Any) -> RedisCluster:
        """A client for the tests, of redis-py."""
        server = next(self.running())
        return RedisCluster(host="127.0.0.1", port=server.port, **options)

    def stop(self) -> None:
        for server in self.servers:
            server.process.kill()
            server.process.wait()
