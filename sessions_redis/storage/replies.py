"""
The shapes that replies have: each function returns what a reply says, or raises `WrongShape`.

Pure, as `commands`. A reply of another shape comes from something else than Redis, or answers
another command, so nothing in it can be trusted. What a field of a session holds is another matter:
any bytes will do here, and damage stays with that field.
"""

from typing import Any, NoReturn

# Integers in Redis have 64 bits.
LEAST, MOST = -(2**63), 2**63 - 1


class WrongShape(Exception):  # noqa: N818 - named for what the reply has
    """
    A reply that cannot belong to the command that was sent.

    Its text names kinds of values only: a reply may hold what somebody stored in a session.
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
    """A number, infinite ones among them: as such with the newer protocol, else in text."""
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
    """Bytes that are no UTF-8 show as ``\\xNN``: damage, which is its own matter only."""
    return raw(reply).decode("utf-8", "backslashreplace")


def listing(reply: Any, length: int | None = None) -> list[Any]:
    """A list, of ``length`` where that is known."""
    if type(reply) is not list or length not in (None, len(reply)):
        _refuse(reply, "a list" if length is None else f"a list of {length}")
    return reply


def pairs(reply: Any) -> list[tuple[Any, Any]]:
    """A list of first and second values in turn, or of pairs of them."""
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
    raise WrongShape(f"{type(reply).__name__}{of_length} where {wanted} belongs")
