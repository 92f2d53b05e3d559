"""A look at the server for the people who run it: what it says of itself, and how it stores."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from math import ceil
from typing import Any

from sessions_redis import clusters, conf
from sessions_redis.clients import Steps
from sessions_redis.storage import listings, samples, servers
from sessions_redis.storage.commands import WrongType
from sessions_redis.storage.keyspaces import Keyspace
from sessions_redis.storage.listings import is_id
from sessions_redis.storage.samples import Owner
from sessions_redis.storage.servers import Identity, Memory, Persistence, Primary, Refusal
from sessions_redis.storage.steps import Command

# What is asked of each server, in the order of the fields of `Server`.
QUESTIONS = (
    servers.identity,
    servers.memory,
    servers.persistence,
    servers.save_points,
    servers.compact_limit,
)


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
class Server:
    """
    What a server said. Parts that it refuses to say are a `Refusal`; ``None``: it has no answer.

    ``node``: its place in a Cluster; ``None`` if the site has one server.
    """

    identity: Identity | Refusal | None
    memory: Memory | Refusal
    persistence: Persistence | Refusal | None
    save_points: str | Refusal | None
    compact_limit: int | Refusal | None
    node: Primary | None = None

    @property
    def survives_restart(self) -> bool | None:
        """Whether its data survives a restart; ``None`` if that cannot be seen."""
        if not isinstance(self.persistence, Persistence):
            return None
        uptime = self.identity.uptime if isinstance(self.identity, Identity) else 0
        return servers.survives_restart(self.persistence, self.save_points, uptime)


@dataclass(frozen=True, slots=True)
class Inspection:
    """
    ``servers``: one, or the nodes of a Cluster that serve slots. ``indexes``: those of all
    sessions. ``sample``: sessions from all over the indexes that exist. Both are empty with
    ``INDEX`` off.
    """

    servers: tuple[Server, ...]
    indexes: tuple[Index, ...] = ()
    sample: tuple[Sampled, ...] = ()

    @property
    def listed(self) -> int:
        """How many sessions the indexes of all sessions list."""
        counts = [one.members for one in self.indexes[::3]]  # each is followed by its halves
        return sum(count for count in counts if isinstance(count, int))

    @property
    def nodes(self) -> list[Primary]:
        """The nodes of the Cluster; empty if the site has one server."""
        return [one.node for one in self.servers if one.node]

    @property
    def survives_restart(self) -> bool | None:
        """Whether all sessions survive a restart; ``None`` if that cannot be seen."""
        survive = {one.survives_restart for one in self.servers}
        return next((one for one in (False, None) if one in survive), True)

    @property
    def identities(self) -> list[Identity]:
        """The different servers by name and version, as far as they say it."""
        said = (one.identity for one in self.servers)
        return [*{str(one): one for one in said if isinstance(one, Identity)}.values()]

    @property
    def memory(self) -> Memory | None:
        """The memory of all servers together; ``None`` if one of them does not say."""
        parts = [one.memory for one in self.servers if isinstance(one.memory, Memory)]
        if len(parts) < len(self.servers):
            return None
        policies = dict.fromkeys(one.policy for one in parts if one.policy)
        limits = [one.limit for one in parts]
        return Memory(
            sum(one.used for one in parts),
            sum(limits) if all(limits) else 0,
            ", ".join(policies) or None,
        )

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
            "info": [
                part for one in self.servers for part in (one.identity, one.memory, one.persistence)
            ],
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
    """
    Look at the servers and at up to ``sample`` sessions, in at most three round trips.

    In a Cluster, this takes one more, and asks each node that serves slots. If some slots are not
    served, it looks at no session.
    """
    nodes: Sequence[Primary | None] = [None]
    if clusters.is_cluster(conf.current().location):
        nodes = primaries = yield servers.slot_ranges()
        if servers.unserved(primaries):
            keyspace = replace(keyspace, indexed=False)
    of_all = keyspace.indexes if keyspace.indexed else []
    names = [name for index in of_all for name in (index, *_halves(index))]
    each = ceil(sample / len(keyspace.indexes))
    asked: list[Command[Any]] = [
        *(ask()._replace(slot=node.slot if node else None) for node in nodes for ask in QUESTIONS),
        *_about_indexes(names),
        *(listings.sample(index, each)._replace(read_wrong_type=list) for index in of_all),
    ]
    answers = iter((yield asked))
    said = [_server([*islice(answers, len(QUESTIONS))], node) for node in nodes]
    indexes = _indexes(names, [*islice(answers, 2 * len(names))])
    members = [id for found in answers for id, _ in found if is_id(id)]
    sampled = (yield from _sampled(keyspace, members[:sample], indexes)) if members else []
    return Inspection(tuple(said), tuple(indexes.values()), tuple(sampled))


def _server(answers: Sequence[Any], node: Primary | None) -> Server:
    identity, memory, persistence, save_points, compact_limit = answers
    return Server(identity, memory, persistence, save_points, compact_limit, node)


def _halves(index: str) -> tuple[str, str]:
    """The indexes of the sessions in ``index`` that have a user, and of those that have none."""
    return f"{index}:signed-in", f"{index}:anonymous"


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
        Sampled(key, owner, encoding, size, _listing(keyspace, id, owner, indexes))
        for id, key, owner, encoding, size in zip(
            ids, keys, owners, answers[::2], answers[1::2], strict=True
        )
        if owner is not None
    ]


def _listing(
    keyspace: Keyspace, id: str, owner: Owner | WrongType, indexes: Mapping[str, Index]
) -> tuple[Index, ...]:
    """The indexes that list the session ``id``, which has this owner."""
    if isinstance(owner, WrongType):
        return ()
    index = keyspace.index_of(id)
    signed_in, anonymous = _halves(index)
    if owner.user_pk is None:
        names = [index, anonymous]
    else:
        names = [index, signed_in, keyspace.user(owner.user_pk)]
    return tuple(indexes[name] for name in names)


def _about_indexes(names: Sequence[str]) -> list[Command[Any]]:
    return [command(name) for name in names for command in (samples.members, samples.size)]


def _indexes(names: Sequence[str], answers: Sequence[Any]) -> dict[str, Index]:
    """The indexes of these names, from the answers to `_about_indexes`."""
    pairs = zip(names, answers[::2], answers[1::2], strict=True)
    return {name: Index(name, members, size) for name, members, size in pairs}
