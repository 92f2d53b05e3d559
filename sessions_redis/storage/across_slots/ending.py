"""End sessions across slots: the session first, its places in the indexes after it."""

from collections.abc import Generator, Iterator, Sequence
from typing import Any

from sessions_redis.storage import replies, scripts, shard_counts
from sessions_redis.storage.across_slots.listing import at_session, delisting, texts
from sessions_redis.storage.events import ENDED
from sessions_redis.storage.keyspaces import Keyspace
from sessions_redis.storage.listings import Ended
from sessions_redis.storage.steps import Command, Step, Steps, script_command

# Milliseconds for which a tombstone prevents the creation of a session: longer than a request.
TOMBSTONE = 60_000

# Sessions that are ended in one round.
END_BATCH_SIZE = 250

# What a script ends at a session's name: a session of any user, or another key as well, or nothing.
# It leaves a tombstone there anyway if there is no key. Or a session of one user.
SESSION, KEY, NOTHING = ("session", ""), ("key", ""), ("nothing", "")


def _of(user: str) -> tuple[str, str]:
    return "user", user


# Names that are followed from a session to the next, at most.
HOPS = 100

# Steps, and what has ended since the last one: signals for it are sent before the next step.
EndingSteps = Generator[Step | Ended, Any, None]


def _end(
    keyspace: Keyspace,
    id: str,
    what: tuple[str, str] = KEY,
    tombstone: int | str = "",
    spared: Sequence[str] = (),
    *,
    reason: str = ENDED,
) -> Command[tuple[str, ...]]:
    following = (*keyspace.announcing(reason), *spared)
    command = at_session(
        scripts.ACROSS_END, keyspace, id, *what, tombstone, *following, awaits_replicas=True
    )
    return command._replace(repeatable=False)  # again, it would find nothing


def delete(
    keyspace: Keyspace,
    id: str,
    reason: str,
    *,
    only_sessions: bool = False,
    all_shards: bool = False,
) -> Steps[str | None]:
    """
    As `commands.delete`, in two round trips.

    If another request is cycling the session, its copy ends as well, or is not created.
    ``only_sessions``: leave another key that has the session's name alone. ``all_shards``: remove
    it also from the indexes of former numbers of shards.
    """
    what, counts = SESSION if only_sessions else KEY, list[int]()
    command = _end(keyspace, id, what, reason=reason)
    if all_shards and keyspace.indexed:
        (said, *more), counts = yield [command, shard_counts.in_use(keyspace)]
    else:
        said, *more = yield command
    if said != "ended":
        return None
    yield from _end_copies(keyspace, id, reason, more, counts)
    user: str = more[0]
    return user


def _end_copies(
    keyspace: Keyspace, id: str, reason: str, more: Sequence[str], counts: Sequence[int]
) -> Steps[None]:
    """Delist an ended session, and end those that cycling made of it, or made it of."""
    user, copy, former, beside = more
    leaving, seen = [(id, user)], {id}
    while True:
        asked = [one for one in (copy, former) if one and one not in seen]
        seen.update(asked)
        # A tombstone only where a copy may be created any moment, not at a former id.
        ends = [
            _end(keyspace, one, SESSION, TOMBSTONE if one == copy else "", reason=reason)
            for one in asked
        ]
        prevented = [_end(keyspace, one, NOTHING, TOMBSTONE) for one in beside.split()[::2]]
        commands = [*ends, *prevented, *delisting(keyspace, leaving, counts)]
        if not commands:
            return
        answers = yield commands
        leaving, copy, former, beside = [], "", "", ""
        for one, (said, *details) in zip(asked, answers, strict=False):
            if said == "ended":
                owner, *following, beside = details
                leaving.append((one, owner))
                copy, former = following[0] or copy, following[1] or former
            elif said == "cycled":
                copy = details[0]


def end_many(keyspace: Keyspace, ids: Sequence[str], reason: str = ENDED) -> EndingSteps:
    """End these sessions, all different, and those that cycling is making of them."""
    counts = yield from _counts(keyspace)
    for start in range(0, len(ids), END_BATCH_SIZE):
        batch = ids[start : start + END_BATCH_SIZE]
        yield from _end_batch(keyspace, reason, batch, KEY, "", set(), counts)


def end_those(keyspace: Keyspace, ids: Sequence[str], reason: str = ENDED) -> EndingSteps:
    """As `end_many`. Also ends what cycling has made of these sessions, and those beside them."""
    counts = yield from _counts(keyspace)
    for start in range(0, len(ids), END_BATCH_SIZE):
        batch = ids[start : start + END_BATCH_SIZE]
        yield from _end_batch(keyspace, reason, batch, SESSION, TOMBSTONE, set(), counts)


def _counts(keyspace: Keyspace) -> Steps[list[int]]:
    if not keyspace.indexed:
        return []
    counts: list[int] = yield shard_counts.in_use(keyspace)
    return counts


def _end_batch(
    keyspace: Keyspace,
    reason: str,
    ids: Sequence[str],
    what: tuple[str, str],
    tombstone: int | str,
    spared: set[str],
    counts: Sequence[int],
    *,
    ends_besides: bool = True,
) -> EndingSteps:
    """
    End sessions, and follow where cycling moves them.

    ``ends_besides``: also the sessions that were created beside them.
    """
    asked, seen, hidden, formers = list(ids), {*ids, *spared}, set[str](), set[str]()
    while asked:
        answers = yield [
            _end(
                keyspace, id, what, "" if id in formers else tombstone, sorted(spared),
                reason=reason,
            )
            for id in asked
        ]  # fmt: skip
        tombstone = TOMBSTONE
        ended: dict[str, tuple[str, str, str]] = {}
        following: list[str] = []
        besides: list[str] = []
        leaving: list[tuple[str, str]] = []
        for id, (said, *more) in zip(asked, answers, strict=True):
            if said == "cycled" and what != KEY:
                following.append(more[0])
                leaving.append((id, what[1]))
            elif said == "beside":
                besides += more[0].split()[::2]
            elif said == "ended":
                owner, copy, former, beside = more
                ended[id] = owner, copy, former
                leaving.append((id, owner))
                formers.add(former)
                following += [copy, former]
                besides += beside.split()[::2]
        yield Ended(tuple(_reported(ended, hidden)))
        prevented: list[Command[Any]] = []
        if what == KEY:
            prevented = [_end(keyspace, one, NOTHING, TOMBSTONE) for one in besides]
        elif ends_besides:
            following += besides
        asked = [one for one in dict.fromkeys(following) if one and one not in seen]
        seen.update(asked)
        if commands := [*prevented, *delisting(keyspace, leaving, counts)]:
            yield commands


def _reported(
    ended: dict[str, tuple[str, str, str]], hidden: set[str]
) -> Iterator[tuple[str, str]]:
    """
    The ids and users of sessions that ended. ``ended``: the user, the next id and the former one.

    Of a session that was being cycled and its copy, whose key no client has received yet, one is
    reported: ``hidden`` has the ids of the others.
    """
    for id in sorted(ended, key=lambda id: ended[id][2] in ended):  # copies last
        owner, copy, former = ended[id]
        if id not in hidden:
            yield id, owner
        hidden |= {copy, former}


def end_of_user(keyspace: Keyspace, user: str, ids: Sequence[str], reason: str) -> EndingSteps:
    """End those of these sessions that ``user`` still has. Those beside them are not too many."""
    counts = yield from _counts(keyspace)
    for start in range(0, len(ids), END_BATCH_SIZE):
        batch = ids[start : start + END_BATCH_SIZE]
        yield from _end_batch(
            keyspace, reason, batch, _of(user), "", set(), counts, ends_besides=False
        )


def end_all(keyspace: Keyspace, user: str, spared_id: str = "", reason: str = ENDED) -> EndingSteps:
    """
    End all sessions that ``user`` has when this begins, but for one.

    The last step looks at the whole index at one moment. Where it lists no session, another request
    may be about to create one: a tombstone prevents that. The spared session is known by the id
    that it has now, or had before it was cycled.
    """
    size, seen, counts = END_BATCH_SIZE, set[str](), list[int]()
    asking = [shard_counts.in_use(keyspace)] if keyspace.indexed else []
    while True:
        (dead, members), *more = yield [_members(keyspace, user, len(seen) + size), *asking]
        if more:
            (counts,), asking = more, []
        spared = (yield from _with_successors(keyspace, spared_id)) if spared_id else set[str]()
        fresh = [id for id in members if id not in seen and id not in spared]
        expired = set(members[:dead])
        living = [id for id in fresh if id not in expired]
        if living:
            yield from _end_batch(keyspace, reason, living, _of(user), TOMBSTONE, spared, counts)
        if gone := [id for id in fresh if id in expired]:
            yield from _end_batch(keyspace, reason, gone, _of(user), "", spared, counts)
        is_whole = len(members) < len(seen) + size
        seen.update(members)
        if is_whole:
            return


def _members(keyspace: Keyspace, user: str, most: int) -> Command[tuple[int, tuple[str, ...]]]:
    def read(reply: Any) -> tuple[int, tuple[str, ...]]:
        dead, members = replies.listing(reply, 2)
        return replies.number(dead), texts(members)

    return script_command(scripts.ACROSS_MEMBERS, (keyspace.user(user),), (most,), read)


def _with_successors(keyspace: Keyspace, id: str) -> Steps[set[str]]:
    """The ids that a session had since it had this one, and the one that it is about to get."""
    ids: set[str] = set()
    while id and id not in ids and len(ids) < HOPS:
        ids.add(id)
        cycled, following = yield successors(keyspace, id)
        id = cycled or following
    return ids


def successors(keyspace: Keyspace, id: str) -> Command[tuple[str, str]]:
    """The id that a session has got, and the one that it is about to get, or ``""`` for none."""
    words = ("HMGET", keyspace.session(id), "@cycled", "@next")
    return Command(words, _two, read_wrong_type=lambda: ("", ""))


def _two(reply: Any) -> tuple[str, str]:
    first, second = (one and replies.text(one) for one in replies.listing(reply, 2))
    return first or "", second or ""
