"""Makes a connection ready for a request: connected, without unread data, and answering."""

from contextlib import suppress
from time import monotonic
from typing import Any

from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError

from sessions_redis.clients.garbage import UNREADABLE
from sessions_redis.clients.losses import LOST_CONNECTION, SurplusError


def make_usable(connection: Any, *, pings: bool) -> None:
    """
    Prepare ``connection`` for a request. If it is not usable, connect it again.

    ``pings``: send a PING first if the connection was idle, to see whether the server answers.
    """
    must_answer = pings and connection.is_idle()
    if connection.is_usable() and (not must_answer or _answers(connection)):
        return
    connection.disconnect()
    connection.connect()
    # Over TLS 1.3, the server's session tickets are unread at first. Reading a reply consumes them.
    # If data is still unread after that, it is something else.
    if not connection.is_usable() and not _answers(connection):
        raise SurplusError


async def amake_usable(connection: Any, *, pings: bool) -> None:
    """As `make_usable`, without blocking the running loop."""
    must_answer = pings and connection.is_idle()
    if connection.is_usable() and (not must_answer or await _aanswers(connection)):
        return
    await connection.disconnect(nowait=True)
    await connection.connect()
    if not connection.is_usable() and not await _aanswers(connection):
        raise SurplusError


def _answers(connection: Any) -> bool:
    try:
        ping(connection)
    except RedisTimeoutError:
        connection.circuit.silent()
        return False
    except (RedisConnectionError, *UNREADABLE, *LOST_CONNECTION):
        return False
    return bool(connection.is_usable())


async def _aanswers(connection: Any) -> bool:
    try:
        await aping(connection)
    except RedisTimeoutError:
        connection.circuit.silent()
        return False
    except (RedisConnectionError, *UNREADABLE, *LOST_CONNECTION):
        return False
    return bool(connection.is_usable())


def ping(connection: Any) -> None:
    connection.send_command("PING", check_health=False)
    # An error is an answer, too: this user may not PING.
    with suppress(ResponseError):
        connection.read_response()
    connection.circuit.last_answer = monotonic()


async def aping(connection: Any) -> None:
    await connection.send_command("PING", check_health=False)
    with suppress(ResponseError):
        await connection.read_response()
    connection.circuit.last_answer = monotonic()
