"""
Garbage: bytes that do not fit the command, because the sender is not Redis or a proxy changed them.

The sender can be an HTTP server at that address, or a proxy that reports an error of its own. The
connection is out of step after garbage, so it counts as lost: it is closed, and a command that may
be repeated is sent again.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import InvalidResponse, ResponseError

from sessions_redis.storage.replies import WrongShape

# A note on an error that came before the first command.
SIGNING_IN = "This was while redis-py signed in on a new connection."

Read = Callable[[Any], Any]


class GarbageError(RedisConnectionError):
    """What came is no reply to what was asked. To redis-py, and its retries, a lost connection."""


# What redis-py's parsers raise on garbage, hiredis among them: a length or a number that is none
# (ValueError) or too large (OverflowError, MemoryError), text that is no UTF-8 (ValueError), a key
# that is a list (TypeError), an empty push message (IndexError), lists in lists without end.
UNREADABLE = (
    InvalidResponse,
    ValueError,
    TypeError,
    IndexError,
    OverflowError,
    MemoryError,
    RecursionError,
)


def garbage_error(error: BaseException) -> GarbageError:
    """Without the error's own text, which may hold a line of what was received."""
    return GarbageError(f"redis-py cannot parse it ({type(error).__name__})")


def parsed(replies: list[Any], reads: Sequence[Read]) -> list[Any]:
    """
    Put in place of each of ``replies`` what its read makes of it; the server's errors stay.

    Raises `GarbageError` if one of them has the wrong shape: then the others may be anybody's.
    """
    try:
        for place, reply in enumerate(replies):
            if not isinstance(reply, ResponseError):
                replies[place] = reads[place](reply)
    except WrongShape as error:
        raise GarbageError(str(error)) from error
    return replies


def sign_in(connection: Any) -> None:
    """
    Sign in on a new connection, as redis-py does by itself, for its ``redis_connect_func``.

    After an error that is not its own redis-py would leave the connection open, half signed in,
    and use it for the next request.
    """
    with _signing_in(connection):
        connection.on_connect_check_health(check_health=False)  # no PING before the greeting


async def asign_in(connection: Any) -> None:
    """As `sign_in`, without blocking the running loop."""
    with _signing_in(connection):
        await connection.on_connect_check_health(check_health=False)


@contextmanager
def _signing_in(connection: Any) -> Iterator[None]:
    try:
        yield
    except (ResponseError, RedisConnectionError) as error:
        # A proxy may answer HELLO, with which RESP3 begins, by closing the connection.
        if isinstance(error, ResponseError) or str(connection.protocol) != "2":
            error.add_note(SIGNING_IN)
        raise
    except UNREADABLE as error:
        if not _came_from_parsing(error):
            raise
        raise garbage_error(error) from error
    except AttributeError as error:
        if error.name != "get":  # redis-py takes the reply to HELLO for a mapping
            raise
        raise garbage_error(error) from error


def _came_from_parsing(error: BaseException) -> bool:
    """Whether redis-py or its stream raised it, and not a site's own credential provider."""
    module, link = "", error.__traceback__
    while link is not None:
        module, link = link.tb_frame.f_globals.get("__name__", ""), link.tb_next
    return module.partition(".")[0] in {"redis", "asyncio"}
