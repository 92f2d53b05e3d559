"""
System checks, which find mistakes before the first request. Their IDs stay the same.

Only ``manage.py check --deploy`` runs W009, which asks the server, and W011. It also runs Django's
security.W012 and W015 about the session cookie.

==== ==========================================================================================
E001 The engine is set, but ``SESSION_REDIS`` is missing or not a dictionary.
E002 ``SESSION_REDIS`` has a setting that does not exist.
E003 ``SESSION_REDIS["LOCATION"]`` is missing or cannot be used.
E004 A setting has a value that cannot be used.
E005 ``SESSION_SERIALIZER`` does not return the value that it serialized.
E006 ``SESSION_REDIS`` has settings of django-redis-sessions.
W007 ``LOCATION`` is for development or tests, but ``DEBUG`` is off.
W008 ``SESSION_REDIS`` is set but another engine is in use.
W009 The server may evict sessions and indexes when its memory is full.
W010 ``SESSION_SERIALIZER`` can execute code when it loads a session, as pickle does.
W011 ``LOCATION`` contains the password, which error pages and mails then show.
W012 ``KEY_PREFIX`` can give a key the same name as a key of another site.
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

# The schemes of LOCATION for development and tests.
DEVELOPMENT = {"embedded", "memory"}

# A KEY_PREFIX such as "shop:user:1". A site with the prefix "shop" has indexes under the same
# names.
INSIDE_INDEX_NAMES = re.compile(r"(.+?):(user|index)(:|$)", re.DOTALL)

# Values such as sessions have. The engine serializes each entry by itself.
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
    """
    Warn if the server may evict sessions when its memory is full.

    It finds nothing if Redis cannot be reached or does not say its policy, or if the setting has
    mistakes, which other checks report.
    """
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
        f"{when}, it removes sessions, and the indexes that list them.",
        "A visitor whose session is removed is signed out. Sessions whose index is removed stay "
        "valid, but nobody can list them or end them together until each is used or saved again, "
        "or until you run manage.py rebuildindex. Set "
        '"maxmemory-policy noeviction" in that server, and use another server for caches.',
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
    # Django's test runner turns DEBUG off before it runs the checks.
    if location.scheme in DEVELOPMENT and not settings.DEBUG and not conf.is_testing():
        meant_for = "development" if location.scheme == "embedded" else "tests"
        yield checks.Warning(
            f'SESSION_REDIS["LOCATION"] is {location.scheme}://, which is for {meant_for}, '
            "and DEBUG is off.",
            'In production write the URL of a Redis server, such as "redis://redis:6379/0".',
            id="sessions_redis.W007",
        )


def _check_prefix() -> Iterator[CheckMessage]:
    prefix = settings.SESSION_REDIS.get("KEY_PREFIX", "")  # the site's, not the tests'
    nested = INSIDE_INDEX_NAMES.match(prefix)
    if nested:
        yield checks.Warning(
            f'SESSION_REDIS["KEY_PREFIX"] is {prefix!r}. If another site in the same database has '
            f"the prefix {nested[1]!r}, the names of its indexes start with {nested[0]!r} as well.",
            'Choose a prefix without "user" or "index" after a colon, such as '
            f"{nested[1] + '-2'!r}. The site then does not find sessions under the former prefix, "
            "so their users have to sign in again.",
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
            'SESSION_REDIS["LOCATION"] contains the password of Redis. Django shows LOCATION on '
            "its error pages and in its mails to ADMINS, because that name does not look secret.",
            'Take user and password out of the URL, and write "OPTIONS": {"username": …, '
            '"password": …}, which Django masks. Write them there without percent-encoding.',
            id="sessions_redis.W011",
        )
    ]


def check_cookies(**kwargs: Any) -> Iterator[CheckMessage]:
    """
    Django's checks of the session cookie, for a site without Django's session app and middleware.

    Such a site uses only ``sessions_redis.middleware``, so Django's own checks do not run.
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
        yield _broken_serializer(f"SESSION_SERIALIZER {path!r} cannot be created: {error}.")
        return
    for sample in SAMPLES:
        reason = _why_value_is_lost(serializer, sample)
        if reason:
            yield _broken_serializer(f"SESSION_SERIALIZER {path!r} {reason}.")
            return


def _check_execution() -> Iterator[CheckMessage]:
    path = settings.SESSION_SERIALIZER
    try:
        is_dangerous = executes_code(import_string(path))
    except (AttributeError, ImportError, TypeError):
        return  # It cannot be created, which E005 reports.
    if is_dangerous:
        yield checks.Warning(
            f"SESSION_SERIALIZER {path!r} can execute code when it loads a session. So anyone who "
            "can write to Redis can run code in your site.",
            'Use "django.contrib.sessions.serializers.JSONSerializer". Until then the admin does '
            "not show the values of entries, because reading them could execute code.",
            id="sessions_redis.W010",
        )


def _why_value_is_lost(serializer: Any, sample: Any) -> str | None:
    try:
        dumped = serializer.dumps(sample)
        returned = serializer.loads(dumped)
    except Exception as error:  # noqa: BLE001 - a broken serializer can raise any error
        return f"fails on {sample!r}: {error!r}"
    if not isinstance(dumped, bytes):
        return f"turns {sample!r} into {type(dumped).__name__}, not bytes"
    return None if returned == sample else f"returns {returned!r} for {sample!r}"


def _broken_serializer(message: str) -> CheckMessage:
    return Error(
        message,
        'Use "django.contrib.sessions.serializers.JSONSerializer", or a serializer that turns any '
        "single value into bytes, and these bytes into the same value.",
        id="sessions_redis.E005",
    )
