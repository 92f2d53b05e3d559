"""Workers of the former engine and of this one serve the same sessions."""

from contextlib import contextmanager

import pytest
from django.contrib.sessions.backends.base import UpdateError
from django.contrib.sessions.backends.db import SessionStore as FormerSessions
from django.utils import timezone

from sessions_redis import registry
from sessions_redis.engine import SessionStore
from sessions_redis.exceptions import SessionTooLarge
from sessions_redis.former.database import DatabaseStore
from sessions_redis.storage.commands import session_id

pytestmark = pytest.mark.django_db(transaction=True)

FORMER = "django.contrib.sessions.backends.db"


@pytest.fixture(autouse=True)
def shared(settings, session_redis):
    """Sessions are shared with Django's database engine."""
    settings.SESSION_REDIS = {
        **session_redis, "FORMER_ENGINE": FORMER, "FORMER_ENGINE_SHARED": True,
    }  # fmt: skip


@pytest.fixture
def old():
    """Creates a session with the former engine, and returns its key."""

    def create(**entries):
        session = FormerSessions()
        session.update(entries)
        session.create()
        return session.session_key

    return create


@pytest.fixture
def new():
    """Creates a session with this engine, and returns its key."""

    def create(**entries):
        session = SessionStore()
        session.update(entries)
        session.save()
        return session.session_key

    return create


def test_old_session_works_on_both_sides(old):
    """A session that an old worker began is there for new workers, and stays for old ones."""
    key = old(color="red")
    assert SessionStore(key)["color"] == "red"
    assert FormerSessions(key)["color"] == "red"


def test_new_session_works_on_both_sides(new):
    """A session that a new worker began is there for old workers."""
    assert FormerSessions(new(color="red"))["color"] == "red"


@pytest.mark.parametrize(
    ("writes", "reads"), [(FormerSessions, SessionStore)] * 1 + [(SessionStore, FormerSessions)]
)
def test_writes_of_one_side_reach_the_other(old, writes, reads):
    """An entry that one side writes, changes or removes is so for the other side."""
    key = old(color="red", size=1, weight=2)
    reads(key).load()
    session = writes(key)
    session["color"], session["shape"] = "blue", "round"
    del session["size"]
    session.save()
    assert dict(reads(key).items()) == {"color": "blue", "shape": "round", "weight": 2}


@pytest.mark.parametrize("ending", ["flush", "delete", "cycle_key"])
def test_log_out_of_an_old_worker_holds(new, ending):
    """A session that an old worker ends is gone for new workers, and no longer listed."""
    key = new(_auth_user_id="7")
    session = FormerSessions(key)
    session.load()
    getattr(session, ending)()
    assert SessionStore(key).load() == {}
    assert session_id(key) not in [one.id for one in registry.of_user("7")]


@pytest.mark.parametrize("ending", ["flush", "delete", "cycle_key", "expire"])
def test_log_out_of_a_new_worker_holds(old, ending):
    """A session that a new worker ends is gone for old workers."""
    key = old(_auth_user_id="7")
    session = SessionStore(key)
    session.load()
    if ending == "expire":
        session.set_expiry(-1)
        session.save()
    else:
        getattr(session, ending)()
    assert not FormerSessions().exists(key)
    assert SessionStore(key).load() == {}


def test_cycled_session_works_on_both_sides(old):
    """A session that a new worker cycles is there for old workers under its new key."""
    session = SessionStore(old(color="red"))
    session.cycle_key()
    assert FormerSessions(session.session_key)["color"] == "red"
    assert SessionStore(session.session_key)["color"] == "red"


def test_save_after_log_out_of_an_old_worker_raises(new):
    """A request of a new worker cannot save a session that an old worker has ended meanwhile."""
    key = new(color="red")
    session = SessionStore(key)
    session["color"] = "blue"
    FormerSessions().delete(key)
    with pytest.raises(UpdateError):
        session.save()
    assert SessionStore(key).load() == {}
    assert not FormerSessions().exists(key)


def test_ended_session_leaves_the_old_side(new):
    """A session that the registry ends is deleted on the old side when its key comes next."""
    key = new(_auth_user_id="7")
    registry.end(session_id(key))
    assert SessionStore(key).load() == {}
    assert not FormerSessions().exists(key)


def test_updates_reach_old_workers(old):
    """append() and update_entry() write the session there as well."""
    key = old(seen=["pears"], total=1)
    assert SessionStore(key).append("seen", "figs") == ["pears", "figs"]
    assert SessionStore(key).update_entry("total", lambda total: total + 0.5) == 1.5
    former = FormerSessions(key)
    assert (former["seen"], former["total"]) == (["pears", "figs"], 1.5)


def test_a_lock_reaches_old_workers(old):
    """What the block changes is saved there as well."""
    key = old(color="red")
    with SessionStore(key).lock() as session:
        session["color"] += "blue"
    assert FormerSessions(key)["color"] == "redblue"
    session["size"] = 1
    with session.lock():
        assert session["size"] == 1
    assert FormerSessions(key)["size"] == 1


def test_a_refused_save_does_not_reach_old_workers(old, settings):
    """A session that would be too large is saved on neither side."""
    settings.SESSION_REDIS = {**settings.SESSION_REDIS, "MAX_SESSION_BYTES": 100}
    key = old(color="red")
    session = SessionStore(key)
    session["photo"] = "x" * 100
    with pytest.raises(SessionTooLarge):
        session.save()
    assert "photo" not in FormerSessions(key)
    session["photo"] = "x"
    session.save()
    assert FormerSessions(key)["photo"] == "x"


def test_increment_reaches_old_workers(old):
    """What a new worker adds to an entry is there for old workers."""
    key = old(visits=4)
    assert SessionStore(key).increment("visits") == 5
    assert FormerSessions(key)["visits"] == 5


def test_session_from_before_is_shared(settings, session_redis, new):
    """A session that this engine kept alone is there for old workers once it is used."""
    shared = settings.SESSION_REDIS
    settings.SESSION_REDIS = session_redis
    key = new(color="red")
    settings.SESSION_REDIS = shared
    assert SessionStore(key)["color"] == "red"
    assert FormerSessions(key)["color"] == "red"


def test_lifetimes_are_the_same(old, raw, prefix):
    """A lifetime that one side changes is that of the other side, too."""
    key = old(color="red")
    session = SessionStore(key)
    session.set_expiry(5000)
    session.save()
    row = FormerSessions.get_model_class().objects.get(pk=key)
    assert 4000 < (row.expire_date - timezone.now()).total_seconds() <= 5000
    assert 4000 < raw.ttl(f"{prefix}:{session_id(key)}") <= 5000


@pytest.fixture
def alone(settings):
    """Runs code as a worker that does not share any more, while others still do."""
    shared = settings.SESSION_REDIS

    @contextmanager
    def switched():
        settings.SESSION_REDIS = {**shared, "FORMER_ENGINE_SHARED": False}
        yield
        settings.SESSION_REDIS = shared

    return switched


def test_moves_in_for_another_worker_while_it_loads(old, alone, monkeypatch):
    """A worker that shares finds a session that another one has moved in since it looked here."""
    key = old(color="red")
    SessionStore(key).load()
    load = DatabaseStore.load

    def late(self, one):
        monkeypatch.undo()
        with alone():
            SessionStore(key).load()
        return load(self, one)

    monkeypatch.setattr(DatabaseStore, "load", late)
    assert SessionStore(key)["color"] == "red"
    assert SessionStore(key)["color"] == "red"


def test_moves_in_for_another_worker_before_a_save(old, alone):
    """A worker that shares saves a session that another one has moved in since it was loaded."""
    key = old(color="red")
    session = SessionStore(key)
    session["size"] = 1
    with alone():
        SessionStore(key).load()
    session.save()
    assert dict(SessionStore(key).items()) == {"color": "red", "size": 1}
    with alone():
        assert dict(SessionStore(key).items()) == {"color": "red", "size": 1}
