"""
One exchange with the server: requests go out together over one connection, replies come back.

A request goes straight to a connection: what ``Redis.execute_command`` does around that (callbacks
on replies, metrics) takes a fifth of a round trip on loopback.
"""

from collections.abc import Sequence
from typing import Any

from redis import Connection
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ReadOnlyError, ResponseError

from sessions_redis.clients.connections import (
    LOST_CONNECTION,
    SurplusError,
    amake_usable,
    lost_connection,
    make_usable,
)
from sessions_redis.clients.garbage import UNREADABLE, Read, garbage_error, parsed
from sessions_redis.clients.leases import NOT_SENT, AsyncLeases, Leases
from sessions_redis.clients.reports import without_tracebacks
from sessions_redis.storage.commands import Argument

Request = tuple[Argument, ...]

# What an exchange fails with, beside redis-py's own errors.
FAILURES = (*UNREADABLE, *LOST_CONNECTION)

# Never connected: it only puts requests into bytes. That of the plain world serves both, because
# redis-py's asynchronous connections make no use of hiredis for that.
_packer: Any = Connection()  # type: ignore[no-untyped-call]  # redis-py's


def packed(requests: Sequence[Request]) -> bytes:
    # In one piece: redis-py would send a piece for every 6,000 bytes.
    if len(requests) == 1:
        return b"".join(_packer.pack_command(*requests[0]))
    return b"".join(_packer.pack_commands(requests))


def connection_error(error: BaseException) -> RedisConnectionError:
    """The error of redis-py for ``error``, one of `FAILURES`: garbage, or a lost connection."""
    return garbage_error(error) if isinstance(error, UNREADABLE) else lost_connection(error)


def is_refusal_of_replica(error: Any) -> bool:
    """Whether the server refused to write because it is a replica."""
    # Redis 6.2 puts the refusal of a script's command behind words of its own.
    return isinstance(error, ReadOnlyError) or (
        isinstance(error, ResponseError) and "READONLY" in str(error)
    )


def exchange(leases: Leases, sent: bytes, reads: Sequence[Read]) -> list[Any]:
    """
    What ``reads`` make of the replies to the requests in ``sent``; errors are answers, too.

    They are returned only if nothing is unread after the replies; else all are discarded, and the
    exchange has failed. A connection on which one failed is closed. After the reply that the
    server is a replica, which does not write, it is closed as well: a master that became one keeps
    its connections, and a new one reaches whichever is master now.
    Raises redis-py's error when the server does not answer, or answers with garbage, after what
    retries there are; with the note `NOT_SENT` if nothing was sent.
    """
    is_replica = was_sent = False

    def ask() -> list[Any]:
        nonlocal was_sent
        try:
            if leases.pings or not connection.is_usable():
                make_usable(connection, pings=leases.pings)
            was_sent = True
            connection.send_packed_command([sent])
            replies = [reply() for _ in reads]
            has_surplus = connection.has_surplus(len(reads))
        except FAILURES as error:
            raise connection_error(error) from error
        if has_surplus:
            raise SurplusError
        return parsed(replies, reads)

    def reply() -> Any:
        nonlocal is_replica
        try:
            return connection.read_response()
        except ResponseError as error:
            is_replica |= is_refusal_of_replica(error)
            return error

    lease = leases.take()
    try:  # at once: a signal's handler may raise anywhere
        connection = lease.connection
        replies: list[Any] = connection.retry.call_with_retry(
            ask, lambda _: connection.disconnect()
        )
        leases.answered(lease)
        if is_replica:
            connection.disconnect()
    except BaseException as error:
        if not was_sent:
            error.add_note(NOT_SENT)
        without_tracebacks(error)  # an interruption, too, may have come while redis-py signed in
        # What nobody read would be taken for the next request's reply.
        lease.connection.disconnect()
        raise
    finally:
        leases.give(lease)
    return replies


async def aexchange(leases: AsyncLeases, sent: bytes, reads: Sequence[Read]) -> list[Any]:
    """As `exchange`, without blocking the running loop."""
    is_replica = was_sent = False

    async def ask() -> list[Any]:
        nonlocal was_sent
        try:
            if leases.pings or not connection.is_usable():
                await amake_usable(connection, pings=leases.pings)
            was_sent = True
            await connection.send_packed_command([sent])
            replies = [await reply() for _ in reads]
            has_surplus = connection.has_surplus(len(reads))
        except FAILURES as error:
            raise connection_error(error) from error
        if has_surplus:
            raise SurplusError
        return parsed(replies, reads)

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
        replies: list[Any] = await connection.retry.call_with_retry(
            ask, lambda _: connection.disconnect(nowait=True)
        )
        leases.answered(lease)
        if is_replica:
            await connection.disconnect()
    except BaseException as error:
        if not was_sent:
            error.add_note(NOT_SENT)
        without_tracebacks(error)  # an interruption, too, may have come while redis-py signed in
        await lease.connection.disconnect(nowait=True)
        raise
    finally:
        leases.give(lease)
    return replies
