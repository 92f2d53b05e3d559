"""Tests ABSOLUTE_AGE: when a session ends at the latest, and when that begins anew."""

import json
import subprocess
import sys
from datetime import UTC, datetime, timedelta

import hypothesis
import pytest
from asgiref.sync import async_to_sync
from django.contrib.auth import alogin, login, logout
from django.contrib.auth.models import User
from django.contrib.sessions.backends.base import UpdateError
from django.contrib.sessions.backends.signed_cookies import SessionStore as CookieStore
from django.core.exceptions import ImproperlyConfigured
from django.http import HttpResponse
from django.test import AsyncRequestFactory, RequestFactory
from django.utils import timezone
from hypothesis import given
from hypothesis import strategies as st

from sessions_redis import capping, conf, lifetimes, registry
from sessions_redis.clients import perform
from sessions_redis.engine import SessionStore
from sessions_redis.middleware import SessionMiddleware
from sessions_redis.storage import adoption
from sessions_redis.storage.adoption import Adoption, Times
from sessions_redis.storage.changes import Changes
from sessions_redis.storage.commands import session_id
from sessions_redis.storage.listings import MARGIN
from tests import rules
from tests.proxy import Proxy
from tests.rules import OTHERS, STAFF
from tests.test_round_trips import OPERATIONS, exercise, saved
from tests.workers import Worker, race

# Seconds that sessions live: at most, and without activity.
AGE, IDLE = 1000, 50_000

# Seconds that may pass in a test.
SLACK = 120


@pytest.fixture(autouse=True)
def aged(settings, session_redis):
    """Sets ABSOLUTE_AGE."""

    def change(age):
        settings.SESSION_REDIS = {**session_redis, "ABSOLUTE_AGE": age}

    settings.SESSION_COOKIE_AGE = IDLE
    rules.calls.clear()
    change(AGE)
    return change


@pytest.fixture(params=["sync", "async"])
def call(request):
    """Calls a method of a session: the plain one, or its twin."""
    if request.param == "sync":
        return lambda session, name, *args: getattr(session, name)(*args)
    return lambda session, name, *args: async_to_sync(getattr(session, f"a{name}"))(*args)


@pytest.fixture
def hash_of(prefix):
    return lambda session: f"{prefix}:{session_id(session.session_key)}"


@pytest.fixture
def age_by(raw, hash_of):
    """Lets a session be so many seconds older."""

    def age(session, seconds):
        fields = session.inspect().fields
        changed = {"@created": int(fields["@created"]) - seconds}
        if fields.get("@ends", "never") != "never":
            changed["@ends"] = int(fields["@ends"]) - seconds * 1000
        raw.hset(hash_of(session), mapping=changed)

    return age


def begun(**entries):
    session = SessionStore()
    session.update(entries)
    session.create()
    return session


def again(session):
    """The session as another request loads it."""
    other = SessionStore(session.session_key)
    other.load()
    other.get("color")
    return other


def expect_end(session, seconds):
    """The session ends in so many seconds, and its TTL leads there. Returns the field."""
    stored = session.inspect()
    left = int(stored.fields["@ends"]) / 1000 - datetime.now(UTC).timestamp()
    assert seconds - SLACK < left <= seconds + 1
    assert seconds - SLACK < stored.ttl <= seconds
    return stored.fields["@ends"]


# The end binds


def test_a_new_session(call):
    """A new session gets its end, and its TTL leads there."""
    session = SessionStore()
    call(session, "create")
    expect_end(session, AGE)


SAVES = {
    "an unchanged session": lambda s: None,
    "a changed one": lambda s: s.update({"color": "blue"}),
    "one with less": lambda s: s.pop("color"),
    "one that was emptied": lambda s: s.clear(),
    "a signed-in one": lambda s: s.update({"_auth_user_id": "1"}),
    "one with a long expiry": lambda s: s.set_expiry(10 * IDLE),
    "one with a date": lambda s: s.set_expiry(timedelta(seconds=10 * IDLE)),
    "one that lives until the browser closes": lambda s: s.set_expiry(0),
}


@pytest.mark.parametrize("change", SAVES)
def test_saving_keeps_the_end(call, change):
    """A save does not move the session's end, whoever saves it."""
    session = begun(color="red")
    end = expect_end(session, AGE)
    for one in (session, again(session)):
        SAVES[change](one)
        call(one, "save")
        assert expect_end(one, AGE) == end


def test_a_shorter_lifetime_holds(call):
    """If a session expires before its end, its TTL says so."""
    session = begun(color="red")
    session.set_expiry(300)
    call(session, "save")
    assert 300 - SLACK < session.inspect().ttl <= 300
    session.set_expiry(None)
    call(session, "save")
    expect_end(session, AGE)


@pytest.mark.parametrize("user", [None, "1"])
def test_a_new_key_keeps_the_end(call, age_by, user):
    """A session that gets a new key ends when it would have ended."""
    session = begun(color="red", **({"_auth_user_id": user} if user else {}))
    age_by(session, 400)
    session = again(session)
    end = session.inspect().fields["@ends"]
    call(session, "cycle_key")
    assert expect_end(session, AGE - 400) == end
    call(session, "save")
    assert expect_end(session, AGE - 400) == end


def test_a_session_beside_it_keeps_the_end(call, age_by, aged):
    """A second session that a late request begins with the same entries ends with the first."""
    for age in (AGE, None):
        aged(AGE)
        session = begun(color="red", _auth_user_id="1")
        age_by(session, 400)
        end = session.inspect().fields["@ends"]
        first, late = again(session), again(session)
        aged(age)
        call(first, "cycle_key")
        call(late, "cycle_key")
        assert late.session_key != first.session_key
        assert expect_end(late, AGE - 400) == end


def test_a_session_without_an_end_begins_one_beside_it(aged, call, age_by):
    """Its end counts from when the first session was created."""
    aged(None)
    session = begun(color="red", _auth_user_id="1")
    age_by(session, 400)
    first, late = again(session), again(session)
    aged(AGE)
    call(first, "cycle_key")
    call(late, "cycle_key")
    assert expect_end(late, AGE - 400) == expect_end(first, AGE - 400)


def test_the_end_binds_without_the_setting(aged, call):
    """A session keeps its end after the setting was changed or removed."""
    session = begun(color="red")
    end = expect_end(session, AGE)
    for age in (None, 10, 10 * AGE, "tests.rules.unlimited"):
        aged(age)
        other = again(session)
        other["color"] = f"{age}"
        call(other, "save")
        assert expect_end(other, AGE) == end
        call(other, "cycle_key")
        assert expect_end(other, AGE) == end
        session = other
    assert rules.calls == []


def test_the_end_cannot_be_reached_by_saving(call, age_by, raw, hash_of):
    """A session whose end has come is gone for a save, even if Redis has not removed it yet."""
    session = begun(color="red", _auth_user_id="1")
    late = again(session)
    age_by(session, AGE)
    late["color"] = "blue"
    with pytest.raises(UpdateError):
        call(late, "save")
    assert not raw.exists(hash_of(session))
    assert registry.of_user("1") == []


@pytest.mark.parametrize("damage", ["", "soon", b"\xff", "1e400"])
def test_a_damaged_end(call, raw, hash_of, damage):
    """A damaged end gives no limit, and the session goes on."""
    session = begun(color="red")
    raw.hset(hash_of(session), "@ends", damage)
    other = again(session)
    other["color"] = "blue"
    call(other, "save")
    assert IDLE - SLACK < other.inspect().ttl <= IDLE
    assert other.get_expiry_age() == IDLE


@pytest.mark.parametrize("damage", ["", "soon", b"\xff"])
def test_a_damaged_creation(call, aged, raw, hash_of, damage):
    """If it is not known when a session was created, its time begins with the save."""
    aged(None)
    session = begun(color="red")
    raw.hset(hash_of(session), "@created", damage)
    aged(AGE)
    other = again(session)
    other["color"] = "blue"
    call(other, "save")
    expect_end(other, AGE)


def test_the_indexes_follow(raw, prefix, settings):
    """The indexes list a session a little longer than it can live."""
    session = begun(color="red")
    score = raw.zscore(f"{prefix}:index", session_id(session.session_key))
    end = int(session.inspect().fields["@ends"]) / 1000
    assert end <= score <= end + MARGIN + 1


def test_nothing_without_the_setting(aged):
    """Without the setting, a session has no end."""
    aged(None)
    session = begun(color="red")
    session["color"] = "blue"
    session.save()
    session.cycle_key()
    assert "@ends" not in session.inspect().fields
    assert session.get_expiry_age() == IDLE


def test_ends_and_entries(call):
    """The end is no entry, and an entry may have the same name."""
    session = begun(**{"@ends": "mine"})
    assert dict(again(session).items()) == {"@ends": "mine"}
    expect_end(session, AGE)


def test_a_session_beside_one_that_has_reached_its_end(call, age_by):
    """A late request does not begin a second session after the end of the first."""
    session = begun(color="red", _auth_user_id="1")
    first = again(session)
    age_by(session, 2 * AGE)
    late = again(session)
    age_by(session, -2 * AGE)
    call(first, "cycle_key")
    with pytest.raises(UpdateError):
        call(late, "cycle_key")
    assert len(registry.of_user("1")) == 1


# Sessions that were begun before the setting


def old(seconds, age_by, aged, **entries):
    """A session of this age, from before the setting."""
    aged(None)
    session = begun(color="red", **entries)
    age_by(session, seconds)
    aged(AGE)
    return again(session)


@pytest.mark.parametrize("write", ["save", "cycle_key"])
def test_an_older_session_gets_its_end(call, age_by, aged, write):
    """Its next write gives a session its end, counted from when it was created."""
    session = old(400, age_by, aged)
    assert session.get_expiry_age() <= AGE - 400
    call(session, write)
    expect_end(session, AGE - 400)
    assert session.get_expiry_age() <= AGE - 400


def test_a_session_that_is_emptied_gets_its_end(call, age_by, aged):
    """A save that replaces everything gives the session its end, too."""
    session = old(400, age_by, aged)
    session.clear()
    call(session, "save")
    expect_end(session, AGE - 400)


@pytest.mark.parametrize("user", [None, "1"])
def test_an_older_session_that_is_too_old(call, age_by, aged, ended, raw, prefix, user):
    """Saving a session that is too old ends it, and the signal says why."""
    session = old(2 * AGE, age_by, aged, **({"_auth_user_id": user} if user else {}))
    session["color"] = "blue"
    with pytest.raises(UpdateError):
        call(session, "save")
    assert ended == [(session_id(session.session_key), user, "absolute_age")]
    assert list(SessionStore(session.session_key).items()) == []
    assert registry.count() == 0


def test_an_end_without_receivers(age_by, aged):
    """A session that is too old ends also if nobody wants to know."""
    session = old(2 * AGE, age_by, aged)
    with pytest.raises(UpdateError):
        session.save()
    assert registry.count() == 0


def test_a_session_that_is_too_old_for_a_new_key(call, age_by, aged, ended):
    """With a user, it has ended. Without one, its entries begin a session, as after its expiry."""
    session = old(2 * AGE, age_by, aged, _auth_user_id="1")
    with pytest.raises(UpdateError):
        call(session, "cycle_key")
    anonymous = old(2 * AGE, age_by, aged)
    before = session_id(anonymous.session_key)
    call(anonymous, "cycle_key")
    assert again(anonymous)["color"] == "red"
    expect_end(anonymous, AGE)
    assert [(id, reason) for id, _, reason in ended] == [
        (session_id(session.session_key), "absolute_age"),
        (before, "absolute_age"),
    ]


# Signing in


@pytest.fixture(params=["WSGI", "ASGI"])
def visit(request, settings):
    """``visit(do, session)`` sends a request whose view calls ``do(request)``."""

    def prepared(factory, session):
        request = factory.get("/")
        if session:
            request.COOKIES[settings.SESSION_COOKIE_NAME] = session.session_key
        return request

    def under_wsgi(do, session=None):
        def view(request):
            do(request)
            return HttpResponse()

        return SessionMiddleware(view)(prepared(RequestFactory(), session))

    def under_asgi(do, session=None):
        async def view(request):
            await request.session.aget("loads it")
            if do.__name__ == "sign_in":
                await alogin(request, *do.__defaults__)
            else:
                do(request)
            return HttpResponse()

        return async_to_sync(SessionMiddleware(view))(prepared(AsyncRequestFactory(), session))

    return under_wsgi if request.param == "WSGI" else under_asgi


def signing_in(user, backend="django.contrib.auth.backends.ModelBackend"):
    def sign_in(request, user=user, backend=backend):
        login(request, user, backend)

    return sign_in


def painting(color):
    return lambda request: request.session.update({"color": color})


def session_of(response):
    return SessionStore(response.cookies["sessionid"].value)


@pytest.fixture
def ada(db):
    return User.objects.create_user("ada", is_staff=True)


@pytest.fixture
def bob(db):
    return User.objects.create_user("bob")


def test_signing_in_begins_anew(visit, ada, age_by):
    """A visitor who signs in gets the full time, and so does the cookie."""
    session = begun(color="red")
    age_by(session, 400)
    response = visit(signing_in(ada), session)
    signed_in = session_of(response)
    assert signed_in.session_key != session.session_key
    assert again(signed_in)["color"] == "red"
    expect_end(signed_in, AGE)
    assert AGE - SLACK < response.cookies["sessionid"]["max-age"] <= AGE


def test_signing_in_without_a_session(visit, ada):
    """The first request of a visitor can sign in."""
    expect_end(session_of(visit(signing_in(ada))), AGE)


def test_signing_in_again_begins_anew(visit, ada, age_by):
    """If the same user signs in again, the session begins anew under its key."""
    session = session_of(visit(signing_in(ada)))
    age_by(session, 400)
    visit(signing_in(ada), session)
    expect_end(session, AGE)


def test_a_visit_does_not_begin_anew(visit, ada, age_by):
    """Any other request leaves the end as it is, and the cookie follows it."""
    session = session_of(visit(signing_in(ada)))
    age_by(session, 400)
    end = session.inspect().fields["@ends"]
    response = visit(painting("blue"), session)
    assert session.inspect().fields["@ends"] == end
    assert AGE - 400 - SLACK < response.cookies["sessionid"]["max-age"] <= AGE - 400


def test_an_age_per_user(visit, aged, ada, bob, age_by):
    """
    The function gets no user for a new session, and the user who signs in.

    Other requests do not call it.
    """
    aged("tests.rules.per_user")
    session = session_of(visit(painting("red")))
    expect_end(session, OTHERS)
    assert rules.calls == [None]
    of_ada = session_of(visit(signing_in(ada), session))
    expect_end(of_ada, STAFF)
    assert rules.calls == [None, "ada"]
    for _ in range(2):
        visit(painting("blue"), of_ada)
        visit(lambda request: request.session.get("color"), of_ada)
        visit(lambda request: request.session.cycle_key(), begun(_auth_user_id=str(ada.pk)))
    expect_end(of_ada, STAFF)
    assert rules.calls == [None, "ada", "ada", "ada"]  # once for each session that began
    rules.calls.clear()
    of_bob = session_of(visit(signing_in(bob), of_ada))
    expect_end(of_bob, OTHERS)
    assert rules.calls[-1] == "bob"


def test_signing_in_and_out_in_one_request(aged, ada):
    """What was asked for a user is not used for the anonymous session that follows."""
    aged("tests.rules.per_user")
    request = RequestFactory().get("/")
    request.session = SessionStore()
    login(request, ada, "django.contrib.auth.backends.ModelBackend")
    logout(request)
    request.session["color"] = "red"
    request.session.save()
    expect_end(request.session, OTHERS)


def test_a_login_that_is_never_saved(aged, ada):
    """A session whose save failed begins anew with the next one."""
    request = RequestFactory().get("/")
    request.session = session = SessionStore()
    login(request, ada, "django.contrib.auth.backends.ModelBackend")
    session["bad"] = object()
    with pytest.raises(TypeError):
        session.save()
    del session["bad"]
    session.increment("counter")
    session.save()
    assert session._begun is None
    expect_end(session, AGE)


# A site that has the engine, but not the app.
LOGIN_WITHOUT_THE_APP = """
import json, sys
import django
from django.conf import settings

settings.configure(
    SESSION_ENGINE="sessions_redis.engine",
    SESSION_REDIS=json.loads(sys.argv[1]),
    SESSION_COOKIE_AGE=int(sys.argv[2]),
    INSTALLED_APPS=["django.contrib.auth", "django.contrib.contenttypes"],
)
django.setup()
from django.contrib.auth.models import User
from django.contrib.auth.signals import user_logged_in
from django.http import HttpRequest
from sessions_redis.engine import SessionStore

user_logged_in.disconnect(dispatch_uid="update_last_login")
request = HttpRequest()
request.session = SessionStore(sys.argv[3])
request.session["color"] = "blue"
user_logged_in.send(User, request=request, user=User())
request.session.save()
"""


def test_signing_in_without_the_app(age_by, settings):
    """A login begins the time anew in a site that has not installed the app, too."""
    session = begun(color="red")
    age_by(session, 400)
    arguments = [json.dumps(settings.SESSION_REDIS), str(IDLE), session.session_key]
    command = [sys.executable, "-W", "error", "-c", LOGIN_WITHOUT_THE_APP, *arguments]
    subprocess.run(command, check=True)
    expect_end(session, AGE)


def test_a_login_of_another_engine(ada, aged):
    """A request whose session is of another engine signs in as ever."""
    request = RequestFactory().get("/")
    request.session = CookieStore()
    login(request, ada, "django.contrib.auth.backends.ModelBackend")
    assert request.session["_auth_user_id"] == str(ada.pk)


def test_no_limit_for_a_user(visit, aged, ada, raw, hash_of):
    """If the function returns None, the session has no limit, and it is not asked again."""
    aged("tests.rules.unlimited")
    response = visit(signing_in(ada))
    session = session_of(response)
    assert response.cookies["sessionid"]["max-age"] == IDLE
    assert session.inspect().fields["@ends"] == "never"
    calls = len(rules.calls)
    aged(AGE)
    for do in (painting("red"), lambda r: r.session.cycle_key()):
        session = session_of(visit(do, session))
        assert IDLE - SLACK < session.inspect().ttl <= IDLE
    assert len(rules.calls) == calls


def test_an_older_session_of_a_user(call, aged, ada, age_by):
    """The function is asked for the user of a session from before the setting."""
    session = old(100, age_by, aged, _auth_user_id=str(ada.pk))
    aged("tests.rules.per_user")
    assert session.get_expiry_age() == IDLE  # it is not known yet
    call(session, "save")
    expect_end(session, STAFF - 100)
    assert rules.calls == ["ada"]


@pytest.mark.parametrize("user", ["123456", "nobody", "", "9" * 40])
def test_a_user_that_does_not_exist(aged, db, user):
    """For a user that is not in the database, the function gets None."""
    aged("tests.rules.per_user")
    expect_end(begun(_auth_user_id=user), OTHERS)
    assert rules.calls == [None]


# What the function may return


def test_a_timedelta(aged):
    """The setting and the function can give a timedelta."""
    aged("tests.rules.as_timedelta")
    expect_end(begun(), STAFF)
    aged(timedelta(seconds=STAFF))
    expect_end(begun(), STAFF)


@pytest.mark.parametrize("age", [10**15, 1e300])
def test_a_very_long_age(aged, age):
    """An age that Redis cannot store is shortened to 300 years."""
    aged(age)
    session = begun()
    assert IDLE - SLACK < session.inspect().ttl <= IDLE
    assert session.get_expiry_age() == IDLE


@pytest.mark.parametrize(
    "value",
    [0, -1, True, False, "8 hours", "3600", float("nan"), float("inf"), timedelta(0), b"1", [1]],
    ids=repr,
)
def test_a_wrong_return_value(call, aged, raw, prefix, value):
    """The error names setting, function and value, and nothing is written."""
    aged("tests.rules.chosen")
    rules.answer[0] = value
    session = SessionStore()
    with pytest.raises(ImproperlyConfigured) as caught:
        call(session, "create")
    for words in ('["ABSOLUTE_AGE"]', "tests.rules.chosen", repr(value), "seconds", "None"):
        assert words in str(caught.value)
    assert list(raw.scan_iter(f"{prefix}:*")) == []


# What a session says about its end


def test_the_age_of_a_session(call):
    """get_expiry_age() and get_expiry_date() never go beyond the end."""
    for session in (again(begun(color="red")), begun(color="red")):
        assert AGE - SLACK < call(session, "get_expiry_age") <= AGE
        left = call(session, "get_expiry_date") - timezone.now()
        assert AGE - SLACK < left.total_seconds() <= AGE
        session.set_expiry(300)
        assert call(session, "get_expiry_age") == 300
        assert (call(session, "get_expiry_date") - timezone.now()).total_seconds() <= 300
        session.set_expiry(0)
        assert call(session, "get_expire_at_browser_close")
        later = timezone.now() + timedelta(seconds=AGE // 2)
        assert session.get_expiry_age(modification=later) <= AGE // 2
        session.set_expiry(-10)
        assert call(session, "get_expiry_age") == -10


def test_the_age_of_a_session_that_is_not_saved_yet(call, aged):
    """It is the age that the session gets, and the function is called once."""
    aged("tests.rules.per_user")
    session = SessionStore()
    session["color"] = "red"
    assert call(session, "get_expiry_age") == OTHERS
    call(session, "save")
    assert rules.calls == [None]
    expect_end(session, OTHERS)


def test_the_age_without_loading():
    """An age that is asked with an expiry loads nothing."""
    session = SessionStore(begun().session_key)
    assert session.get_expiry_age(expiry=2 * AGE) == 2 * AGE
    assert not hasattr(session, "_entries")
    assert not session.accessed


def test_dates_without_time_zones(settings):
    """Without USE_TZ, dates are in local time."""
    settings.USE_TZ = False
    left = begun(color="red").get_expiry_date() - datetime.now()  # noqa: DTZ005 - as of USE_TZ
    assert AGE - SLACK < left.total_seconds() <= AGE


def test_a_cookie_that_ends_with_the_browser(visit, settings):
    """A session that ends with the browser has no Max-Age, and still reaches its end."""
    settings.SESSION_EXPIRE_AT_BROWSER_CLOSE = True
    response = visit(painting("red"))
    assert response.cookies["sessionid"]["max-age"] == ""
    expect_end(session_of(response), AGE)


def test_a_store_with_its_own_expiry(call):
    """If a subclass overrides get_expiry_age(), the end binds as well."""

    class Long(SessionStore):
        def get_expiry_age(self, **kwargs):
            return 3 * IDLE

    session = Long()
    call(session, "create")
    call(session, "save")
    expect_end(session, AGE)


# Sessions that move in


@pytest.mark.parametrize(("created", "left"), [(None, AGE), (400, AGE - 400), (2 * AGE, None)])
def test_adopting(raw, prefix, created, left):
    """A session of another engine counts from when it was created, or from now."""
    keyspace, session = conf.current().keyspace, SessionStore("k" * 32)
    now = int(datetime.now(UTC).timestamp())
    times = Times() if created is None else Times(now - created, now * 1000)
    changes = Changes({b"color": b'"red"'}, rules=capping.at_once(lifetimes.move_in("")))
    steps = adoption.adopt(keyspace, session_id(session.session_key), IDLE, changes, times)
    became = perform(steps)
    if left is None:
        assert became is Adoption.REFUSED
        assert session.inspect() is None
        assert registry.count() == 0
    else:
        assert became is Adoption.ADOPTED
        expect_end(session, left)
        again(session).save()
        expect_end(session, left)


# Races between processes


def test_races_of_logins_and_saves(session_redis, aged, settings, age_by):
    """While one process signs in again and again and others save, the latest login decides."""
    session = begun(color="red")
    age_by(session, 400)
    site = settings.SESSION_REDIS
    jobs = [
        Worker(site, "begin_anew", session_key=session.session_key, times=60),
        Worker(site, "begin_anew", session_key=session.session_key, times=60),
        Worker(site, "write_entries", session_key=session.session_key, name="a", times=60),
    ]
    one, other, _ = race(jobs)
    stored = session.inspect()
    assert stored.fields["@ends"] == max(one, other)
    assert len([name for name in stored.fields if name.startswith("a-")]) == 60
    assert stored.ttl <= AGE


# All together

STEPS = {
    "save": lambda session: session.save(),
    "change": lambda session: (session.update({"color": "blue"}), session.save()),
    "empty": lambda session: (session.clear(), session.save()),
    "cycle": lambda session: session.cycle_key(),
    "long": lambda session: (session.set_expiry(IDLE), session.save()),
    "short": lambda session: (session.set_expiry(AGE // 2), session.save()),
    "note": lambda session: session.note_metadata(),
    "increment": lambda session: session.increment("counter"),
    "turn off": None,
    "turn on": None,
    "login": None,
}


@hypothesis.settings(
    suppress_health_check=[hypothesis.HealthCheck.function_scoped_fixture], max_examples=30
)
@given(st.lists(st.sampled_from(sorted(STEPS)), max_size=10))
def test_whatever_happens(aged, ada, steps):
    """Only a login moves the end, and the session never lives longer than that."""
    aged(AGE)
    session, is_on = begun(color="red"), True
    end = session.inspect().fields["@ends"]
    for step in steps:
        session = again(session)
        if step.startswith("turn"):
            is_on = step == "turn on"
            aged(AGE if is_on else None)
        elif step == "login":
            request = RequestFactory().get("/")
            request.session = session
            login(request, ada, "django.contrib.auth.backends.ModelBackend")
            session.save()
        else:
            STEPS[step](session)
        stored = session.inspect()
        moved = int(stored.fields["@ends"]) - int(end)
        assert moved >= 0 if step == "login" and is_on else moved == 0
        end = stored.fields["@ends"]
        now = datetime.now(UTC).timestamp()
        assert now + stored.ttl <= int(end) / 1000 + SLACK  # this looks at two clocks in turn


@pytest.mark.parametrize("name", OPERATIONS)
def test_round_trips(settings, server, name):
    """Neither setting adds a round trip to any operation."""
    operate, prepare, expected = OPERATIONS[name]
    with Proxy(server.port) as proxy:
        settings.SESSION_REDIS = {
            **settings.SESSION_REDIS, "LOCATION": proxy.url, "TOUCH_INTERVAL": 1e-6,
        }  # fmt: skip
        exercise(SessionStore())
        subject = prepare(saved(color="red", _auth_user_id="1"))
        assert proxy.counted(operate, subject) == expected
