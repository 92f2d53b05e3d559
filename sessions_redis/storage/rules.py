"""
Rules: what policies ask of a write. The server checks them in the same step. Pure, as `commands`.

``expects:<field>`` wants the session to have this field with this value; ``lacks:<field>`` wants it
to have no such field. rules.lua explains the others.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sessions_redis.storage import replies
from sessions_redis.storage.steps import Argument

EXPECTS, LACKS = "expects:", "lacks:"


@dataclass(frozen=True, slots=True)
class Refused:
    """
    A rule did not hold, so nothing was written. It counts as false.

    ``rule``: its name. ``details``: what the script says about it, such as the field's value.
    """

    rule: str
    details: tuple[str, ...] = ()

    @classmethod
    def of(cls, texts: Sequence[str]) -> "Refused":
        """From the texts that a script answers after ``refused``."""
        rule, *details = texts
        return cls(rule, tuple(details))

    def __bool__(self) -> bool:
        return False


# What a write answers: whether it was done, or which rule refused it.
Outcome = bool | Refused


def arguments(rules: Mapping[str, Argument]) -> tuple[Argument, ...]:
    """The arguments that rules.lua reads."""
    return (2 * len(rules), *(part for pair in rules.items() for part in pair))


def outcome(reply: Any) -> Outcome:
    """The reply of a script that writes: 1, 0, or a refusal."""
    return refused(reply) if type(reply) is list else replies.flag(reply)


def refused(reply: list[Any]) -> Refused:
    texts = [replies.text(one) for one in reply]
    if texts[:1] != ["refused"] or not texts[1:]:
        raise replies.WrongShape("expected the refusal of a rule, got another reply")
    return Refused.of(texts[1:])


def refusal(rules: Mapping[str, Argument], fields: Mapping[bytes, bytes]) -> Refused | None:
    """The same check as in rules.lua, of ``fields`` that nobody else can change meanwhile."""
    for name, value in rules.items():
        kind, field = _kind_and_field(name)
        held = fields.get(field)
        if (kind == EXPECTS and held != _bytes(value)) or (kind == LACKS and held is not None):
            return Refused(name, (replies.text(held or b""),))
    return None


def without_conditions(rules: Mapping[str, Argument]) -> dict[str, Argument]:
    """The rules that are not about a field that the session has by now."""
    return {name: value for name, value in rules.items() if not _kind_and_field(name)[0]}


def _kind_and_field(name: str) -> tuple[str, bytes]:
    for kind in (EXPECTS, LACKS):
        if name.startswith(kind):
            return kind, name.removeprefix(kind).encode("utf-8", "surrogatepass")
    return "", b""


def _bytes(value: Argument) -> bytes:
    return value if isinstance(value, bytes) else str(value).encode("utf-8", "surrogatepass")
