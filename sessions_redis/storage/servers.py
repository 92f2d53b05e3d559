"""
What a server says of itself: its version, memory and persistence. Pure, as `commands`.

These commands are for people who look after the server, never for a request. A server may refuse
them: an ACL user may lack them, and hosted servers have no CONFIG. Then the answer is a `Refusal`.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from sessions_redis.storage import replies
from sessions_redis.storage.replies import WrongShape
from sessions_redis.storage.steps import Command

# What these versions are called in INFO. Other servers name themselves in the same way.
PRODUCTS = {"valkey": "Valkey", "keydb": "KeyDB", "dragonfly": "Dragonfly"}

# The servers that the engine is made for.
KNOWN = {"Redis", "Valkey"}

# How many slots the keys of a Cluster are divided into.
SLOTS = 16384

# By default, Redis saves an hour after a single change. Seconds, with some margin.
SAVES_WITHIN = 3900


@dataclass(frozen=True, slots=True)
class Refusal:
    """The server does not carry out this command for this user. ``words``: what it said."""

    words: str


@dataclass(frozen=True, slots=True)
class Identity:
    """
    Which server this is. ``version``: as the server writes it. ``uptime``: seconds, 0 if not known.
    """

    product: str
    version: str
    uptime: int = 0

    def __str__(self) -> str:
        return f"{self.product} {self.version}"

    @property
    def is_known(self) -> bool:
        return self.product in KNOWN

    @property
    def numbers(self) -> tuple[int, int, int]:
        """The version as numbers, to compare; zeros for a version that is not made of numbers."""
        found = re.match(r"(\d+)\.(\d+)(?:\.(\d+))?", self.version)
        return (int(found[1]), int(found[2]), int(found[3] or 0)) if found else (0, 0, 0)


@dataclass(frozen=True, slots=True)
class Memory:
    """
    ``used`` and ``limit``: bytes; a limit of 0 is none. ``policy``: what the server does when its
    memory is full, or ``None`` if it does not say.
    """

    used: int
    limit: int
    policy: str | None


@dataclass(frozen=True, slots=True)
class Persistence:
    """
    ``appends``: the server writes an append-only file. ``took_snapshot``: it took a snapshot since
    it started. ``changes``: since the last snapshot.
    """

    appends: bool
    took_snapshot: bool
    changes: int


@dataclass(frozen=True, slots=True)
class Primary:
    """
    A node of a Cluster that serves slots. ``name``: its host and port.

    ``ranges``: the first and the last slot of each range. ``replicas``: how many nodes have a copy.
    """

    name: str
    ranges: tuple[tuple[int, int], ...]
    replicas: int

    @property
    def slot(self) -> int:
        """One of its slots, for `Command.slot`."""
        return self.ranges[0][0]

    @property
    def slots(self) -> int:
        """How many slots it serves."""
        return sum(last - first + 1 for first, last in self.ranges)


def slot_ranges() -> Command[list[Primary]]:
    """
    The primaries of a Cluster that serve slots, in the order of their first slots.

    A server may not refuse this command: without it, nobody can use a Cluster.
    """

    def read(reply: Any) -> list[Primary]:
        found: dict[bytes, Primary] = {}
        for row in replies.listing(reply):
            first, last, primary, *copies = _at_least(3, row)
            host, port, id, *_ = _at_least(3, primary)
            bounds = replies.number(first), replies.number(last, first, SLOTS - 1)
            before = found[id].ranges if replies.raw(id) in found else ()
            ranges = tuple(sorted((*before, bounds)))
            found[id] = Primary(_node_name(host, port), ranges, len(copies))
        return sorted(found.values(), key=lambda one: one.slot)

    return Command(("CLUSTER", "SLOTS"), read)


def unserved(primaries: Iterable[Primary]) -> int:
    """How many slots of a Cluster have no node."""
    return SLOTS - sum(one.slots for one in primaries)


def _at_least(length: int, reply: Any) -> list[Any]:
    values = replies.listing(reply)
    if len(values) < length:
        raise WrongShape(f"expected a list of at least {length}, got one of {len(values)}")
    return values


def _node_name(host: Any, port: Any) -> str:
    shown = _printable(replies.text(host)) if host else "?"  # a node may not know its own address
    return f"{f'[{shown}]' if ':' in shown else shown}:{replies.number(port)}"


def identity() -> Command[Identity | Refusal | None]:
    """``None`` if the server does not say what it is."""

    def read(reply: Any) -> Identity | None:
        fields = _fields(reply)
        name, version = _product(fields)
        return Identity(name, version, _number(fields, "uptime_in_seconds")) if version else None

    return Command(("INFO", "server"), read, read_refusal=Refusal)


def _product(fields: dict[str, str]) -> tuple[str, str]:
    if "keydb" in fields.get("executable", ""):  # it has no field of its own
        return "KeyDB", fields.get("redis_version", "")
    for name, version in fields.items():
        found = re.fullmatch("([a-z]+)_version", name)
        if found and found[1] not in {"redis", "gcc"}:
            return PRODUCTS.get(found[1], found[1].capitalize()), version
    return "Redis", fields.get("redis_version", "")


def memory() -> Command[Memory | Refusal]:
    def read(reply: Any) -> Memory:
        fields = _fields(reply)
        used, limit = _number(fields, "used_memory"), _number(fields, "maxmemory")
        return Memory(used, limit, fields.get("maxmemory_policy"))

    return Command(("INFO", "memory"), read, read_refusal=Refusal)


def persistence() -> Command[Persistence | Refusal | None]:
    """``None`` if the server does not say."""

    def read(reply: Any) -> Persistence | None:
        fields = _fields(reply)
        if "aof_enabled" not in fields:
            return None
        return Persistence(
            fields["aof_enabled"] != "0",
            # The seconds that the last snapshot took; -1 if there was none.
            fields.get("rdb_last_bgsave_time_sec", "-1") != "-1",
            _number(fields, "rdb_changes_since_last_save"),
        )

    return Command(("INFO", "persistence"), read, read_refusal=Refusal)


def save_points() -> Command[str | Refusal | None]:
    """When the server takes snapshots: ``""`` for never; ``None`` if it has no such setting."""

    def read(reply: Any) -> str | None:
        value = _setting(reply, b"save")
        return None if value is None else replies.text(value)

    return Command(("CONFIG", "GET", "save"), read, read_refusal=Refusal)


def compact_limit() -> Command[int | Refusal | None]:
    """
    The longest value, in bytes, of a hash that is stored compactly; ``None`` for no such setting.

    It is ``hash-max-listpack-value``, which Redis 6.2 calls ``hash-max-ziplist-value``.
    """

    def read(reply: Any) -> int | None:
        value = _setting(reply, b"hash-max-listpack-value", b"hash-max-ziplist-value")
        return None if value is None else replies.decimal(value)

    return Command(("CONFIG", "GET", "hash-max-*-value"), read, read_refusal=Refusal)


def survives_restart(
    persistence: Persistence, save_points: str | Refusal | None, uptime: float
) -> bool | None:
    """
    Whether the data comes back after a restart of the server; ``None`` if that cannot be seen.

    Only ``save_points`` says exactly when the server takes snapshots. Without them, it took one
    since it started, or it would have taken one by now if it took any.
    """
    if persistence.appends:
        return True
    if isinstance(save_points, str):
        return bool(save_points.strip())
    if persistence.took_snapshot:
        return True
    return False if persistence.changes and uptime > SAVES_WITHIN else None


def _setting(reply: Any, *names: bytes) -> bytes | None:
    """The value of the setting that has one of these names; ``None`` if the server has none."""
    values = replies.fields(reply)
    if values.keys() - set(names):
        raise WrongShape("expected a setting, got another one")
    return next(iter(values.values()), None)


def _fields(reply: Any) -> dict[str, str]:
    lines = map(_printable, replies.text(reply).splitlines())
    pairs = (line.partition(":") for line in lines)
    return {name: value.strip() for name, separator, value in pairs if separator}


def _printable(text: str) -> str:
    # Terminals obey control characters, and the server's text is shown there.
    return re.sub("[^ -~]", "?", text)


def _number(fields: dict[str, str], name: str) -> int:
    value = fields.get(name, "")
    return int(value) if re.fullmatch("[0-9]{1,18}", value) else 0
