"""Tests what the session middleware saves about a request, under WSGI and ASGI."""

import asyncio
import copy
import pickle

import pytest
from django.contrib.sessions.backends.signed_cookies import SessionStore as CookieStore
from django.contrib.sessions.exceptions import SessionInterrupted
from django.http import HttpResponse
from django.test import AsyncRequestFactory, RequestFactory

from sessions_redis import engine, registry
from sessions_redis.clock import ServerClock
from sessions_redis.engine import SessionStore
from sessions_redis.middleware import SessionMiddleware
from sessions_redis.storage.commands import session_id
from tests.listed import expect_listed
from tests.servers import Server

HERE = {"REMOTE_ADDR": "198.51.100.7", "HTTP_USER_AGENT": "Firefox"}
THERE = {"REMOTE_ADDR": "203.0.113.5", "HTTP_USER_AGENT": "Safari"}


def read(session):
    session.get("color")


def write(session):
    session["color"] = "blue"


def touch_nothing(session):
    pass


@pytest.fixture(params=["WSGI", "ASGI"])
def visit(request, settings):
    """``visit(session_key, do, meta, status)`` sends a request whose view calls ``do``."""

    def prepared(factory, session_key, meta):
        request = factory.get("/")
        request.META.pop("HTTP_USER_AGENT", None)
        request.META.update(meta)
        if session_key:
            request.COOKIES[settings.SESSION_COOKIE_NAME] = session_key
        return request

    def under_wsgi(session_key, do, meta=HERE, status=200):
        def view(request):
            do(request.session)
            return HttpResponse(status=status)

        return SessionMiddleware(view)(prepared(RequestFactory(), session_key, meta))

    def under_asgi(session_key, do, meta=HERE, status=200):
        async def view(request):
            await request.session.aget("loads it") if do is not touch_nothing else None
            do(request.session)
            return HttpResponse(status=status)

        request = prepared(AsyncRequestFactory(), session_key, meta)
        return asyncio.run(SessionMiddleware(view)(request))

    return under_wsgi if request.param == "WSGI" else under_asgi


@pytest.fixture
def saved(visit):
    """The key of a session that began with a visit from HERE."""
    return visit(None, write).cookies["sessionid"].value


def known(session_key):
    live = registry.find(session_id(session_key))
    return live.ip, live.user_agent


def test_a_new_session(saved):
    """The first save stores the address and user agent."""
    assert known(saved) == ("198.51.100.7", "Firefox")


def test_metadata_is_no_entry(saved):
    """The application does not see the metadata."""
    assert dict(SessionStore(saved).items()) == {"color": "blue"}


@pytest.mark.parametrize("do", [read, write])
def test_a_visit_from_elsewhere(visit, saved, do):
    """A visit from another address updates it, whether the view writes or only reads."""
    visit(saved, do, THERE)
    assert known(saved) == ("203.0.113.5", "Safari")


def test_what_is_not_sent_stays(visit, saved):
    """A request without a user agent updates only the address."""
    visit(saved, read, {"REMOTE_ADDR": "203.0.113.5"})
    assert known(saved) == ("203.0.113.5", "Firefox")


def test_reading_from_elsewhere_does_not_extend_the_lifetime(visit, saved, raw, prefix):
    """Writing metadata keeps the TTL, the time of the last save and the indexes."""
    key = f"{prefix}:{session_id(saved)}"
    raw.pexpire(key, raw.pttl(key) - 60_000)
    raw.hset(key, "@updated", 1)
    before = raw.pexpiretime(key), raw.zrange(f"{prefix}:index", 0, -1, withscores=True)
    visit(saved, read, THERE)
    after = raw.pexpiretime(key), raw.zrange(f"{prefix}:index", 0, -1, withscores=True)
    assert after == before
    assert raw.hget(key, "@updated") == b"1"
    assert known(saved) == ("203.0.113.5", "Safari")


def test_a_request_that_does_not_touch_the_session(visit, saved):
    """Without use of the session, no metadata is written."""
    visit(saved, touch_nothing, THERE)
    assert known(saved) == ("198.51.100.7", "Firefox")


@pytest.mark.parametrize("status", [500, 503])
def test_a_failed_request(visit, saved, status):
    """A failed request saves nothing, as in Django."""
    response = visit(saved, read, THERE, status)
    assert response.status_code == status
    assert known(saved) == ("198.51.100.7", "Firefox")


def test_a_session_that_ended_meanwhile(visit, saved, raw, prefix):
    """Writing metadata does not bring an ended session back, and the response is sent."""

    def read_and_end(session):
        read(session)
        raw.delete(f"{prefix}:{session_id(saved)}")

    assert visit(saved, read_and_end, THERE).status_code == 200
    assert not raw.exists(f"{prefix}:{session_id(saved)}")


def test_a_change_of_what_ended_meanwhile(visit, saved, raw, prefix):
    """Changing an ended session raises SessionInterrupted, as with Django's middleware."""

    def write_and_end(session):
        write(session)
        raw.delete(f"{prefix}:{session_id(saved)}")

    with pytest.raises(SessionInterrupted):
        visit(saved, write_and_end, THERE)
    assert not raw.exists(f"{prefix}:{session_id(saved)}")


def test_login_keeps_it(visit, saved):
    """When a login changes the key, the metadata stays."""
    keys = []

    def log_in(session):
        session.cycle_key()
        keys.append(session.session_key)

    if visit.__name__ == "under_wsgi":
        visit(saved, log_in, THERE)
    else:
        session = SessionStore(saved)
        log_in(session)
        visit(keys[0], read, THERE)
    assert known(keys[0]) == ("203.0.113.5", "Safari")


def test_no_metadata(visit, settings, session_redis, saved):
    """With METADATA off, nothing is saved, and the next save removes earlier metadata."""
    settings.SESSION_REDIS = {**session_redis, "METADATA": False}
    key = visit(None, write).cookies["sessionid"].value
    visit(key, read, THERE)
    visit(key, write, THERE)
    assert known(key) == (None, None)
    visit(saved, read, THERE)
    assert SessionStore(saved).inspect().fields["@ip"] == "198.51.100.7"
    visit(saved, write, THERE)
    fields = SessionStore(saved).inspect().fields
    assert fields.keys() == {"@created", "@updated", "@listed", "color"}


def test_trusted_proxies(visit, settings, session_redis):
    """Behind a trusted proxy, the visitor's own address is saved."""
    settings.SESSION_REDIS = {**session_redis, "TRUSTED_PROXIES": ["198.51.100.0/24"]}
    forwarded = {**HERE, "HTTP_X_FORWARDED_FOR": "1.1.1.1, 203.0.113.5"}
    key = visit(None, write, forwarded).cookies["sessionid"].value
    assert known(key) == ("203.0.113.5", "Firefox")


def test_a_long_agent(visit, raw, prefix):
    """A long user agent is shortened, so that the hash keeps its compact form."""
    meta = {**HERE, "HTTP_USER_AGENT": "x" * 9000}
    key = visit(None, write, meta).cookies["sessionid"].value
    assert known(key) == ("198.51.100.7", "x" * 250)
    assert raw.object("encoding", f"{prefix}:{session_id(key)}") == b"listpack"


@pytest.mark.parametrize(
    "copied", [copy.copy, copy.deepcopy, lambda session: pickle.loads(pickle.dumps(session))]
)
def test_a_copy_of_a_session_in_a_request(visit, saved, copied):
    """A copy has the entries, and its saves store the visitor's metadata."""
    copies = []

    def copy_it(session):
        read(session)
        copies.append(copied(session))

    visit(saved, copy_it, THERE)
    (session,) = copies
    assert dict(session) == {"color": "blue"}
    session["size"] = 1
    session.create()
    assert known(session.session_key) == ("203.0.113.5", "Safari")
    assert dict(SessionStore(session.session_key)) == {"color": "blue", "size": 1}
    assert dict(SessionStore(saved)) == {"color": "blue"}


def test_another_engine(visit, settings):
    """With another engine, the middleware works like Django's."""
    settings.SESSION_ENGINE = "django.contrib.sessions.backends.signed_cookies"
    key = visit(None, write).cookies["sessionid"].value
    assert dict(CookieStore(key).items()) == {"color": "blue"}
    seen = []
    visit(key, lambda session: seen.append(session["color"]), THERE)
    assert seen == ["blue"]


# Commands of the engine, without those that open a connection: each visit under ASGI
# has its own event loop, and so its own connections.
SENT = ("hgetall", "evalsha", "eval")


@pytest.fixture
def trips(visit, raw, saved):
    """``trips(…)`` makes a visit, and returns how many commands it sent."""
    for do, meta in [(read, THERE), (write, THERE), (read, HERE)]:  # the server has the scripts now
        visit(saved, do, meta)

    def sent():
        counted = raw.info("commandstats")
        return sum(counted.get(f"cmdstat_{name}", {"calls": 0})["calls"] for name in SENT)

    def trips(*arguments):
        before = sent()
        visit(*arguments)
        return sent() - before

    return trips


def test_round_trips(trips, saved, raw, prefix):
    """
    Only the first visit that reads from a new place, and was not noted before, takes one round trip
    more than with Django's middleware.
    """
    assert trips(saved, touch_nothing) == 0
    assert trips(saved, read, HERE) == 1
    assert trips(saved, write, HERE) == 2
    raw.hdel(f"{prefix}:{session_id(saved)}", "@seen")
    assert trips(saved, read, THERE) == 2
    assert trips(saved, read, THERE) == 1
    assert trips(saved, write, HERE) == 2


@pytest.fixture
def mortal(settings, session_redis, tmp_path):
    """A server for this test only."""
    server = Server(tmp_path)
    settings.SESSION_REDIS = {**session_redis, "LOCATION": server.url}
    yield server
    server.stop()


def test_redis_goes_away_before_the_note(visit, mortal, caplog):
    """If writing metadata fails, the response is sent, and the log has no session key."""
    key = visit(None, write).cookies["sessionid"].value

    def read_and_stop(session):
        read(session)
        mortal.stop()

    caplog.clear()
    response = visit(key, read_and_stop, THERE)
    assert response.status_code == 200
    assert not response.cookies
    (line,) = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert line.startswith(
        "When and where the session was last used could not be stored. Redis at redis://127"
    )
    assert key not in caplog.text


# The note of a session that is only read


LOST = ["index", "index:anonymous"]


@pytest.fixture
def used(raw, prefix):
    """``used(session_key, seconds)``: the session was last written and seen so long ago."""

    def used(session_key, seconds, **fields):
        then = int(raw.time()[0]) - seconds
        raw.hset(f"{prefix}:{session_id(session_key)}", mapping={"@updated": then, **fields})
        return then

    return used


def seen(raw, prefix, session_key):
    text = raw.hget(f"{prefix}:{session_id(session_key)}", "@seen")
    return None if text is None else int(text)


def test_a_session_in_use_is_seen(visit, saved, used, trips, raw, prefix):
    """A session that is only read is noted as in use at most once a minute, in one round trip."""
    assert seen(raw, prefix, saved) is None or trips(saved, read) == 1
    used(saved, 3600, **{"@seen": int(raw.time()[0]) - 90})
    before = raw.time()[0]
    expires = raw.pexpiretime(f"{prefix}:{session_id(saved)}")
    assert trips(saved, read) == 2
    assert before <= seen(raw, prefix, saved) <= raw.time()[0]
    assert trips(saved, read) == 1
    assert raw.pexpiretime(f"{prefix}:{session_id(saved)}") == expires


def test_the_interval_of_notes(visit, settings, session_redis, saved, used, trips):
    """``ACTIVITY_INTERVAL`` says how many seconds after a note the next one is due."""
    now = used(saved, 0)
    for interval, expected in ((7000, 1), (3599.5, 2)):
        settings.SESSION_REDIS = {**session_redis, "ACTIVITY_INTERVAL": interval}
        used(saved, 7200, **{"@seen": now - 3600})
        assert trips(saved, read) == expected


def test_an_address_that_flips(visit, settings, session_redis, saved, trips, used, raw, prefix):
    """A session in use at two addresses is noted as often as others, with the address of then."""
    settings.SESSION_REDIS = {**session_redis, "ACTIVITY_INTERVAL": 7000}
    visit(saved, write)
    raw.hdel(f"{prefix}:{session_id(saved)}", "@seen")
    assert trips(saved, read, THERE) == 2  # never noted before
    assert [trips(saved, read, meta) for meta in (HERE, THERE, HERE)] == [1, 1, 1]
    assert known(saved) == ("203.0.113.5", "Safari")
    used(saved, 0, **{"@seen": int(raw.time()[0]) - 7200})
    assert trips(saved, read) == 2
    assert known(saved) == ("198.51.100.7", "Firefox")


def test_a_save_has_the_address_of_its_request(visit, settings, session_redis, saved):
    """However short the time since the last note is."""
    settings.SESSION_REDIS = {**session_redis, "ACTIVITY_INTERVAL": 7000}
    visit(saved, read, THERE)
    visit(saved, write, HERE)
    assert known(saved) == ("198.51.100.7", "Firefox")


def test_what_another_request_has_noted(saved, settings, session_redis):
    """A request whose note was not due any more still writes its address when it saves."""
    settings.SESSION_REDIS = {**session_redis, "ACTIVITY_INTERVAL": 7000}
    first, second = SessionStore(saved), SessionStore(saved)
    for number, session in enumerate((first, second)):
        session.metadata_source = {b"@ip": b"192.0.2.%d" % number}.copy
        session.get("color")
    first.note_metadata()
    second.note_metadata()
    assert known(saved)[0] == "192.0.2.0"
    second["color"] = "red"
    second.save()
    assert known(saved)[0] == "192.0.2.1"


def test_a_session_that_was_just_written_is_not_noted(visit, saved, used, trips):
    """Its save says that it is in use: neither this request nor one soon after it writes a note."""
    used(saved, 3600)
    assert trips(saved, write) == 2
    assert trips(saved, read) == 1


def test_a_session_that_is_not_read_is_not_noted(visit, saved, used, trips):
    """However long it was not used."""
    used(saved, 3600)
    assert trips(saved, touch_nothing) == 0


def test_a_note_lists_the_session_again(visit, saved, used, raw, prefix):
    """Indexes that were lost are rebuilt by sessions that are only read."""
    raw.delete(*[f"{prefix}:{name}" for name in LOST])
    visit(saved, read)
    assert registry.count() == 0
    used(saved, 90)
    visit(saved, read)
    assert [live.id for live in registry.latest()] == [session_id(saved)]
    expect_listed(raw, prefix)


def test_a_note_without_metadata_and_indexes(visit, settings, session_redis, used, raw, prefix):
    """With METADATA and INDEX off a note says when the session was used, and no more."""
    settings.SESSION_REDIS = {**session_redis, "METADATA": False, "INDEX": False}
    key = visit(None, write).cookies["sessionid"].value
    used(key, 90)
    visit(key, read)
    fields = SessionStore(key).inspect().fields
    assert fields.keys() == {"@created", "@updated", "@seen", "color"}
    assert list(raw.scan_iter(f"{prefix}:*")) == [f"{prefix}:{session_id(key)}".encode()]


@pytest.mark.parametrize("field", ["@updated", "@seen"])
@pytest.mark.parametrize("text", ["", "x", "-5", "9" * 400, "99999999999"])
def test_damaged_times_cost_one_note(visit, saved, used, trips, raw, prefix, field, text):
    """A time that is damaged, or far in the future, does not make every request write a note."""
    used(saved, 90, **{field: text})
    visit(saved, read)
    visit(saved, read)
    assert seen(raw, prefix, saved) <= raw.time()[0]
    assert trips(saved, read) == 1


@pytest.mark.parametrize("hours", [-2, 2])
def test_a_machine_whose_clock_is_wrong(visit, saved, used, trips, raw, prefix, monkeypatch, hours):
    """The server's clock counts: one note teaches the process what time it is."""
    monkeypatch.setattr(engine, "server_clock", ServerClock())
    engine.server_clock._offset += hours * 3600
    assert trips(saved, read) == 2
    assert seen(raw, prefix, saved) <= raw.time()[0]
    assert trips(saved, read) == 1
    used(saved, 90, **{"@seen": 1})
    assert trips(saved, read) == 2
