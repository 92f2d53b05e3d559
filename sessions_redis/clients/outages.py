"""
Outages: each is logged as an error when it begins and when it ends, once in every process.

The requests that fail meanwhile are logged by the middleware and the views, as warnings: these send
no mail to ``ADMINS``.
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
from sessions_redis.storage.commands import Command

Commands = Sequence[Command[Any]]
RunAll = Callable[[Commands], list[Any]]
RunAllAsync = Callable[[Commands], Awaitable[list[Any]]]

# What goes wrong: the class of redis-py's error for a refusal, or that Redis is away.
Cause = type[BaseException] | None
UNREACHABLE: Cause = None

# Django logs answers of status 500 and above there, so a site's owner is told by the same way.
log = logs.named("django.request")


class _Outage(NamedTuple):
    """When the first command that failed was sent, and when it had failed."""

    began: float
    noticed: float
    refused: set[Any]


class Outages:
    """
    What this process knows of outages.

    Redis is away, or it answers and refuses: it is out of memory, an ACL forbids the command, it
    cannot write to disk. Redis is back with any answer; a refusal is over when the command that was
    refused is carried out. A command that was sent before an outage began says nothing of its end,
    nor the other way round: threads and tasks may report late.
    """

    def __init__(self) -> None:
        self.current: dict[Cause, _Outage] = {}
        self._ended: dict[Cause, float] = {}
        self._changing = Lock()

    def failed(self, error: SessionStoreUnavailable, commands: Commands, sent: float) -> None:
        if (met := _failures.get()) is not None:
            met[:] = [error]
        cause = _cause(error)
        if cause is not UNREACHABLE:
            self._end([UNREACHABLE], sent)
        is_old = sent <= self._ended.get(cause, float("-inf"))
        # Nobody waits for a thread that writes a line: it may be sending a mail.
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
        finally:  # also when the mail cannot be sent, so that the next request does not try again
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


# What the request at hand has met last, in any of its tasks and threads.
_failures: ContextVar[list[SessionStoreUnavailable] | None] = ContextVar("met", default=None)


def collect_failures(met: list[SessionStoreUnavailable] | None) -> None:
    """Put into ``met`` what fails from now on in this task or thread, and in those it begins."""
    _failures.set(met)


def last_failure() -> SessionStoreUnavailable | None:
    met = _failures.get()
    return met[-1] if met else None


_BEGINS = "Sessions cannot be reached. %s Until this is over, failures are logged as warnings."
_IS_BACK = "Redis answers again. Sessions could not be reached for %.1f seconds."
_IS_ALLOWED = "Redis carries out again what it refused for %.1f seconds."


def _log(line: str, argument: object) -> None:
    log.error(line, argument, extra={"status_code": 503, "request": logs.no_request()})


def _cause(error: SessionStoreUnavailable) -> Cause:
    cause = error.__cause__
    if isinstance(cause, ResponseError) and not isinstance(cause, AuthenticationError):
        return type(cause)
    return UNREACHABLE


def _is_minor(error: SessionStoreUnavailable) -> bool:
    """Whether this process was too busy to ask, or a single key is damaged: both come and go."""
    cause = str(error.__cause__)
    return cause.startswith("No connection available") or "WRONGTYPE" in cause


def _kinds(commands: Commands) -> set[Any]:
    """What an ACL or a full server tells apart: the command's name, or its script."""
    return {command.source or command.parts[0] for command in commands}


_of_process: dict[int, Outages] = {}


def _current() -> Outages:
    # A forked process knows nothing: its parent may have logged what it had not seen itself.
    pid = os.getpid()
    return _of_process.get(pid) or _of_process.setdefault(pid, Outages())


def logging_outages(run_all: RunAll) -> RunAll:
    """Have what ``run_all`` meets be logged."""

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
    """As `logging_outages`."""

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
