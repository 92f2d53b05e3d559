"""The site in processes of its own, served by gunicorn, uvicorn, uWSGI and others."""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tests.servers import free_port, is_free, wait_until
from tests.site import ROOT
from tests.weather import processes

if TYPE_CHECKING:
    from tests.weather.places import Place

# A busy machine needs long to start a site, and a site in bad weather long to end.
DEADLINE = 60.0

USERS = 200
AT_A_TIME = 20

_GUNICORN = (
    *("-m", "gunicorn", "--bind=127.0.0.1:{port}", "--log-level=warning"),
    "--no-control-socket",
)
_WSGI = "tests.weather.site:wsgi"


@dataclass(frozen=True)
class Kind:
    """
    A way to serve the site. ``arguments``: those of Python. ``views``: "sync" or "async".
    ``at_a_time``: the requests at a time.
    """

    arguments: tuple[str, ...]
    views: str = "sync"
    at_a_time: int = AT_A_TIME


KINDS = {
    "gunicorn": Kind((*_GUNICORN, "--workers=2", "--threads=10", "--preload", _WSGI)),
    "uvicorn": Kind(
        (
            *("-m", "uvicorn", "--port={port}", "--lifespan=off", "--no-access-log"),
            *("--log-level=warning", "tests.weather.site:asgi"),
        ),
        views="async",
    ),
    "gevent": Kind((*_GUNICORN, "--workers=2", "--worker-class=gevent", _WSGI)),
    "uwsgi": Kind(
        (
            *("-c", "import pyuwsgi; pyuwsgi.run()", "--http-socket=127.0.0.1:{port}", "--master"),
            *("--processes=4", "--need-app", "--disable-logging", "--die-on-term"),
            f"--module={_WSGI}",
        )
    ),
    "prefork": Kind(("-m", "tests.weather.prefork", "{port}")),
    "threads": Kind((*_GUNICORN, "--workers=1", "--threads=64", "--preload", _WSGI), at_a_time=64),
    # Under WSGI, Django makes an event loop for each request to an async view, and closes it.
    "loops": Kind((*_GUNICORN, "--workers=2", "--threads=10", "--preload", _WSGI), views="async"),
}


@dataclass(frozen=True)
class Site:
    """
    A running site. ``prefix``: that of its keys in Redis. ``redis_ports``: where it finds Redis.
    """

    name: str
    engine: str
    port: int
    process: int
    prefix: str
    redis_ports: frozenset[int]
    at_a_time: int

    def threads(self) -> int:
        return processes.threads(self.process)

    def connections(self) -> int:
        return processes.connections(self.process, self.redis_ports)


@contextmanager
def served(name: str, engine: str, place: "Place", folder: Path, database: Path) -> Iterator[Site]:
    """The site, when it listens. Its log is in ``folder``, and so is its copy of ``database``."""
    kind, port, label = KINDS[name], free_port(), f"{name}-{engine}"
    own = folder / f"{label}.sqlite3"
    shutil.copy(database, own)
    setting = {
        "engine": engine,
        "url": place.url,
        "prefix": label,
        "database": str(own),
        "views": kind.views,
        "more": place.settings,
    }
    with (folder / f"{label}.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, *(word.format(port=port) for word in kind.arguments)],
            cwd=ROOT,
            env={**os.environ, "WEATHER_SITE": json.dumps(setting)},
            stdout=log,
            stderr=log,
        )
    try:
        wait_until(
            lambda: process.poll() is not None or not is_free(port), f"{label} listens", DEADLINE
        )
        assert process.poll() is None, f"{label} ended: {(folder / f'{label}.log').read_text()}"
        yield Site(label, engine, port, process.pid, label, frozenset(place.ports), kind.at_a_time)
    finally:
        process.terminate()
        try:
            process.wait(DEADLINE)
        except subprocess.TimeoutExpired:
            for one in processes.family(process.pid):
                os.kill(one, signal.SIGKILL)
            process.wait()


def prepared_database(folder: Path) -> Path:
    """A database with all users, made by a process of its own."""
    database = folder / "users.sqlite3"
    setting = {"engine": "ours", "url": "redis://127.0.0.1", "prefix": "any"}
    code = (
        "from tests.weather import site\n"
        "from django.core.management import call_command\n"
        "from django.contrib.auth.models import User\n"
        "call_command('migrate', verbosity=0)\n"
        f"User.objects.bulk_create(User(username=f'user-{{n}}') for n in range({USERS}))\n"
    )
    subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env={**os.environ, "WEATHER_SITE": json.dumps({**setting, "database": str(database)})},
        check=True,
    )
    return database
