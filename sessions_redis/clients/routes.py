"""
Decides which node of a Redis Cluster runs a command, and what becomes of a command that failed.

What a node did not run is sent again where it belongs: after a redirection, while slots move from
node to node, and when another node has taken the place of a lost one. All of that has a limit.
"""

from collections.abc import Generator, Sequence
from time import monotonic
from typing import Any, NamedTuple

from redis.exceptions import (
    AskError,
    AuthenticationError,
    AuthorizationError,
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

from sessions_redis.clients.answers import Commands, answer
from sessions_redis.clients.errands import Errand, Part
from sessions_redis.clients.exchange import is_refusal_of_replica
from sessions_redis.clients.leases import NoFreeConnectionError
from sessions_redis.clients.nodes import Nodes
from sessions_redis.clients.origins import note_origin
from sessions_redis.clients.pools import Pools
from sessions_redis.clients.slots import NoNodeError

# How often a command is sent again at most.
MAX_RESENDS = 16

# The pauses before sending again, in seconds: each is twice as long as the one before. The first
# redirections need none.
FIRST_PAUSE = 0.01
LONGEST_PAUSE = 0.1
WITHOUT_PAUSE = 2


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


class Route:
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
            if is_elsewhere and errand.sent <= MAX_RESENDS and errand.may_be_resent_after(error):
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
