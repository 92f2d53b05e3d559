"""What passes between each engine and Redis: round trips, and bytes each way."""

from collections.abc import Iterator
from contextlib import contextmanager

from benchmarks import proxy
from benchmarks.actions import ACTIONS, Action, made
from benchmarks.bench import Bench, Cell, Table
from benchmarks.contents import SIGNED_IN
from benchmarks.engines import ENGINES, Engine, at, require
from benchmarks.proxy import Passed, Proxy

Counted = dict[tuple[str, str, str], tuple[Passed, int]]


def measure(bench: Bench) -> list[Table]:
    require("django_redis", "redis_sessions")
    counted: Counted = {}
    with proxy.before(bench.redis_url) as counting, at(counting.url):
        for engine in ENGINES:
            bench.progress(f"counting what {engine.name} sends")
            with engine.active():
                for size in SIGNED_IN:
                    for action in ACTIONS:
                        counted[size, action.name, engine.slug] = _count(
                            engine, action, size, counting
                        )
    return [_round_trips(counted), *(_bytes(counted, size) for size in SIGNED_IN)]


def _count(engine: Engine, action: Action, size: str, counting: Proxy) -> tuple[Passed, int]:
    """What one action lets pass, and its queries to the database, once all is warmed up."""
    store, contents = engine.store, action.contents(size)
    for _ in range(2):
        session = made(store, contents)
        subject = action.prepared(store, session.session_key)
        with _queries() as queries:
            before = counting.passed
            result = action.run(subject, contents)
            passed = counting.passed - before
        for ended in (session, result):
            ended.delete()
    return passed, len(queries)


@contextmanager
def _queries() -> Iterator[list[str]]:
    """The queries to the database meanwhile; what begins and ends a transaction is not counted."""
    from django.db import connection

    seen: list[str] = []

    def note(execute, sql, params, many, context):
        if not sql.startswith(("BEGIN", "SAVEPOINT", "RELEASE")):
            seen.append(sql)
        return execute(sql, params, many, context)

    with connection.execute_wrapper(note):
        yield seen


def _round_trips(counted: Counted) -> Table:
    rows = []
    for action in ACTIONS:
        for_each: list[Cell] = []
        for engine in ENGINES:
            passed, queries = counted["small", action.name, engine.slug]
            assert passed.round_trips == counted["large", action.name, engine.slug][0].round_trips
            for_each.append(
                f"{passed.round_trips} + {queries} SQL" if queries else passed.round_trips
            )
        rows.append((action.name, *for_each))
    return Table(
        "wire-round-trips",
        "Round trips to Redis of an operation, and queries to the database",
        "round trips",
        tuple(engine.name for engine in ENGINES),
        tuple(rows),
        plot=False,
        note="Counted exactly, at open connections; as many for large as for small sessions.",
    )


def _bytes(counted: Counted, size: str) -> Table:
    engines = [engine for engine in ENGINES if engine.slug != "db"]
    rows = []
    for action in ACTIONS:
        passed = [counted[size, action.name, engine.slug][0] for engine in engines]
        rows.append((f"{action.name}, sent", *(one.sent for one in passed)))
        rows.append((f"{action.name}, received", *(one.received for one in passed)))
    return Table(
        f"wire-bytes-{size}",
        f"Bytes between an engine and Redis: {size} sessions",
        "bytes",
        tuple(engine.name for engine in engines),
        tuple(rows),
        plot=False,
    )
