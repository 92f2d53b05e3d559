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


@pytest.mark.parametrize("victim", ["worker", "server"])
def test_random_kills(settings, lasting, victim):
    """
    Workers and the server are killed at random moments, while visitors sign in.

    Every session key that a client got by then is that of a live session: signing out its user
    everywhere ends it.
    """
    seed = int(os.environ.get("LISTING_SEED", random.randrange(10**6)))
    chance, told = random.Random(seed), 0
    for number in range(KILLS):
        user = f"user-{number}"
        worker = Worker(settings.SESSION_REDIS, "log_in", user=user, times=LOGINS)
        lines = []
        try:
            worker.wait_ready()
            worker.begin()
            before = chance.randrange(LOGINS)
            lines.extend(worker.process.stdout.readline() for _ in range(before))
            if victim == "server":
                kill(lasting.process)
                lasting.start()
            else:
                kill(worker.process)
            lines += worker.process.stdout.readlines()
        finally:
            worker.end()
        keys = received(lines)
        assert victim == "worker" or len(keys) == LOGINS
        live = [key for key in keys if SessionStore().exists(key)]
        assert live == keys, f"sessions were lost; seed {seed}"
        ended = registry.end_all_of(user)
        missed = [key for key in keys if SessionStore().exists(key)]
        print(f"kill {number}: {len(keys)} keys were received, {ended} sessions ended")
        assert len(missed) == 0, f"end_all_of missed sessions; seed {seed}"
        assert ended >= len(keys)
        told += len(keys)
    print(f"{KILLS} kills of a {victim}: {told} keys were received, and end_all_of missed none")
