"""Visits to the views of a test, under WSGI or ASGI, and a server that they can stop."""

import asyncio
import signal
from pathlib import Path
from typing import Any

from django.test import AsyncClient, Client

from tests.servers import Server

# Seconds. A hanging server costs a request three times this, for it tries again.
PATIENCE = 0.1


class Mortal:
    """A server of the test's own, under settings that give up soon."""

    def __init__(self, folder: Path, session_redis: dict[str, Any]) -> None:
        self.server = Server(folder)
        self.settings = {
            **session_redis,
            "LOCATION": self.server.url,
            "OPTIONS": {"socket_timeout": PATIENCE, "socket_connect_timeout": PATIENCE},
        }

    def hang(self) -> None:
        self.server.process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        self.server.process.send_signal(signal.SIGCONT)

    def end(self) -> None:
        self.resume()
        self.server.stop()


def visit(
    world: str, path: str, session_key: str | None = None, *, form: dict[str, str] | None = None
) -> Any:
    """The response to a GET, or to a POST of ``form``. An exception makes one, too."""
    plain = world == "WSGI"
    client = (Client if plain else AsyncClient)(raise_request_exception=False)
    if session_key:
        client.cookies["sessionid"] = session_key
    answer = client.get(path) if form is None else client.post(path, form)
    return answer if plain else asyncio.run(answer)
