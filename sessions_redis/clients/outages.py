"""
Logs outages of Redis: one error when an outage begins and one when it ends, in each process.

In a Cluster, each node has outages of its own.

The middleware and the views log each failed request as a warning. Django mails errors to
``ADMINS``, but not warnings.
"""

import os
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextvars import ContextVar
from functools import wraps
from threading import Lock
from time import monotonic
from typing import Any, NamedTuple

from django.core.signals import setting_changed
from redis.exceptions import ClusterDownError

from sessions_redis import logs
from sessions_redis.clients import pools
from sessions_redis.clients.origins import (
    UNREACHABLE,
    Key,
    Origin,
    Place,
    is_minor,
    key_of,
    kind_of,
    origin_of,
)
from sessions_redis.exceptions import SessionStoreUnavailable
from sessions_redis.hosts import shown
from sessions_redis.storage.steps import Command

Commands = Sequence[Command[Any]]
RunAll = Callable[[Commands], list[Any]]
RunAllAsync = Callable[[Commands], Awaitable[list[Any]]]

# Django's log for responses of status 500 and above, so an outage reaches the same people.
log = logs.named("django.request")


class _Lost(NamedTuple):
    """
    ``noticed``: when a command had failed, in seconds of `monotonic`. ``slot``: in a Cluster, a
    slot that was not served.
    """

    noticed: float
    slot: int | None


class _Outage(NamedTuple):
    """
    An outage that has not ended.

    ``began``: when the first failed command was sent, in seconds of `monotonic`. ``refused``: the
    kinds of commands that Redis refuses. ``awaited``: what has to answer again.
    """

    began: float
    refused: set[Any]
    awaited: dict[Place, _Lost]


class Outages:
    """
    The outages that this process knows of, each of one server: in a Cluster, of one node.

    Either the server cannot be reached, or it refuses commands: its memory is full, an ACL forbids
    them, or it cannot write to disk. The first kind ends with any answer. The second kind ends when
    the server runs a command of the kind that it refused.

    In a Cluster, both kinds also end when another node has taken the place of that node. The
    Cluster as a whole has an outage if nodes say that it is down, or if no node serves a slot. That
    ends when each node that said so runs commands again, and a node serves that slot.

    Threads and tasks may report their results late. So the result of a command counts only if the
    command was sent after the last change.
    """

    def __init__(self) -> None:
        self.current: dict[Key, _Outage] = {}
        self._ended: dict[Key, float] = {}
        self._changing = Lock()

    def failed(self, error: SessionStoreUnavailable, commands: Commands, sent: float) -> None:
        if (failures := _failures.get()) is not None:
            failures[:] = [error]
        key, origin = key_of(error.__cause__), origin_of(error.__cause__)
        if key.cause is ClusterDownError:
            # A node that starts says so for some seconds. That is a part of its outage.
            if {Key(origin.node, UNREACHABLE), Key(None, UNREACHABLE)} & self.current.keys():
                return
        elif key.cause is not UNREACHABLE:
            self._run_by({None: set(), origin.place: set()}, sent)
        is_old = sent <= self._ended.get(key, float("-inf"))
        # Do not wait while another thread writes the log line: it may be sending a mail.
        if is_old or is_minor(error.__cause__) or not self._changing.acquire(blocking=False):
            return
        try:
            if (outage := self.current.get(key)) is None:
                self._begin(key, error, commands, sent)
            else:
                outage.awaited.setdefault(origin.place, _Lost(monotonic(), origin.slot))
        finally:
            self._changing.release()

    def _begin(
        self, key: Key, error: SessionStoreUnavailable, commands: Commands, sent: float
    ) -> None:
        origin = origin_of(error.__cause__)
        refused = set() if key.cause is UNREACHABLE else _refused(origin, commands)
        try:
            _log(_BEGINS if key.node is None else _NODE_BEGINS, error)
        finally:  # even if the mail cannot be sent: the next request must not try again
            lost = _Lost(monotonic(), origin.slot)
            self.current[key] = _Outage(sent, refused, {origin.place: lost})

    def answered(self, commands: Commands, sent: float) -> None:
        self._run_by(_kinds_by_place(commands), sent)

    def _run_by(self, kinds: Mapping[Place, set[Any]], sent: float) -> None:
        """Commands of these ``kinds``, sent at ``sent``, were answered by these places."""
        if not self.current or not self._changing.acquire(blocking=False):
            return
        try:
            for key, outage in self.current.copy().items():
                over = [
                    place
                    for place, lost in outage.awaited.items()
                    if lost.noticed < sent
                    and (
                        (place in kinds and outage.refused <= kinds[place])
                        or _is_replaced(place, lost)
                    )
                ]
                for place in over:
                    del outage.awaited[place]
                if not outage.awaited:
                    self._end(key, kinds)
        finally:
            self._changing.release()

    def _end(self, key: Key, kinds: Mapping[Place, set[Any]]) -> None:
        self._ended[key] = now = monotonic()
        seconds = now - self.current.pop(key).began
        if key.node is None:
            _log(_IS_BACK if key.cause is UNREACHABLE else _IS_ALLOWED, seconds)
        elif key.node not in kinds:
            _log(_IS_REPLACED, shown(key.node), seconds)
        else:
            line = _NODE_IS_BACK if key.cause is UNREACHABLE else _NODE_IS_ALLOWED
            _log(line, shown(key.node), seconds)


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

_NODE_BEGINS = (
    "Some sessions cannot be reached. %s Until this node answers again, its further failures are "
    "logged as warnings."
)
_NODE_IS_BACK = "Node %s answers again. Some sessions could not be reached for %.1f seconds."
_NODE_IS_ALLOWED = "Node %s accepts commands again. It had refused them for %.1f seconds."
_IS_REPLACED = (
    "Another node has taken the place of node %s. Some sessions could not be reached for %.1f "
    "seconds."
)


def _log(line: str, *arguments: object) -> None:
    log.error(line, *arguments, extra={"status_code": 503, "request": logs.no_request()})


def _refused(origin: Origin, commands: Commands) -> set[Any]:
    """The kinds of commands that Redis refuses: the one that is known, or those of ``commands``."""
    return set(map(kind_of, commands)) if origin.kind is None else {origin.kind}


def _is_replaced(place: Place, lost: _Lost) -> bool:
    """Whether other nodes of a Cluster serve by now what ``place`` did not serve."""
    ours = pools.current()
    node = place if isinstance(place, tuple) else None
    return bool(ours.is_cluster and ours.is_served_by_another(lost.slot, node))


def _kinds_by_place(commands: Commands) -> dict[Place, set[Any]]:
    """The kinds of ``commands``, which were answered: all of them, and those of each node."""
    kinds: dict[Place, set[Any]] = {None: set(map(kind_of, commands))}
    ours = pools.current()
    if ours.is_cluster:
        for command in commands:
            kinds.setdefault(ours.answered_by(command), set()).add(kind_of(command))
    return kinds


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
