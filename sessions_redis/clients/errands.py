"""Commands on their way to nodes of a Redis Cluster, and those of them that share an exchange."""

from typing import Any, NamedTuple

from redis.exceptions import BusyLoadingError, RedisError

from sessions_redis.clients.answers import asking, without_asking
from sessions_redis.clients.exchange import Request
from sessions_redis.clients.leases import NOT_SENT
from sessions_redis.clients.pools import Pools
from sessions_redis.clients.slots import FOR_REPLICAS, slot_of
from sessions_redis.storage.steps import Command


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

    def may_be_resent_after(self, error: RedisError) -> bool:
        """Whether it may run once more after ``error``, with which the exchange failed."""
        return (
            self.command.repeatable
            or isinstance(error, BusyLoadingError)
            or NOT_SENT in getattr(error, "__notes__", ())
        )


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
