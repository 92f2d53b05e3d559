"""Which keys are taken, and which are never adopted."""

import pytest
from django.contrib.sessions.backends.base import (
    VALID_KEY_CHARS,
)

from tests.contract.base import UNKNOWN_KEYS, Contract


class KeyContract(Contract):
    """A key comes from the engine; what a client sends names a live session or nothing."""

    @pytest.mark.parametrize("key", [None, "", "1", "1234567"])
    def test_a_short_key_is_no_key(self, store, key):
        """A key shorter than eight characters is none, given or assigned."""
        store._session_key = key
        assert store.session_key is None
        assert self.engine(key).session_key is None

    @pytest.mark.parametrize("key", ["12345678", "k" * 40])
    def test_eight_characters_make_a_key(self, store, key):
        """A key of eight characters or more is accepted, given or assigned."""
        store._session_key = key
        assert store.session_key == key
        assert self.engine(key).session_key == key

    def test_the_key_is_read_only(self, store):
        """session_key cannot be assigned."""
        with pytest.raises(AttributeError):
            store.session_key = "k" * 32

    async def test_a_new_key_is_long_and_random(self, session):
        """A new key has 32 lower-case letters and digits, other ones every time."""
        other = session.open()
        await session.save()
        await other.save()
        assert len(session.key) == 32
        assert set(session.key) <= set(VALID_KEY_CHARS)
        assert session.key != other.key

    @pytest.mark.parametrize("key", ["", "1"])
    async def test_saving_under_a_short_key(self, session, key):
        """A session opened with a key too short is a new one."""
        short = session.open(key)
        assert await short.get("cat") is None
        await short.save()
        assert len(short.key) == 32
        assert await short.exists(short.key) is True

    async def test_loading_without_a_key(self, session):
        """Loading a session without a key gives {} and no key."""
        assert dict(await session.load()) == {}
        assert session.key is None

    @pytest.mark.parametrize("key", UNKNOWN_KEYS.values(), ids=UNKNOWN_KEYS)
    async def test_an_unknown_key_is_dropped(self, session, key):
        """Loading an unknown key gives {}, sets the key to None and creates nothing."""
        unknown = session.open(key)
        assert dict(await unknown.load()) == {}
        assert unknown.key is None
        assert unknown.store.is_empty() is True
        assert await unknown.exists(key) is False

    @pytest.mark.parametrize("key", UNKNOWN_KEYS.values(), ids=UNKNOWN_KEYS)
    async def test_an_unknown_key_is_never_adopted(self, session, key):
        """What is set under an unknown key is saved under a fresh one."""
        unknown = session.open(key)
        await unknown.save_with(cat="dog")
        assert len(unknown.key) == 32
        assert await unknown.exists(key) is False
        assert await unknown.reopen().entries() == {"cat": "dog"}
        await unknown.delete(key)
