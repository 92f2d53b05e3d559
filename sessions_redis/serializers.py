"""Whether a site's serializer can execute code when it loads what Redis holds."""

import base64
import json
import pickle
import zlib
from collections.abc import Callable, Iterator
from functools import cache
from secrets import token_hex
from typing import Any

from sessions_redis.fields import Serializer

# Of each probe that is under way: whether code in it was executed.
_executed: dict[str, bool] = {}


def record(probe: str) -> None:
    """What code in a probe calls. It does nothing else."""
    if probe in _executed:
        _executed[probe] = True


_CALL = f"__import__({__name__!r}, fromlist=['record']).record({{!r}})"


class Probe:
    """An object that, loaded by what executes code, says so. Its class must be importable."""

    def __init__(self, probe: str) -> None:
        self.probe = probe

    def __reduce__(self) -> tuple[Callable[[str], None], tuple[str]]:
        return record, (self.probe,)

    def __repr__(self) -> str:
        return _CALL.format(self.probe)


@cache
def executes_code(make: Callable[[], Serializer]) -> bool:
    """
    Whether the serializer that ``make`` makes executes code when it loads, as pickle does.

    Whoever can write to Redis could run code in the site then. It is found out by trying: the
    serializer is given an object that would say so, alone and in a dictionary, and the bytes that
    pickle and others make of it, for a serializer that only reads those.
    """
    probe = token_hex(16)
    _executed[probe] = False
    try:
        serializer = make()
        tried = (_tries(serializer, attempt) for attempt in _attempts(serializer, Probe(probe)))
        return any(brought_back or _executed[probe] for brought_back in tried)
    finally:
        del _executed[probe]


def _attempts(serializer: Serializer, probe: Probe) -> Iterator[Callable[[], bytes]]:
    yield lambda: serializer.dumps(probe)
    yield lambda: serializer.dumps({"probe": probe})
    for written in _written_elsewhere(probe):
        for packed in (written, zlib.compress(written)):
            yield lambda packed=packed: packed  # type: ignore[misc]
            yield lambda packed=packed: base64.b64encode(packed)  # type: ignore[misc]


def _written_elsewhere(probe: Probe) -> Iterator[bytes]:
    yield pickle.dumps(probe)
    yield repr(probe).encode()
    name = f"{__name__}.{record.__name__}"
    call = [{"py/function": name}, {"py/tuple": [probe.probe]}]
    yield json.dumps({"py/reduce": call}).encode()
    yield f"!!python/object/apply:{name} [{probe.probe}]".encode()


def _tries(serializer: Serializer, write: Callable[[], bytes]) -> bool:
    """Whether the serializer brings back an object of a class that only this module has."""
    try:
        return _is_probe(serializer.loads(write()))
    except Exception:  # noqa: BLE001 - a serializer raises anything on what it does not know
        return False


def _is_probe(value: Any) -> bool:
    found = value.get("probe") if isinstance(value, dict) else value
    return isinstance(found, Probe)
