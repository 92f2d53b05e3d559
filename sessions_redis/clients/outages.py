"""
Logs outages of Redis: one error when an outage begins and one when it ends, in each process.

The middleware and the views log each failed request as a warning. Django mails errors to
``ADMINS``, but not warnings.
"""

import os
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextvars import ContextVar
from functools import wraps
from threading import Lock
from time import monotonic
from typing import Any, NamedTuple

from django.core.signals import setting_changed
from redis.exceptions import AuthenticationError, ResponseError

from sessions_redis import logs
from sessions_redis.exceptions import SessionStoreUnavailable
from sessions_redis.storage.steps import Command

Commands = Sequence[Command[Any]]
RunAll = Callable[[Commands], list[Any]]
RunAllAsync = Callable[[Commands], Awaitable[list[Any]]]

# Why commands fail: Redis refuses them with this class of error, or it cannot be reached.
Cause = type[BaseException] | None
UNREACHABLE: Cause = None

# Django's log for responses of status 500 and above, so an outage reaches the same people.
log = logs.named("django.request")


class _Outage(NamedTuple):
    """
    An outage that has not ended, with times in seconds of `monotonic`.

    ``began``: when the first failed command was sent. ``noticed``: when it had failed. ``refused``:
    the kinds of commands in that exchange.
    """

    began: float
    noticed: float
    refused: set[Any]


class Outages:
    """
    The outages that this process knows of.

    Either Redis cannot be reached, or it refuses commands: its memory is full, an ACL forbids them,
    or it cannot write to disk. The first kind ends with any answer. The second kind ends when Redis
    runs a command of the kind that it refused.

    Threads and tasks may report their results late. So the result of a command counts only if the
    command was sent after the last change.
    """

    def __init__(self) -> None:
        self.current: dict[Cause, _Outage] = {}
        self._ended: dict[Cause, float] = {}
        self._changing = Lock()

    def failed(self, error: SessionStoreUnavailable, commands: Commands, sent: float) -> None:
        if (failures := _failures.get()) is not None:
            failures[:] = [error]
        cause = _cause(error)
        if cause is not UNREACHABLE:
            self._end([UNREACHABLE], sent)
        is_old = sent <= self._ended.get(cause, float("-inf"))
        # Do not wait while another thread writes the log line: it may be sending a mail.
        if is_old or _is_minor(error) or not self._changing.acquire(blocking=False):
            return
        try:
            if cause not in self.current:
                self._begin(cause, error, commands, sent)
        finally:
            self._changing.release()

    def _begin(
        self, cause: Cause, error: SessionStoreUnavailable, commands: Commands, sent: float
    ) -> None:
        try:
            _log(_BEGINS, error)
        finally:  # even if the mail cannot be sent: the next request must not try again
            self.current[cause] = _Outage(sent, monotonic(), _kinds(commands))

    def answered(self, commands: Commands, sent: float) -> None:
        kinds = _kinds(commands)
        over = [
            cause
            for cause, outage in self.current.copy().items()
            if cause is UNREACHABLE or outage.refused <= kinds
        ]
        self._end(over, sent)

    def _end(self, over: Iterable[Cause], sent: float) -> None:
        if not self.current or not self._changing.acquire(blocking=False):
            return
        try:
            for cause in over:
                outage = self.current.get(cause)
                if outage and outage.noticed < sent:
                    self._ended[cause] = now = monotonic()
                    del self.current[cause]
                    _log(_IS_BACK if cause is UNREACHABLE else _IS_ALLOWED, now - outage.began)
        finally:
            self._changing.release()


# A list with the last failure of the current request, in any of its tasks and threads.
_failures: ContextVar[list[SessionStoreUnavailable] | None] = ContextVar("failures", default=None)


def collect_failures(failures: list[SessionStoreUnavailable] | None) -> None:
    """
    Store failures in the list ``failures`` from now on; ``None`` stops it.

    It receives the last failure of this task or thread, and of those that it starts.
    """
    _failures.set(failures)


def last_failure() -> SessionStoreUnavailable | None:
    failures = _failures.get()
    return failures[-1] if failures else None


_BEGINS = (
    "Sessions cannot be reached. %s Until Redis answers again, further failures are logged as "
    "warnings."
)
_IS_BACK = "Redis answers again. Sessions could not be reached for %.1f seconds."
_IS_ALLOWED = "Redis accepts commands again. It had refused them for %.1f seconds."


def _log(line: str, argument: object) -> None:
    log.error(line, argument, extra={"status_code": 503, "request": logs.no_request()})


def _cause(error: SessionStoreUnavailable) -> Cause:
    cause = error.__cause__
    if isinstance(cause, ResponseError) and not isinstance(cause, AuthenticationError):
        return type(cause)
    return UNREACHABLE


def _is_minor(error: SessionStoreUnavailable) -> bool:
    """Whether this process had no free connection, or a key is damaged. Neither is an outage."""
    cause = str(error.__cause__)
    return cause.startswith("No connection available") or "WRONGTYPE" in cause


def _kinds(commands: Commands) -> set[Any]:
    """
    The kinds of ``commands``: the name of each command, or its script.

    A server that refuses commands because of its ACL or its memory refuses some kinds, not others.
    """
    return {command.source or command.parts[0] for command in commands}


_of_process: dict[int, Outages] = {}


def _current() -> Outages:
    # A forked process starts without outages. It has not met those that its parent logged.
    pid = os.getpid()
    return _of_process.get(pid) or _of_process.setdefault(pid, Outages())


def logging_outages(run_all: RunAll) -> RunAll:
    """Wrap ``run_all`` so that the outages that it meets are logged."""

    @wraps(run_all)
    def and_log(commands: Commands) -> list[Any]:
        outages, sent = _current(), monotonic()
        try:
            answers = run_all(commands)
        except SessionStoreUnavailable as error:
            outages.failed(error, commands, sent)
            raise
        if outages.current:
            outages.answered(commands, sent)
        return answers

    return and_log


def alogging_outages(arun_all: RunAllAsync) -> RunAllAsync:
    """As `logging_outages`, for an asynchronous function."""

    @wraps(arun_all)
    async def and_log(commands: Commands) -> list[Any]:
        outages, sent = _current(), monotonic()
        try:
            answers = await arun_all(commands)
        except SessionStoreUnavailable as error:
            outages.failed(error, commands, sent)
            raise
        if outages.current:
            outages.answered(commands, sent)
        return answers

    return and_log


def _forget(*, setting: str, **kwargs: Any) -> None:
    if setting == "SESSION_REDIS":
        _of_process.clear()


setting_changed.connect(_forget)
