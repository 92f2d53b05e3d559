"""The part of a session that belongs to one name."""

import asyncio
import logging
from collections.abc import MutableMapping

import hypothesis
import pytest
from django.contrib.sessions.serializers import JSONSerializer
from hypothesis import example, given
from hypothesis import strategies as st

from sessions_redis import scope
from sessions_redis.engine import SessionStore
from sessions_redis.scope import Scope

# Any text, often with the characters that separate or encode.
texts = st.text(st.characters() | st.sampled_from("@:%25A3sco pe"))

# A slow machine is not a failure.
unhurried = hypothesis.settings(
    deadline=None, max_examples=60, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)


class CountingSerializer(JSONSerializer):
    def __init__(self):
        self.loaded = []

    def loads(self, data):
        self.loaded.append(bytes(data))
        return super().loads(data)


@pytest.fixture
def carts(live):
    """Entries of two names in one saved session, and one entry of no name."""
    live.scope("ada").update(apples=1, pears=[2])
    live.scope("bob")["apples"] = 3
    live.save()
    return live


@pytest.fixture
def reopened(carts):
    """That session as the next request loads it, and the entries that are decoded."""
    session = SessionStore(carts.session_key)
    session.counting = CountingSerializer()
    session.serializer = lambda: session.counting
    return session


# Names


@unhurried
@given(st.dictionaries(st.tuples(texts, texts), st.integers()))
@example({("a:b", "c"): 1, ("a", "b:c"): 2, ("a%3Ab", "c"): 3, ("a%253Ab", "c"): 4})
@example({("", ""): 1, (":", ""): 2, ("", ":"): 3, ("%3A", ""): 4})
def test_no_two_scopes_share_an_entry(entries):
    """With any names and keys, each scope finds its own entries and no others."""
    session = SessionStore()
    for (name, key), value in entries.items():
        session.scope(name)[key] = value
    assert len(session.keys()) == len(entries)
    for name in {name for name, _ in entries}:
        own = {key: value for (owner, key), value in entries.items() if owner == name}
        assert dict(session.scope(name)) == own


@pytest.mark.parametrize(
    ("name", "key", "entry"),
    [
        ("ada", "color", "scope:ada:color"),
        ("a:b", "c:d", "scope:a%3Ab:c:d"),
        ("50%", "50%", "scope:50%25:50%"),
        ("%3A", "x", "scope:%253A:x"),
        ("", "", "scope::"),
        ("@", "@", "scope:@:@"),
    ],
)
def test_an_entry_is_the_sessions(name, key, entry):
    """An entry in a scope is an entry of the session. Its key contains the name and the key."""
    session = SessionStore()
    session.scope(name)[key] = 1
    assert dict(session.items()) == {entry: 1}
    session[entry] = 2
    assert session.scope(name)[key] == 2


@pytest.mark.parametrize("name", [None, 1, b"ada", ("ada",)])
def test_a_name_that_is_not_text(name):
    """A name that is not a string is refused."""
    with pytest.raises(TypeError, match=f"not {type(name).__name__}"):
        SessionStore().scope(name)


KEYS_THAT_ARE_NO_TEXT = [None, 1, b"apples", ("apples",)]


@pytest.mark.parametrize("key", KEYS_THAT_ARE_NO_TEXT)
def test_a_key_that_is_not_text(key):
    """A key that is not a string is refused, and nothing is stored. Such a key is in no scope."""
    session = SessionStore()
    scope = session.scope("ada")
    for use in (
        lambda: scope[key],
        lambda: scope.get(key),
        lambda: scope.pop(key, None),
        lambda: scope.update({key: 1}),
        lambda: scope.setdefault(key, 1),
        lambda: scope.__setitem__(key, 1),
        lambda: scope.__delitem__(key),
    ):
        with pytest.raises(TypeError, match=f"not {type(key).__name__}"):
            use()
    assert key not in scope
    assert not session.keys()


@pytest.mark.parametrize("key", KEYS_THAT_ARE_NO_TEXT)
def test_a_key_that_is_not_text_asynchronously(key):
    """The asynchronous methods refuse such a key as well."""
    session = SessionStore()
    scope = session.scope("ada")

    async def use_it():
        for use in (
            lambda: scope.aget(key),
            lambda: scope.aset(key, 1),
            lambda: scope.asetdefault(key, 1),
            lambda: scope.apop(key, None),
            lambda: scope.ahas_key(key),
            lambda: scope.aupdate({key: 1}),
        ):
            with pytest.raises(TypeError, match=f"not {type(key).__name__}"):
                await use()

    asyncio.run(use_it())
    assert not session.keys()


# The mapping


def test_a_scope_is_a_mapping(reopened):
    """A scope behaves like a dict of its own entries."""
    scope = reopened.scope("ada")
    assert isinstance(scope, MutableMapping)
    assert dict(scope) == {"apples": 1, "pears": [2]}
    assert len(scope) == 2
    assert sorted(scope) == ["apples", "pears"]
    assert scope == {"apples": 1, "pears": [2]}
    assert "apples" in scope
    assert "color" not in scope
    assert scope.get("color", "none") == "none"
    assert scope.setdefault("plums", 4) == 4
    assert scope.pop("apples") == 1
    del scope["pears"]
    scope.update(figs=5)
    assert dict(scope) == {"plums": 4, "figs": 5}
    scope.clear()
    assert not scope
    assert dict(reopened.scope("bob")) == {"apples": 3}
    assert reopened["color"] == "red"


def test_an_empty_scope(reopened):
    """A name without entries has an empty scope. Reading it stores nothing."""
    scope = reopened.scope("eve")
    assert dict(scope) == {}
    assert len(scope) == 0
    assert not reopened.modified


def test_a_missing_key(reopened):
    """A missing key raises KeyError with the key that was asked for."""
    scope = reopened.scope("ada")
    for use in (scope.__getitem__, scope.__delitem__, scope.pop):
        with pytest.raises(KeyError) as caught:
            use("figs")
        assert caught.value.args == ("figs",)


def test_iterating_while_removing(reopened):
    """A loop goes through the keys that the scope had when the loop began."""
    scope = reopened.scope("ada")
    for key in scope:
        del scope[key]
    assert not scope


def test_the_text_of_a_scope(reopened):
    """The ``repr()`` of a scope shows its prefix and its entries."""
    assert repr(reopened.scope("a:b")) == "<Scope 'scope:a%3Ab:': {}>"
    assert repr(reopened.scope("bob")) == "<Scope 'scope:bob:': {'apples': 3}>"


# The session


def test_a_scope_is_saved_with_its_session(carts, raw, prefix):
    """Each entry of a scope is a field of its own in the session's hash."""
    fields = carts.inspect().fields
    assert {name: value for name, value in fields.items() if not name.startswith("@")} == {
        "color": '"red"',
        "scope:ada:apples": "1",
        "scope:ada:pears": "[2]",
        "scope:bob:apples": "3",
    }


def test_scopes_of_two_requests(carts):
    """If two requests change one scope at the same time, no change is lost."""
    first, second = SessionStore(carts.session_key), SessionStore(carts.session_key)
    assert first.scope("ada")["apples"] == second.scope("ada")["apples"] == 1
    first.scope("ada")["plums"] = 4
    del second.scope("ada")["pears"]
    first.save()
    second.save()
    assert dict(SessionStore(carts.session_key).scope("ada")) == {"apples": 1, "plums": 4}


def test_reading_a_scope_marks_the_session_accessed(reopened):
    """Reading a scope marks the session as accessed, and not as modified."""
    scope = reopened.scope("ada")
    assert not reopened.accessed
    assert scope["apples"] == 1
    assert reopened.accessed
    assert not reopened.modified


@pytest.mark.parametrize(
    "change",
    [
        lambda scope: scope.update(figs=1),
        lambda scope: scope.pop("apples"),
        lambda scope: scope.__delitem__("apples"),
        lambda scope: scope.setdefault("figs", 1),
        lambda scope: scope.clear(),
        lambda scope: asyncio.run(scope.aclear()),
        lambda scope: asyncio.run(scope.aset("figs", 1)),
        lambda scope: asyncio.run(scope.apop("apples")),
        lambda scope: asyncio.run(scope.aupdate({"figs": 1})),
        lambda scope: asyncio.run(scope.asetdefault("figs", 1)),
    ],
)
def test_writing_a_scope_marks_the_session_modified(reopened, change):
    """Writing to a scope marks the session as modified."""
    change(reopened.scope("ada"))
    assert reopened.modified


def test_a_scope_decodes_its_own_entries(reopened):
    """Iterating over a scope decodes none of the session's other entries."""
    assert sorted(reopened.scope("ada")) == ["apples", "pears"]
    assert sorted(reopened.counting.loaded) == [b"1", b"[2]"]


def test_one_entry_of_a_scope(reopened):
    """Reading one entry of a scope decodes only that entry."""
    assert reopened.scope("bob")["apples"] == 3
    assert "apples" in reopened.scope("bob")
    assert reopened.counting.loaded == [b"3"]


def test_clearing_a_scope(carts, monkeypatch):
    """Clearing a scope removes its entries in one pass, and keeps the entries of others."""
    walks = []
    walk = scope.keys_starting_with
    monkeypatch.setattr(
        scope, "keys_starting_with", lambda *args: walks.append(args) or walk(*args)
    )
    session = SessionStore(carts.session_key)
    session.scope("ada").clear()
    assert len(walks) == 1
    session.save()
    assert dict(SessionStore(carts.session_key).scope("ada")) == {}
    assert dict(SessionStore(carts.session_key).scope("bob")) == {"apples": 3}


def test_a_damaged_entry_in_a_scope(carts, raw, caplog):
    """If an entry of a scope cannot be decoded, it is missing there, and is reported once."""
    raw.hset(carts.inspect().redis_key, "scope:ada:pears", "{")
    session = SessionStore(carts.session_key)
    scope = session.scope("ada")
    with caplog.at_level(logging.WARNING, "django.security.SuspiciousSession"):
        assert dict(scope) == {"apples": 1}
        assert "pears" not in scope
        assert len(scope) == 1
        with pytest.raises(KeyError):
            del scope["pears"]
    assert len(caplog.records) == 1
    assert "scope:ada:pears" in caplog.text

    scope["apples"] = 2
    session.save()
    assert carts.inspect().fields["scope:ada:pears"] == "{"
    scope["pears"] = 5
    session.save()
    assert dict(SessionStore(carts.session_key).scope("ada")) == {"apples": 2, "pears": 5}


# Asynchronously


def test_asynchronous_reading(carts):
    """Each asynchronous method loads the session and returns the same as its synchronous twin."""

    def scope(name):
        return SessionStore(carts.session_key).scope(name)

    async def read():
        assert await scope("ada").aget("apples") == 1
        assert await scope("ada").aget("figs") is None
        assert await scope("ada").aget("figs", "none") == "none"
        assert await scope("ada").ahas_key("apples") is True
        assert await scope("bob").ahas_key("pears") is False
        assert sorted(await scope("ada").akeys()) == ["apples", "pears"]
        assert await scope("bob").avalues() == [3]
        assert dict(await scope("ada").aitems()) == {"apples": 1, "pears": [2]}
        assert await scope("eve").aitems() == []

    asyncio.run(read())


def test_asynchronous_writing(carts):
    """Entries that are written asynchronously are saved, and nothing else changes."""

    async def write():
        session = SessionStore(carts.session_key)
        scope = session.scope("ada")
        await scope.aset("apples", 5)
        assert await scope.asetdefault("apples", 6) == 5
        assert await scope.asetdefault("figs", 6) == 6
        assert await scope.apop("pears") == [2]
        assert await scope.apop("pears", "none") == "none"
        assert await scope.apop("pears", None) is None
        with pytest.raises(KeyError) as caught:
            await scope.apop("pears")
        assert caught.value.args == ("pears",)
        await scope.aupdate({"plums": 7})
        await session.scope("eve").aset("apples", 8)
        await session.scope("eve").aclear()
        assert await session.scope("eve").akeys() == []
        await session.asave()

    asyncio.run(write())
    session = SessionStore(carts.session_key)
    assert dict(session.scope("ada")) == {"apples": 5, "figs": 6, "plums": 7}
    assert dict(session.scope("bob")) == {"apples": 3}


@pytest.mark.parametrize("method", ["akeys", "avalues", "aitems", "aclear"])
def test_walking_through_a_scope_does_not_block(settings, session_redis, carts, raw, method):
    """The asynchronous methods use the connection of the loop, and none of the process."""
    name = session_redis["KEY_PREFIX"]
    settings.SESSION_REDIS = {**session_redis, "OPTIONS": {"client_name": name}}

    async def walk():
        await getattr(SessionStore(carts.session_key).scope("ada"), method)()
        return sum(client["name"] == name for client in raw.client_list())

    assert asyncio.run(walk()) == 1


def test_both_worlds_share_one_state(carts):
    """
    Synchronous code reads what asynchronous code wrote to a scope before it is saved, and the
    reverse.
    """
    scope = SessionStore(carts.session_key).scope("ada")
    asyncio.run(scope.aset("figs", 1))
    assert scope["figs"] == 1
    scope["plums"] = 2
    assert asyncio.run(scope.aget("plums")) == 2


def test_a_scope_is_of_one_session(live):
    """Each session returns a scope of its own."""
    assert isinstance(live.scope("ada"), Scope)
    live.scope("ada")["figs"] = 1
    assert dict(SessionStore().scope("ada")) == {}


def test_entries_that_several_requests_change(carts):
    """increment(), append() and update_entry() work on the scope's own entries, at once."""
    cart = SessionStore(carts.session_key).scope("ada")
    assert cart.increment("apples") == 2
    assert cart.append("pears", 3) == [2, 3]
    assert cart.update_entry("total", lambda total: total + 0.5, 1) == 1.5

    async def again():
        assert await cart.aincrement("apples", 2) == 4
        assert await cart.aappend("pears", 4) == [2, 3, 4]
        assert await cart.aupdate_entry("total", lambda total: total + 0.5) == 2

    asyncio.run(again())
    session = SessionStore(carts.session_key)
    assert dict(session.scope("ada")) == {"apples": 4, "pears": [2, 3, 4], "total": 2}
    assert dict(session.scope("bob")) == {"apples": 3}
