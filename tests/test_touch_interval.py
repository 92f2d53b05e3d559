"""Tests TOUCH_INTERVAL: saves that change nothing are sent at most every so many seconds."""

import time

import pytest
from asgiref.sync import async_to_sync
from django.contrib.sessions.backends.base import UpdateError
from django.core.checks import run_checks
from django.http import HttpResponse
from django.test import AsyncRequestFactory, RequestFactory

from sessions_redis import capping, conf, lifetimes, registry
from sessions_redis.clients import perform, run
from sessions_redis.clock import ServerClock, server_clock
from sessions_redis.engine import SessionStore
from sessions_redis.middleware import SessionMiddleware
from sessions_redis.storage import adoption, listings
from sessions_redis.storage.changes import Changes
from sessions_redis.storage.commands import session_id
from tests.proxy import Proxy
from tests.test_lifetimes import again, begun, call  # noqa: F401 - fixture
from tests.workers import Worker, race

# Seconds that a session lives, and of the interval.
AGE, INTERVAL = 50_000, 20_000


@pytest.fixture(autouse=True)
def touched(settings, session_redis):
    """Sets TOUCH_INTERVAL, in a process that has not heard of the server's clock."""

    def change(interval, **more):
        settings.SESSION_REDIS = {**session_redis, "TOUCH_INTERVAL": interval, **more}

    settings.SESSION_COOKIE_AGE = AGE
    ServerClock.__init__(server_clock)
    change(INTERVAL)
    return change


@pytest.fixture
def hash_of(prefix):
    return lambda session: f"{prefix}:{session_id(session.session_key)}"


@pytest.fixture
def is_sent(call, raw, hash_of):  # noqa: F811
    """Whether a save reaches Redis: then it gives the session its TTL."""

    def save(session, times=1):
        raw.expire(hash_of(session), 60)
        for _ in range(times):
            call(session, "save")
        return raw.ttl(hash_of(session)) > 60

    return save


@pytest.fixture
def renewed(raw, hash_of):
    """Sets when the session was renewed, in seconds from now."""

    def change(session, seconds):
        raw.hset(hash_of(session), "@renewed", int((run(listings.now()) + seconds) * 1000))

    return change


# Which saves are sent


def test_an_unchanged_session(is_sent):
    """A save that changes nothing is not sent, whichever request makes it."""
    session = begun(color="red")
    assert not is_sent(again(session))
    assert not is_sent(again(session), times=5)
    assert not is_sent(session)  # it was created by this very store


CHANGES = {
    "a new entry": lambda s: s.update({"size": 7}),
    "another value": lambda s: s.update({"color": "blue"}),
    "less": lambda s: s.pop("color"),
    "nothing left": lambda s: s.clear(),
    "a user": lambda s: s.update({"_auth_user_id": "1"}),
    "an expiry": lambda s: s.set_expiry(AGE + 1),
    "no cookie": lambda s: s.set_expiry(0),
    "other entries": lambda s: setattr(s, "_session_cache", {"color": "red"}),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_session(is_sent, change):
    """A save that changes anything is sent, and the ones after it are not."""
    session = again(begun(color="red"))
    CHANGES[change](session)
    assert is_sent(session)
    assert not is_sent(session)
    assert not is_sent(again(session))


def test_metadata_is_a_change(is_sent):
    """A save from another address is sent."""
    session = again(begun(color="red"))
    session.metadata_source = lambda: {b"@ip": b"203.0.113.5"}
    assert is_sent(session)
    assert not is_sent(session)


@pytest.mark.parametrize(("ago", "expected"), [(INTERVAL + 1, True), (INTERVAL - 3600, False)])
def test_the_interval(is_sent, renewed, ago, expected):
    """A save is sent if the last one was sent so many seconds ago."""
    session = begun(color="red")
    renewed(session, -ago)
    assert is_sent(again(session)) is expected
    assert not is_sent(again(session))


def test_a_session_that_lives_shorter(is_sent, renewed):
    """The interval is half of the session's own lifetime at most."""
    session = begun(color="red")
    session.set_expiry(5000)
    session.save()
    renewed(session, -2400)
    assert not is_sent(again(session))
    renewed(session, -2600)
    assert is_sent(again(session))


def test_a_session_without_time_left(call, settings, raw, prefix):  # noqa: F811
    """A save with no time left is sent: it deletes the session."""
    session = begun(color="red")
    settings.SESSION_COOKIE_AGE = 0
    call(again(session), "save")
    assert list(raw.scan_iter(f"{prefix}:*")) == []


DAMAGE = [b"", b"soon", b"-1", b"1e3", b"\xff", b"9" * 30]


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_time(is_sent, raw, hash_of, damage):
    """A time that is damaged counts as long ago."""
    session = begun(color="red")
    raw.hset(hash_of(session), "@renewed", damage)
    assert is_sent(again(session))


@pytest.mark.parametrize("ahead", [60, 3600])
def test_a_time_ahead(is_sent, renewed, ahead):
    """A time ahead of the server's clock, as after a failover, counts as long ago."""
    session = begun(color="red")
    renewed(session, ahead)
    assert is_sent(again(session))


def test_a_session_from_before(is_sent, touched):
    """A session from before the setting is saved, and then has the time."""
    touched(0)
    session = begun(color="red")
    assert "@renewed" not in session.inspect().fields
    touched(INTERVAL)
    assert is_sent(again(session))
    assert not is_sent(again(session))


def test_an_age_that_was_changed(is_sent, renewed, settings):
    """After SESSION_COOKIE_AGE became shorter, the interval is half of that at most."""
    session = begun(color="red")
    settings.SESSION_COOKIE_AGE = 1000
    renewed(session, -400)
    assert not is_sent(again(session))
    renewed(session, -600)
    assert is_sent(again(session))


def test_a_process_that_does_not_know_the_clock(is_sent):
    """A process sends its first save. It learns the server's time from the reply."""
    session = begun(color="red")
    ServerClock.__init__(server_clock)
    server_clock.set(run(listings.now()))  # as by a note, whose reply may have been slow
    assert is_sent(again(session))
    assert not is_sent(again(session))


def test_every_write_notes_the_time(call, touched):  # noqa: F811
    """Whatever sets the TTL notes when, with the setting only."""
    for interval in (INTERVAL, 0):
        touched(interval)
        session = begun(color="red", _auth_user_id="1")
        late = again(session)
        call(session, "cycle_key")
        call(late, "cycle_key")  # begins another beside it
        assert late.session_key != session.session_key
        for one in (session, late):
            assert ("@renewed" in one.inspect().fields) is bool(interval)
        session["color"] = "blue"
        before = session.inspect().fields.get("@renewed")
        time.sleep(0.002)
        call(session, "save")
        after = session.inspect().fields.get("@renewed")
        assert (after is None) if not interval else int(after) > int(before)


def test_adopting_notes_the_time():
    """A session that moves in from another engine has the time."""
    session = SessionStore("k" * 32)
    changes = Changes({b"color": b'"red"'}, rules=capping.at_once(lifetimes.move_in("")))
    id = session_id(session.session_key)
    perform(adoption.adopt(conf.current().keyspace, id, AGE, changes))
    assert "@renewed" in session.inspect().fields


def test_nothing_without_the_setting(is_sent, touched):
    """Without the setting, every save is sent."""
    touched(0)
    session = begun(color="red")
    assert is_sent(session)
    assert is_sent(again(session))


# What a save that is not sent leaves out


def test_an_ended_session(call):  # noqa: F811
    """A save that is not sent does not notice that the session was ended. One with changes does."""
    session = begun(color="red")
    late = again(session)
    assert registry.end(session_id(session.session_key))
    call(late, "save")
    late["color"] = "blue"
    with pytest.raises(UpdateError):
        call(late, "save")


def test_the_note_of_activity(raw, hash_of, is_sent):
    """The session is noted as in use by the note, which leaves its lifetime alone."""
    session = begun(color="red")
    long_ago = int(run(listings.now())) - 3600
    raw.hset(hash_of(session), "@updated", long_ago)
    late = again(session)
    assert not is_sent(late)
    late.note_metadata()
    fields = late.inspect().fields
    assert int(fields["@seen"]) > long_ago
    assert int(fields["@updated"]) == long_ago
    assert raw.ttl(hash_of(session)) <= 60


def test_both_settings(is_sent, touched):
    """A session that has no end yet is saved, so that it gets one."""
    session = begun(color="red")
    touched(INTERVAL, ABSOLUTE_AGE=2 * AGE)
    assert is_sent(again(session))
    assert "@ends" in session.inspect().fields
    assert not is_sent(again(session))


# A busy page


@pytest.mark.parametrize("world", ["WSGI", "ASGI"])
def test_a_busy_page(settings, session_redis, server, world):
    """Of 30 requests that save a session each time, none sends its save. All set the cookie."""
    settings.SESSION_SAVE_EVERY_REQUEST = True

    def prepared(factory):
        request = factory.get("/")
        request.COOKIES["sessionid"] = session.session_key
        return request

    def view(request):
        request.session.get("color")
        return HttpResponse()

    async def aview(request):
        await request.session.aget("color")
        return HttpResponse()

    with Proxy(server.port) as proxy:
        settings.SESSION_REDIS = {**settings.SESSION_REDIS, "LOCATION": proxy.url}
        session = begun(color="red")
        middleware = SessionMiddleware(view if world == "WSGI" else aview)

        def visits():
            for _ in range(31):
                yield middleware(prepared(RequestFactory())), proxy.round_trips

        async def avisits():
            return [
                (await middleware(prepared(AsyncRequestFactory())), proxy.round_trips)
                for _ in range(31)
            ]

        # The first request writes address and device.
        (_, before), *others = visits() if world == "WSGI" else async_to_sync(avisits)()
    assert others[-1][1] - before == 30  # loads
    assert {response.cookies["sessionid"]["max-age"] for response, _ in others} == {AGE}


def test_many_processes(session_redis, settings):
    """Several processes that save one session all the time send a few saves."""
    session = begun(color="red")
    site = settings.SESSION_REDIS
    jobs = [
        Worker(site, "save_unchanged", session_key=session.session_key, times=100) for _ in "ab"
    ]
    sent = race(jobs)
    assert all(1 <= one <= 3 for one in sent)


# The check


@pytest.mark.parametrize(
    ("interval", "age", "ids"),
    [(60, 120, []), (61, 120, ["E034"]), (0, 1, []), (0.6, 1, ["E034"])],
)
def test_the_check(settings, touched, interval, age, ids):
    """The interval must not be longer than half of SESSION_COOKIE_AGE."""
    settings.SESSION_COOKIE_AGE = age
    touched(interval)
    found = [one for one in run_checks(tags=["sessions_redis"]) if one.id != "sessions_redis.W007"]
    assert [one.id.removeprefix("sessions_redis.") for one in found] == ids
    assert all(str(interval) in one.msg and f"Write {age // 2}" in one.hint for one in found)
