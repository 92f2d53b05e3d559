"""
System checks, with stable ids: what can be seen to be wrong before the first request.

==== ==========================================================================================
E001 ``SESSION_REDIS`` is missing or no dictionary though the engine is set.
E002 ``SESSION_REDIS`` has a setting that does not exist.
E003 ``SESSION_REDIS["LOCATION"]`` is missing or cannot be used.
E004 A setting has a value that cannot be used.
E005 ``SESSION_SERIALIZER`` does not bring back what it was given.
E006 ``SESSION_REDIS`` is written as for django-redis-sessions.
W007 ``LOCATION`` is for development or tests, but ``DEBUG`` is off.
W008 ``SESSION_REDIS`` is set but another engine is in use.
==== ==========================================================================================
"""

from collections.abc import Iterator
from importlib import import_module
from typing import Any

from django.conf import settings
from django.core import checks
from django.core.checks import CheckMessage, Error
from django.core.exceptions import ImproperlyConfigured
from django.utils.module_loading import import_string

from sessions_redis import conf
from sessions_redis.clients import pools
from sessions_redis.engine import SessionStore

ENGINE = "sessions_redis.engine"

# Entries of the kinds that sessions hold; each is written by itself.
SAMPLES: tuple[Any, ...] = ("text", 1, True, None, ["a", 1], {"key": {"nested": 1.5}})


def check_settings(**kwargs: Any) -> list[CheckMessage]:
    setting = getattr(settings, "SESSION_REDIS", None)
    if not _is_engine_in_use():
        return [] if setting is None else [_unused()]
    wrong = [Error(found.message, found.hint, id=found.id) for found in conf.problems(setting)]
    return [*(wrong or _check_client()), *_check_serializer()]


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
    if location.scheme in {"embedded", "memory"} and not settings.DEBUG:
        meant_for = "development" if location.scheme == "embedded" else "tests"
        yield checks.Warning(
            f'SESSION_REDIS["LOCATION"] is {location.scheme}://, which is for {meant_for}, '
            "and DEBUG is off.",
            'In production write the URL of a Redis server, such as "redis://redis:6379/0".',
            id="sessions_redis.W007",
        )


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
