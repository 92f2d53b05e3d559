"""The session engines that are compared, and the site that they serve."""

import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

# What every key starts with that is written to Redis: someone may lend us their own.
PREFIX = "dsr-bench"

REDIS_SESSIONS = "redis_sessions"


@dataclass(frozen=True)
class Engine:
    """
    ``slug``: how other processes ask for it. ``name``: its column. ``settings``: what a site sets
    to use it, beside the caches, which all are there.
    """

    slug: str
    name: str
    module: str
    settings: dict[str, Any] = field(default_factory=dict)

    @property
    def store(self) -> type[Any]:
        """Its ``SessionStore``. The settings must be there, see `configure`."""
        store: type[Any] = import_module(self.module).SessionStore
        return store

    @property
    def site_settings(self) -> dict[str, Any]:
        return {"SESSION_ENGINE": self.module, **self.settings}

    @property
    def in_redis_alone(self) -> bool:
        """Whether sessions lie in Redis alone."""
        return self.slug not in {"db", "cached_db"}

    @contextmanager
    def active(self) -> Iterator[None]:
        """Make this the site's engine. No connection is closed by that."""
        from django.test import override_settings

        with override_settings(**self.site_settings):
            yield


ENGINES: tuple[Engine, ...] = (
    Engine("ours", "sessions_redis", "sessions_redis.engine"),
    Engine(
        "django-redis",
        "cache, django-redis",
        "django.contrib.sessions.backends.cache",
        {"SESSION_CACHE_ALIAS": "django-redis"},
    ),
    Engine(
        "rediscache",
        "cache, RedisCache",
        "django.contrib.sessions.backends.cache",
        {"SESSION_CACHE_ALIAS": "rediscache"},
    ),
    Engine(
        "django-redis-sessions",
        "django-redis-sessions",
        f"{REDIS_SESSIONS}.session",
    ),
    Engine(
        "cached_db",
        "cached_db",
        "django.contrib.sessions.backends.cached_db",
        {"SESSION_CACHE_ALIAS": "cached_db"},
    ),
    Engine("db", "db (sqlite)", "django.contrib.sessions.backends.db"),
)

OURS, BASE = ENGINES[:2]


def by_slug(slug: str) -> Engine:
    for engine in ENGINES:
        if engine.slug == slug:
            return engine
    raise LookupError(f"There is no engine {slug!r}, only {', '.join(e.slug for e in ENGINES)}.")


def configure(redis_url: str, database: Path, *, slug: str | None = None, **more: Any) -> None:
    """
    Set up Django, once in a process, with its sessions in ``redis_url`` and sqlite's ``database``.

    ``slug``: the engine of the site. ``more``: further settings. The tables are made if the
    database is not there yet; processes that start together should find it made.
    """
    import django
    from django.conf import settings
    from django.core.management import call_command

    settings.configure(**(_site(redis_url, database, by_slug(slug or "ours")) | more))
    django.setup()
    _point_redis_sessions_at(redis_url)
    if not database.exists():
        call_command("migrate", verbosity=0)


@contextmanager
def at(redis_url: str, prefix: str = PREFIX, **session_redis: Any) -> Iterator[None]:
    """
    Move all engines to another server, or proxy.

    ``prefix``: what all keys start with; ``""`` for names as they are by default, where nothing is
    anybody's own. ``session_redis``: more settings of our own engine.
    """
    from django.conf import settings
    from django.test import override_settings

    before = settings.SESSION_REDIS["LOCATION"]
    with ExitStack() as stack:
        stack.callback(_point_redis_sessions_at, before)
        stack.enter_context(override_settings(**_in_redis(redis_url, prefix, **session_redis)))
        _point_redis_sessions_at(redis_url, prefix)
        yield


def _in_redis(redis_url: str, prefix: str = PREFIX, **session_redis: Any) -> dict[str, Any]:
    session_prefix = f"{prefix}:session" if prefix else "session"
    own = {"LOCATION": redis_url, "KEY_PREFIX": session_prefix, **session_redis}
    backends = {
        "default": "django.core.cache.backends.redis.RedisCache",
        "rediscache": "django.core.cache.backends.redis.RedisCache",
        "cached_db": "django.core.cache.backends.redis.RedisCache",
        "django-redis": "django_redis.cache.RedisCache",
    }
    caches = {
        alias: {"BACKEND": backend, "LOCATION": redis_url, "KEY_PREFIX": prefix}
        for alias, backend in backends.items()
    }
    return {"SESSION_REDIS": own, "CACHES": caches}


def _site(redis_url: str, database: Path, engine: Engine) -> dict[str, Any]:
    return {
        **_in_redis(redis_url),
        **engine.site_settings,
        "DATABASES": {"default": _sqlite(database)},
        "INSTALLED_APPS": [
            "django.contrib.admin",
            "django.contrib.auth",
            "django.contrib.contenttypes",
            "django.contrib.messages",
            "django.contrib.sessions",
            "django.contrib.staticfiles",
            "sessions_redis",
        ],
        "MIDDLEWARE": [_session_middleware(engine), *_MIDDLEWARE],
        "TEMPLATES": [_TEMPLATES],
        "ROOT_URLCONF": "benchmarks.urls",
        "STATIC_URL": "static/",
        "ALLOWED_HOSTS": ["*"],
        "SECRET_KEY": "for benchmarks alone, where nobody signs in",
        "USE_TZ": True,
        "LOGGING_CONFIG": None,
    }


_MIDDLEWARE = (
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
)

_TEMPLATES = {
    "BACKEND": "django.template.backends.django.DjangoTemplates",
    "APP_DIRS": True,
    "OPTIONS": {
        "context_processors": [
            "django.template.context_processors.request",
            "django.contrib.auth.context_processors.auth",
            "django.contrib.messages.context_processors.messages",
        ]
    },
}


def _session_middleware(engine: Engine) -> str:
    package = "sessions_redis" if engine is OURS else "django.contrib.sessions"
    return f"{package}.middleware.SessionMiddleware"


def _sqlite(database: Path) -> dict[str, Any]:
    # As Django's documentation advises for sites: readers don't wait for a writer, and a writer
    # that waits for another is not told "database is locked".
    return {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": str(database),
        "OPTIONS": {
            "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;",
            "transaction_mode": "IMMEDIATE",
            "timeout": 60,
        },
    }


def _point_redis_sessions_at(redis_url: str, prefix: str = PREFIX) -> None:
    """
    Tell django-redis-sessions where Redis is.

    Its setting is called ``SESSION_REDIS``, as ours is, and its names would be refused there. So
    it is given what it makes of that setting when it is imported, and forgets its connection.
    """
    if find_spec(REDIS_SESSIONS) is None:
        return
    its_settings = import_module(f"{REDIS_SESSIONS}.settings")
    its_settings.SESSION_REDIS_URL = redis_url
    its_settings.SESSION_REDIS_PREFIX = prefix
    # A read that takes longer than its 0.1 s it calls an empty session; give it what we have.
    its_settings.SESSION_REDIS_SOCKET_TIMEOUT = 1.0
    connections = import_module(f"{REDIS_SESSIONS}.session").RedisServer._RedisServer__redis
    for client in connections.values():
        client.close()
    connections.clear()


def require(*packages: str) -> None:
    """Raise ``MissingPackageError`` if one of these modules is not installed."""
    missing = [name for name in packages if find_spec(name) is None]
    if missing:
        raise MissingPackageError(
            f"{', '.join(missing)} not found. Install what the benchmarks need: "
            f"{sys.executable} -m pip install -r benchmarks/requirements.txt"
        )


class CannotMeasureError(Exception):
    """Says why something cannot be measured here, and what would help."""


class MissingPackageError(CannotMeasureError):
    pass
