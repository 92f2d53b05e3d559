"""What is done to a session, in either world, and what must have come of it."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from benchmarks.contents import ANONYMOUS, AUTH, SIGNED_IN

# A session as an engine's SessionStore makes it: Django leaves its own untyped.
Session = Any
Store = Callable[..., Session]


@dataclass(frozen=True)
class Action:
    """
    ``run`` and its asynchronous twin take what `prepared` made, do what a request does, and return
    the session. ``begins_with``: what that is, a session that was loaded, or not loaded yet, or
    none. ``needs_own_session``: whether a session serves one run alone: it is gone then, or holds
    the change already.
    """

    name: str
    run: Callable[[Any, dict[str, Any]], Session]
    arun: Callable[[Any, dict[str, Any]], Awaitable[Session]]
    begins_with: str = "loaded"
    needs_own_session: bool = False

    def contents(self, size: str) -> dict[str, Any]:
        """What sessions hold before it."""
        return (ANONYMOUS if self.name == "login" else SIGNED_IN)[size]

    def prepared(self, store: Store, key: str) -> Any:
        """What ``run`` is given, where ``key`` is that of a session with such contents."""
        if self.begins_with == "nothing":
            return store
        if self.begins_with == "a key":
            return partial(store, key)
        session = store(key)
        assert session["color"] == "green"  # loads it
        return session


def made(store: Store, contents: dict[str, Any]) -> Session:
    """A new session with these contents, stored."""
    session = store()
    session.update(contents)
    session.save()
    return session


def _read(to_session: Store, _: dict[str, Any]) -> Session:
    session = to_session()
    session["color"]
    return session


async def _aread(to_session: Store, _: dict[str, Any]) -> Session:
    session = to_session()
    await session.aget("color")
    return session


def _write(session: Session, _: dict[str, Any]) -> Session:
    session["cart"] = [104]
    session.save()
    return session


async def _awrite(session: Session, _: dict[str, Any]) -> Session:
    await session.aset("cart", [104])
    await session.asave()
    return session


def _touch(session: Session, _: dict[str, Any]) -> Session:
    session.save()
    return session


async def _atouch(session: Session, _: dict[str, Any]) -> Session:
    await session.asave()
    return session


def _create(store: Store, contents: dict[str, Any]) -> Session:
    session = store()
    for key, value in contents.items():
        session[key] = value
    session.save()
    return session


async def _acreate(store: Store, contents: dict[str, Any]) -> Session:
    session = store()
    for key, value in contents.items():
        await session.aset(key, value)
    await session.asave()
    return session


def _login(session: Session, _: dict[str, Any]) -> Session:
    session.cycle_key()
    for key, value in AUTH.items():
        session[key] = value
    session.save()
    return session


async def _alogin(session: Session, _: dict[str, Any]) -> Session:
    await session.acycle_key()
    for key, value in AUTH.items():
        await session.aset(key, value)
    await session.asave()
    return session


def _logout(session: Session, _: dict[str, Any]) -> Session:
    session.flush()
    return session


async def _alogout(session: Session, _: dict[str, Any]) -> Session:
    await session.aflush()
    return session


def _request(to_session: Store, contents: dict[str, Any]) -> Session:
    return _write(_read(to_session, contents), contents)


async def _arequest(to_session: Store, contents: dict[str, Any]) -> Session:
    return await _awrite(await _aread(to_session, contents), contents)


def _read_and_touch(to_session: Store, contents: dict[str, Any]) -> Session:
    return _touch(_read(to_session, contents), contents)


async def _aread_and_touch(to_session: Store, contents: dict[str, Any]) -> Session:
    return await _atouch(await _aread(to_session, contents), contents)


def _read_and_cycle(to_session: Store, contents: dict[str, Any]) -> Session:
    session = _read(to_session, contents)
    session.cycle_key()
    return session


async def _aread_and_cycle(to_session: Store, contents: dict[str, Any]) -> Session:
    session = await _aread(to_session, contents)
    await session.acycle_key()
    return session


def _delete(to_session: Store, _: dict[str, Any]) -> Session:
    session = to_session()
    session.delete()
    return session


async def _adelete(to_session: Store, _: dict[str, Any]) -> Session:
    session = to_session()
    await session.adelete()
    return session


READ = Action("read", _read, _aread, begins_with="a key")
WRITE = Action("write", _write, _awrite)
TOUCH = Action("touch", _touch, _atouch)
CREATE = Action("create", _create, _acreate, begins_with="nothing")
LOGIN = Action("login", _login, _alogin, needs_own_session=True)
LOGOUT = Action("logout", _logout, _alogout, needs_own_session=True)
REQUEST = Action("load and write", _request, _arequest, begins_with="a key", needs_own_session=True)
READ_AND_TOUCH = Action("load and touch", _read_and_touch, _aread_and_touch, begins_with="a key")
READ_AND_CYCLE = Action(
    "load and cycle", _read_and_cycle, _aread_and_cycle, begins_with="a key", needs_own_session=True
)
DELETE = Action("delete", _delete, _adelete, begins_with="a key", needs_own_session=True)

ACTIONS = (READ, WRITE, REQUEST, TOUCH, CREATE, LOGIN, LOGOUT)


def check(
    action: Action, store: Store, key: str, session: Session, contents: dict[str, Any]
) -> None:
    """
    Raise ``AssertionError`` unless ``action`` did what it says to the session of ``key``.

    ``session``: what it returned. The session is read anew.
    """
    if action in {LOGOUT, DELETE}:
        assert not store().exists(key), "a session that ended is still there"
        assert action is DELETE or not session.session_key
        return
    expected = dict(contents)
    if action in {WRITE, REQUEST}:
        expected["cart"] = [104]
    if action is LOGIN:
        expected |= AUTH
    if action in {LOGIN, READ_AND_CYCLE}:
        assert not store().exists(key), "the former key still leads to a session"
    if action in {CREATE, LOGIN, READ_AND_CYCLE}:
        assert session.session_key != key
    assert dict(store(session.session_key).items()) == expected, f"{action.name} did something else"
