"""Sites that run in processes of their own, and have visitors with sessions."""

import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from email.message import Message
from pathlib import Path

from benchmarks.bench import Bench
from benchmarks.engines import Engine

ROOT = Path(__file__).parent.parent

# A site without the session middleware, which shows what Django and the server take by themselves.
NONE = Engine("none", "no sessions", "")

SESSIONS = 64

# Seconds for a site to start, and for it to end.
DEADLINE = 30.0

# gthread, because it alone keeps connections alive; 8 threads, for they wait for Redis most of the
# time. Uvicorn as plain `pip install uvicorn` has it, whatever else is installed.
SERVERS = {
    "wsgi": (
        *("gunicorn", "--workers=1", "--worker-class=gthread", "--threads=8", "--keep-alive=75"),
        *("--graceful-timeout=1", "--log-level=warning", "--bind=127.0.0.1:{port}"),
    ),
    "asgi": (
        *("uvicorn", "--loop=asyncio", "--http=h11", "--lifespan=off", "--no-access-log"),
        *("--timeout-graceful-shutdown=1", "--log-level=warning", "--port={port}"),
    ),
}

NAMES = {"wsgi": "WSGI, gunicorn", "asgi": "ASGI, uvicorn"}

# Nothing but loopback: a proxy of the environment is not asked.
_opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class ServingError(Exception):
    """A site did not start, or did not answer as it should."""


@dataclass(frozen=True)
class Site:
    """A running site, and the cookies of its visitors, as in a Cookie header."""

    engine: Engine
    protocol: str
    port: int
    process: int
    visitors: tuple[str, ...]

    def seen(self) -> str:
        """
        What the view `writing` has written last for the first visitor.

        Answered in turn, so that a site is done with what it was asked before.
        """
        path = "process" if self.engine is NONE else f"{self.protocol}/reading/seen"
        return fetch(f"http://127.0.0.1:{self.port}/{path}", Cookie=self.visitors[0])[0]


@contextmanager
def visited(bench: Bench, engine: Engine, protocol: str) -> Iterator[Site]:
    """A site whose visitors have sessions already."""
    bench.progress(f"{NAMES[protocol]}: starting the site with {engine.name}")
    core = {"SERVED_CORE": str(cores()[0])} if cores() else {}
    with started(engine, protocol, bench.redis_url, bench.folder, **core) as port:
        url = f"http://127.0.0.1:{port}"
        visitors = [f"number={number}" for number in range(SESSIONS)]
        if engine is not NONE:
            answers = [fetch(f"{url}/start/{number}") for number in range(SESSIONS)]
            visitors = [headers["Set-Cookie"].partition(";")[0] for _, headers in answers]
        yield Site(engine, protocol, port, int(fetch(f"{url}/process")[0]), tuple(visitors))


@contextmanager
def started(
    engine: Engine, protocol: str, redis_url: str, folder: Path, *more: str, **environment: str
) -> Iterator[int]:
    """
    The port of a new site, which has answered. Its log is in ``folder``.

    ``more`` are options of the server, ``environment`` is the site's beside what it needs.
    """
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    server, *arguments = (word.format(port=port) for word in SERVERS[protocol])
    name = f"{protocol}-{engine.slug}"
    environment |= {
        "SERVED_ENGINE": engine.slug,
        "SERVED_REDIS_URL": redis_url,
        "SERVED_DATABASE": str(folder / f"{name}.sqlite3"),
    }
    log = folder / f"{name}.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", server, *arguments, *more, f"benchmarks.served:{protocol}"],
            cwd=ROOT, env=os.environ | environment, stdout=output, stderr=output,
        )  # fmt: skip
    try:
        _wait_for(port, process, log)
        yield port
    finally:
        process.terminate()
        process.wait(DEADLINE)


def _wait_for(port: int, process: "subprocess.Popen[bytes]", log: Path) -> None:
    end = time.monotonic() + DEADLINE
    while True:
        try:
            fetch(f"http://127.0.0.1:{port}/process")
        except OSError as error:
            if process.poll() is not None or time.monotonic() > end:
                raise ServingError(f"The site did not start. {log.read_text()}") from error
            time.sleep(0.05)
        else:
            return


def cores() -> list[int]:
    """This process's cores; none where it has but one, or the system binds nothing to cores."""
    if not hasattr(os, "sched_getaffinity"):
        return []
    cores = sorted(os.sched_getaffinity(0))
    return cores if len(cores) > 1 else []


def fetch(url: str, **headers: str) -> tuple[str, Message]:
    """The body and the headers of an answer."""
    try:
        with _opener.open(urllib.request.Request(url, headers=headers)) as response:
            return response.read().decode(), response.headers
    except urllib.error.HTTPError as error:
        raise ServingError(f"{url}: {error}, {error.read().decode()[:200]!r}.") from error
