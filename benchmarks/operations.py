"""What each operation takes with each engine, small and large sessions, sync and async."""

import asyncio

import redis

from benchmarks.actions import ACTIONS, READ, made
from benchmarks.bench import Bench, Table
from benchmarks.blocks import Block
from benchmarks.contents import SIGNED_IN
from benchmarks.engines import BASE, ENGINES, OURS, PREFIX, Engine, require
from benchmarks.samples import Samples, in_turn, stopwatch

# Operations of one block, of engines that ask Redis alone and of those that ask the database.
NUMBER = {"small": 100, "large": 20}
NUMBER_OF_SLOW = {"small": 20, "large": 5}

# The column of what a client does that knows nothing of sessions.
BARE = "bare HGETALL"


def measure(bench: Bench) -> list[Table]:
    require("django_redis", "redis_sessions")
    tables = []
    for world in ("sync", "async"):
        for size in NUMBER:
            tables += _measured(bench, world, size)
    return tables


def _measured(bench: Bench, world: str, size: str) -> list[Table]:
    samples = Samples()
    with asyncio.Runner() as loop, redis.Redis.from_url(bench.redis_url) as client:
        runner = loop if world == "async" else None
        _check(size, runner)
        for number in range(bench.rounds):
            bench.progress(f"{world}, {size} sessions: round {number + 1} of {bench.rounds}")
            for action in ACTIONS:
                for engine in in_turn(ENGINES, number):
                    with engine.active():
                        block = Block(engine, action, size, runner)
                        seconds = block.seconds(number_of(engine, size))
                    samples.add(action.name, engine.name, seconds)
                    if engine is OURS and action is READ:
                        samples.add(action.name, BARE, _bare_read(client, size))
    return _tables(samples, world, size, bench.rounds)


def _check(size: str, runner: asyncio.Runner | None) -> None:
    """That each engine does each action, and that all are warmed up."""
    for engine in ENGINES:
        with engine.active():
            for action in ACTIONS:
                Block(engine, action, size, runner).check()


def number_of(engine: Engine, size: str) -> int:
    return (NUMBER if engine.in_redis_alone else NUMBER_OF_SLOW)[size]


def _bare_read(client: redis.Redis, size: str) -> float:
    from sessions_redis.storage.commands import session_id
    from sessions_redis.storage.keyspaces import Keyspace

    with OURS.active():
        session = made(OURS.store, SIGNED_IN[size])
        name = Keyspace(f"{PREFIX}:session").session(session_id(session.session_key))
        assert client.hgetall(name)[b"color"] == b'"green"'
        with stopwatch() as elapsed:
            for _ in range(NUMBER[size]):
                client.hgetall(name)
            seconds = elapsed()
        session.delete()
        return seconds / NUMBER[size]


def _tables(samples: Samples, world: str, size: str, rounds: int) -> list[Table]:
    columns = tuple(engine.name for engine in ENGINES)
    rows = [action.name for action in ACTIONS]
    name, what = f"operations-{world}-{size}", f"{world}, {size} sessions"
    note = (
        f"Medians of {rounds} rounds with {NUMBER[size]} operations of each engine in each "
        f"({NUMBER_OF_SLOW[size]} of those with a database). "
    )
    relative = Table(
        name,
        f"Time of an operation: {what}",
        f"ratio to {BASE.name}",
        columns,
        samples.ratios(rows, columns, BASE.name),
        note=f"{note}Ratios are taken within each round.",
    )
    absolute = Table(
        f"{name}-microseconds",
        f"Time of an operation: {what}",
        "µs",
        columns,
        samples.medians(rows, columns, 1e6),
        plot=False,
        note=note.strip(),
        details=samples.details(),
    )
    return [relative, absolute, *([_bare(samples, size)] if world == "sync" else [])]


def _bare(samples: Samples, size: str) -> Table:
    ours, bare = samples.median("read", OURS.name), samples.median("read", BARE)
    ratio = samples.ratio("read", OURS.name, ("read", BARE))
    return Table(
        f"operations-bare-{size}",
        f"Reading beside a bare HGETALL of the same hash: {size} sessions",
        "µs, and their ratio",
        (OURS.name, BARE, "ratio"),
        ((READ.name, ours and ours * 1e6, bare and bare * 1e6, ratio),),
        plot=False,
        note="The ratio is the median of the rounds' ratios.",
    )
