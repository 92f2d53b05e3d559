"""
A run of tests: the prefix that its sessions get in Redis, and what it removes from there.

As tests have a database of their own beside the site's, so they have a prefix of their own. A run
lasts as long as Django's test environment, which holds it. Each process that sets one up has its
own; so has each worker of ``manage.py test --parallel``. A process that a test forks shares the
prefix of the test.
"""

import os
import re
import secrets
import socket
import sys
import warnings
import weakref
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, fields
from functools import cache
from hashlib import sha256
from mmap import mmap
from multiprocessing.util import Finalize
from pathlib import Path
from typing import Any

from django.conf import Settings, UserSettingsHolder, settings
from django.test.utils import _TestState

from sessions_redis.clients import sweeps
from sessions_redis.commands import Keyspace
from sessions_redis.conf import Conf, is_testing
from sessions_redis.exceptions import SessionStoreUnavailable

# Under which name the test environment holds the run.
_KEY = "sessions_redis"


class Run:
    """
    The run that this process belongs to.

    ``site``: the setting that it began with. ``is_used``: not 0 when a session may have been
    written, by this process or by one that was forked from it, which shares this byte.
    """

    def __init__(self, site: Conf) -> None:
        self.site = site
        self.name = f"{_machine()}-{os.getpid()}-{secrets.token_hex(3)}"
        self.is_used = mmap(-1, 1)
        self._worker = 0
        self._number = mmap(-1, 4)
        self._conf: _OfTests | None = None
        ending = (site, self.is_used, os.getpid())
        weakref.finalize(self, _end, *ending).atexit = False  # the environment is torn down
        # Workers may be at work then, if the run broke off. Python ends them with this process,
        # before it comes to this. A process of multiprocessing runs nothing else at its end.
        Finalize(None, _end, ending, exitpriority=-1)

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
        """Let what follows find no session. Nothing is asked of Redis: the prefix changes."""
        self._part()
        self._number[:] = (int.from_bytes(self._number, "big") + 1).to_bytes(4, "big")

    def _part(self) -> str:
        # Django numbers its parallel workers, which begin as copies of the process that has a run.
        worker = getattr(sys.modules.get("django.test.runner"), "_worker_id", 0)
        if worker != self._worker:
            self._worker, self._number = worker, mmap(-1, 4)
        # A process that a test forks, such as a server, goes on with the test to another number.
        return f"{worker}.{int.from_bytes(self._number, 'big')}"


def of_tests(current: Conf) -> Conf:
    """
    ``current``, the setting as read, with the prefix of this run.

    As it is where a test overrides ``LOCATION`` or ``KEY_PREFIX``.
    """
    if _place(settings.SESSION_REDIS) != _place(_site_setting()):
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
    sweeps.empty_memory()
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
        """The names in Redis. Nothing reaches sessions but by these."""
        self.is_used[0] = 1
        return Keyspace(self.key_prefix, self.index)


def _run(site: Conf) -> Run:
    environment = _environment()
    # Of threads that come at the same moment, all get what one of them made.
    run: Run = environment.get(_KEY) or environment.setdefault(_KEY, Run(site))
    return run


def _environment() -> dict[str, Any]:
    """What Django keeps while the test environment is set up."""
    state: Any = _TestState
    environment: dict[str, Any] = vars(state.saved_data)
    return environment


def _site_setting() -> Any:
    """``SESSION_REDIS`` without what a test overrides."""
    held: Any = settings._wrapped  # type: ignore[misc]  # not public
    while isinstance(
        inner := getattr(held, "default_settings", None), Settings | UserSettingsHolder
    ):
        held = inner
    return getattr(held, "SESSION_REDIS", None)


def _place(setting: Any) -> Any:
    if not isinstance(setting, Mapping):
        return None
    return setting.get("LOCATION"), setting.get("KEY_PREFIX")


def _base(site_prefix: str) -> str:
    """What the prefixes of all runs of this site start with."""
    return f"test_{site_prefix}:"


def _end(site: Conf, is_used: mmap, process: int) -> None:
    if os.getpid() != process or not is_used[0]:
        return
    is_used[0] = 0
    start = f"{_base(site.key_prefix)}{_machine()}-"
    try:
        sweeps.remove(site, start, _is_left_over)
    except SessionStoreUnavailable as error:
        # The tests have their results by now. Nor does a filter make this warning an error.
        with warnings.catch_warnings():
            warnings.simplefilter("default")
            warnings.warn(
                f"Sessions of these tests stay in Redis until they expire, or until the next run "
                f"removes them (keys that start with {start}): {error}",
                RuntimeWarning,
                stacklevel=2,
            )


def _is_left_over(rest: str) -> bool:
    """
    Whether this process or one that has ended wrote a key.

    ``rest``: the part of its name after that of the machine.
    """
    written_by = re.match(r"(\d{1,9})-", rest)
    return written_by is not None and _is_over(int(written_by[1]))


def _is_over(process: int) -> bool:
    # Where there is no signal 0 to ask with, what other processes left has to expire.
    return process == os.getpid() or (os.name == "posix" and not _is_alive(process))


def _is_alive(process: int) -> bool:
    try:
        with suppress(PermissionError):  # it is another user's
            os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True


@cache
def _machine() -> str:
    """What stands for this machine since it booted, and this container: where process IDs count."""
    marks = [socket.gethostname()]
    with suppress(OSError):  # not on Linux
        marks.append(Path("/proc/sys/kernel/random/boot_id").read_text())
        marks.append(str(Path("/proc/self/ns/pid").readlink()))
    return sha256(" ".join(marks).encode()).hexdigest()[:8]
