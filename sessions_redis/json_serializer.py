"""Django's own serializer of sessions, with an encoder and a decoder that are prepared once."""

import json
from collections.abc import Callable
from json import encoder
from typing import Any

from django.contrib.sessions.serializers import JSONSerializer

from sessions_redis.storage.entries import Serializer

# Strings longer than this are first searched for characters to escape, which is faster.
LONG = 64

# The bytes of an ASCII string that JSON writes as they are.
_AS_THEY_ARE = bytes(byte for byte in range(0x20, 0x7F) if chr(byte) not in '"\\')

_ENCODER = json.JSONEncoder(separators=(",", ":"))
_quoted = encoder.encode_basestring_ascii
_decode = json.JSONDecoder().raw_decode


def _prepared() -> Callable[[Any], str]:
    """As ``_ENCODER.encode``, but with one prepared encoder for all values."""
    make: Any = getattr(encoder, "c_make_encoder", None)
    if make is None:  # another Python than CPython
        return _ENCODER.encode

    def parts_of(seen: dict[int, Any] | None) -> Any:
        return make(seen, _default, _quoted, None, ":", ",", *(False, False, True))

    for_all = parts_of(None)

    def encode(value: Any) -> str:
        # A container may hold itself, so the encoder needs to know which ones it is in.
        parts = parts_of({}) if isinstance(value, list | dict | tuple) else for_all
        return "".join(parts(value, 0))

    return encode


def _default(value: Any) -> Any:
    return _ENCODER.default(value)  # looked up now: a site may have replaced it


_encode = _prepared()


def made(kind: Callable[[], Serializer]) -> Serializer:
    """
    What reads and writes the entries of a session if ``kind`` is ``SESSION_SERIALIZER``.

    That is an instance; for Django's own class, a faster one. A class that binds values to their
    place in Redis has ``for_entries()``, which returns a `SealingSerializer`.
    """
    if kind is JSONSerializer:
        return _PREPARED
    for_entries: Callable[[], Serializer] | None = getattr(kind, "for_entries", None)
    return kind() if for_entries is None else for_entries()


class PreparedJSONSerializer(JSONSerializer):
    """
    Writes the same bytes as Django's ``JSONSerializer``, and reads the same values.

    It also raises the same errors. Django's makes an encoder for each value.
    """

    def dumps(self, obj: Any) -> bytes:
        if type(obj) is not str:
            return _encode(obj).encode("latin-1")
        if len(obj) > LONG and obj.isascii():
            text = obj.encode()
            if not text.translate(None, _AS_THEY_ARE):
                return b'"%b"' % text
        return _quoted(obj).encode("latin-1")

    def loads(self, data: bytes) -> Any:
        text = data.decode("latin-1")
        try:
            value, end = _decode(text)
        except json.JSONDecodeError:
            end = -1
        # White space around the value, or an error.
        return value if end == len(text) else super().loads(data)


_PREPARED = PreparedJSONSerializer()
