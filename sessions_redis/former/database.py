"""Engines that keep sessions in a table: Django's ``db`` and ``cached_db``, and their kin."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cached_property
from itertools import starmap
from typing import Any

from django.contrib.auth import SESSION_KEY, get_user_model
from django.contrib.sessions.backends.base import CreateError, SessionBase, UpdateError
from django.core.cache.backends.dummy import DummyCache
from django.db import IntegrityError, router, transaction
from django.utils import timezone
from django.utils.module_loading import import_string

from sessions_redis.former.caches import fits
from sessions_redis.former.decoding import decoded
from sessions_redis.former.failures import is_outage
from sessions_redis.former.store import (
    FormerSession,
    FormerStore,
    Found,
    found,
    moment,
    seconds_until,
)
from sessions_redis.keys import Key

COLUMNS = ("pk", "session_key", "session_data", "expire_date")

# The columns of django-qsessions and django-user-sessions that are metadata here. Not all have all.
VISITOR_PACKAGES = frozenset({"qsessions", "user_sessions"})
VISITOR_COLUMNS = ("ip", "user_agent", "created_at")

# SQLite takes at most 999 parameters in a statement, in old versions.
DELETED_AT_ONCE = 500


@dataclass(frozen=True, repr=False)
class Row:
    """
    What a row holds of a session.

    No variable of a frame that can raise holds the session key, so rows become this at once.
    """

    pk: Any
    session_key: str
    text: str
    until: datetime
    ip: str | None = None
    agent: str | None = None
    created_at: datetime | None = None

    @property
    def ttl(self) -> float:
        return seconds_until(self.until)

    @property
    def created(self) -> int | None:
        return None if self.created_at is None else int(self.created_at.timestamp())


class DatabaseStore(FormerStore):
    """
    A table of sessions. Its rows are the truth, also if the engine has a cache in front of it.

    It reads and writes the database in which the model is written, so no replica that is behind
    makes a session look absent.
    """

    def __init__(self, path: str, engine: type[SessionBase]) -> None:
        super().__init__(path, engine)
        own = {field.name for field in self.model._meta.concrete_fields}
        packages = {base.__module__.partition(".")[0] for base in engine.__mro__}
        self.has_visitors = bool(packages & VISITOR_PACKAGES)
        self.columns = [name for name in VISITOR_COLUMNS if self.has_visitors and name in own]

    @cached_property
    def model(self) -> Any:
        engine: Any = self.engine
        return engine.get_model_class()

    def after_commit(self, callback: Callable[[], None]) -> None:
        """
        Also never call it if the site manages transactions itself, without ``atomic()``: nobody
        says then when it commits.
        """
        connection = transaction.get_connection(self._using)
        if connection.in_atomic_block:
            connection.on_commit(callback)
        elif connection.connection is None or connection.autocommit:  # asked without connecting
            callback()

    def _load(self, key: Key) -> FormerSession | None:
        row = self._row(key)
        return None if row is None else self._found(row).session

    def _create(self, key: Key, session: FormerSession) -> bool:
        if self._insert(key, session):
            return True
        # An expired row keeps the key until `clearsessions` deletes it.
        deleted, _ = self._rows(key).filter(expire_date__lte=timezone.now()).delete()
        return bool(deleted) and self._insert(key, session)

    def _insert(self, key: Key, session: FormerSession) -> bool:
        store = self._store_with(key, session)
        if hasattr(store, "_cache"):
            # The engine's next load fills the cache. Filled now, it would outlive a rollback. An
            # older copy in it would win over the row.
            store._cache.delete(store.cache_key)
            store._cache = DummyCache("", {})
        try:
            store.save(must_create=True)
        except (CreateError, IntegrityError):
            if self._rows(key).exists() or self._is_user_gone(session):
                return False
            raise
        if transaction.get_connection(self._using).in_atomic_block:
            # After a rollback, cached_db would have a session in its cache that is in no row.
            self._delete_from_cache([key])
        return True

    def _save(self, key: Key, session: FormerSession) -> bool:
        row = self._row(key)
        if row is None or row.ttl <= 0:
            return False
        try:
            return self._update(key, replace(session, ip=row.ip or "", agent=row.agent or ""))
        except UpdateError as error:
            if is_outage(error):  # Django says so of every error of the database
                raise
            return False
        except IntegrityError:
            if self._is_user_gone(session):
                return False
            raise

    def _update(self, key: Key, session: FormerSession) -> bool:
        self._store_with(key, session).save()
        return True

    def _delete(self, key: Key) -> None:
        rows = self._read(self._rows(key))
        if not rows or rows[0].session_key == key.session_key:
            self._store(key).delete()

    def _delete_many(self, keys: Sequence[Key]) -> None:
        for start in range(0, len(keys), DELETED_AT_ONCE):
            part = keys[start : start + DELETED_AT_ONCE]
            self._objects.filter(session_key__in=[key.session_key for key in part]).delete()
            self._delete_from_cache(part)

    def _delete_from_cache(self, keys: Sequence[Key]) -> None:
        cache = getattr(self.engine(), "_cache", None)
        if cache is not None:
            cache.delete_many([self._store(key).cache_key for key in keys])

    def _batches(self, size: int) -> Iterator[list[Found]]:
        rows = self._read(self._objects.order_by("pk")[:size])
        while rows:
            yield [self._found(row) for row in rows]
            rows = self._read(self._objects.filter(pk__gt=rows[-1].pk).order_by("pk")[:size])

    def _count(self) -> int:
        return int(self._objects.count())

    @property
    def _using(self) -> str:
        return router.db_for_write(self.model)

    @property
    def _objects(self) -> Any:
        return self.model.objects.using(self._using)

    def _rows(self, key: Key) -> Any:
        return self._objects.filter(session_key=key.session_key)

    def _row(self, key: Key) -> Row | None:
        rows = self._read(self._rows(key))
        # A database may compare without case, or without spaces at the end.
        return rows[0] if rows and rows[0].session_key == key.session_key else None

    def _read(self, objects: Any) -> list[Row]:
        return list(starmap(Row, objects.values_list(*COLUMNS, *self.columns)))

    def _found(self, row: Row) -> Found:
        key = Key(row.session_key)
        if row.ttl <= 0:
            return Found(key, None, "expired")
        entries = decoded(self.engine(), row.text)
        if entries is None:
            return Found(key, None, "not decodable")
        return found(
            key, FormerSession(entries, row.ttl, row.created, row.ip or "", row.agent or "")
        )

    def _may_hold(self, key: Key) -> bool:
        longest = self.model._meta.get_field("session_key").max_length
        if longest is not None and len(key.session_key) > longest:
            return False
        return super()._may_hold(key) and fits(self._store(key))

    def _empty_store(self, key: Key, session: FormerSession) -> Any:
        if not self.has_visitors:
            return self._store(key)
        make: Any = self.engine
        return make(
            key.session_key,
            user_agent=session.agent or session.entries.get("_qsessions_user_agent"),
            ip=session.ip or session.entries.get("_qsessions_ip"),
        )

    def _is_user_gone(self, session: FormerSession) -> bool:
        """Whether the row would name a user who was deleted."""
        user_pk = session.entries.get(SESSION_KEY)
        if not self.has_visitors or user_pk is None:
            return False
        users: Any = get_user_model()
        return not users._base_manager.filter(pk=user_pk).exists()


class UserSessionsStore(DatabaseStore):
    """django-user-sessions, whose engine is not one of Django's."""

    @cached_property
    def model(self) -> Any:
        return import_string("user_sessions.models.Session")

    def _empty_store(self, key: Key, session: FormerSession) -> Any:
        store = super()._empty_store(key, session)
        store.user_id = session.entries.get(SESSION_KEY)
        return store

    def _update(self, key: Key, session: FormerSession) -> bool:
        # The engine's own save() creates a row that is not there.
        updated = self._rows(key).update(
            session_data=self.engine().encode(dict(session.entries)),
            expire_date=moment(session.ttl),
            user_id=session.entries.get(SESSION_KEY),
            last_activity=timezone.now(),
        )
        return bool(updated)
