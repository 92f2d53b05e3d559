"""Sessions of a former engine move in with the first request that brings their key."""

import pytest
from django.contrib.sessions.backends.base import UpdateError
from django.contrib.sessions.backends.db import SessionStore as FormerSessions
from django.utils import timezone

from sessions_redis import moving_in, registry
from sessions_redis.engine import SessionStore
from sessions_redis.storage.commands import session_id

pytestmark = pytest.mark.django_db(transaction=True)

FORMER = "django.contrib.sessions.backends.db"


@pytest.fixture(autouse=True)
def former(settings, session_redis):
    """Sessions move in from Django's database engine."""
    settings.SESSION_REDIS = {**session_redis, "FORMER_ENGINE": FORMER}
    moving_in.unknown_keys.clear()


@pytest.fixture
def old():
    """Creates a session of the former engine, and returns its key."""

    def create(**entries):
        session = FormerSessions()
        session.update(entries)
        session.create()
        return session.session_key

    return create


def is_there(key):
    """Whether the former engine has the session."""
    return FormerSessions().exists(key)


def test_moves_with_all_entries(old):
    """A session of the former engine is loaded with all of its entries, and leaves that engine."""
    key = old(color="red", sizes=[1, 2])
    session = SessionStore(key)
    assert (session["color"], session["sizes"], session.session_key) == ("red", [1, 2], key)
    assert not is_there(key)
    assert SessionStore(key)["color"] == "red"


def test_keeps_its_lifetime(old, raw, prefix):
    """The lifetime that is left stays the same to the second."""
    key = old(color="red")
    row = FormerSessions.get_model_class().objects.get(pk=key)
    row.expire_date = timezone.now() + timezone.timedelta(seconds=5000)
    row.save()
    SessionStore(key).load()
    left = raw.pttl(f"{prefix}:{session_id(key)}") / 1000
    assert 4000 < left <= 5000


def test_is_listed(old):
    """A session that moved in is listed, under its user."""
    key = old(_auth_user_id="7")
    SessionStore(key).load()
    assert [one.id for one in registry.of_user("7")] == [session_id(key)]


def test_has_no_copy_note_left(old, raw, prefix):
    """Once the former copy is deleted, the session's hash does not mention it."""
    key = old(color="red")
    SessionStore(key).load()
    assert b"@copied" not in raw.hgetall(f"{prefix}:{session_id(key)}")


def test_exists_in_either_store(old):
    """A key of the former engine exists, and an unknown one does not."""
    assert SessionStore().exists(old(color="red"))
    assert not SessionStore().exists("unknownkeyunknownkeyunknownkeyun")


def test_unknown_key_is_not_adopted(raw, prefix):
    """A key that neither store knows loads as an empty session without a key."""
    session = SessionStore("unknownkeyunknownkeyunknownkeyun")
    assert session.load() == {}
    assert session.session_key is None
    assert not raw.keys(f"{prefix}:*")


@pytest.mark.parametrize("ending", ["flush", "delete", "cycle_key", "end", "end_many", "expire"])
def test_ended_session_does_not_come_back(old, ending):
    """A session that ended here stays gone, even if its copy appears in the former store again."""
    key = old(_auth_user_id="7")
    session = SessionStore(key)
    session.load()
    row = FormerSessions().create_model_instance({"_auth_user_id": "7"})
    if ending == "expire":
        session.set_expiry(-1)
        session.save()
    elif ending in ("end", "end_many"):
        id = session_id(key)
        registry.end(id) if ending == "end" else registry.end_many([id])
    else:
        getattr(session, ending)()
    row.session_key = key
    row.save(force_insert=True)
    assert SessionStore(key).load() == {}
    assert not is_there(key)


@pytest.mark.parametrize("ending", ["delete", "end", "end_many"])
def test_session_that_has_not_moved_ends(old, ending):
    """A session that is still in the former store can be ended by its key or ID."""
    key = old(color="red")
    if ending == "delete":
        SessionStore().delete(key)
    elif ending == "end":
        registry.end(session_id(key))
    else:
        registry.end_many([session_id(key)])
    assert SessionStore(key).load() == {}


def test_sign_out_everywhere(old):
    """Ending all sessions of a user includes those that have not moved in yet, but for one."""
    mine, other, spared = old(_auth_user_id="7"), old(_auth_user_id="8"), old(_auth_user_id="7")
    registry.end_all_of("7", spared)
    assert SessionStore(mine).load() == {}
    assert SessionStore(other)["_auth_user_id"] == "8"
    assert SessionStore(spared)["_auth_user_id"] == "7"


def test_cycled_session_has_one_key(old):
    """A session that is cycled as it moves in is under its new key only."""
    key = old(color="red")
    session = SessionStore(key)
    session.cycle_key()
    assert session.session_key != key
    assert SessionStore(session.session_key)["color"] == "red"
    assert SessionStore(key).load() == {}
    assert not is_there(key)


def test_expired_session_does_not_move(old):
    """A session that has expired in the former store is unknown here."""
    key = old(color="red")
    FormerSessions.get_model_class().objects.update(expire_date=timezone.now())
    assert SessionStore(key).load() == {}


def test_an_update_moves_it_first(old):
    """The entry of the former engine is updated. A session that has ended does not come back."""
    key = old(seen=["pears"])
    assert SessionStore(key).append("seen", "figs") == ["pears", "figs"]
    late = SessionStore(key)
    late.load()
    late.get("seen")
    SessionStore(key).delete()
    with pytest.raises(UpdateError):
        late.append("seen", "plums")
    assert not SessionStore().exists(key)


def test_a_lock_moves_it_first(old):
    """The block has the entries of the former engine."""
    with SessionStore(old(color="red")).lock() as session:
        assert session["color"] == "red"
        session["color"] = "blue"
    assert SessionStore(session.session_key)["color"] == "blue"


def test_increment_moves_it_first(old):
    """Adding to an entry of a session that has not moved moves it first."""
    key = old(visits=4)
    assert SessionStore(key).increment("visits") == 5
    assert SessionStore(key)["visits"] == 5


def test_inspect_moves_it_first(old):
    """Inspecting a session that has not moved shows it as it is in Redis then."""
    assert SessionStore(old(color="red")).inspect().fields["color"] == '"red"'


def test_save_after_end_raises(old):
    """A request whose session was ended meanwhile cannot save it."""
    session = SessionStore(old(color="red"))
    session["color"] = "blue"
    registry.end(session_id(session.session_key))
    with pytest.raises(UpdateError):
        session.save()


def test_unknown_keys_are_remembered(django_assert_num_queries):
    """The same unknown key is looked up in the former store once."""
    key = "unknownkeyunknownkeyunknownkeyun"
    with django_assert_num_queries(1):
        for _ in range(5):
            SessionStore(key).load()
