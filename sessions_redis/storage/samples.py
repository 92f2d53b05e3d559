"""
How the server stores a few sessions and indexes, for people who look after it. Pure, as `commands`.

Besides the commands that every site needs, these use OBJECT ENCODING and MEMORY USAGE. A server may
refuse both: then the answer is a `Refusal`.
"""

from dataclasses import dataclass
from typing import Any

from sessions_redis.storage import replies
from sessions_redis.storage.commands import WrongType
from sessions_redis.storage.entries import CREATED, USER
from sessions_redis.storage.keyspaces import Keyspace
from sessions_redis.storage.servers import Refusal
from sessions_redis.storage.steps import Command

# How Redis stores a hash in one compact block: the newer and the older name.
COMPACT = {"listpack", "ziplist"}


@dataclass(frozen=True, slots=True)
class Owner:
    """A live session's user; ``None`` for an anonymous session."""

    user_pk: str | None


def owner(keyspace: Keyspace, id: str) -> Command[Owner | WrongType | None]:
    """``None`` if there is no such session, `WrongType` if its key is not a hash."""

    def read(reply: Any) -> Owner | None:
        created, user = replies.listing(reply, 2)
        for value in (created, user):
            if value is not None:
                replies.raw(value)
        if created is None:
            return None
        return Owner(replies.text(user) if user else None)

    return Command(("HMGET", keyspace.session(id), CREATED, USER), read, read_wrong_type=WrongType)


def members(index: str) -> Command[int | WrongType]:
    """How many members the index has; `WrongType` if the key is not a sorted set."""
    return Command(("ZCOUNT", index, "-inf", "+inf"), replies.number, read_wrong_type=WrongType)


def encoding(key: str) -> Command[str | Refusal | None]:
    """How the server stores the key, such as ``listpack``; ``None`` if there is no such key."""

    def read(reply: Any) -> str | None:
        return None if reply is None else replies.text(reply)

    return Command(("OBJECT", "ENCODING", key), read, read_refusal=Refusal)


def size(key: str) -> Command[int | Refusal | None]:
    """
    Bytes that the key takes; ``None`` if there is no such key.

    The server looks at five elements and estimates the rest: an index may have millions.
    """

    def read(reply: Any) -> int | None:
        return None if reply is None else replies.number(reply)

    return Command(("MEMORY", "USAGE", key), read, read_refusal=Refusal)
