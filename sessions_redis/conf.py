"""
The ``SESSION_REDIS`` setting: names, defaults, validation.

It is read when needed, not at import. When a test overrides the setting, it is read again.
"""

import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from functools import cache, cached_property, lru_cache
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.core.signals import setting_changed

from sessions_redis import clusters, key_prefixes, locations
from sessions_redis.key_prefixes import Store, Tenants
from sessions_redis.problems import TYPES, Problem, problems
from sessions_redis.storage.keyspaces import Keyspace
from sessions_redis.storage.rules import END_OLDEST

# Django's module of the test environment. A site that serves visitors does not import it.
_TEST_UTILS = "django.test.utils"


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
    activity_interval: float = 60
    bind_to: Sequence[str] = ()
    bind_to_ends: bool = False
    masked_names: Sequence[str] = ()
    unmasked_names: Sequence[str] = ()
    wait_replicas: int = 0
    index_shards: int = 1
    instrumented: bool | None = None
    former_engine: str = ""
    former_engine_shared: bool = False
    former_engine_partial: bool = True
    next_engine: str = ""
    max_sessions_per_user: int | str | None = None
    max_sessions_policy: str = END_OLDEST
    events: bool = False
    encryption_keys: Sequence[str] = ()
    encryption_plaintext_until: str | date | None = None
    max_session_bytes: int | None = None
    end_on_deactivation: bool = False
    end_on_password_change: bool = False
    absolute_age: float | timedelta | str | None = None
    touch_interval: float = 0
    tenants: Tenants | None = None

    def __repr__(self) -> str:
        return f"<Conf {self.shown_location} {self.key_prefix!r}>"

    @cached_property
    def scheme(self) -> str:
        return self.location.partition("://")[0]

    @cached_property
    def keyspace(self) -> Keyspace:
        """The names in Redis: those of the site, or those of the current tenant."""
        return self._keyspace(self.key_prefix)

    def keyspace_of_tenant(self, tenant: str) -> Keyspace:
        return self._keyspace(tenant, tenant)

    def _keyspace(self, prefix: str, tenant: str | None = None) -> Keyspace:
        is_spread = clusters.is_cluster(self.location) and not clusters.has_tag(prefix)
        shards = self.index_shards if is_spread else 1
        moves_in = bool(self.former_engine)
        is_shared = moves_in and self.former_engine_shared
        return _keyspace(
            prefix, self.index, tenant, is_spread, shards, moves_in, is_shared,
            has_policies=self.has_policies, events=self.events,
        )  # fmt: skip

    @cached_property
    def has_policies(self) -> bool:
        """Whether a setting asks for rules of writes."""
        limits = (self.absolute_age, self.max_sessions_per_user, self.max_session_bytes)
        return self.touch_interval > 0 or any(one is not None for one in limits)

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


# To make one takes longer than to find it here.
_keyspace = lru_cache(maxsize=1024)(Keyspace)


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


def _problem() -> Problem | None:
    return next(problems(getattr(settings, "SESSION_REDIS", None)), None)


@cache
def _read() -> Conf:
    # Error reports print the variables of this frame: none may contain a setting that has mistakes.
    if problem := _problem():
        raise ImproperlyConfigured(str(problem))
    setting: Mapping[str, Any] = settings.SESSION_REDIS
    held = {name.lower(): setting[name] for name in TYPES if name in setting}
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
