"""A look at the server for the people who run it: what it says of itself, and how it stores."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sessions_redis.clients import Steps
from sessions_redis.storage import listings, samples, servers
from sessions_redis.storage.commands import Command, Keyspace, WrongType
from sessions_redis.storage.listings import is_id
from sessions_redis.storage.samples import Owner
from sessions_redis.storage.servers import Identity, Memory, Persistence, Refusal


@dataclass(frozen=True, slots=True)
class Index:
    """An index: how many members it has, and its bytes. A missing index has none of both."""

    key: str
    members: int | WrongType
    size: int | Refusal | None

    @property
    def size_per_member(self) -> float:
        """Bytes; 0 if they are not known."""
        if isinstance(self.members, int) and self.members and isinstance(self.size, int):
            return self.size / self.members
        return 0


@dataclass(frozen=True, slots=True)
class Sampled:
    """
    A session of the sample, or another key with a session's name (``owner`` is `WrongType`).

    ``indexes``: those that list the session; ``encoding``: how the server stores its hash.
    """

    key: str
    owner: Owner | WrongType
    encoding: str | Refusal | None
    size: int | Refusal | None
    indexes: tuple[Index, ...]


@dataclass(frozen=True, slots=True)
class Inspection:
    """
    What the server said. Parts that it refuses to say are a `Refusal`; ``None``: it has no answer.

    ``indexes``: the three of all sessions. ``sample``: sessions from all over the index that exist.
    Both are empty with ``INDEX`` off.
    """

    identity: Identity | Refusal | None
    memory: Memory | Refusal
    persistence: Persistence | Refusal | None
    save_points: str | Refusal | None
    compact_limit: int | Refusal | None
    indexes: tuple[Index, ...]
    sample: tuple[Sampled, ...]

    @property
    def listed(self) -> int:
        """How many sessions the index of all sessions lists."""
        members = self.indexes[0].members if self.indexes else 0
        return members if isinstance(members, int) else 0

    @property
    def survives_restart(self) -> bool | None:
        """Whether sessions survive a restart of the server; ``None`` if that cannot be seen."""
        if not isinstance(self.persistence, Persistence):
            return None
        uptime = self.identity.uptime if isinstance(self.identity, Identity) else 0
        return servers.survives_restart(self.persistence, self.save_points, uptime)

    @property
    def encodings(self) -> list[str]:
        """How the server stores those sessions of the sample of which it says so."""
        return [one.encoding for one in self.sessions if isinstance(one.encoding, str)]

    @property
    def sessions(self) -> list[Sampled]:
        """The sample without keys of another type."""
        return [one for one in self.sample if isinstance(one.owner, Owner)]

    @property
    def refused(self) -> list[str]:
        """The names of the commands that the server refused, as in an ACL rule."""
        asked: dict[str, Iterable[object]] = {
            "info": (self.identity, self.memory, self.persistence),
            "object|encoding": [one.encoding for one in self.sample],
            "memory|usage": [*(one.size for one in self.indexes), *(s.size for s in self.sample)],
        }
        return [
            name for name, answers in asked.items() if any(isinstance(a, Refusal) for a in answers)
        ]

    @property
    def size_of_listings(self) -> float | None:
        """Bytes that the indexes take for one session, on average; ``None`` if not known."""
        sizes = [sum(index.size_per_member for index in one.indexes) for one in self.sessions]
        return sum(sizes) / len(sizes) if any(sizes) else None


def inspect(keyspace: Keyspace, sample: int) -> Steps[Inspection]:
    """Look at the server and at up to ``sample`` sessions, in at most three round trips."""
    names = [keyspace.index, keyspace.signed_in, keyspace.anonymous] if keyspace.indexed else []
    asked: list[Command[Any]] = [
        servers.identity(),
        servers.memory(),
        servers.persistence(),
        servers.save_points(),
        servers.compact_limit(),
        *_about_indexes(names),
    ]
    if names:
        asked.append(listings.sample(keyspace.index, sample)._replace(read_wrong_type=list))
    identity, memory, persistence, save_points, limit, *answers = yield asked
    indexes = _indexes(names, answers)
    ids = [id for id, _ in answers[-1] if is_id(id)] if names else []
    seen = (yield from _sampled(keyspace, ids, indexes)) if ids else []
    return Inspection(
        identity, memory, persistence, save_points, limit, tuple(indexes.values()), tuple(seen)
    )


def _sampled(
    keyspace: Keyspace, ids: Sequence[str], of_all: Mapping[str, Index]
) -> Steps[list[Sampled]]:
    keys = [keyspace.session(id) for id in ids]
    asked: list[Command[Any]] = [samples.owner(keyspace, id) for id in ids]
    asked += [command(key) for key in keys for command in (samples.encoding, samples.size)]
    answers = yield asked
    owners, answers = answers[: len(ids)], answers[len(ids) :]
    users = {one.user_pk for one in owners if isinstance(one, Owner) and one.user_pk}
    names = [keyspace.user(user_pk) for user_pk in sorted(users)]
    indexes = {**of_all, **_indexes(names, (yield _about_indexes(names)))}
    return [
        Sampled(key, owner, encoding, size, _listing(keyspace, owner, indexes))
        for key, owner, encoding, size in zip(
            keys, owners, answers[::2], answers[1::2], strict=True
        )
        if owner is not None
    ]


def _listing(
    keyspace: Keyspace, owner: Owner | WrongType, indexes: Mapping[str, Index]
) -> tuple[Index, ...]:
    """The indexes that list a session of this owner."""
    if isinstance(owner, WrongType):
        return ()
    if owner.user_pk is None:
        names = [keyspace.index, keyspace.anonymous]
    else:
        names = [keyspace.index, keyspace.signed_in, keyspace.user(owner.user_pk)]
    return tuple(indexes[name] for name in names)


def _about_indexes(names: Sequence[str]) -> list[Command[Any]]:
    return [command(name) for name in names for command in (samples.members, samples.size)]


def _indexes(names: Sequence[str], answers: Sequence[Any]) -> dict[str, Index]:
    """The indexes of these names, from the answers to `_about_indexes`, and maybe others."""
    pairs = zip(names, answers[::2], answers[1::2], strict=False)
    return {name: Index(name, members, size) for name, members, size in pairs}
