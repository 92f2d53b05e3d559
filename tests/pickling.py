"""Serializers that can execute code when they load, of the kinds that sites write."""

import base64
import gzip
import json
import pickle
import zlib
from decimal import Decimal
from pathlib import Path
from typing import Any

from django.core import signing
from django.utils.module_loading import import_string


class PickleSerializer:
    def dumps(self, obj: Any) -> bytes:
        return pickle.dumps(obj)

    def loads(self, data: bytes) -> Any:
        return pickle.loads(data)


class CompressedSerializer(PickleSerializer):
    def dumps(self, obj: Any) -> bytes:
        return zlib.compress(super().dumps(obj))

    def loads(self, data: bytes) -> Any:
        return super().loads(zlib.decompress(data))


class SignedSerializer(PickleSerializer):
    """Only this site can write signed values. Loading one still executes code."""

    def dumps(self, obj: Any) -> bytes:
        return signing.Signer().sign(base64.b64encode(super().dumps(obj)).decode()).encode()

    def loads(self, data: bytes) -> Any:
        return super().loads(base64.b64decode(signing.Signer().unsign(data.decode())))


class FallbackSerializer:
    """JSON, and pickle for values that JSON does not know."""

    def dumps(self, obj: Any) -> bytes:
        return json.dumps(obj, default=self._pickled).encode()

    def loads(self, data: bytes) -> Any:
        return json.loads(data, object_hook=self._loaded)

    def _pickled(self, obj: Any) -> Any:
        return {"pickle": base64.b64encode(pickle.dumps(obj)).decode()}

    def _loaded(self, found: dict[str, Any]) -> Any:
        return pickle.loads(base64.b64decode(found["pickle"])) if "pickle" in found else found


class DictionarySerializer(PickleSerializer):
    """Accepts only dictionaries."""

    def dumps(self, obj: Any) -> bytes:
        return super().dumps(dict(obj))


class MovingSerializer:
    """Writes JSON, and still reads pickles of a former serializer, compressed or not."""

    unpack = staticmethod(bytes)

    def dumps(self, obj: Any) -> bytes:
        return json.dumps(obj).encode()

    def loads(self, data: bytes) -> Any:
        try:
            return json.loads(data)
        except ValueError:
            return pickle.loads(self.unpack(data))


class MovingCompressedSerializer(MovingSerializer):
    unpack = staticmethod(zlib.decompress)


class MovingEncodedSerializer(MovingSerializer):
    unpack = staticmethod(base64.b64decode)


class MovingGzipSerializer(MovingSerializer):
    unpack = staticmethod(gzip.decompress)


class PrefixedSerializer:
    """Writes JSON after a byte that distinguishes it from a former serializer's pickles."""

    def dumps(self, obj: Any) -> bytes:
        return b"J" + json.dumps(obj).encode()

    def loads(self, data: bytes) -> Any:
        return json.loads(data[1:]) if data[:1] == b"J" else pickle.loads(data[1:])


class DecimalSerializer:
    """JSON, and pickle only for decimal numbers."""

    def dumps(self, obj: Any) -> bytes:
        return json.dumps(obj, default=self._pickled).encode()

    def loads(self, data: bytes) -> Any:
        return json.loads(data, object_hook=self._loaded)

    def _pickled(self, obj: Any) -> Any:
        if not isinstance(obj, Decimal):
            raise TypeError(f"{obj!r} is not a decimal number")
        return {"decimal": base64.b64encode(pickle.dumps(obj)).decode()}

    def _loaded(self, found: dict[str, Any]) -> Any:
        return pickle.loads(base64.b64decode(found["decimal"])) if "decimal" in found else found


class EvalSerializer:
    def dumps(self, obj: Any) -> bytes:
        return repr(obj).encode()

    def loads(self, data: bytes) -> Any:
        return eval(data.decode())


class ClassSerializer:
    """Like jsonpickle: an object's class and its attributes, in JSON."""

    def dumps(self, obj: Any) -> bytes:
        return json.dumps(obj, default=self._described).encode()

    def loads(self, data: bytes) -> Any:
        return json.loads(data, object_hook=self._made)

    def _described(self, obj: Any) -> Any:
        kind = type(obj)
        return {"module": kind.__module__, "name": kind.__name__, "state": vars(obj)}

    def _made(self, found: dict[str, Any]) -> Any:
        if "module" not in found:
            return found
        made = object.__new__(import_string(f"{found['module']}.{found['name']}"))
        made.__dict__.update(found["state"])
        return made


class Trap:
    """An object that an attacker who can write to Redis might store. Loading it creates a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)
