"""Remove expired members from the indexes of a Cluster, where no script sees their sessions."""

from collections.abc import Sequence
from math import inf

from sessions_redis.clients import Steps
from sessions_redis.storage import commands, parts, replies
from sessions_redis.storage.keyspaces import Keyspace
from sessions_redis.storage.listings import is_id
from sessions_redis.storage.parts import Part, Ranks, from_now
from sessions_redis.storage.steps import Command

# How many expired members of each index are looked at in each round.
TRIMMED = 100

# A member, and the time until which it was listed.
Expired = tuple[bytes, float]


def expired(name: str, at: int = 0) -> Command[Part]:
    """Members that have been expired for ten minutes, from the rank ``at`` on."""
    return parts.part(name, from_now(-inf, -parts.GRACE), Ranks(at, at + TRIMMED - 1))


def looks(keyspace: Keyspace, members: Sequence[Expired]) -> list[Command[bool]]:
    """Whether the members have sessions: `without_session` takes the answers."""
    return [commands.exists(keyspace, id) for id in _ids(members)]


def without_session(members: Sequence[Expired], exist: Sequence[bool]) -> list[Expired]:
    live = {id for id, exists in zip(_ids(members), exist, strict=True) if exists}
    return [one for one in members if replies.text(one[0]) not in live]


def _ids(members: Sequence[Expired]) -> list[str]:
    texts = (replies.text(name) for name, _ in members)
    return [*dict.fromkeys(filter(is_id, texts))]


def trim(keyspace: Keyspace, names: Sequence[str]) -> Steps[int]:
    """
    Remove members that expired ten minutes ago, and have no session, from each of these indexes.

    Looks at a bounded number in each step: first at the members, then at their sessions.
    """
    kept, removed = dict.fromkeys(names, 0), 0
    while kept:
        answers = yield [expired(name, at) for name, at in kept.items()]
        found = {name: answer.spans[0].members for name, answer in zip(kept, answers, strict=True)}
        kept = {name: kept[name] for name, some in found.items() if some}
        members = [one for some in found.values() for one in some]
        dead = {*without_session(members, (yield looks(keyspace, members)))}
        asked: list[Command[int]] = []
        for name in kept:
            leaving = [one for one in found[name] if one in dead]
            kept[name] += len(found[name]) - len(leaving)
            asked += parts.unlist(keyspace, name, leaving)
        removed += sum((yield asked))
    return removed
