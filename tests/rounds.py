"""Counts rounds of round trips to several servers, where a client sends to all, then reads."""

import socket
from collections.abc import Callable, Collection
from typing import Any

import pytest


class Rounds:
    """
    How often this process waits for one of the servers at ``ports``, or for several together.

    ``count`` is exact for a client that sends everything first, then reads: it counts the changes
    from reading to sending, over all connections together. It looks at the sockets themselves.
    """

    def __init__(self, ports: Collection[int], monkeypatch: pytest.MonkeyPatch) -> None:
        self.count = 0
        self._ports = ports
        self._has_read = True
        # asyncio sends with the last one from Python 3.12 on.
        for name in ("send", "sendall", "sendmsg"):
            monkeypatch.setattr(socket.socket, name, self._watched(name, self._sends))
        for name in ("recv", "recv_into"):
            monkeypatch.setattr(socket.socket, name, self._watched(name, self._reads))

    def _watched(self, name: str, happens: Callable[[], None]) -> Callable[..., Any]:
        original = getattr(socket.socket, name)

        def watched(one: socket.socket, *arguments: Any) -> Any:
            result = original(one, *arguments)  # raises if there is nothing to read yet
            if one.family == socket.AF_INET and one.getpeername()[1] in self._ports:
                happens()
            return result

        return watched

    def _sends(self) -> None:
        self.count += self._has_read
        self._has_read = False

    def _reads(self) -> None:
        self._has_read = True

    def counted(self, function: Callable[..., Any], *arguments: Any) -> int:
        """The rounds that ``function(*arguments)`` takes."""
        before = self.count
        function(*arguments)
        return self.count - before
