"""Loading, saving and creating."""

import threading

import pytest
from asgiref.sync import async_to_sync
from django.contrib.sessions.backends.base import (
    CreateError,
    UpdateError,
)

from tests.contract.base import ODD_NAMES, ODD_VALUES, Contract


class StorageContract(Contract):
    """What is saved is there for the next request, and only that."""

    async def test_save_without_a_key_creates(self, session):
        """Saving a new session, even an empty one, gives it a key under which it exists."""
        await session.save()
        assert await session.exists(session.key) is True
        assert await session.reopen().entries() == {}

    async def test_saved_entries_are_loaded(self, session):
        """A saved session is loaded by the next request, which modifies nothing by it."""
        await session.save_with(cat="dog", fish=[1, 2])
        again = session.reopen()
        assert dict(await again.load()) == {"cat": "dog", "fish": [1, 2]}
        assert await again.entries() == {"cat": "dog", "fish": [1, 2]}
        assert again.key == session.key
        assert again.store.modified is False

    async def test_save_keeps_the_entries_at_hand(self, session):
        """Saving leaves the entries readable in the same store."""
        await session.save_with(cat="dog")
        assert await session.get("cat") == "dog"
        assert dict(await session.load()) == {"cat": "dog"}

    async def test_saving_again(self, session):
        """A session may be saved again, changed or not, and keeps its key."""
        await session.save_with(cat="dog")
        key = session.key
        await session.save()
        await session.save_with(cat="fish", bird=1)
        await session.save_with(bird=2)
        assert session.key == key
        assert await session.reopen().entries() == {"cat": "fish", "bird": 2}

    async def test_a_later_request_changes_what_it_loaded(self, session):
        """Entries changed, added and removed by a later request are stored so, the rest stays."""
        await session.save_with(changed=1, removed=1, popped=1, kept=1)
        again = session.reopen()
        await again.update({"changed": 2, "added": 2})
        await again.remove("removed")
        await again.pop("popped")
        await again.save()
        assert await session.reopen().entries() == {"changed": 2, "kept": 1, "added": 2}

    async def test_an_entry_removed_and_set_again_stays(self, session):
        """An entry removed and set again before saving is stored with its new value."""
        await session.save_with(cat="dog")
        await session.pop("cat")
        await session.save_with(cat="dog")
        await session.pop("cat")
        await session.save_with(cat="fish")
        assert await session.reopen().entries() == {"cat": "fish"}

    async def test_an_entry_removed_stays_removed(self, session):
        """An entry removed after one save is gone after the next, and after one more."""
        await session.save_with(cat="dog", bird=1)
        await session.remove("cat")
        await session.save()
        assert await session.reopen().entries() == {"bird": 1}
        await session.save_with(bird=2)
        assert await session.reopen().entries() == {"bird": 2}

    async def test_the_last_entry_may_be_removed(self, session):
        """A session without its last entry still exists."""
        await session.save_with(cat="dog")
        await session.remove("cat")
        await session.save()
        assert await session.exists(session.key) is True
        assert await session.reopen().entries() == {}

    async def test_clear_is_stored(self, session):
        """Clearing and saving removes every stored entry and keeps the session."""
        await session.save_with(cat="dog", bird=1)
        session.store.clear()
        await session.save()
        assert await session.exists(session.key) is True
        assert await session.reopen().entries() == {}

    async def test_clear_before_anything_was_read(self, session):
        """After clear() only what is set next is stored, though the old was never loaded."""
        await session.save_with(old=1, same=1, changed=1)
        again = session.reopen()
        again.store.clear()
        await again.save_with(same=1, changed=2)
        assert await session.reopen().entries() == {"same": 1, "changed": 2}

    async def test_a_nested_change_is_stored(self, session):
        """A change inside an entry is stored once the session is marked modified."""
        await session.save_with(cart={"items": [1]}, cat="dog")
        again = session.reopen()
        (await again.get("cart"))["items"].append(2)
        again.store.modified = True
        await again.save()
        assert await session.reopen().entries() == {"cart": {"items": [1, 2]}, "cat": "dog"}

    async def test_a_nested_change_after_saving_is_stored(self, session):
        """A change inside an entry that this same store saved before is stored as well."""
        cart = [1]
        await session.save_with(cart=cart)
        cart.append(2)
        session.store.modified = True
        await session.save()
        assert await session.reopen().get("cart") == [1, 2]

    async def test_a_change_not_saved_is_not_stored(self, session):
        """What a request changes and does not save, inside an entry too, no other one sees."""
        await session.save_with(cart=[1], cat="dog")
        again = session.reopen()
        (await again.get("cart")).append(2)
        await again.update({"cat": "fish", "new": 1})
        assert await session.reopen().entries() == {"cart": [1], "cat": "dog"}
        assert await session.entries() == {"cart": [1], "cat": "dog"}

    @pytest.mark.parametrize("name", ODD_NAMES.values(), ids=ODD_NAMES)
    async def test_an_entry_has_any_name(self, session, name):
        """An entry is stored, changed and removed whatever its name is."""
        await session.update({name: 1, "cat": "dog"})
        await session.save()
        assert await session.reopen().entries() == {name: 1, "cat": "dog"}
        await session.set(name, 2)
        await session.save()
        assert await session.reopen().entries() == {name: 2, "cat": "dog"}
        await session.remove(name)
        await session.save()
        assert await session.reopen().entries() == {"cat": "dog"}

    @pytest.mark.parametrize("value", ODD_VALUES.values(), ids=ODD_VALUES)
    async def test_an_entry_has_any_value(self, session, value):
        """A value comes back as it was, one that is None or false too."""
        await session.save_with(cat=value)
        again = session.reopen()
        assert await again.has_key("cat") is True
        assert await again.get("cat", "default") == value
        assert type(await again.get("cat")) is type(value)

    async def test_a_session_has_any_number_of_entries(self, session):
        """Ten thousand entries are stored and removed as one is."""
        entries = {f"entry {number}": number for number in range(10_000)}
        await session.save_with(**entries)
        again = session.reopen()
        assert await again.entries() == entries
        again.store.clear()
        await again.save_with(cat="dog")
        assert await session.reopen().entries() == {"cat": "dog"}

    async def test_a_name_that_is_no_string(self, session):
        """A name that is no string comes back as the serializer reads it, nested or not."""
        entries = {2: "a", None: "b", 1.5: "c", True: "d", "nested": {2: {True: "e"}}}
        coerced = {"2": "a", "null": "b", "1.5": "c", "true": "d", "nested": {"2": {"true": "e"}}}
        await session.update(entries)
        await session.save()
        loaded = coerced if self.coerces_keys else entries
        assert await session.reopen().entries() == loaded
        await session.save()
        assert await session.reopen().entries() == loaded

    async def test_two_names_that_the_serializer_makes_one(self, session):
        """Of two names that the serializer makes one, the entry set last is stored."""
        await session.update({"1": "a", 2: "a"})
        await session.save()
        again = session.reopen()
        await again.update({1: "b", "2": "b"})
        await again.save()
        assert await session.reopen().entries() == (
            {"1": "b", "2": "b"} if self.coerces_keys else {"1": "a", 2: "a", 1: "b", "2": "b"}
        )

    async def test_a_name_that_cannot_be_serialised(self, session):
        """A name that the serializer refuses raises TypeError, and nothing is stored."""
        await session.save_with(cat="dog")
        await session.update({"cat": "fish", threading.Lock(): "a"})
        with pytest.raises(TypeError):
            await session.save()
        assert await session.reopen().entries() == {"cat": "dog"}

    async def test_an_unserialisable_value_changes_nothing(self, session):
        """Saving a value that cannot be serialised raises TypeError and stores nothing of it."""
        await session.save_with(cat="dog", bird=1)
        again = session.reopen()
        await again.remove("bird")
        await again.update({"cat": "fish", "lock": threading.Lock()})
        with pytest.raises(TypeError):
            await again.save()
        assert await session.reopen().entries() == {"cat": "dog", "bird": 1}

    async def test_an_unserialisable_value_creates_nothing(self, session):
        """A new session with a value that cannot be serialised is not created."""
        await session.set("lock", threading.Lock())
        with pytest.raises(TypeError):
            await session.save()
        assert await session.exists(session.key) is False

    async def test_sessions_are_independent(self, session):
        """What one session stores, removes or deletes is nothing to another."""
        other = session.open()
        await session.save_with(cat="dog", bird=1)
        await other.save_with(cat="fish")
        assert other.key != session.key
        assert await session.reopen().entries() == {"cat": "dog", "bird": 1}
        await session.delete()
        assert await other.reopen().entries() == {"cat": "fish"}

    async def test_create_stores_an_empty_session(self, session):
        """create() gives a new session a key, stores it, empty as it is, and sets modified."""
        await session.create()
        assert session.store.modified is True
        assert await session.exists(session.key) is True
        await session.save()
        assert await session.exists(session.key) is True

    async def test_create_keeps_what_was_set(self, session):
        """create() stores the entries that were set before."""
        await session.set("cat", "dog")
        await session.create()
        assert await session.get("cat") == "dog"
        assert await session.reopen().entries() == {"cat": "dog"}

    async def test_create_leaves_the_session_it_came_from(self, session):
        """create() on a session not yet loaded starts an empty one and leaves the old alone."""
        await session.save_with(cat="dog")
        other = session.reopen()
        await other.create()
        assert other.key != session.key
        assert await other.reopen().entries() == {}
        assert await session.reopen().entries() == {"cat": "dog"}

    async def test_create_copies_what_was_loaded(self, session):
        """create() on a loaded session stores all its entries under a new key."""
        await session.save_with(cat="dog", bird=1)
        other = session.reopen()
        await other.set("bird", 2)
        await other.create()
        assert await other.reopen().entries() == {"cat": "dog", "bird": 2}
        assert await session.reopen().entries() == {"cat": "dog", "bird": 1}
        await other.save_with(bird=1)
        assert await other.reopen().entries() == {"cat": "dog", "bird": 1}

    async def test_must_create_creates(self, session):
        """save(must_create=True) of a new session creates it."""
        await session.set("cat", "dog")
        await session.save(must_create=True)
        assert await session.reopen().entries() == {"cat": "dog"}

    async def test_must_create_refuses_a_taken_key(self, session):
        """save(must_create=True) raises CreateError where there is a session, and leaves it."""
        await session.save_with(cat="dog")
        rival = session.reopen()
        await rival.set("cat", "fish")
        with pytest.raises(CreateError):
            await rival.save(must_create=True)
        assert await session.reopen().entries() == {"cat": "dog"}

    async def test_exists_of_no_key(self, session):
        """No session exists under None."""
        assert await session.exists(None) is False

    def test_plain_and_async_calls_share_one_state(self, store):
        """What one kind of call sets, saves and loads, the other reads in the same store."""
        store["plain"] = 1
        async_to_sync(store.aset)("native", 1)
        async_to_sync(store.asave)()
        store["plain"] = 2
        store.save()
        again = self.engine(store.session_key)
        assert dict(async_to_sync(again.aitems)()) == {"plain": 2, "native": 1}
        again["native"] = 2
        assert async_to_sync(again.aget)("native") == 2
        again.save()
        async_to_sync(again.apop)("plain")
        async_to_sync(again.asave)()
        assert dict(self.engine(store.session_key).items()) == {"native": 2}
        async_to_sync(store.adelete)()
        with pytest.raises(UpdateError):
            store.save()
