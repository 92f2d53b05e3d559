"""Whether anything gets slower with the number of sessions in the server."""

from collections.abc import Callable
from typing import Any

import redis

from benchmarks.actions import ACTIONS, Action, made
from benchmarks.bench import Bench, Table
from benchmarks.blocks import Block
from benchmarks.contents import SIGNED_IN
from benchmarks.engines import OURS
from benchmarks.places import MOST, Place, places
from benchmarks.population import OF_EACH_USER
from benchmarks.samples import Samples, in_turn, stopwatch

SIZES = {"1 k": 1_000, "100 k": 100_000, "1 M": MOST}

# Operations of a block.
NUMBER = 100
NUMBER_OF_LOOKS = 10
NUMBER_OF_PAGES = 2

# How many sessions a page shows.
PAGE = 100

BARE = "bare HGETALL"


Timed = Callable[[Place], float]


def measure(bench: Bench) -> list[Table]:
    samples = Samples()
    contestants: dict[str, Timed] = {
        BARE: _bare,
        **{action.name: _engine(action) for action in ACTIONS},
        "registry: count": _count,
        f"registry: first {PAGE}": _first,
        "admin: first page": _Admin(),
    }
    with places(bench, SIZES) as all_places:
        for place in all_places:
            with place.active(OURS):
                for action in ACTIONS:
                    Block(OURS, action, "small").check()
        for number in range(bench.rounds):
            bench.progress(f"scale: round {number + 1} of {bench.rounds}")
            for name, timed in contestants.items():
                for place in in_turn(all_places, number):
                    with place.active(OURS):
                        samples.add(name, place.words, timed(place))
    return _tables(samples, list(contestants), [place.words for place in all_places], bench)


def _engine(action: Action) -> Timed:
    def timed(_: Place) -> float:
        block = Block(OURS, action, "small")
        block.seconds(2)  # connects
        return block.seconds(NUMBER)

    return timed


def _bare(place: Place) -> float:
    from sessions_redis.storage.commands import session_id
    from sessions_redis.storage.keyspaces import Keyspace

    session = made(OURS.store, SIGNED_IN["small"])
    name = Keyspace(place.key_prefix).session(session_id(session.session_key))
    with redis.Redis.from_url(place.redis_url) as client:
        seconds = _repeated(lambda: client.hgetall(name), NUMBER)
    session.delete()
    return seconds


def _count(place: Place) -> float:
    from sessions_redis import registry

    assert registry.count() >= place.size
    return _repeated(registry.count, NUMBER)


def _first(_: Place) -> float:
    from sessions_redis import registry

    assert len(registry.latest(0, PAGE)) == PAGE
    return _repeated(lambda: registry.latest(0, PAGE), NUMBER_OF_LOOKS)


class _Admin:
    """Times the whole first page of the admin's list of sessions, as a superuser gets it."""

    def __init__(self) -> None:
        self._browsers: dict[Place, Any] = {}

    def __call__(self, place: Place) -> float:
        from django.test import Client

        browser = self._browsers.get(place)
        if browser is None:
            browser = self._browsers[place] = Client()
            browser.force_login(_superuser())
        return _repeated(lambda: _open(browser), NUMBER_OF_PAGES)


def _open(browser: Any) -> None:
    answer = browser.get("/admin/sessions_redis/session/")
    assert answer.status_code == 200, answer
    lines = answer.content.count(b'name="_selected_action"')
    assert lines > PAGE / 2, f"the page has {lines} sessions"


def _superuser() -> Any:
    from django.contrib.auth import get_user_model

    users = get_user_model().objects
    return users.filter(is_superuser=True).first() or users.create_superuser("root")


def _repeated(function: Callable[[], Any], number: int) -> float:
    """Seconds that one takes, after one that is not timed."""
    function()
    with stopwatch() as elapsed:
        for _ in range(number):
            function()
        return elapsed() / number


def _tables(samples: Samples, rows: list[str], columns: list[str], bench: Bench) -> list[Table]:
    where = "servers of their own" if bench.own_server else "one server, under different names"
    note = (
        f"sessions_redis, medians of {bench.rounds} rounds with all sizes in turn, in {where}. "
        f"Half of the sessions have a user, who has {OF_EACH_USER}; the indexes are kept."
    )
    title = "Time of an operation by the number of sessions in the server"
    ratios = tuple(
        (row, *(samples.ratio(row, column, (row, columns[0])) for column in columns))
        for row in rows
    )
    return [
        Table(
            "scale",
            title,
            f"ratio to {columns[0]}",
            tuple(columns),
            ratios,
            note=f"{note} Ratios are taken within each round.",
        ),
        Table(
            "scale-microseconds",
            title,
            "µs",
            tuple(columns),
            samples.medians(rows, columns, 1e6),
            plot=False,
            note=note,
            details=samples.details(),
        ),
    ]
