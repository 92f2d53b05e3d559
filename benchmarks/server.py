"""What each operation takes of the server's processor, which all workers of a site share."""

import redis

from benchmarks.actions import CREATE, DELETE, READ, READ_AND_CYCLE, READ_AND_TOUCH, REQUEST
from benchmarks.bench import Bench, Table
from benchmarks.blocks import Block
from benchmarks.engines import BASE, ENGINES, CannotMeasureError, require
from benchmarks.memory import DEFAULT, LISTPACK
from benchmarks.places import MOST, Place, places
from benchmarks.samples import Samples, in_turn

SIZES = {"1 k": 1_000, "1 M": MOST}

ACTIONS = (READ, REQUEST, READ_AND_TOUCH, CREATE, READ_AND_CYCLE, DELETE)

# Those whose sessions are in Redis.
MEASURED = tuple(engine for engine in ENGINES if engine.slug != "db")

# Operations of a block. The server counts its time exactly. Many operations keep the share of its
# other work small.
NUMBER = 300
NUMBER_IN_A_HURRY = 100


def measure(bench: Bench) -> list[Table]:
    require("django_redis", "redis_sessions")
    number = NUMBER_IN_A_HURRY if bench.quick else NUMBER
    samples = Samples()
    # The default, because most sites do not change it.
    with places(bench, SIZES, f"--{LISTPACK}", str(DEFAULT)) as all_places:
        for place in all_places:
            _check(place)
        for round_number in range(bench.rounds):
            bench.progress(f"server: round {round_number + 1} of {bench.rounds}")
            for place in all_places:
                _round(place, round_number, number, samples)
        sizes = [place.words for place in all_places]
    return _tables(samples, sizes, bench, number)


def _check(place: Place) -> None:
    """That each engine does each action, and that the server has seen all scripts."""
    for engine in MEASURED:
        with place.active(engine):
            for action in ACTIONS:
                Block(engine, action, "small").check()


def _round(place: Place, round_number: int, number: int, samples: Samples) -> None:
    with redis.Redis.from_url(place.redis_url) as client:
        for engine in in_turn(MEASURED, round_number):
            with place.active(engine):
                for action in ACTIONS:
                    taken = Taken(client)
                    Block(engine, action, "small", around=taken).seconds(number)
                    row = _row(action.name, place.words)
                    samples.add(row, engine.name, taken.seconds / number)


class Taken:
    """The processor time that the server takes within, in ``seconds``."""

    seconds = 0.0

    def __init__(self, client: redis.Redis) -> None:
        self._client = client

    def __enter__(self) -> None:
        self.seconds = -self._until_now()

    def __exit__(self, *_: object) -> None:
        self.seconds += self._until_now()

    def _until_now(self) -> float:
        told = self._client.info("cpu")
        if "used_cpu_user" not in told:
            raise CannotMeasureError("this server does not say in INFO cpu how long it worked.")
        user, system = told["used_cpu_user"], told["used_cpu_sys"]
        return float(user) + float(system)


def _row(action: str, words: str) -> str:
    return f"{action}, {words} sessions"


def _tables(samples: Samples, sizes: list[str], bench: Bench, number: int) -> list[Table]:
    columns = tuple(engine.name for engine in MEASURED)
    rows = [_row(action.name, words) for words in sizes for action in ACTIONS]
    title = "Processor time that an operation takes in the server"
    setting = (
        f"{LISTPACK} at its default, {DEFAULT}" if bench.own_server else "the server's own settings"
    )
    note = (
        f"By INFO cpu, one command at a time: medians of {bench.rounds} rounds with {number} "
        "operations of each engine in each, on signed-in sessions of five entries, our indexes "
        f"kept, and {setting}. The server also holds the number of our sessions "
        "that the row names. "
    )
    return [
        Table(
            "server",
            title,
            f"ratio to {BASE.name}",
            columns,
            samples.ratios(rows, columns, BASE.name),
            note=f"{note}Ratios are taken within each round.",
        ),
        Table(
            "server-microseconds",
            title,
            "µs",
            columns,
            samples.medians(rows, columns, 1e6),
            plot=False,
            note=note.strip(),
            details=samples.details(),
        ),
    ]
