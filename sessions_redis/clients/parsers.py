"""
redis-py's own parsers, which read replies where hiredis is not installed.

They do not check lengths. They read a list of -7 elements as an empty list, which the engine would
take for a session that is gone. A text of -7 bytes makes them read bytes twice, or wait for more.
`strict` makes them refuse such lengths, as hiredis does.
"""

from functools import cache
from typing import Any

from redis.exceptions import InvalidResponse

# The first byte of what has a length: a list or a text, and in RESP3 a mapping, a set, a message, a
# text with its format, and an error.
COUNTED = b"*$%~>=!"

# A missing list or text. Only RESP2 has them.
MISSING = (b"*-1", b"$-1")


@cache
def strict(kind: Any) -> Any:
    """A subclass of redis-py's parser class ``kind`` that refuses lengths below zero."""
    if not kind.__module__.startswith("redis._parsers.resp"):  # hiredis, or the site's own
        return kind
    mixin = _AsyncStrict if hasattr(kind, "_readline") else _SyncStrict
    allowed = () if hasattr(kind, "handle_push_response") else MISSING
    return type(kind.__name__, (mixin, kind), {"_allowed": allowed})


class _SyncStrict:
    _buffer: Any
    _allowed: tuple[bytes, ...]

    def on_connect(self, connection: Any) -> None:
        super().on_connect(connection)  # type: ignore[misc]  # redis-py's
        read, allowed = self._buffer.readline, self._allowed

        def readline(**options: Any) -> bytes:
            line: bytes = read(**options)
            if line[1:2] == b"-" and line[:1] in COUNTED and line not in allowed:
                raise InvalidResponse(_REFUSED)
            return line

        self._buffer.readline = readline


class _AsyncStrict:
    _allowed: tuple[bytes, ...]

    async def _readline(self) -> bytes:
        line: bytes = await super()._readline()  # type: ignore[misc]  # redis-py's
        if line[1:2] == b"-" and line[:1] in COUNTED and line not in self._allowed:
            raise InvalidResponse(_REFUSED)
        return line


_REFUSED = "a length below zero"
