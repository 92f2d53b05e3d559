"""
The connections of redis-py, with two more promises.

- A connection with unread data is never used again. Otherwise the next request would take that data
  for its own reply.
- A closed connection delivers nothing more. Otherwise the data in its buffers would reach the
  server later, after newer commands.

redis-py checks for unread data itself. But it turns that check off where it expects the server to
announce maintenance. And when it closes a connection, the kernel still delivers what is buffered.
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
from redis.exceptions import TimeoutError as RedisTimeoutError

from sessions_redis.clients.circuit import Circuit
from sessions_redis.clients.directories import owner_of_server
from sessions_redis.clients.parsers import strict
from sessions_redis.clients.readiness import aping, ping

# After so many seconds without traffic, a load balancer may have dropped the connection silently.
IDLE_SECONDS = 1.0

# For SO_LINGER: closing resets the connection, and the kernel drops data that it has not delivered.
_RESET = struct.pack("hh" if os.name == "nt" else "ii", 1, 0)

# Streams that this process inherited when it was forked. Closing one would change the event loop of
# the parent process. They stay in this list so that Python's garbage collector does not close them.
_streams_of_parents: list[Any] = []


class ForeignServerError(RedisConnectionError):
    """Another user runs the server that answers, so it must not receive sessions."""

    def __init__(self, owner: int) -> None:
        super().__init__(
            f"the user with the ID {owner} runs that server, not the user of this process"
        )


class _Checked:
    """
    The common part of synchronous and asynchronous connections.

    ``used``: when the last data came over the connection, in seconds of `monotonic`. ``circuit``:
    it learns whether the server answers new connections, and refuses them while it is open.
    """

    circuit: Circuit
    used: float
    _parser: Any
    _fileno: int
    _poll: Callable[[int], Any]
    _opened_by: int | None = None  # the ID of the process that connected
    _must_be_own = False
    _issued: int | None = None  # how many tokens had been issued when this connection signed in
    _has_asked = False  # whether redis-py sent a command to sign in

    def __init__(self, *args: Any, circuit: Circuit | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.circuit = circuit or Circuit()

    def set_parser(self, parser_class: Any) -> None:
        super().set_parser(strict(parser_class))  # type: ignore[misc]  # redis-py's

    @abstractmethod
    def is_usable(self) -> bool:
        """Whether the connection is open and has no unread data."""

    @abstractmethod
    def has_surplus(self, count: int) -> bool:
        """
        Whether the ``count`` replies just read may belong to other requests.

        They may if more data is left to read. The end of the connection is not data: a server may
        close it after its last reply. They may as well if this process is a fork of the one that
        connected, because then it may have read replies of its parent.
        """

    def is_idle(self) -> bool:
        return monotonic() - self.used > IDLE_SECONDS

    def _needs_new_token(self) -> bool:
        """Whether the site's credential provider has announced a token since the last call."""
        issued: int = getattr(getattr(self, "credential_provider", None), "issued", 0)
        before, self._issued = self._issued, issued
        return before not in (None, issued)

    def _must_ping(self) -> bool:
        """Whether it is unknown, after signing in, if the server answers. Call this once."""
        if self._has_asked:  # and redis-py has read the replies
            self.circuit.last_answer = monotonic()
        return self.circuit.is_suspected

    def _foreign_server_error(self, opened: Any) -> ForeignServerError | None:
        """The error to raise if only this user's server is allowed and another one answers."""
        owner = owner_of_server(opened) if self._must_be_own else None
        return None if owner is None or owner == os.geteuid() else ForeignServerError(owner)

    def _opened(self, opened: Any) -> None:
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        self.used = monotonic()
        self._fileno = opened.fileno()
        self._poll = _poll(self._fileno)
        self._opened_by = os.getpid()

    def _has_arrived(self) -> bool:
        """Whether a readable socket has bytes to read, and not only the end of the connection."""
        try:
            with socket.socket(fileno=os.dup(self._fileno)) as copied:
                return bool(copied.recv(1, socket.MSG_PEEK))
        except OSError:
            return False


class Checked(_Checked):
    disconnect: Callable[[], None]  # redis-py's
    _sock: Any
    _decrypted: Callable[[], int] | None

    def connect(self) -> None:
        # The pool calls it whenever it hands out a connection, connected or not.
        if self._needs_new_token():
            self.disconnect()
        super().connect()  # type: ignore[misc]  # redis-py's

    def _connect(self) -> Any:
        with self.circuit.connecting(self, TimeoutError):
            opened = super()._connect()  # type: ignore[misc]  # redis-py's
        if foreign := self._foreign_server_error(opened):
            opened.close()
            raise foreign
        self._opened(opened)
        self._decrypted = getattr(opened, "pending", None)  # only a TLS socket has it
        return opened

    def on_connect_check_health(self, *args: Any, **kwargs: Any) -> None:
        self._has_asked = False
        with self.circuit.connecting(self, RedisTimeoutError):
            super().on_connect_check_health(*args, **kwargs)  # type: ignore[misc]  # redis-py's
            if self._must_ping():
                ping(self)

    def activate_maint_notifications_handling_if_enabled(self, *args: Any, **kwargs: Any) -> None:
        # redis-py 7 also asks for announcements of maintenance over a unix socket, and raises
        # because there is no host.
        if getattr(self, "host", None) is not None:
            super().activate_maint_notifications_handling_if_enabled(*args, **kwargs)  # type: ignore[misc]  # redis-py's

    def send_command(self, *args: Any, **kwargs: Any) -> None:
        self._has_asked = True
        super().send_command(*args, **kwargs)  # type: ignore[misc]  # redis-py's

    def is_usable(self) -> bool:
        return self._sock is not None and not (self._has_read_ahead() or self._poll(0))

    def has_surplus(self, count: int) -> bool:  # noqa: ARG002 - AsyncChecked needs it
        return (
            self._opened_by != os.getpid()
            or self._has_read_ahead()
            or bool(self._poll(0) and self._has_arrived())
        )

    def _has_read_ahead(self) -> bool:
        """Whether bytes that belong to no request were already read from the socket."""
        parser = self._parser
        reader = getattr(parser, "_reader", None)  # only hiredis has it
        return bool(
            (parser._buffer.unread_bytes() if reader is None else reader.has_data())
            or (self._decrypted is not None and self._decrypted())
        )


class AsyncChecked(_Checked):
    _reader: Any
    _writer: Any
    _is_closing: Callable[[], bool]
    _by_hiredis: bool

    async def connect(self) -> None:
        if self._needs_new_token():
            await self.disconnect(nowait=True)
        await super().connect()  # type: ignore[misc]  # redis-py's

    async def _connect(self) -> None:
        with self.circuit.connecting(self, TimeoutError):
            await super()._connect()  # type: ignore[misc]  # redis-py's
        self._opened(self._writer.get_extra_info("socket"))
        self._is_closing = self._writer.transport.is_closing
        self._by_hiredis = hasattr(self._parser, "_reader")

    async def on_connect(self) -> None:
        # On a unix socket, redis-py signs in here, before _connect() returns, and then once more.
        # The second time is enough.
        if foreign := self._foreign_server_error(self._writer.get_extra_info("socket")):
            self._abort()
            raise foreign

    async def on_connect_check_health(self, *args: Any, **kwargs: Any) -> None:
        self._has_asked = False
        with self.circuit.connecting(self, RedisTimeoutError):
            await super().on_connect_check_health(*args, **kwargs)  # type: ignore[misc]  # redis-py's
            if self._must_ping():
                await aping(self)

    async def send_command(self, *args: Any, **kwargs: Any) -> None:
        self._has_asked = True
        await super().send_command(*args, **kwargs)  # type: ignore[misc]  # redis-py's

    async def disconnect(self, *args: Any, **kwargs: Any) -> None:
        self._abort()
        await super().disconnect(*args, **kwargs)  # type: ignore[misc]  # redis-py's

    def is_usable(self) -> bool:
        stream = self._reader
        # asyncio's streams have no public method for this. redis-py reads the same attributes.
        return not (
            stream is None
            or stream._buffer
            or stream._eof
            or self._is_closing()
            or (self._by_hiredis and self._parser._reader.has_data())
            or self._poll(0)
        )

    def has_surplus(self, count: int) -> bool:
        # The event loop read all data from the kernel just before it woke this task. So a single
        # reply needs no further system call. Several replies may still arrive in pieces.
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
        """Close without sending data that is still buffered. ``close()`` would send it first."""
        if self._writer is None:
            return
        if self._opened_by in (None, os.getpid()):
            self._writer.transport.abort()
        else:
            _streams_of_parents.append((self._reader, self._writer))
            self._reader = self._writer = None


class InMemory:
    """A connection to a server within this process. It cannot break or delay a reply."""

    used: float

    def is_usable(self) -> bool:
        return True

    def is_idle(self) -> bool:
        return False

    def has_surplus(self, count: int) -> bool:  # noqa: ARG002 - as in the other classes
        return False


@cache
def checked_class(kind: Any, *, own: bool = False) -> Any:
    """
    A subclass of redis-py's connection class ``kind`` that keeps the promises of this module.

    ``own``: it connects only to a server that this user runs. For unix sockets.
    """
    if issubclass(kind, _Checked):
        return kind
    mixin = AsyncChecked if issubclass(kind, AsyncConnection) else Checked
    return type(kind.__name__, (mixin, kind), {"_must_be_own": own})


@cache
def in_memory_class(kind: Any) -> Any:
    return type(kind.__name__, (InMemory, kind), {})


def _poll(fileno: int) -> Callable[[int], Any]:
    """
    A function that says, without waiting, whether the socket is readable.

    It is also readable when the other side has closed the connection.
    """
    if hasattr(select, "poll"):
        poll = select.poll()
        poll.register(fileno, select.POLLIN)
        return poll.poll
    # Windows and eventlet have no poll().
    return lambda _: select.select([fileno], [], [], 0)[0]
