"""
Rules: what policies ask of a write. The server checks them in the same step. Pure, as `commands`.

``expects:<field>`` wants the session to have this field with this value; ``lacks:<field>`` wants it
to have no such field. ``lock`` wants the holder with this token to have the session's lock.
``bytes`` is the most that the session's entries may take. rules.lua explains them. ``cap`` limits
how many sessions the user has, as cap.lua explains. The others have constants here.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sessions_redis.storage import replies
from sessions_redis.storage.changes import Changes
from sessions_redis.storage.entries import LOCK, SALT, is_metadata
from sessions_redis.storage.keyspaces import Keyspace
from sessions_redis.storage.replies import EARLIEST
from sessions_redis.storage.steps import Argument

EXPECTS, LACKS = "expects:", "lacks:"
LOCKED, BYTES = "lock", "bytes"

# The most entries that a refusal names, and the most bytes of each name: as in rules.lua.
NAMED, LONGEST_NAME = 5, 100

# How many sessions the user may have; what becomes of a sign-in beyond that; where it is published
# which sessions ended.
CAP, CAP_POLICY, CAP_CHANNEL = "cap", "cap_policy", "cap_channel"
END_OLDEST, REFUSE = "end_oldest", "refuse"

# When the session ends at the latest: lifetimes.lua explains these rules. A write to a session that
# has reached its end is refused by `ENDS_AT`.
BEGINS, AGES, ENDS_AT, RENEWS = "begins", "ages", "ends", "renews"

# What they say of a session without such an end.
NEVER = "never"


@dataclass(frozen=True, slots=True)
class Refused:
    """
    A rule did not hold, so nothing was written. It counts as false.

    ``rule``: its name. ``details``: what the script says about it, such as the field's value.
    ``value``: the first of them in bytes, ``None`` if there are none.
    """

    rule: str
    details: tuple[str, ...] = ()
    value: bytes | None = field(default=None, compare=False)

    @classmethod
    def of(cls, rule: bytes, *details: bytes) -> "Refused":
        """From what a script answers after ``refused``."""
        value = details[0] if details else None
        return cls(replies.text(rule), tuple(map(replies.text, details)), value)

    @property
    def is_of_a_condition(self) -> bool:
        """Whether a field did not hold what the write expected. `value` is what it holds."""
        return bool(_kind_and_field(self.rule)[0])

    def __bool__(self) -> bool:
        return False


@dataclass(frozen=True, slots=True)
class Written:
    """
    The write was done. It counts as true.

    ``ended``: the ids and users of other sessions that it ended. ``at``: when it was done, in ms
    since 1970, if it had rules about lifetimes.
    """

    ended: tuple[tuple[str, str], ...] = ()
    at: int | None = None

    @classmethod
    def of(cls, texts: Sequence[str]) -> "Written | bool":
        """From the texts that a script answers after saying that it is done: the time, or none."""
        return cls(at=_time(texts[0])) if texts else True

    @classmethod
    def and_ended(cls, texts: Sequence[str]) -> "Written":
        """From what a script answers after ``ended``: the time or ``""``, then ids and users."""
        if not texts:
            raise replies.WrongShape("expected what a write ended, got nothing")
        at, *ended = texts
        return cls(tuple(replies.pairs(ended)), _time(at) if at else None)


# What a write answers: whether it was done, and perhaps when and what it ended; or which rule
# refused it.
Outcome = bool | Written | Refused


def _time(text: str) -> int:
    return replies.decimal(text.encode())


def capping(keyspace: Keyspace, cap: int, policy: str) -> dict[str, Argument]:
    """The rules that limit how many sessions a user has, for a write that signs the user in."""
    rules: dict[str, Argument] = {CAP: cap}
    if policy == REFUSE:
        rules[CAP_POLICY] = REFUSE
    elif keyspace.events and not keyspace.is_spread:
        rules[CAP_CHANNEL] = keyspace.ended_channel
    return rules


def arguments(rules: Mapping[str, Argument]) -> tuple[Argument, ...]:
    """The arguments that rules.lua reads."""
    return (2 * len(rules), *(part for name in rules for part in (_name(name), rules[name])))


def _name(rule: str) -> Argument:
    # A field's name may have lone surrogates, which clients do not send as text.
    return rule if rule.isascii() else rule.encode("utf-8", "surrogatepass")


def outcome(reply: Any) -> Outcome:
    """The reply of a script that writes: 1, 0, the time, what it ended, or a refusal."""
    if type(reply) is int and reply >= EARLIEST:
        return Written(at=replies.number(reply))
    if type(reply) is not list:
        return replies.flag(reply)
    if reply[:2] == [b"written", b"ended"]:
        return Written.and_ended([*map(replies.text, reply[2:])])
    return refused(reply)


def refused(reply: list[Any]) -> Refused:
    first, *parts = [replies.raw(one) for one in reply] or [b""]
    if first != b"refused" or not parts:
        raise replies.WrongShape("expected what a write ended, or a refusal, got another reply")
    return Refused.of(*parts)


def said(reply: Any) -> tuple[Any, ...]:
    """The texts of a reply, or ``refused`` and the `Refused`."""
    if replies.listing(reply)[:1] == [b"refused"]:
        return "refused", refused(reply)
    return tuple(map(replies.text, reply))


def condition(name: bytes, held: bytes | None) -> dict[str, Argument]:
    """The rule that the field ``name`` still has the value ``held``; ``None``: that it has none."""
    text = name.decode("utf-8", "surrogatepass")
    return {f"{LACKS}{text}": ""} if held is None else {f"{EXPECTS}{text}": held}


def is_repeatable(rules: Mapping[str, Argument]) -> bool:
    """
    Whether a write with these rules may be sent again.

    A condition would not hold any more. One about the salt says then which salt there is.
    """
    return not any(kind and of != SALT for kind, of in map(_kind_and_field, rules))


def refusal(changes: Changes, fields: Mapping[bytes, bytes]) -> Refused | None:
    """The same check as in rules.lua, of ``fields`` that nobody else can change meanwhile."""
    for name, value in changes.rules.items():
        kind, of = _kind_and_field(name)
        held = fields.get(of)
        if (kind == EXPECTS and held != _bytes(value)) or (kind == LACKS and held is not None):
            return Refused.of(name.encode("utf-8", "backslashreplace"), *_if_there(held))
    token, limit = changes.rules.get(LOCKED), changes.rules.get(BYTES)
    if token is not None and fields.get(LOCK, b"").partition(b" ")[0] != _bytes(token):
        return Refused(LOCKED)
    return None if limit is None else _too_large(int(limit), changes, fields)


def _too_large(limit: int, changes: Changes, fields: Mapping[bytes, bytes]) -> Refused | None:
    left = {} if changes.replaces else sizes(fields)
    for name in changes.removed:
        left.pop(name, None)
    left |= sizes(changes.written)
    total = sum(left.values())
    if total <= limit or total <= sum(sizes(fields).values()):
        return None
    largest = sorted(left.items(), key=lambda one: (-one[1], one[0]))[:NAMED]
    named = [part for name, size in largest for part in (name[:LONGEST_NAME], b"%d" % size)]
    return Refused.of(BYTES.encode(), b"%d" % total, *named)


def sizes(fields: Mapping[bytes, bytes]) -> dict[bytes, int]:
    """How many bytes each entry among ``fields`` takes: its name and its value."""
    return {name: len(name) + len(value) for name, value in fields.items() if not is_metadata(name)}


def once_copied(rules: Mapping[str, Argument]) -> dict[str, Argument]:
    """The rules left for a copy of fields that `refusal` has checked."""
    return {
        name: value
        for name, value in rules.items()
        if name not in {LOCKED, BYTES} and not _kind_and_field(name)[0]
    }


def without_cap(rules: Mapping[str, Argument]) -> dict[str, Argument]:
    return {name: value for name, value in rules.items() if not name.startswith(CAP)}


def milliseconds_to_list(ttl_ms: int, rules: Mapping[str, Argument]) -> int:
    """For how long to list a session that is saved to live ``ttl_ms``, under these rules."""
    begins = rules.get(BEGINS, NEVER)
    return ttl_ms if begins == NEVER else min(ttl_ms, int(begins))


def of_a_copy(rules: Mapping[str, Argument], ends: bytes | None) -> dict[str, Argument]:
    """The rules for a copy of a session that has a field `entries.ENDS`, or none."""
    kept = once_copied(rules)
    if ends is not None and BEGINS not in kept:
        kept[ENDS_AT] = ends
    return kept


def _kind_and_field(name: str) -> tuple[str, bytes]:
    for kind in (EXPECTS, LACKS):
        if name.startswith(kind):
            return kind, name.removeprefix(kind).encode("utf-8", "surrogatepass")
    return "", b""


def _if_there(value: bytes | None) -> Sequence[bytes]:
    return () if value is None else (value,)


def _bytes(value: Argument) -> bytes:
    return value if isinstance(value, bytes) else str(value).encode("utf-8", "surrogatepass")
