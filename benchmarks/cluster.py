"""A Cluster of three nodes beside one server: time, server's processor time, and throughput."""

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import redis
from redis.asyncio.cluster import RedisCluster as AsyncRedisCluster
from redis.cluster import RedisCluster

from benchmarks import redis_server
from benchmarks.actions import ACTIONS, READ, made
from benchmarks.bench import Bench, Table
from benchmarks.blocks import Block
from benchmarks.contents import SIGNED_IN
from benchmarks.engines import OURS, PREFIX, CannotMeasureError, at
from benchmarks.samples import Samples, in_turn, stopwatch
from benchmarks.throughput import WAYS, Throughput

NODES = 3

SERVER, ONE_SLOT, CLUSTER = "one server", "Cluster, one slot", "Cluster"

# What redis-py's own clients do, beside our read.
BARE = "HGETALL of redis-py's client"

# Operations of a block, and parts of the index of all sessions.
NUMBER = 100
SHARDS = 16

WORLDS = ("sync", "async")


@dataclass(frozen=True)
class Place:
    """``urls``: of all nodes."""

    name: str
    url: str
    urls: tuple[str, ...]
    settings: tuple[tuple[str, Any], ...] = ()

    @contextmanager
    def active(self) -> Iterator[None]:
        with OURS.active(), at(self.url, **dict(self.settings)):
            yield


def measure(bench: Bench) -> list[Table]:
    with _places(bench) as places:
        times, cpu = Samples(), Samples()
        for world in WORLDS:
            with asyncio.Runner() as loop:
                runner = loop if world == "async" else None
                _measured(bench, places, world, runner, times, cpu)
        tables = _tables(times, cpu, bench)
        sites = {place.name: (place.url, dict(place.settings)) for place in places}
        del sites[ONE_SLOT]
        return [*tables, _throughput(bench, sites)]


@contextmanager
def _places(bench: Bench) -> Iterator[list[Place]]:
    from tests.clustered import Cluster

    if not bench.own_server:
        raise CannotMeasureError("it starts a Cluster, and one server like its nodes: no REDIS_URL")
    cluster = Cluster(
        bench.folder / "cluster", masters=NODES, replicas=0, binary=redis_server.binary()
    )
    try:
        urls = tuple(cluster.url_of_nodes)
        tag = f"{{{PREFIX}}}:session"
        yield [
            Place(SERVER, bench.redis_url, (bench.redis_url,)),
            Place(ONE_SLOT, cluster.url, urls, (("KEY_PREFIX", tag),)),
            Place(CLUSTER, cluster.url, urls, (("INDEX_SHARDS", SHARDS),)),
        ]
    finally:
        cluster.stop()


def _measured(
    bench: Bench,
    places: Sequence[Place],
    world: str,
    runner: asyncio.Runner | None,
    times: Samples,
    cpu: Samples,
) -> None:
    for place in places:
        with place.active():
            for action in ACTIONS:
                for _ in range(3 * NODES):  # so that each node knows each script
                    Block(OURS, action, "small", runner).check()
    for number in range(bench.rounds):
        bench.progress(f"cluster, {world}: round {number + 1} of {bench.rounds}")
        for action in ACTIONS:
            for place in in_turn(places, number):
                taken = _Taken(place.urls)
                with place.active():
                    block = Block(OURS, action, "small", runner, around=taken)
                    row = f"{action.name}, {world}"
                    times.add(row, place.name, block.seconds(NUMBER))
                    if runner is None:  # with several at a time the server does the same
                        cpu.add(action.name, place.name, taken.seconds / NUMBER)
                    if action is READ:
                        times.add(f"{BARE}, {world}", place.name, _bare(place, runner))


class _Taken:
    """The processor time that all nodes together take within, in ``seconds``."""

    seconds = 0.0

    def __init__(self, urls: Sequence[str]) -> None:
        self._urls = urls

    def __enter__(self) -> None:
        self._clients = [redis.Redis.from_url(url) for url in self._urls]
        self.seconds = -self._until_now()

    def __exit__(self, *_: object) -> None:
        self.seconds += self._until_now()
        for client in self._clients:
            client.close()

    def _until_now(self) -> float:
        told = [client.info("cpu") for client in self._clients]
        return sum(float(one["used_cpu_user"]) + float(one["used_cpu_sys"]) for one in told)


def _bare(place: Place, runner: asyncio.Runner | None) -> float:
    """Seconds of an HGETALL of the same hash by redis-py's client for that topology."""
    from sessions_redis import conf
    from sessions_redis.storage.commands import session_id

    session = made(OURS.store, SIGNED_IN["small"])
    name = conf.current().keyspace.session(session_id(session.session_key))
    is_cluster, url = len(place.urls) > 1, place.urls[0]
    try:
        if runner is not None:
            kind: Any = AsyncRedisCluster if is_cluster else redis.asyncio.Redis
            return runner.run(_abare(kind.from_url(url), name))
        client: Any = (RedisCluster if is_cluster else redis.Redis).from_url(url)
        with client:
            client.hgetall(name)
            with stopwatch() as elapsed:
                for _ in range(NUMBER):
                    client.hgetall(name)
                return elapsed() / NUMBER
    finally:
        session.delete()


async def _abare(client: Any, name: str) -> float:
    async with client:
        await client.hgetall(name)
        with stopwatch() as elapsed:
            for _ in range(NUMBER):
                await client.hgetall(name)
            return elapsed() / NUMBER


def _tables(times: Samples, cpu: Samples, bench: Bench) -> list[Table]:
    columns = (SERVER, ONE_SLOT, CLUSTER)
    rows = [f"{one}, {world}" for world in WORLDS for one in (*(a.name for a in ACTIONS), BARE)]
    note = (
        f"Medians of {bench.rounds} rounds of {NUMBER} operations each, small sessions, in turns. "
        f"The Cluster has {NODES} nodes and no replicas. In one slot: the prefix has a hash tag, "
        f"so all keys are on one node. Otherwise INDEX_SHARDS is {SHARDS}."
    )
    reads = tuple(
        (
            f"read, {world}",
            *(
                times.ratio(f"read, {world}", place, (f"{BARE}, {world}", place))
                for place in columns
            ),
        )
        for world in WORLDS
    )
    return [
        Table(
            *("cluster", "Time of an operation in a Cluster", f"ratio to {SERVER}", columns),
            times.ratios(rows, columns, SERVER),
            plot=False,
            note=note,
        ),
        Table(
            *("cluster-microseconds", "Time of an operation in a Cluster", "µs", columns),
            times.medians(rows, columns, 1e6),
            plot=False,
            details=times.details(),
        ),
        Table(
            *("cluster-bare", "Reading beside redis-py's own client, in a Cluster"),
            *("ratio to HGETALL of redis-py's client", columns, reads),
            plot=False,
            note="The client is Redis for one server, and RedisCluster for a Cluster.",
        ),
        Table(
            *("cluster-cpu", "Processor time that all nodes take for an operation"),
            *(f"ratio to {SERVER}", columns),
            cpu.ratios([action.name for action in ACTIONS], columns, SERVER),
            plot=False,
            note="By INFO cpu, added up over the nodes, one command at a time.",
        ),
        Table(
            *("cluster-cpu-microseconds", "Processor time that all nodes take for an operation"),
            *("µs", columns),
            cpu.medians([action.name for action in ACTIONS], columns, 1e6),
            plot=False,
            details=cpu.details(),
        ),
    ]


def _throughput(bench: Bench, sites: dict[str, tuple[str, dict[str, Any]]]) -> Table:
    samples = Samples()
    with Throughput(Path(bench.folder)) as throughput:
        for number in range(bench.rounds):
            bench.progress(f"cluster, throughput: round {number + 1} of {bench.rounds}")
            for way in WAYS:
                for action in throughput.actions:
                    for name, (url, settings) in in_turn(list(sites.items()), number):
                        each = throughput.seconds_each(way, action, url, settings)
                        samples.add(f"{action}, {way}", name, each)
    rows = []
    for way in WAYS:
        for action in throughput.actions:
            row = f"{action}, {way}"
            each = [samples.median(row, name) for name in sites]
            ratio = samples.ratio(row, SERVER, (row, CLUSTER))
            rows.append((row, *(one and 1 / one for one in each), ratio))
    return Table(
        "cluster-throughput",
        "Operations per second, one server and a Cluster",
        "operations per second, and the ratio of Cluster to one server",
        (*sites, "ratio"),
        tuple(rows),
        plot=False,
        note=f"Medians of {bench.rounds} rounds, in turns. Workers and all servers share the cores "
        "of this machine.",
        details=samples.details(),
    )
