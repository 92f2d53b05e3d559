"""What every part of the contract stands on: awaited sessions of both worlds, odd input."""

import functools
import inspect

import pytest
from asgiref.sync import async_to_sync
from django.contrib.sessions.backends.base import (
    SessionBase,
)
from django.contrib.sessions.middleware import SessionMiddleware
from django.test import AsyncRequestFactory, RequestFactory

SECURITY_LOG = "django.security.SuspiciousSession"

UNKNOWN_KEY = "someunknownkey"

# What a client may send in place of a session key.
UNKNOWN_KEYS = {
    "well-formed": UNKNOWN_KEY,
    "long": "k" * 10_000,
    "newline": "12345678\r\nSET a b",
    "nul": "12345678\0",
    "spaces": "        ",
    "unicode": "clé-de-séance-\N{KEY}",
    "quotes": "'; DROP TABLE django_session; --",
    "path": "../../../../etc/passwd",
    "glob": "************",
    "hash tag": "{12345678}",
    "another key": "session:user:1",
}

ODD_NAMES = {
    "empty": "",
    "space": " ",
    "at": "@created",
    "two ats": "@@created",
    "colon": "user:1",
    "newline": "a\r\nb",
    "nul": "a\0b",
    "unicode": "entrée \N{DOG FACE}",
    "lone surrogate": "\ud800",
    "number": "1",
    "long": "n" * 10_000,
}

ODD_VALUES = {
    "none": None,
    "false": False,
    "zero": 0,
    "float": 0.1,
    "big number": 2**70,
    "empty string": "",
    "unicode": "entrée \N{DOG FACE} \0 \ud800",
    "empty list": [],
    "empty dict": {},
    "nested": {"a": [1, {"b": [None, True, "c"]}]},
    "long": "v" * 100_000,
}


class Session:
    """A store whose methods are awaited: `await session.get("cat")`.

    What has no async twin (`modified`, `clear()`, `is_empty()`) is used on `store` itself.
    """

    def __init__(self, store):
        self.store = store

    @property
    def key(self):
        return self.store.session_key

    def open(self, key=None):
        """Return a session of the same engine, with this key and nothing loaded."""
        return type(self)(type(self.store)(key))

    def reopen(self):
        """Return this session as the next request meets it."""
        return self.open(self.key)

    async def entries(self):
        return dict(await self.items())

    async def save_with(self, **entries):
        await self.update(entries)
        await self.save()


class SyncSession(Session):
    requests = RequestFactory()

    def __getattr__(self, name):
        method = getattr(self.store, name)

        async def call(*args, **kwargs):
            return method(*args, **kwargs)

        return call

    async def set(self, name, value):
        self.store[name] = value

    async def remove(self, name):
        del self.store[name]

    async def respond(self, middleware, view, request):
        return middleware(lambda request: self.run(view(request)))(request)

    @staticmethod
    def run(coroutine):
        # Nothing in it suspends, so one step completes it. No event loop runs meanwhile:
        # within one, Django refuses blocking calls.
        with pytest.raises(StopIteration) as completed:
            coroutine.send(None)
        return completed.value.value


class AsyncSession(Session):
    requests = AsyncRequestFactory()

    def __getattr__(self, name):
        return getattr(self.store, f"a{name}")

    async def remove(self, name):
        await self.pop(name)

    async def respond(self, middleware, view, request):
        return await middleware(view)(request)

    @staticmethod
    def run(coroutine):
        async def complete():
            return await coroutine

        return async_to_sync(complete)()


def for_both(test):
    """Make an `async def` test one that pytest runs as it is, by the `run` of its session."""

    @functools.wraps(test)
    def run(self, session, **fixtures):
        session.run(test(self, session, **fixtures))

    return run


class Contract:
    """The engine under test, installed as the engine of the site."""

    engine: type[SessionBase]
    middleware = SessionMiddleware

    # JSON turns the key 1 into "1"; an engine that pickles keeps it. False for the latter.
    coerces_keys = True

    # False where an expired record stays, unreadable, until `clear_expired()`.
    expires_by_itself = True

    def __init_subclass__(cls, **kwargs):
        super().__init_subclass__(**kwargs)
        for name, test in list(vars(cls).items()):
            if name.startswith("test_") and inspect.iscoroutinefunction(test):
                setattr(cls, name, for_both(test))

    @pytest.fixture(autouse=True)
    def _installed(self, settings):
        settings.SESSION_ENGINE = self.engine.__module__

    @pytest.fixture
    def store(self):
        return self.engine()

    @pytest.fixture(params=[SyncSession, AsyncSession], ids=["sync", "async"])
    def session(self, request, store):
        return request.param(store)
