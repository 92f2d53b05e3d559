"""
Ask all indexes of a Cluster at once: how many members they have, which, and a sample of them.

The index of all sessions can be split into shards, whose keys are in different slots. A list of
commands is one round of parallel trips.
"""

from collections.abc import Callable, Sequence
from typing import Any

from sessions_redis.clients import Steps
from sessions_redis.registry.selections import Selection, indexes_of
from sessions_redis.storage import listings, shard_counts
from sessions_redis.storage.keyspaces import Keyspace
from sessions_redis.storage.listings import BATCH_SIZE
from sessions_redis.storage.steps import Command

# What is asked of one index, by its name.
Ask = Callable[[str], Sequence[Command[Any]]]


def of_each(keyspace: Keyspace, half: str, ask: Ask) -> Steps[dict[str, list[Any]]]:
    """
    Ask each index of all sessions, and return the answers by its name. ``half``: its name's end.

    One round. If another number of shards is in use, and not removed yet, this process finds that
    out in a second round. From then on, it asks all of them in the first one.
    """
    wanted = _names(keyspace, half, shard_counts.last_in_use(keyspace))
    counts, *answers = yield [
        shard_counts.in_use(keyspace),
        *(command for name in wanted for command in ask(name)),
    ]
    found = _by_name(wanted, answers)
    known = _names(keyspace, half, counts)
    if others := [name for name in known if name not in found]:
        more = yield [command for name in others for command in ask(name)]
        found |= _by_name(others, more)
    return {name: found[name] for name in known}


def _names(keyspace: Keyspace, half: str, counts: Sequence[int]) -> list[str]:
    return [f"{name}{half}" for name in shard_counts.indexes(keyspace, counts)]


def _by_name(names: Sequence[str], answers: list[Any]) -> dict[str, list[Any]]:
    size = len(answers) // len(names)
    return {name: answers[at * size : (at + 1) * size] for at, name in enumerate(names)}


def of_selection(keyspace: Keyspace, selection: Selection, ask: Ask) -> Steps[dict[str, list[Any]]]:
    """As `of_each`, for the indexes of a selection: those of users, or those of all sessions."""
    if selection.users is None:
        half = {None: "", True: ":signed-in", False: ":anonymous"}[selection.signed_in]
        return (yield from of_each(keyspace, half, ask))
    answers: dict[str, list[Any]] = {}
    names = indexes_of(keyspace, selection)
    for start in range(0, len(names), BATCH_SIZE):
        some = names[start : start + BATCH_SIZE]
        answers |= _by_name(some, (yield [command for name in some for command in ask(name)]))
    return answers


def by_time_left(keyspace: Keyspace, bounds: Sequence[float]) -> Steps[tuple[list[int], list[int]]]:
    answers = yield from of_each(
        keyspace,
        "",
        lambda name: [
            listings.count([f"{name}{half}"], bounds) for half in (":signed-in", ":anonymous")
        ],
    )
    signed_in, anonymous = zip(*answers.values(), strict=True)
    return _sums(signed_in), _sums(anonymous)


def _sums(counts: Sequence[list[list[int]]]) -> list[int]:
    return [sum(numbers) for numbers in zip(*(row for (row,) in counts), strict=True)]


def starting_with(keyspace: Keyspace, digits: str, most: int) -> Steps[tuple[list[str], bool]]:
    """
    The listed ids that start with ``digits``, and whether all members were looked at.

    Looks at about a thousand members of each index in each round, at ``most`` in all.
    """
    answers = yield from of_each(
        keyspace, "", lambda name: [listings.starting_with(name, digits, 0)]
    )
    found = {name: answer for name, (answer,) in answers.items()}
    ids, looked_at = dict[str, None](), 0
    while True:
        ids |= dict.fromkeys(id for _, some in found.values() for id in some)
        looked_at += BATCH_SIZE * len(found)
        cursors = {name: cursor for name, (cursor, _) in found.items() if cursor}
        if not cursors or looked_at >= most:
            return [*ids], not cursors
        more = yield [listings.starting_with(name, digits, at) for name, at in cursors.items()]
        found = dict(zip(cursors, more, strict=True))


def counted(keyspace: Keyspace, bounds: Sequence[float]) -> Steps[dict[str, list[list[int]]]]:
    """For each index of all sessions: the counts of all, of signed-in and of anonymous sessions."""
    halves = ("", ":signed-in", ":anonymous")
    answers = yield from of_each(
        keyspace, "", lambda name: [listings.count([f"{name}{half}"], bounds) for half in halves]
    )
    return {name: [row for (row,) in rows] for name, rows in answers.items()}


def sample(sizes: dict[str, int]) -> Steps[tuple[float, list[Any]]]:
    """The time, and so many members of each index, with the times until which it lists them."""
    now, *samples = yield [
        listings.now(),
        *(listings.sample(name, size) for name, size in sizes.items() if size),
    ]
    return now, [member for some in samples for member in some]
