"""
Who is still signed in after Redis was away for two seconds, by engine.

gunicorn serves a site, and each user has a browser that keeps cookies. This section starts a Redis
of its own, stops it properly, and starts it again with its data. No session is lost, so if a user
is signed out, the engine did it.
"""

import threading
import time
import urllib.error
import urllib.request
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from http.cookiejar import CookieJar
from pathlib import Path

from benchmarks.bench import Bench, Table
from benchmarks.engines import ENGINES, Engine, require
from benchmarks.sites import started
from sessions_redis.clients import embedded

USERS = 100
SECONDS = 2.0

# Some clients retry until Redis is back, and keep a thread that long. Each user has a thread, so
# that each request reaches the engine during the outage.
THREADS = USERS

# Seconds until a browser gives up.
TIMEOUT = 60.0

SIGNED_IN = "200, signed in"
NOBODY = "200, as nobody"


class OutageError(Exception):
    """
    This was not an outage: a user was not signed in before, Redis was not away, or its data was
    lost.
    """


class Browser:
    """A user's browser, with cookies of its own."""

    def __init__(self, port: int, name: str) -> None:
        self.name = name
        self.root = f"http://127.0.0.1:{port}"
        self.opener = urllib.request.build_opener(
            urllib.request.ProxyHandler({}), urllib.request.HTTPCookieProcessor(CookieJar())
        )

    def sign_in(self) -> None:
        self._get(f"sign-in/{self.name}")

    def ask(self) -> str:
        """What the page says that reads ``request.user``, in one line."""
        try:
            answer = self._get("who")
        except urllib.error.HTTPError as error:
            error.close()
            return str(error.code)
        if answer == "nobody":
            return NOBODY
        return SIGNED_IN if answer == self.name else f"200, as {answer}"

    def _get(self, path: str) -> str:
        with self.opener.open(f"{self.root}/{path}", timeout=TIMEOUT) as response:
            return response.read().decode()


def measure(bench: Bench) -> list[Table]:
    """Raises `OutageError` if it was none, for an engine that keeps sessions in Redis alone."""
    require("gunicorn", "django_redis", "redis_sessions")
    told = {}
    for engine in ENGINES:
        bench.progress(f"outage: {engine.name}, {USERS} users")
        told[engine.slug] = outage(engine, bench.folder / f"outage-{engine.slug}")
    return [
        Table(
            name="outage",
            title=f"{USERS} signed-in users and an outage of Redis of {SECONDS:g} seconds",
            unit="users",
            columns=("signed out for good", "answered as nobody", "answered 5xx", "answered right"),
            rows=tuple((engine.name, *_row(*told[engine.slug])) for engine in ENGINES),
            note="The first column counts answers after the outage. The others count answers "
            "during it. An answer may be right because the client retried until Redis was back.",
            details={slug: {"during": during, "after": after}
                     for slug, (during, after) in told.items()},
        )
    ]  # fmt: skip


def outage(engine: Engine, folder: Path) -> tuple[Counter[str], Counter[str]]:
    """What the users were answered during the outage, and after it."""
    folder.mkdir()
    redis = folder / "redis"
    redis_url = f"unix://{embedded.ensure(redis)}"
    try:
        with started(
            engine, "wsgi", redis_url, folder, f"--threads={THREADS}", SERVED_USERS="1"
        ) as port:
            browsers = [Browser(port, f"user-{number}") for number in range(USERS)]
            on_holiday = Browser(port, "ada")
            for browser in (*browsers, on_holiday):
                browser.sign_in()
            before = Counter(browser.ask() for browser in browsers)
            if before != {SIGNED_IN: USERS}:
                raise OutageError(f"{engine.name}: before the outage, {dict(before)}.")
            during = _while_away(redis, browsers)
            if engine.in_redis_alone and during[SIGNED_IN] == USERS:
                raise OutageError(f"{engine.name}: no request failed while Redis was away.")
            if on_holiday.ask() != SIGNED_IN:
                raise OutageError(f"{engine.name}: Redis came back without its sessions.")
            return during, Counter(browser.ask() for browser in browsers)
    finally:
        embedded.stop(redis)


def _while_away(redis: Path, browsers: list[Browser]) -> Counter[str]:
    """The answers that the browsers get. They ask one after the other while Redis is away."""
    embedded.stop(redis)
    back = threading.Timer(SECONDS, embedded.ensure, [redis])
    back.start()
    with ThreadPoolExecutor(USERS) as pool:
        # All ask in the first half of the outage, so that no request finds Redis back at once.
        asked = []
        for browser in browsers:
            asked.append(pool.submit(browser.ask))
            time.sleep(SECONDS / 2 / USERS)
    back.join()
    return Counter(one.result() for one in asked)


def _row(during: Counter[str], after: Counter[str]) -> tuple[int, ...]:
    failed = sum(number for answer, number in during.items() if answer.startswith("5"))
    return USERS - after[SIGNED_IN], during[NOBODY], failed, during[SIGNED_IN]
