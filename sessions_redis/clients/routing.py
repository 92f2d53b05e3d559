"""
Runs commands in a Redis Cluster: each on the node that serves the slot of its keys.

The commands for one node share an exchange, and the exchanges with several nodes take place at the
same time. What a node did not run is sent again where it belongs: after a redirection, while slots
move from node to node, and when another node has taken the place of a lost one. All of that has a
limit.
"""

import asyncio
import time
from collections.abc import Callable, Generator, Sequence
from time import monotonic
from typing import Any, NamedTuple

from redis.exceptions import (
    AskError,
    AuthenticationError,
    AuthorizationError,
    BusyLoadingError,
    ClusterDownError,
    MasterDownError,
    MovedError,
    NoScriptError,
    RedisError,
    ResponseError,
    TryAgainError,
)
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

from sessions_redis.clients.answers import (
    Commands,
    answer,
    areplies,
    asking,
    has_error,
    replies,
    without_asking,
)
from sessions_redis.clients.exchange import Request, is_refusal_of_replica
from sessions_redis.clients.leases import NOT_SENT, NoFreeConnectionError
from sessions_redis.clients.nodes import FOR_REPLICAS, Nodes, NoNodeError, slot_of
from sessions_redis.clients.origins import note_origin
from sessions_redis.clients.pools import Pools
from sessions_redis.storage.steps import Command

# How often a command is sent again at most.
MAX_RESENDS = 16

# The pauses before sending again, in seconds: each is twice as long as the one before. The first
# redirections need none.
FIRST_PAUSE = 0.01
LONGEST_PAUSE = 0.1
WITHOUT_PAUSE = 2

# So many nodes are asked at the same time by synchronous code. Each needs some frames of the stack.
AT_A_TIME = 16


class Errand:
    """
    A command on its way, the ``place``-th of those to run.

    ``node``: where to send it, if it is not the master of its slot. ``is_asking``: that node does
    not serve the slot yet. ``may_use_replica``: the site allows it, and no replica has failed.
    """

    __slots__ = (
        "command",
        "is_asking",
        "may_use_replica",
        "node",
        "place",
        "request",
        "sent",
        "slot",
    )

    def __init__(self, place: int, command: Command[Any]) -> None:
        self.place = place
        self.command = command
        self.slot = slot_of(command)
        self.request: Request = command.parts
        self.node: Pools | None = None
        self.is_asking = False
        self.may_use_replica = self.slot is not None and command.parts[0] in FOR_REPLICAS
        self.sent = 0

    def go_back(self) -> None:
        """Use the master of the slot from now on."""
        self.node, self.is_asking, self.may_use_replica = None, False, False


class Part(NamedTuple):
    """The errands to one node, which share an exchange."""

    node: Pools
    errands: list[Errand]

    @property
    def commands(self) -> tuple[list[Command[Any]], list[Request]]:
        commands = [errand.command for errand in self.errands]
        requests = [errand.request for errand in self.errands]
        return asking(commands, requests) if self.is_asking else (commands, requests)

    @property
    def is_asking(self) -> bool:
        return self.errands[0].is_asking

    def read(self, found: list[Any]) -> list[Any]:
        return without_asking(found) if self.is_asking else found


class ReadAgain(NamedTuple):
    """Read the topology again. See `Nodes.read_again`."""

    since: float
    first: Pools | None = None
    last: Pools | None = None


class Wait(NamedTuple):
    seconds: float


Outcome = list[Any] | RedisError
Steps = Generator[list[Part] | ReadAgain | Wait, Any, list[Any]]


class Tried(NamedTuple):
    node: Pools
    outcome: Outcome


class _Route:
    """The policy: what is sent where, and what is sent again. It does no I/O itself."""

    def __init__(self, nodes: Nodes, commands: Commands) -> None:
        self.nodes = nodes
        self.errands = [Errand(place, command) for place, command in enumerate(commands)]
        self.replies: list[Any] = [None] * len(commands)
        self.failures: dict[int, RedisError] = {}
        self.again: list[Errand] = []
        self.lost: list[tuple[Errand, Pools, RedisError]] = []
        self.pause = 0.0
        self.reading: ReadAgain | None = None

    def steps(self, tried: "Tried | None" = None) -> Steps:
        """``tried``: what became of the first attempt, if it was made already."""
        if not self.nodes.shards:
            yield ReadAgain(monotonic())
        pending = self.errands
        while pending:
            self.again, self.pause, self.reading, began = [], 0.0, None, monotonic()
            if tried is None:
                parts = self._parts(pending)
                outcomes = (yield parts) if parts else []
            else:
                parts, outcomes, tried = [Part(tried.node, pending)], [tried.outcome], None
            for part, outcome in zip(parts, outcomes, strict=True):
                self._judge(part, outcome)
            if self.reading is not None and self.nodes.is_due():
                yield self.reading._replace(since=began)
            self._send_lost_elsewhere()
            if self.pause and self.again:
                yield Wait(self.pause)
            pending = self.again
        if self.failures:
            raise self.failures[min(self.failures)]
        return [
            answer(reply, errand.command)
            for reply, errand in zip(self.replies, self.errands, strict=True)
        ]

    def _parts(self, pending: Sequence[Errand]) -> list[Part]:
        """The next exchanges, in the order of addresses. A node has one exchange at a time."""
        parts: dict[Pools, Part] = {}
        for errand in pending:
            try:
                node = self._node_for(errand)
            except NoNodeError as error:
                self._is_down(errand, error)
                continue
            part = parts.setdefault(node, Part(node, []))
            if part.errands and part.is_asking != errand.is_asking:
                self.again.append(errand)  # in the next round
            else:
                part.errands.append(errand)
        # All threads take connections in the same order, so none waits for another in a circle.
        return sorted(parts.values(), key=lambda part: part.node.address or ("", 0))

    def _node_for(self, errand: Errand) -> Pools:
        if errand.node is not None:
            return errand.node
        if errand.may_use_replica and errand.slot is not None:
            return self.nodes.reader_of(errand.slot) or self.nodes.master_of(errand.slot)
        return self.nodes.master_of(errand.slot)

    def _judge(self, part: Part, outcome: Outcome) -> None:
        if isinstance(outcome, RedisError):
            note_origin(outcome, node=part.node.address, slot=part.errands[0].slot)
            for errand in part.errands:
                self._is_lost(errand, part.node, outcome)
            return
        for errand, reply in zip(part.errands, outcome, strict=True):
            if isinstance(reply, ResponseError):
                note_origin(reply, node=part.node.address, slot=errand.slot)
                self._is_refused(errand, part.node, reply)
            elif part.node.reads_replica and not reply:
                # The replica may not have heard of the session yet.
                errand.go_back()
                self.again.append(errand)
            else:
                self.replies[errand.place] = reply
                self.nodes.note_answer(errand.slot, part.node)

    def _is_refused(self, errand: Errand, node: Pools, error: ResponseError) -> None:
        """Decide what becomes of a command that ``node`` answered with ``error``."""
        if isinstance(error, NoScriptError):
            errand.request = errand.command.with_source
        elif isinstance(error, MovedError):
            named = self.nodes.named_by(error, node)
            self.nodes.move(error.slot_id, named)
            errand.go_back()
            self.reading = ReadAgain(0, first=named)
        elif isinstance(error, AskError):
            errand.node, errand.is_asking = self.nodes.named_by(error, node), True
        elif isinstance(error, TryAgainError):
            errand.go_back()
            self._wait(errand)
        elif isinstance(error, MasterDownError) and node.reads_replica:
            errand.go_back()
        elif isinstance(error, ClusterDownError):
            self._is_down(errand, error)
            return
        elif is_refusal_of_replica(error):
            errand.go_back()
            self.reading = ReadAgain(0, last=node)
        else:
            self.replies[errand.place] = error
            return
        self._send_again(errand, error)

    def _send_again(self, errand: Errand, error: ResponseError) -> None:
        errand.sent += 1
        if errand.sent > MAX_RESENDS:
            self.replies[errand.place] = error
            return
        if errand.sent > WITHOUT_PAUSE:
            self._wait(errand)
        self.again.append(errand)

    def _wait(self, errand: Errand) -> None:
        self.pause = max(self.pause, min(FIRST_PAUSE * 2**errand.sent, LONGEST_PAUSE))

    def _is_down(self, errand: Errand, error: ClusterDownError) -> None:
        """The Cluster, or this slot, is not served. That ends soon if a replica is promoted."""
        errand.go_back()
        self.reading = self.reading or ReadAgain(0)
        if self.nodes.is_down_for_long():
            self.replies[errand.place] = error
        else:
            self._wait(errand)
            self._send_again(errand, error)

    def _is_lost(self, errand: Errand, node: Pools, error: RedisError) -> None:
        if not _is_of_node(error):
            self.failures[errand.place] = error
            return
        self.lost.append((errand, node, error))
        self.reading = self.reading or ReadAgain(0, last=node)

    def _send_lost_elsewhere(self) -> None:
        """Send a command again if another node serves its slot by now, and it may be repeated."""
        for errand, node, error in self.lost:
            errand.go_back()
            errand.sent += 1
            is_elsewhere = self._is_elsewhere(errand, node)
            if is_elsewhere and errand.sent <= MAX_RESENDS and _may_be_resent(errand, error):
                self.again.append(errand)
            else:
                self.failures[errand.place] = error
        self.lost = []

    def _is_elsewhere(self, errand: Errand, node: Pools) -> bool:
        try:
            return self.nodes.master_of(errand.slot) is not node
        except NoNodeError:
            return False


def _is_of_node(error: RedisError) -> bool:
    """Whether the node is lost, so that another may serve its slots."""
    return isinstance(error, RedisConnectionError | RedisTimeoutError) and not isinstance(
        error, NoFreeConnectionError | AuthenticationError | AuthorizationError
    )


def _may_be_resent(errand: Errand, error: RedisError) -> bool:
    return (
        errand.command.repeatable
        or isinstance(error, BusyLoadingError)
        or NOT_SENT in getattr(error, "__notes__", ())
    )


def _only_node(nodes: Nodes, commands: Commands) -> Pools | None:
    """The node for a single command, if it is known and no replica may answer."""
    if len(commands) != 1 or nodes.options.strategy is not None or not nodes.shards:
        return None
    slot = slot_of(commands[0])
    shard = None if slot is None else nodes.shards[slot]
    return None if shard is None else nodes.pools_at(shard[0])


def across_nodes(nodes: Nodes, commands: Commands) -> list[Any]:
    """The answers to ``commands``. Raises the errors of redis-py."""
    tried = None
    if (node := _only_node(nodes, commands)) is not None:  # as mostly, and the rest takes longer
        try:
            found = replies(node, commands, [commands[0].parts])
            if not has_error(found):
                return found
            tried = Tried(node, found)
        except RedisError as error:
            tried = Tried(node, error)
    steps = _Route(nodes, commands).steps(tried)
    try:
        step = next(steps)
        while True:
            step = steps.send(_carried_out(nodes, step))
    except StopIteration as stop:
        answered: list[Any] = stop.value
        return answered


def _carried_out(nodes: Nodes, step: list[Part] | ReadAgain | Wait) -> list[Outcome] | None:
    if isinstance(step, list):
        return _together(step)
    if isinstance(step, Wait):
        time.sleep(step.seconds)
    else:
        nodes.read_again(**step._asdict())
    return None


def _together(parts: list[Part]) -> list[Outcome]:
    """Send all ``parts`` before the replies to any of them are read."""
    outcomes: list[Outcome] = [[] for _ in parts]
    if len(parts) == 1:
        outcomes[0] = _outcome(parts[0], None)
        return outcomes
    asked = 0

    def go_on() -> None:
        nonlocal asked
        at, asked = asked, asked + 1
        is_last = asked == len(parts) or asked % AT_A_TIME == 0
        outcomes[at] = _outcome(parts[at], None if is_last else go_on)

    while asked < len(parts):
        go_on()
    return outcomes


def _outcome(part: Part, meanwhile: Callable[[], None] | None) -> Outcome:
    try:
        return part.read(replies(part.node, *part.commands, meanwhile))
    except RedisError as error:
        return error


async def aacross_nodes(nodes: Nodes, commands: Commands) -> list[Any]:
    """As `across_nodes`, without blocking the running loop."""
    tried = None
    if (node := _only_node(nodes, commands)) is not None:
        try:
            found = await areplies(node, commands, [commands[0].parts])
            if not has_error(found):
                return found
            tried = Tried(node, found)
        except RedisError as error:
            tried = Tried(node, error)
    steps = _Route(nodes, commands).steps(tried)
    try:
        step = next(steps)
        while True:
            step = steps.send(await _acarried_out(nodes, step))
    except StopIteration as stop:
        answered: list[Any] = stop.value
        return answered


async def _acarried_out(nodes: Nodes, step: list[Part] | ReadAgain | Wait) -> list[Outcome] | None:
    if isinstance(step, list):
        if len(step) == 1:
            return [await _aoutcome(step[0])]
        found = await asyncio.gather(*map(_aoutcome, step), return_exceptions=True)
        for one in found:  # an error of this package, or a task that somebody else cancelled
            if isinstance(one, BaseException) and not isinstance(one, RedisError):
                raise one
        return found  # type: ignore[return-value]  # see the loop
    if isinstance(step, Wait):
        await asyncio.sleep(step.seconds)
    else:
        await nodes.aread_again(**step._asdict())
    return None


async def _aoutcome(part: Part) -> Outcome:
    try:
        return part.read(await areplies(part.node, *part.commands))
    except RedisError as error:
        return error
