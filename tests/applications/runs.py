"""One suite under one engine, in a copy of the source and with a Redis server of its own."""

import json
import os
import shutil
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from tests.applications.catalog import Runner, Suite
from tests.applications.results import Result, read
from tests.servers import Server

INSIDE = Path(__file__).parent / "inside"

# What Django's test client, pytest and pip of the calling process would pass on.
NOT_PASSED_ON = ("DJANGO_", "PYTEST_", "PYTHON", "COV_", "REDIS_URL", "VIRTUAL_ENV")

# What the engine sends, in the statistics of the server: to read a session, and all else.
SENT = {"cmdstat_hgetall", "cmdstat_evalsha"}


@dataclass(frozen=True)
class Engine:
    """``middleware``: what replaces Django's session middleware. Empty: nothing does."""

    name: str
    path: str
    middleware: str = ""

    @property
    def is_ours(self) -> bool:
        return self.path.startswith("sessions_redis")


# Of its own, since some suites set the other one up to keep nothing.
CACHE = {"sessions": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}}

OURS = "sessions_redis.engine"

CACHE_ENGINE = Engine("cache", "django.contrib.sessions.backends.cache")
ENGINES = (
    Engine("file", "django.contrib.sessions.backends.file"),
    CACHE_ENGINE,
    Engine("ours", OURS),
    Engine("ours and middleware", OURS, "sessions_redis.middleware.SessionMiddleware"),
)


@dataclass(frozen=True)
class Run:
    """``folder``: an empty one, for everything that the run writes."""

    suite: Suite
    engine: Engine
    python: Path
    source: Path
    folder: Path

    @property
    def outcomes(self) -> Path:
        return self.folder / "outcomes.json"

    @property
    def log(self) -> Path:
        return self.folder / "log.txt"

    def result(self) -> Result:
        """Run the suite. A suite that ends without saying what became of its tests is an error."""
        not_git = shutil.ignore_patterns(".git")
        shutil.copytree(self.source, self.folder / "source", symlinks=True, ignore=not_git)
        server = Server(self.folder)
        try:
            begin = time.monotonic()
            with self.log.open("wb") as log:
                subprocess.run(
                    self._command(),
                    cwd=self.folder / "source",
                    env=self._environment(server.url),
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    check=False,  # tests may fail, under Django's engines as well
                )
            seconds = time.monotonic() - begin
            assert self.outcomes.exists(), f"{self.log}:\n{self.log.read_text()[-4000:]}"
            with server.client() as client:
                calls = client.info("commandstats")
                left = client.dbsize()
        finally:
            server.stop()
        return Result(
            engine=self.engine.name,
            is_ours=self.engine.is_ours,
            outcomes=read(self.outcomes),
            seconds=seconds,
            commands=sum(of["calls"] for name, of in calls.items() if name in SENT),
            left=left,
        )

    def _command(self) -> list[str]:
        asked = [*self.suite.options, *self.suite.tests]
        if self.suite.runner is Runner.PYTEST:
            plugin = ["-p", "recorded_outcomes", "-p", "no:cacheprovider"]
            return [str(self.python), "-m", "pytest", *plugin, *asked]
        runner = ["--testrunner", "recorded_outcomes.Runner", "--noinput"]
        return [str(self.python), "-m", "django", "test", *runner, *asked]

    def _environment(self, url: str) -> dict[str, str]:
        kept = {
            name: value for name, value in os.environ.items() if not name.startswith(NOT_PASSED_ON)
        }
        source = self.folder / "source"
        paths = [str(INSIDE), *(str(source / path) for path in self.suite.paths)]
        module = {"DJANGO_SETTINGS_MODULE": "swapped_settings"} if self.suite.settings else {}
        return {
            **kept,
            **dict(self.suite.environment),
            **module,
            "PYTHONPATH": os.pathsep.join(paths),
            "SITES_RUN": json.dumps(self._given(url)),
        }

    def _given(self, url: str) -> dict[str, object]:
        """What swapped_settings and recorded_outcomes are told."""
        (files := self.folder / "sessions").mkdir()
        settings: dict[str, object] = {
            "SESSION_ENGINE": self.engine.path,
            "SESSION_FILE_PATH": str(files),
        }
        if self.engine is CACHE_ENGINE:
            settings["SESSION_CACHE_ALIAS"] = "sessions"
        if self.engine.is_ours:
            settings["SESSION_REDIS"] = {"LOCATION": url}
        return {
            "module": self.suite.settings,
            "settings": settings,
            "app": "sessions_redis" if self.engine.is_ours else "",
            "middleware": self.engine.middleware,
            "caches": CACHE if self.engine is CACHE_ENGINE else {},
            "outcomes": str(self.outcomes),
        }
