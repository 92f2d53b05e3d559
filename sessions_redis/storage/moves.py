"""
The commands of the move of all sessions, beside those of `adoption`. Pure, as `commands`.

A sample of what has moved is kept in Redis for a while, so that it can be compared afterwards, when
the former engine has no copy any more.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from sessions_redis.storage import adoption, replies, scripts
from sessions_redis.storage.adoption import Adoption
from sessions_redis.storage.entries import COPIED, CREATED, is_metadata
from sessions_redis.storage.keyspaces import Keyspace
from sessions_redis.storage.replies import WrongShape
from sessions_redis.storage.steps import Argument, Command, Steps, script_command

# Sessions in the sample, at most. A session takes the place of another one in it by chance: by its
# ID.
SAMPLE = 1000

# Milliseconds for which the sample is kept: a week.
KEPT = 7 * 86_400_000


@dataclass(frozen=True, slots=True)
class Moved:
    """
    A session that has moved in.

    ``at``: when, and ``expires``: when it expires, in epoch seconds by the server's clock.
    ``user``: its user's primary key, or ``""``. ``digest``: that of its entries, see `digest_of`.
    """

    id: str
    at: int
    expires: int
    digest: str
    user: str


def digest_of(fields: Mapping[bytes, bytes]) -> str:
    """A digest of the entries among a session's fields."""
    entries = sorted((name, value) for name, value in fields.items() if not is_metadata(name))
    parts = (f"{len(part)}:".encode() + part for pair in entries for part in pair)
    return sha256(b"".join(parts)).hexdigest()[:32]


def prospect(keyspace: Keyspace, id: str, user: str, saved: int | None) -> Steps[Adoption]:
    """
    What `adoption.adopt` would answer now. This writes nothing.

    ``saved``: when the former engine saved the session last, in ms, if known.
    """
    signed_out = [adoption.is_signed_out(keyspace, id, user, saved)] if user else []
    (created, copied), (became,), *is_signed_out = yield [
        _texts(keyspace.session(id), CREATED, COPIED),
        _texts(keyspace.moved(id), b"became"),
        *signed_out,
    ]
    may_again = became == "adopted" and keyspace.is_shared
    is_over = became is not None and not may_again
    is_outdated = copied == adoption.SHARED.decode() and not keyspace.is_shared and not is_over
    if created is not None and not is_outdated:
        return Adoption.THERE
    return Adoption.REFUSED if is_over or any(is_signed_out) else Adoption.ADOPTED


def _texts(key: str, *names: bytes) -> Command[list[str | None]]:
    def read(reply: Any) -> list[str | None]:
        found = replies.listing(reply, len(names))
        return [None if value is None else replies.text(value) for value in found]

    return Command(("HMGET", key, *names), read, read_wrong_type=lambda: [None] * len(names))


def remember(keyspace: Keyspace, sessions: Iterable[Moved]) -> Command[bool]:
    """Add sessions to the sample, a thousand at most."""
    by_place = {_place(one.id): _text(one) for one in sessions}
    parts: list[Argument] = [KEPT]
    for place, text in by_place.items():
        parts += place, text
    return script_command(scripts.REMEMBER, (keyspace.moved_sample,), tuple(parts), replies.flag)


def _place(id: str) -> int:
    return int(id[:8], 16) % SAMPLE


def _text(one: Moved) -> str:
    return f"{one.id} {one.at} {one.expires} {one.digest} {one.user}"


def remembered(keyspace: Keyspace) -> Command[Sequence[Moved]]:
    """The sample, in any order. Empty if no sessions have moved, or it was long ago."""
    return Command(("HGETALL", keyspace.moved_sample), _sample, read_wrong_type=tuple)


def _sample(reply: Any) -> Sequence[Moved]:
    texts = [replies.text(value) for value in replies.fields(reply).values()]
    return [_moved(text) for text in texts]


def _moved(text: str) -> Moved:
    try:
        id, at, expires, digest, user = text.split(" ", 4)
        return Moved(id, int(at), int(expires), digest, user)
    except ValueError:
        raise WrongShape("expected a session that has moved in, got other text") from None
