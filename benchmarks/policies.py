"""What each policy costs: the server's processor and the round trips of each operation."""

import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import redis
from django.test import override_settings

from benchmarks.actions import CREATE, LOGOUT, READ, READ_AND_CYCLE, READ_AND_TOUCH, REQUEST
from benchmarks.bench import Bench, Table
from benchmarks.blocks import Block
from benchmarks.engines import OURS, CannotMeasureError, at
from benchmarks.round_trips import Traffic
from benchmarks.samples import Samples, in_turn
from benchmarks.server import Taken

ACTIONS = (READ, REQUEST, READ_AND_TOUCH, CREATE, READ_AND_CYCLE, LOGOUT)

# Operations of a block.
NUMBER = 300
NUMBER_IN_A_HURRY = 100


@dataclass(frozen=True)
class Policy:
    """
    ``name``: its column. ``session_redis`` and ``settings``: what turns it on.
    """

    name: str
    session_redis: dict[str, Any] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)


OFF = Policy("none")

POLICIES = (
    OFF,
    Policy("ABSOLUTE_AGE", {"ABSOLUTE_AGE": 86_400}),
    Policy("TOUCH_INTERVAL", {"TOUCH_INTERVAL": 60}),
    Policy("TOUCH_INTERVAL, save due", {"TOUCH_INTERVAL": 1e-6}),
    Policy("both, save due", {"ABSOLUTE_AGE": 86_400, "TOUCH_INTERVAL": 1e-6}),
    # All sessions of a block have one user, and none of them may end.
    Policy("MAX_SESSIONS_PER_USER", {"MAX_SESSIONS_PER_USER": 1000}),
    Policy("MAX_SESSION_BYTES", {"MAX_SESSION_BYTES": 1_000_000}),
    Policy("EVENTS", {"EVENTS": True}),
    Policy(
        "encryption",
        {"ENCRYPTION_KEYS": ["0d" * 32]},
        {"SESSION_SERIALIZER": "sessions_redis.serializers.EncryptedJSONSerializer"},
    ),
)

# The busy page: requests a second, seconds, and the interval.
PER_SECOND = 30
SECONDS = 60
SECONDS_IN_A_HURRY = 5


def measure(bench: Bench) -> list[Table]:
    number = NUMBER_IN_A_HURRY if bench.quick else NUMBER
    samples, rounds = Samples(), {}
    for policy in POLICIES:
        with ExitStack() as stack:
            _enter(stack, bench, policy)
            for action in ACTIONS:
                Block(OURS, action, "small").check()
                rounds[action.name, policy.name] = _rounds(bench, action)
    for round_number in range(bench.rounds):
        bench.progress(f"policies: round {round_number + 1} of {bench.rounds}")
        _round(bench, round_number, number, samples)
    return [*_tables(samples, rounds, bench, number), _busy(bench)]


def _enter(stack: ExitStack, bench: Bench, policy: Policy) -> None:
    stack.enter_context(at(bench.redis_url, **policy.session_redis))
    stack.enter_context(override_settings(**policy.settings))
    stack.enter_context(OURS.active())


def _round(bench: Bench, round_number: int, number: int, samples: Samples) -> None:
    with redis.Redis.from_url(bench.redis_url) as client:
        for policy in in_turn(POLICIES, round_number):
            with ExitStack() as stack:
                _enter(stack, bench, policy)
                for action in ACTIONS:
                    taken = Taken(client)
                    Block(OURS, action, "small", around=taken).seconds(number)
                    samples.add(action.name, policy.name, taken.seconds / number)


def _rounds(bench: Bench, action: Any) -> float:
    """The round trips of one operation, once the connection is there and scripts are known."""
    port = urlsplit(bench.redis_url).port
    if port is None:
        raise CannotMeasureError("round trips are counted on a TCP connection only.")
    traffic, number = Traffic({port}), 20
    Block(OURS, action, "small", around=traffic.watched()).seconds(number)
    return traffic.rounds / number


def _tables(
    samples: Samples, rounds: dict[tuple[str, str], float], bench: Bench, number: int
) -> list[Table]:
    columns = tuple(policy.name for policy in POLICIES)
    rows = [action.name for action in ACTIONS]
    return [
        Table(
            "policies",
            "Processor time that an operation takes in the server, with each policy",
            "µs",
            columns,
            samples.medians(rows, columns, 1e6),
            plot=False,
            note=f"By INFO cpu: medians of {bench.rounds} rounds with {number} operations each, on "
            "signed-in sessions of five entries, indexes kept.",
            details=samples.details(),
        ),
        Table(
            "policies-round-trips",
            "Round trips of an operation, with each policy",
            "round trips",
            columns,
            tuple((row, *(rounds[row, column] for column in columns)) for row in rows),
            plot=False,
        ),
    ]


def _busy(bench: Bench) -> Table:
    seconds = SECONDS_IN_A_HURRY if bench.quick else SECONDS
    policies = (OFF, Policy("TOUCH_INTERVAL", {"TOUCH_INTERVAL": seconds}))
    counted = [_commands(bench, policy, seconds) for policy in policies]
    names = ("HGETALL", "EVALSHA")
    return Table(
        "policies-busy-page",
        f"Commands of a page with {PER_SECOND} requests a second, in {seconds} seconds",
        "commands",
        tuple(policy.name for policy in policies),
        tuple((name, *(float(one.get(name.lower(), 0)) for one in counted)) for name in names),
        plot=False,
        note="By INFO commandstats. SESSION_SAVE_EVERY_REQUEST is on, TOUCH_INTERVAL is as long as "
        "the measurement. Each request reads the session; EVALSHA writes it.",
    )


def _commands(bench: Bench, policy: Policy, seconds: int) -> dict[str, int]:
    """What the server counts while one visitor's page sends its requests, by command."""
    from django.http import HttpRequest, HttpResponse
    from django.test import RequestFactory, override_settings

    from sessions_redis.middleware import SessionMiddleware

    def view(request: HttpRequest) -> HttpResponse:
        request.session.get("color")
        return HttpResponse()

    bench.progress(f"policies: a busy page, {policy.name}")
    with ExitStack() as stack, redis.Redis.from_url(bench.redis_url) as client:
        _enter(stack, bench, policy)
        stack.enter_context(override_settings(SESSION_SAVE_EVERY_REQUEST=True))
        session = OURS.store()
        session["color"] = "green"
        session.save()
        middleware, request = SessionMiddleware(view), RequestFactory().get("/")
        request.COOKIES["sessionid"] = session.session_key
        middleware(request)  # writes address and user agent
        before = _calls(client)
        began = time.monotonic()
        for number in range(seconds * PER_SECOND):
            time.sleep(max(0.0, began + number / PER_SECOND - time.monotonic()))
            middleware(request)
        after = _calls(client)
        session.delete()
    return {name: calls - before.get(name, 0) for name, calls in after.items()}


def _calls(client: Any) -> dict[str, int]:
    stats = client.info("commandstats")
    return {name.removeprefix("cmdstat_"): int(one["calls"]) for name, one in stats.items()}
