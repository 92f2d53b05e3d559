"""
Encrypts values: AES-256-GCM, with a key of its own for each session.

An encrypted value is `MARK`, the ID of the site's key (4 bytes), a random nonce (12 bytes), and the
ciphertext with its tag (16 bytes more than the value). The session's key is derived from the site's
key and from the session's salt. So the number of values that may be encrypted with random nonces,
2**32, counts for one session and not for the site. The package ``cryptography`` does the work.
"""

import hmac
import os
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import cache, lru_cache
from importlib import import_module
from typing import Any

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.utils.encoding import force_bytes

from sessions_redis import conf
from sessions_redis.site_keys import DERIVED, bytes_of, day_of
from sessions_redis.storage.entries import SealingSerializer, Serializer

# The first byte of an encrypted value. No JSON begins with it.
MARK = b"\xe1"

KEY_ID, NONCE = 4, 12
_HEADER = len(MARK) + KEY_ID

# Bytes of an encrypted value beyond those of the value itself.
OVERHEAD = _HEADER + NONCE + 16

MISSING = (
    "Encrypted sessions need the package cryptography, which is not installed. Install "
    '"django-sessions-redis[encryption]".'
)


class Key:
    """A key of the site, derived from a secret. Error reports show neither."""

    __slots__ = ("_value", "id")

    def __init__(self, secret: bytes) -> None:
        self.id = _derived(secret, b"sessions_redis key id")[:KEY_ID]
        self._value = _derived(secret, b"sessions_redis values")

    def of_session(self, salt: bytes) -> Any:
        """The cipher for the values of the session with this salt."""
        value = hmac.digest(self._value, salt, "sha256")
        return _library("hazmat.primitives.ciphers.aead").AESGCM(value)


# One request uses the cipher of its session several times.
_cipher = lru_cache(maxsize=128)(Key.of_session)


def _derived(secret: bytes, purpose: bytes) -> bytes:
    sha256 = _library("hazmat.primitives.hashes").SHA256()
    hkdf = _library("hazmat.primitives.kdf.hkdf").HKDF
    derived: bytes = hkdf(sha256, length=32, salt=None, info=purpose).derive(secret)
    return derived


@cache
def _library(name: str) -> Any:
    try:
        return import_module(f"cryptography.{name}")
    except ImportError as error:
        raise ImproperlyConfigured(MISSING) from error


def _require() -> None:
    """Raise ``ImproperlyConfigured`` without the package, before a frame has a secret in it."""
    _library("hazmat.primitives.hashes")
    _library("hazmat.primitives.ciphers.aead")


def is_installed() -> bool:
    try:
        _require()
    except ImproperlyConfigured:
        return False
    return True


def keys() -> Sequence[Key]:
    """The site's keys. The first one encrypts, all decrypt."""
    _require()
    configured = conf.current().encryption_keys
    if not configured or DERIVED in configured:
        return _keys((*configured,), (settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS))
    return _keys((*configured,), ())


@lru_cache(maxsize=8)
def _keys(configured: Sequence[str], django: Sequence[str]) -> Sequence[Key]:
    derived = [force_bytes(secret) for secret in django]
    secrets = [
        secret
        for key in configured or [DERIVED]
        for secret in (derived if key == DERIVED else [bytes_of(key)])
    ]
    return tuple(map(Key, secrets))


class EncryptedEntries(SealingSerializer):
    """
    The values of entries, encrypted. ``plain`` writes and reads what is inside.

    ``seals``: ``False`` to write plain values, and to read both.
    """

    def __init__(self, plain: Serializer, *, seals: bool = True) -> None:
        self._plain = plain
        self._keys = keys()
        self.seals = seals

    def dumps(self, obj: Any) -> bytes:
        return self._plain.dumps(obj)

    def loads(self, data: bytes) -> Any:
        return self._plain.loads(data)

    def seal(self, encoded: bytes, salt: bytes, name: bytes) -> bytes:
        key, nonce = self._keys[0], os.urandom(NONCE)
        header = MARK + key.id
        sealed: bytes = _cipher(key, salt).encrypt(nonce, encoded, _bound(header, salt, name))
        return header + nonce + sealed

    def open(self, sealed: bytes, salt: bytes, name: bytes) -> bytes:
        """
        Return the plain value. Raises ``ValueError`` if it was not encrypted for this place.

        A value that is not encrypted is returned as it is, if the site allows it now.
        """
        if not sealed.startswith(MARK):
            if self.seals and not is_plaintext_read():
                raise ValueError("The value is not encrypted.")
            return sealed
        header, nonce = sealed[:_HEADER], sealed[_HEADER : _HEADER + NONCE]
        for key in self._keys:
            if key.id == header[len(MARK) :]:
                return _decrypted(_cipher(key, salt), nonce, sealed, _bound(header, salt, name))
        raise ValueError("The value was encrypted with a key that is not in ENCRYPTION_KEYS.")

    def is_current(self, stored: bytes) -> bool:
        """Whether a stored value looks like one that this writes now."""
        header = MARK + self._keys[0].id
        return stored.startswith(header) if self.seals else not stored.startswith(MARK)


def _bound(header: bytes, salt: bytes, name: bytes) -> bytes:
    # Each salt has its own key, so two different pairs never give the same bytes under one key.
    return b"\0".join((header, salt, name))


def _decrypted(cipher: Any, nonce: bytes, sealed: bytes, bound: bytes) -> bytes:
    try:
        value: bytes = cipher.decrypt(nonce, sealed[_HEADER + NONCE :], bound)
    except _library("exceptions").InvalidTag as error:
        raise ValueError("The value was changed, or belongs to another place.") from error
    return value


def is_plaintext_read() -> bool:
    """Whether ENCRYPTION_PLAINTEXT_UNTIL still lets values be read that are not encrypted."""
    last = day_of(conf.current().encryption_plaintext_until)
    return last is not None and datetime.now(UTC).date() <= last
