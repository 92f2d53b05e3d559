import os
from collections.abc import Callable


def in_a_fork(work: Callable[[], object]) -> None:
    """Do ``work`` in a fork of this process, which then ends at once. ``work`` has to succeed."""
    child = os.fork()
    if child == 0:  # pragma: no cover - it ends without saving coverage
        status = 1
        try:
            work()
            status = 0
        finally:
            os._exit(status)
    assert os.waitpid(child, 0)[1] == 0
