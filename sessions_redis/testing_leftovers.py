"""
Keys that tests left in Redis: which process wrote them, and whether it has ended.

The prefix of a run of tests names its machine and its process. At its end, a run deletes its own
keys and those of runs on this machine that were killed.
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
    """Names this machine since it booted, and this container: process IDs are unique there."""
    marks = [socket.gethostname()]
    with suppress(OSError):  # not on Linux
        marks.append(Path("/proc/sys/kernel/random/boot_id").read_text())
        marks.append(str(Path("/proc/self/ns/pid").readlink()))
    return sha256(" ".join(marks).encode()).hexdigest()[:8]


def is_left_over(rest: str) -> bool:
    """
    Whether this process, or one that has ended, wrote a key.

    ``rest``: the part of the key's name after `machine` and a hyphen.
    """
    written_by = re.match(r"(\d{1,9})-", rest)
    return written_by is not None and _is_over(int(written_by[1]))


def is_alive(process: int) -> bool:
    """Whether there is a process with this ID, of any user. Not for Windows."""
    try:
        with suppress(PermissionError):  # it is another user's
            os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True


def _is_over(process: int) -> bool:
    # On Windows, keys of other processes stay until they expire: there, os.kill() would end one.
    return process == os.getpid() or (os.name == "posix" and not is_alive(process))
