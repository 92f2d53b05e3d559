"""Prepares a site with sessions of a former engine, serves it, and moves its sessions."""

import json
import os
import resource
import subprocess
import sys
import threading
from asyncio import run
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.moving_site.visitors import Outcome, Visitor, Visitors
from tests.servers import free_port, is_free, wait_until

ROOT = Path(__file__).parent.parent.parent

ENGINES = {
    "db": "django.contrib.sessions.backends.db",
    "cached_db": "django.contrib.sessions.backends.cached_db",
    "cache": "django.contrib.sessions.backends.cache",
    "file": "django.contrib.sessions.backends.file",
}


class Site:
    """
    A site in ``folder``, with ``count`` sessions of ``users`` users, and of others.

    ``engine``: one of `ENGINES`. ``cache_url``: the Redis of its cache. ``database``: the setting,
    if it is not SQLite.
    """

    def __init__(
        self, folder: Path, engine: str, location: str, prefix: str, cache_url: str,
        database: dict | None = None,
    ) -> None:  # fmt: skip
        self.folder = folder
        (folder / "sessions").mkdir()
        sqlite = {
            "ENGINE": "django.db.backends.sqlite3",
            "NAME": str(folder / "db.sqlite3"),
            # Otherwise, readers keep writers out for as long as there are always some.
            "OPTIONS": {"timeout": 60, "init_command": "PRAGMA journal_mode=WAL"},
        }
        differing = {
            "engine": ENGINES[engine],
            "database": database or sqlite,
            "location": location,
            "prefix": prefix,
            "folder": str(folder / "sessions"),
            "cache": {
                "BACKEND": "django.core.cache.backends.redis.RedisCache",
                "LOCATION": cache_url,
                "KEY_PREFIX": f"{prefix}-cache",
            },
        }
        self.environment = {
            **os.environ,
            "MOVING": json.dumps(differing),
            "DJANGO_SETTINGS_MODULE": "tests.moving_site.settings",
        }

    def prepare(self, count: int, users: int, each: int) -> list[Visitor]:
        """Create ``count`` sessions. Each of ``users`` users has ``each`` of them."""
        arguments = [str(count), str(users), str(each)]
        keys = json.loads(self._run("-m", "tests.moving_site.preparing", *arguments))
        return [Visitor(user, its) for user, its in enumerate(keys, 1)]

    def _run(self, *arguments: str) -> str:
        command = [sys.executable, *arguments]
        return subprocess.run(
            command, cwd=ROOT, env=self.environment, check=True, capture_output=True, text=True
        ).stdout

    def migrate(self, *arguments: str) -> "subprocess.Popen[str]":
        """Begin to move all sessions."""
        return subprocess.Popen(
            [sys.executable, "-u", "-m", "django", "migratesessions", *arguments],
            cwd=ROOT, env=self.environment, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip

    @contextmanager
    def serving(self) -> Iterator[int]:
        """Serve. Yields the port."""
        port = free_port()
        with (self.folder / "site.log").open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "tests.moving_site.site", str(port)],
                cwd=ROOT, env=self.environment, stdout=log, stderr=log,
            )  # fmt: skip
        try:
            wait_until(lambda: not is_free(port), "the site answers")
            yield port
        finally:
            self.process.terminate()
            self.process.wait()

    @contextmanager
    def visited(self, visitors: list[Visitor], pause: float, news: float) -> Iterator[Outcome]:
        """Serve, while the visitors are busy. What they saw is complete at the end."""
        with self.serving() as port:
            busy = Visitors(port, visitors, pause, news)
            failures: list[BaseException] = []

            def visit() -> None:
                try:
                    run(busy.visit())
                except BaseException as failure:  # noqa: BLE001 - raised below
                    failures.append(failure)

            thread = threading.Thread(target=visit)
            thread.start()
            try:
                wait_until(lambda: busy.outcome.answers or failures, "visitors are answered")
                yield busy.outcome
            finally:
                busy.is_over = True
                thread.join()
            if failures:
                raise failures[0]


def used_by(process: "subprocess.Popen[str]") -> tuple[int, resource.struct_rusage]:
    """Wait for a process. Its exit status, and what it used."""
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    return process.returncode, usage
