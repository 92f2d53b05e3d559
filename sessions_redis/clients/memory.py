"""The servers of ``memory://``, which are in this process."""

import os
from functools import cache
from typing import Any

from django.core.exceptions import ImproperlyConfigured


def fakeredis_at(location: str) -> tuple[Any, Any]:
    """fakeredis, and the server with the name ``location`` in this process."""
    try:
        import fakeredis  # noqa: PLC0415 - an extra
        import lupa  # noqa: F401, PLC0415 - fakeredis needs it to run scripts
    except ImportError as error:
        raise ImproperlyConfigured(
            'SESSION_REDIS["LOCATION"] is memory://, which needs fakeredis with Lua: '
            f'pip install "django-sessions-redis[test]" ({error}).'
        ) from error
    return fakeredis, server_at(location, os.getpid(), fakeredis.FakeServer)


servers: dict[str, Any] = {}


@cache
def server_at(location: str, process: int, kind: Any) -> Any:  # noqa: ARG001 - one for each process
    server = servers.setdefault(location, kind())
    # If a thread was writing during the fork, it does not exist in the forked process, and its lock
    # is never released. Then begin with an empty server.
    if server.lock.acquire(timeout=1):
        server.lock.release()
    else:
        server = servers[location] = kind()
    return server
