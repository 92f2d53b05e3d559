"""
Finds keys that killed test runs left in Redis.

The key prefix of a run of tests contains its machine and its process ID. At its end, a run deletes
its own keys, and the keys of runs on the same machine whose process no longer exists.
"""

import os
import re
import socket
from contextlib import suppress
from functools import cache
from hashlib import sha256
from pathlib import Path


@cache
def machine() -> str:
    """
    An ID of this machine since it booted, and of this container. Process IDs are unique there.
    """
    marks = [socket.gethostname()]
    with suppress(OSError):  # only Linux has these files
        marks.append(Path("/proc/sys/kernel/random/boot_id").read_text())
        marks.append(str(Path("/proc/self/ns/pid").readlink()))
    return sha256(" ".join(marks).encode()).hexdigest()[:8]


def is_left_over(rest: str) -> bool:
    """
    Whether a key was written by this process, or by a process that has ended.

    ``rest``: the part of the key's name after `machine` and a hyphen.
    """
    written_by = re.match(r"(\d{1,9})-[0-9a-f]{6}-\d+\.\d+:", rest)
    return written_by is not None and _is_over(int(written_by[1]))


def is_alive(process: int) -> bool:
    """Whether a process with this ID exists, of any user. It does not work on Windows."""
    try:
        with suppress(PermissionError):  # it belongs to another user
            os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True


def _is_over(process: int) -> bool:
    # On Windows, os.kill() would end the other process. So its keys stay there until they expire.
    return process == os.getpid() or (os.name == "posix" and not is_alive(process))
