"""
What encryption costs: per value, and per operation of a session.

Both are processor time of the client, which other programs on the machine hardly change.
"""

import gc
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import redis

from benchmarks.actions import ACTIONS, made
from benchmarks.bench import Bench, Table
from benchmarks.blocks import Block
from benchmarks.contents import SIGNED_IN
from benchmarks.engines import OURS, PREFIX
from benchmarks.samples import Samples, in_turn

PLAIN = "JSONSerializer"
SERIALIZERS = {
    PLAIN: "django.contrib.sessions.serializers.JSONSerializer",
    "EncryptedJSONSerializer": "sessions_redis.serializers.EncryptedJSONSerializer",
    "TypedJSONSerializer": "sessions_redis.serializers.TypedJSONSerializer",
    "EncryptedTypedJSONSerializer": "sessions_redis.serializers.EncryptedTypedJSONSerializer",
}

# Values of one block, and operations of one.
VALUES, OPERATIONS = 1000, {"small": 100, "large": 10}

# Characters of the text that a value is.
SIZES = (1, 64, 1000, 10_000)

WRITE, READ = "to bytes for Redis", "from bytes of Redis"


def measure(bench: Bench) -> list[Table]:
    gc.freeze()  # Each block collects garbage first, which would count.
    try:
        return [_values(bench), *(_operations(bench, size) for size in OPERATIONS), _bytes(bench)]
    finally:
        gc.unfreeze()


@contextmanager
def _using(name: str) -> Iterator[None]:
    from django.test import override_settings

    with OURS.active(), override_settings(SESSION_SERIALIZER=SERIALIZERS[name]):
        yield


class Processor:
    """Measures the processor time of what runs inside."""

    seconds = 0.0

    def __enter__(self) -> "Processor":
        self._began = time.process_time()
        return self

    def __exit__(self, *_: object) -> None:
        self.seconds = time.process_time() - self._began


def _values(bench: Bench) -> Table:
    samples = Samples()
    for number in range(bench.rounds):
        bench.progress(f"encryption, values: round {number + 1} of {bench.rounds}")
        for name in in_turn(list(SERIALIZERS), number):
            for size in SIZES:
                for what, work in _works(name, size).items():
                    with Processor() as processor:
                        for _ in range(VALUES):
                            work()
                    samples.add(f"{size} characters, {what}", name, processor.seconds / VALUES)
    rows = [f"{size} characters, {what}" for size in SIZES for what in (WRITE, READ)]
    return Table(
        "encryption-values",
        "What the client does for one value, a text",
        "µs",
        tuple(SERIALIZERS),
        samples.medians(rows, list(SERIALIZERS), 1e6),
        plot=False,
        note="The session's key is derived once, and then kept. That takes about as long as one "
        f"value. Medians of {bench.rounds} rounds of {VALUES} values each.",
    )


def _works(name: str, size: int) -> dict[str, Callable[[], Any]]:
    from django.utils.module_loading import import_string

    from sessions_redis.json_serializer import made as serializer_of
    from sessions_redis.storage.entries import SALT, SealingSerializer, decoded

    with _using(name):
        serializer = serializer_of(import_string(SERIALIZERS[name]))
    value, salt, field = "x" * size, b"s" * 22, b"color"

    def write() -> bytes:
        encoded = serializer.dumps(value)
        is_sealing = isinstance(serializer, SealingSerializer)
        return serializer.seal(encoded, salt, field) if is_sealing else encoded

    fields = {SALT: salt, field: write()}
    assert decoded(serializer, fields, field) == value
    return {WRITE: write, READ: lambda: decoded(serializer, fields, field)}


def _operations(bench: Bench, size: str) -> Table:
    samples = Samples()
    for name in SERIALIZERS:
        with _using(name):
            for action in ACTIONS:
                Block(OURS, action, size).check()
    for number in range(bench.rounds):
        bench.progress(f"encryption, {size} sessions: round {number + 1} of {bench.rounds}")
        for action in ACTIONS:
            for name in in_turn(list(SERIALIZERS), number):
                processor = Processor()
                with _using(name):
                    Block(OURS, action, size, around=processor).seconds(OPERATIONS[size])
                samples.add(action.name, name, processor.seconds / OPERATIONS[size])
    rows = [action.name for action in ACTIONS]
    return Table(
        f"encryption-{size}",
        f"What the client does for an operation of {size} sessions",
        "µs",
        tuple(SERIALIZERS),
        samples.medians(rows, list(SERIALIZERS), 1e6),
        plot=False,
        note=f"Medians of {bench.rounds} rounds of {OPERATIONS[size]} operations each.",
    )


def _bytes(bench: Bench) -> Table:
    bench.progress("encryption, bytes")
    taken = {name: _bytes_of(bench, name) for name in SERIALIZERS}
    rows = [*taken[PLAIN]]
    return Table(
        "encryption-bytes",
        "Bytes of a signed-in session",
        "bytes",
        tuple(SERIALIZERS),
        tuple((row, *(taken[name][row] for name in SERIALIZERS)) for row in rows),
        plot=False,
    )


def _bytes_of(bench: Bench, name: str) -> dict[str, float]:
    from sessions_redis.storage.commands import session_id

    taken: dict[str, float] = {}
    with _using(name), redis.Redis.from_url(bench.redis_url) as client:
        for size in OPERATIONS:
            session = made(OURS.store, SIGNED_IN[size])
            key = f"{PREFIX}:session:{session_id(session.session_key)}"
            taken[f"{size}: its hash in the server's memory"] = client.memory_usage(key)
            stored = client.hgetall(key)
            taken[f"{size}: all values of entries"] = sum(
                len(value) for field, value in stored.items() if not field.startswith(b"@")
            )
            session.delete()
    return taken
