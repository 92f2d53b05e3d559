"""
Checks that only this user can use the directory of ``embedded://``, and the files in it.

On a machine with several users, another user may have created the directory first, or put something
into it:

- a socket on which that user's own server would receive the sessions,
- data that the embedded server would load,
- a link through which the embedded server would write to a file elsewhere.

A user who may write to a parent directory can replace this directory. The engine notices that when
it checks the directory again, and by the owner of the server at each new connection. It does not
refuse such a directory: in containers, volumes often belong to another user, or all users may write
to them.
"""

import os
import socket
import stat
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from django.core.exceptions import ImproperlyConfigured

# The server keeps its append-only file in this subdirectory.
APPEND_ONLY_DIRECTORY = "appendonlydir"

OTHER_DIRECTORY = 'or name another directory in SESSION_REDIS["LOCATION"]'


def create_private(directory: Path) -> Path:
    """
    Create ``directory`` if it is missing, for this user only, and return it.

    Raises ``ImproperlyConfigured`` if another user owns or can change the directory or its content,
    or if another user's link is part of the path. It creates no directory behind such a link.
    """
    try:
        _require_own_way(directory)
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise _unusable(directory, error) from error
    require_private(directory)  # checks the path again: another user may have been faster
    return directory


def require_private(directory: Path) -> None:
    """
    Raises ``ImproperlyConfigured`` for the reasons of `create_private`. It creates nothing.

    ``directory`` need not exist yet.
    """
    try:
        _require_own_way(directory)
        if directory.exists():
            _require_private(directory)
    except OSError as error:
        raise _unusable(directory, error) from error


def open_to_append(path: Path) -> IO[bytes]:
    """Open the file ``path`` in a private directory for appending. It never follows a link."""
    # If the path is a pipe, opening it without O_NONBLOCK would wait for a reader.
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK
    try:
        return os.fdopen(os.open(path, flags, 0o600), "ab")
    except OSError as error:
        raise _unusable(path, error) from error


def owner_of_server(connection: Any) -> int | None:
    """
    The ID of the user who runs the server at the other end of a unix socket.

    ``None`` on systems other than Linux, which do not say it in this way.
    """
    if not hasattr(socket, "SO_PEERCRED"):
        return None
    credentials = struct.Struct("3i")  # process, user, group
    found = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, credentials.size)
    owner: int = credentials.unpack(found)[1]
    return owner


def require_own_server(path: Path, connection: Any) -> None:
    """Raises ``ImproperlyConfigured`` if another user runs the server on the socket ``path``."""
    owner = owner_of_server(connection)
    if owner not in (None, os.geteuid()):
        raise _unsafe(
            f"A server of the user with the ID {owner} answers on {path}.", f"Remove {path}"
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
        f"{what} So other users might read or change the sessions that embedded:// keeps there. "
        f"{remedy}, {OTHER_DIRECTORY}."
    )


def _require_own_way(directory: Path) -> None:
    """
    Raises ``ImproperlyConfigured`` if the path to ``directory`` contains a file or a foreign link.

    A symbolic link is foreign if neither this user nor root owns it. A part of the path that does
    not exist yet counts as a directory, because `create_private` would create one.
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
            f"Other users can get into {directory} (mode {mode:o}).",
            f"Run chmod 700 {directory}",
        )
    for path, status in _entries(directory):
        _require_plain(path, status)


def _require_own(path: Path, status: os.stat_result) -> None:
    ours, owner = os.geteuid(), status.st_uid
    if owner != ours:
        raise _unsafe(
            f"{path} belongs to the user with the ID {owner}, and this process runs as {ours}.",
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
