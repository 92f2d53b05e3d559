"""Where weather happens: servers, the way to them, and the sites that depend on them."""

import shutil
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import redis

from sessions_redis import locations
from tests.clustered import FAILOVER_DEADLINE
from tests.proxy import Relay
from tests.servers import Server, required, server_binary, wait_until
from tests.weather.visitors import Crowd

if TYPE_CHECKING:
    from redis.cluster import RedisCluster

SHIFT = Path(__file__).with_name("shift.c")


# The topologies, as the table calls them.
SERVER, SENTINEL, CLUSTER = "one server", "Sentinel", "Cluster"

# Those that a version of the engine knows by the scheme of their URLs.
SCHEMES = {SERVER: "redis", SENTINEL: "redis+sentinel", CLUSTER: "redis+cluster"}


@dataclass
class Place:
    """
    ``server``: the one to which the weather happens; in a Cluster, a master. ``admin``: a client of
    it that no weather disturbs. ``url``: where the sites find Redis. ``ports``: those that the
    sites connect to. ``relays``: what they connect to in place of the servers, if the weather is in
    the network. ``settings``: those of the engine.

    ``nodes``: clients such as ``admin`` of all servers, and ``masters`` of those that are masters
    at first. ``everything``: a client that reads all keys, for the time after the weather.
    """

    server: Server
    admin: redis.Redis
    url: str
    ports: set[int]
    relays: list["Disturber"]
    everything: Callable[[], "redis.Redis | RedisCluster"]
    watched: Any = None
    cluster: Any = None
    nodes: list[redis.Redis] = field(default_factory=list)
    masters: list[redis.Redis] = field(default_factory=list)
    settings: dict[str, Any] = field(default_factory=dict)
    crowds: list[Crowd] = field(default_factory=list)

    @property
    def folder(self) -> Path:
        return self.server.folder

    def disconnect_all(self) -> None:
        """Close all connections but those of ``nodes``."""
        for node in self.nodes:
            node.client_kill_filter(_type="normal", skipme=True)

    def wait_until_whole(self) -> None:
        """In a Cluster, until it serves all slots. A master that starts waits for 2 seconds."""
        if self.cluster:
            wait_until(self.cluster.is_ready, "the Cluster is whole", FAILOVER_DEADLINE)


@dataclass(frozen=True)
class Weather:
    """
    ``happens``: makes it, and returns when it is over. ``on``: the topology. ``server``: arguments
    of the servers. ``clock``: by how many seconds the server's clock is ahead; in a Cluster, the
    clocks of a master and its replica. ``in_network``: whether the sites reach the servers through
    relays. ``password``: that of the servers. ``settings``: more of those of the engine.

    ``signs_out``: sessions may be gone, as a whole. ``loses``: the last writes may be gone, also
    those that signed somebody in or out. ``loses_entries``: the last writes may be gone, but none
    that signed somebody in or out.
    ``unlists``: indexes may be gone. ``goes_on``: what visitors can do meanwhile as ever.
    """

    name: str
    happens: Callable[[Place], None]
    on: str = SERVER
    server: tuple[str, ...] = ()
    clock: int = 0
    in_network: bool = False
    password: str = ""
    settings: tuple[tuple[str, Any], ...] = ()
    signs_out: bool = False
    loses: bool = False
    loses_entries: bool = False
    unlists: bool = False
    goes_on: tuple[str, ...] = ()


def everywhere(name: str, happens: Callable[[Place], None], **more: Any) -> tuple[Weather, ...]:
    """The same weather for one server and for a Cluster."""
    return tuple(Weather(name, happens, on, **more) for on in (SERVER, CLUSTER))


def is_known(topology: str) -> bool:
    """Whether this version of the engine knows the topology."""
    return SCHEMES[topology] in locations.SCHEMES


@contextmanager
def prepared(weather: Weather, folder: Path) -> Iterator[Place]:
    """The place for a weather, with servers of its own that have append-only files."""
    from tests.weather import nodes

    prepare = {SERVER: _with_server, SENTINEL: _with_sentinels, CLUSTER: nodes.with_cluster}
    with prepare[weather.on](weather, folder) as place:
        place.settings |= dict(weather.settings)
        try:
            yield place
        finally:
            place.admin.close()
            for node in place.nodes:
                node.close()


@contextmanager
def _with_server(weather: Weather, folder: Path) -> Iterator[Place]:
    with tempfile.TemporaryDirectory() as short:  # a socket's path must be short
        path = f"{short}/socket"
        arguments = ["--appendonly", "yes", "--unixsocket", path, *weather.server]
        if weather.password:
            arguments += ["--requirepass", weather.password]
        binary = with_clock(weather.clock, folder) if weather.clock else None
        server = _Guarded(folder, weather.password, *arguments, binary=binary)
        admin = redis.Redis(unix_socket_path=path, password=weather.password or None)
        try:
            with Disturber(server.port) as relay:
                port = relay.port if weather.in_network else server.port
                secret = f":{weather.password}@" if weather.password else ""
                url = f"redis://{secret}127.0.0.1:{port}/0"
                yield Place(
                    *(server, admin, url, {port}, [relay], lambda: admin),
                    nodes=[admin],
                    masters=[admin],
                )
        finally:
            server.stop()


@contextmanager
def _with_sentinels(_: Weather, folder: Path) -> Iterator[Place]:
    from tests.replicated import Replicated

    # On a busy machine, a shorter time makes Sentinels replace a master that only was slow.
    watched = Replicated(folder, "--appendonly", "yes", down_after=3000)
    try:
        server, ports = watched.master, {one.port for one in watched.servers}
        place = Place(
            *(server, server.client(), watched.url, ports, [], lambda: place.admin),
            watched=watched,
        )
        yield place
    finally:
        watched.stop()


class Disturber(Relay):
    """A relay that disturbs one connection, from its next reply on."""

    def reset(self, client: socket.socket) -> None:
        self._to_reset.add(client)

    def silence(self, client: socket.socket) -> None:
        """Pass nothing on any more, and do not close the connection."""
        self._silent.add(client)


class _Guarded(Server):
    """A server that may want a password."""

    def __init__(
        self, folder: Path, password: str, *arguments: str, binary: str | None = None
    ) -> None:
        self._password = password or None
        super().__init__(folder, *arguments, binary=binary)

    def client(self, **options: object) -> redis.Redis:
        return super().client(password=self._password, **options)


def with_clock(seconds: int, folder: Path) -> str:
    """A program that starts the server with its clock ahead by so many seconds."""
    library, program = folder / "shift.so", folder / "server-with-clock"
    compiler = [required("gcc"), "-shared", "-fPIC", "-O2", "-o", str(library), str(SHIFT)]
    subprocess.run(compiler, check=True)
    program.write_text(
        f'#!/bin/sh\nCLOCK_SHIFT={seconds} LD_PRELOAD={library} exec {server_binary()} "$@"\n'
    )
    program.chmod(0o755)
    return str(program)


def for_a_while(seconds: float, work: Callable[[], None], every: float) -> None:
    """Do ``work`` again and again, for so many seconds."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        work()
        time.sleep(every)


@contextmanager
def beside(work: Callable[[], None]) -> Iterator[None]:
    """Do ``work`` in a thread meanwhile, and wait for its end."""
    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        thread.join()


def cleared(folder: Path) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder
