"""
Garbage: bytes that are not a reply to the command.

They can come from an HTTP server at that address, or from a proxy that reports an error of its own.
After garbage, the next bytes may belong to any request. So the connection is treated as lost: it is
closed, and a command that may be repeated is sent again.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import InvalidResponse, ResponseError

from sessions_redis.storage.replies import WrongShape

# A note on an error that happened before the first command.
SIGNING_IN = "This was while redis-py signed in on a new connection."

# Another note on such an error.
BY_HELLO = "It signs in with the command HELLO."

# Words of the errors about a connection that the server closed.
CLOSED = ("closed", "reset", "lost", "broken pipe", "EOF occurred")

Read = Callable[[Any], Any]


class GarbageError(RedisConnectionError):
    """The server sent garbage. redis-py retries as it does after a lost connection."""


# redis-py's parsers, also hiredis, raise these errors on garbage:
# - ValueError: a length that is not a number, or text that is not UTF-8,
# - OverflowError, MemoryError: a number that is too large,
# - TypeError: a key that is a list,
# - IndexError: an empty push message,
# - RecursionError: too many lists within lists.
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
    """A `GarbageError` for ``error``, without its text, which may contain received data."""
    return GarbageError(f"redis-py cannot parse it ({type(error).__name__})")


def parsed(replies: list[Any], reads: Sequence[Read]) -> list[Any]:
    """
    Parse each of ``replies`` with its function in ``reads``. The server's errors stay as they are.

    Raises `GarbageError` if a reply has the wrong shape. Then the other replies may belong to other
    requests.
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
    Sign in on a new connection, as redis-py does. redis-py calls this as ``redis_connect_func``.

    It turns garbage into an error of redis-py. After any other error, redis-py would leave the
    connection open and use it for the next request, before sign-in is complete.
    """
    with _signing_in(connection):
        connection.on_connect_check_health(check_health=False)  # no PING before signing in


async def asign_in(connection: Any) -> None:
    """As `sign_in`, without blocking the running loop."""
    with _signing_in(connection):
        await connection.on_connect_check_health(check_health=False)


@contextmanager
def _signing_in(connection: Any) -> Iterator[None]:
    try:
        yield
    except (ResponseError, RedisConnectionError) as error:
        error.add_note(SIGNING_IN)
        # RESP3 begins with HELLO. A proxy that does not know it may close the connection.
        if str(connection.protocol) != "2":
            error.add_note(BY_HELLO)
        raise
    except UNREADABLE as error:
        raise garbage_error(error) from error
    except AttributeError as error:
        if error.name != "get":  # redis-py expects a mapping as the reply to HELLO
            raise
        raise garbage_error(error) from error
