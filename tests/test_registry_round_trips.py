"""What the registry costs: round trips, which do not depend on how many sessions there are."""

import asyncio
import time

import pytest

from sessions_redis import registry
from sessions_redis.engine import SessionStore
from sessions_redis.registry import Selection, listing
from sessions_redis.registry.statistics import ameasure, measure
from sessions_redis.storage.commands import session_id
from tests.proxy import Proxy

SESSIONS = 120

# What is asked, and the round trips that takes on a connection that knows the scripts.
OPERATIONS = {
    "count": (registry.count, 1),
    "count of some": (lambda: registry.count(Selection(signed_in=True, within=60)), 1),
    "count of a user": (lambda: registry.count(Selection(users=("1",))), 1),
    "count of users": (lambda: registry.count(Selection(users=("1", "2"))), 1),
    "latest": (registry.latest, 2),
    "latest, a page of 100": (lambda: registry.latest(10, 110), 2),
    "latest of some": (lambda: registry.latest(0, 50, Selection(signed_in=False)), 2),
    "latest of a user": (lambda: registry.latest(0, 50, Selection(users=("1",))), 2),
    "latest of users": (lambda: registry.latest(0, 50, Selection(users=("1", "2"))), 3),
    "latest of no users": (lambda: registry.latest(0, 50, Selection(users=())), 0),
    "latest, none there": (lambda: registry.latest(5000, 5050), 1),
    "find": (lambda: registry.find("0" * 32), 1),
    "find_many": (lambda: registry.find_many(["0" * 32] * 100), 1),
    "find, no id": (lambda: registry.find("junk"), 0),
    "of_user": (lambda: registry.of_user("1"), 2),
    "of_user, nobody": (lambda: registry.of_user("nobody"), 1),
    "end": (lambda: registry.end("0" * 32), 1),
    "end_many": (lambda: registry.end_many(["0" * 32] * 100), 1),
    "end_all_of": (lambda: registry.end_all_of("1"), 1),
    "end_each_of": (lambda: registry.end_each_of("nobody"), 1),
    "by_time_left": (lambda: registry.by_time_left(range(0, 2500, 100)), 1),
    "trim": (registry.trim, 3),
    "measure": (lambda: measure(100), 3),
}

TWINS = {
    "acount": (registry.acount, 1),
    "alatest": (lambda: registry.alatest(10, 110), 2),
    "afind": (lambda: registry.afind("0" * 32), 1),
    "aof_user": (lambda: registry.aof_user("1"), 2),
    "aend": (lambda: registry.aend("0" * 32), 1),
    "aend_all_of": (lambda: registry.aend_all_of("1"), 1),
    "aend_each_of": (lambda: registry.aend_each_of("1"), 1),
    "aby_time_left": (lambda: registry.aby_time_left([0, 60]), 1),
    "atrim": (registry.atrim, 3),
    "ameasure": (lambda: ameasure(100), 3),
}


# What is sent once goes over connections of its own.


def connect():
    SessionStore().exists("connects")
    registry.end("0" * 32)


async def aconnect():
    await SessionStore().aexists("connects")
    await registry.aend("0" * 32)


@pytest.fixture
def proxy(settings, session_redis, server, raw, prefix):
    """A counting proxy to a server that knows the scripts, with many sessions on it."""
    for number in range(SESSIONS):
        session = SessionStore()
        if number % 2:
            session["_auth_user_id"] = "1"
        session.save()
    raw.zadd(f"{prefix}:index", {session_id("dead"): time.time() + 9e6})
    for ask, _ in OPERATIONS.values():
        if ask is not OPERATIONS["end_all_of"][0]:
            ask()
    raw.zadd(f"{prefix}:user:1", {session_id("dead"): time.time() + 9e6})
    registry.of_user("1")
    registry.end_all_of("nobody")
    registry.end(session_id("nobody's"))
    with Proxy(server.port) as proxy:
        settings.SESSION_REDIS = {**session_redis, "LOCATION": proxy.url}
        connect()
        yield proxy


@pytest.mark.parametrize("operation", OPERATIONS)
def test_round_trips(proxy, operation):
    """Each function takes a fixed number of round trips."""
    ask, promised = OPERATIONS[operation]
    assert proxy.counted(ask) == promised


@pytest.mark.parametrize("operation", TWINS)
def test_async_round_trips(proxy, operation):
    """The twins take as many."""
    ask, promised = TWINS[operation]

    async def count():
        await aconnect()
        before = proxy.round_trips
        await ask()
        return proxy.round_trips - before

    assert asyncio.run(count()) == promised


def test_dropping_costs_three_more(proxy, raw, prefix):
    """Where members were dead the page is read again, once: sweep, page, sessions."""
    raw.zadd(f"{prefix}:index", {session_id(f"dead-{n}"): time.time() + 9e6 for n in range(50)})
    assert proxy.counted(lambda: registry.latest(0, 100)) == 5
    assert proxy.counted(lambda: registry.latest(0, 100)) == 2
    raw.zadd(f"{prefix}:user:1", {session_id(f"dead-{n}"): time.time() + 9e6 for n in range(50)})
    assert proxy.counted(lambda: registry.of_user("1")) == 3
    assert proxy.counted(lambda: registry.of_user("1")) == 2


def test_at_worst(proxy, raw, prefix, monkeypatch):
    """Behind more dead members than it removes at a time, a page is given up."""
    monkeypatch.setattr(listing, "SWEEPS", 2)
    raw.zadd(f"{prefix}:index", {session_id(f"dead-{n}"): time.time() + 9e6 for n in range(9000)})
    # Four readings of two round trips, and two sweeps between them.
    assert proxy.counted(lambda: registry.latest(0, 100)) == 4 * 2 + 3 * 2
    assert len(registry.latest(0, 100)) == 100
