"""
What the site's policies ask of each write, as rules that the server checks in the same step.

A store asks for the `rules` of a write before it sends it, and gives a refusal to `refused_by`.
"""

from enum import Enum
from typing import TYPE_CHECKING, NoReturn

from sessions_redis import capping
from sessions_redis.calls import StoreSteps
from sessions_redis.storage.changes import Changes
from sessions_redis.storage.keyspaces import Keyspace
from sessions_redis.storage.rules import Refused, Written
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
    store: "StoreBase",
    keyspace: Keyspace,
    changes: Changes,
    write: Write,  # noqa: ARG001
) -> StoreSteps[dict[str, Argument]]:
    """The rules for one write, by name. Nothing is asked of Redis."""
    return {**(yield from capping.rules(keyspace, changes.user, store.signed_in_user))}


def ended(keyspace: Keyspace, written: Written) -> StoreSteps[None]:
    """Let others know of the sessions that a write ended."""
    yield from capping.ended(keyspace, written.ended)


def refused_by(store: "StoreBase", refused: Refused) -> NoReturn:
    """Raise the exception of a rule that refused a write. Nothing was written."""
    raise capping.refused_by(store, refused)
