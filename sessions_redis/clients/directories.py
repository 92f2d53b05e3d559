"""
Directories, files and sockets that are this user's own: ``embedded://`` keeps its own there.

On a machine with several users, somebody else may have made the directory before this process did,
or put something into it: a socket on which another server reads sessions, data that the server
would load, or a link by which it would write into files elsewhere.

A user who may write to a directory above can replace this one. The engine notices it at the next
look, and by the owner of the server at each new connection. This is not a reason to refuse the
directory: in containers, volumes often belong to another user, or everybody may write to them.
"""

import os
import socket
import stat
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from django.core.exceptions import ImproperlyConfigured

# The server's own directory within the directory.
APPEND_ONLY_DIRECTORY = "appendonlydir"

OTHER_DIRECTORY = 'or name another directory in SESSION_REDIS["LOCATION"]'


def create_private(directory: Path) -> Path:
    """
    Create ``directory`` if it is missing, and return it. Only this user can use it.

    Raises ``ImproperlyConfigured`` if other users may own, change or choose the directory or its
    content. Where another user's link leads, this creates nothing.
    """
    try:
        _require_own_way(directory)
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise _unusable(directory, error) from error
    require_private(directory)  # the way to it once more: another user may have been faster
    return directory


def require_private(directory: Path) -> None:
    """Raises ``ImproperlyConfigured`` as `create_private`; ``directory`` need not exist yet."""
    try:
        _require_own_way(directory)
        if directory.exists():
            _require_private(directory)
    except OSError as error:
        raise _unusable(directory, error) from error


def open_to_append(path: Path) -> IO[bytes]:
    """The file at ``path`` of a private directory, to write at its end; it never follows a link."""
    # Without O_NONBLOCK, a pipe in its place would make this wait for a reader.
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK
    try:
        return os.fdopen(os.open(path, flags, 0o600), "ab")
    except OSError as error:
        raise _unusable(path, error) from error


def owner_of_server(connection: Any) -> int | None:
    """
    The number of the user whose server is at the other end of a connection by a unix socket.

    ``None`` on systems other than Linux.
    """
    if not hasattr(socket, "SO_PEERCRED"):
        return None
    credentials = struct.Struct("3i")  # process, user, group
    found = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, credentials.size)
    owner: int = credentials.unpack(found)[1]
    return owner


def require_own_server(path: Path, connection: Any) -> None:
    """Raises ``ImproperlyConfigured`` if another user's server answers at the socket ``path``."""
    owner = owner_of_server(connection)
    if owner not in (None, os.geteuid()):
        raise _unsafe(
            f"A server of the user with the number {owner} answers on {path}.", f"Remove {path}"
        )


def _unusable(path: Path, error: OSError) -> ImproperlyConfigured:
    return ImproperlyConfigured(
        f"embedded:// cannot use {path}: {error.strerror}. "
        "Name a directory that this user owns or can create."
    )


def _no_directory(path: Path, why: str, remedy: str) -> ImproperlyConfigured:
    return ImproperlyConfigured(
        f"embedded:// cannot use {path}: it is {why}. {remedy}, {OTHER_DIRECTORY}."
    )


def _unsafe(what: str, remedy: str) -> ImproperlyConfigured:
    return ImproperlyConfigured(
        f"{what} So others might read or change the sessions that embedded:// keeps there. "
        f"{remedy}, {OTHER_DIRECTORY}."
    )


def _require_own_way(directory: Path) -> None:
    """
    No file is on the way to ``directory``, and no symbolic link of another user than root.

    A part that does not exist yet counts as a directory: `create_private` would create one.
    """
    here, ahead = Path(directory.anchor), [*reversed(directory.parts[1:])]
    while ahead:
        name = ahead.pop()
        path = here.parent if name == ".." else here / name
        try:
            status = path.lstat()
        except FileNotFoundError:
            here = path
            continue
        if stat.S_ISLNK(status.st_mode):
            target = _own_target(path, status)
            ahead += reversed(target.parts[1:] if target.is_absolute() else target.parts)
            here = Path(target.anchor) if target.is_absolute() else here
        elif stat.S_ISDIR(status.st_mode):
            here = path
        else:
            raise _no_directory(path, "a file, not a directory", "Move it away")


def _own_target(link: Path, status: os.stat_result) -> Path:
    if status.st_uid != 0:
        _require_own(link, status)
    target = link.readlink()
    if not link.exists():
        why = f"a symbolic link to {target}, which cannot be found"
        raise _no_directory(link, why, "Remove the link")
    return target


def _require_private(directory: Path) -> None:
    status = directory.stat()
    _require_own(directory, status)
    mode = status.st_mode & 0o777
    if mode & 0o077:
        raise _unsafe(
            f"Others can get into {directory} (mode {mode:o}).", f"Run chmod 700 {directory}"
        )
    for path, status in _entries(directory):
        _require_plain(path, status)


def _require_own(path: Path, status: os.stat_result) -> None:
    ours, owner = os.geteuid(), status.st_uid
    if owner != ours:
        raise _unsafe(
            f"{path} belongs to the user with the number {owner}, and this process runs as {ours}.",
            f"Run it as that user (sudo -u '#{owner}', docker run --user {owner})",
        )


def _entries(directory: Path) -> Iterator[tuple[Path, os.stat_result]]:
    with os.scandir(directory) as entries:
        for entry in entries:
            try:
                status = entry.stat(follow_symlinks=False)
            except FileNotFoundError:
                continue  # a running server has just removed it
            yield Path(entry.path), status
            if entry.name == APPEND_ONLY_DIRECTORY and stat.S_ISDIR(status.st_mode):
                yield from _entries(Path(entry.path))


def _require_plain(path: Path, status: os.stat_result) -> None:
    _require_own(path, status)
    kind = status.st_mode
    if stat.S_ISLNK(kind):
        what = "is a symbolic link"
    elif stat.S_ISREG(kind) and status.st_nlink > 1:
        what = "is a file that has a second name elsewhere (a hard link)"
    elif stat.S_ISREG(kind) or stat.S_ISDIR(kind) or stat.S_ISSOCK(kind):
        return
    else:
        what = "is neither a file, a directory nor a socket"
    raise _unsafe(f"{path} {what}.", "Remove it")
