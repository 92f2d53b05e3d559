"""
Runs of tests: each has a key prefix of its own in Redis, and deletes its keys at its end.

A run lasts as long as Django's test environment: from ``setup_test_environment()`` to
``teardown_test_environment()``. The test environment holds the run. Each process that sets up a
test environment has a run of its own.

`_end` deletes the keys of a run. It is called in two ways:

- by ``weakref.finalize``, when the test environment is torn down and drops the run. Django sends no
  signal then;
- by ``multiprocessing.util.Finalize``, when a process ends without tearing down. Parallel workers
  that Django spawns do that, and they do not run ``atexit`` functions. If a process has workers,
  Python ends these first, so they write nothing after the removal.

A process that a test forks shares the test's run. To make that possible, `conf` begins a run before
each fork. A forked process never ends its parent's run, because `_end` compares process IDs. Parent
and forks share two pieces of memory (``mmap``):

- whether a session may have been written. If not, `_end` does not connect to Redis, so that tests
  without sessions need no server;
- the number in the prefix. When a test calls `begin_afresh`, a server that it forked also changes
  to the next number.

Parallel workers that Django forks share the run as well, but each has its own numbers. Django's
``_worker_id`` identifies them.
"""

import os
import secrets
import sys
import warnings
import weakref
from collections.abc import Mapping
from dataclasses import dataclass, fields
from mmap import mmap
from multiprocessing.util import Finalize
from typing import Any

from django.conf import Settings, UserSettingsHolder, settings
from django.test.utils import _TestState

from sessions_redis import testing_leftovers
from sessions_redis.clients import removal
from sessions_redis.conf import Conf, is_testing
from sessions_redis.exceptions import SessionStoreUnavailable
from sessions_redis.storage.keyspaces import Keyspace

# The name of the attribute of the test environment that holds the run.
_KEY = "sessions_redis"


class Run:
    """
    The run that this process belongs to.

    ``is_used``: not 0 if this process or one of its forks may have written a session.
    """

    def __init__(self, site: Conf) -> None:
        self.name = f"{testing_leftovers.machine()}-{os.getpid()}-{secrets.token_hex(3)}"
        self.is_used = mmap(-1, 1)
        self._worker = 0
        self._number = mmap(-1, 4)
        self._conf: _OfTests | None = None
        ending = (site, self.is_used, os.getpid())
        weakref.finalize(self, _end, *ending).atexit = False
        Finalize(None, _end, ending, exitpriority=-1)  # below 0: after the workers have ended

    def conf_of(self, current: Conf) -> Conf:
        """The setting ``current``, with the prefix of this run."""
        part = f"{self.name}-{self._part()}"
        made = self._conf
        if made is None or made.written is not current or made.part != part:
            held = {field.name: getattr(current, field.name) for field in fields(Conf)}
            if current.tenants is None:
                held["key_prefix"] = f"{_base(current.key_prefix)}{part}"
            made = self._conf = _OfTests(**held, written=current, is_used=self.is_used, part=part)
        return made

    def begin_afresh(self) -> None:
        """
        Change the prefix, so that no earlier session is found. This sends no command to Redis.
        """
        self._part()
        self._number[:] = (int.from_bytes(self._number, "big") + 1).to_bytes(4, "big")

    def _part(self) -> str:
        # 0 outside of parallel workers. A forked worker begins as a copy of the parent process.
        worker = getattr(sys.modules.get("django.test.runner"), "_worker_id", 0)
        if worker != self._worker:
            self._worker, self._number = worker, mmap(-1, 4)
        return f"{worker}.{int.from_bytes(self._number, 'big')}"


def of_tests(current: Conf) -> Conf:
    """
    The setting ``current``, with the prefix of this run.

    If a test overrides ``LOCATION`` or ``KEY_PREFIX``, its own setting is used without changes.
    """
    if _location_and_prefix(settings.SESSION_REDIS) != _location_and_prefix(_site_setting()):
        return current
    return _run(current).conf_of(current)


def begin_afresh() -> None:
    """
    Let a test begin without sessions.

    Raises ``RuntimeError`` outside of Django's test environment.
    """
    if not is_testing():
        raise RuntimeError(
            "Only tests can begin without sessions, and Django's test environment is not set up. "
            "Run your tests with manage.py test or pytest-django, or call "
            "django.test.utils.setup_test_environment() first."
        )
    removal.empty_memory()
    run: Run | None = _environment().get(_KEY)
    if run is not None:
        run.begin_afresh()


@dataclass(frozen=True, repr=False)
class _OfTests(Conf):
    """
    A setting with the prefix of a run. ``written``: the setting without it.

    ``part``: the run's part of the prefix. The site's, or the tenant's, is before it.
    """

    written: Conf | None = None
    is_used: Any = None
    part: str = ""

    @property
    def keyspace(self) -> Keyspace:
        """
        The names of keys in Redis. Each command gets its keys from here, so the run is in use.
        """
        if self.tenants is not None:
            return self.keyspace_of_tenant(self.tenants.current())
        self.is_used[0] = 1
        return self._keyspace(self.key_prefix)

    def keyspace_of_tenant(self, tenant: str) -> Keyspace:
        self.is_used[0] = 1
        return self._keyspace(f"{_base(tenant)}{self.part}", tenant)


def _run(site: Conf) -> Run:
    environment = _environment()
    # If several threads create one at the same moment, all of them get the first.
    run: Run = environment.get(_KEY) or environment.setdefault(_KEY, Run(site))
    return run


def _environment() -> dict[str, Any]:
    """The object in which Django keeps the settings that it restores after the tests."""
    state: Any = _TestState
    environment: dict[str, Any] = vars(state.saved_data)
    return environment


def _site_setting() -> Any:
    """``SESSION_REDIS`` without overrides by tests. Each override wraps the settings before it."""
    held: Any = settings._wrapped  # type: ignore[misc]  # not public
    while isinstance(
        inner := getattr(held, "default_settings", None), Settings | UserSettingsHolder
    ):
        held = inner
    return getattr(held, "SESSION_REDIS", None)


def _location_and_prefix(setting: Any) -> Any:
    if not isinstance(setting, Mapping):
        return None
    return setting.get("LOCATION"), setting.get("KEY_PREFIX")


def _base(prefix: str) -> str:
    """The start of the prefixes of all runs of this site, or of this tenant."""
    return f"test_{prefix}:"


def _end(site: Conf, is_used: mmap, process: int) -> None:
    if os.getpid() != process or not is_used[0]:
        return
    is_used[0] = 0
    start = f"{_base(site.shown_prefix)}{testing_leftovers.machine()}-"
    pattern, mark = removal.literally(start), start
    if site.tenants is not None:
        # Any tenant's, because nobody knows the tenants of a run that was killed.
        mark = f":{testing_leftovers.machine()}-"
        pattern = f"test_*{mark}"
    try:
        removal.remove(
            site, f"{pattern}*", lambda key: testing_leftovers.is_left_over(key.partition(mark)[2])
        )
    except SessionStoreUnavailable as error:
        # All tests have ended, so no filter of warnings must turn this one into an error.
        with warnings.catch_warnings():
            warnings.simplefilter("default")
            warnings.warn(
                f"Sessions of these tests stay in Redis until they expire, or until the next run "
                f"removes them (keys that start with {start}): {error}",
                RuntimeWarning,
                stacklevel=2,
            )
