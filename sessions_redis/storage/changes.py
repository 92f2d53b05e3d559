"""The changes to write: how a session's entries differ from the fields that Redis holds."""

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple, TypeGuard

from sessions_redis.storage.entries import (
    DAMAGED,
    NOTHING,
    USER,
    USER_KEY,
    SealingSerializer,
    Serializer,
    decoded,
    field_of,
    fields_of,
    is_key,
    key_of,
    opened,
)
from sessions_redis.storage.lazy_entries import NOT_DECODED, Entries
from sessions_redis.storage.steps import Argument

USER_FIELD = field_of(USER_KEY)

NOTHING_ASKED: Mapping[str, Argument] = MappingProxyType({})

NOT_THERE = object()


class Changes(NamedTuple):  # made with each request: a dataclass takes longer
    """
    The changes that bring the session in Redis up to date.

    ``replaces``: remove every entry's field that is not in ``written``, even one that this store
    does not know. ``user``: the user's primary key in text, ``""`` without a user, ``None`` if that
    did not change. ``rules``: see `rules`; without any, nothing but the session's end is checked.
    """

    written: Mapping[bytes, bytes] = NOTHING
    removed: tuple[bytes, ...] = ()
    replaces: bool = False
    user: str | None = None
    rules: Mapping[str, Argument] = NOTHING_ASKED


class Known(NamedTuple):
    """
    The ``fields`` that Redis is known to hold for the session ``id``, metadata among them.

    ``replaces``: the session's entries did not come from these fields. After ``clear()``, for
    example, a save writes all entries and removes everything else.

    ``loaded``: the fields as they were loaded, if they are known to have changed since, by a save
    for example. ``since``: the names of those that may differ from ``fields``.
    """

    id: str | None = None
    fields: Mapping[bytes, bytes] = {}
    replaces: bool = False
    loaded: Mapping[bytes, bytes] | None = None
    since: tuple[bytes, ...] = ()

    def changes(
        self,
        entries: dict[Any, Any],
        serializer: Serializer,
        metadata: Mapping[bytes, bytes] = NOTHING,
    ) -> Changes:
        """
        The differences from the known fields. Entries that nobody read are not compared.

        ``metadata`` are fields of metadata to write where they differ, or to remove where empty.

        Raises the serializer's error for a value that it cannot write, and ``TypeError`` for a key
        that it does not turn into text.
        """
        written = self.new_metadata(metadata) if metadata else {}
        if self.replaces:
            return whole(entries, serializer, written)
        held = self._encoded(entries, serializer)
        is_sealing = isinstance(serializer, SealingSerializer)
        for name, encoded in held.items():
            is_same = self.fields.get(name) == encoded and not is_sealing
            if not is_same and self._differs(name, encoded, serializer):
                written[name] = encoded
        removed = [name for name in self._missing(entries, serializer) if name not in held]
        user: str | None = None
        if USER_FIELD in written or USER_FIELD in removed:
            user = _text_of_user(entries.get(USER_KEY))
        if metadata:
            removed += [name for name, text in metadata.items() if not text and name in self.fields]
        return Changes(written, tuple(removed), user=user)

    def new_metadata(self, metadata: Mapping[bytes, bytes]) -> dict[bytes, bytes]:
        """Those fields of ``metadata`` that Redis is not known to hold."""
        known = self.fields
        return {name: text for name, text in metadata.items() if text and known.get(name) != text}

    def is_changed(self, key: str, entries: dict[Any, Any], serializer: Serializer) -> bool:
        """Whether the entry ``key`` has a change that is not in Redis yet."""
        if self.replaces:
            return True
        value = dict.get(entries, key, NOT_THERE)
        if value is NOT_THERE:
            return field_of(key) in self._missing(entries, serializer)
        if value is NOT_DECODED:
            return False
        return self._differs(field_of(key), serializer.dumps(value), serializer)

    def user(self, serializer: Serializer) -> bytes:
        """The user as bytes, even if damaged; empty if there is none."""
        if USER in self.fields:
            return self.fields[USER]
        there = USER_FIELD in self.fields
        user = decoded(serializer, self.fields, USER_FIELD) if there else None
        text = "" if user is DAMAGED else _text_of_user(user)
        return text.encode("utf-8", "surrogatepass")

    def after(self, changes: Changes, id: str) -> "Known":
        """The fields known to be in Redis once ``changes`` are written to the session ``id``."""
        fields: dict[bytes, bytes] = {}
        loaded: Mapping[bytes, bytes] | None = None
        since: tuple[bytes, ...] = ()
        if not changes.replaces:
            fields, loaded = dict(self.fields), self.fields if self.loaded is None else self.loaded
            since = tuple({*self.since, *changes.written, *changes.removed})
        for name in changes.removed:
            fields.pop(name, None)
        fields.update(changes.written)
        if changes.user is not None:
            fields[USER] = changes.user.encode("utf-8", "surrogatepass")
        return Known(id, fields, self.replaces and not changes.replaces, loaded, since)

    def _are_of_this(self, entries: dict[Any, Any]) -> TypeGuard[Entries]:
        """Whether ``entries`` were decoded from the known fields, as they are or were loaded."""
        loaded = self.fields if self.loaded is None else self.loaded
        return isinstance(entries, Entries) and entries.fields is loaded

    def _encoded(self, entries: dict[Any, Any], serializer: Serializer) -> dict[bytes, bytes]:
        """The fields of entries that may differ from those known, with values to write."""
        fields = {}
        keys: Iterable[Any] = ()
        if self._are_of_this(entries):
            # An entry that was not decoded differs only if another value was written since: 1 is
            # written in place of "1".
            if self.since:
                keys = map(key_of, filter(is_key, self.since))
            items = entries.decoded_items()
        else:
            keys, items = list(dict.keys(entries)), list(dict.items(entries))
        for key in keys:
            if dict.get(entries, key) is NOT_DECODED and key in entries:
                fields[field_of(key)] = serializer.dumps(entries[key])
        for key, value in items:
            if value is not NOT_DECODED:
                fields[name_of(key, serializer)] = serializer.dumps(value)
        return fields

    def _missing(self, entries: dict[Any, Any], serializer: Serializer) -> Iterable[bytes]:
        """The fields of removed entries. A damaged entry was not removed."""
        there = dict.keys(entries)
        if self._are_of_this(entries):
            are_all_there = entries.loaded_keys.keys() <= there
            if are_all_there and not self.since:  # as with most requests
                return ()
            gone = () if are_all_there else fields_of(entries.loaded_keys.keys() - there)
            names = {name for name in (*gone, *self.since) if is_key(name)}
        else:
            held = fields_of([key for key in there if isinstance(key, str)])
            names = {name for name in self.fields.keys() - held if is_key(name)}
        return [
            name
            for name in (self.fields if names else ())
            if name in names
            and key_of(name) not in there
            and decoded(serializer, self.fields, name) is not DAMAGED
        ]

    def _differs(self, name: bytes, encoded: bytes, serializer: Serializer) -> bool:
        known = opened(serializer, self.fields, name)
        if known is None:
            return True
        if known == encoded:
            return False
        # Another writer may have spelt the same value differently (spaces, the order of keys):
        # an entry that was only read must not be written over what others write meanwhile.
        value = decoded(serializer, self.fields, name)
        return value is DAMAGED or serializer.dumps(value) != encoded


# For a session whose entries this store did not load.
UNKNOWN = Known(replaces=True)


def whole(
    entries: dict[Any, Any], serializer: Serializer, metadata: Mapping[bytes, bytes] = NOTHING
) -> Changes:
    """Every entry and all of ``metadata``, to replace everything that Redis holds."""
    written = {name: text for name, text in metadata.items() if text}
    if not isinstance(entries, Entries):
        items = list(dict.items(entries))
        names = _names_of([key for key, _ in items], serializer)
        written.update(zip(names, [serializer.dumps(value) for _, value in items], strict=True))
        return Changes(written, replaces=True, user=_text_of_user(entries.get(USER_KEY)))
    for key in list(dict.keys(entries)):
        encoded = entries.encoded(key, serializer)
        if encoded is not None:
            written[field_of(key)] = encoded
        elif (value := entries.get(key, NOT_THERE)) is not NOT_THERE:
            written[name_of(key, serializer)] = serializer.dumps(value)
    return Changes(written, replaces=True, user=_text_of_user(entries.get(USER_KEY)))


def _names_of(keys: list[Any], serializer: Serializer) -> list[bytes]:
    try:
        return fields_of(keys)
    except TypeError:  # one is not a string
        return [name_of(key, serializer) for key in keys]


def name_of(key: Any, serializer: Serializer) -> bytes:
    """
    The field that holds the entry ``key``.

    If the serializer turns two keys into the same text, the later one wins, as in a whole document.
    """
    return field_of(key if isinstance(key, str) else _text(key, serializer))


def _text(key: Any, serializer: Serializer) -> str:
    # As the serializer writes a key in a whole document: JSON makes "1" of 1.
    (text,) = serializer.loads(serializer.dumps({key: None}))
    if not isinstance(text, str):
        raise TypeError(
            f"The session entry {key!r} cannot be saved: its key is not a string, and "
            f"{type(serializer).__name__} does not turn it into one. Use a string."
        )
    return text


def _text_of_user(primary_key: Any) -> str:
    return "" if primary_key is None else str(primary_key)
