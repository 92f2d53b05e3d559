"""The engines that sessions move to, when they leave Redis, and caches that are slow or die."""

import os
import signal
import sqlite3
import threading
from pathlib import Path
from typing import Any

from django.core.cache.backends.locmem import LocMemCache
from django.core.cache.backends.redis import RedisCache

ENGINES = {
    name: f"django.contrib.sessions.backends.{name}"
    for name in ("db", "cached_db", "cache", "file")
}

MOVING_OUT = "sessions_redis.moving_out"


def table_in(path: Path) -> Path:
    """A database with Django's table of sessions, for several processes."""
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute(
            "CREATE TABLE django_session (session_key varchar(40) NOT NULL PRIMARY KEY,"
            " session_data text NOT NULL, expire_date datetime NOT NULL)"
        )
    connection.close()
    return path


def use(site: dict[str, Any]) -> None:
    """
    Let this process, which a test has started, be a site that moves sessions out.

    ``site``: ``engine``, and what that engine needs: ``database``, ``cache`` or ``folder``.
    """
    from django.conf import settings
    from django.db import connections

    settings.SESSION_ENGINE = MOVING_OUT
    settings.SESSION_REDIS = {**settings.SESSION_REDIS, "NEXT_ENGINE": ENGINES[site["engine"]]}
    settings.SESSION_FILE_PATH = site["folder"]
    settings.CACHES = {"default": site["cache"]}
    connections.settings["default"].update(NAME=site["database"], OPTIONS={"timeout": 60})


class HeldCache(LocMemCache):
    """A cache that is slow for threads with the name "slow": it adds when `go` is set."""

    reached = threading.Event()
    go = threading.Event()

    def add(self, *args: Any, **kwargs: Any) -> bool:
        if threading.current_thread().name == "slow":
            self.reached.set()
            assert self.go.wait(60)
        return super().add(*args, **kwargs)


class DeadlyCache(RedisCache):
    """A cache that kills the process after it has added a session."""

    def add(self, *args: Any, **kwargs: Any) -> bool:  # pragma: no cover - it is killed
        super().add(*args, **kwargs)
        os.kill(os.getpid(), signal.SIGKILL)
        return True
