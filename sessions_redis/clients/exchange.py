"""
One exchange with the server: send requests together over one connection, and read the replies.

The requests go directly to a connection. ``Redis.execute_command`` would add callbacks and metrics,
which take a fifth of the time of a round trip on loopback.
"""

import asyncio
from collections.abc import Callable, Sequence
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from redis import Connection
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ReadOnlyError, ResponseError

from sessions_redis.clients.garbage import UNREADABLE, Read, garbage_error, parsed
from sessions_redis.clients.leases import NOT_SENT, AsyncLeases, Leases
from sessions_redis.clients.losses import LOST_CONNECTION, SurplusError, lost_connection
from sessions_redis.clients.readiness import amake_usable, make_usable
from sessions_redis.clients.reports import without_tracebacks
from sessions_redis.storage.steps import Argument

Request = tuple[Argument, ...]

_hiredis: Any = import_module("hiredis") if find_spec("hiredis") else None  # an extra

# The errors with which an exchange fails, in addition to those of redis-py.
FAILURES = (*UNREADABLE, *LOST_CONNECTION)

# It never connects: it only encodes requests.
_packer: Any = Connection()  # type: ignore[no-untyped-call]  # redis-py's


def packed_by_redis_py(request: Request) -> bytes:
    # Joined, because redis-py would send a separate packet for every 6,000 bytes.
    return b"".join(_packer.pack_command(*request))


def packed_by_hiredis(request: Request) -> bytes:
    # As redis-py's synchronous class does it, in half of the time.
    try:
        sent: bytes = _hiredis.pack_command(request)
    except TypeError:  # redis-py converts some of these values, and refuses others in its words
        return packed_by_redis_py(request)
    return sent


_pack = packed_by_hiredis if hasattr(_hiredis, "pack_command") else packed_by_redis_py


def packed(requests: Sequence[Request]) -> bytes:
    if len(requests) == 1:
        return _pack(requests[0])
    return b"".join(map(_pack, requests))


def connection_error(error: BaseException) -> RedisConnectionError:
    """The error of redis-py for ``error``, one of `FAILURES`: garbage, or a lost connection."""
    return garbage_error(error) if isinstance(error, UNREADABLE) else lost_connection(error)


def is_refusal_of_replica(error: Any) -> bool:
    """Whether the server refused to write because it is a replica."""
    # In the error of a script, Redis 6.2 puts words of its own before READONLY.
    return isinstance(error, ReadOnlyError) or (
        isinstance(error, ResponseError) and "READONLY" in str(error)
    )


def exchange(
    leases: Leases,
    sent: bytes,
    reads: Sequence[Read],
    meanwhile: Callable[[], None] | None = None,
) -> list[Any]:
    """
    Send the requests in ``sent``, and return the answers that ``reads`` parse from the replies.

    An error of the server is an answer. If unread data is left after the replies, all replies are
    discarded and the exchange fails. The connection of a failed exchange is closed.

    The connection is also closed if the server refused to write because it is a replica. A master
    that becomes a replica keeps its connections, and a new connection reaches the new master.

    Raises redis-py's error if, after all retries, the server does not answer or answers with
    garbage. It does not retry while the circuit is open. The error has the note `NOT_SENT` if
    nothing was sent.

    ``meanwhile`` is called once, after sending and before the first reply is read. So exchanges
    with several nodes of a Cluster take place at the same time. It is not called if nothing can be
    sent.
    """
    is_replica = was_sent = False

    def ask() -> list[Any]:
        nonlocal was_sent, meanwhile
        try:
            if leases.pings or not connection.is_usable():
                make_usable(connection, pings=leases.pings)
            was_sent = True
            connection.send_packed_command([sent])
            if meanwhile is not None:
                go_on, meanwhile = meanwhile, None
                go_on()
            replies = [reply() for _ in reads]
            has_surplus = connection.has_surplus(len(reads))
        except FAILURES as error:
            raise connection_error(error) from error
        if has_surplus:
            raise SurplusError
        return parsed(replies, reads)

    def failed(error: BaseException) -> None:
        connection.disconnect()
        leases.circuit.failed(error)

    def reply() -> Any:
        nonlocal is_replica
        try:
            return connection.read_response()
        except ResponseError as error:
            is_replica |= is_refusal_of_replica(error)
            return error

    lease = leases.take()
    try:  # directly after take(): the handler of a signal may raise anywhere
        connection = lease.connection
        replies: list[Any] = connection.retry.call_with_retry(ask, failed)
        leases.answered(lease)
        if is_replica:
            connection.disconnect()
    except BaseException as error:
        if not was_sent:
            error.add_note(NOT_SENT)
        without_tracebacks(error)  # an interruption can happen while redis-py signs in
        # Otherwise the next request would take an unread reply for its own.
        lease.connection.disconnect()
        raise
    finally:
        leases.give(lease)
    return replies


async def _asend(connection: Any, sent: bytes) -> None:
    # redis-py sends in asyncio.wait_for(). Before Python 3.12, that loses a cancellation if sending
    # ends in the same turn of the event loop (python/cpython#86296).
    task: Any = asyncio.current_task()
    cancellations = task.cancelling()
    await connection.send_packed_command([sent])
    if task.cancelling() > cancellations:
        raise asyncio.CancelledError


async def aexchange(leases: AsyncLeases, sent: bytes, reads: Sequence[Read]) -> list[Any]:
    """As `exchange`, without blocking the running loop."""
    is_replica = was_sent = False

    async def ask() -> list[Any]:
        nonlocal was_sent
        try:
            if leases.pings or not connection.is_usable():
                await amake_usable(connection, pings=leases.pings)
            was_sent = True
            await _asend(connection, sent)
            replies = [await reply() for _ in reads]
            has_surplus = connection.has_surplus(len(reads))
        except FAILURES as error:
            raise connection_error(error) from error
        if has_surplus:
            raise SurplusError
        return parsed(replies, reads)

    async def failed(error: BaseException) -> None:
        await connection.disconnect(nowait=True)
        leases.circuit.failed(error)

    async def reply() -> Any:
        nonlocal is_replica
        try:
            return await connection.read_response()
        except ResponseError as error:
            is_replica |= is_refusal_of_replica(error)
            return error

    lease = await leases.take()
    try:
        connection = lease.connection
        replies: list[Any] = await connection.retry.call_with_retry(ask, failed)
        leases.answered(lease)
        if is_replica:
            await connection.disconnect()
    except BaseException as error:
        if not was_sent:
            error.add_note(NOT_SENT)
        without_tracebacks(error)  # an interruption can happen while redis-py signs in
        await lease.connection.disconnect(nowait=True)
        raise
    finally:
        leases.give(lease)
    return replies
