"""
The ``SESSION_REDIS`` setting: names, defaults, validation.

It is read when needed, not at import. When a test overrides the setting, it is read again.
"""

import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache, cached_property, lru_cache
from ipaddress import ip_network
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.core.signals import setting_changed

from sessions_redis import key_prefixes, locations
from sessions_redis.key_prefixes import Store, Tenants
from sessions_redis.storage.commands import Keyspace

# Django's module of the test environment. A site that serves visitors does not import it.
_TEST_UTILS = "django.test.utils"

# In TRUSTED_PROXIES, this is a proxy that connects through a unix socket and so has no address.
UNIX = "unix"


@dataclass(frozen=True, repr=False)
class Conf:
    """
    ``SESSION_REDIS`` with its defaults filled in. docs/settings.md explains each setting.

    ``tenants``: the function that ``KEY_PREFIX`` names, if it names one. Then ``key_prefix`` is the
    name of that function.

    Its ``repr()`` shows neither the password nor the options, because error reports print it.
    """

    location: str
    key_prefix: str = "session"
    options: Mapping[str, Any] | None = None
    index: bool = True
    metadata: bool = True
    trusted_proxies: Sequence[str] = ()
    masked_names: Sequence[str] = ()
    unmasked_names: Sequence[str] = ()
    wait_replicas: int = 0
    instrumented: bool | None = None
    tenants: Tenants | None = None

    def __repr__(self) -> str:
        return f"<Conf {self.shown_location} {self.key_prefix!r}>"

    @cached_property
    def scheme(self) -> str:
        return self.location.partition("://")[0]

    @cached_property
    def keyspace(self) -> Keyspace:
        """The names in Redis: those of the site, or those of the current tenant."""
        return Keyspace(self.key_prefix, self.index)

    def keyspace_of_tenant(self, tenant: str) -> Keyspace:
        return _keyspace_of_tenant(tenant, self.index, tenant)

    @cached_property
    def directory(self) -> Path:
        """The directory of ``embedded://``. It stays the same if the process changes its own."""
        return Path(self.location.partition("://")[2]).absolute()

    @property
    def shown_location(self) -> str:
        """``LOCATION`` without its user, password and options, for messages and logs."""
        return locations.shown(self.location)

    @property
    def shown_prefix(self) -> str:
        return self.key_prefix if self.tenants is None else "<prefix>"


@dataclass(frozen=True, repr=False)
class _OfTenants(Conf):
    @property
    def keyspace(self) -> Keyspace:
        tenants: Any = self.tenants
        return self.keyspace_of_tenant(tenants.current())


@dataclass(frozen=True, slots=True)
class Problem:
    """A mistake in the setting. ``id``: the ID of the system check that reports it."""

    id: str
    message: str
    hint: str

    def __str__(self) -> str:
        return f"{self.message} {self.hint}"


# To make one takes longer than to find it here.
_keyspace_of_tenant = lru_cache(maxsize=1024)(Keyspace)

# The settings, the types that their values may have, and a description of each type for messages.
_TYPES: dict[str, tuple[type | tuple[type, ...], str]] = {
    "LOCATION": (str, "a URL"),
    "KEY_PREFIX": (str, "a string or a function"),
    "OPTIONS": (Mapping, "a dictionary"),
    "INDEX": (bool, "True or False"),
    "METADATA": (bool, "True or False"),
    "TRUSTED_PROXIES": ((list, tuple), "a list of networks"),
    "MASKED_NAMES": ((list, tuple), "a list of names"),
    "UNMASKED_NAMES": ((list, tuple), "a list of names"),
    "WAIT_REPLICAS": (int, "a number of replicas, such as 1, or 0 for none"),
    "INSTRUMENTED": ((bool, type(None)), "True, False or None"),
}

# Settings that a later version will have. Only the value with which they change nothing is allowed.
_RESERVED: dict[str, Any] = {"ABSOLUTE_AGE": None, "INDEX_SHARDS": 1}

# The settings of django-redis-sessions, and what replaces them here. Several of them together
# become one URL: their replacement is a part of it.
_DJANGO_REDIS_SESSIONS = {
    "host": "<host>",
    "port": "<port>",
    "db": "<db>",
    "password": ":<password>@",
    "url": '"LOCATION": "<url>"',
    "unix_domain_socket_path": '"LOCATION": "unix://<path>"',
    "prefix": '"KEY_PREFIX": "<prefix>"',
    "socket_timeout": '"OPTIONS": {"socket_timeout": <seconds>}',
    "retry_on_timeout": "nothing: lost commands are sent again by default",
}
_URL_PARTS = {"password": "", "host": "localhost", "port": "6379", "db": "0"}


def current() -> Conf:
    """
    The current setting. While tests run, its ``KEY_PREFIX`` is that of the tests.

    Raises ``ImproperlyConfigured`` if the setting has a mistake.
    """
    # Each operation calls this, so a site that runs no tests must lose no time: it does one
    # look-up.
    return _read() if _TEST_UTILS not in sys.modules else _read_for_tests()


def keyspace_of(store: Store) -> Keyspace:
    """The names in Redis for ``store``, which keeps those of its tenant."""
    # As `current`, written out: each operation of a store calls this.
    settings = _read() if _TEST_UTILS not in sys.modules else _read_for_tests()
    tenants = settings.tenants
    return settings.keyspace if tenants is None else settings.keyspace_of_tenant(tenants.of(store))


def keep_tenant(store: Store) -> None:
    """Let ``store`` keep the current tenant, unless it has kept one already."""
    tenants = current().tenants
    if tenants is not None:
        tenants.of(store)


def keyspace_in(tenant: str | None) -> Keyspace:
    """The names in Redis for this tenant. ``None``: those of the site or the current tenant."""
    settings = current()
    if tenant is None or settings.tenants is None:
        return settings.keyspace
    return settings.keyspace_of_tenant(tenant)


def is_testing() -> bool:
    """
    Whether Django's test environment is set up.

    That is, between ``setup_test_environment()`` and ``teardown_test_environment()``, which
    ``manage.py test`` and pytest-django call.
    """
    # Django uses the same attribute. ``mail.outbox`` does not show that tests run: the mail backend
    # locmem creates it as well.
    return hasattr(getattr(sys.modules.get(_TEST_UTILS), "_TestState", None), "saved_data")


def problems(setting: Any) -> Iterator[Problem]:
    """The mistakes in ``setting``, a value for ``SESSION_REDIS``, found without asking Redis."""
    if not isinstance(setting, Mapping):
        yield Problem(
            "sessions_redis.E001",
            "SESSION_REDIS is not set."
            if setting is None
            else "SESSION_REDIS is not a dictionary.",
            'Write SESSION_REDIS = {"LOCATION": "redis://127.0.0.1:6379/0"} in your settings.',
        )
        return
    old = [name for name in setting if name in _DJANGO_REDIS_SESSIONS]
    if old:
        yield _django_redis_sessions_problem(old)
    for name, value in setting.items():
        if name not in old:
            yield from _problems_of(name, value)
    if "LOCATION" not in setting and not old:
        yield Problem(
            "sessions_redis.E003",
            'SESSION_REDIS has no "LOCATION".',
            'Write the URL of Redis: "LOCATION": "redis://127.0.0.1:6379/0".',
        )


def _problem() -> Problem | None:
    return next(problems(getattr(settings, "SESSION_REDIS", None)), None)


def _django_redis_sessions_problem(old: list[str]) -> Problem:
    in_url = [name for name in old if name in _URL_PARTS]
    becomes = [
        f"{name!r} becomes {_DJANGO_REDIS_SESSIONS[name]}" for name in old if name not in in_url
    ]
    if in_url:
        part = _URL_PARTS | {name: _DJANGO_REDIS_SESSIONS[name] for name in in_url}
        url = f"redis://{part['password']}{part['host']}:{part['port']}/{part['db']}"
        verb = "becomes" if len(in_url) == 1 else "together become"
        becomes.insert(0, f'{", ".join(map(repr, in_url))} {verb} "LOCATION": "{url}"')
    return Problem(
        "sessions_redis.E006",
        f"SESSION_REDIS has settings of django-redis-sessions: {', '.join(map(repr, old))}.",
        f"Replace them: {'; '.join(becomes)}.",
    )


def _problems_of(name: Any, value: Any) -> Iterator[Problem]:
    if name in _RESERVED:
        if value != _RESERVED[name]:
            yield Problem(
                "sessions_redis.E004",
                f'SESSION_REDIS["{name}"] is {value!r}, which this version does not support.',
                f"Leave it out, or write {_RESERVED[name]!r}.",
            )
    elif name not in _TYPES:
        close = get_close_matches(str(name).upper(), _TYPES, n=1, cutoff=0.5)
        yield Problem(
            "sessions_redis.E002",
            f"SESSION_REDIS has no setting {name!r}.",
            f'Did you mean "{close[0]}"?' if close else f"The settings are {', '.join(_TYPES)}.",
        )
    elif not _has_type_of(name, value):
        yield Problem(
            "sessions_redis.E003" if name == "LOCATION" else "sessions_redis.E004",
            f'SESSION_REDIS["{name}"] is {type(value).__name__}, not {_TYPES[name][1]}.',
            f"Write {_TYPES[name][1]}.",
        )
    elif name == "LOCATION":
        yield from _location_problems(value)
    elif name == "KEY_PREFIX":
        yield from _prefix_problems(value)
    elif name == "TRUSTED_PROXIES":
        yield from _network_problems(value)
    elif name == "WAIT_REPLICAS" and value < 0:
        yield Problem(
            "sessions_redis.E004",
            f'SESSION_REDIS["WAIT_REPLICAS"] is {value}, which is less than 0.',
            f"Write {_TYPES[name][1]}.",
        )
    elif name in {"MASKED_NAMES", "UNMASKED_NAMES"}:
        yield from _name_problems(name, value)
    elif name == "OPTIONS" and value.get("decode_responses"):
        yield Problem(
            "sessions_redis.E004",
            'SESSION_REDIS["OPTIONS"] sets decode_responses, but sessions are read as bytes.',
            "Leave decode_responses out.",
        )


def _has_type_of(name: str, value: Any) -> bool:
    kind = _TYPES[name][0]
    if name == "KEY_PREFIX" and callable(value):
        return True
    return isinstance(value, kind) and (kind is not int or not isinstance(value, bool))


def _prefix_problems(prefix: Any) -> Iterator[Problem]:
    found = key_prefixes.problem(prefix)
    if found:
        reason, hint = found
        yield Problem("sessions_redis.E004", f'SESSION_REDIS["KEY_PREFIX"] {reason}.', hint)


def _network_problems(networks: Sequence[Any]) -> Iterator[Problem]:
    for network in networks:
        try:
            if network != UNIX:
                # ip_network() also accepts numbers and bytes, but only text is allowed here.
                ip_network(network if isinstance(network, str) else repr(network))
        except ValueError as error:
            yield Problem(
                "sessions_redis.E004",
                f'SESSION_REDIS["TRUSTED_PROXIES"] has {network!r}: {error}.',
                f'Write addresses or networks, such as "10.0.0.0/8", or "{UNIX}".',
            )


def _name_problems(setting: str, names: Sequence[Any]) -> Iterator[Problem]:
    for name in names:
        if not isinstance(name, str) or not any(map(str.isalnum, name)):
            reason = "has no letter or digit" if isinstance(name, str) else "is not a string"
            yield Problem(
                "sessions_redis.E004",
                f'SESSION_REDIS["{setting}"] has {name!r}, which {reason}.',
                'Write names of entries, such as "iban" or "customer_number".',
            )


def _location_problems(location: str) -> Iterator[Problem]:
    found = locations.problem(location)
    if found:
        # The message does not repeat the URL, which may contain a password.
        reason, hint = found
        yield Problem("sessions_redis.E003", f'SESSION_REDIS["LOCATION"] {reason}.', hint)


@cache
def _read() -> Conf:
    # Error reports print the variables of this frame: none may contain a setting that has mistakes.
    if problem := _problem():
        raise ImproperlyConfigured(str(problem))
    setting: Mapping[str, Any] = settings.SESSION_REDIS
    held = {name.lower(): setting[name] for name in _TYPES if name in setting}
    tenants = key_prefixes.tenants_of(held.get("key_prefix", ""))
    if tenants is None:
        return Conf(**held)
    return _OfTenants(**{**held, "key_prefix": tenants.name, "tenants": tenants})


def _read_for_tests() -> Conf:
    if not is_testing():
        return _read()
    from sessions_redis import testing_runs  # noqa: PLC0415 - only tests need it

    return testing_runs.of_tests(_read())


def _forget(*, setting: str, **kwargs: Any) -> None:
    if setting == "SESSION_REDIS":
        _read.cache_clear()


setting_changed.connect(_forget)


def _begin_run() -> None:
    if is_testing() and _problem() is None:
        current()


# A process that a test forks shares the test's run, so the run must begin before the fork. (Windows
# has no fork.)
getattr(os, "register_at_fork", dict)(before=_begin_run)
