import asyncio
import socket
import uuid

import hypothesis
import pytest
from django.core import signals
from django.core.cache import close_caches
from django_valkey.base import close_async_caches

from sessions_redis import clients
from sessions_redis.clients import connections, pools
from sessions_redis.engine import SessionStore
from sessions_redis.registry import LiveSession
from sessions_redis.signals import session_ended
from tests.distributions import Distributions
from tests.held import CountingSerializer, Held
from tests.servers import Server

# The same examples in every run, however slow the machine is. More are for a developer to look for.
hypothesis.settings.register_profile("suite", derandomize=True, deadline=None)
hypothesis.settings.load_profile("suite")


@pytest.fixture(scope="session")
def server(tmp_path_factory):
    """The server that the whole suite shares. Tests that stop a server start their own."""
    server = Server(tmp_path_factory.mktemp("server"))
    yield server
    server.stop()


@pytest.fixture(scope="session")
def distributions(tmp_path_factory):
    """The wheel and the sdist, built of this checkout."""
    return Distributions(tmp_path_factory.mktemp("source"))


@pytest.fixture(scope="session", autouse=True)
def caches_are_closed_as_by_django():
    """
    Once it is imported, django-valkey closes caches by a coroutine at the end of each request.

    Django cannot run that in a thread whose event loop is running, as that of Playwright.
    """
    signals.request_finished.disconnect(close_async_caches)
    signals.request_finished.connect(close_caches)


@pytest.fixture
def prefix():
    return f"test-{uuid.uuid4().hex[:12]}"


# ARGV: a pattern. Deletes the keys that match, and returns those of them that had no TTL.
DELETE_ALL = """
local without_ttl = {}
for _, key in ipairs(redis.call("KEYS", ARGV[1])) do
    if redis.call("PTTL", key) == -1 then
        table.insert(without_ttl, key)
    end
    redis.call("UNLINK", key)
end
return without_ttl
"""


@pytest.fixture(scope="session")
def delete_all(server):
    """Deletes all that is under a prefix, and returns what had no TTL there."""
    with server.client() as client:
        script = client.register_script(DELETE_ALL)
        yield lambda prefix: script(args=[f"{prefix}:*"])


@pytest.fixture(autouse=True)
def timeouts_of_a_site(monkeypatch):
    """
    The timeouts that a site has by default.

    Tests have longer ones, because the machine that runs them may be busy. For the same reason no
    connection is idle for so long that it is checked.
    """
    defaults = dict(pools.TIMEOUTS)
    for name in defaults:
        monkeypatch.setitem(pools.TIMEOUTS, name, 5.0)
    monkeypatch.setattr(connections, "IDLE_SECONDS", 300.0)
    return defaults


@pytest.fixture(autouse=True)
def session_redis(settings, server, prefix, delete_all):
    """``SESSION_REDIS`` on the shared server under a prefix of the test's own."""
    settings.SESSION_REDIS = {"LOCATION": server.url, "KEY_PREFIX": prefix}
    yield settings.SESSION_REDIS
    # Promise 3, after every test that did not leave something there itself.
    assert delete_all(prefix) == []


@pytest.fixture
def redis_at(settings, session_redis):
    """Sets the location of Redis, with options for redis-py."""

    def change(location, **options):
        settings.SESSION_REDIS = {**session_redis, "LOCATION": location, "OPTIONS": options}

    return change


@pytest.fixture(params=["sync", "async"])
def execute(request):
    """Runs commands: all commands of a test in the process, or all in one event loop."""
    if request.param == "sync":
        yield clients.run
    else:
        with asyncio.Runner() as runner:
            yield lambda command: runner.run(clients.arun(command))


@pytest.fixture(params=["sync", "async"])
def run_all(request):
    """Runs a list of commands together, as threads and as tasks do."""
    if request.param == "sync":
        return clients.run_all
    return lambda commands: asyncio.run(clients.arun_all(commands))


@pytest.fixture
def silent():
    """The port of a program that accepts connections and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield listening.getsockname()[1]


@pytest.fixture
def raw(server):
    """A client that reads Redis directly, not through the engine."""
    with server.client() as client:
        yield client


@pytest.fixture
def contents(raw, prefix):
    """All keys under the prefix, with content and expiry, to compare before and after."""

    def dump():
        keys = sorted(raw.scan_iter(f"{prefix}:*", count=1000))
        return {key: (raw.dump(key), raw.pexpiretime(key)) for key in keys}

    return dump


@pytest.fixture
def live():
    """A saved session with one entry."""
    session = SessionStore()
    session["color"] = "red"
    session.save()
    return session


@pytest.fixture
def ended():
    """The signals that were sent, as (session ID, user, reason)."""
    received = []

    def receive(*, sender, session_id, user_pk, reason, **kwargs):
        assert sender is LiveSession
        received.append((session_id, user_pk, reason))

    session_ended.connect(receive)
    yield received
    session_ended.disconnect(receive)


# Entries, for tests that need no server


@pytest.fixture
def serializer():
    return CountingSerializer()


@pytest.fixture
def damaged():
    """The names of the fields that were reported as damaged."""
    return []


@pytest.fixture
def entries_of(serializer, damaged):
    """The entries in a hash with these fields."""
    return lambda stored: Held(serializer, stored, on_damaged=damaged.append)


@pytest.fixture
def fresh(serializer, damaged):
    """Entries that replace everything in the session, as after ``clear()``."""
    return Held(serializer, replaces=True, on_damaged=damaged.append)
