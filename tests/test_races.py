"""Promises 1, 2, 3, 10 and 11 in races between real processes."""

import random
import time

import pytest

from sessions_redis.engine import SessionStore
from tests.servers import is_marker
from tests.workers import Worker, race

PROCESSES = 8
WRITES = 100
DELETIONS = 1_000
CYCLES = 200
KILLS = 12


def keys_of(raw, prefix):
    """The keys of this test, without the markers that cycling leaves for a minute."""
    keys = raw.scan_iter(f"{prefix}:*", count=10_000)
    return sorted(key.decode() for key in keys if not is_marker(raw, key))


def run(session_redis, *jobs):
    workers = [Worker(session_redis, name, **arguments) for name, arguments in jobs]
    try:
        return race(workers)
    finally:
        for worker in workers:
            worker.end()


def test_no_update_is_lost(session_redis, live):
    """Eight processes set different entries of one session, and no entry is lost."""
    jobs = [
        ("write_entries", {"session_key": live.session_key, "name": f"p{number}", "times": WRITES})
        for number in range(PROCESSES)
    ]
    run(session_redis, *jobs)

    stored = dict(SessionStore(live.session_key).items())
    lost = PROCESSES * WRITES + 1 - len(stored)
    print(f"lost updates: {lost} of {PROCESSES * WRITES}")
    assert lost == 0
    assert stored.pop("color") == "red"
    assert stored == {f"p{p}-{n}": n for p in range(PROCESSES) for n in range(WRITES)}


def test_no_increment_is_lost(session_redis, live):
    """Increments of one entry by four processes add up."""
    job = ("increment_entry", {"session_key": live.session_key, "times": WRITES})
    run(session_redis, *[job] * 4)
    assert SessionStore(live.session_key)["counter"] == 4 * WRITES


def test_nothing_comes_back(session_redis, server, prefix, raw):
    """A session that is deleted while another process saves it never comes back."""
    sessions = [SessionStore() for _ in range(DELETIONS)]
    for number, session in enumerate(sessions):
        session["_auth_user_id"] = str(number % 7)
        session.create()
    arguments = {
        "session_keys": [session.session_key for session in sessions],
        "turns": f"turns-of-{prefix}",
        "url": server.url,
    }

    saver, deleter = run(
        session_redis, ("save_until_gone", arguments), ("delete_when_told", arguments)
    )

    raw.delete(arguments["turns"])
    left = keys_of(raw, prefix)
    print(f"came back: {len(left)} of {deleter}, after {saver['saved']} saves")
    assert left == []
    assert saver["refused"] == deleter == DELETIONS
    assert saver["saved"] >= DELETIONS


@pytest.mark.parametrize("user", [None, "7"])
def test_two_processes_cycle_one_session(session_redis, prefix, raw, user):
    """
    Each process gets a session of its own with the entries that it had loaded, and the old key no
    longer exists.
    """
    sessions = [SessionStore() for _ in range(CYCLES)]
    for session in sessions:
        session["color"] = "red"
        if user:
            session["_auth_user_id"] = user
        session.create()
    job = ("cycle", {"session_keys": [session.session_key for session in sessions]})

    first, second = run(session_redis, job, job)

    new_keys = {*first, *second}
    assert len(new_keys) == 2 * CYCLES
    assert all(SessionStore(key)["color"] == "red" for key in new_keys)
    assert all(SessionStore(key).get("_auth_user_id") == user for key in new_keys)
    assert not any(session.exists(session.session_key) for session in sessions)
    assert raw.zcard(f"{prefix}:index") == 2 * CYCLES
    if user:
        assert raw.zcard(f"{prefix}:user:{user}") == 2 * CYCLES
    # the sessions, the index of all, that of signed-in or anonymous sessions, and that of the user
    assert len(keys_of(raw, prefix)) == 2 * CYCLES + (3 if user else 2)


@pytest.mark.parametrize("index", [True, False])
def test_killed_writers_leave_no_key_without_ttl(settings, session_redis, prefix, raw, index):
    """Writers that are killed at random leave no key without a TTL, and no incomplete session."""
    settings.SESSION_REDIS = {**session_redis, "INDEX": index}
    chance = random.Random(prefix)
    workers = [Worker(settings.SESSION_REDIS, "churn", seed=seed) for seed in range(KILLS)]
    try:
        for worker in workers:
            worker.wait_ready()
        for worker in workers:
            worker.begin()
        for worker in workers:
            time.sleep(chance.uniform(0.02, 0.12))
            worker.process.kill()
    finally:
        for worker in workers:
            worker.end()

    keys = sorted(key.decode() for key in raw.scan_iter(f"{prefix}:*", count=10_000))
    sessions = [key for key in keys if key.count(":") == 1 and not key.endswith(":index")]
    print(f"keys without TTL: {sum(raw.pttl(key) == -1 for key in keys)} of {len(keys)}")
    assert sessions
    assert all(raw.pttl(key) != -1 for key in keys)
    assert all(
        raw.hexists(key, "@created") or is_marker(raw, key) for key in sessions if raw.exists(key)
    )
    assert any(key.endswith(":index") for key in keys) is index
