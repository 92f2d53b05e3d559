"""The engines that sessions move to, when they leave Redis, and caches that are slow or die."""

import sqlite3
import threading
from pathlib import Path
from typing import Any

from django.core.cache.backends.locmem import LocMemCache

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
    from django.test import override_settings

    connections.settings["default"].update(NAME=site["database"], OPTIONS={"timeout": 60})
    override_settings(
        SESSION_ENGINE=MOVING_OUT,
        SESSION_REDIS={**settings.SESSION_REDIS, "NEXT_ENGINE": ENGINES[site["engine"]]},
        SESSION_FILE_PATH=site["folder"],
        CACHES={"default": site["cache"]},
    ).enable()


class HeldCache(LocMemCache):
    """A cache that is slow for threads with the name "slow": it adds when `go` is set."""

    reached = threading.Event()
    go = threading.Event()

    def add(self, *args: Any, **kwargs: Any) -> bool:
        if threading.current_thread().name == "slow":
            self.reached.set()
            assert self.go.wait(60)
        return super().add(*args, **kwargs)
