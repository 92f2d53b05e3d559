"""Sessions found by the first digits of their ids, on a real server and in memory."""

import asyncio

import pytest
from django.core.exceptions import ImproperlyConfigured

from sessions_redis import conf, registry
from sessions_redis.clients import run_all
from sessions_redis.engine import SessionStore
from sessions_redis.registry import Started
from sessions_redis.storage import commands
from sessions_redis.storage.changes import Changes
from sessions_redis.storage.commands import session_id
from tests.proxy import Proxy
from tests.test_registry import commands_of


@pytest.fixture(params=["plain", "async"])
def starting_with(request):
    """The function, or its twin in a loop of its own."""
    if request.param == "plain":
        return registry.starting_with
    return lambda digits: asyncio.run(registry.astarting_with(digits))


def many(number):
    """The ids of as many new sessions."""
    keyspace = conf.current().keyspace
    ids = [session_id(f"session {n}") for n in range(number)]
    for at in range(0, number, 500):
        part = ids[at : at + 500]
        run_all([commands.create(keyspace, id, 1000, Changes({b"n": b"1"})) for id in part])
    return ids


def ids(started):
    return [session.id for session in started.sessions]


@pytest.mark.parametrize("location", ["server", "memory://"])
def test_finding(settings, session_redis, starting_with, location):
    """6 or more of the first digits find the session, among few and among many."""
    if location != "server":
        settings.SESSION_REDIS = {**session_redis, "LOCATION": location}
    for number in (1, 1500):
        id = many(number)[-1]
        for digits in (id[:6], id[:8], id[:31], id):
            assert (ids(started := starting_with(digits)), started.is_complete) == ([id], True)
        other = "0" if id[7] != "0" else "1"
        assert starting_with(id[:7] + other) == Started(())


def test_what_is_not_looked_for(raw, starting_with):
    """Other characters, and patterns find nothing, and ask nobody."""
    (id,) = many(1)
    for digits in (
        "xyz",
        id[:4] + "G",
        id[:5] + "\n",
        id.upper()[:8] + "G",
        "******",
        f"{id[:6]}*",
        f"{id[:5]}?",
        id + "0",
    ):
        assert commands_of(raw, lambda digits=digits: starting_with(digits)) == {}
        assert starting_with(digits) == Started(())


def test_too_few(raw, starting_with):
    """Fewer digits are refused, and nobody is asked: "none" would be untrue."""
    (id,) = many(1)
    for digits in ("", "0", id[:4], id[:5]):

        def refused(digits=digits):
            with pytest.raises(ValueError, match=f"start with '{digits}'.*Pass 6 or more"):
                starting_with(digits)

        assert commands_of(raw, refused) == {}


def test_several(raw, prefix, starting_with):
    """All that start so are found; what is gone, or is not an id, is left out."""
    (id,) = many(1)
    keyspace = conf.current().keyspace
    twin, gone = id[:8] + "0" * 24, id[:8] + "1" * 24
    run_all([commands.create(keyspace, twin, 1000, Changes({b"n": b"1"}))])
    raw.zadd(f"{prefix}:index", {gone: 2e9, f"{id[:8]} junk": 2e9, id[:8].encode() + b"\xff": 2e9})
    assert set(ids(starting_with(id[:8]))) == {id, twin}


def test_anonymous_and_signed_in(starting_with):
    """Whoever they are of."""
    session = SessionStore()
    session["_auth_user_id"] = "17"
    session.save()
    id = session_id(session.session_key)
    (found,) = starting_with(id[:6]).sessions
    assert found.user_pk == "17"


def test_it_looks_at_a_bounded_number(settings, session_redis, server, monkeypatch):
    """About a thousand in each round trip, and no more in all than it says."""
    many(4500)
    wanted = "abcdef"
    with Proxy(server.port) as proxy:
        settings.SESSION_REDIS = {**session_redis, "LOCATION": proxy.url}
        registry.starting_with(wanted)
        steps = proxy.counted(registry.starting_with, wanted)
        assert 4 <= steps <= 9
        assert registry.starting_with(wanted).is_complete
        monkeypatch.setattr("sessions_redis.registry.finding.SEARCHED", 2000)
        assert proxy.counted(registry.starting_with, wanted) == 2
        assert not registry.starting_with(wanted).is_complete


def test_no_step_holds_the_server_up(raw):
    """Promise 13: however many sessions there are, a command looks at about a thousand."""
    many(4500)
    sent = commands_of(raw, lambda: registry.starting_with("abcdef"))
    assert sent.keys() == {"zscan"}
    assert sent["zscan"] >= 4


def test_without_indexes(settings, session_redis, starting_with):
    """It says which setting is off."""
    settings.SESSION_REDIS = {**session_redis, "INDEX": False}
    with pytest.raises(ImproperlyConfigured, match="INDEX"):
        starting_with("abcdef")
