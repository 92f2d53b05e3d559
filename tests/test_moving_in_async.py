"""Sessions move in, and are shared, in asynchronous code as well."""

import asyncio

import pytest
from django.contrib.sessions.backends.base import UpdateError
from django.contrib.sessions.backends.cache import SessionStore as FormerSessions

from sessions_redis import moving_in, registry
from sessions_redis.engine import SessionStore
from sessions_redis.storage.commands import session_id

FORMER = {"FORMER_ENGINE": "django.contrib.sessions.backends.cache"}

UNKNOWN = "unknownkeyunknownkeyunknownkeyun"


@pytest.fixture(autouse=True)
def moves_in(settings, session_redis):
    """Sessions move in from Django's cache engine."""
    settings.SESSION_REDIS = {**session_redis, **FORMER}
    moving_in.unknown_keys.clear()


@pytest.fixture
def shared(settings):
    """Sessions are shared with Django's cache engine."""
    settings.SESSION_REDIS = {**settings.SESSION_REDIS, "FORMER_ENGINE_SHARED": True}


@pytest.fixture
def key():
    """The key of a session of the former engine."""
    session = FormerSessions()
    session.update({"_auth_user_id": "7", "visits": 4})
    session.create()
    return session.session_key


def test_moves_in(key):
    """A session moves with all of its entries, and is deleted in the former store."""

    async def scenario():
        session = SessionStore(key)
        assert await session.aget("visits") == 4
        assert [one.id for one in await registry.aof_user("7")] == [session_id(key)]
        return await SessionStore().aexists(key), await SessionStore().aexists(UNKNOWN)

    assert asyncio.run(scenario()) == (True, False)
    assert not FormerSessions().exists(key)


def test_unknown_key_is_not_adopted():
    """A key that neither store knows loads as an empty session without a key."""

    async def scenario():
        session = SessionStore(UNKNOWN)
        assert await session.aload() == {}
        return session.session_key

    assert asyncio.run(scenario()) is None


@pytest.mark.parametrize("ending", ["aflush", "adelete", "acycle_key"])
def test_ended_session_does_not_come_back(key, ending):
    """A session that ended here stays gone, even if its copy appears in the former store again."""

    async def scenario():
        session = SessionStore(key)
        entries = dict(await session.aload())
        await getattr(session, ending)()
        copy = FormerSessions(key)
        copy.update(entries)
        await copy.asave(must_create=True)
        return await SessionStore(key).aload()

    assert asyncio.run(scenario()) == {}
    assert not FormerSessions().exists(key)


def test_counts(key):
    """Adding to an entry of a session that has not moved moves it first."""
    assert asyncio.run(SessionStore(key).aincrement("visits")) == 5
    assert SessionStore(key)["visits"] == 5


@pytest.mark.usefixtures("shared")
def test_shares(key):
    """What a new worker writes is there for old workers, and the other way round."""

    async def scenario():
        session = SessionStore(key)
        await session.aset("color", "red")
        await session.asave()
        assert FormerSessions(key)["color"] == "red"
        old = FormerSessions(key)
        old["color"] = "blue"
        old.save()
        assert await SessionStore(key).aget("color") == "blue"
        await session.acycle_key()
        return session.session_key

    assert FormerSessions(asyncio.run(scenario()))["visits"] == 4
    assert not FormerSessions().exists(key)


@pytest.mark.usefixtures("shared")
def test_log_out_of_an_old_worker_holds(key):
    """A request of a new worker cannot save a session that an old worker has ended meanwhile."""

    async def scenario():
        session = SessionStore(key)
        await session.aset("color", "red")
        FormerSessions().delete(key)
        with pytest.raises(UpdateError):
            await session.asave()
        return await SessionStore(key).aload()

    assert asyncio.run(scenario()) == {}
