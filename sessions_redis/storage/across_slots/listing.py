"""The indexes that list a session, and the commands that change them."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

from sessions_redis.storage import replies, scripts, shard_counts
from sessions_redis.storage.keyspaces import Keyspace
from sessions_redis.storage.scripts import Script
from sessions_redis.storage.steps import Argument, Command, GiveUp, Pause, Steps, script_command

# The indexes list a session longer than it lives, as margins.lua and least_margin.lua say. In ms.
MARGIN_PART, MARGIN, LEAST_MARGIN = 32, 600_000, 1000

# Milliseconds that a session is listed longer with each attempt, if its server's clock is ahead.
LATER = 1000

# How often a session is listed again before its request gives up.
ATTEMPTS = 6

# Seconds to wait, one after the other, for another request that cycles the session.
PAUSES = (0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.4)

# Members that one command removes, at most.
MOST_IDS = 1000


class Listed(NamedTuple):
    """
    Until when all indexes list a session, in ms, and how many ms longer each of them does.

    Both in text; empty if no indexes are kept, or it is not known.
    """

    until: str = ""
    ahead: str = ""


def margin(ttl_ms: int) -> int:
    return max(min(ttl_ms // MARGIN_PART, MARGIN), LEAST_MARGIN)


def half(index: str, user: str) -> str:
    """The half of an index of all sessions that has those with a user, or those without."""
    return f"{index}:signed-in" if user else f"{index}:anonymous"


def indexes(keyspace: Keyspace, id: str, user: str) -> list[tuple[str, ...]]:
    """The indexes that list a session of ``user``, those of one slot together."""
    index = keyspace.index_of(id)
    names = _in_slots(index, index, half(index, user))
    return [*names, (keyspace.user(user),)] if user else names


def _in_slots(index: str, *names: str) -> list[tuple[str, ...]]:
    # A shard has a hash tag, which its halves share.
    return [names] if index.endswith("}") else [(name,) for name in names]


def enlisting(
    keyspace: Keyspace, id: str, user: str, ttl_ms: int, at: str = "", attempt: int = 0
) -> list[Command[Any]]:
    """
    List a session that expires at ``at``, or ``ttl_ms`` from now by the clocks of the indexes.

    `listed` reads the answers. These commands come first in a list.
    """
    arguments = (id, ttl_ms, margin(ttl_ms) + attempt * LATER, at)
    return [
        script_command(scripts.ENLIST, names, arguments, _times, awaits_replicas=True)
        for names in indexes(keyspace, id, user)
    ]


def _times(reply: Any) -> list[int]:
    return [replies.decimal(one) for one in replies.listing(reply)]


def listed(answers: Sequence[list[int]]) -> Listed:
    times = [one for answer in answers for one in answer]
    until = min(times)
    ahead = " ".join(str(one - until) for one in times)
    return Listed(str(until), ahead.strip("0 ") and ahead)


def enlist(
    keyspace: Keyspace,
    id: str,
    user: str,
    ttl_ms: int,
    at: str = "",
    attempt: int = 0,
    first: Sequence[Command[Any]] = (),
) -> Steps[Listed]:
    """
    List a session, and remove it from the half of the index that it leaves if it changes its user.

    ``first``: commands to send along.
    Gives up after too many attempts.
    """
    if attempt > ATTEMPTS:
        yield GiveUp(
            f"The session could not be listed in {ATTEMPTS} attempts. Do the clocks of the Redis "
            "servers differ, or does Redis answer very slowly?"
        )
    commands = enlisting(keyspace, id, user, ttl_ms, at, attempt)
    other = half(keyspace.index_of(id), "" if user else "1")
    answers = yield [*commands, _delisting((other,), (id,)), *first]
    return listed(answers[: len(commands)])


def delisting(
    keyspace: Keyspace, ids_of: Iterable[tuple[str, str]], counts: Iterable[int] = ()
) -> list[Command[Any]]:
    """
    Remove sessions that have ended from their indexes. ``ids_of``: ids and their users.

    ``counts``: the numbers of shards that are in use, if the site has changed ``INDEX_SHARDS``.
    """
    by_slot: dict[tuple[str, ...], list[str]] = {}
    for id, user in ids_of if keyspace.indexed else ():
        names = [
            some
            for index in shard_counts.indexes_of(keyspace, id, counts)
            for some in _in_slots(index, index, half(index, ""), half(index, "1"))
        ]
        for some in [*names, (keyspace.user(user),)] if user else names:
            by_slot.setdefault(some, []).append(id)
    return [
        _delisting(names, ids[start : start + MOST_IDS])
        for names, ids in by_slot.items()
        for start in range(0, len(ids), MOST_IDS)
    ]


def _delisting(names: tuple[str, ...], ids: Sequence[str]) -> Command[int]:
    return script_command(scripts.DELIST, names, tuple(ids), replies.number)


def lowering(keyspace: Keyspace, id: str, user: str, was: Listed, until: str) -> list[Command[Any]]:
    """List a session for a shorter time where no other request has listed it since."""
    return [
        script_command(scripts.LOWER, (name,), (id, score, until), replies.flag)
        for name, score in _scores(keyspace, id, user, was)
    ]


def withdrawing(keyspace: Keyspace, id: str, user: str, was: Listed) -> list[Command[Any]]:
    """Remove a session from its indexes where no other request has listed it since."""
    return [
        script_command(scripts.WITHDRAW, (name,), (id, score), replies.flag)
        for name, score in _scores(keyspace, id, user, was)
    ]


def _scores(keyspace: Keyspace, id: str, user: str, listed: Listed) -> list[tuple[str, int]]:
    """The indexes of a session, with the time in ms until which each of them lists it."""
    names = [name for some in indexes(keyspace, id, user) for name in some]
    if not listed.until.isdecimal():
        return []
    ahead = [*map(int, filter(str.isdecimal, listed.ahead.split()))] or [0] * len(names)
    return [(name, int(listed.until) + more) for name, more in zip(names, ahead, strict=False)]


def relisting(
    names: tuple[str, ...], sessions: Iterable[tuple[str, str]], *, only_look: bool = False
) -> Command[list[int]]:
    """
    List sessions where an index has lost them. ``sessions``: ids and the times until which.

    Answers for each whether it was missing.
    """

    def read(reply: Any) -> list[int]:
        return [replies.number(one, most=1) for one in replies.listing(reply)]

    arguments: tuple[Argument, ...]
    arguments = (int(not only_look), *(part for pair in sessions for part in pair))
    return script_command(scripts.RELIST, names, arguments, read)


def time_to_list(at: str, was_listed: str) -> str:
    """Until when an index must list a session that expires ``at``."""
    if was_listed.isdecimal() and int(at) <= int(was_listed) <= int(at) + 2 * MARGIN:
        return was_listed
    return str(int(at) + LEAST_MARGIN)


def texts(reply: Any) -> tuple[str, ...]:
    return tuple(replies.text(one) for one in replies.listing(reply))


def at_session(
    script: Script,
    keyspace: Keyspace,
    id: str,
    *arguments: Any,
    awaits_replicas: bool = False,
    repeatable: bool = True,
    read: Callable[[Any], tuple[Any, ...]] = texts,
) -> Command[tuple[Any, ...]]:
    """A script at a session, which answers texts."""
    return script_command(
        script, (keyspace.session(id),), arguments, read,
        repeatable=repeatable, awaits_replicas=awaits_replicas,
    )  # fmt: skip


def pause(waited: int) -> Pause | GiveUp:
    """Wait for a request that cycles the session, or give up if it ``waited`` often enough."""
    if waited >= len(PAUSES):
        return GiveUp(
            "Another request is giving the session a new key. It takes long, or has failed: then "
            "the session can be used again in a few seconds."
        )
    return Pause(PAUSES[waited])
