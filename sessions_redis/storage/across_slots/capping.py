"""
Limit how many sessions a user has, if these are in different slots.

No script sees two of them. If sessions beyond the cap end, a request writes its session first, and
then ends those that are too many: while N sessions sign in at the same moment, there may be N more
than the cap. If sign-ins beyond the cap are refused, a request lists its session, and then looks
who else is listed. Only then it writes, so there are never more than the cap.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sessions_redis.storage import replies, scripts
from sessions_redis.storage.across_slots import ending, listing
from sessions_redis.storage.across_slots.ending import TOMBSTONE, EndingSteps
from sessions_redis.storage.across_slots.listing import Listed
from sessions_redis.storage.entries import is_time
from sessions_redis.storage.events import CAP as REASON
from sessions_redis.storage.keyspaces import Keyspace
from sessions_redis.storage.listings import Ended
from sessions_redis.storage.rules import CAP, CAP_POLICY, REFUSE, Outcome, Refused, Written
from sessions_redis.storage.steps import Argument, Command, Steps, script_command

# Members of a user's index that one request looks at, as in cap.lua.
LOOKED_AT = 1000

# How many of `listing.PAUSES` a request waits that comes first.
FIRST = 3


@dataclass(frozen=True, slots=True)
class _Sessions:
    """
    The sessions of a user: ``live``, ids and when they were begun. ``pending``: other ids that are
    listed. Each is gone, or a request is about to write it. ``unseen``: how many more are listed.
    """

    live: Mapping[str, int]
    pending: frozenset[str]
    unseen: int


def refusal(
    keyspace: Keyspace, id: str, user: str, rules: Mapping[str, Argument], known: Listed
) -> Steps[Refused | None]:
    """
    Whether the session ``id`` must not get its ``user``. It is asked just before, once the session
    is listed: ``known`` says until when.

    Other requests may have listed a session, and not written it yet. This waits for them. If that
    takes too long, it makes sure that they ask again before they write. So no two requests take the
    last place.
    """
    if CAP not in rules or rules.get(CAP_POLICY) != REFUSE or not user or not known.until:
        return None
    cap, waited = int(rules[CAP]), 0
    while True:
        found: _Sessions = yield from _sessions(keyspace, user, id)
        free = cap - len(found.live) - found.unseen
        if id in found.live or len(found.pending) < free:
            return None
        if free <= 0:
            return Refused(CAP, (str(cap),))
        # Of those that wait for each other, the one with the least id goes on first.
        is_first = sum(one < id for one in found.pending) < free
        if waited == (FIRST if is_first else len(listing.PAUSES)):
            yield [_fence(keyspace, one, user) for one in sorted(found.pending)]
            yield listing.delisting(keyspace, [(one, user) for one in found.pending])
            waited = 0
        else:
            yield listing.pause(waited)
            waited += 1


def _fence(keyspace: Keyspace, id: str, user: str) -> Command[bool]:
    keys = (keyspace.session(id),)
    return script_command(scripts.ACROSS_FENCE, keys, (user, TOMBSTONE), replies.flag)


def kept(keyspace: Keyspace, id: str, user: str, rules: Mapping[str, Argument]) -> Steps[Outcome]:
    """End the oldest sessions of ``user`` beyond the cap, now that the session ``id`` is theirs."""
    if CAP not in rules or rules.get(CAP_POLICY) == REFUSE or not user or not keyspace.indexed:
        return True
    found: _Sessions = yield from _sessions(keyspace, user, id)
    others = sorted(found.live.keys() - {id}, key=lambda one: (found.live[one], one))
    beyond = len(others) + found.unseen + 1 - int(rules[CAP])
    if beyond <= 0:
        return True
    steps = ending.end_of_user(keyspace, user, others[:beyond], id, REASON)
    return Written(tuple((yield from _ended(steps))))


def _ended(steps: EndingSteps) -> Steps[list[tuple[str, str]]]:
    ended: list[tuple[str, str]] = []
    answer = None
    while True:
        try:
            step = steps.send(answer)
        except StopIteration:
            return ended
        if isinstance(step, Ended):
            ended += step.sessions
            answer = None
        else:
            answer = yield step


def _sessions(keyspace: Keyspace, user: str, id: str) -> Steps[_Sessions]:
    index = keyspace.user(user)
    members, listed = yield [
        script_command(
            scripts.ACROSS_MEMBERS, (index,), (LOOKED_AT,), _members, read_wrong_type=tuple
        ),
        Command(("ZCOUNT", index, "-inf", "+inf"), replies.number, read_wrong_type=int),
    ]
    asked = [*dict.fromkeys((*members, id))]
    looked = yield [_look(keyspace, one) for one in asked]
    live: dict[str, int] = {}
    formers = set()
    for one, (created, owner, former) in zip(asked, looked, strict=True):
        if created is not None and owner == user.encode("utf-8", "surrogatepass"):
            live[one] = int(created) if is_time(created) else 0
            formers.add((former or b"").decode("utf-8", "replace"))
    # While a session is cycled, it is there twice.
    once = {one: created for one, created in live.items() if one == id or one not in formers}
    pending = frozenset(members) - live.keys() - {id}
    return _Sessions(once, pending, max(listed - len(members), 0))


def _members(reply: Any) -> tuple[str, ...]:
    _, members = replies.listing(reply, 2)
    return listing.texts(members)


def _look(keyspace: Keyspace, id: str) -> Command[list[bytes | None]]:
    words = ("HMGET", keyspace.session(id), "@created", "@user", "@former")
    return Command(words, _three, read_wrong_type=lambda: [None] * 3)


def _three(reply: Any) -> list[bytes | None]:
    return [one and replies.raw(one) for one in replies.listing(reply, 3)]
