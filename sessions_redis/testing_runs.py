"""
A run of tests: the prefix that its sessions get in Redis, and their removal at its end.

A run lasts as long as Django's test environment, which holds it: from ``setup_test_environment()``
to ``teardown_test_environment()``. Each process that sets one up has a run of its own.

`_end` deletes the run's keys. Two callers make sure of it:

- ``weakref.finalize``, when the test environment is torn down and drops the run. Django sends no
  signal at that moment.
- ``multiprocessing.util.Finalize``, when a process ends that did not tear down. Parallel workers
  that Django spawns never do, and they run no ``atexit`` functions. In a process that has workers,
  Python ends these first, so none of them writes after the removal.

Processes that a test forks share its run. `conf` begins a run before each fork, so that there is
one to share. A fork never ends its parent's run: `_end` compares the process's ID. Two pieces of
memory (``mmap``) stay common to parent and forks:

- whether a session may have been written. If not, `_end` does not ask Redis, so tests without
  sessions need no server;
- the number of the prefix. A server that a test forked follows `begin_afresh` to the next one.

Parallel workers that Django forks share the run as well, but each counts prefixes by itself.
Django's ``_worker_id`` tells them apart.
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
from sessions_redis.storage.commands import Keyspace

# The test environment holds the run under this name.
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
        """``current`` with this run's prefix."""
        prefix = f"{_base(current.key_prefix)}{self.name}-{self._part()}"
        made = self._conf
        if made is None or made.written is not current or made.key_prefix != prefix:
            held = {field.name: getattr(current, field.name) for field in fields(Conf)}
            held["key_prefix"] = prefix
            made = self._conf = _OfTests(**held, written=current, is_used=self.is_used)
        return made

    def begin_afresh(self) -> None:
        """Change the prefix: all sessions so far are out of sight, without a command to Redis."""
        self._part()
        self._number[:] = (int.from_bytes(self._number, "big") + 1).to_bytes(4, "big")

    def _part(self) -> str:
        # 0 outside of parallel workers. A worker begins as a copy of the process that has the run.
        worker = getattr(sys.modules.get("django.test.runner"), "_worker_id", 0)
        if worker != self._worker:
            self._worker, self._number = worker, mmap(-1, 4)
        return f"{worker}.{int.from_bytes(self._number, 'big')}"


def of_tests(current: Conf) -> Conf:
    """
    ``current``, the setting as read, with the prefix of this run.

    It stays as it is if a test overrides ``LOCATION`` or ``KEY_PREFIX``.
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
            "Fresh sessions are for tests, and Django's test environment is not set up. Run your "
            "tests with manage.py test or pytest-django, or call "
            "django.test.utils.setup_test_environment() first."
        )
    removal.empty_memory()
    run: Run | None = _environment().get(_KEY)
    if run is not None:
        run.begin_afresh()


@dataclass(frozen=True, repr=False)
class _OfTests(Conf):
    """``written``: the setting without the prefix for tests."""

    written: Conf | None = None
    is_used: Any = None

    @property
    def keyspace(self) -> Keyspace:
        """The names in Redis. All commands take their keys from here."""
        self.is_used[0] = 1
        return Keyspace(self.key_prefix, self.index)


def _run(site: Conf) -> Run:
    environment = _environment()
    # If several threads make one at the same moment, all of them get the first.
    run: Run = environment.get(_KEY) or environment.setdefault(_KEY, Run(site))
    return run


def _environment() -> dict[str, Any]:
    """Where Django keeps the settings that it restores after the tests."""
    state: Any = _TestState
    environment: dict[str, Any] = vars(state.saved_data)
    return environment


def _site_setting() -> Any:
    """``SESSION_REDIS`` as the site has it. Each override wraps the settings before it."""
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


def _base(site_prefix: str) -> str:
    """The start of the prefixes of all runs of this site."""
    return f"test_{site_prefix}:"


def _end(site: Conf, is_used: mmap, process: int) -> None:
    if os.getpid() != process or not is_used[0]:
        return
    is_used[0] = 0
    start = f"{_base(site.key_prefix)}{testing_leftovers.machine()}-"
    try:
        removal.remove(site, start, testing_leftovers.is_left_over)
    except SessionStoreUnavailable as error:
        # The tests have their results by now. So no filter shall make this warning an error.
        with warnings.catch_warnings():
            warnings.simplefilter("default")
            warnings.warn(
                f"Sessions of these tests stay in Redis until they expire, or until the next run "
                f"removes them (keys that start with {start}): {error}",
                RuntimeWarning,
                stacklevel=2,
            )
