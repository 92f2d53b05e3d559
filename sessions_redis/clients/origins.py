"""
What an error of redis-py says about an outage: what failed, and why.

`outages` needs this to say when the outage ends. An error itself says it in its text at most.
"""

from typing import Any, NamedTuple

from redis.exceptions import AuthenticationError, ClusterDownError, ResponseError

from sessions_redis.hosts import Address
from sessions_redis.storage.steps import Command

# What failed, and has to answer: a node of a Cluster, a slot that no node serves, or the server.
Place = Address | int | None

# Why commands fail: Redis refuses them with this class of error, or it cannot be reached.
Cause = type[BaseException] | None
UNREACHABLE: Cause = None


class Origin(NamedTuple):
    """
    Where an error comes from.

    ``node``: of a Cluster; ``None`` for one server, or if it is not known. ``slot``: that of a
    command that failed. ``kind``: of the command that was refused.
    """

    node: Address | None = None
    slot: int | None = None
    kind: Any = None

    @property
    def place(self) -> Place:
        return self.slot if self.node is None else self.node


class Key(NamedTuple):
    """An outage: of a node, or of the server or of the whole Cluster if ``node`` is ``None``."""

    node: Address | None
    cause: Cause


_UNKNOWN = Origin()


def origin_of(error: BaseException | None) -> Origin:
    origin: Origin = getattr(error, "origin", _UNKNOWN)
    return origin


def note_origin(error: Any, **known: Any) -> None:
    """Add what is ``known`` to the origin of ``error``."""
    error.origin = origin_of(error)._replace(**known)


def kind_of(command: Command[Any]) -> Any:
    """
    The name of ``command``, or its script.

    A server that refuses commands because of its ACL or its memory refuses some kinds, not others.
    """
    return command.source or command.parts[0]


def key_of(error: BaseException | None) -> Key:
    """The outage that ``error`` belongs to."""
    if isinstance(error, ClusterDownError):
        return Key(None, ClusterDownError)
    node = origin_of(error).node
    if isinstance(error, ResponseError) and not isinstance(error, AuthenticationError):
        return Key(node, type(error))
    return Key(node, UNREACHABLE)


def is_minor(error: BaseException | None) -> bool:
    """Whether this process had no free connection, or a key is damaged. Neither is an outage."""
    cause = str(error)
    return cause.startswith("No connection available") or "WRONGTYPE" in cause
