"""
System checks, which find mistakes before the first request. Their IDs stay the same.

All have the tag ``sessions_redis``. Those marked with a star run with ``manage.py check --deploy``
only. That also runs Django's security.W012 and W015 about the session cookie.

==== ==========================================================================================
E001 The engine is set, but ``SESSION_REDIS`` is missing or not a dictionary.
E002 ``SESSION_REDIS`` has a setting that does not exist.
E003 ``SESSION_REDIS["LOCATION"]`` is missing or cannot be used.
E004 A setting has a value that cannot be used.
E005 ``SESSION_SERIALIZER`` does not return the value that it serialized.
E006 ``SESSION_REDIS`` has settings of django-redis-sessions.
W007 ``LOCATION`` is for development or tests, but ``DEBUG`` is off.
W008 ``SESSION_REDIS`` is set but another engine is in use.
W009 * The server may evict sessions and indexes when its memory is full.
W010 ``SESSION_SERIALIZER`` can execute code when it loads a session, as pickle does.
W011 * ``LOCATION`` contains the password, which error pages and mails then show.
W012 ``KEY_PREFIX`` can give a key the same name as a key of another site.
E013 * The server does not run Lua scripts, which the engine needs.
E014 * The server cannot be reached.
E015 * The server is too old.
W016 * The server keeps nothing over a restart.
W017 * The server stores sessions in more memory than they need.
W018 * The connection to another machine is not encrypted.
W019 * The site signs in without a password to a server on another machine.
E020 * A key with the name of an index has another type.
W021 * Keys with the names of sessions have another type.
W022 ``cache.clear()`` of a cache in ``CACHES`` would delete all sessions.
W023 * The server has known faults in Lua.
I024 * The server is neither Redis nor Valkey.
I025 * The server does not allow this site to ask for what the checks need.
E026 * Slots of the Cluster have no node.
W027 * A master of the Cluster has no replica.
W028 * A Cluster has over a million sessions in one index.
W029 ``INDEX_SHARDS`` is set where it has no effect.
E030 Sessions cannot move in from ``FORMER_ENGINE``.
W031 ``FORMER_ENGINE_SHARED`` is set without ``FORMER_ENGINE``.
E032 ``sessions_redis.moving_out`` has no ``NEXT_ENGINE``, or one that cannot be used.
W033 ``NEXT_ENGINE`` is set where it has no effect.
E034 ``TOUCH_INTERVAL`` is more than half of ``SESSION_COOKIE_AGE``.
E035 ``MAX_SESSIONS_PER_USER`` is set, but no indexes are kept.
E038 ``BIND_TO`` is set where it has no effect.
E039 ``END_ON_PASSWORD_CHANGE`` is set without the session middleware that it needs.
E040 * The server does not let the site publish, which ``EVENTS`` needs.
E041 ``SESSION_SERIALIZER`` encrypts, and the package ``cryptography`` is not installed.
W042 ``ENCRYPTION_KEYS`` is set, but ``SESSION_SERIALIZER`` does not encrypt.
==== ==========================================================================================
"""

from collections.abc import Iterator
from importlib import import_module
from itertools import islice
from typing import Any

from django.conf import settings
from django.core import checks
from django.core.checks import CheckMessage, Error
from django.core.checks.security import sessions as cookies
from django.core.exceptions import ImproperlyConfigured

from sessions_redis import conf, locations
from sessions_redis.checks import (
    account_changes,
    binding,
    caches,
    cluster,
    events,
    lifetimes,
    moving,
    network,
    next_engine,
    scripts,
    serialization,
    server,
)
from sessions_redis.clients import addresses, perform_without_logging_outages, pools
from sessions_redis.clients.addresses import Access
from sessions_redis.engine import SessionStore
from sessions_redis.exceptions import SessionStoreUnavailable
from sessions_redis.key_prefixes import INSIDE_INDEX_NAMES
from sessions_redis.moving_out import MovingOut
from sessions_redis.problems import problems
from sessions_redis.registry.inspection import inspect
from sessions_redis.storage.keyspaces import Keyspace

ENGINE = "sessions_redis.engine"

# ``manage.py check --tag sessions_redis`` runs these checks alone.
TAG = "sessions_redis"

# The schemes of LOCATION for development and tests.
DEVELOPMENT = {"embedded", "memory"}


def check_settings(**kwargs: Any) -> list[CheckMessage]:
    setting = getattr(settings, "SESSION_REDIS", None)
    if not _is_engine_in_use():
        return [] if setting is None else [_unused()]
    wrong: list[CheckMessage] = [
        Error(found.message, found.hint, id=found.id) for found in problems(setting)
    ]
    found = wrong or [
        *_check_client(), *_check_prefix(), *cluster.problems_of_settings(conf.current()),
        *moving.problems(conf.current()), *next_engine.problems(),
        *binding.problems(conf.current()),
        *serialization.problems_of_keys(conf.current()),
        *account_changes.problems(conf.current()),
        *lifetimes.problems(conf.current()),
    ]  # fmt: skip
    return [*found, *serialization.problems()]


def check_server(**kwargs: Any) -> list[CheckMessage]:
    """
    Ask the server, in at most three round trips, or four in a Cluster.

    If it cannot be reached, that is one error.

    It does not connect if the setting has mistakes, which other checks report, or if ``LOCATION``
    is for development or tests.
    """
    if not _has_server():
        return []
    try:
        keyspace = _keyspace()
        found = perform_without_logging_outages(inspect(keyspace, server.SAMPLE))
    except ImproperlyConfigured:
        return []
    except SessionStoreUnavailable as error:
        return [
            Error(
                str(error),
                "Until this is mended, the site answers 503 to requests that need it. If this "
                "machine is not meant to reach Redis, such as one that only builds the site, add "
                "the ID to SILENCED_SYSTEM_CHECKS there.",
                id="sessions_redis.E014",
            )
        ]
    return [*server.problems(found), *cluster.problems(found, keyspace)]


def _keyspace() -> Keyspace:
    """The names in Redis; of no session if each tenant has its own, because none is current."""
    current = conf.current()
    return Keyspace("", indexed=False) if current.tenants else current.keyspace


def check_scripts(**kwargs: Any) -> list[CheckMessage]:
    try:
        return [*scripts.problems()] if _has_server() else []
    except ImproperlyConfigured:
        return []  # E003 reports it.


def check_events(**kwargs: Any) -> list[CheckMessage]:
    try:
        return [*events.problems()] if _has_server() else []
    except ImproperlyConfigured:
        return []  # E003 reports it.


def check_network(**kwargs: Any) -> list[CheckMessage]:
    elsewhere = (access for access in _accesses() if not access.address.is_local)
    return [message for access in islice(elsewhere, 1) for message in network.problems(access)]


def check_files(**kwargs: Any) -> Iterator[CheckMessage]:
    """
    Report a certificate or key for TLS that cannot be used.

    Only deployments have these files, so only ``check --deploy`` looks.
    """
    if not _has_server() or not conf.current().scheme.startswith("rediss"):
        return
    try:
        problem = pools.problem_with_files()
    except ImproperlyConfigured:
        return  # E003 reports it.
    if problem:
        yield Error(
            f'The file of SESSION_REDIS["OPTIONS"] {problem}.',
            "The files must exist, be readable and in PEM format, and the key must belong to the "
            "certificate.",
            id="sessions_redis.E004",
        )


def check_caches(**kwargs: Any) -> list[CheckMessage]:
    return [*caches.problems([access.address for access in _accesses()])]


def _has_server() -> bool:
    """Whether the settings name a server, without mistakes, that is not for development."""
    setting = getattr(settings, "SESSION_REDIS", None)
    if not _is_engine_in_use() or any(problems(setting)):
        return False
    return conf.current().scheme not in DEVELOPMENT


def _accesses() -> list[Access]:
    """How the site reaches its server, or nodes; empty if that is not to be checked."""
    try:
        return addresses.of_sessions() if _has_server() else []
    except ImproperlyConfigured:
        return []  # E003 reports it.


def _is_engine_in_use() -> bool:
    """Whether sessions are in Redis, or move out of it."""
    if settings.SESSION_ENGINE == next_engine.MOVING_OUT:
        return True
    try:
        store = import_module(settings.SESSION_ENGINE).SessionStore
    except (ImportError, AttributeError):
        return False
    return issubclass(store, SessionStore | MovingOut)


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
    if conf.current().tenants is not None:
        return  # The prefixes of tenants are checked when they are used.
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
    if not _is_engine_in_use() or any(problems(setting)):
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
