"""
One session's entries, and the hash fields they lie in.

A field's name is the entry's key in UTF-8; its value is what the serializer makes of the entry's
value. Names with one leading ``@`` are metadata, so an entry's own leading ``@`` is doubled.
"""

from collections.abc import Callable, Iterator, Mapping, MutableMapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Protocol

CREATED = b"@created"
UPDATED = b"@updated"
USER = b"@user"
IP = b"@ip"
AGENT = b"@agent"

# django.contrib.auth.SESSION_KEY: the entry that says whose session it is.
USER_KEY = "_auth_user_id"


class Serializer(Protocol):
    """What ``SESSION_SERIALIZER`` names, made: Django's ``JSONSerializer`` or one like it."""

    def dumps(self, obj: Any) -> bytes: ...
    def loads(self, data: bytes) -> Any: ...


def field_of(key: str) -> bytes:
    """The name of the field that holds the entry ``key``. Never that of a metadata field."""
    # JSON carries lone surrogates, so a key may hold one; strict UTF-8 would refuse it.
    name = key.encode("utf-8", "surrogatepass")
    return b"@" + name if name.startswith(b"@") else name


def key_of(name: bytes) -> str:
    """
    The key of the entry that lies in the field ``name``.

    Raises ``UnicodeDecodeError`` for a name that `field_of` never makes.
    """
    return name.removeprefix(b"@").decode("utf-8", "surrogatepass")


def is_metadata(name: bytes) -> bool:
    return name.startswith(b"@") and not name.startswith(b"@@")


@dataclass(frozen=True, slots=True)
class Changes:
    """
    What has to be written so that Redis holds what the session holds.

    ``replaces``: fields of entries that are not in ``written`` are to go, known here or not.
    ``user``: the user's primary key in text, ``""`` for nobody, ``None`` if that did not change.
    """

    written: Mapping[bytes, bytes] = field(default_factory=dict)
    removed: tuple[bytes, ...] = ()
    replaces: bool = False
    user: str | None = None


_DAMAGED = object()
_MISSING = object()

NOTHING: Mapping[bytes, bytes] = MappingProxyType({})


class Entries(MutableMapping[Any, Any]):
    """
    The entries of one session, as a mapping: decoded when touched, compared when saved.

    ``stored`` are the hash's fields as loaded, metadata among them; what is not touched costs
    nothing. An entry that cannot be decoded is told to ``on_damaged(field name)`` once and reads as
    missing; its field stays as it is until that entry is written. ``replaces`` goes without
    ``stored``: whatever Redis holds, what is put in here shall be all.
    """

    def __init__(
        self,
        serializer: Serializer,
        stored: Mapping[bytes, bytes] = NOTHING,
        *,
        replaces: bool = False,
        on_damaged: Callable[[bytes], None],
    ) -> None:
        self._serializer = serializer
        self._on_damaged = on_damaged
        self._replaces = replaces
        # What Redis holds, as far as is known.
        self._stored = dict(stored)
        # What was touched: entries that were read or set, fields of those that were deleted, and
        # fields that turned out to be damaged, which are not ours to remove.
        self._items: dict[Any, Any] = {}
        self._deleted: dict[bytes, None] = {}
        self._damaged: set[bytes] = set()

    # The mapping

    def __getitem__(self, key: Any) -> Any:
        value = self._find(key)
        if value is _MISSING:
            raise KeyError(key)
        return value

    def get(self, key: Any, default: Any = None) -> Any:
        value = self._find(key)
        return default if value is _MISSING else value

    def __contains__(self, key: object) -> bool:
        return self._find(key) is not _MISSING

    def _find(self, key: Any) -> Any:
        if key in self._items:
            return self._items[key]
        name = field_of(key) if isinstance(key, str) else None
        if name not in self._stored or name in self._deleted or name in self._damaged:
            return _MISSING
        value = self._decoded(self._stored[name])
        if value is _DAMAGED:
            self._report(name)
            return _MISSING
        self._items[key] = value
        return value

    def __setitem__(self, key: Any, value: Any) -> None:
        self._items[key] = value

    def update(self, *args: Any, **kwargs: Any) -> None:
        self._items.update(*args, **kwargs)

    def __delitem__(self, key: Any) -> None:
        self[key]  # a damaged entry is missing: KeyError, and its field stays
        del self._items[key]
        try:
            name = field_of(self._text(key))
        except (TypeError, ValueError):
            return  # never saved, for it has no field's name
        if name in self._stored:
            self._deleted[name] = None

    def __iter__(self) -> Iterator[Any]:
        return iter(self.keys_starting_with(""))

    def __len__(self) -> int:
        return len(self.keys_starting_with(""))

    def __repr__(self) -> str:
        return repr(dict(self))

    def keys_starting_with(self, prefix: str) -> list[Any]:
        """The keys that start with ``prefix``, all for ``""``; no other entry is decoded."""
        stored = [key for _, key in self._readable(field_of(prefix)) if key in self]
        set_here = [key for key in self._items if not prefix or _starts_with(key, prefix)]
        return list(dict.fromkeys([*stored, *set_here]))

    def _readable(self, prefix: bytes = b"") -> Iterator[tuple[bytes, str]]:
        """The stored fields that hold an entry, and its key."""
        for name in list(self._stored):
            if not name.startswith(prefix) or is_metadata(name):
                continue
            if name in self._deleted or name in self._damaged:
                continue
            try:
                yield name, key_of(name)
            except UnicodeDecodeError:
                self._report(name)

    def _report(self, name: bytes) -> None:
        self._damaged.add(name)
        self._on_damaged(name)

    # What to write

    def changes(self, metadata: Mapping[bytes, bytes] = NOTHING) -> Changes:
        """
        What differs from what Redis is known to hold. Untouched entries are not looked at.

        ``metadata`` are fields of metadata to write where they differ, or to remove where empty.

        Raises what the serializer raises for a value it cannot write, and ``TypeError`` for a key
        that it does not make text of.
        """
        written = self.new_metadata(metadata)
        user: str | None = "" if self._replaces else None
        kept = self._names_of_items()
        for name, key in kept.items():
            encoded = self._serializer.dumps(self._items[key])
            if self._replaces or self._differs(name, encoded):
                written[name] = encoded
                if key == USER_KEY:
                    user = _text_of_user(self._items[key])
        removed = [name for name in self._deleted if name not in kept]
        if field_of(USER_KEY) in removed:
            user = ""
        removed += [name for name, text in metadata.items() if not text and name in self._stored]
        return Changes(written, tuple(removed), self._replaces, user)

    def whole(self, metadata: Mapping[bytes, bytes] = NOTHING) -> Changes:
        """Every entry and what ``metadata`` holds, for a hash that does not exist yet."""
        user = _text_of_user(self.get(USER_KEY))
        written = {name: text for name, text in metadata.items() if text}
        written |= {name: self._stored[name] for name, _ in self._readable()}
        for name, key in self._names_of_items().items():
            written[name] = self._serializer.dumps(self._items[key])
        return Changes(written, replaces=True, user=user)

    def _names_of_items(self) -> dict[bytes, Any]:
        # Of two keys that the serializer makes one text of, the later in the session stays, as in
        # a whole document. What was loaded comes first there, whenever it was touched.
        loaded: dict[bytes, Any] = {}
        added: dict[bytes, Any] = {}
        for key in self._items:
            if isinstance(key, str):
                name = field_of(key)
                was_there = name in self._stored and name not in self._deleted
            else:
                name, was_there = field_of(self._text(key)), False
            (loaded if was_there else added)[name] = key
        return loaded | added

    def new_metadata(self, metadata: Mapping[bytes, bytes]) -> dict[bytes, bytes]:
        """Those fields of ``metadata`` that Redis is not known to hold."""
        stored = self._stored
        return {name: text for name, text in metadata.items() if text and stored.get(name) != text}

    def known_user(self) -> bytes:
        """The session's user as the hash is known to hold it, whatever bytes; empty for nobody."""
        if USER in self._stored:
            return self._stored[USER]
        name = field_of(USER_KEY)
        user = self._decoded(self._stored[name]) if name in self._stored else None
        text = "" if user is _DAMAGED else _text_of_user(user)
        return text.encode("utf-8", "surrogatepass")

    def settle(self, changes: Changes) -> None:
        """Take ``changes`` as lying in Redis now: later changes are those against them."""
        if changes.replaces:
            self._stored, self._replaces = {}, False
            self._deleted.clear()
            self._damaged.clear()
        for name in changes.removed:
            self._stored.pop(name, None)
            self._deleted.pop(name, None)
        self._stored.update(changes.written)
        if changes.user is not None:
            self._stored[USER] = changes.user.encode("utf-8", "surrogatepass")
        for name in changes.written:
            self._deleted.pop(name, None)
        self._damaged.difference_update(changes.written)

    def settle_entry(self, key: str, value: Any) -> None:
        """Take the entry ``key`` as being ``value`` here and in Redis."""
        self._items[key] = value
        self.settle(Changes({field_of(key): self._serializer.dumps(value)}))

    def is_pending(self, key: str) -> bool:
        """Whether the entry ``key`` has a change that is not in Redis yet."""
        name = field_of(key)
        if self._replaces:
            return True
        if key in self._items:
            return self._differs(name, self._serializer.dumps(self._items[key]))
        return name in self._deleted

    def _differs(self, name: bytes, encoded: bytes) -> bool:
        stored = self._stored.get(name)
        if stored is None:
            return True
        if stored == encoded:
            return False
        # Another writer may have spelt the same value differently (spaces, the order of keys):
        # an entry that was only read must not be written over what others write meanwhile.
        decoded = self._decoded(stored)
        return decoded is _DAMAGED or self._serializer.dumps(decoded) != encoded

    def _decoded(self, encoded: bytes) -> Any:
        try:
            return self._serializer.loads(encoded)
        except Exception:  # noqa: BLE001 - a serializer raises anything on bytes it did not write
            return _DAMAGED

    def _text(self, key: Any) -> str:
        if isinstance(key, str):
            return key
        # What the serializer would make of the key in a whole document: JSON makes "1" of 1.
        (text,) = self._serializer.loads(self._serializer.dumps({key: None}))
        if not isinstance(text, str):
            raise TypeError(
                f"The session entry {key!r} cannot be saved: its key is no string, and "
                f"{type(self._serializer).__name__} does not make one of it. Use a string."
            )
        return text


def _text_of_user(primary_key: Any) -> str:
    return "" if primary_key is None else str(primary_key)


def _starts_with(key: Any, prefix: str) -> bool:
    return isinstance(key, str) and key.startswith(prefix)


@dataclass(frozen=True, slots=True)
class StoredEntry:
    """
    One entry of a session as stored, for people to look at.

    ``size``: bytes of its value in Redis. ``damaged``: it cannot be decoded, and ``value`` is None.
    """

    name: str
    value: Any
    size: int
    damaged: bool = False


def stored_entries(serializer: Serializer, stored: Mapping[bytes, bytes]) -> list[StoredEntry]:
    """The entries among a hash's fields, by name; names that are no UTF-8 show as ``\\xNN``."""
    found = []
    for name, encoded in sorted(stored.items()):
        if is_metadata(name):
            continue
        entries = Entries(serializer, {name: encoded}, on_damaged=lambda _: None)
        shown = name.removeprefix(b"@").decode("utf-8", "backslashreplace")
        values = list(entries.values())
        value = values[0] if values else None
        found.append(StoredEntry(shown, value, len(encoded), damaged=not values))
    return found
