"""A session's entries in a dictionary, as Django keeps them, but decoded only when read."""

import copy
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import compress, repeat
from operator import is_not
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NoReturn, SupportsIndex

from sessions_redis.storage.entries import (
    DAMAGED,
    NOTHING,
    Serializer,
    decoded,
    field_of,
    is_key,
    is_metadata,
    keys_with,
    opened,
)

if TYPE_CHECKING:
    from sessions_redis.storage.changes import Known


class NotDecodedYet:
    """
    Stands for a value that was not decoded yet. No encoder accepts it.

    Code that reads a dictionary without its methods, as orjson does, finds it and raises. Pass
    ``dict(session.items())`` to such code.
    """

    __slots__ = ()

    # It does not become text either: encoders call str() or repr() for types that they do not know.
    def __repr__(self) -> NoReturn:
        raise TypeError(_NOT_READ)

    def __reduce_ex__(self, protocol: SupportsIndex) -> NoReturn:
        raise TypeError(_NOT_READ)


_NOT_READ = (
    "An entry of a session was not decoded yet. This code reads the dictionary without its "
    "methods. Pass it dict(session.items()) instead."
)
NOT_DECODED = NotDecodedYet()


class Entries(dict[Any, Any]):
    """
    A dictionary of entries, which `entries_in` makes of the fields of a hash.

    Every key is there from the start. A value is decoded when it is read. Reading the whole
    dictionary decodes all of them. Until then `NOT_DECODED` stands in its place, which
    the methods of ``dict`` itself show, as in ``dict.items(entries)``.

    An entry that cannot be decoded is reported to ``on_damaged(field name)`` once and is missing
    from then on.

    Copies, also those by ``copy``, ``deepcopy`` and ``pickle``, are plain dictionaries.

    ``fields``: what the entries are decoded from. ``loaded_keys``: the keys of all of them.
    ``known``: the fields in Redis when a store loaded these entries, else ``None``.
    ``mark``: set by the store that loaded them, to recognize them.
    """

    # An instance without fields is an ordinary dictionary.
    fields: Mapping[bytes, bytes] = NOTHING
    loaded_keys: Mapping[str, object] = MappingProxyType({})
    known: "Known | None" = None
    mark: object = None
    _serializer: Serializer
    _on_damaged: Callable[[bytes], None]
    _is_whole = True

    def encoded(self, key: str, serializer: Serializer) -> bytes | None:
        """
        What the serializer's ``dumps`` wrote of an entry, if it was not decoded since.

        ``None`` also if it was loaded with another serializer than ``serializer``.
        """
        if super().get(key) is not NOT_DECODED or type(serializer) is not type(self._serializer):
            return None
        return opened(serializer, self.fields, field_of(key))

    def decoded_items(self) -> list[tuple[Any, Any]]:
        """The entries that were read or set and still exist."""
        are_decoded = map(is_not, dict.values(self), repeat(NOT_DECODED))
        return list(compress(dict.items(self), are_decoded))

    def decode_all(self) -> None:
        if self._is_whole:
            return
        for key in list(super().__iter__()):
            self.get(key)
        for name in self.fields:
            if not is_metadata(name) and not is_key(name):
                self._on_damaged(name)
        self._is_whole = True

    # Of one entry

    def __getitem__(self, key: Any) -> Any:
        value = super().__getitem__(key)
        if value is not NOT_DECODED:
            return value
        value = self._decoded(key)
        if value is DAMAGED:
            raise KeyError(key)
        return value

    def get(self, key: Any, default: Any = None) -> Any:
        value = super().get(key, default)
        if value is not NOT_DECODED:
            return value
        value = self._decoded(key)
        return default if value is DAMAGED else value

    def __contains__(self, key: object) -> bool:
        return self.get(key, DAMAGED) is not DAMAGED

    def _decoded(self, key: str) -> Any:
        value = decoded(self._serializer, self.fields, field_of(key))
        if value is DAMAGED:
            super().pop(key, None)  # another thread may have found it damaged, too
            self._on_damaged(field_of(key))
        else:
            self[key] = value
        return value

    def __delitem__(self, key: Any) -> None:
        self[key]  # KeyError for a damaged one, whose field stays
        super().__delitem__(key)

    def pop(self, key: Any, *default: Any) -> Any:
        self.get(key)
        return super().pop(key, *default)

    def setdefault(self, key: Any, default: Any = None) -> Any:
        self.get(key)
        return super().setdefault(key, default)

    # Of all entries

    def __iter__(self) -> Iterator[Any]:
        self.decode_all()
        return super().__iter__()

    def __reversed__(self) -> Iterator[Any]:
        self.decode_all()
        return super().__reversed__()

    def __len__(self) -> int:
        self.decode_all()
        return super().__len__()

    def keys(self) -> Any:
        self.decode_all()
        return super().keys()

    def values(self) -> Any:
        self.decode_all()
        return super().values()

    def items(self) -> Any:
        self.decode_all()
        return super().items()

    def popitem(self) -> tuple[Any, Any]:
        self.decode_all()
        return super().popitem()

    def __repr__(self) -> str:
        self.decode_all()
        return super().__repr__()

    def __eq__(self, other: object) -> bool:
        self.decode_all()
        if isinstance(other, Entries):
            other.decode_all()
        return super().__eq__(other)

    def __ne__(self, other: object) -> bool:
        return not self == other

    __hash__ = None  # as a dictionary's

    # Copies

    def copy(self) -> dict[Any, Any]:
        return dict(self)

    def __copy__(self) -> dict[Any, Any]:
        return dict(self)

    def __deepcopy__(self, memo: dict[int, Any]) -> dict[Any, Any]:
        return copy.deepcopy(dict(self), memo)

    def __reduce_ex__(self, protocol: SupportsIndex) -> tuple[Any, ...]:
        return dict, (dict(self),)

    def __or__(self, other: Any) -> Any:
        return dict(self) | other

    def __ror__(self, other: Any) -> Any:
        return other | dict(self)

    @classmethod
    def fromkeys(cls, keys: Iterable[Any], value: Any = None) -> dict[Any, Any]:
        return dict.fromkeys(keys, value)


def entries_in(
    fields: Mapping[bytes, bytes], serializer: Serializer, on_damaged: Callable[[bytes], None]
) -> Entries:
    """The entries that the fields of a hash hold."""
    loaded_keys = keys_with(NOT_DECODED, fields)
    entries = Entries(loaded_keys)
    entries.fields = fields
    entries.loaded_keys = loaded_keys
    entries._serializer = serializer
    entries._on_damaged = on_damaged
    entries._is_whole = not fields
    return entries


def keys_starting_with(entries: dict[Any, Any], prefix: str) -> list[str]:
    """The keys of entries that start with ``prefix``; no other entry is decoded."""
    keys = dict.__iter__(entries)
    found = [key for key in keys if isinstance(key, str) and key.startswith(prefix)]
    return [key for key in found if key in entries]
