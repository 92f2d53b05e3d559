"""
Promise 10: a login never fails over a race, and the old key reveals nothing of the new session.
"""

import asyncio

import pytest
from django.contrib.sessions.backends.base import UpdateError
from django.contrib.sessions.exceptions import SessionInterrupted

from sessions_redis import conf, registry
from sessions_redis.clients import run
from sessions_redis.engine import SessionStore
from sessions_redis.storage.changes import Changes
from sessions_redis.storage.commands import create_beside, session_id


@pytest.fixture(params=["sync", "async"])
def cycle(request):
    """``cycle(session)`` with the sync method or its async twin."""
    if request.param == "sync":
        return SessionStore.cycle_key
    return lambda session: asyncio.run(session.acycle_key())


def saved(user=None):
    session = SessionStore()
    session["cart"] = ["pears"]
    if user:
        session["_auth_user_id"] = user
    session.create()
    return session


def loaded(session):
    """The session as another request has loaded it."""
    again = SessionStore(session.session_key)
    again.load()
    assert again["cart"] == ["pears"]
    return again


# What happens to the second request


@pytest.mark.parametrize("user", [None, "7"])
@pytest.mark.parametrize("times", [1, 3])
def test_a_session_that_another_request_cycled(cycle, user, times):
    """The late request gets its own session. A marker at each old key points to the next key."""
    first = saved(user)
    late = loaded(first)
    for _ in range(times):
        cycle(first)
    cycle(late)
    assert late.session_key not in {None, first.session_key}
    assert dict(SessionStore(late.session_key).items()) == dict(first.items())
    assert len(registry.of_user("7")) == (2 if user else 0)


def test_changes_of_the_late_request_are_kept(cycle):
    """Changes of the late request are in its own session, and not in the other."""
    first = saved("7")
    late = loaded(first)
    late["cart"] = ["plums"]
    cycle(first)
    cycle(late)
    late["coupon"] = 1
    late.save()
    assert SessionStore(late.session_key)["cart"] == ["plums"]
    assert SessionStore(first.session_key)["cart"] == ["pears"]


ENDINGS = {
    "deleted": lambda session: session.delete(),
    "ended": lambda session: registry.end(session_id(session.session_key)),
    "all ended": lambda session: registry.end_all_of("7"),
    "flushed": lambda session: session.flush(),
    "expired": lambda session: (session.set_expiry(-1), session.save()),
    "of another user": lambda session: (session.update({"_auth_user_id": "8"}), session.save()),
    "signed out": lambda session: (session.pop("_auth_user_id"), session.save()),
}


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("times", [1, 3])
def test_a_signed_in_session_that_was_ended_stays_gone(cycle, contents, ending, times):
    """Cycling a session that was cycled and then ended raises UpdateError and writes nothing."""
    first = saved("7")
    late = loaded(first)
    for _ in range(times):
        first.cycle_key()
    ENDINGS[ending](first)
    before = contents()
    with pytest.raises(UpdateError) as raised:
        cycle(late)
    assert isinstance(raised.value, SessionInterrupted)
    assert contents() == before
    assert late.session_key is not None


@pytest.mark.parametrize("ending", ["deleted", "ended", "all ended", "flushed", "expired"])
def test_a_signed_in_session_that_was_ended_without_being_cycled(cycle, contents, ending):
    """Cycling an ended session raises UpdateError and writes nothing."""
    first = saved("7")
    late = loaded(first)
    ENDINGS[ending](first)
    before = contents()
    with pytest.raises(UpdateError):
        cycle(late)
    assert contents() == before == {}


@pytest.mark.parametrize("ending", ["deleted", "ended", "expired", "flushed"])
def test_an_anonymous_session_that_was_ended(cycle, ending):
    """Loaded entries continue in a new session, as with Django's engines."""
    first = saved()
    late = loaded(first)
    ENDINGS[ending](first)
    cycle(late)
    assert dict(SessionStore(late.session_key).items()) == {"cart": ["pears"]}


def test_a_user_whose_entry_is_damaged(raw, cycle):
    """The user comes from the metadata in Redis, even if the user's entry is damaged."""
    first = saved("7")
    raw.hset(first.inspect().redis_key, "_auth_user_id", "{damaged")
    late = loaded(first)
    first.delete()
    with pytest.raises(UpdateError):
        cycle(late)


def test_a_user_that_is_no_text(raw, cycle):
    """The user's bytes are the same in the session's successor, even if they are not text."""
    first = saved("7")
    raw.hset(first.inspect().redis_key, "@user", b"\xff7")
    late = loaded(first)
    cycle(first)
    cycle(late)
    assert SessionStore(late.session_key)["cart"] == ["pears"]


def test_a_load_that_is_answered_late():
    """If one task of a request cycles the session, another task's late load keeps the new key."""
    first = saved()
    shared = SessionStore(first.session_key)
    late = shared._loading()
    command = next(late)
    shared.cycle_key()
    new_key = shared.session_key
    with pytest.raises(StopIteration):
        late.send(run(command))
    assert shared.session_key == new_key
    assert shared["cart"] == ["pears"]


def test_a_session_that_this_request_signed_in(cycle):
    """A session whose user this request has just saved belongs to that user."""
    first = saved()
    late = loaded(first)
    late["_auth_user_id"] = "7"
    late.save()
    registry.end_all_of("7")
    with pytest.raises(UpdateError):
        cycle(late)


def test_a_reply_that_was_lost(raw, prefix):
    """If cycling is sent twice because its reply was lost, it creates one session."""
    first = saved("7")
    id = session_id(first.session_key)
    first.cycle_key()
    changes = Changes({b"color": b"1"}, user="7")
    command = create_beside(conf.current().keyspace, id, b"7", "new", 60, changes)
    assert [run(command), run(command)] == [True, True]
    registry.end(session_id(first.session_key))
    assert run(command) is True
    assert raw.zcard(f"{prefix}:user:7") == 1


# What the old key reveals


def test_the_old_key_gives_nothing_of_the_new_session(raw):
    """An attacker with the key from before the login (session fixation) finds nothing under it."""
    victim = saved()
    old_key = victim.session_key
    victim.cycle_key()
    victim["_auth_user_id"] = "7"
    victim.save()

    attacker = SessionStore(old_key)
    assert attacker.exists(old_key) is False
    assert dict(attacker.load()) == {}
    assert SessionStore(old_key).inspect() is None
    with pytest.raises(UpdateError):
        SessionStore(old_key).increment("counter")
    with pytest.raises(UpdateError):
        asyncio.run(SessionStore(old_key).aincrement("counter"))
    blind = SessionStore(old_key)
    blind.clear()
    with pytest.raises(UpdateError):
        blind.save()
    SessionStore(old_key).delete()
    assert registry.end(session_id(old_key)) is False
    assert registry.end_many([session_id(old_key)]) == []
    assert registry.find(session_id(old_key)) is None

    SessionStore(old_key).cycle_key()
    fresh = SessionStore(old_key)
    fresh.cycle_key()
    assert dict(SessionStore(fresh.session_key).items()) == {}
    assert dict(SessionStore(victim.session_key).items()) == {
        "cart": ["pears"],
        "_auth_user_id": "7",
    }
    assert raw.hkeys(f"{victim.inspect().redis_key.rpartition(':')[0]}:{session_id(old_key)}") == [
        b"@cycled"
    ]


def test_a_request_with_the_anonymous_session_gets_no_user():
    """A request that loaded the session before its login stays anonymous."""
    victim = saved()
    attacker = loaded(victim)
    victim.cycle_key()
    victim["_auth_user_id"] = "7"
    victim.save()
    attacker.cycle_key()
    assert dict(SessionStore(attacker.session_key).items()) == {"cart": ["pears"]}
    assert len(registry.of_user("7")) == 1
