"""Any other session engine, by the methods that every engine has."""

from collections.abc import Iterator, Mapping
from typing import Any

from django.contrib.sessions.backends.base import CreateError, UpdateError
from django.core.exceptions import ImproperlyConfigured

from sessions_redis.former.decoding import session_by_itself
from sessions_redis.former.failures import is_outage
from sessions_redis.former.store import FormerSession, FormerStore, Found, found
from sessions_redis.keys import Key


class OtherStore(FormerStore):
    """
    An engine of which nothing is known but its methods.

    It cannot see an outage that the engine's ``load()`` hides, and it is as atomic as the engine.
    """

    def _load(self, key: Key) -> FormerSession | None:
        store = self._store(key)
        entries = store.load()
        is_gone = store.session_key != key.session_key or not isinstance(entries, Mapping)
        if is_gone or not (entries or store.exists(key.session_key)):
            return None
        return found(key, session_by_itself(store, entries)).session

    def _create(self, key: Key, session: FormerSession) -> bool:
        store = self._store_with(key, session)
        if store.exists(key.session_key):
            return False
        try:
            store.save(must_create=True)
        except CreateError as error:
            if is_outage(error):
                raise
            return False
        return True

    def _save(self, key: Key, session: FormerSession) -> bool:
        store = self._store_with(key, session)
        if not store.exists(key.session_key):  # the save() of some engines creates
            return False
        try:
            store.save()
        except UpdateError as error:
            if is_outage(error):
                raise
            return False
        return True

    def _delete(self, key: Key) -> None:
        self._store(key).delete()

    def _batches(self, size: int) -> Iterator[list[Found]]:
        raise ImproperlyConfigured(
            f"It is not known how the engine {self.path} lists its sessions, so {size} at a time "
            "cannot be read. They can only move with their visitors' requests."
        )

    def _store(self, key: Key) -> Any:
        store = super()._store(key)
        store.create = _nothing  # some engines begin a new session where they find none
        return store


def _nothing() -> None:
    return None
