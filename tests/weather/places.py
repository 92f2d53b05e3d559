"""Where weather happens: a server, the way to it, and the sites that depend on it."""

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
from typing import Any

import redis

from sessions_redis import locations
from tests.proxy import Relay
from tests.servers import Server, required, server_binary
from tests.weather.visitors import Crowd

SHIFT = Path(__file__).with_name("shift.c")


@dataclass
class Place:
    """
    ``admin``: a client that no weather disturbs. ``url``: where the sites find Redis. ``ports``:
    those that the sites connect to. ``relay``: what they connect to in place of the server, if the
    weather is in the network. ``watched``: the servers, if Sentinels watch them.
    """

    server: Server
    admin: redis.Redis
    url: str
    ports: set[int]
    relay: "Disturber"
    watched: Any = None
    crowds: list[Crowd] = field(default_factory=list)

    @property
    def folder(self) -> Path:
        return self.server.folder

    def disconnect_all(self) -> None:
        """Close all connections but that of ``admin``."""
        self.admin.client_kill_filter(_type="normal", skipme=True)


@dataclass(frozen=True)
class Weather:
    """
    ``happens``: makes it, and returns when it is over. ``server``: arguments of the server.
    ``clock``: by how many seconds the server's clock is ahead. ``in_network``: whether the sites
    reach the server through a relay. ``is_watched``: whether Sentinels watch the server and two
    replicas. ``password``: that of the server.

    ``signs_out``: sessions may be gone, as a whole. ``loses``: the last writes may be gone, also
    those that signed somebody in or out.
    ``unlists``: indexes may be gone. ``goes_on``: what visitors can do meanwhile as ever.
    """

    name: str
    happens: Callable[[Place], None]
    server: tuple[str, ...] = ()
    clock: int = 0
    in_network: bool = False
    is_watched: bool = False
    password: str = ""
    signs_out: bool = False
    loses: bool = False
    unlists: bool = False
    goes_on: tuple[str, ...] = ()


@contextmanager
def prepared(weather: Weather, folder: Path) -> Iterator[Place]:
    """The place for a weather, with servers of its own that have append-only files."""
    with _with_sentinels(folder) if weather.is_watched else _with_server(weather, folder) as place:
        try:
            yield place
        finally:
            place.admin.close()


@contextmanager
def _with_server(weather: Weather, folder: Path) -> Iterator[Place]:
    with tempfile.TemporaryDirectory() as short:  # a socket's path must be short
        path = f"{short}/socket"
        arguments = ["--appendonly", "yes", "--unixsocket", path, *weather.server]
        if weather.password:
            arguments += ["--requirepass", weather.password]
        binary = _with_clock(weather.clock, folder) if weather.clock else None
        server = _Guarded(folder, weather.password, *arguments, binary=binary)
        admin = redis.Redis(unix_socket_path=path, password=weather.password or None)
        try:
            with Disturber(server.port) as relay:
                port = relay.port if weather.in_network else server.port
                secret = f":{weather.password}@" if weather.password else ""
                yield Place(server, admin, f"redis://{secret}127.0.0.1:{port}/0", {port}, relay)
        finally:
            server.stop()


def has_sentinels() -> bool:
    """Whether this version of the engine knows Sentinel."""
    return "redis+sentinel" in locations.SCHEMES


@contextmanager
def _with_sentinels(folder: Path) -> Iterator[Place]:
    from tests.replicated import Replicated

    # On a busy machine, a shorter time makes Sentinels replace a master that only was slow.
    watched = Replicated(folder, "--appendonly", "yes", down_after=3000)
    try:
        server, ports = watched.master, {one.port for one in watched.servers}
        with Disturber(server.port) as relay:
            yield Place(server, server.client(), watched.url, ports, relay, watched)
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


def _with_clock(seconds: int, folder: Path) -> str:
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
