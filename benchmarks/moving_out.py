"""
Counts what users notice when their sessions move out of Redis, to another engine.

``python -m benchmarks.moving_out --users 2000 db cache``. It starts a server of its own. Users sign
in on Redis. Then the settings change, and two processes send the requests of these users, whose
sessions move with them. Each request goes through Django's handler and the middleware.

It is not a section of ``python -m benchmarks``: it compares no engines.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from benchmarks import redis_server

ENGINES = ("db", "cached_db", "cache", "file")
PROCESSES = 2
THREADS = 4
ACCOUNTS = 50


def configure(site: dict[str, Any], engine: str) -> None:
    import django
    from django.conf import settings

    place = {"BACKEND": "django.core.cache.backends.redis.RedisCache", "LOCATION": site["cache"]}
    database = {"ENGINE": "django.db.backends.sqlite3", "NAME": site["database"]}
    settings.configure(
        SECRET_KEY="for the measurement alone",
        ALLOWED_HOSTS=["testserver"],
        ROOT_URLCONF=__name__,
        INSTALLED_APPS=[
            "django.contrib.auth",
            "django.contrib.contenttypes",
            "django.contrib.sessions",
            "sessions_redis",
        ],
        MIDDLEWARE=[
            "sessions_redis.middleware.SessionMiddleware",
            "django.contrib.auth.middleware.AuthenticationMiddleware",
        ],
        DATABASES={"default": {**database, "OPTIONS": {"timeout": 60, "init_command": PRAGMAS}}},
        CACHES={"default": place},
        SESSION_FILE_PATH=site["folder"],
        SESSION_ENGINE=engine,
        SESSION_REDIS={
            "LOCATION": site["redis"],
            "NEXT_ENGINE": f"django.contrib.sessions.backends.{site['next']}",
        },
    )
    django.setup()


PRAGMAS = "PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL"


def look(request: Any) -> Any:
    """Who has signed in, and what this user's session holds."""
    from django.http import JsonResponse

    user = request.user.username
    return JsonResponse({"user": user, "cart": request.session.get("cart", [])})


def add(request: Any) -> Any:
    """Add something to the cart."""
    request.session["cart"] = [*request.session.get("cart", []), request.GET["item"]]
    return look(request)


def _urls() -> list[Any]:
    from django.urls import path

    return [path("look", look), path("add", add)]


def __getattr__(name: str) -> Any:
    if name == "urlpatterns":
        return _urls()
    raise AttributeError(name)


# What the processes do. Each prints its result as JSON.


def sign_in(site: dict[str, Any]) -> list[list[str]]:
    """Sign so many users in on Redis. Returns the session key and the name of each."""
    configure(site, "sessions_redis.engine")
    from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY
    from django.contrib.auth.models import User
    from django.core.management import call_command

    from sessions_redis.engine import SessionStore

    call_command("migrate", verbosity=0)
    accounts = [User.objects.create_user(f"user-{number}") for number in range(ACCOUNTS)]
    signed_in = []
    for number in range(site["users"]):
        user = accounts[number % ACCOUNTS]
        session = SessionStore()
        session.update(
            {
                SESSION_KEY: str(user.pk),
                BACKEND_SESSION_KEY: "django.contrib.auth.backends.ModelBackend",
                HASH_SESSION_KEY: user.get_session_auth_hash(),
                "cart": ["pears"],
            }
        )
        session.create()
        signed_in.append([session.session_key, user.username])
    return signed_in


def send(site: dict[str, Any]) -> dict[str, Any]:
    """Send one request for each of these users. Returns how long it took, and what came back."""
    configure(site, site["engine"])
    from django.db import connection
    from django.test import Client

    visitors = json.loads(Path(site["visitors"]).read_text())[site["part"] :: site["parts"]]

    def visit(mine: list[list[str]], path: str = site["path"]) -> Counter[str]:
        told: Counter[str] = Counter()
        for key, user in mine:
            client = Client(raise_request_exception=False)
            client.cookies["sessionid"] = key
            response = client.get(path)
            told[f"status {response.status_code}"] += 1
            told["cookies changed"] += client.cookies["sessionid"].value != key
            if response.status_code == 200:
                answer = response.json()
                told["signed in"] += answer["user"] == user
                told["complete"] += answer["cart"] == site["cart"]
        connection.close()
        return told

    visit([["unknown0" * 4, ""]], "/look")  # warms up
    wait_for(Path(site["start"]))
    begun = time.perf_counter()
    with ThreadPoolExecutor(THREADS) as pool:
        parts = list(pool.map(visit, [visitors[number::THREADS] for number in range(THREADS)]))
    return {"seconds": time.perf_counter() - begun, **sum(parts, Counter())}


def left(site: dict[str, Any]) -> int:
    """How many sessions Redis still has."""
    configure(site, "sessions_redis.engine")
    from sessions_redis import registry

    return registry.count()


# What the measurement does


def wait_for(path: Path) -> None:
    path.with_name(f"ready-{os.getpid()}").touch()
    while not path.exists():
        time.sleep(0.005)


def run(job: str, *sites: dict[str, Any]) -> list[Any]:
    """Run a job in so many processes at once. They begin together."""
    processes = [
        subprocess.Popen(
            [sys.executable, "-m", "benchmarks.moving_out", "--job", job],
            env={**os.environ, "MOVING_OUT_SITE": json.dumps(site)},
            stdout=subprocess.PIPE,
            text=True,
        )
        for site in sites
    ]
    if "start" in sites[0]:
        start = Path(sites[0]["start"])
        while len(list(start.parent.glob("ready-*"))) < len(sites):
            time.sleep(0.01)
        start.touch()
    results = [json.loads(process.communicate()[0]) for process in processes]
    for path in Path(sites[0]["folder"]).glob("*/[rs]*"):
        path.unlink()
    return results


def requests(site: dict[str, Any], engine: str, path: str, cart: list[str]) -> dict[str, Any]:
    folder = Path(site["folder"], "signals")
    folder.mkdir(exist_ok=True)
    told = run(
        "send",
        *[
            {**site, "engine": engine, "path": path, "cart": cart, "part": part,
             "parts": PROCESSES, "start": str(folder / "start")}
            for part in range(PROCESSES)
        ],
    )  # fmt: skip
    seconds = max(one.pop("seconds") for one in told)
    return {"seconds": seconds, **sum(map(Counter, told), Counter())}


def measure(next_engine: str, users: int) -> None:
    with redis_server.started() as url, tempfile.TemporaryDirectory() as folder:
        site = {
            "next": next_engine, "users": users, "redis": url, "cache": url.replace("/0", "/1"),
            "folder": folder, "database": f"{folder}/site.db",
            "visitors": f"{folder}/visitors.json",
        }  # fmt: skip
        (visitors,) = run("sign_in", site)
        Path(site["visitors"]).write_text(json.dumps(visitors))
        moving, following = (
            "sessions_redis.moving_out",
            f"django.contrib.sessions.backends.{next_engine}",
        )
        carts = [["pears", *("figs", "plums", "kiwis")[:number]] for number in range(4)]
        print(f"== {next_engine}: {users:,} users")
        for what, engine, path, cart in [
            ("on Redis, before", "sessions_redis.engine", "/add?item=figs", carts[1]),
            ("first requests: they move", moving, "/add?item=plums", carts[2]),
            ("second requests", moving, "/add?item=kiwis", carts[3]),
            (f"on {next_engine} alone", following, "/look", carts[3]),
        ]:
            told = requests(site, engine, path, cart)
            show(what, users, told)
        print(f"   left in Redis: {run('left', site)[0]}")


def show(what: str, users: int, told: dict[str, Any]) -> None:
    otherwise = users - told.get("status 200", 0)
    print(
        f"   {what:28} {users / told['seconds']:7,.0f} per second; signed in: "
        f"{told.get('signed in', 0):,} of {users:,}; updates lost: "
        f"{users - told.get('complete', 0)}; answered otherwise: {otherwise}; cookies changed: "
        f"{told.get('cookies changed', 0)}",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("engines", nargs="*", default=ENGINES, help=", ".join(ENGINES))
    parser.add_argument("--users", type=int, default=2_000)
    parser.add_argument("--job", choices=["sign_in", "send", "left"], help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.job:
        site = json.loads(os.environ["MOVING_OUT_SITE"])
        print(json.dumps(globals()[options.job](site)))
        return
    for engine in options.engines or ENGINES:
        measure(engine, options.users)


if __name__ == "__main__":
    main()
