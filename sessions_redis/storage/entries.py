"""
The fields of a session's hash: their names and values.

A field's name is the entry's key in UTF-8; its value is the entry's value as the serializer writes
it. Names with one leading ``@`` are metadata, so a leading ``@`` of an entry's key is doubled.
"""

from abc import abstractmethod
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Protocol, TypeGuard, TypeVar

T = TypeVar("T")

CREATED = b"@created"
UPDATED = b"@updated"
USER = b"@user"
SEEN = b"@seen"  # when the session was last used without a write
LISTED = b"@listed"  # until when the indexes list it, in milliseconds since 1970
IP = b"@ip"
AGENT = b"@agent"
COPIED = b"@copied"  # the former engine may have a copy of the session
LOCK = b"@lock"  # the token of its holder, and until when it holds, in milliseconds since 1970
SALT = b"@salt"  # what the session's encrypted entries are bound to
SIGNED_IN = b"@signed-in"  # with a cap in a Cluster: when it got its user, in milliseconds
EXPIRING = b"@expiring"  # the names of fields that expire by themselves, see `expiring`
ENDS = b"@ends"  # when it ends at the latest, in milliseconds since 1970, or "never"
RENEWED = b"@renewed"  # when its time to live was set, in milliseconds since 1970
METADATA = frozenset(
    {
        *(CREATED, UPDATED, USER, SEEN, LISTED, IP, AGENT, COPIED, LOCK, SALT, SIGNED_IN, EXPIRING),
        *(ENDS, RENEWED),
    }
)

# django.contrib.auth.SESSION_KEY: the entry that holds the primary key of the session's user.
USER_KEY = "_auth_user_id"

NOTHING: Mapping[bytes, bytes] = MappingProxyType({})
NONE_LEFT: Mapping[bytes, float] = MappingProxyType({})

# `decoded` returns this for a value that the serializer cannot read.
DAMAGED = object()


class Serializer(Protocol):
    """An instance of ``SESSION_SERIALIZER``: Django's ``JSONSerializer`` or a similar class."""

    def dumps(self, obj: Any) -> bytes: ...
    def loads(self, data: bytes) -> Any: ...


class SealingSerializer:
    """
    A serializer whose values are sealed in Redis: encrypted, and bound to their place.

    ``dumps`` and ``loads`` work on the open value, which must be the same for equal values. So
    changes are found without regard to how a value was sealed.

    ``salt``: what the hash holds in `SALT`, ``b""`` if there is none. ``name``: that of the field.
    ``seals``: ``False`` if it only opens what another one has sealed, and `seal` is not called.
    """

    seals = True

    @abstractmethod
    def dumps(self, obj: Any) -> bytes:
        """The open value in bytes."""

    @abstractmethod
    def loads(self, data: bytes) -> Any:
        """The value of which `dumps` has made ``data``."""

    @abstractmethod
    def seal(self, encoded: bytes, salt: bytes, name: bytes) -> bytes:
        """What Redis holds for a value that `dumps` has written."""

    @abstractmethod
    def open(self, sealed: bytes, salt: bytes, name: bytes) -> bytes:
        """What `seal` was given. Raises ``ValueError`` for anything that it did not return."""

    @abstractmethod
    def is_current(self, stored: bytes) -> bool:
        """Whether a value is stored as this serializer stores it now, for all one can see."""


def field_of(key: str) -> bytes:
    """The name of the field that holds the entry ``key``: never the name of a metadata field."""
    # JSON can carry lone surrogates, so a key may contain one. Strict UTF-8 would refuse it.
    name = key.encode("utf-8", "surrogatepass")
    return b"@" + name if name.startswith(b"@") else name


def key_of(name: bytes) -> str:
    """
    The key of the entry that the field ``name`` holds.

    Raises ``UnicodeDecodeError`` for a name that `field_of` never makes.
    """
    return name.removeprefix(b"@").decode("utf-8", "surrogatepass")


def fields_of(keys: Collection[str]) -> list[bytes]:
    """As `field_of`, for all of ``keys`` in turn."""
    # All at once, in a third of the time. Nearly no key has an @, a NUL or a lone surrogate.
    try:
        together = "\0".join(keys)
        names = together.encode().split(b"\0")
    except UnicodeEncodeError:
        return [field_of(key) for key in keys]
    if len(names) != len(keys) or "@" in together:
        return [field_of(key) for key in keys]
    return names


def keys_with(value: T, names: Collection[bytes]) -> dict[str, T]:
    """The keys of the entries among the fields ``names``, in turn, each with ``value``."""
    # All at once, as in `fields_of`: every request does this.
    try:
        together = b"\0".join(names).decode()
    except UnicodeDecodeError:
        return dict.fromkeys(map(key_of, filter(is_key, names)), value)
    apart = together.split("\0")
    keys, unknown = dict.fromkeys(apart, value), together.count("@")
    for name in _METADATA_IN_TEXT:
        if name in keys:
            del keys[name]
            unknown -= 1
    if unknown or len(apart) != len(names):
        return dict.fromkeys(map(key_of, filter(is_key, names)), value)
    return keys


_METADATA_IN_TEXT = tuple(name.decode() for name in METADATA)


def is_metadata(name: bytes) -> bool:
    return name.startswith(b"@") and not name.startswith(b"@@")


def is_time(text: bytes | None) -> TypeGuard[bytes]:
    """Whether a field holds epoch seconds. Twelve digits may be later than Python's last date."""
    return text is not None and text.isdigit() and len(text) < 12


def is_moment(text: bytes | None) -> TypeGuard[bytes]:
    """Whether a field holds epoch milliseconds."""
    return text is not None and text.isdigit() and len(text) < 15


def is_key(name: bytes) -> bool:
    """Whether a field of this name holds an entry."""
    if is_metadata(name):
        return False
    try:
        key_of(name)
    except UnicodeDecodeError:
        return False
    return True


def decoded(serializer: Serializer, fields: Mapping[bytes, bytes], name: bytes) -> Any:
    """The value of the entry in the field ``name``; `DAMAGED` if the serializer cannot read it."""
    try:
        encoded = fields[name]
        if isinstance(serializer, SealingSerializer):
            encoded = serializer.open(encoded, fields.get(SALT, b""), name)
        return serializer.loads(encoded)
    except Exception:  # noqa: BLE001 - a serializer can raise any error
        return DAMAGED


def opened(serializer: Serializer, fields: Mapping[bytes, bytes], name: bytes) -> bytes | None:
    """What the serializer's ``dumps`` wrote of an entry. ``None`` if it is damaged or missing."""
    encoded = fields.get(name)
    if encoded is None or not isinstance(serializer, SealingSerializer):
        return encoded
    try:
        return serializer.open(encoded, fields.get(SALT, b""), name)
    except Exception:  # noqa: BLE001 - as above
        return None


@dataclass(frozen=True, slots=True)
class StoredEntry:
    """
    One entry of a session as stored, for people to look at.

    ``size``: bytes of its value in Redis. ``damaged``: it cannot be decoded, and ``value`` is None.
    ``unread``: it was not decoded, because the serializer could execute code; ``value`` is None.
    ``expires_in``: the seconds that it has left, if it has a lifetime of its own.
    """

    name: str
    value: Any
    size: int
    damaged: bool = False
    unread: bool = False
    expires_in: float | None = None


def stored_entries(
    serializer: Serializer, stored: Mapping[bytes, bytes], left: Mapping[bytes, float] = NONE_LEFT
) -> list[StoredEntry]:
    """
    The entries among a hash's fields, by name; names that are not UTF-8 show as ``\\xNN``.

    ``left``: the seconds that fields have left.
    """
    return [
        _stored_entry(serializer, stored, name, left.get(name))
        for name in sorted(stored)
        if not is_metadata(name)
    ]


def unread_entries(
    stored: Mapping[bytes, bytes], left: Mapping[bytes, float] = NONE_LEFT
) -> list[StoredEntry]:
    """As `stored_entries`, but no value is decoded."""
    return [
        StoredEntry(_text_of_name(name), None, len(encoded), unread=True, expires_in=left.get(name))
        for name, encoded in sorted(stored.items())
        if not is_metadata(name)
    ]


def _stored_entry(
    serializer: Serializer, stored: Mapping[bytes, bytes], name: bytes, expires_in: float | None
) -> StoredEntry:
    value = decoded(serializer, stored, name) if is_key(name) else DAMAGED
    is_damaged = value is DAMAGED
    shown = None if is_damaged else value
    return StoredEntry(
        _text_of_name(name), shown, len(stored[name]), damaged=is_damaged, expires_in=expires_in
    )


def _text_of_name(name: bytes) -> str:
    return name.removeprefix(b"@").decode("utf-8", "backslashreplace")
