"""A session as a mapping."""

import pytest

from tests.contract.base import UNKNOWN_KEY, Contract


class EntryContract(Contract):
    """A session is a mapping that knows whether it was accessed and modified."""

    def test_a_new_session_is_neither_accessed_nor_modified(self, store):
        """A new session has no key, is empty, and is neither accessed nor modified."""
        assert (store.accessed, store.modified) == (False, False)
        assert store.session_key is None
        assert store.is_empty() is True

    def test_nothing_is_loaded_until_it_is_needed(self):
        """Making a store for a key, or asking whether it is empty, loads nothing."""
        store = self.engine(UNKNOWN_KEY)
        assert store.is_empty() is False
        assert not hasattr(store, "_session_cache")
        assert (store.accessed, store.modified) == (False, False)

    async def test_a_missing_entry_reads_as_the_default(self, session):
        """get() of a missing entry returns None or the given default."""
        assert await session.get("cat") is None
        assert await session.get("cat", "dog") == "dog"
        assert await session.get("cat", default="dog") == "dog"

    async def test_an_entry_set_is_there(self, session):
        """Setting an entry makes it readable and marks the session modified and accessed."""
        await session.set("cat", "dog")
        assert (session.store.accessed, session.store.modified) == (True, True)
        assert await session.get("cat") == "dog"
        assert await session.get("cat", "default") == "dog"

    def test_square_brackets_read_and_remove(self, store):
        """[] reads an entry, del removes it and marks the session modified."""
        store["cat"] = "dog"
        store.modified = False
        assert store["cat"] == "dog"
        assert store.modified is False
        del store["cat"]
        assert store.modified is True
        assert "cat" not in store

    def test_square_brackets_on_a_missing_entry(self, store):
        """[] and del of a missing entry raise KeyError and leave the session unmodified."""
        with pytest.raises(KeyError):
            store["cat"]
        with pytest.raises(KeyError):
            del store["cat"]
        assert store.modified is False

    def test_in(self, store):
        """`in` tells whether an entry is there, and only accesses."""
        store["cat"] = "dog"
        store.accessed = store.modified = False
        assert "cat" in store
        assert "dog" not in store
        assert (store.accessed, store.modified) == (True, False)

    @pytest.mark.parametrize(
        ("call", "returned"),
        [
            (("get", "cat"), "dog"),
            (("has_key", "cat"), True),
            (("has_key", "dog"), False),
            (("setdefault", "cat", "fish"), "dog"),
        ],
    )
    async def test_reading_accesses_and_does_not_modify(self, session, call, returned):
        """Reading an entry, or setdefault() of one that is there, only accesses the session."""
        await session.set("cat", "dog")
        session.store.accessed = session.store.modified = False
        name, *arguments = call
        assert await getattr(session, name)(*arguments) == returned
        assert (session.store.accessed, session.store.modified) == (True, False)

    @pytest.mark.parametrize(
        ("listing", "listed"), [("keys", ["x"]), ("values", [1]), ("items", [("x", 1)])]
    )
    async def test_listing_accesses_and_does_not_modify(self, session, listing, listed):
        """keys(), values() and items() list what is there and only access the session."""
        assert list(await getattr(session, listing)()) == []
        assert session.store.accessed is True
        await session.set("x", 1)
        session.store.accessed = session.store.modified = False
        assert list(await getattr(session, listing)()) == listed
        assert (session.store.accessed, session.store.modified) == (True, False)

    async def test_pop_removes_and_returns(self, session):
        """pop() returns an entry, removes it and marks the session modified."""
        await session.set("cat", "dog")
        session.store.accessed = session.store.modified = False
        assert await session.pop("cat") == "dog"
        assert (session.store.accessed, session.store.modified) == (True, True)
        assert await session.has_key("cat") is False

    async def test_pop_of_a_missing_entry_returns_the_default(self, session):
        """pop() with a default, None included, returns it and leaves the session unmodified."""
        assert await session.pop("cat", "dog") == "dog"
        assert await session.pop("cat", default="dog") == "dog"
        assert await session.pop("cat", None) is None
        assert (session.store.accessed, session.store.modified) == (True, False)

    async def test_pop_of_a_missing_entry_without_default(self, session):
        """pop() of a missing entry raises KeyError and leaves the session unmodified."""
        with pytest.raises(KeyError):
            await session.pop("cat")
        assert session.store.modified is False

    async def test_setdefault_sets_once(self, session):
        """setdefault() sets a missing entry, marks the session modified, and returns the value."""
        assert await session.setdefault("cat", "dog") == "dog"
        assert (session.store.accessed, session.store.modified) == (True, True)
        assert await session.setdefault("cat", "fish") == "dog"
        assert await session.get("cat") == "dog"

    async def test_update_sets_many(self, session):
        """update() sets every entry of a mapping and marks the session modified."""
        await session.set("cat", "dog")
        session.store.accessed = session.store.modified = False
        await session.update({"cat": "fish", "bird": 1})
        assert (session.store.accessed, session.store.modified) == (True, True)
        assert await session.entries() == {"cat": "fish", "bird": 1}

    async def test_clear_empties(self, session):
        """clear() removes every entry and marks the session accessed and modified."""
        await session.set("cat", "dog")
        session.store.accessed = session.store.modified = False
        session.store.clear()
        assert (session.store.accessed, session.store.modified) == (True, True)
        assert await session.entries() == {}

    async def test_is_empty(self, session):
        """A session is empty, and false, while it has neither a key nor an entry."""

        def is_empty():
            # Older Django gives a store no truth value of its own: it is always true.
            has_truth_value = hasattr(self.engine, "__bool__")
            assert bool(session.store) is not (session.store.is_empty() and has_truth_value)
            return session.store.is_empty()

        assert is_empty() is True
        await session.set("cat", "dog")
        assert is_empty() is False
        await session.pop("cat")
        assert is_empty() is True
        await session.save()
        assert is_empty() is False
        await session.flush()
        assert is_empty() is True

    async def test_test_cookie(self, session):
        """The test cookie works once it is set, in later requests too, until it is deleted."""
        assert await session.test_cookie_worked() is False
        await session.set_test_cookie()
        assert session.store.modified is True
        assert await session.test_cookie_worked() is True
        await session.save()
        again = session.reopen()
        assert await again.test_cookie_worked() is True
        await again.delete_test_cookie()
        assert await again.test_cookie_worked() is False
        await again.save()
        assert await session.reopen().has_key(session.store.TEST_COOKIE_NAME) is False
