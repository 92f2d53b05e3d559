"""
Requests in processes of their own, each of which may be stopped or killed between any two steps.

``python -m tests.movers`` starts Django once, and forks a process for each request. So a request
begins at once, shares no connection with another, and takes its signal alone. What it returned is
written to a file.
"""

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from importlib import import_module
from itertools import count
from pathlib import Path
from typing import Any, Self

from tests.servers import wait_until

# A busy machine may need as long for a request that waits for a database.
DEADLINE = 60.0


class Movers:
    """The processes of a site with these ``settings``. Their results go to ``folder``."""

    def __init__(self, folder: Path, settings: Mapping[str, Any]) -> None:
        self.folder = folder
        self.settings = settings
        self.requests: list[Request] = []
        self.numbers = count()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.movers", str(folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "MOVERS": json.dumps(dict(settings))},
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        for request in self.requests:
            request.end()
        self.process.communicate()

    def begin(self, act: str, *arguments: Any, **options: Any) -> "Request":
        """
        Begin a request. It does what the function ``act`` of this module does.

        ``at``: the number of the event at which the process gets ``by``, a signal. ``settings``:
        those of ``SESSION_REDIS`` that differ for it; ``site``: other settings. ``native``: whether
        it runs in an event loop.
        """
        number = next(self.numbers)
        line = json.dumps({"number": number, "act": act, "arguments": arguments, **options})
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        request = Request(int(self.process.stdout.readline()), self.folder / f"{number}.json")
        self.requests.append(request)
        return request

    def do(self, act: str, *arguments: Any, **options: Any) -> Any:
        return self.begin(act, *arguments, **options).value()

    def failure(self, act: str, *arguments: Any, **options: Any) -> str:
        """The class and the text of the exception that the request raises."""
        failure: str = self.begin(act, *arguments, **options).outcome()["raised"]
        return failure

    def events(self, act: str, *arguments: Any, **options: Any) -> list[str]:
        """What the request does, step by step."""
        events: list[str] = self.begin(act, *arguments, **options).outcome()["events"]
        return events


def steps_of(events: list[str]) -> list[int]:
    """The numbers of the events after each of which a process may be stopped or killed."""
    return [number for number, event in enumerate(events) if event.startswith("after")]


@dataclass
class Request:
    """A request that a process is doing."""

    pid: int
    file: Path
    ended: bool = field(default=False)

    @property
    def state(self) -> str:
        """One letter, as the system has it: ``T`` for stopped, ``""`` for ended."""
        try:
            return Path(f"/proc/{self.pid}/stat").read_text(encoding="ascii").rpartition(")")[2][1]
        except (FileNotFoundError, ProcessLookupError):
            return ""

    def is_over(self) -> bool:
        self.ended = self.ended or self.state == ""
        return self.ended

    def wait(self) -> None:
        wait_until(self.is_over, "the request is over", DEADLINE)

    def wait_stopped(self) -> None:
        wait_until(lambda: self.state == "T", "the request is stopped", DEADLINE)

    def resume(self) -> None:
        os.kill(self.pid, signal.SIGCONT)

    def end(self) -> None:
        if not self.is_over():
            os.kill(self.pid, signal.SIGKILL)
            self.wait()

    def outcome(self) -> Any:
        self.wait()
        return json.loads(self.file.read_text("utf-8"))

    def value(self) -> Any:
        outcome = self.outcome()
        assert "value" in outcome, outcome["raised"]
        return outcome["value"]

    @property
    def is_finished(self) -> bool:
        """Whether it came to its end, and was not killed."""
        self.wait()
        return self.file.exists()


# What a process does


class Events:
    """The steps of a request: each exchange with Redis, and each operation of the former engine."""

    def __init__(self, at: int | None, by: int) -> None:
        self.names: list[str] = []
        self.at = at
        self.by = by

    def happens(self, name: str) -> None:
        self.names.append(name)
        if len(self.names) - 1 == self.at:
            os.kill(os.getpid(), self.by)

    def watch(self) -> None:
        from sessions_redis import clients, conf, former

        clients._answers = self.around(clients._answers, self.named)
        clients._aanswers = self.awaited_around(clients._aanswers, self.named)
        if conf.current().former_engine:
            kind = type(former.of(conf.current().former_engine))
            for name in ("load", "create", "save", "delete"):
                watched = self.around(getattr(kind, name), partial(str.format, f"former {name}"))
                setattr(kind, name, watched)

    def around(self, function: Any, name_of: Any) -> Any:
        def watched(*arguments: Any) -> Any:
            name = name_of(*arguments)
            self.happens(f"before {name}")
            answer = function(*arguments)
            self.happens(f"after {name}")
            return answer

        return watched

    def awaited_around(self, function: Any, name_of: Any) -> Any:
        async def watched(*arguments: Any) -> Any:
            name = name_of(*arguments)
            self.happens(f"before {name}")
            answer = await function(*arguments)
            self.happens(f"after {name}")
            return answer

        return watched

    @staticmethod
    def named(commands: Any) -> str:
        from sessions_redis.storage.scripts import NAMES

        words = [command.parts for command in commands]
        return ", ".join(NAMES[w[1]] if w[0] == "EVALSHA" else str(w[0]) for w in words)


ACTS: dict[str, Callable[..., Any]] = {}


def act(function: Callable[..., Any]) -> Callable[..., Any]:
    ACTS[function.__name__] = function
    return function


def store_of(key: str | None = None, engine: str = "sessions_redis.engine") -> Any:
    return import_module(engine).SessionStore(key)


def former_engine() -> str:
    from django.conf import settings

    path: str = settings.SESSION_REDIS["FORMER_ENGINE"]
    return path


@act
def prepare() -> None:
    """Create the former engine's table."""
    from django.core.management import call_command

    call_command("migrate", "sessions", verbosity=0)


@act
def begin(number: int, user: str | None = None, age: int | None = None, **more: Any) -> list[str]:
    """Begin sessions in the former engine."""
    keys = []
    for _ in range(number):
        session = store_of(engine=former_engine())
        session.update({"color": "red", **more})
        if user is not None:
            session["_auth_user_id"] = user
        if age is not None:
            session.set_expiry(age)
        session.save()
        keys.append(session.session_key)
    return keys


@act
def read(key: str, engine: str = "sessions_redis.engine") -> dict[str, Any] | None:
    """The entries that a request finds in a session. ``None`` if the session is unknown."""
    session = store_of(key, engine)
    entries = dict(session.items())
    return None if session.session_key is None else entries


@act
def former_copy(key: str) -> dict[str, Any] | None:
    """What the former engine has."""
    return read(key, former_engine()) if store_of(engine=former_engine()).exists(key) else None


@act
def write(key: str, engine: str = "sessions_redis.engine", **entries: Any) -> str:
    session = store_of(key, engine)
    session.update(entries)
    session.save()
    assert session.session_key == key
    return key


@act
def write_in_threads(key: str, names: list[str]) -> None:
    """Requests of a worker with threads, which begin together."""
    with ThreadPoolExecutor(len(names)) as pool:
        for written in [pool.submit(write_alone, key, name) for name in names]:
            written.result()


def write_alone(key: str, name: str) -> None:
    from django.db import connections

    write(key, **{name: 1})
    connections.close_all()  # those of this thread


@act
def log_in(key: str | None, user: str, engine: str = "sessions_redis.engine") -> str | None:
    """As Django's ``login()``. Returns the new key."""
    session = store_of(key, engine)
    if session.get("_auth_user_id") not in {None, user}:
        session.flush()
    else:
        session.cycle_key()
    session["_auth_user_id"] = user
    session.save()
    new: str | None = session.session_key
    return new


@act
def log_out(key: str, engine: str = "sessions_redis.engine") -> None:
    """As Django's ``logout()``, which looks for the user first."""
    session = store_of(key, engine)
    session.get("_auth_user_id")
    session.flush()


@act
def cycle(key: str) -> str | None:
    session = store_of(key)
    session.cycle_key()
    new: str | None = session.session_key
    return new


@act
def live_only(key: str, seconds: int) -> None:
    """Give the session a lifetime of so many seconds."""
    session = store_of(key)
    session.set_expiry(seconds)
    session.save()


@act
def end(key: str) -> bool:
    from sessions_redis import registry

    return registry.end(id_of(key))


@act
def end_many(key: str) -> int:
    from sessions_redis import registry

    return len(registry.end_many([id_of(key)]))


@act
def end_all_of(user: str, spared: str | None = None) -> int:
    from sessions_redis import registry

    return registry.end_all_of(user, spared)


@act
def listed(user: str) -> list[str]:
    """The IDs of the sessions that the registry lists for a user."""
    from sessions_redis import registry

    return [session.id for session in registry.of_user(user)]


def id_of(key: str) -> str:
    from sessions_redis.storage.commands import session_id

    return session_id(key)


@act
def visit(*keys: str) -> list[list[Any]]:
    """The status, the body and the cookies that requests of visitors with these keys get."""
    from django.test import Client

    return [answered(visitor(Client, key).get("/read")) for key in keys]


async def avisit(*keys: str) -> list[list[Any]]:
    """The same under ASGI."""
    from django.test import AsyncClient

    return [answered(await visitor(AsyncClient, key).get("/aread")) for key in keys]


def visitor(kind: Any, key: str) -> Any:
    from django.conf import settings

    browser = kind(raise_request_exception=False)
    browser.cookies[settings.SESSION_COOKIE_NAME] = key
    return browser


def answered(response: Any) -> list[Any]:
    is_fine = response.status_code == 200
    return [response.status_code, response.content.decode() if is_fine else "", [*response.cookies]]


@act
def unknown(*keys: str) -> None:
    """Requests of a client that invents keys."""
    for key in keys:
        session = store_of(key)
        assert session.get("color") is None
        assert session.session_key is None


@act
def roll_back(key: str, name: str, *arguments: Any) -> None:
    """As a request with ``ATOMIC_REQUESTS`` whose view does something and then fails."""
    from django.db import transaction

    with transaction.atomic():
        ACTS[name](key, *arguments)
        transaction.set_rollback(True)


async def awaited(name: str, key: str, *keys: str, **entries: Any) -> Any:
    """The same with the methods that asynchronous views call."""
    if name == "visit":
        return await avisit(key, *keys)
    session = store_of(key)
    if name == "read":
        entries = dict(await session.aitems())
        return None if session.session_key is None else entries
    if name == "write":
        await session.aupdate(entries)
        await session.asave()
    elif name == "cycle":
        await session.acycle_key()
        return session.session_key
    elif name == "log_out":
        await session.aflush()
    else:
        raise ValueError(name)
    return key


# The process that forks


def main() -> None:
    import django
    from django.conf import settings

    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.settings")
    for name, value in json.loads(os.environ["MOVERS"]).items():
        setattr(settings, name, value)
    django.setup()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # no process stays a zombie
    folder = Path(sys.argv[1])
    prepare_to_fork(settings.SESSION_REDIS["FORMER_ENGINE"])
    for line in sys.stdin:
        child = os.fork()
        if not child:
            serve(folder, **json.loads(line))
            os._exit(0)  # at once: to take all of Django down takes longer than a request
        print(child, flush=True)


def prepare_to_fork(former_engine: str) -> None:
    """Import what requests need, so that each begins at once."""
    modules = ["sessions_redis.engine", "sessions_redis.registry", "django.core.management"]
    modules += ["django.db.backends.sqlite3.base", "django.core.cache.backends.redis"]
    for module in [*modules, former_engine]:
        import_module(module)


def serve(
    folder: Path,
    number: int,
    act: str,
    arguments: list[Any],
    at: int | None = None,
    by: int = signal.SIGKILL,
    settings: Mapping[str, Any] | None = None,
    native: bool = False,
    site: Mapping[str, Any] | None = None,
    **entries: Any,
) -> None:
    from django.conf import settings as own
    from django.db import connections

    from sessions_redis import conf

    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    own.SESSION_REDIS = {**own.SESSION_REDIS, **(settings or {})}
    for name, value in (site or {}).items():
        setattr(own, name, value)
    vars(connections).clear()  # the process that forks has read the settings
    connections.__init__()
    conf._read.cache_clear()
    events = Events(at, by)
    events.watch()
    outcome: dict[str, Any] = {"events": events.names}
    try:
        if native:
            outcome["value"] = asyncio.run(awaited(act, *arguments, **entries))
        else:
            outcome["value"] = ACTS[act](*arguments, **entries)
    except Exception as error:  # noqa: BLE001 - the test looks at it
        outcome["raised"] = f"{type(error).__name__}: {error}"
    unfinished = folder / f"{number}.unfinished"
    unfinished.write_text(json.dumps(outcome), "utf-8")
    unfinished.rename(folder / f"{number}.json")


if __name__ == "__main__":
    main()
