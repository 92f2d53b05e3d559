"""What a signed-in session takes of the server's memory."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import redis

from benchmarks import redis_server
from benchmarks.actions import Session, made
from benchmarks.bench import Bench, Table
from benchmarks.contents import SIGNED_IN
from benchmarks.engines import BASE, ENGINES, OURS, PREFIX, Engine, at, require

SESSIONS = 20_000
SESSIONS_IN_A_HURRY = 2_000

# The setting of the server that decides how a hash lies in its memory.
LISTPACK = "hash-max-listpack-value"
DEFAULT = 64

# Sessions whose own size is asked for.
ASKED = 100


@dataclass(frozen=True)
class Layout:
    """``listpack``: what the server's setting must be, if that matters."""

    name: str
    engine: Engine
    session_redis: dict[str, Any] = field(default_factory=dict)
    listpack: int | None = None


LAYOUTS = (
    *(
        Layout(f"{OURS.name}, {words}, listpack {listpack}", OURS, {"INDEX": index}, listpack)
        for listpack in (256, 64)
        for index, words in ((False, "without index"), (True, "with index"))
    ),
    *(Layout(engine.name, engine) for engine in ENGINES[1:] if engine.slug != "db"),
)

# Bytes of a session's own key, and bytes all in all.
Figures = tuple[float | None, float | None]
NOTHING: Figures = (None, None)


def measure(bench: Bench) -> list[Table]:
    require("django_redis", "redis_sessions")
    number = SESSIONS_IN_A_HURRY if bench.quick else SESSIONS
    prefix = "" if bench.own_server else PREFIX
    figures: dict[str, Figures] = {}
    for layout in LAYOUTS:
        bench.progress(f"memory of {number:,} sessions: {layout.name}")
        with _server(bench, layout) as redis_url:
            figures[layout.name] = (
                _measured(redis_url, layout, number, prefix) if redis_url else NOTHING
            )
    base = figures[BASE.name][1]
    rows = tuple(
        (name, alone, in_all, in_all / base if in_all and base else None)
        for name, (alone, in_all) in figures.items()
    )
    return [_table(rows, number, own_server=bench.own_server)]


@contextmanager
def _server(bench: Bench, layout: Layout) -> Iterator[str | None]:
    """
    An empty server with the setting that ``layout`` needs: its tables grow as those of any other.

    Somebody's own is taken as it is; ``None`` if its setting is another.
    """
    if bench.own_server:
        with redis_server.started(f"--{LISTPACK}", str(layout.listpack or DEFAULT)) as redis_url:
            yield redis_url
        return
    fits = layout.listpack in {None, _listpack(bench.redis_url)}
    yield bench.redis_url if fits else None
    redis_server.clean(bench.redis_url)


def _listpack(redis_url: str) -> int | None:
    """The server's setting; ``None`` where it is not told."""
    with redis.Redis.from_url(redis_url) as client, suppress(redis.ResponseError):
        return int(client.config_get(LISTPACK)[LISTPACK])
    return None


def _measured(redis_url: str, layout: Layout, number: int, prefix: str) -> Figures:
    engine = layout.engine
    with (
        redis.Redis.from_url(redis_url) as client,
        at(redis_url, prefix, **layout.session_redis),
        engine.active(),
    ):
        # What is made once, such as a connection or a script, is no session's.
        made(engine.store, SIGNED_IN["small"]).delete()
        before = client.info("memory")["used_memory"]
        first = [_name(_signed_in(engine, index), prefix) for index in range(ASKED)]
        alone = [client.memory_usage(name, samples=0) for name in first]
        for index in range(ASKED, number):
            _signed_in(engine, index)
        used = client.info("memory")["used_memory"] - before
    return sum(alone) / len(alone), used / number


def _signed_in(engine: Engine, index: int) -> Session:
    """A session of a user who has no other."""
    return made(engine.store, SIGNED_IN["small"] | {"_auth_user_id": str(100_000 + index)})


def _name(session: Session, prefix: str) -> str:
    """Under which a session lies in Redis."""
    from sessions_redis.storage.commands import session_id

    before = f"{prefix}:" if prefix else ""
    if session.__module__ == OURS.module:
        return f"{before}session:{session_id(session.session_key)}"
    if hasattr(session, "cache_key"):
        return f"{prefix}:1:{session.cache_key}"
    return f"{before}{session.session_key}"


def _table(rows: tuple[tuple[Any, ...], ...], number: int, *, own_server: bool) -> Table:
    note = (
        "Sessions of five entries. The first column is MEMORY USAGE of a session's own key, the "
        f"mean of {ASKED}. The second is the growth of used_memory for each of {number:,} sessions "
        "of different users, with the indexes. The third compares the second with the cache "
        f"engine over django-redis. 'listpack' is the server's {LISTPACK}: {DEFAULT} by default."
    )
    if not own_server:
        note += (
            f" All names are longer by {PREFIX}:. Dashes: the server's setting is another; without "
            "REDIS_URL both are measured."
        )
    return Table(
        "memory",
        "Memory of the server for each signed-in session",
        "bytes",
        ("its key", "all in all", f"ratio to {BASE.name}"),
        rows,
        plot=False,
        note=note,
    )
