"""Where an entry cannot have a lifetime of its own, the call that asks for one says so."""

import asyncio
from datetime import timedelta

import pytest
from django.contrib.sessions.backends import db
from django.core.exceptions import ImproperlyConfigured

from sessions_redis import expiring, moving_out
from sessions_redis.engine import SessionStore
from tests.documents import rows, section, text_of
from tests.expiring import Hash, again, begun, lets_fields_expire, skip_if_too_old
from tests.rounds import Rounds
from tests.servers import Server
from tests.test_acl import LINE, allow

LONG = 3600


@pytest.fixture
def newer(server):
    skip_if_too_old(server)


@pytest.fixture
def older(tmp_path, server, settings):
    """A server on which fields cannot expire: that of the suite, or one without the commands."""
    names = ("HPEXPIRE", "HPTTL") if lets_fields_expire(server) else ()
    words = [word for name in names for word in ("--rename-command", name, "")]
    old = Server(tmp_path, *words)
    settings.SESSION_REDIS = {**settings.SESSION_REDIS, "LOCATION": old.url}
    yield old
    old.stop()


@pytest.fixture
def own(newer, tmp_path, settings):
    """A server with the documented user, as whom the site signs in."""
    server = Server(tmp_path)
    with server.client() as client:
        client.execute_command(*LINE.split())
    url = server.url.replace("redis://", "redis://sessions:password@")
    settings.SESSION_REDIS = {"LOCATION": url}
    yield server
    server.stop()


@pytest.fixture
def admin(own):
    with own.client() as client:
        yield client


ASKING = {
    "set": lambda session: session.set("color", "blue", expires_in=LONG),
    "aset": lambda session: asyncio.run(session.aset("color", "blue", expires_in=LONG)),
    "expire_entry": lambda session: session.expire_entry("color", LONG),
    "aexpire_entry": lambda session: asyncio.run(session.aexpire_entry("color", LONG)),
    "a scope": lambda session: session.scope("paint").set("color", "blue", expires_in=LONG),
}


@pytest.mark.parametrize("ask", ASKING.values(), ids=ASKING)
def test_a_server_that_is_too_old(older, ask):
    """The call raises, names the version, and changes nothing. Everything else works."""
    with older.client() as client:
        said = client.info("server")
    session = begun(color="red")
    with pytest.raises(ImproperlyConfigured) as caught:
        ask(session)
    assert "Redis 7.4 or later, or Valkey 9 or later" in str(caught.value)
    assert said.get("valkey_version", said["redis_version"]) in str(caught.value)
    assert dict(session.items()) == {"color": "red"}
    session.set("color", "green")
    session.cycle_key()
    session.increment("size")
    session.save()
    assert dict(again(session).items()) == {"color": "green", "size": 1}


def test_what_expired_elsewhere_is_still_readable(older):
    """If the names of such entries come from another server, their sessions can be looked at."""
    session = begun(color="red")
    with older.client() as client:
        stored = Hash(client, session)
        client.hset(stored.name, "@expiring", "5:color")
    assert again(session)["color"] == "red"
    found = session.inspect()
    assert (found.fields["color"], found.expiring) == ('"red"', {})


@pytest.mark.parametrize("command", ["hpexpire", "hpttl"])
def test_a_user_who_may_not(own, admin, command):
    """The documented user needs two more commands, as the docs say. The call names the others."""
    table = rows(section(text_of("docs/redis.md"), "## A restricted user"))
    (words,) = [added.strip("`").split() for what, added in table if "expire by" in what]
    session = begun(color="red")
    allow(admin, *words, f"-{command}")
    with pytest.raises(ImproperlyConfigured, match=f"run {command.upper()}.*docs/redis.md"):
        session.set("code", "1234", expires_in=LONG)
    allow(admin, *words)
    session.set("code", "1234", expires_in=LONG)
    session.save()
    session.cycle_key()
    session.increment("size")
    assert set(session.inspect().expiring) == {"code"}


def test_a_server_that_changes_before_the_save(own, admin):
    """If fields cannot expire any more, the save writes nothing and raises."""
    allow(admin, "+hpexpire", "+hpttl")
    session = begun(color="red")
    session.set("code", "1234", expires_in=LONG)
    session["color"] = "blue"
    allow(admin, "-hpexpire")
    for write in (session.save, session.cycle_key, session.create):
        with pytest.raises(ImproperlyConfigured, match="run HPEXPIRE"):
            write()
    assert dict(again(session).items()) == {"color": "red"}
    with pytest.raises(ImproperlyConfigured, match="run HPEXPIRE"):
        again(session).expire_entry("color", LONG)
    allow(admin, "+hpexpire")
    session.save()
    assert Hash(admin, session).left("code") > 0


@pytest.mark.parametrize("key", [1, None, b"code"])
def test_keys(key):
    """The key of such an entry is a string."""
    session = begun(color="red")
    with pytest.raises(TypeError, match="is a string"):
        session.set(key, "1234", expires_in=LONG)


@pytest.mark.parametrize("lifetime", ["5", True, b"5", [5]])
def test_no_numbers(lifetime):
    """A lifetime is a number, or a ``timedelta``."""
    session = begun(color="red")
    for ask in (lambda: session.set("color", 1, expires_in=lifetime),
                lambda: session.expire_entry("color", lifetime)):  # fmt: skip
        with pytest.raises(TypeError, match="a number of seconds"):
            ask()
    assert session["color"] == "red"


@pytest.mark.parametrize("lifetime", [0, -1, float("nan"), float("inf"), timedelta(seconds=-1)])
def test_no_time(lifetime):
    """A lifetime is above zero and finite."""
    session = begun(color="red")
    with pytest.raises(ValueError, match="above 0"):
        session.set("color", 1, expires_in=lifetime)
    assert session["color"] == "red"


@pytest.mark.parametrize("lifetime", [1e300, 10**30, timedelta.max])
def test_a_long_time(newer, raw, lifetime):
    """A very long lifetime is one that the server can count."""
    session = begun(color="red")
    session.set("color", 1, expires_in=lifetime)
    session.save()
    assert Hash(raw, session).left("color") > 0


def test_round_trips(newer, server, monkeypatch):
    """The first call in a process asks the server. After that, none takes a round trip."""
    expiring._capable.clear()
    known = begun(color="red")
    known.set("code", 1, expires_in=LONG)
    known.save()
    known.inspect()  # by now, the server knows the scripts
    expiring._capable.clear()
    session = begun(color="red")
    trips = Rounds([server.port], monkeypatch)
    ask = ASKING["set"]
    assert trips.counted(ask, session) == 1
    assert trips.counted(ask, session) == 0
    assert trips.counted(session.expire_entry, "color", LONG) == 0
    assert trips.counted(session.save) == 1
    assert trips.counted(session.inspect) == 3
    session["color"] = "green"
    session.save()
    assert trips.counted(session.inspect) == 1


# Engines in which nothing expires


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("ask", ASKING.values(), ids=ASKING)
def test_shared_sessions(settings, ask):
    """While the former engine serves the same sessions, nothing gets a lifetime."""
    settings.SESSION_REDIS = {
        **settings.SESSION_REDIS, "FORMER_ENGINE": db.__name__, "FORMER_ENGINE_SHARED": True,
    }  # fmt: skip
    session = begun(color="red")
    with pytest.raises(ImproperlyConfigured, match="FORMER_ENGINE_SHARED"):
        ask(session)
    session.set("color", "blue")
    session.save()
    assert dict(db.SessionStore(session.session_key).load()) == {"color": "blue"}


@pytest.mark.django_db(transaction=True)
def test_sessions_that_are_shared_from_now_on(newer, settings, raw):
    """Entries that expire are never copied to the former engine."""
    session = begun(color="red")
    session.set("code", "1234", expires_in=LONG)
    session.save()
    settings.SESSION_REDIS = {
        **settings.SESSION_REDIS, "FORMER_ENGINE": db.__name__, "FORMER_ENGINE_SHARED": True,
    }  # fmt: skip
    other = again(session)
    other["size"] = 1
    other.save()
    assert dict(db.SessionStore(session.session_key).load()) == {"color": "red", "size": 1}
    other.create()
    assert dict(db.SessionStore(other.session_key).load()) == {"color": "red", "size": 1}


@pytest.mark.django_db(transaction=True)
def test_sessions_that_move_in(newer, settings, raw):
    """A session that has moved in can have such entries."""
    former = db.SessionStore()
    former["color"] = "red"
    former.create()
    settings.SESSION_REDIS = {**settings.SESSION_REDIS, "FORMER_ENGINE": db.__name__}
    session = SessionStore(former.session_key)
    session.expire_entry("color", LONG)
    session.save()
    assert Hash(raw, session).left("color") > 0


@pytest.mark.django_db(transaction=True)
def test_sessions_that_move_out(newer, settings):
    """Such entries do not move out, because they would never expire there."""
    session = begun(color="red")
    session.set("code", "1234", expires_in=LONG)
    session.save()
    settings.SESSION_REDIS = {**settings.SESSION_REDIS, "NEXT_ENGINE": db.__name__}
    settings.SESSION_ENGINE = moving_out.__name__
    moved = moving_out.SessionStore(session.session_key)
    assert dict(moved.items()) == {"color": "red"}


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("ask", ASKING.values(), ids=ASKING)
def test_in_the_next_engine(settings, ask):
    """While sessions move out, no entry gets a lifetime."""
    settings.SESSION_REDIS = {**settings.SESSION_REDIS, "NEXT_ENGINE": db.__name__}
    settings.SESSION_ENGINE = moving_out.__name__
    session = moving_out.SessionStore()
    session.set("color", "red")
    asyncio.run(session.aset("size", 1))
    session.save()
    with pytest.raises(ImproperlyConfigured, match="move out of Redis"):
        ask(session)
    assert dict(moving_out.SessionStore(session.session_key).items()) == {"color": "red", "size": 1}
