"""End all sessions of the site: who ends, who is spared, and what begins meanwhile."""

import contextlib
import uuid

import pytest
from django.contrib.sessions.backends.db import SessionStore as FormerSessions
from django.core.exceptions import ImproperlyConfigured

from sessions_redis import moving_in, registry
from sessions_redis.engine import SessionStore
from sessions_redis.exceptions import SessionStoreUnavailable
from sessions_redis.signals import session_ended
from sessions_redis.storage import all_sessions, layouts, listings
from sessions_redis.storage.commands import session_id
from tests.servers import wait_until
from tests.test_registry_steps import (  # noqa: F401 - fixtures
    MANY,
    call,
    own,
    signed_in,
    started,
    watched,
)


@contextlib.contextmanager
def receiving(receive):
    session_ended.connect(receive)
    try:
        yield
    finally:
        session_ended.disconnect(receive)


def anonymous():
    session = SessionStore()
    session["color"] = "red"
    session.save()
    return session


def id_of(session):
    return session_id(session.session_key)


def is_there(session):
    return SessionStore().exists(session.session_key)


def wait_for_the_next_second(raw):
    """Afterwards, a session that was created before is older than one that begins."""
    began = raw.time()[0]
    wait_until(lambda: raw.time()[0] > began, "the next second begins")


def test_ending_all(call, ended):  # noqa: F811
    """Sessions of all users and anonymous ones end, each with its signal, and leave the indexes."""
    sessions = {id_of(signed_in(user)): user for user in ("7", "7", "8")}
    sessions |= {id_of(anonymous()): None for _ in range(2)}
    assert call("end_all", reason="tests") == 5
    assert sorted(ended) == sorted((id, user, "tests") for id, user in sessions.items())
    assert registry.count() == 0
    assert registry.of_user("7") == []
    assert call("end_all") == 0
    assert len(ended) == 5


def test_which_ones_ended(call, ended):  # noqa: F811
    """The ids that it returns are those of the signals."""
    sessions = {id_of(signed_in()) for _ in range(3)}
    assert set(call("end_each")) == sessions
    assert {reason for _, _, reason in ended} == {"ended"}


@pytest.mark.parametrize("times", [0, 2])
@pytest.mark.parametrize("by", ["key", "id"])
def test_all_but_one(call, times, by):  # noqa: F811
    """One session can be spared, also under the key that it has by now."""
    mine, others = signed_in(), [signed_in(), anonymous()]
    known = mine.session_key
    for _ in range(times):
        mine.cycle_key()
    spared = {"except_session_key": known} if by == "key" else {"except_id": session_id(known)}
    assert call("end_all", **spared) == 2
    assert is_there(mine)
    assert [live.id for live in registry.latest(0, 10)] == [id_of(mine)]
    assert not any(map(is_there, others))


def test_sparing_what_is_gone(call):  # noqa: F811
    """A session to spare that does not exist spares nothing."""
    signed_in()
    assert call("end_all", except_id="0" * 32) == 1


def test_another_site_stays(call, settings, session_redis, delete_all):  # noqa: F811
    """Sessions under another key prefix in the same database stay."""
    signed_in()
    other = session_redis["KEY_PREFIX"].replace("test-", f"test-{uuid.uuid4().hex[:6]}")
    settings.SESSION_REDIS = {**session_redis, "KEY_PREFIX": other}
    theirs = signed_in()
    settings.SESSION_REDIS = session_redis
    assert call("end_all") == 1
    settings.SESSION_REDIS = {**session_redis, "KEY_PREFIX": other}
    assert is_there(theirs)
    delete_all(other)


def test_reports(call, monkeypatch):  # noqa: F811
    """It reports after each step how many sessions that ended."""
    monkeypatch.setattr(listings, "END_MANY_BATCH_SIZE", 2)
    monkeypatch.setattr(all_sessions, "END_MANY_BATCH_SIZE", 2)
    for _ in range(5):
        signed_in()
    steps = []
    assert call("end_all", report=steps.append) == 5
    assert steps == [2, 2, 1]


def test_steps_are_bounded(call, server):  # noqa: F811
    """However many sessions there are, each command is about a bounded number of them."""
    ids = started(MANY, user=lambda number: str(number % 3))
    with watched(server) as scripts:
        assert call("end_all") == MANY
    unlinked = [words for script in scripts for words in script if "UNLINK" in words[0].upper()]
    assert unlinked
    assert max(len(words) - 1 for words in unlinked) <= listings.END_MANY_BATCH_SIZE
    assert not any(SessionStore().exists(id) for id in ids)


def test_a_busy_site(call, raw):  # noqa: F811
    """Sessions that begin meanwhile live, and do not keep it from coming to an end."""
    old = [signed_in() for _ in range(5)]
    wait_for_the_next_second(raw)
    begun = []

    def sign_in(**kwargs):
        begun.append(signed_in("8"))

    with receiving(sign_in):
        count = call("end_all")
    assert count >= 5
    assert not any(map(is_there, old))
    lives = [session for session in begun if is_there(session)]
    assert registry.count() == len(lives)
    wait_for_the_next_second(raw)
    assert call("end_all") == len(lives)


def test_new_keys_meanwhile(call, monkeypatch):  # noqa: F811
    """A session that gets a new key with each step ends nevertheless."""
    monkeypatch.setattr(all_sessions, "END_MANY_BATCH_SIZE", 1)
    others, keys = [signed_in() for _ in range(10)], []
    hopping = signed_in("8")
    others += [signed_in() for _ in range(10)]

    def cycle(*, user_pk, **kwargs):
        if user_pk == "7" and is_there(hopping):
            hopping.cycle_key()
            keys.append(hopping.session_key)

    with receiving(cycle):
        assert call("end_all") == 21
    assert len(keys) >= 5
    assert not any(map(is_there, [hopping, *others]))
    assert registry.count() == 0


def test_a_new_key_between_reading_the_index_and_the_session(monkeypatch):
    """The pass follows the session to its new key."""
    session, first, last = signed_in(), listings.first, []

    def cycled(*arguments, **options):
        command = first(*arguments, **options)

        def read(reply):
            found = command.read(reply)
            if not last:
                last.append(session.cycle_key())
            return found

        return command._replace(read=read)

    monkeypatch.setattr(listings, "first", cycled)
    assert registry.end_all() == 1
    assert not is_there(session)


def test_a_new_key_between_reading_the_session_and_ending_it(monkeypatch):
    """It follows the session to its new key, and ends it there."""
    session, end_those, last = signed_in(), layouts.end_those, []

    def cycled(*arguments):
        if not last:
            last.append(session.cycle_key())
        return end_those(*arguments)

    monkeypatch.setattr(layouts, "end_those", cycled)
    assert registry.end_all() == 1
    assert not is_there(session)


@pytest.mark.parametrize("size", [1, 2, 5])
def test_many_of_one_millisecond(monkeypatch, raw, prefix, size):
    """Sessions that are listed until the same time are all read."""
    monkeypatch.setattr(all_sessions, "END_MANY_BATCH_SIZE", size)
    sessions = [signed_in() for _ in range(5)]
    raw.zadd(f"{prefix}:index", {id_of(session): 9e9 for session in sessions}, xx=True)
    assert registry.end_all() == 5
    assert registry.count() == 0


def test_damage(call, raw, prefix):  # noqa: F811
    """A session with a damaged time ends. Members that are not sessions are left alone."""
    session, mine = signed_in(), signed_in()
    raw.hset(f"{prefix}:{id_of(session)}", "@created", "yesterday")
    raw.zadd(f"{prefix}:index", {"x": 9e9, "f" * 32: 9e9, "e" * 32: 9e9})
    raw.set(f"{prefix}:{'e' * 32}", "text", ex=60)
    for id, other in (("a" * 32, "b" * 32), ("b" * 32, "a" * 32)):  # markers in a circle
        raw.hset(f"{prefix}:{id}", "@cycled", other)
        raw.expire(f"{prefix}:{id}", 60)
        raw.zadd(f"{prefix}:index", {id: 9e9})
    assert call("end_all", except_id=id_of(mine)) == 1
    assert not is_there(session)
    assert raw.get(f"{prefix}:{'e' * 32}") == b"text"


def test_without_an_index(call, settings, session_redis):  # noqa: F811
    """Without an index it cannot find the sessions, and says so."""
    settings.SESSION_REDIS = {**session_redis, "INDEX": False}
    with pytest.raises(ImproperlyConfigured, match="INDEX"):
        call("end_all")


def test_redis_goes_away_midway(own, call, ended):  # noqa: F811
    """Signals were sent for what ended until then, and the error says what that is."""

    def go_away(**kwargs):
        if own.process.poll() is None:
            own.stop()

    ids = set(started(MANY))
    with receiving(go_away), pytest.raises(SessionStoreUnavailable) as caught:
        call("end_all", reason="tests")
    assert 0 < len(caught.value.ended) <= listings.END_MANY_BATCH_SIZE
    assert set(caught.value.ended) < ids
    assert ended == [(id, "7", "tests") for id in caught.value.ended]


@pytest.mark.django_db(transaction=True)
def test_ended_sessions_do_not_move_in(settings, session_redis):
    """A session that ended does not move in again from what the former engine has of it."""
    former = "django.contrib.sessions.backends.db"
    settings.SESSION_REDIS = {**session_redis, "FORMER_ENGINE": former}
    moving_in.unknown_keys.clear()
    old = FormerSessions()
    old["color"] = "red"
    old.create()
    assert SessionStore(old.session_key)["color"] == "red"
    FormerSessions(old.session_key).save(must_create=True)  # as if it could not be deleted
    assert registry.end_all() == 1
    assert dict(SessionStore(old.session_key).load()) == {}
