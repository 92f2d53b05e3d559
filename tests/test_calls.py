"""Overridden methods that raise, or that return something else than the engine's own."""

import asyncio
from unittest import mock

import pytest
from django.contrib.sessions.backends.base import UpdateError

from sessions_redis import registry
from sessions_redis.engine import SessionStore


class Failing(SessionStore):
    """Raises in the method ``fails``, before or after the engine's own."""

    fails = when = ""

    def _fail(self, method, when):
        if (self.fails, self.when) == (method, when):
            raise OSError("The audit log is full.")

    def create(self):
        self._fail("create", "before")
        super().create()
        self._fail("create", "after")

    def save(self, must_create=False):
        self._fail("save", "before")
        super().save(must_create)
        self._fail("save", "after")

    def delete(self, session_key=None):
        self._fail("delete", "before")
        super().delete(session_key)
        self._fail("delete", "after")

    async def acreate(self):
        self._fail("create", "before")
        await super().acreate()
        self._fail("create", "after")

    async def asave(self, must_create=False):
        self._fail("save", "before")
        await super().asave(must_create)
        self._fail("save", "after")

    async def adelete(self, session_key=None):
        self._fail("delete", "before")
        await super().adelete(session_key)
        self._fail("delete", "after")


def cycle_key(session):
    session.cycle_key()


def acycle_key(session):
    asyncio.run(session.acycle_key())


@pytest.mark.parametrize("cycle", [cycle_key, acycle_key])
@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("method", ["create", "save", "delete"])
def test_a_failure_while_a_session_is_cycled(cycle, method, when):
    """The session has the key under which it is in Redis, and can be saved."""
    session = SessionStore()
    session["_auth_user_id"] = "7"
    session.create()
    former = session.session_key
    session = Failing(former)
    session.get("color")
    session.fails, session.when = method, when
    with pytest.raises(OSError, match="audit log"):
        cycle(session)
    session.fails = ""
    has_moved = method == "delete" or when == "after"
    assert (session.session_key != former) is has_moved
    assert SessionStore().exists(former) is not has_moved
    session["color"] = "blue"
    session.save()
    assert dict(SessionStore(session.session_key)) == {"_auth_user_id": "7", "color": "blue"}
    assert len(registry.of_user("7")) == 1


class Copying(SessionStore):
    """``load()`` returns another dictionary than the engine's own."""

    def load(self):
        return {**super().load(), "copied": True}

    async def aload(self):
        return {**await super().aload(), "copied": True}


def change(session):
    session["color"] = "blue"
    session.pop("old")


async def achange(session):
    await session.aset("color", "blue")
    await session.apop("old")


@pytest.mark.parametrize("do", [change, lambda session: asyncio.run(achange(session))])
def test_a_load_that_makes_another_dictionary(do):
    """What other requests wrote meanwhile stays, as if the engine's own had been returned."""
    stored = SessionStore()
    stored.update({"color": "red", "size": 1, "old": 1})
    stored.create()
    session = Copying(stored.session_key)
    do(session)
    stored.update({"size": 2, "new": 3})
    stored.save()
    session.save()
    expected = {"color": "blue", "size": 2, "new": 3, "copied": True}
    assert dict(SessionStore(stored.session_key)) == expected


class Refusing(SessionStore):
    """``load()`` finds the session of another visitor's browser."""

    def load(self):
        super().load()
        self._session_key = None
        return {}


def test_a_load_that_refuses(live):
    """Nothing of the session that was loaded is taken over or changed."""
    session = Refusing(live.session_key)
    session["color"] = "blue"
    session.save()
    assert session.session_key != live.session_key
    assert dict(SessionStore(session.session_key)) == {"color": "blue"}
    assert dict(SessionStore(live.session_key)) == {"color": "red"}


class Stopping(SessionStore):
    """Its methods raise what ends a generator."""

    def load(self):
        return next(iter(()))

    def create(self):
        next(iter(()))

    async def acreate(self):
        next(iter(()))


@pytest.mark.parametrize(
    "use",
    [
        lambda session: session.get("color"),
        lambda session: asyncio.run(session.aget("color")),
        lambda session: session.save(),
    ],
)
def test_a_method_that_ends_generators(live, use):
    """A StopIteration of an overridden method is an error, as any other is."""
    with pytest.raises((StopIteration, RuntimeError)):
        use(Stopping(live.session_key))
    with pytest.raises((StopIteration, RuntimeError)):
        Stopping().save()
    with pytest.raises(RuntimeError):
        asyncio.run(Stopping().asave())


def test_a_method_of_one_store(live):
    """A method that a test replaces on one store is called as one of a subclass is."""
    with mock.patch.object(live, "save", side_effect=UpdateError) as save:
        with pytest.raises(UpdateError):
            live.create()
        with pytest.raises(UpdateError):
            live.cycle_key()
    assert save.call_args_list == [mock.call(must_create=True)] * 2


class FirstTaken(SessionStore):
    """Overrides ``save()``, and draws the key ``taken`` before others."""

    taken = None

    def save(self, must_create=False):
        super().save(must_create=must_create)

    async def asave(self, must_create=False):
        await super().asave(must_create=must_create)

    def _get_new_session_key(self):
        key, self.taken = self.taken, None
        return key or super()._get_new_session_key()


@pytest.mark.parametrize(
    "create", [FirstTaken.create, lambda session: asyncio.run(session.acreate())]
)
def test_a_taken_key_under_an_overridden_save(live, create):
    """A new key that is taken is not used: ``create()`` tries the next one."""
    live["color"] = "red"
    live.save()
    session = FirstTaken()
    session.taken = live.session_key
    session["color"] = "blue"
    create(session)
    assert session.session_key != live.session_key
    assert SessionStore(live.session_key)["color"] == "red"
    assert SessionStore(session.session_key)["color"] == "blue"
