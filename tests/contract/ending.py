"""Deleting, flushing and cycling, and what comes after."""

import threading

import pytest
from django.contrib.sessions.backends.base import (
    UpdateError,
)

from tests.contract.base import UNKNOWN_KEY, Contract


class EndContract(Contract):
    """A session that has ended does not come back."""

    async def test_delete(self, session):
        """delete() removes the session of this store."""
        await session.save_with(cat="dog")
        key = session.key
        await session.delete()
        assert await session.exists(key) is False
        assert await session.open(key).entries() == {}

    async def test_delete_none(self, session):
        """delete(None) removes the session of this store too."""
        await session.save_with(cat="dog")
        key = session.key
        await session.delete(None)
        assert await session.exists(key) is False

    async def test_delete_of_a_given_key(self, session):
        """delete() of another session's key removes that one and leaves this."""
        other = session.open()
        await session.save_with(cat="dog")
        await other.save_with(cat="fish")
        await session.delete(other.key)
        assert await session.exists(other.key) is False
        assert await session.reopen().entries() == {"cat": "dog"}

    async def test_delete_of_nothing_is_silent(self, session):
        """delete() of a session without key, of an unknown key, or twice, is silent."""
        await session.delete()
        await session.delete(UNKNOWN_KEY)
        await session.save()
        await session.delete()
        await session.delete()

    @pytest.mark.parametrize("change", ["unread", "read", "set", "pop", "clear"])
    async def test_saving_a_deleted_session(self, session, change):
        """Saving a session deleted meanwhile raises UpdateError, changed or not."""
        await session.save_with(cat="dog")
        late = session.reopen()
        if change != "unread":
            await late.get("cat")
        await session.delete()
        match change:
            case "set":
                await late.set("cat", "fish")
            case "pop":
                await late.pop("cat")
            case "clear":
                late.store.clear()
        with pytest.raises(UpdateError):
            await late.save()
        assert await session.exists(session.key) is False
        assert dict(await session.load()) == {}

    async def test_saving_what_this_store_deleted(self, session):
        """Saving after delete() in the same store raises UpdateError."""
        await session.save_with(cat="dog")
        await session.delete()
        with pytest.raises(UpdateError):
            await session.save()
        assert await session.exists(session.key) is False

    async def test_flush(self, session):
        """flush() deletes the session and leaves a store without key or entries, modified."""
        await session.save_with(cat="dog")
        key = session.key
        again = session.reopen()
        await again.flush()
        assert again.key is None
        assert (again.store.accessed, again.store.modified) == (True, True)
        assert again.store.is_empty() is True
        assert await again.entries() == {}
        assert await session.exists(key) is False

    async def test_flush_without_a_key(self, session):
        """flush() of a new session drops its entries and stores nothing."""
        await session.set("cat", "dog")
        await session.flush()
        assert session.key is None
        assert await session.entries() == {}

    async def test_a_flushed_session_starts_anew(self, session):
        """What is set after flush() is saved under another key."""
        await session.save_with(cat="dog")
        key = session.key
        await session.flush()
        await session.save_with(bird=1)
        assert session.key != key
        assert await session.exists(key) is False
        assert await session.reopen().entries() == {"bird": 1}

    async def test_cycle_key_moves_the_session(self, session):
        """cycle_key() stores the entries under a new key and the old key is dead."""
        await session.save_with(cat="dog", bird=1)
        old_key = session.key
        session.store.modified = False
        await session.cycle_key()
        assert session.key not in (old_key, None)
        assert session.store.modified is True
        assert await session.exists(old_key) is False
        assert await session.open(old_key).entries() == {}
        assert await session.entries() == {"cat": "dog", "bird": 1}
        assert await session.reopen().entries() == {"cat": "dog", "bird": 1}

    async def test_cycle_key_before_anything_was_read(self, session):
        """cycle_key() keeps the entries of a session that was not loaded yet."""
        await session.save_with(cat="dog")
        again = session.reopen()
        await again.cycle_key()
        assert again.key != session.key
        assert await again.entries() == {"cat": "dog"}
        assert await again.reopen().entries() == {"cat": "dog"}

    async def test_cycle_key_stores_what_was_not_saved(self, session):
        """cycle_key() stores what was set, removed or changed inside since the last save."""
        await session.save_with(cat="dog", bird=1, cart=[1])
        again = session.reopen()
        await again.update({"cat": "cow", "new": 1})
        await again.remove("bird")
        (await again.get("cart")).append(2)
        await again.cycle_key()
        assert await again.entries() == {"cat": "cow", "cart": [1, 2], "new": 1}
        assert await again.reopen().entries() == {"cat": "cow", "cart": [1, 2], "new": 1}

    async def test_cycle_key_without_a_key(self, session):
        """cycle_key() of a new session stores it under a first key."""
        await session.set("cat", "dog")
        await session.cycle_key()
        assert await session.reopen().entries() == {"cat": "dog"}

    async def test_cycle_key_of_an_unknown_key(self, session):
        """cycle_key() on a key that names no session stores an empty one under a fresh key."""
        unknown = session.open(UNKNOWN_KEY)
        await unknown.cycle_key()
        assert unknown.key not in (UNKNOWN_KEY, None)
        assert await unknown.exists(UNKNOWN_KEY) is False
        assert await unknown.exists(unknown.key) is True
        assert await unknown.reopen().entries() == {}

    async def test_a_cycled_session_goes_on(self, session):
        """A cycled session is changed, saved and cycled again as any other."""
        await session.save_with(cat="dog", bird=1)
        await session.cycle_key()
        first_key = session.key
        await session.remove("bird")
        await session.save_with(fish=1)
        assert await session.reopen().entries() == {"cat": "dog", "fish": 1}
        await session.cycle_key()
        assert await session.exists(first_key) is False
        assert await session.reopen().entries() == {"cat": "dog", "fish": 1}

    async def test_saving_under_a_cycled_key(self, session):
        """A request that still holds the old key cannot save under it."""
        await session.save_with(cat="dog")
        late = session.reopen()
        await late.set("cat", "fish")
        old_key = session.key
        await session.cycle_key()
        with pytest.raises(UpdateError):
            await late.save()
        assert await session.exists(old_key) is False
        assert await session.reopen().entries() == {"cat": "dog"}

    async def test_cycle_key_with_an_unserialisable_value(self, session):
        """cycle_key() with a value that cannot be serialised leaves the old session as it was."""
        await session.save_with(cat="dog")
        again = session.reopen()
        await again.set("lock", threading.Lock())
        with pytest.raises(TypeError):
            await again.cycle_key()
        assert await session.reopen().entries() == {"cat": "dog"}
