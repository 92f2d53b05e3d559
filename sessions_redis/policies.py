"""
What the site's policies ask of each write, as rules that the server checks in the same step.

A store asks for the `rules` of a write before it sends it, and gives a refusal to `refused_by`.
"""

from enum import Enum
from typing import TYPE_CHECKING, NoReturn

from sessions_redis.calls import StoreSteps
from sessions_redis.storage.changes import Changes
from sessions_redis.storage.keyspaces import Keyspace
from sessions_redis.storage.rules import Refused
from sessions_redis.storage.steps import Argument

if TYPE_CHECKING:
    from sessions_redis.base import StoreBase


class Write(Enum):
    """What a write does: begin a session, save one, give it a new key, or begin one beside it."""

    CREATE = "create"
    SAVE = "save"
    CYCLE = "cycle"
    BESIDE = "beside"


def rules(
    store: "StoreBase",  # noqa: ARG001
    keyspace: Keyspace,  # noqa: ARG001
    changes: Changes,  # noqa: ARG001
    write: Write,  # noqa: ARG001
) -> StoreSteps[dict[str, Argument]]:
    """The rules for one write, by name. Nothing is asked of Redis."""
    asked: dict[str, Argument] = {}
    yield from ()
    return asked


def refused_by(store: "StoreBase", refused: Refused) -> NoReturn:
    """Raise the exception of a rule that refused a write. Nothing was written."""
    raise NotImplementedError(refused.rule)
