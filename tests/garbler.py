"""A proxy between engine and server that answers with garbage when a test says so."""

import socket
import threading
from contextlib import suppress
from types import TracebackType

from tests.servers import DEADLINE, wait_until

# The commands that a client sends before its first own one.
GREETINGS = {b"HELLO", b"AUTH", b"CLIENT", b"SELECT"}


def split(sent: bytes) -> tuple[list[bytes], bytes]:
    """The first words of the complete commands in ``sent``, and the bytes after them."""
    names, end = [], 0
    with suppress(ValueError):  # the line is incomplete
        while end < len(sent):
            words, at = _command(sent, end)
            names.append(words[0].upper())
            end = at
    return names, sent[end:]


def _command(sent: bytes, at: int) -> tuple[list[bytes], int]:
    count, at = _line(sent, at)
    words = []
    for _ in range(int(count[1:])):
        size, at = _line(sent, at)
        end = sent.index(b"\r\n", at + int(size[1:]))
        words.append(sent[at:end])
        at = end + 2
    return words, at


def _line(sent: bytes, at: int) -> tuple[bytes, int]:
    end = sent.index(b"\r\n", at)
    return sent[at:end], end + 2


class Garbler:
    """
    Passes bytes on to a server on this machine, except for replies that a test has it garble.

    ``said``: the first words of all commands, each with the number of its connection. ``garbled``:
    the connections on which it answered with garbage, and the length of ``said`` at that time.
    """

    def __init__(self, port: int) -> None:
        self._target = ("127.0.0.1", port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._sockets: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        self.port: int = self._listener.getsockname()[1]
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self.said: list[tuple[int, bytes]] = []
        self.garbled: dict[int, int] = {}
        self.stop()

    def garble(
        self,
        reply: bytes,
        *,
        times: int = 10**9,
        together: int | None = None,
        greetings: bool = False,
        closes: bool = False,
    ) -> None:
        """
        Answer ``times`` pieces with ``reply`` to each command in them, and do not pass them on.

        ``together``: only pieces with so many commands, with ``reply`` to all of them.
        ``greetings``: only commands that sign in, in place of others. ``closes``: then close the
        connection.
        """
        self._reply, self._left, self._together = reply, times, together
        self._greetings, self._closes = greetings, closes

    def stop(self) -> None:
        """Pass everything on again."""
        self.garble(b"", times=0)

    def used_again(self) -> list[bytes]:
        """The commands on connections that had received garbage before."""
        return [
            name
            for place, (number, name) in enumerate(self.said)
            if place >= self.garbled.get(number, place + 1)
        ]

    def last_asked(self, name: bytes) -> int:
        """
        The connection of the last command of this name.

        Another one may have sent a greeting before, which its thread has heard only now.
        """
        return next(number for number, said in reversed(self.said) if said == name)

    def __enter__(self) -> "Garbler":
        self._start(self._accept)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        _close(self._listener)
        self._threads[0].join(DEADLINE)  # the socket accepts no more data
        for open_socket in self._sockets:
            _close(open_socket)
        wait_until(lambda: not any(one.is_alive() for one in self._threads), "its threads end")

    def _start(self, target, *arguments) -> None:
        self._threads.append(threading.Thread(target=target, args=arguments, daemon=True))
        self._threads[-1].start()

    def _accept(self) -> None:
        number = 0
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            number += 1
            server = socket.create_connection(self._target)
            for end in (client, server):
                end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._sockets += [client, server]
            self._start(self._hear, client, server, number)
            self._start(self._pass_back, server, client)

    def _hear(self, client: socket.socket, server: socket.socket, number: int) -> None:
        unheard = b""
        with suppress(OSError):  # either side closed it
            while received := client.recv(65536):
                whole = unheard + received
                names, unheard = split(whole)
                self.said += [(number, name) for name in names]
                if self._is_meant(names):
                    self._left -= 1
                    self.garbled[number] = len(self.said)
                    client.sendall(self._reply * (1 if self._together else len(names)))
                    if self._closes:
                        client.shutdown(socket.SHUT_WR)
                else:
                    server.sendall(whole[: len(whole) - len(unheard)])
        _close(server)

    def _is_meant(self, names: list[bytes]) -> bool:
        return (
            self._left > 0
            and names != []
            and (names[0] in GREETINGS) is self._greetings
            and self._together in (None, len(names))
        )

    def _pass_back(self, server: socket.socket, client: socket.socket) -> None:
        with suppress(OSError):
            while received := server.recv(65536):
                client.sendall(received)
        _close(client)


def _close(open_socket: socket.socket) -> None:
    # This wakes the thread that waits for the socket. Closing alone does not.
    with suppress(OSError):
        open_socket.shutdown(socket.SHUT_RDWR)
    open_socket.close()
