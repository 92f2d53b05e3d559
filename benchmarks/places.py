"""Servers with a thousand sessions, with a million: what is measured in each, turn by turn."""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import redis

from benchmarks import redis_server
from benchmarks.bench import Bench
from benchmarks.engines import PREFIX, CannotMeasureError, Engine, at
from benchmarks.population import fill

# Sessions in the largest place, which takes minutes to fill: left out in a hurry.
MOST = 1_000_000

# Of memory in the server, indexes and all.
BYTES_EACH = 1_400


@dataclass(frozen=True)
class Place:
    """Where so many sessions of ours are. ``key_prefix``: what their names start with."""

    words: str
    size: int
    redis_url: str
    key_prefix: str

    @contextmanager
    def active(self, engine: Engine) -> Iterator[None]:
        """Let ``engine`` keep its sessions here."""
        with engine.active(), at(self.redis_url, KEY_PREFIX=self.key_prefix):
            yield


@contextmanager
def places(bench: Bench, sizes: Mapping[str, int], *arguments: str) -> Iterator[list[Place]]:
    """
    The sizes, full of sessions: each in a server of its own, so that all have their turn in each
    round. In somebody else's server they lie side by side, under other names.

    ``arguments``: more of the servers of their own.
    """
    sizes = {words: size for words, size in sizes.items() if not (bench.quick and size >= MOST)}
    _require_room(bench, sum(sizes.values()) * BYTES_EACH)
    with ExitStack() as stack:
        filled = []
        for words, size in sizes.items():
            url, prefix = bench.redis_url, f"{PREFIX}:{size}"
            if bench.own_server:
                url = stack.enter_context(redis_server.started(*arguments))
            else:
                stack.callback(_clean, bench, url, prefix)
            filled.append(Place(words, size, url, prefix))
            _fill(bench, filled[-1])
        yield filled


def _require_room(bench: Bench, needed: int) -> None:
    bench.progress(f"the sessions take about {needed / 1e9:.1f} GB of memory")
    if bench.own_server:
        return
    with redis.Redis.from_url(bench.redis_url) as client:
        memory = client.info("memory")
    most = memory.get("maxmemory", 0)
    if most and most - memory["used_memory"] < needed:
        raise CannotMeasureError(
            f"the server has no room for it (maxmemory {most / 1e9:.1f} GB) without losing what is "
            "there; --quick takes a tenth."
        )


def _fill(bench: Bench, place: Place) -> None:
    def progress(there: int) -> None:
        if there % 50_000 == 0 or there == place.size:
            bench.progress(f"filling the server: {there:,} of {place.size:,} sessions")

    fill(place.redis_url, place.key_prefix, place.size, progress)


def _clean(bench: Bench, redis_url: str, key_prefix: str) -> None:
    redis_server.clean(
        redis_url,
        f"{key_prefix}:",
        lambda gone: bench.progress(f"deleting the sessions: {gone:,} keys are gone"),
    )
