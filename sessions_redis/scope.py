"""A part of a session: its entries that belong to one name."""

from collections.abc import Callable, Iterator, Mapping, MutableMapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from sessions_redis.storage.lazy_entries import keys_starting_with

if TYPE_CHECKING:
    from sessions_redis.engine import SessionStore

_MISSING = object()


class Scope(MutableMapping[str, Any]):
    """
    A mapping of the entries of a session that belong to the name ``name``.

    A name and a key can be any text. The entry ``key`` of the scope ``name`` is the session's entry
    ``scope:<name>:<key>``. In the name, ``%`` and ``:`` are percent-encoded, so that two scopes
    never share an entry. Reading and writing a scope loads the session, and marks it as accessed
    and modified, as reading and writing the session does.
    """

    def __init__(self, session: "SessionStore", name: str) -> None:
        if not isinstance(name, str):
            raise TypeError(f"A scope's name must be a string, not {type(name).__name__}.")
        self._session = session
        self._prefix = f"scope:{name.replace('%', '%25').replace(':', '%3A')}:"

    def _entry(self, key: str) -> str:
        if not isinstance(key, str):
            raise TypeError(f"A key in a scope must be a string, not {type(key).__name__}.")
        return self._prefix + key

    def __getitem__(self, key: str) -> Any:
        try:
            return self._session[self._entry(key)]
        except KeyError:
            raise KeyError(key) from None

    def __setitem__(self, key: str, value: Any) -> None:
        self._session[self._entry(key)] = value

    def __delitem__(self, key: str) -> None:
        try:
            del self._session[self._entry(key)]
        except KeyError:
            raise KeyError(key) from None

    def __contains__(self, key: object) -> bool:
        return isinstance(key, str) and self._entry(key) in self._session

    def __iter__(self) -> Iterator[str]:
        return self._keys()

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __repr__(self) -> str:
        return f"<Scope {self._prefix!r}: {dict(self)!r}>"

    def clear(self) -> None:
        # MutableMapping.clear() would list all keys again for each key that it removes.
        for key in self:
            del self[key]

    # Entries that several requests change at the same time, as the session does it

    def increment(self, key: str, by: int = 1) -> int:
        return self._session.increment(self._entry(key), by)

    async def aincrement(self, key: str, by: int = 1) -> int:
        return await self._session.aincrement(self._entry(key), by)

    def append(self, key: str, value: Any) -> list[Any]:
        return self._session.append(self._entry(key), value)

    async def aappend(self, key: str, value: Any) -> list[Any]:
        return await self._session.aappend(self._entry(key), value)

    def update_entry(self, key: str, function: Callable[[Any], Any], default: Any = None) -> Any:
        return self._session.update_entry(self._entry(key), function, default)

    async def aupdate_entry(
        self, key: str, function: Callable[[Any], Any], default: Any = None
    ) -> Any:
        return await self._session.aupdate_entry(self._entry(key), function, default)

    def _keys(self) -> Iterator[str]:
        found = keys_starting_with(self._session._get_session(), self._prefix)
        return (key.removeprefix(self._prefix) for key in found)

    def set(self, key: str, value: Any, *, expires_in: float | timedelta | None = None) -> None:
        """As ``set()`` of the session."""
        self._session.set(self._entry(key), value, expires_in=expires_in)

    # For asynchronous code, with the names of Django's SessionBase

    async def aget(self, key: str, default: Any = None) -> Any:
        return await self._session.aget(self._entry(key), default)

    async def aset(
        self, key: str, value: Any, *, expires_in: float | timedelta | None = None
    ) -> None:
        await self._session.aset(self._entry(key), value, expires_in=expires_in)

    async def asetdefault(self, key: str, value: Any) -> Any:
        return await self._session.asetdefault(self._entry(key), value)

    async def apop(self, key: str, default: Any = _MISSING) -> Any:
        given = () if default is _MISSING else (default,)
        try:
            return await self._session.apop(self._entry(key), *given)
        except KeyError:
            raise KeyError(key) from None

    async def aclear(self) -> None:
        await self._session._aget_session()
        self.clear()

    async def aupdate(self, entries: Mapping[str, Any]) -> None:
        await self._session.aupdate({self._entry(key): entries[key] for key in entries})

    async def ahas_key(self, key: str) -> bool:
        return await self._session.ahas_key(self._entry(key))

    async def akeys(self) -> list[str]:
        await self._session._aget_session()
        return list(self)

    async def avalues(self) -> list[Any]:
        return [self[key] for key in await self.akeys()]

    async def aitems(self) -> list[tuple[str, Any]]:
        return [(key, self[key]) for key in await self.akeys()]
