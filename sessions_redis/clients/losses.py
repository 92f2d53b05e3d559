"""Errors that mean that a connection is lost, or must not be used again."""

from redis.exceptions import ConnectionError as RedisConnectionError

# Errors that mean a lost connection, in addition to those of redis-py. On a closing transport,
# asyncio raises AttributeError, and uvloop raises RuntimeError.
LOST_CONNECTION = (OSError, AttributeError, RuntimeError)


class SurplusError(RedisConnectionError):
    """The server sent too much data, so a reply may belong to another request."""

    def __init__(self) -> None:
        super().__init__("more replies came than there were requests")


def lost_connection(error: BaseException) -> RedisConnectionError:
    """The error that redis-py raises for a lost connection, from one of `LOST_CONNECTION`."""
    return RedisConnectionError(f"the connection was lost ({type(error).__name__}: {error})")
