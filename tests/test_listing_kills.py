"""The invariant of the listings: a client that has the key of a live session can be signed out."""

import os
import random

import pytest

from sessions_redis import registry
from sessions_redis.engine import SessionStore
from tests.servers import Server
from tests.workers import Worker

# To see more: LISTING_KILLS=10 LISTING_LOGINS=200
KILLS = int(os.environ.get("LISTING_KILLS", "2"))
LOGINS = int(os.environ.get("LISTING_LOGINS", "40"))


@pytest.fixture
def lasting(settings, session_redis, tmp_path):
    """A server that has written all that it has confirmed to disk."""
    server = Server(tmp_path, "--appendonly", "yes", "--appendfsync", "always")
    settings.SESSION_REDIS = {**session_redis, "LOCATION": server.url}
    yield server
    server.stop()


def kill(process):
    process.kill()
    process.wait()


def received(lines):
    """Session keys that clients got: a line that was cut off reached nobody."""
    return [line.strip() for line in lines if line.endswith("\n") and line != "null\n"]


def sign_in_while(session_redis, user, kill_one, chance):
    """
    The session keys that visitors got who signed in as ``user`` in one worker.

    ``kill_one(worker)`` is called at a random moment of that.
    """
    worker = Worker(session_redis, "log_in", user=user, times=LOGINS)
    lines = []
    try:
        worker.wait_ready()
        worker.begin()
        before = chance.randrange(LOGINS)
        lines.extend(worker.process.stdout.readline() for _ in range(before))
        kill_one(worker)
        lines += worker.process.stdout.readlines()
    finally:
        worker.end()
    return received(lines)


def expect_found(keys, user, seed):
    """All ``keys`` are of live sessions, and signing out ``user`` everywhere ends them."""
    live = [key for key in keys if SessionStore().exists(key)]
    assert live == keys, f"sessions were lost; seed {seed}"
    ended = registry.end_all_of(user)
    missed = [key for key in keys if SessionStore().exists(key)]
    print(f"{user}: {len(keys)} keys were received, {ended} sessions ended")
    assert len(missed) == 0, f"end_all_of missed sessions; seed {seed}"
    assert ended >= len(keys)


def kill_at_random(session_redis, kill_one):
    """Kill something ``KILLS`` times while visitors sign in. Yields the keys that they got."""
    seed = int(os.environ.get("LISTING_SEED", random.randrange(10**6)))
    chance = random.Random(seed)
    told = 0
    for number in range(KILLS):
        user = f"user-{number}"
        keys = sign_in_while(session_redis, user, kill_one, chance)
        yield keys
        expect_found(keys, user, seed)
        told += len(keys)
    print(f"{KILLS} kills: {told} keys were received, and end_all_of missed none")


def test_killed_workers(settings, lasting):
    """
    Workers are killed at random moments, while visitors sign in.

    Every session key that a client got by then is that of a live session: signing out its user
    everywhere ends it.
    """
    for _ in kill_at_random(settings.SESSION_REDIS, lambda worker: kill(worker.process)):
        pass


def test_a_killed_server(settings, lasting):
    """As above, and the workers go on when the server is back."""

    def kill_server(worker):
        kill(lasting.process)
        lasting.start()

    for keys in kill_at_random(settings.SESSION_REDIS, kill_server):
        assert len(keys) == LOGINS
