"""
redis-py's connections with two promises more.

A connection on which something is unread answers nobody: the next request would take it for its own
reply. A connection that is closed delivers nothing more: what its buffers still hold would reach
the server later, after newer commands.

redis-py has a check for unread data of its own, but turns it off where it expects notifications
of the server's maintenance, and it leaves to the kernel what a closed connection has not sent yet.
"""

import os
import select
import socket
import struct
from abc import abstractmethod
from collections.abc import Callable
from functools import cache
from time import monotonic
from typing import Any

from redis.asyncio.connection import AbstractConnection as AsyncConnection
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError

from sessions_redis.clients.directories import owner_of_server
from sessions_redis.clients.garbage import UNREADABLE

# Seconds after which a load balancer may have dropped an idle connection without a word.
IDLE_SECONDS = 1.0

# Errors of a connection that was lost, beside redis-py's own. On a transport that is closing,
# asyncio raises AttributeError, and uvloop RuntimeError.
LOST_CONNECTION = (OSError, AttributeError, RuntimeError)

# For SO_LINGER: to close is to reset, and the kernel drops what it has not delivered.
_RESET = struct.pack("hh" if os.name == "nt" else "ii", 1, 0)

# The streams of a process that this one was forked from: whatever closed them would reach into
# that process's event loop. Kept, so that nothing ever does.
_streams_of_parents: list[Any] = []


class SurplusError(RedisConnectionError):
    """More came than was asked for: a reply may be that of another request."""

    def __init__(self) -> None:
        super().__init__("more replies came than there were requests")


class ForeignServerError(RedisConnectionError):
    """A server of another user answers: it must not get a session."""

    def __init__(self, owner: int) -> None:
        super().__init__(f"it is a server of another user, whose number is {owner}")


def lost_connection(error: BaseException) -> RedisConnectionError:
    """One of `LOST_CONNECTION` as redis-py would have raised it."""
    return RedisConnectionError(f"the connection was lost ({type(error).__name__}: {error})")


class _Checked:
    """
    What both worlds share.

    ``used``: when something last came over the connection, as `monotonic` counts.
    """

    used: float
    _parser: Any
    _fileno: int
    _poll: Callable[[int], Any]
    _opened_by: int | None = None  # nobody yet
    _must_be_own = False

    @abstractmethod
    def is_usable(self) -> bool:
        """Whether the connection is open and nothing waits to be read."""

    @abstractmethod
    def has_surplus(self, count: int) -> bool:
        """
        Whether the ``count`` replies that were read may be those of other requests.

        They may be if anything is left to read. A server that closes the connection after its last
        reply leaves nothing. A fork of the process that asked may have read its parent's replies.
        """

    def is_idle(self) -> bool:
        return monotonic() - self.used > IDLE_SECONDS

    def _foreign_server_error(self, opened: Any) -> ForeignServerError | None:
        """The error to raise if another user's server must not be at the other end, and is."""
        owner = owner_of_server(opened) if self._must_be_own else None
        return None if owner is None or owner == os.geteuid() else ForeignServerError(owner)

    def _opened(self, opened: Any) -> None:
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        self.used = monotonic()
        self._fileno = opened.fileno()
        self._poll = _poll(self._fileno)
        self._opened_by = os.getpid()

    def _has_arrived(self) -> bool:
        """Whether what makes the socket readable is bytes, and not only the end."""
        try:
            with socket.socket(fileno=os.dup(self._fileno)) as copied:
                return bool(copied.recv(1, socket.MSG_PEEK))
        except OSError:
            return False


class Checked(_Checked):
    _sock: Any
    _decrypted: Callable[[], int] | None

    def _connect(self) -> Any:
        opened = super()._connect()  # type: ignore[misc]  # redis-py's
        if foreign := self._foreign_server_error(opened):
            opened.close()
            raise foreign
        self._opened(opened)
        self._decrypted = getattr(opened, "pending", None)  # over TLS
        return opened

    def is_usable(self) -> bool:
        return self._sock is not None and not (self._has_read_ahead() or self._poll(0))

    def has_surplus(self, count: int) -> bool:  # noqa: ARG002 - as in an event loop
        return (
            self._opened_by != os.getpid()
            or self._has_read_ahead()
            or bool(self._poll(0) and self._has_arrived())
        )

    def _has_read_ahead(self) -> bool:
        """Whether bytes have left the socket that no request has asked for."""
        parser = self._parser
        reader = getattr(parser, "_reader", None)  # that of hiredis
        return bool(
            (parser._buffer.unread_bytes() if reader is None else reader.has_data())
            or (self._decrypted is not None and self._decrypted())
        )


class AsyncChecked(_Checked):
    _reader: Any
    _writer: Any
    _is_closing: Callable[[], bool]
    _by_hiredis: bool

    async def _connect(self) -> None:
        await super()._connect()  # type: ignore[misc]  # redis-py's
        self._opened(self._writer.get_extra_info("socket"))
        self._is_closing = self._writer.transport.is_closing
        self._by_hiredis = hasattr(self._parser, "_reader")

    async def on_connect(self) -> None:
        # By a unix socket redis-py signs in here, before _connect() is done.
        if foreign := self._foreign_server_error(self._writer.get_extra_info("socket")):
            self._abort()
            raise foreign
        await super().on_connect()  # type: ignore[misc]  # redis-py's

    async def disconnect(self, *args: Any, **kwargs: Any) -> None:
        self._abort()
        await super().disconnect(*args, **kwargs)  # type: ignore[misc]  # redis-py's

    def is_usable(self) -> bool:
        stream = self._reader
        # The stream has no public way to ask for what it holds; redis-py asks it the same way.
        return not (
            stream is None
            or stream._buffer
            or stream._eof
            or self._is_closing()
            or (self._by_hiredis and self._parser._reader.has_data())
            or self._poll(0)
        )

    def has_surplus(self, count: int) -> bool:
        # The event loop has emptied the kernel's buffer just before it woke this task, so a lone
        # reply costs no second system call. Several may still come in pieces.
        return bool(
            self._opened_by != os.getpid()
            or self._reader._buffer
            or (self._by_hiredis and self._parser._reader.has_data())
            or (count > 1 and self._poll(0) and self._has_arrived())
        )

    def _close(self) -> None:
        self._abort()
        super()._close()  # type: ignore[misc]  # redis-py's

    def _abort(self) -> None:
        """Drop what has not been sent yet, which ``close()`` would first send."""
        if self._writer is None:
            return
        if self._opened_by in (None, os.getpid()):
            self._writer.transport.abort()
        else:
            _streams_of_parents.append((self._reader, self._writer))
            self._reader = self._writer = None


class InMemory:
    """A connection to a server in this process, over which nothing can be late or lost."""

    used: float

    def is_usable(self) -> bool:
        return True

    def is_idle(self) -> bool:
        return False

    def has_surplus(self, count: int) -> bool:  # noqa: ARG002 - as the others
        return False


@cache
def checked_class(kind: Any, *, own: bool = False) -> Any:
    """
    redis-py's class of connections ``kind``, with the promises of this module.

    ``own``: on a unix socket, and only to a server that this user runs.
    """
    mixin = AsyncChecked if issubclass(kind, AsyncConnection) else Checked
    return type(kind.__name__, (mixin, kind), {"_must_be_own": own})


@cache
def in_memory_class(kind: Any) -> Any:
    return type(kind.__name__, (InMemory, kind), {})


def make_usable(connection: Any, *, pings: bool) -> None:
    """
    Make ``connection`` fit for a request, on a new socket if the one it has is not sound.

    ``pings``: whether one that was idle has to show that it still reaches the server.
    """
    must_answer = pings and connection.is_idle()
    if connection.is_usable() and (not must_answer or _answers(connection)):
        return
    connection.disconnect()
    connection.connect()
    # Over TLS 1.3 the server's tickets wait there. They go with the first reply; more stays.
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
        connection.send_command("PING")
        connection.read_response()
    except ResponseError:
        pass  # an answer, too: the user may not PING
    except (RedisConnectionError, RedisTimeoutError, *UNREADABLE, *LOST_CONNECTION):
        return False
    return bool(connection.is_usable())


async def _aanswers(connection: Any) -> bool:
    try:
        await connection.send_command("PING")
        await connection.read_response()
    except ResponseError:
        pass
    except (RedisConnectionError, RedisTimeoutError, *UNREADABLE, *LOST_CONNECTION):
        return False
    return bool(connection.is_usable())


def _poll(fileno: int) -> Callable[[int], Any]:
    """Says, without waiting, whether there is anything to read, even if it is only the end."""
    if hasattr(select, "poll"):
        poll = select.poll()
        poll.register(fileno, select.POLLIN)
        return poll.poll
    # Windows, or eventlet.
    return lambda _: select.select([fileno], [], [], 0)[0]
