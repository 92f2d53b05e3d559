"""A master with its replicas, and Sentinels that watch them. All are processes on this machine."""

import subprocess
from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import redis

from tests.servers import DEADLINE, Server, free_port, is_free, server_binary, wait_until

SERVICE = "mymaster"

# A failover takes a second or two, and longer on a busy machine.
FAILOVER_DEADLINE = 90.0


class Sentinel:
    """A Redis Sentinel. ``settings``: the lines of its configuration."""

    def __init__(self, folder: Path, port: int, settings: Sequence[str], binary: str) -> None:
        self.port = port
        self.file = folder / f"sentinel-{port}.conf"
        # It also listens on IPv6 where the machine has it.
        self.file.write_text("\n".join([f"port {port}", "bind 127.0.0.1 -::1", *settings, ""]))
        self.process = subprocess.Popen(
            [binary, str(self.file), "--sentinel"], stdout=subprocess.DEVNULL
        )
        wait_until(lambda: not is_free(port), "the Sentinel listens")

    def client(self) -> redis.Redis:
        return redis.Redis(port=self.port, decode_responses=True)

    def ask(self, *command: str):
        with self.client() as client:
            return client.execute_command("SENTINEL", *command)

    def master(self) -> dict:
        """What it knows of the master."""
        with self.client() as client:
            return client.sentinel_master(SERVICE)

    def stop(self) -> None:
        self.process.kill()
        self.process.wait(DEADLINE)


class Replicated:
    """
    A master, its replicas, and the Sentinels of both.

    The Sentinels know all from the start, because finding each other would take seconds.

    ``down_after``: after so many milliseconds of silence, a Sentinel takes a server for down.
    ``arguments``: of the servers. ``settings``: lines of the configuration of the Sentinels.
    ``port``: where the Sentinels reach the master, if it is not the server's first port.
    """

    def __init__(
        self,
        folder: Path,
        *arguments: str,
        replicas: int = 2,
        sentinels: int = 3,
        down_after: int = 60_000,
        settings: Sequence[str] = (),
        port: int | None = None,
        binary: str | None = None,
    ) -> None:
        self.folder = folder
        self.binary = binary or server_binary()
        self.servers: list[Server] = []
        self.sentinels: list[Sentinel] = []
        with ExitStack() as stack:
            stack.callback(self.stop)
            # Without a delay, a replica gets the master's data at once.
            self._start_servers(["--repl-diskless-sync-delay", "0", *arguments], replicas)
            self.add_sentinels(sentinels, port, down_after, settings)
            stack.pop_all()

    def _start_servers(self, arguments: list[str], replicas: int) -> None:
        for number in range(1 + replicas):
            folder = self.folder / f"server-{number}"
            folder.mkdir()
            self.servers.append(Server(folder, *arguments, binary=self.binary))
        for server in self.servers[1:]:
            with server.client() as client:
                client.replicaof("127.0.0.1", self.servers[0].port)
        for server in self.servers[1:]:
            wait_until(partial(self.follows, server, self.servers[0]), "the replica is in step")

    def add_sentinels(
        self,
        count: int,
        port: int | None = None,
        down_after: int = 60_000,
        settings: Sequence[str] = (),
    ) -> None:
        master = port or self.servers[0].port
        ports = [free_port() for _ in range(count)]
        for place, own in enumerate(ports):
            lines = [
                f"myid {place:040}",
                f"monitor {SERVICE} 127.0.0.1 {master} {count // 2 + 1}",
                f"down-after-milliseconds {SERVICE} {down_after}",
                f"failover-timeout {SERVICE} 10000",
                *(
                    f"known-sentinel {SERVICE} 127.0.0.1 {other} {number:040}"
                    for number, other in enumerate(ports)
                    if number != place
                ),
                *(f"known-replica {SERVICE} 127.0.0.1 {one.port}" for one in self.servers[1:]),
            ]
            lines = [*settings, *(f"sentinel {line}" for line in lines)]
            self.sentinels.append(Sentinel(self.folder, own, lines, self.binary))

    @property
    def hosts(self) -> str:
        return ",".join(f"127.0.0.1:{sentinel.port}" for sentinel in self.sentinels)

    @property
    def url(self) -> str:
        return f"redis+sentinel://{self.hosts}/{SERVICE}/0"

    @staticmethod
    def follows(server: Server, master: Server) -> bool:
        """Whether ``server`` is a replica of ``master`` and is connected to it."""
        with server.client() as client:
            role = client.info("replication")
        return (role.get("master_port"), role.get("master_link_status")) == (master.port, "up")

    def master_of(self, sentinel: Sentinel) -> Server:
        """The server that ``sentinel`` takes for the master."""
        port = int(sentinel.ask("GET-MASTER-ADDR-BY-NAME", SERVICE)[1])
        return next(server for server in self.servers if server.port == port)

    @property
    def master(self) -> Server:
        return self.master_of(self.sentinels[0])

    def has_replaced(self, former: Server) -> bool:
        """Whether all Sentinels name another server than ``former``, and it is a master."""
        masters = {self.master_of(sentinel) for sentinel in self.sentinels}
        if len(masters) > 1 or former in masters:
            return False
        with masters.pop().client() as client:
            return bool(client.info("replication")["role"] == "master")

    def wait_for_failover(self, former: Server) -> None:
        wait_until(partial(self.has_replaced, former), "a replica is promoted", FAILOVER_DEADLINE)

    def fail_over(self) -> Server:
        """
        Let the Sentinels promote a replica while the master runs. Returns the former master.

        It goes on as a master for about ten seconds. Then the Sentinels make it a replica.
        """
        former = self.master
        wait_until(self._begins_failover, "the Sentinel accepts the command", FAILOVER_DEADLINE)
        self.wait_for_failover(former)
        return former

    def _begins_failover(self) -> bool:
        try:
            self.sentinels[0].ask("FAILOVER", SERVICE)
        except redis.ResponseError:  # pragma: no cover - on a busy machine
            return False  # it has not heard from the replicas for a while
        return True

    def stop(self) -> None:
        for sentinel in self.sentinels:
            sentinel.stop()
        for server in self.servers:  # a master that is asked to end waits for its replicas
            server.process.kill()
            server.process.wait(DEADLINE)
