"""What operations take over a network that delays: round trips are what counts there."""

import redis

from benchmarks import proxy
from benchmarks.actions import LOGIN, READ, REQUEST, WRITE
from benchmarks.bench import Bench, Table
from benchmarks.blocks import Block
from benchmarks.engines import ENGINES, at, require
from benchmarks.proxy import Proxy
from benchmarks.samples import Samples, in_turn, stopwatch

DELAYS_MS = (0, 1, 5)
ACTIONS = (READ, WRITE, LOGIN, REQUEST)

# Operations of each engine in each round.
NUMBER = 10

# One of all engines is "nothing but the way to Redis and back".
PING = "PING"


def measure(bench: Bench) -> list[Table]:
    require("django_redis", "redis_sessions")
    # One delayed operation takes as long as the next: it is the round trips that matter.
    rounds = min(bench.rounds, 7)
    with proxy.before(bench.redis_url) as delaying, at(delaying.url):
        return [_measured(bench, delaying, delay_ms, rounds) for delay_ms in DELAYS_MS]


def _measured(bench: Bench, delaying: Proxy, delay_ms: int, rounds: int) -> Table:
    samples = Samples()
    with redis.Redis.from_url(delaying.url) as client:
        for number in range(rounds):
            bench.progress(f"{delay_ms} ms of delay: round {number + 1} of {rounds}")
            for engine in in_turn(ENGINES, number):
                with engine.active():
                    for action in ACTIONS:
                        block = Block(engine, action, "small", around=_Delayed(delaying, delay_ms))
                        if number == 0:
                            block.check()
                        samples.add(action.name, engine.name, block.seconds(NUMBER))
            samples.add(PING, PING, _ping(client, delaying, delay_ms))
    return _table(samples, delay_ms, rounds)


class _Delayed:
    """The network is slow within, so that what prepares an operation need not wait for it."""

    def __init__(self, delaying: Proxy, delay_ms: int) -> None:
        self._delaying = delaying
        self._seconds = delay_ms / 1000

    def __enter__(self) -> None:
        self._delaying.delay(self._seconds)

    def __exit__(self, *_: object) -> None:
        self._delaying.delay(0)


def _ping(client: redis.Redis, delaying: Proxy, delay_ms: int) -> float:
    client.ping()
    with _Delayed(delaying, delay_ms), stopwatch() as elapsed:
        for _ in range(NUMBER):
            client.ping()
        return elapsed() / NUMBER


def _table(samples: Samples, delay_ms: int, rounds: int) -> Table:
    columns = tuple(engine.name for engine in ENGINES)
    ping = (samples.median(PING, PING) or 0) * 1000
    return Table(
        f"delay-{delay_ms}-ms",
        f"Time of an operation with {delay_ms} ms of delay in each round trip",
        "ms",
        columns,
        samples.medians([action.name for action in ACTIONS], columns, 1000),
        note=(
            f"Small sessions, through a proxy; a bare PING takes {ping:.2f} ms there. Medians of "
            f"{rounds} rounds with {NUMBER} operations of each engine in each. The database of "
            "db and cached_db is a file on this machine, so without delay."
        ),
        details=samples.details(),
    )
