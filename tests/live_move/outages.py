"""One of the two stores is away, or asked for sessions that nobody has."""

import socket
import sqlite3
import uuid
from contextlib import closing, contextmanager

import pytest

from tests.servers import free_port

FINE, AWAY = [200, "red", []], [503, "", []]
DJANGOS = {"MIDDLEWARE": ["django.contrib.sessions.middleware.SessionMiddleware"]}


@contextmanager
def silent():
    """A port at which something listens and never answers."""
    with closing(socket.create_server(("127.0.0.1", 0), backlog=100)) as listener:
        yield listener.getsockname()[1]


@contextmanager
def nothing():
    """A port at which nothing listens."""
    yield free_port()


def away(site, port):
    """Settings with which the former store is away."""
    cache = {**site.movers.settings["CACHES"]["default"], "LOCATION": f"redis://127.0.0.1:{port}"}
    database = {**site.movers.settings["DATABASES"]["default"], "NAME": "/dev/null/database"}
    cache["OPTIONS"] = {"socket_timeout": 0.2, "socket_connect_timeout": 0.2}
    return {
        "CACHES": {"default": cache},
        "DATABASES": {"default": database},
        "SESSION_FILE_PATH": "/proc/self/nothing",
    }


@pytest.mark.parametrize("port", [silent, nothing])
@pytest.mark.parametrize("native", [False, True], ids=["sync", "async"])
def test_the_former_store_is_away(site, port, native):
    """
    A visitor whose session is there gets 503 and keeps the cookie. Others notice nothing.
    """
    there, here = site.do("begin", 2, user="7")
    site.do("read", here)
    with port() as number:
        answers = site.do("visit", there, here, here, native=native, site=away(site, number))
    assert answers == [AWAY, FINE, FINE]
    assert site.do("visit", there, native=native) == [FINE]


def test_with_djangos_middleware(site):
    """The answer is a 500, as for any other exception, and the visitor keeps the cookie."""
    there = site.one()
    with nothing() as number:
        answers = site.do("visit", there, site={**DJANGOS, **away(site, number)})
    assert answers == [[500, "", []]]
    assert site.do("visit", there, site=DJANGOS) == [FINE]


def test_it_goes_away_before_the_copy_is_deleted(site):
    """
    The session lives here. Once per process, a request tries to delete the copy, which never comes
    back, even if the session was ended meanwhile.
    """
    for ending in ("log_out", "live_only", "read"):
        key = site.one()
        events = site.events("read", site.one())
        assert not site.begin("read", key, at=events.index("before former delete")).is_finished
        with silent() as number:
            elsewhere = away(site, number)
            assert site.do("visit", key, key, key, site=elsewhere) == [FINE] * 3
            arguments = [1] if ending == "live_only" else []
            site.do(ending, key, *arguments, site=elsewhere)
        if ending == "live_only":
            site.wait_gone(key)
        assert site.moved_lasts(key) > 1000
        assert (site.do("read", key) is not None) == (ending == "read")
        assert site.do("former_copy", key) is None


def test_former_deletions_pause(site):
    """After one that failed, requests of the same process do not try again for a while."""
    keys = site.do("begin", 3, user="7")
    at = site.events("read", site.one()).index("before former delete")
    for key in keys:
        assert not site.begin("read", key, at=at).is_finished
    with nothing() as number:
        events = site.events("visit", *keys, site=away(site, number))
    assert events.count("before former delete") <= 1


def test_the_database_is_locked(site):
    """A session moves in while another process writes, and its copy is deleted later."""
    if not site.former.endswith("db"):
        pytest.skip("this former engine has no database")
    key = site.one()
    database = site.movers.settings["DATABASES"]["default"]
    hasty = {"DATABASES": {"default": {**database, "OPTIONS": {"timeout": 0.1}}}}
    with closing(sqlite3.connect(database["NAME"], isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        assert site.do("visit", key, site=hasty) == [FINE]
        assert b"@copied" in site.fields(key)
        other.execute("ROLLBACK")
    assert site.do("visit", key) == [FINE]
    assert site.copies(key) == 1


@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("native", [False, True], ids=["sync", "async"])
def test_redis_is_away(site, shared, native):
    """The answer is 503, and nothing is read from the former store."""
    key = site.one()
    gone = {"LOCATION": f"redis://127.0.0.1:{free_port()}", "FORMER_ENGINE_SHARED": shared}
    outcome = site.begin("visit", key, settings=gone, native=native).outcome()
    assert outcome["value"] == [AWAY]
    assert not [event for event in outcome["events"] if "former" in event]
    assert site.do("visit", key, native=native) == [FINE]


def test_an_unknown_key_again_and_again(site):
    """It costs the former store one look-up in each process, and is never adopted."""
    key = uuid.uuid4().hex
    events = site.events("unknown", *[key] * 1000)
    assert events.count("before former load") == 1
    assert not site.fields(key)
    assert site.do("visit", key)[0][:2] == [200, "nothing"]


def test_many_unknown_keys(site):
    """Each costs one look-up, and leaves nothing in Redis."""
    before = len(site.redis_keys())
    events = site.events("unknown", *[uuid.uuid4().hex for _ in range(200)])
    assert events.count("before former load") == 200
    assert len(events) == 200 * 6  # two round trips to Redis beside it
    assert len(site.redis_keys()) == before
