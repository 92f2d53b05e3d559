"""
The shapes of replies: each function returns the contents of a reply, or raises `WrongShape`.

Pure, as `commands`. A reply of another shape does not come from Redis, or answers another command,
so nothing in it can be trusted. The contents of a session's field are not checked here: a field may
hold any bytes, and damage in it affects that field only.
"""

from typing import Any, NoReturn

# Integers in Redis have 64 bits.
LEAST, MOST = -(2**63), 2**63 - 1

# No server has been running since before 2001. Milliseconds since 1970.
EARLIEST = 10**12


class WrongShape(Exception):  # noqa: N818 - named for what the reply has
    """
    A reply that cannot belong to the command that was sent.

    Its text names kinds of values only, because a reply may contain the contents of a session.
    """


def flag(reply: Any) -> bool:
    """``1`` or ``0``, as Redis and our scripts answer a question."""
    if type(reply) is not int or not 0 <= reply <= 1:  # no bool: Redis has sent none so far
        _refuse(reply, "0 or 1")
    return reply == 1


def number(reply: Any, least: int = 0, most: int = MOST) -> int:
    """An integer from ``least`` to ``most``."""
    if type(reply) is not int or not least <= reply <= most:
        _refuse(reply, f"an integer from {least} to {most}")
    return reply


def decimal(reply: Any, least: int = 0, most: int = MOST) -> int:
    """An integer from ``least`` to ``most``, in the text that Redis makes of one."""
    digits = raw(reply)
    try:
        value = int(digits)
    except ValueError:
        _refuse(reply, "an integer in text")
    if b"%d" % value != digits:
        _refuse(reply, "an integer in text")
    return number(value, least, most)


def real(reply: Any) -> float:
    """A number, which may be infinite: a float with the newer protocol, text with the older one."""
    try:
        value = reply if type(reply) is float else float(raw(reply))
    except ValueError:
        _refuse(reply, "a number")
    if value != value:  # noqa: PLR0124 - not a number
        _refuse(reply, "a number")
    return value


def raw(reply: Any) -> bytes:
    if type(reply) is not bytes:
        _refuse(reply, "text")
    return reply


def text(reply: Any) -> str:
    """Text; bytes that are not UTF-8 become ``\\xNN``. They are damage, not another shape."""
    return raw(reply).decode("utf-8", "backslashreplace")


def listing(reply: Any, length: int | None = None) -> list[Any]:
    """A list, of ``length`` if that is given."""
    if type(reply) is not list or length not in (None, len(reply)):
        _refuse(reply, "a list" if length is None else f"a list of {length}")
    return reply


def pairs(reply: Any) -> list[tuple[Any, Any]]:
    """Pairs, from a list of pairs or a list of first and second values in turn."""
    if listing(reply) and type(reply[0]) is list:
        return [(first, second) for first, second in (listing(pair, 2) for pair in reply)]
    if len(reply) % 2:
        _refuse(reply, "a list of pairs")
    return list(zip(reply[::2], reply[1::2], strict=True))


def fields(reply: Any) -> dict[bytes, bytes]:
    """A hash: a mapping with the newer protocol, else a list of names and values in turn."""
    if type(reply) is dict:
        for name, value in reply.items():  # in a third of the time that calls would take
            if type(name) is not bytes or type(value) is not bytes:
                _refuse(reply, "names and values")
        return reply
    for one in listing(reply):
        if type(one) is not bytes:  # before it becomes a key: not everything can
            _refuse(reply, "names and values")
    found = dict(zip(reply[::2], reply[1::2], strict=False))
    if len(found) * 2 != len(reply):
        _refuse(reply, "names and values")
    return found


def _refuse(reply: Any, wanted: str) -> NoReturn:
    of_length = f" of {len(reply)}" if isinstance(reply, list) else ""
    raise WrongShape(f"expected {wanted}, got {type(reply).__name__}{of_length}")
