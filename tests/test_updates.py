"""`append()` and `update_entry()`: entries that several requests change at the same time."""

import asyncio

import pytest
from django.contrib.sessions.backends.base import UpdateError

from sessions_redis import registry, updates
from sessions_redis.engine import SessionStore
from sessions_redis.exceptions import Contended, SessionStoreUnavailable
from tests.proxy import Proxy
from tests.ruled_engine import SessionStore as RuledStore
from tests.test_clients import Lossy
from tests.workers import Worker, race

PROCESSES = 3
TIMES = 20


def reopened(session):
    return SessionStore(session.session_key)


@pytest.fixture(params=["sync", "async"])
def call(request):
    """Calls a method of a session, or its asynchronous twin."""

    def method(session, name, *arguments, **options):
        if request.param == "sync":
            return getattr(session, name)(*arguments, **options)
        return asyncio.run(getattr(session, f"a{name}")(*arguments, **options))

    return method


def plus(number):
    return lambda value: value + number


def test_update_of_an_entry(live, call):
    """It starts from what Redis holds, returns the new value, and is in Redis at once."""
    mine = reopened(live)
    assert mine.get("total") is None
    assert call(reopened(live), "update_entry", "total", plus(1.5), 10) == 11.5
    assert call(mine, "update_entry", "total", plus(1), 10) == 12.5
    assert mine["total"] == reopened(live)["total"] == 12.5
    mine["color"] = "blue"
    mine.save()
    assert dict(reopened(live).items()) == {"color": "blue", "total": 12.5}


def test_other_changes_are_not_saved_with_it(live, call):
    """Only this entry is written. What else changed is saved with the session."""
    mine = reopened(live)
    mine["color"] = "blue"
    call(mine, "update_entry", "total", plus(1), 0)
    assert dict(reopened(live).items()) == {"color": "red", "total": 1}
    mine.save()
    assert reopened(live)["color"] == "blue"


def test_the_function_is_called_again(live, call):
    """If another request was faster, with the value that it wrote."""
    seen = []

    def function(value):
        seen.append(list(value))
        if len(seen) < 3:
            reopened(live).append("steps", len(seen))
        value.append("mine")
        return value

    default = []
    assert call(reopened(live), "update_entry", "steps", function, default) == [1, 2, "mine"]
    assert seen == [[], [1], [1, 2]]
    assert default == []
    assert reopened(live)["steps"] == [1, 2, "mine"]


def test_another_request_removes_the_entry(live, call):
    """Then the function gets the default."""
    seen = []

    def function(value):
        if not seen:
            other = reopened(live)
            del other["color"]
            other.save()
        seen.append(value)
        return "blue"

    call(reopened(live), "update_entry", "color", function, "none")
    assert seen == ["red", "none"]
    assert reopened(live)["color"] == "blue"


def test_giving_up(live, call, monkeypatch):
    """After too many attempts it raises Contended, and the entry is as the others left it."""
    monkeypatch.setattr(updates, "ATTEMPTS", 3)
    monkeypatch.setattr(updates, "PATIENCE", 2)
    monkeypatch.setattr(updates, "LONGEST_PAUSE", 0)
    session = reopened(live)

    def function(value):
        reopened(live).increment("count")
        return value

    with pytest.raises(Contended, match=r"'count' at each of 3 attempts .* session\.lock\(\)"):
        call(session, "update_entry", "count", function)
    assert reopened(live)["count"] == 3


def test_what_the_function_raises(live, call):
    """It passes through, and nothing is written."""
    with pytest.raises(ZeroDivisionError):
        call(live, "update_entry", "color", lambda _: 1 / 0)
    with pytest.raises(TypeError, match="not JSON serializable"):
        call(live, "update_entry", "color", lambda _: object())
    assert reopened(live)["color"] == "red"


def test_append(live, call):
    """It adds to the list in Redis. A missing entry counts as an empty list."""
    mine = reopened(live)
    mine.load()
    assert call(reopened(live), "append", "seen", "pears") == ["pears"]
    assert call(mine, "append", "seen", {"id": 2}) == ["pears", {"id": 2}]
    assert reopened(live)["seen"] == ["pears", {"id": 2}]
    assert mine.modified


@pytest.mark.parametrize("value", ["red", {"a": 1}, None, 1])
def test_append_to_what_is_no_list(live, call, value):
    """It raises TypeError, saved or not, and the entry stays."""
    live["seen"] = value
    with pytest.raises(TypeError, match="'seen' is not a list"):
        call(live, "append", "seen", 1)
    live.save()
    with pytest.raises(TypeError, match="'seen' is not a list"):
        call(reopened(live), "append", "seen", 1)
    assert reopened(live)["seen"] == value


@pytest.mark.parametrize("key", [1, None, b"seen"])
def test_a_key_that_is_no_string(live, call, key):
    """It is refused, and nothing is written."""
    with pytest.raises(TypeError, match="is a string"):
        call(live, "append", key, 1)
    assert dict(reopened(live).items()) == {"color": "red"}


@pytest.mark.parametrize("key", ["@lock", "@@x", "", "scope:cart:a", "\ud800", "ä\nb"])
def test_any_key(live, call, key):
    """Entries may have any name, also that of a field of metadata."""
    assert call(live, "append", key, 1) == [1]
    assert call(reopened(live), "append", key, 2) == [1, 2]
    assert call(live, "append", key, 3) == [1, 2, 3]
    assert reopened(live)[key] == [1, 2, 3]


def test_an_unsaved_change(live, call):
    """An entry that was set or removed, and not saved, is updated here and saved later."""
    live["seen"] = ["a"]
    assert call(live, "append", "seen", "b") == ["a", "b"]
    assert "seen" not in reopened(live)
    live.save()
    assert reopened(live)["seen"] == ["a", "b"]
    del live["seen"]
    assert call(live, "append", "seen", "c") == ["c"]
    live.save()
    assert reopened(live)["seen"] == ["c"]
    live.clear()
    assert call(live, "update_entry", "seen", lambda _: "all") == "all"
    live.save()
    assert dict(reopened(live).items()) == {"seen": "all"}


def test_without_a_session(call):
    """A visitor without a session gets the entry, and the session when it is saved."""
    session = SessionStore()
    assert call(session, "append", "seen", 1) == [1]
    assert call(session, "append", "seen", 2) == [1, 2]
    assert session.session_key is None
    session.save()
    assert reopened(session)["seen"] == [1, 2]
    stale = SessionStore("x" * 32)
    assert call(stale, "append", "seen", 1) == [1]
    assert stale.session_key is None


def test_a_session_that_is_gone(live, call, contents):
    """It raises UpdateError and writes nothing."""
    session = reopened(live)
    session.load()
    session.get("color")
    live.delete()
    with pytest.raises(UpdateError):
        call(session, "append", "seen", 1)
    assert contents() == {}


def test_a_damaged_entry(live, call, raw):
    """It reads as missing, as everywhere, and is replaced."""
    raw.hset(live.inspect().redis_key, "seen", b"\xff[")
    assert call(reopened(live), "append", "seen", 1) == [1]
    assert reopened(live)["seen"] == [1]


def test_a_serializer_that_writes_bytes(settings, live, call):
    """The comparison is one of bytes, so any serializer will do."""
    settings.SESSION_SERIALIZER = "tests.pickling.PickleSerializer"
    session = SessionStore()
    session["seen"] = [b"\xff"]
    session.save()
    other = reopened(session)
    other.load()
    call(session, "append", "seen", {1})
    assert call(other, "append", "seen", 2.5) == [b"\xff", {1}, 2.5]


def test_the_user(live, call):
    """An update of the entry with the user lists the session as one of that user."""
    call(live, "update_entry", "_auth_user_id", lambda _: "7")
    assert [found.user_pk for found in registry.of_user("7")] == ["7"]
    call(live, "update_entry", "_auth_user_id", lambda _: None)
    assert registry.of_user("7") == []


def test_rules_of_a_subclass(call):
    """A load() of the site's own may refuse the session: then a new one begins."""
    session = RuledStore()
    session["tenant"] = "another"
    session.create()
    other = RuledStore(session.session_key)
    assert call(other, "append", "seen", 1) == [1]
    assert other.session_key is None
    assert "seen" not in SessionStore(session.session_key)


def test_it_is_never_made_twice(live, call, redis_at, server):
    """When the reply is lost, it raises, because the change may have been made."""
    lossy = Lossy(server.port, hangs=False)
    redis_at(lossy.url)
    try:
        session = reopened(live)
        call(session, "append", "seen", 1)
        lossy.word, lossy.came, lossy.loses = b"EVALSHA", 0, 1
        with pytest.raises(SessionStoreUnavailable) as caught:
            call(session, "append", "seen", 2)
        assert lossy.came == 1
        assert caught.value.may_have_been_done
        assert reopened(live)["seen"] == [1, 2]
    finally:
        lossy.stop()


@pytest.fixture
def counted(server, redis_at):
    """Counts round trips, on a connection that has sent the script before."""
    with Proxy(server.port) as proxy:
        redis_at(proxy.url)
        warm = SessionStore()
        warm.create()
        for _ in range(2):
            warm.increment("count")
            warm.append("seen", 1)
        yield proxy.counted


def test_round_trips(live, counted):
    """One, if the session was loaded; and one more for each time that another was faster."""
    other, session, fresh = reopened(live), reopened(live), reopened(live)
    other.get("color")
    session.get("color")
    assert counted(session.append, "seen", 1) == 1
    assert counted(session.append, "seen", 2) == 1
    assert counted(other.append, "seen", 3) == 2
    assert counted(other.update_entry, "seen", lambda seen: [*seen, 4]) == 1
    assert counted(fresh.append, "seen", 5) == 2
    assert reopened(live)["seen"] == [1, 2, 3, 4, 5]


def test_nothing_is_lost(session_redis, live):
    """Processes that change the same entries at the same time, also in a lock, lose nothing."""
    names = [f"p{number}" for number in range(PROCESSES)]
    workers = [
        Worker(
            session_redis, "change_entries", session_key=live.session_key, name=name, times=TIMES
        )
        for name in names
    ]
    try:
        race(workers)
    finally:
        for worker in workers:
            worker.end()
    stored = reopened(live)
    assert sorted(stored["items"]) == sorted(f"{n}-{i}" for n in names for i in range(TIMES))
    assert stored["total"] == {"times": PROCESSES * TIMES}
    assert stored["count"] == PROCESSES * TIMES
