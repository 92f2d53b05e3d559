"""Writes a session whose entries are encrypted, with the salt that it has by then."""

from collections.abc import Callable
from secrets import token_urlsafe
from typing import TypeVar

from sessions_redis.exceptions import SessionStoreUnavailable
from sessions_redis.storage.changes import Changes, Known
from sessions_redis.storage.entries import SALT, SealingSerializer, Serializer
from sessions_redis.storage.sealing import other_salt, resealed, sealed
from sessions_redis.storage.steps import Steps

T = TypeVar("T")

# How often a write is sent. Only a session that gets its first salt, or moves in again, at this
# very moment refuses one.
ATTEMPTS = 5


def new_salt() -> bytes:
    return token_urlsafe(16).encode()


def written(
    known: Known,
    changes: Changes,
    serializer: SealingSerializer,
    write: Callable[[Changes], Steps[T]],
) -> Steps[tuple[T, Changes, Known]]:
    """
    Carry out ``write`` with the changes, sealed as the session needs them.

    ``known``: what is known of this session. If the server knows another salt, nothing was written,
    and they are sealed with that one. Returns the answer of ``write``, the changes as they were
    written, and what is known of the session then, before these changes.
    """
    salt, new = known.fields.get(SALT, b""), new_salt()
    for _ in range(ATTEMPTS):
        as_written = sealed(changes, serializer, salt, new)
        answer = yield from write(as_written)
        other = other_salt(answer)
        if other is None:
            return answer, as_written, known
        salt, known = other, resealed(known, serializer, other or new)
    raise SessionStoreUnavailable(
        f"The field @salt of a session changed {ATTEMPTS} times in a row. It may be damaged."
    )


def begun(changes: Changes, serializer: Serializer) -> Changes:
    """All entries of a session, as to write them to a new one."""
    if not isinstance(serializer, SealingSerializer):
        return changes
    return sealed(changes, serializer, b"", new_salt())
