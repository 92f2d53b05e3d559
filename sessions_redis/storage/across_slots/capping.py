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
from sessions_redis.storage.entries import CREATED, SIGNED_IN, USER, is_time
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
    The sessions of a user: ``live``, ids and when they signed in, in ms.

    ``pending``: other ids that are listed. Each is gone, or a request is about to write it.
    ``unseen``: how many more are listed.
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
    cap, waited, fenced = int(rules[CAP]), 0, set[str]()
    while True:
        found: _Sessions = yield from _sessions(keyspace, user, id)
        free, pending = cap - len(found.live) - found.unseen, sorted(found.pending - fenced)
        if id in found.live or len(pending) < free:
            return None
        if free <= 0:
            return Refused(CAP, (str(cap),))
        # Of those that wait for each other, those with the least ids get the free places.
        is_first = id < pending[free - 1]
        if waited >= (FIRST if is_first else len(listing.PAUSES)):
            others = pending[free - 1 :] if is_first else pending
            # Before these are written, their requests find this one, which is listed.
            answers = yield [_fence(keyspace, one, user) for one in others]
            fenced |= {one for one, is_fenced in zip(others, answers, strict=True) if is_fenced}
            waited = 0
        else:
            yield listing.pause(waited)
            waited += 1


def _fence(keyspace: Keyspace, id: str, user: str) -> Command[bool]:
    keys = (keyspace.session(id),)
    return script_command(scripts.ACROSS_FENCE, keys, (user, TOMBSTONE), replies.flag)


def kept(
    keyspace: Keyspace,
    id: str,
    user: str,
    rules: Mapping[str, Argument],
    done: Outcome = True,  # noqa: FBT002 - what the write answered
) -> Steps[Outcome]:
    """
    End the oldest sessions of ``user`` beyond the cap, now that the session ``id`` is theirs.

    Returns what the write answered (``done``), and what this ended.
    """
    if CAP not in rules or rules.get(CAP_POLICY) == REFUSE or not user or not keyspace.indexed:
        return done
    found: _Sessions = yield from _sessions(keyspace, user, id)
    # All requests have to end the same sessions. So the order depends only on what is stored. A
    # session that signs in at the same moment as others may end itself.
    oldest_first = sorted(found.live, key=lambda one: (found.live[one], one))
    beyond = len(oldest_first) + found.unseen - int(rules[CAP])
    if beyond <= 0:
        return done
    steps = ending.end_of_user(keyspace, user, oldest_first[:beyond], REASON)
    at = done.at if isinstance(done, Written) else None
    return Written(tuple((yield from _ended(steps))), at)


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
    live: dict[str, int] = {}
    formers, seen, asked = set[str](), set[str](), {*members, id}
    while asked:
        ids = sorted(asked)
        seen |= asked
        asked = set()
        looked = yield [_look(keyspace, one) for one in ids]
        for one, (created, owner, former, signed_in, cycled) in zip(ids, looked, strict=True):
            if created and owner == user.encode("utf-8", "surrogatepass"):
                live[one] = _since(created, signed_in)
                formers.add(replies.text(former or b""))
            elif cycled:  # since the members were read
                asked |= {replies.text(cycled)} - seen
    # While a session is cycled, it is there twice.
    once = {one: created for one, created in live.items() if one == id or one not in formers}
    pending = frozenset(members) - live.keys() - {id}
    return _Sessions(once, pending, max(listed - len(members), 0))


def _members(reply: Any) -> tuple[str, ...]:
    _, members = replies.listing(reply, 2)
    return listing.texts(members)


def _look(keyspace: Keyspace, id: str) -> Command[list[bytes | None]]:
    words = ("HMGET", keyspace.session(id), CREATED, USER, "@former", SIGNED_IN, "@cycled")
    return Command(words, _five, read_wrong_type=lambda: [None] * 5)


def _five(reply: Any) -> list[bytes | None]:
    return [one and replies.raw(one) for one in replies.listing(reply, 5)]


def _since(created: bytes, signed_in: bytes | None) -> int:
    """When the session got its user, in ms. A damaged time counts as the earliest."""
    if signed_in is not None and signed_in.isdigit() and len(signed_in) < 15:
        return int(signed_in)
    return int(created) * 1000 if is_time(created) else 0
