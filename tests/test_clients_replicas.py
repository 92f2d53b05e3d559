"""``WAIT_REPLICAS``: creating and ending sessions, and signing in, waits until replicas have it."""

import asyncio
import logging
import signal

import pytest

from sessions_redis import registry
from sessions_redis.clients import replicas
from sessions_redis.clients.replicas import wait_after
from sessions_redis.conf import Conf
from sessions_redis.engine import SessionStore
from sessions_redis.exceptions import SessionStoreUnavailable
from sessions_redis.storage import commands
from sessions_redis.storage.commands import session_id
from tests.proxy import Proxy
from tests.servers import Server, wait_until

LOGGER = "sessions_redis"


@pytest.fixture(scope="module")
def master(tmp_path_factory):
    server = Server(tmp_path_factory.mktemp("master"), "--repl-diskless-sync-delay", "0")
    yield server
    server.stop()


@pytest.fixture(scope="module")
def running_replica(tmp_path_factory, master):
    folder = tmp_path_factory.mktemp("replica")
    replica = Server(folder, "--replicaof", "127.0.0.1", str(master.port))
    with replica.client() as client:
        wait_until(lambda: client.info()["master_link_status"] == "up", "the replica follows")
    yield replica
    replica.stop()


@pytest.fixture
def site(settings, master, running_replica, prefix):
    """A site whose master has one replica, for which it waits."""
    settings.SESSION_REDIS = {"LOCATION": master.url, "KEY_PREFIX": prefix, "WAIT_REPLICAS": 1}
    return settings.SESSION_REDIS


@pytest.fixture
def stopped_replica(running_replica, monkeypatch):
    """The replica confirms nothing, and the engine does not wait for it for long."""
    monkeypatch.setattr(replicas, "PART", 0.01)
    running_replica.process.send_signal(signal.SIGSTOP)
    yield running_replica
    running_replica.process.send_signal(signal.SIGCONT)


@pytest.fixture
def warnings(caplog):
    """The warnings so far. Each call empties the list."""

    def taken():
        texts = [record.getMessage() for record in caplog.records if record.name == LOGGER]
        caplog.clear()
        return texts

    with caplog.at_level(logging.WARNING, LOGGER):
        yield taken


def signed_in():
    session = SessionStore()
    session["_auth_user_id"] = "1"
    session.create()
    return session


def sign_out(session):
    del session["_auth_user_id"]
    session.save()


def change_user(session):
    session["_auth_user_id"] = "2"
    session.save()


def expire(session):
    session.set_expiry(-1)
    session.save()


def cycle_too_late(session):
    """Cycle a session that another request has cycled a moment ago."""
    other = SessionStore(session.session_key)
    assert other["_auth_user_id"] == "1"
    session.cycle_key()
    other.cycle_key()


def id_of(session):
    return session_id(session.session_key)


# What waits, and how often.
WAITS = {
    "create": (lambda session: SessionStore().create(), 1),
    "save without a key": (lambda session: SessionStore().save(), 1),
    "change the user": (change_user, 1),
    "sign out": (sign_out, 1),
    "cycle": (lambda session: session.cycle_key(), 1),
    "cycle at the same time": (cycle_too_late, 3),
    "delete": (lambda session: session.delete(), 1),
    "flush": (lambda session: session.flush(), 1),
    "expire": (expire, 1),
    "end": (lambda session: registry.end(id_of(session)), 1),
    "end many": (lambda session: registry.end_many([id_of(session)]), 1),
    "end all": (lambda session: registry.end_all_of("1"), 1),
}
ASYNC_WAITS = {
    "create": lambda session: SessionStore().acreate(),
    "cycle": lambda session: session.acycle_key(),
    "delete": lambda session: session.adelete(),
    "end": lambda session: registry.aend(id_of(session)),
    "end many": lambda session: registry.aend_many([id_of(session)]),
    "end all": lambda session: registry.aend_all_of("1"),
}


@pytest.mark.parametrize("name", WAITS)
def test_what_waits(site, stopped_replica, warnings, name):
    """It stands though no replica confirms it, and a warning says so."""
    session = signed_in()
    warnings()
    operation, times = WAITS[name]
    operation(session)
    said = warnings()
    assert len(said) == times
    assert all("Only 0 of 1 replicas" in line for line in said)
    assert all("within 0.05 seconds (WAIT_REPLICAS)" in line for line in said)


@pytest.mark.parametrize("name", ASYNC_WAITS)
def test_what_waits_asynchronously(site, stopped_replica, warnings, name):
    session = signed_in()
    warnings()
    asyncio.run(ASYNC_WAITS[name](session))
    (said,) = warnings()
    assert "Only 0 of 1 replicas" in said


def test_ordinary_requests_do_not_wait(site, stopped_replica, warnings):
    """A request that reads a session, or saves entries of it, does not wait for replicas."""
    session = signed_in()
    warnings()
    other = SessionStore(session.session_key)
    other["color"] = "red"
    other.save()
    assert other.exists(other.session_key)
    other.increment("count")
    other.note_metadata()
    assert SessionStore(session.session_key)["color"] == "red"
    assert registry.count() == 1
    assert warnings() == []


def test_other_tasks_do_not_wait(site, stopped_replica, warnings):
    """A task that signs in waits alone, even if tasks that only read run at the same moment."""
    session = signed_in()
    warnings()

    async def read():
        return await SessionStore(session.session_key).aget("_auth_user_id")

    async def both():
        return await asyncio.gather(*(read() for _ in range(20)), SessionStore().acreate())

    assert asyncio.run(both()) == ["1"] * 20 + [None]
    assert len(warnings()) == 1


def test_confirmed(site, running_replica, warnings):
    """Once a session is created or ended, the replica has it."""
    with running_replica.client() as replica:
        session = signed_in()
        key = f"{site['KEY_PREFIX']}:{id_of(session)}"
        assert replica.hget(key, "@user") == b"1"
        assert registry.end_all_of("1") == 1
        assert not replica.exists(key)
    assert warnings() == []


def test_too_few_replicas(settings, site, running_replica, monkeypatch, warnings):
    """The warning says how many replicas confirmed, and how many should have."""
    monkeypatch.setattr(replicas, "PART", 0.01)
    settings.SESSION_REDIS = {**site, "WAIT_REPLICAS": 2}
    session = signed_in()
    (said,) = warnings()
    assert " of 2 replicas of Redis at " in said
    assert SessionStore(session.session_key)["_auth_user_id"] == "1"


@pytest.mark.parametrize("script_is_known", [True, False])
def test_no_further_round_trip(settings, site, master, warnings, script_is_known):
    """The engine does not ask for the replicas by itself. It asks behind the write."""
    with Proxy(master.port) as proxy:
        settings.SESSION_REDIS = {**site, "LOCATION": proxy.url}
        signed_in()
        if not script_is_known:
            with master.client() as client:
                client.script_flush()
        assert proxy.counted(signed_in) == (1 if script_is_known else 2)
    assert warnings() == []


@pytest.mark.parametrize("allowed", ["-wait", "-@all +hget +hmget +hset +evalsha +eval +time"])
def test_refused(settings, site, master, warnings, allowed):
    """A server that refuses to wait keeps the session. A refused write is not said to stand."""
    with master.client() as client:
        client.execute_command(
            "ACL", "SETUSER", "site", "on", ">secret", "~*", "&*", "+@all", *allowed.split()
        )
    options = {"username": "site", "password": "secret"}
    settings.SESSION_REDIS = {**site, "OPTIONS": options}
    if allowed == "-wait":
        session = signed_in()
        (said,) = warnings()
        assert "refused to wait for replicas (WAIT_REPLICAS)" in said
        assert "+wait" in said
        assert "User site" not in said  # the name of the Redis user
        assert SessionStore(session.session_key)["_auth_user_id"] == "1"
    else:
        with pytest.raises(SessionStoreUnavailable):
            signed_in()
        assert warnings() == []


@pytest.mark.parametrize("location", ["memory://", "embedded:///run/any"])
def test_servers_without_replicas(location):
    """The servers of development and tests have no replicas, so nothing waits for any."""
    delete = commands.delete(Conf(location).keyspace, "0" * 32)
    assert wait_after([delete], Conf(location, wait_replicas=1), None) is None


def test_no_limit(settings, site, running_replica, warnings):
    """If the site waits for replies forever, it still does not wait for replicas forever."""
    settings.SESSION_REDIS = {**site, "OPTIONS": {"socket_timeout": None}}
    signed_in()
    assert warnings() == []
