"""
System checks, with stable ids: what can be seen to be wrong before the first request.

W009, which asks the server, and W011 are among those of ``manage.py check --deploy``, and so are
Django's own security.W012 and W015 about the session's cookie.

==== ==========================================================================================
E001 ``SESSION_REDIS`` is missing or not a dictionary though the engine is set.
E002 ``SESSION_REDIS`` has a setting that does not exist.
E003 ``SESSION_REDIS["LOCATION"]`` is missing or cannot be used.
E004 A setting has a value that cannot be used.
E005 ``SESSION_SERIALIZER`` does not bring back what it was given.
E006 ``SESSION_REDIS`` is written as for django-redis-sessions.
W007 ``LOCATION`` is for development or tests, but ``DEBUG`` is off.
W008 ``SESSION_REDIS`` is set but another engine is in use.
W009 The server may evict sessions and indexes when its memory is full.
W010 ``SESSION_SERIALIZER`` can execute code when it loads a session, as pickle does.
W011 ``LOCATION`` holds the password, which error pages and mails then show.
W012 ``KEY_PREFIX`` may give a key the name that a key of another site has.
==== ==========================================================================================
"""

import re
from collections.abc import Iterator
from importlib import import_module
from typing import Any

from django.conf import settings
from django.core import checks
from django.core.checks import CheckMessage, Error
from django.core.checks.security import sessions as cookies
from django.core.exceptions import ImproperlyConfigured
from django.utils.module_loading import import_string

from sessions_redis import conf, locations
from sessions_redis.clients import pools, run_without_logging_outages
from sessions_redis.engine import SessionStore
from sessions_redis.exceptions import SessionStoreUnavailable
from sessions_redis.serializers import executes_code
from sessions_redis.storage import listings
from sessions_redis.storage.listings import Eviction

ENGINE = "sessions_redis.engine"

# What is in LOCATION of a server for development or tests.
DEVELOPMENT = {"embedded", "memory"}

# A KEY_PREFIX whose keys may have names that another site uses: one with its first part as prefix.
INSIDE_INDEX_NAMES = re.compile(r"(.+?):(user|index)(:|$)", re.DOTALL)

# Entries of the kinds that sessions hold; each is written by itself.
SAMPLES: tuple[Any, ...] = ("text", 1, True, None, ["a", 1], {"key": {"nested": 1.5}})


def check_settings(**kwargs: Any) -> list[CheckMessage]:
    setting = getattr(settings, "SESSION_REDIS", None)
    if not _is_engine_in_use():
        return [] if setting is None else [_unused()]
    wrong: list[CheckMessage] = [
        Error(found.message, found.hint, id=found.id) for found in conf.problems(setting)
    ]
    found = wrong or [*_check_client(), *_check_prefix()]
    return [*found, *_check_serializer(), *_check_execution()]


def check_eviction(**kwargs: Any) -> list[CheckMessage]:
    """Silent where the server is away or does not tell, and where another check says why."""
    setting = getattr(settings, "SESSION_REDIS", None)
    if not _is_engine_in_use() or any(conf.problems(setting)):
        return []
    if conf.current().scheme in DEVELOPMENT:
        return []
    try:
        eviction = run_without_logging_outages(listings.eviction())
    except (ImproperlyConfigured, SessionStoreUnavailable):
        return []
    return [_evicting(eviction)] if eviction and eviction.policy != "noeviction" else []


def _evicting(eviction: Eviction) -> CheckMessage:
    when = "when its memory is full" if eviction.limit else "once maxmemory, which is 0, is set"
    return checks.Warning(
        f"Redis at {conf.current().shown_location} has the maxmemory-policy {eviction.policy}: "
        f"{when}, it removes sessions, and the indexes that say which sessions there are.",
        "A session that is removed signs its visitor out. Sessions whose index is removed go on "
        "unseen: they cannot be listed or ended together until each is next saved. Set "
        '"maxmemory-policy noeviction", and keep caches in another server.',
        id="sessions_redis.W009",
    )


def _is_engine_in_use() -> bool:
    try:
        store = import_module(settings.SESSION_ENGINE).SessionStore
    except (ImportError, AttributeError):
        return False
    return issubclass(store, SessionStore)


def _unused() -> CheckMessage:
    return checks.Warning(
        f"SESSION_REDIS is set, but SESSION_ENGINE is {settings.SESSION_ENGINE!r}.",
        f'To keep sessions in Redis, write SESSION_ENGINE = "{ENGINE}".',
        id="sessions_redis.W008",
    )


def _check_client() -> Iterator[CheckMessage]:
    location = conf.current()
    try:
        pools.check()
    except ImproperlyConfigured as error:
        yield Error(str(error), id="sessions_redis.E003")
    # Django's test runner turns DEBUG off, then runs the checks.
    if location.scheme in DEVELOPMENT and not settings.DEBUG and not conf.is_testing():
        meant_for = "development" if location.scheme == "embedded" else "tests"
        yield checks.Warning(
            f'SESSION_REDIS["LOCATION"] is {location.scheme}://, which is for {meant_for}, '
            "and DEBUG is off.",
            'In production write the URL of a Redis server, such as "redis://redis:6379/0".',
            id="sessions_redis.W007",
        )


def _check_prefix() -> Iterator[CheckMessage]:
    prefix = settings.SESSION_REDIS.get("KEY_PREFIX", "")  # as written: tests run under another
    nested = INSIDE_INDEX_NAMES.match(prefix)
    if nested:
        yield checks.Warning(
            f'SESSION_REDIS["KEY_PREFIX"] is {prefix!r}. If another site in the same database has '
            f"the prefix {nested[1]!r}, its indexes have names that start with {nested[0]!r}, too.",
            'Choose a prefix without "user" and "index" after a colon, such as '
            f"{nested[1] + '-2'!r}. Sessions under the former prefix are not found any more: their "
            "users sign in again.",
            id="sessions_redis.W012",
        )


def check_password(**kwargs: Any) -> list[CheckMessage]:
    setting = getattr(settings, "SESSION_REDIS", None)
    if not _is_engine_in_use() or any(conf.problems(setting)):
        return []
    if not locations.has_password(conf.current().location):
        return []
    return [
        checks.Warning(
            'SESSION_REDIS["LOCATION"] holds the password of Redis. Django shows LOCATION on its '
            "error pages and in its mails to ADMINS, because that name does not look secret.",
            'Take user and password out of the URL, and write "OPTIONS": {"username": …, '
            '"password": …}, which Django masks. There they are not percent-encoded.',
            id="sessions_redis.W011",
        )
    ]


def check_cookies(**kwargs: Any) -> Iterator[CheckMessage]:
    """
    Django's own checks of the session's cookie, for a site without its session app and middleware.

    Such a site can use this engine with ``sessions_redis.middleware`` alone.
    """
    if not _is_engine_in_use():
        return
    if settings.SESSION_COOKIE_SECURE is not True and not cookies.check_session_cookie_secure(None):
        yield cookies.W012
    if settings.SESSION_COOKIE_HTTPONLY is not True and not (
        cookies.check_session_cookie_httponly(None)
    ):
        yield cookies.W015


def _check_serializer() -> Iterator[CheckMessage]:
    path = settings.SESSION_SERIALIZER
    try:
        serializer = import_string(path)()
    except (AttributeError, ImportError, TypeError) as error:
        yield _broken_serializer(f"SESSION_SERIALIZER {path!r} cannot be made: {error}.")
        return
    for sample in SAMPLES:
        reason = _lost(serializer, sample)
        if reason:
            yield _broken_serializer(f"SESSION_SERIALIZER {path!r} {reason}.")
            return


def _check_execution() -> Iterator[CheckMessage]:
    path = settings.SESSION_SERIALIZER
    try:
        is_dangerous = executes_code(import_string(path))
    except (AttributeError, ImportError, TypeError):
        return  # It cannot be made: E005.
    if is_dangerous:
        yield checks.Warning(
            f"SESSION_SERIALIZER {path!r} can execute code when it loads a session: anyone who can "
            "write to Redis can run code in your site.",
            'Use "django.contrib.sessions.serializers.JSONSerializer". Until then the admin does '
            "not show the values of entries, because reading them could execute code.",
            id="sessions_redis.W010",
        )


def _lost(serializer: Any, sample: Any) -> str | None:
    try:
        dumped = serializer.dumps(sample)
        returned = serializer.loads(dumped)
    except Exception as error:  # noqa: BLE001 - a broken serializer raises anything
        return f"fails on {sample!r}: {error!r}"
    if not isinstance(dumped, bytes):
        return f"makes {type(dumped).__name__} of {sample!r}, not bytes"
    return None if returned == sample else f"brings {sample!r} back as {returned!r}"


def _broken_serializer(message: str) -> CheckMessage:
    return Error(
        message,
        'Use "django.contrib.sessions.serializers.JSONSerializer", or one that writes any single '
        "value as bytes and reads it back.",
        id="sessions_redis.E005",
    )
