"""
Proxies between engine and server. One counts round trips and loses replies, another disturbs
connections.
"""

import select
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from math import inf
from types import TracebackType
from typing import Any

# Seconds after which a thread looks whether it is to end.
TICK = 0.01


class Requests:
    """Collects a client's bytes until they end where a command ends."""

    def __init__(self) -> None:
        self._held: list[bytes] = []
        self._rest = b""
        self._arguments = 0  # how many parts of the current command are still to come

    def feed(self, received: bytes) -> bytes:
        """Return all that was collected if it ends with a whole command; else nothing yet."""
        self._held.append(received)
        self._rest += received
        at = 0
        while (end := self._end_of_part(at)) is not None:
            at = end
        self._rest = self._rest[at:]
        if self._rest or self._arguments:
            return b""
        whole = b"".join(self._held)
        self._held.clear()
        return whole

    def _end_of_part(self, at: int) -> int | None:
        """The end of a command's head (``*3``) or of an argument (``$5`` and five bytes)."""
        line_end = self._rest.find(b"\r\n", at)
        if line_end < 0:
            return None
        number = int(self._rest[at + 1 : line_end])
        if self._rest[at : at + 1] == b"*":
            self._arguments = number
            return line_end + 2
        end = line_end + 2 + number + 2
        if len(self._rest) < end:
            return None
        self._arguments -= 1
        return end


class Proxy:
    """
    Passes bytes on to a server on this machine, and counts how often the client waits for it.

    ``round_trips`` is exact for a client that sends, then reads: it counts the changes from
    reading to sending, on all connections together. A pipeline that the client sends at once is
    one, even if it arrives in several pieces: the proxy passes it on when its last command is
    there.

    ``last``: how many round trips it serves. It then closes each connection that sends another.

    ``losing``: words. The reply to a request that contains one of them is lost: the server runs the
    command, and the connection is closed before the client receives the reply. The first ``spared``
    of these replies are not lost.

    ``at``: the address where it listens. By default, a port that the system chooses.
    """

    def __init__(
        self, port: int, last: float = inf, *, at: tuple[str, int] = ("127.0.0.1", 0)
    ) -> None:
        self._target = ("127.0.0.1", port)
        self._last = last
        self._listener = socket.create_server(at)
        self._sockets: list[socket.socket] = [self._listener]
        self._threads: list[threading.Thread] = []
        self._lock = threading.Lock()
        self.port: int = self._listener.getsockname()[1]
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self.round_trips = 0
        self.connections = 0
        self.losing: tuple[str, ...] = ()
        self.spared = 0

    def __enter__(self) -> "Proxy":
        self._start(self._accept)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._listener.fileno() < 0:  # a test has ended it before
            return
        # This ends the thread that accepts connections, so no new ones are made.
        self._listener.shutdown(socket.SHUT_RDWR)
        self._threads[0].join()
        for open_socket in self._sockets:
            # Wakes the thread that waits for it.
            with suppress(OSError):
                open_socket.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join()
        for open_socket in self._sockets:
            open_socket.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            server = socket.create_connection(self._target)
            self._sockets += [client, server]
            self.connections += 1
            self._start(self._serve, client, server)

    def _start(self, function: Callable[..., None], *arguments: Any) -> None:
        thread = threading.Thread(target=function, args=arguments, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _serve(self, client: socket.socket, server: socket.socket) -> None:
        requests, waits, loses = Requests(), False, False
        with suppress(OSError):  # closed by the test
            while True:
                for source in select.select([client, server], [], [])[0]:
                    received = source.recv(65536)
                    if source is server:
                        if not received or loses:
                            client.shutdown(socket.SHUT_RDWR)
                            return
                        waits = False
                        client.sendall(received)
                        continue
                    if not received:
                        server.shutdown(socket.SHUT_RDWR)
                        return
                    if not waits and not self._is_served():
                        client.shutdown(socket.SHUT_RDWR)
                        return
                    waits = True
                    loses = loses or self._loses(received)
                    # The server answers nothing before all of it is there.
                    sent = requests.feed(received)
                    if sent:
                        server.sendall(sent)

    def _is_served(self) -> bool:
        with self._lock:
            self.round_trips += 1
            return self.round_trips <= self._last

    def _loses(self, request: bytes) -> bool:
        if not any(word.encode() in request for word in self.losing):
            return False
        with self._lock:
            self.spared -= 1
            return self.spared < 0

    def counted(self, function, *arguments) -> int:
        """The number of round trips that ``function(*arguments)`` takes."""
        before = self.round_trips
        function(*arguments)
        return self.round_trips - before


class Relay:
    """
    Passes bytes on to a server on this machine, and disturbs connections if a test says so.

    ``pass_reply(socket, bytes)``: called with the client's socket and the server's bytes in place
    of sending them. ``requests``: the bytes from clients. With ``tls``, clients connect over TLS.
    While it ``hangs``, it accepts connections and passes nothing on, as a stopped server does.
    """

    def __init__(self, port: int, tls: ssl.SSLContext | None = None) -> None:
        self._target = ("127.0.0.1", port)
        self._tls = tls
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.settimeout(TICK)
        self.port: int = self._listener.getsockname()[1]
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self._ends = threading.Event()
        self._threads: list[threading.Thread] = []
        self._to_reset: set[socket.socket] = set()
        self._silent: set[socket.socket] = set()
        self.open: set[socket.socket] = set()
        self.requests: list[bytes] = []
        self.connections = 0
        self.hangs = False
        self.pass_reply: Callable[[socket.socket, bytes], None] = lambda client, reply: (
            client.sendall(reply)
        )

    def __enter__(self) -> "Relay":
        self._start(self._accept)
        return self

    def __exit__(self, *error: object) -> None:
        self._ends.set()
        for thread in self._threads:
            thread.join()
        self._listener.close()

    def reset_all(self) -> None:
        """Reset the connections of all clients, and return when that is done."""
        self._to_reset |= self.open
        while self._to_reset & self.open:
            time.sleep(TICK)

    def silence_all(self) -> None:
        """Pass nothing on over existing connections, and close none, as load balancers do."""
        self._silent |= self.open

    def _start(self, function: Callable[..., None], *arguments: Any) -> None:
        self._threads.append(threading.Thread(target=function, args=arguments))
        self._threads[-1].start()

    def _accept(self) -> None:
        while not self._ends.is_set():
            with suppress(TimeoutError):
                client, _ = self._listener.accept()
                self.connections += 1
                self._start(self._serve, client)

    def _serve(self, client: socket.socket) -> None:
        client.settimeout(20)
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        # Closing now resets the connection, unless the other side has closed it before.
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        with suppress(OSError), socket.create_connection(self._target) as server:
            if self._tls is not None:
                client = self._tls.wrap_socket(client, server_side=True)
            with client:
                self.open.add(client)
                self._pass_on(client, server)
        self.open.discard(client)

    def _pass_on(self, client: socket.socket, server: socket.socket) -> None:
        while not self._ends.is_set() and client not in self._to_reset:
            if self.hangs:
                time.sleep(TICK)
                continue
            for source in select.select([client, server], [], [], TICK)[0]:
                if client in self._silent:
                    self._ends.wait()
                    return
                received = source.recv(65536)
                if not received:
                    return
                if source is server:
                    self.pass_reply(client, received)
                else:
                    self.requests.append(received)
                    server.sendall(received)
