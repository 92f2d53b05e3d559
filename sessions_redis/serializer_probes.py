"""Finds out whether a site's serializer can execute code when it loads a session from Redis."""

import base64
import bz2
import gzip
import json
import lzma
import pickle
import re
import zlib
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from decimal import Decimal
from functools import cache
from secrets import token_hex
from typing import Any
from uuid import UUID

from sessions_redis.storage.entries import Serializer

# For each probe in use, whether code in it was executed.
_was_executed: dict[str, bool] = {}


def record(probe: str) -> None:
    """Record that ``probe`` was executed. The code in a probe calls this and does nothing else."""
    if probe in _was_executed:
        _was_executed[probe] = True


# Values that JSON does not know. A serializer may use pickle only for such values.
UNCOMMON = (Decimal("1.5"), datetime(2000, 1, 1, tzinfo=UTC), UUID(int=1), {1}, 1j, b"bytes")

# The first bytes of a pickle of protocols 2 to 5: as they are, in base64, and in hexadecimal.
_PICKLED = re.compile(rb"\x80[\x02-\x05]|gA[I-X]|800[2-5]")

# How often a value is written to find a pickle. A serializer that encrypts writes other bytes each
# time. They look like a pickle in one of some dozen times, by chance, and not in the same place.
_TIMES = 4

_CALL = f"__import__({__name__!r}, fromlist=['record']).record({{!r}})"


class Probe:
    """
    An object that calls `record` when a serializer that executes code loads it.

    The class must be importable, because a pickle names it.
    """

    def __init__(self, probe: str) -> None:
        self.probe = probe

    def __reduce__(self) -> tuple[Callable[[str], None], tuple[str]]:
        return record, (self.probe,)

    def __repr__(self) -> str:
        return _CALL.format(self.probe)


@cache
def executes_code(make: Callable[[], Serializer]) -> bool:
    """
    Whether the serializer that ``make`` returns executes code when it loads, as pickle does.

    Then anyone who can write to Redis can run code in the site. This function tries it out with a
    `Probe`, in three ways:

    - The serializer dumps and loads the probe, alone and in a dictionary.
    - The serializer loads the probe from bytes that pickle and similar formats made of it. This
      finds a serializer that reads such bytes but does not write them.
    - The function looks for pickles in the serializer's output.

    It cannot find every serializer that executes code.
    """
    probe = token_hex(16)
    _was_executed[probe] = False
    try:
        serializer = make()
        tried = (
            _brings_probe_back(serializer, attempt)
            for attempt in _attempts(serializer, Probe(probe))
        )
        if any(brought_back or _was_executed[probe] for brought_back in tried):
            return True
        # A serializer that pickles everything, but executed no probe, loads pickles safely.
        return not _writes_pickle(serializer, "text") and any(
            _writes_pickle(serializer, value) for value in UNCOMMON
        )
    finally:
        del _was_executed[probe]


def _attempts(serializer: Serializer, probe: Probe) -> Iterator[Callable[[], bytes]]:
    yield lambda: serializer.dumps(probe)
    yield lambda: serializer.dumps({"probe": probe})
    for written in _written_elsewhere(probe):
        for pack in (bytes, zlib.compress, gzip.compress, bz2.compress, lzma.compress):
            packed = pack(written)
            yield lambda packed=packed: packed  # type: ignore[misc]
            yield lambda packed=packed: base64.b64encode(packed)  # type: ignore[misc]
    # A serializer may write its first byte as a mark, and load bytes without it as old pickles.
    pickled = pickle.dumps(probe)
    for first in range(256):
        yield lambda first=first: bytes([first]) + pickled  # type: ignore[misc]


def _written_elsewhere(probe: Probe) -> Iterator[bytes]:
    yield pickle.dumps(probe)
    yield repr(probe).encode()
    name = f"{__name__}.{record.__name__}"
    call = [{"py/function": name}, {"py/tuple": [probe.probe]}]
    yield json.dumps({"py/reduce": call}).encode()
    yield f"!!python/object/apply:{name} [{probe.probe}]".encode()


def _brings_probe_back(serializer: Serializer, write: Callable[[], bytes]) -> bool:
    """Whether the serializer returns a `Probe`. Only code from the bytes can have created it."""
    try:
        return _is_probe(serializer.loads(write()))
    except Exception:  # noqa: BLE001 - on unknown bytes, a serializer can raise any error
        return False


def _writes_pickle(serializer: Serializer, value: Any) -> bool:
    try:
        written = [bytes(serializer.dumps({"value": value})) for _ in range(_TIMES)]
    except Exception:  # noqa: BLE001 - as above
        return False
    places = [{match.start() for match in _PICKLED.finditer(one)} for one in written]
    return bool(set.intersection(*places))


def _is_probe(value: Any) -> bool:
    found = value.get("probe") if isinstance(value, dict) else value
    return isinstance(found, Probe)
