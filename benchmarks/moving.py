"""
How fast sessions of each former engine move in while requests arrive, and what each request costs.

``python -m benchmarks.moving [ENGINE ...]``, with ``--sessions`` for another number of them.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from importlib import import_module
from pathlib import Path
from typing import Any

from benchmarks.redis_server import started

BACKENDS = "django.contrib.sessions.backends"
CACHES = {
    "cache": "django.core.cache.backends.redis.RedisCache",
    "cache (django-redis)": "django_redis.cache.RedisCache",
    "cache (django-valkey)": "django_valkey.cache.ValkeyCache",
}
ENGINES = {
    "db": f"{BACKENDS}.db",
    "cached_db": f"{BACKENDS}.cached_db",
    **dict.fromkeys(CACHES, f"{BACKENDS}.cache"),
    "file": f"{BACKENDS}.file",
    "django-redis-sessions": "redis_sessions.session",
    "django-qsessions": "qsessions.backends.db",
    "django-user-sessions": "user_sessions.backends.db",
}

# Processes whose first requests of each session arrive at the same time.
WORKERS = 2

COLUMNS = (
    "former engine",
    "sessions/s",
    "signed in before",
    "after",
    "updates lost",
    "answers that differ",
    "first request: Redis",
    "former",
    "later: Redis",
    "former",
)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.moving", description=__doc__)
    parser.add_argument("engines", nargs="*", metavar="ENGINE", help=", ".join(ENGINES))
    parser.add_argument("--sessions", type=int, default=2000)
    parser.add_argument("--measure", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        print(json.dumps(measure(options.engines[0], options.sessions)))
        return
    from tabulate import tabulate

    command = [sys.executable, "-m", "benchmarks.moving", "--measure"]
    command += ["--sessions", str(options.sessions)]
    rows = []
    for name in options.engines or ENGINES:  # Django has one setting in each process
        done = subprocess.run([*command, name], stdout=subprocess.PIPE, text=True, check=True)
        rows.append([name, *json.loads(done.stdout)])
        print(*rows[-1], sep="  ", file=sys.stderr)
    print(tabulate(rows, headers=COLUMNS, tablefmt="github", floatfmt=".0f"))


def measure(name: str, number: int) -> list[Any]:
    """A row of the table without its first column."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        ours, theirs = stack.enter_context(started()), stack.enter_context(started())
        configure(name, folder, ours, theirs)
        keys = in_child(begin, ENGINES[name], number)
        before = in_child(signed_in, ENGINES[name], keys)
        began = time.perf_counter()
        answers = together(keys)
        lasted = time.perf_counter() - began
        after, lost = in_child(result, keys)
        costs = in_child(cost, ENGINES[name], theirs)
    return [number / lasted, before, after, lost, sum(answers), *costs]


def configure(name: str, folder: Path, ours: str, theirs: str) -> None:
    import django
    import redis
    from django.conf import settings

    package = ENGINES[name].partition(".")[0]
    own = [package] if package in {"qsessions", "user_sessions"} else ["django.contrib.sessions"]
    settings.configure(
        SECRET_KEY="benchmark",
        INSTALLED_APPS=[
            "django.contrib.auth",
            "django.contrib.contenttypes",
            *own,
            "sessions_redis",
        ],
        DATABASES={
            "default": {
                "ENGINE": "django.db.backends.sqlite3",
                "NAME": folder / "former.sqlite3",
                "OPTIONS": {
                    "timeout": 60,
                    "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL",
                    "transaction_mode": "IMMEDIATE",
                },
            }
        },
        CACHES={
            "default": {
                "BACKEND": CACHES.get(name, CACHES["cache"]),
                "LOCATION": theirs.replace("redis", "valkey", 1) if "valkey" in name else theirs,
            }
        },
        DEFAULT_AUTO_FIELD="django.db.models.AutoField",
        SESSION_FILE_PATH=str(folder),
        SESSION_ENGINE="sessions_redis.engine",
        SESSION_REDIS={"LOCATION": ours, "FORMER_ENGINE": ENGINES[name]},
        SESSION_REDIS_CONNECTION_OBJECT=redis.Redis.from_url(theirs),
        USE_TZ=True,
    )
    django.setup()


def in_child(function: Callable[..., Any], *arguments: Any) -> Any:
    """What the function returns in a process of its own, so that no connection is shared."""
    return ended(*begun(function, *arguments))


def begun(function: Callable[..., Any], *arguments: Any) -> tuple[int, int]:
    receiver, sender = os.pipe()
    child = os.fork()
    if child:
        os.close(sender)
        return child, receiver
    try:
        with os.fdopen(sender, "w", encoding="utf-8") as file:
            json.dump(function(*arguments), file)
    except BaseException:  # noqa: BLE001 - the process ends, whatever it is
        sys.excepthook(*sys.exc_info())
        os._exit(1)
    os._exit(0)


def ended(child: int, receiver: int) -> Any:
    with os.fdopen(receiver, encoding="utf-8") as file:
        text = file.read()
    os.waitpid(child, 0)
    return json.loads(text)


def begin(engine: str, number: int) -> list[str]:
    """Create users, and a session of each in the former engine."""
    from django.contrib.auth.models import User
    from django.core.management import call_command
    from django.db import transaction

    call_command("migrate", verbosity=0)
    User.objects.bulk_create(User(pk=pk, username=str(pk)) for pk in range(number + 2))
    keys = []
    with transaction.atomic():
        for pk in range(number):
            session = new(engine)
            session.update(
                {"_auth_user_id": str(pk), "cart": {"items": [1, 2, 3]}, "seen": "x" * 99}
            )
            session.save()
            keys.append(session.session_key)
    return keys


def new(engine: str, key: str | None = None) -> Any:
    return import_module(engine).SessionStore(key)


def signed_in(engine: str, keys: list[str]) -> int:
    return sum(new(engine, key).get("_auth_user_id") == str(pk) for pk, key in enumerate(keys))


def together(keys: list[str]) -> list[int]:
    """Let all workers make a request of each session. How many answers of each were not right."""
    workers = [begun(work, f"worker-{number}", keys) for number in range(WORKERS)]
    return [ended(*worker) for worker in workers]


def work(name: str, keys: list[str]) -> int:
    wrong = 0
    for pk, key in enumerate(keys):
        session = new("sessions_redis.engine", key)
        wrong += session.get("_auth_user_id") != str(pk) or session.get("cart") is None
        session[name] = pk
        session.save()
    return wrong


def result(keys: list[str]) -> tuple[int, int]:
    """How many sessions have their user, and how many updates are missing."""
    after = lost = 0
    for pk, key in enumerate(keys):
        session = new("sessions_redis.engine", key)
        after += session.get("_auth_user_id") == str(pk)
        lost += sum(session.get(f"worker-{number}") != pk for number in range(WORKERS))
    return after, lost


def cost(engine: str, theirs: str) -> list[int]:
    """Round trips to Redis, and queries or commands of the former store: first request, later."""
    import redis
    from django.db import connection
    from django.test.utils import CaptureQueriesContext

    from sessions_redis import clients, former

    keys = []
    for _ in range(2):
        session = new(engine)
        session["color"] = "red"
        session.save()
        keys.append(session.session_key)
    new("sessions_redis.engine", keys.pop()).get("color")  # connects
    trips: list[Any] = []
    ordinary = clients._answers
    clients._answers = lambda commands: trips.append(commands) or ordinary(commands)
    files: list[str] = []
    store: Any = former.of(engine)
    for method in ("load", "delete"):
        vars(store)[method] = counting(getattr(store, method), files)
    costs = []
    with redis.Redis.from_url(theirs) as client:
        for _ in range(2):
            trips.clear()
            files.clear()
            had = client.info("stats")["total_commands_processed"]
            with CaptureQueriesContext(connection) as queries:
                assert new("sessions_redis.engine", keys[0]).get("color") == "red"
            commands = client.info("stats")["total_commands_processed"] - had - 1
            is_file = engine.endswith(".file")
            costs += [len(trips), len(files) if is_file else len(queries) + commands]
    return costs


def counting(function: Callable[..., Any], calls: list[str]) -> Callable[..., Any]:
    def called(*arguments: Any) -> Any:
        calls.append(function.__name__)
        return function(*arguments)

    return called


if __name__ == "__main__":
    main()
