"""ABSOLUTE_AGE and TOUCH_INTERVAL beside other policies, in one slot and across slots."""

import pytest
from django.contrib.auth import login
from django.contrib.auth.models import User
from django.test import RequestFactory

from sessions_redis import conf, registry
from sessions_redis.clock import ServerClock, server_clock
from sessions_redis.engine import SessionStore
from sessions_redis.exceptions import SessionGone, SessionLimitReached, SessionTooLarge
from sessions_redis.storage.commands import session_id
from sessions_redis.storage.events import Event
from tests.expiring import Hash, lets_fields_expire
from tests.spread import spread  # noqa: F401 - fixture
from tests.test_events import Listener
from tests.test_sealing import ENCRYPTED, OLD

# Seconds that sessions live: at most, and without activity; and the seconds between saves.
AGE, IDLE, INTERVAL = 1000, 50_000, 20_000

# Seconds that may pass in a test.
SLACK = 120

LIFETIMES = {"ABSOLUTE_AGE": AGE, "TOUCH_INTERVAL": INTERVAL}

LIMITS = {"MAX_SESSIONS_PER_USER": 2, "MAX_SESSION_BYTES": 10_000, "ENCRYPTION_KEYS": [OLD]}

SETTINGS = {
    "lifetimes alone": LIFETIMES,
    "an age and limits": {**LIMITS, "ABSOLUTE_AGE": AGE},
    "all": {**LIFETIMES, **LIMITS},
}


@pytest.fixture(params=["one slot", "across slots"], autouse=True)
def layout(request):
    if request.param == "across slots":
        request.getfixturevalue("spread")
    return request.param


@pytest.fixture(params=SETTINGS)
def policies(request):
    return SETTINGS[request.param]


@pytest.fixture
def use(settings, session_redis):
    """Sets these policies, in a process that has not heard of the server's clock."""

    def use(**policies):
        settings.SESSION_REDIS = {**session_redis, **policies}
        if "ENCRYPTION_KEYS" in policies:
            settings.SESSION_SERIALIZER = ENCRYPTED

    settings.SESSION_COOKIE_AGE = IDLE
    ServerClock.__init__(server_clock)
    return use


def begun(**entries):
    session = SessionStore()
    session.update(entries)
    session.save()
    return session


def again(session):
    other = SessionStore(session.session_key)
    other.get("color")
    return other


def id_of(session):
    return session_id(session.session_key)


def name_of(session):
    return conf.current().keyspace.session(id_of(session))


def end_of(session):
    """The field that says when the session ends. Its TTL leads there."""
    stored = session.inspect()
    assert AGE - SLACK < stored.ttl <= AGE
    return stored.fields["@ends"]


def write_under_lock(session):
    with session.lock():
        session["color"] = "blue"


WRITES = {
    "save": lambda it: (it.update({"color": "blue"}), it.save()),
    "append": lambda it: it.append("names", "ada"),
    "update_entry": lambda it: it.update_entry("color", str.upper),
    "cycle_key": lambda it: it.cycle_key(),
    "lock": write_under_lock,
}


@pytest.mark.parametrize("write", WRITES)
def test_the_end_binds(use, policies, write):
    """No write moves the session's end, whatever else the site wants of it."""
    use(**policies)
    session = begun(color="red", _auth_user_id="7")
    end = end_of(session)
    for one in (session, again(session)):
        WRITES[write](one)
        assert end_of(one) == end


@pytest.mark.parametrize("write", WRITES)
def test_a_session_that_is_too_old(raw, use, policies, write):
    """A write ends it if it was begun before the site had an age, and the reason is published."""
    use(**{**policies, "ABSOLUTE_AGE": None})
    session = begun(color="red", _auth_user_id="7")
    raw.hincrby(name_of(session), "@created", -2 * AGE)
    use(**policies, EVENTS=True)
    session = again(session)
    listener = Listener(raw, conf.current().keyspace.ended_channel)
    id = id_of(session)
    with pytest.raises(SessionGone):
        WRITES[write](session)
    assert listener.heard() == [Event(id, "absolute_age", "7")]
    listener.subscription.close()
    assert registry.of_user("7") == []


def test_a_count_keeps_the_end(use, policies):
    """increment() leaves the session's lifetime as it is."""
    use(**{name: value for name, value in policies.items() if name != "ENCRYPTION_KEYS"})
    session = begun(visits=1)
    end = end_of(session)
    assert again(session).increment("visits") == 2
    assert end_of(session) == end


def test_unchanged_saves_are_left_out(raw, use):
    """A save that changes nothing is not sent, also if other policies are set."""
    use(**LIFETIMES, **LIMITS)
    session = begun(color="red", _auth_user_id="7")
    raw.expire(name_of(session), 60)
    for one in (session, again(session)):
        one.save()
        assert raw.ttl(name_of(session)) <= 60
    one["color"] = "blue"
    one.save()
    assert raw.ttl(name_of(session)) > 60


def test_a_sign_in_beyond_the_cap(raw, use, policies):
    """The session that signs in gets its end, and the process hears the server's time."""
    use(**{**policies, "MAX_SESSIONS_PER_USER": 1})
    first = begun(_auth_user_id="7")
    second = begun(color="red")
    ServerClock.__init__(server_clock)
    second["_auth_user_id"] = "7"
    second.save()
    end_of(second)
    assert [live.id for live in registry.of_user("7")] == [id_of(second)]
    assert first.inspect() is None
    assert server_clock.is_within(SLACK, server_clock.now() - 1) is ("TOUCH_INTERVAL" in policies)


def test_a_write_that_is_refused(use):
    """A rule that refuses a write leaves the session's end as it is."""
    use(**{**LIFETIMES, **LIMITS, "MAX_SESSIONS_PER_USER": 1}, MAX_SESSIONS_POLICY="refuse")
    begun(_auth_user_id="7")
    session = begun(color="red")
    end = end_of(session)
    session["_auth_user_id"] = "7"
    with pytest.raises(SessionLimitReached):
        session.save()
    session["text"] = "x" * 20_000
    with pytest.raises(SessionTooLarge):
        session.save()
    assert end_of(session) == end


@pytest.mark.django_db
@pytest.mark.parametrize("policy", ["end_oldest", "refuse"])
def test_a_login_begins_anew(raw, use, policy):
    """A login begins the age anew, whether the policy saves the session at once or later."""
    use(**LIFETIMES, **LIMITS, MAX_SESSIONS_POLICY=policy)
    session = again(begun(color="red"))
    raw.hincrby(name_of(session), "@ends", -SLACK * 1000)
    session = again(session)
    request = RequestFactory().get("/")
    request.session = session
    user = User.objects.create_user("ada")
    login(request, user, backend="django.contrib.auth.backends.ModelBackend")
    session.save()
    end_of(session)


def test_entries_that_expire(raw, server, use, policies):
    """An entry keeps its own lifetime, and the session its end, under a new key as well."""
    if not lets_fields_expire(server):
        pytest.skip("on the server of the suite, no field expires")
    use(**policies)
    session = begun(color="red")
    session.set("code", "1234", expires_in=500)
    session.save()
    end = end_of(session)
    session.cycle_key()
    assert end_of(session) == end
    assert 0 < Hash(raw, session).left("code") <= 500_000
    assert again(session)["code"] == "1234"
