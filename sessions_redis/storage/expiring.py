"""
Entries with a lifetime of their own: the server removes their fields by itself. Pure.

The metadata field `EXPIRING` has the names of these fields, each as its length, ``:`` and the name:
``4:code8:messages``. Only scripts write it, because requests at the same time may add names. A name
may stay there for a while after its field expired or became permanent.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, NamedTuple

from sessions_redis.storage import replies, scripts
from sessions_redis.storage.changes import Changes, Known
from sessions_redis.storage.entries import EXPIRING, NONE_LEFT, is_key, key_of
from sessions_redis.storage.keyspaces import Keyspace
from sessions_redis.storage.rules import LACKS
from sessions_redis.storage.steps import Argument, Command, Steps, script_command

# The rules about lifetimes, each followed by the name of a field. rules.lua explains them.
EXPIRES, KEEPS, LASTS = "expires:", "keeps:", "lasts:"
RULES = (EXPIRES, KEEPS, LASTS)

# What HPTTL says of a field that has expired.
GONE = -2

NO_NAMES: frozenset[bytes] = frozenset()

LENGTH = re.compile(rb"(\d{1,9}):")


@dataclass(frozen=True, slots=True)
class Missing:
    """
    Why no field can expire on this server: ``command`` is denied to this user, or else unknown.
    """

    command: str
    is_denied: bool


class Lifetime(NamedTuple):
    """
    What a request wants of the lifetime of an entry.

    ``milliseconds``: ``None`` for no lifetime of its own. ``is_set``: its value is to be written as
    well, even if it is the same.
    """

    milliseconds: int | None
    is_set: bool


NO_LIFETIMES: Mapping[str, Lifetime] = MappingProxyType({})


def names_in(fields: Mapping[bytes, bytes]) -> frozenset[bytes]:
    """The names in `EXPIRING`, up to where that is damaged."""
    text, names, at = fields.get(EXPIRING), [], 0
    if not text:
        return NO_NAMES
    while found := LENGTH.match(text, at):
        at = found.end() + int(found[1])
        if at > len(text):
            break
        names.append(text[found.end() : at])
    return frozenset(filter(is_key, names))


def text_of(names: Iterable[bytes]) -> bytes:
    """The value of `EXPIRING` for these names."""
    return b"".join(b"%d:%b" % (len(name), name) for name in names)


def with_lifetimes(
    changes: Changes,
    names: frozenset[bytes],
    lifetimes: Mapping[bytes, Lifetime],
    values: Mapping[bytes, bytes],
) -> Changes:
    """
    The ``changes``, and what they do to lifetimes.

    ``names``: the fields that may expire in Redis. ``lifetimes``: what the request wants of entries
    that it has. ``values``: theirs. A field that changed otherwise keeps its lifetime. If all
    entries are written anew, it is left out: nobody knows how long it has left.
    """
    written = dict(changes.written)
    asked: dict[str, Argument] = {}
    for name in names - lifetimes.keys():
        if changes.replaces:
            written.pop(name, None)
        elif name in written:
            # If the write wants the field not to be there, there is no lifetime to keep.
            is_new = _rule(LACKS, name) in changes.rules
            asked[_rule(LASTS if is_new else KEEPS, name)] = 1
        elif name in changes.removed:
            asked[_rule(LASTS, name)] = 1
    for name, lifetime in lifetimes.items():
        if lifetime.is_set:
            written.setdefault(name, values[name])
        if lifetime.milliseconds is not None:
            asked[_rule(EXPIRES, name)] = lifetime.milliseconds
        elif name in names and not changes.replaces:
            asked[_rule(LASTS, name)] = 1
    return changes._replace(written=written, rules={**changes.rules, **asked})


def is_done(lifetime: Lifetime, name: bytes, changes: Changes) -> bool:
    """Whether ``changes`` did what a request wants of the lifetime of the field ``name``."""
    if lifetime.milliseconds is None:
        return name in changes.written
    return changes.rules.get(_rule(EXPIRES, name)) == lifetime.milliseconds


def known_after(known: Known, rules: Mapping[str, Argument]) -> Known:
    """What is ``known``, after a write with these ``rules``: the names of expired fields stay."""
    names = set(names_in(known.fields))
    for rule in rules:
        kind, name = _parts(rule)
        if kind == EXPIRES:
            names.add(name)
        elif kind == LASTS:
            names.discard(name)
    return known._replace(fields={**known.fields, EXPIRING: text_of(sorted(names))})


def lasting(entries: Mapping[Any, Any], names: frozenset[bytes]) -> dict[Any, Any]:
    """A copy of the ``entries`` without those whose fields are among ``names``."""
    keys = set(map(key_of, names))
    return {key: value for key, value in entries.items() if key not in keys}


def of_copy(
    changes: Changes, fields: Mapping[bytes, bytes], left: Mapping[bytes, int]
) -> tuple[dict[bytes, bytes], dict[str, Argument]]:
    """
    The fields to write, and the rules, if ``changes`` are made to a copy of a session.

    ``fields``: those of the session, which nobody else can change meanwhile. ``left``: the ms that
    some of them have left; below 0 for those that do not expire, or have expired.
    """
    written, rules = dict(changes.written), dict(changes.rules)
    expiring = {name: ms for name, ms in left.items() if ms >= 0}
    for rule in changes.rules:
        kind, name = _parts(rule)
        if kind == LASTS:
            del rules[rule]
        elif kind == KEEPS:
            del rules[rule]
            if name not in fields:
                written.pop(name, None)  # it has expired
            elif name in expiring:
                rules[_rule(EXPIRES, name)] = expiring[name]
    if not changes.replaces:
        for name in expiring.keys() - changes.written.keys():
            if name not in changes.removed:
                rules.setdefault(_rule(EXPIRES, name), expiring[name])
    return written, rules


def can_expire(keyspace: Keyspace, id: str) -> Command[Missing | None]:
    """Whether fields can expire on the server of the session ``id``. ``None`` if they can."""

    def read(reply: Any) -> Missing | None:
        return missing([replies.text(one) for one in reply]) if replies.listing(reply) else None

    return script_command(scripts.CAN_EXPIRE, (keyspace.session(id),), (), read)


def missing(details: Sequence[str]) -> Missing:
    """From what a script says."""
    why, command = details
    return Missing(command, why == "denied")


def left_in(
    keyspace: Keyspace, id: str, fields: Mapping[bytes, bytes]
) -> Steps[Mapping[bytes, float]]:
    """
    The seconds that those of the ``fields`` of the session ``id`` have left that will expire.

    Only a session that has had such fields costs a round trip.
    """
    names = sorted(names_in(fields) & fields.keys())
    if not names:
        return NONE_LEFT
    found: Mapping[bytes, float] = yield left(keyspace, id, names)
    return found


def left(keyspace: Keyspace, id: str, names: Sequence[bytes]) -> Command[Mapping[bytes, float]]:
    """The seconds that fields have left, of those that expire."""

    def read(reply: Any) -> Mapping[bytes, float]:
        found = zip(names, replies.listing(reply, len(names)), strict=True)
        each = {name: replies.number(milliseconds, GONE) for name, milliseconds in found}
        return {name: ms / 1000 for name, ms in each.items() if ms >= 0}

    return Command(
        ("HPTTL", keyspace.session(id), "FIELDS", len(names), *names),
        read,
        read_wrong_type=dict,
        read_refusal=lambda _: NONE_LEFT,
    )


def _rule(kind: str, name: bytes) -> str:
    return kind + name.decode("utf-8", "surrogatepass")


def _parts(rule: str) -> tuple[str, bytes]:
    kind = next((kind for kind in RULES if rule.startswith(kind)), "")
    return kind, rule.removeprefix(kind).encode("utf-8", "surrogatepass")
