"""Sentinels that accept connections and say nothing: requests do not wait for them again."""

import os
import signal
import threading

import pytest

from sessions_redis.clients import leases, pools
from sessions_redis.clients.circuit import THREAD_NAME
from sessions_redis.clients.sentinels import SentinelCircuits
from sessions_redis.exceptions import SessionStoreUnavailable
from sessions_redis.storage import commands
from sessions_redis.storage.keyspaces import Keyspace
from tests.replicated import Replicated
from tests.servers import wait_until

LIMITS = {"socket_timeout": 0.7, "socket_connect_timeout": 0.7}


@pytest.fixture(scope="module")
def replicated(tmp_path_factory):
    """A master and three Sentinels."""
    servers = Replicated(tmp_path_factory.mktemp("hanging"), replicas=0)
    yield servers
    servers.stop()


@pytest.fixture
def send(replicated):
    """Sends a signal to Sentinels. All go on at the end of the test."""

    def send(number, *sentinels):
        for sentinel in sentinels:
            os.kill(sentinel.process.pid, number)

    yield send
    send(signal.SIGCONT, *replicated.sentinels)


@pytest.fixture
def exists(execute, settings, session_redis, replicated, prefix, monkeypatch):
    """Runs a command on a new connection. Returns the answer, or the text of the error."""
    monkeypatch.setattr(leases, "KEEP_SECONDS", 0)
    settings.SESSION_REDIS = {**session_redis, "LOCATION": replicated.url, "OPTIONS": LIMITS}

    def exists():
        with replicated.servers[0].client() as client:
            client.execute_command("CLIENT", "KILL", "TYPE", "normal")
        try:
            return execute(commands.exists(Keyspace(prefix), "a"))
        except SessionStoreUnavailable as error:
            return str(error)

    return exists


def asking_threads():
    return [one for one in threading.enumerate() if one.name == THREAD_NAME]


def test_all_sentinels_hang(exists, settings, send, replicated):
    """
    The first requests wait for them. Later ones fail at once, until a Sentinel answers a thread.
    """
    assert exists() is False
    send(signal.SIGSTOP, *replicated.sentinels)
    assert "does not answer" in exists()
    # The time that is given here comes from the circuit: no Sentinel was asked again.
    for _ in range(20):
        assert exists().count("has not answered for") == 3
    send(signal.SIGCONT, *replicated.sentinels)
    wait_until(lambda: exists() is False, "the Sentinels answer again")
    wait_until(lambda: not asking_threads(), "the threads have ended")


def test_one_sentinel_hangs(exists, send, replicated):
    """The others are asked. The threads that ask end with the pools."""
    assert exists() is False
    send(signal.SIGSTOP, *replicated.sentinels[:2])
    for _ in range(5):
        wait_until(lambda: exists() is False, "the other Sentinel answers")
    pools.current().close()
    assert not asking_threads()


def test_without_pools():
    """Closing asks nobody."""
    SentinelCircuits().close()
