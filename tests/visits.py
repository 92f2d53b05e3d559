"""Visits to the views of a test, under WSGI or ASGI, and a server that goes away meanwhile."""

import asyncio
import tempfile
from pathlib import Path
from typing import Any

import redis
from django.test import AsyncClient, Client
from redis.backoff import NoBackoff
from redis.retry import Retry

from tests.servers import Server

# So that a server that is away costs no time, and one that is there may be slow.
OPTIONS = {
    "retry": Retry(NoBackoff(), 2),
    "socket_timeout": 20.0,
    "socket_connect_timeout": 20.0,
    "timeout": 20.0,
}


class Mortal:
    """A server of the test's own, which goes away and comes back with all its data."""

    def __init__(self, folder: Path, session_redis: dict[str, Any]) -> None:
        self._folder = tempfile.TemporaryDirectory()  # a socket's path must be short
        socket = f"{self._folder.name}/socket"
        self.server = Server(folder, "--unixsocket", socket)
        self._admin = redis.Redis(unix_socket_path=socket)
        self.settings = {**session_redis, "LOCATION": self.server.url, "OPTIONS": OPTIONS}

    def go_away(self) -> None:
        """Refuse connections, and close those there are."""
        self._admin.config_set("port", 0)
        self._admin.client_kill_filter(_type="normal", skipme=True)

    def come_back(self) -> None:
        self._admin.config_set("port", self.server.port)

    def end(self) -> None:
        self._admin.close()
        self.server.stop()
        self._folder.cleanup()


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
