"""A site whose sessions move in, for the tests of that: one for each former engine."""

import os
from pathlib import Path
from typing import Any

from sessions_redis.storage.commands import session_id
from tests.movers import Movers
from tests.servers import wait_until

BACKENDS = "django.contrib.sessions.backends"
FORMERS = [f"{BACKENDS}.{name}" for name in ("db", "cached_db", "cache", "file")]

# Seconds that a session of the former engine lives in these tests.
AGE = 5000

# ``make moves`` tests each former engine on each kind of Redis.
PLACES = [("server", FORMERS[0])]
if os.environ.get("MOVES") == "all":
    PLACES = [(place, former) for place in ("server", "cluster") for former in FORMERS]


def former_settings(engine: str, folder: Path, url: str, prefix: str) -> dict[str, Any]:
    """The settings of a site with this former engine, whose cache is the Redis at ``url``."""
    return {
        "SESSION_REDIS": {"FORMER_ENGINE": engine},
        "DATABASES": {
            "default": {
                "ENGINE": "django.db.backends.sqlite3",
                "NAME": str(folder / "former.sqlite3"),
                "OPTIONS": {"timeout": 60, "init_command": "PRAGMA journal_mode=WAL"},
            }
        },
        "CACHES": {
            "default": {
                "BACKEND": "django.core.cache.backends.redis.RedisCache",
                "LOCATION": url,
                "KEY_PREFIX": f"{prefix}-former",
            }
        },
        "ALLOWED_HOSTS": ["testserver"],
        "MIDDLEWARE": ["sessions_redis.middleware.SessionMiddleware"],
        "ROOT_URLCONF": "tests.live_move.views",
        "SESSION_FILE_PATH": str(folder),
        "SESSION_COOKIE_AGE": AGE,
        "DEFAULT_AUTO_FIELD": "django.db.models.AutoField",
    }


class Moving:
    """A site that moves in, its processes, and a client that looks into its Redis."""

    def __init__(self, movers: Movers, raw: Any, prefix: str) -> None:
        self.movers = movers
        self.raw = raw
        self.prefix = prefix
        self.do = movers.do
        self.begin = movers.begin
        self.events = movers.events
        self.failure = movers.failure

    def one(self, **more: Any) -> str:
        """The key of a new session in the former engine, with a user."""
        key: str = self.do("begin", 1, user="7", **more)[0]
        return key

    @staticmethod
    def id(key: str) -> str:
        return session_id(key)

    def ttl(self, key: str) -> float:
        """Seconds that the session lives in Redis, less than 0 if it is not there."""
        milliseconds: int = self.raw.pttl(f"{self.prefix}:{session_id(key)}")
        return milliseconds / 1000

    def fields(self, key: str) -> dict[bytes, bytes]:
        fields: dict[bytes, bytes] = self.raw.hgetall(f"{self.prefix}:{session_id(key)}")
        return fields

    @property
    def former(self) -> str:
        engine: str = self.movers.settings["SESSION_REDIS"]["FORMER_ENGINE"]
        return engine

    def wait_gone(self, key: str) -> None:
        wait_until(lambda: not self.lives(key), "the session is gone")

    def moved_lasts(self, key: str) -> float:
        """For how many seconds Redis keeps what became of the session."""
        name = next(n for n in self.redis_keys() if b":moved:" in n and self.id(key).encode() in n)
        milliseconds: int = self.raw.pttl(name)
        return milliseconds / 1000

    def lives(self, key: str) -> bool:
        return b"@created" in self.fields(key)

    def copies(self, key: str) -> int:
        """In how many stores the session lives."""
        return self.lives(key) + (self.do("former_copy", key) is not None)

    def redis_keys(self) -> list[bytes]:
        return list(self.raw.scan_iter(f"{self.prefix}:*", count=1000))
