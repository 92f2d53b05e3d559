"""
Serializers that a site can name in ``SESSION_SERIALIZER``.

docs/encryption.md explains those that encrypt, docs/sessions.md the other.
"""

from collections.abc import Callable
from typing import Any, ClassVar

from django.contrib.sessions.serializers import JSONSerializer

from sessions_redis.encryption import EncryptedEntries
from sessions_redis.json_serializer import made
from sessions_redis.storage.entries import Serializer
from sessions_redis.typed_json import TypedJSONSerializer

__all__ = [
    "DecryptingJSONSerializer",
    "DecryptingTypedJSONSerializer",
    "EncryptedJSONSerializer",
    "EncryptedTypedJSONSerializer",
    "TypedJSONSerializer",
]


class EncryptedJSONSerializer:
    """
    Encrypts each entry, and binds it to its session and its name. The values are those of JSON.

    With the session engine, a value that was changed, or copied from another session or entry, is
    damaged: it reads as missing, and the log says so. ``SESSION_REDIS["ENCRYPTION_KEYS"]`` has the
    keys. Needs the extra ``encryption``.

    Used by other code of Django, `dumps` encrypts as well, but binds to nothing: it does not know
    where the value belongs.
    """

    # Writes and reads what is inside the encryption.
    plain: ClassVar[Callable[[], Serializer]] = JSONSerializer

    # Whether it encrypts what it writes.
    seals = True

    @classmethod
    def for_entries(cls) -> EncryptedEntries:
        return EncryptedEntries(made(cls.plain), seals=cls.seals)

    def dumps(self, obj: Any) -> bytes:
        entries = self.for_entries()
        encoded = entries.dumps(obj)
        return entries.seal(encoded, b"", b"") if self.seals else encoded

    def loads(self, data: bytes) -> Any:
        entries = self.for_entries()
        return entries.loads(entries.open(data, b"", b""))


class EncryptedTypedJSONSerializer(EncryptedJSONSerializer):
    """As `EncryptedJSONSerializer`, for the values that `TypedJSONSerializer` carries."""

    plain = TypedJSONSerializer


class DecryptingJSONSerializer(EncryptedJSONSerializer):
    """
    Reads what `EncryptedJSONSerializer` wrote, and writes plain JSON, which it reads as well.

    For the steps before encryption is turned on, and after it is turned off.
    """

    seals = False


class DecryptingTypedJSONSerializer(DecryptingJSONSerializer):
    """As `DecryptingJSONSerializer`, for the values that `TypedJSONSerializer` carries."""

    plain = TypedJSONSerializer
