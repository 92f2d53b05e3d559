"""Failovers of Sentinel while sites write, in real processes."""

import asyncio

import pytest

from sessions_redis import registry
from sessions_redis.clients import subscriptions
from sessions_redis.engine import SessionStore
from sessions_redis.storage.commands import session_id
from tests.hearing import Hearing
from tests.replicated import SERVICE, Replicated
from tests.servers import wait_until
from tests.workers import Worker

pytestmark = pytest.mark.topology

WORKERS = {"sync": "write_through_failover", "async": "awrite_through_failover"}


@pytest.fixture
def replicated(tmp_path):
    servers = Replicated(tmp_path)
    yield servers
    servers.stop()


@pytest.fixture
def signed_in(settings, session_redis, replicated):
    """A signed-in session for each worker. The replicas have them."""
    settings.SESSION_REDIS = {**session_redis, "LOCATION": replicated.url, "EVENTS": True}
    sessions = {}
    for user, name in enumerate(WORKERS):
        session = sessions[name] = SessionStore()
        session["_auth_user_id"] = str(user)
        session.create()
    with replicated.master.client() as client:
        assert client.wait(2, 20_000) == 2
    return sessions


def kill_master(replicated):
    for sentinel in replicated.sentinels:
        sentinel.ask("SET", SERVICE, "down-after-milliseconds", "1000")
    former = replicated.master
    former.process.kill()
    former.process.wait()
    replicated.wait_for_failover(former)


def lost(acknowledged, session):
    stored = {int(name.partition("-")[2]) for name in session.keys() if name.startswith("write-")}  # noqa: SIM118
    return [number for number in acknowledged if number not in stored]


@pytest.mark.parametrize("fail_over", [Replicated.fail_over, kill_master], ids=["command", "kill"])
def test_a_failover(settings, replicated, signed_in, tmp_path, monkeypatch, fail_over):
    """
    Sites go on without a restart, and nobody is signed out.

    Redis can lose acknowledged writes of the last moment before the failover. But once a process
    has reached the new master, nothing of it is lost. A process that listens hears of ended
    sessions again.
    """
    workers = {
        name: Worker(
            settings.SESSION_REDIS,
            WORKERS[name],
            session_key=session.session_key,
            folder=str(tmp_path),
            name=name,
        )
        for name, session in signed_in.items()
    }
    try:
        for worker in workers.values():
            worker.wait_ready()
        for worker in workers.values():
            worker.begin()
        for name in workers:
            wait_until((tmp_path / f"{name}-begun").exists, "the worker writes", 60)
        monkeypatch.setattr(subscriptions, "SILENCE", 0.1)
        with Hearing() as hearing:
            fail_over(replicated)
            hearing.wait_for_beginning(2)
            hearing.wait_until_it_hears()
        (tmp_path / "over").touch()
        results = {name: worker.result() for name, worker in workers.items()}
    finally:
        for worker in workers.values():
            worker.end()

    for user, (name, session) in enumerate(signed_in.items()):
        acknowledged = results[name]["acknowledged"]
        again = SessionStore(session.session_key)
        assert again["_auth_user_id"] == str(user)
        missing = lost(acknowledged, again)
        failed = results[name]["failed"]
        print(f"{name}: lost {len(missing)} of {len(acknowledged)} writes, {failed} were refused")
        # They follow one another: no later write went to the former master.
        first = acknowledged.index(missing[0]) if missing else 0
        assert acknowledged[first : first + len(missing)] == missing
        assert [one.id for one in registry.of_user(user)] == [session_id(session.session_key)]
        # This process used Redis before the failover, and not during it.
        again["color"] = "red"
        again.save()
        assert asyncio.run(SessionStore(session.session_key).aget("color")) == "red"
