"""The guide's steps over HTTP, with ``manage.py runserver`` in a copy of the project."""

import http.client
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from html import unescape
from http.cookies import SimpleCookie
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlencode

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

import sessions_redis
from sessions_redis.storage.commands import session_id
from tests.servers import DEADLINE, free_port, wait_until
from tests.site import ROOT, VARIABLES

LINE = "There is no active session."


class Project:
    """
    A copy of the project with its own database and embedded server, whose files tests may change.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        shutil.copy(ROOT / "manage.py", folder)
        for app in ("config", "userapi"):
            shutil.copytree(ROOT / app, folder / app, ignore=shutil.ignore_patterns("__pycache__"))
        self.manage("migrate", "--verbosity", "0")
        self.password = self.manage("demoadmin").split()[-1]

    def manage(self, *arguments: str) -> str:
        return subprocess.run(
            self.command(*arguments),
            env=self.environment(),
            capture_output=True,
            text=True,
            check=True,
        ).stdout

    def command(self, *arguments: str) -> list[str]:
        return [sys.executable, str(self.folder / "manage.py"), *arguments]

    def environment(self, **variables: str) -> dict[str, str]:
        kept = {
            name: value
            for name, value in os.environ.items()
            # Coverage would look for the copy's files after they are removed.
            if name not in {*VARIABLES, "DJANGO_SETTINGS_MODULE"} and "COVERAGE" not in name
        }
        package = Path(sessions_redis.__file__).parent.parent
        return kept | {"PYTHONPATH": str(package), "PYTHONUNBUFFERED": "1"} | variables


class Answer(NamedTuple):
    status: int
    headers: http.client.HTTPMessage
    text: str

    @property
    def json(self):
        return json.loads(self.text)

    @property
    def cookies(self) -> SimpleCookie:
        return SimpleCookie("\r\n".join(self.headers.get_all("Set-Cookie", [])))


class Site:
    """A running ``runserver``. ``output`` is its output."""

    def __init__(self, project: Project, *options: str, **environment: str) -> None:
        self.port = free_port()
        self.log = project.folder / f"{self.port}.log"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                project.command("runserver", f"127.0.0.1:{self.port}", *options),
                env=project.environment(**environment),
                stdout=log,
                stderr=subprocess.STDOUT,
                process_group=0,
            )

    @property
    def output(self) -> str:
        return self.log.read_text()

    def answers(self) -> bool:
        assert self.process.poll() is None, self.output
        try:
            return self.ask("HEAD", "/favicon.ico").status == 200
        except OSError:
            return False

    def ask(self, method: str, path: str, body: str | None = None, **headers: str) -> Answer:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=DEADLINE)
        try:
            connection.request(method, path, body, headers)
            response = connection.getresponse()
            return Answer(response.status, response.headers, response.read().decode())
        finally:
            connection.close()

    def stop(self) -> None:
        """End the whole process group: the reloader and its child."""
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGTERM)
        self.process.wait(DEADLINE)


@contextmanager
def running(project: Project, *options: str, **environment: str) -> Iterator[Site]:
    site = Site(project, *options, **environment)
    try:
        wait_until(site.answers, "runserver answers")
        yield site
    finally:
        site.stop()


class Visitor:
    """A client that keeps cookies."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self.cookies: dict[str, str] = {}

    def get(self, path: str) -> Answer:
        return self._ask("GET", path)

    def post(self, path: str, **fields: str) -> Answer:
        token = self.cookies["csrftoken"]
        return self._ask("POST", path, urlencode({"csrfmiddlewaretoken": token, **fields}))

    def _ask(self, method: str, path: str, body: str | None = None) -> Answer:
        cookie = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        headers = {"Content-Type": "application/x-www-form-urlencoded", "Cookie": cookie}
        answer = self.site.ask(method, path, body, **headers)
        for name, morsel in answer.cookies.items():
            if morsel["max-age"] == "0":
                self.cookies.pop(name, None)
            else:
                self.cookies[name] = morsel.value
        return answer


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    return Project(tmp_path_factory.mktemp("project"))


@pytest.fixture(scope="module")
def site(project, server):
    """A site without the reloader, on the suite's server."""
    with running(project, "--noreload", REDIS_URL=server.url) as site:
        yield site


@pytest.fixture
def visitor(site, raw):
    visitor = Visitor(site)
    yield visitor
    # The site keeps its sessions under the default prefix, not under the test's.
    for key in raw.scan_iter("session:*"):
        raw.delete(key)


def shown_hash(page: str) -> dict[str, str]:
    """The fields and values in the table of the landing page."""
    cells = re.findall(r"<bdi>(.*?)</bdi>", page)
    return {unescape(name): unescape(value) for name, value in zip(*[iter(cells)] * 2, strict=True)}


def test_the_guide(visitor, raw):
    """The first visit starts a session and says so. Later visits find it, with any user name."""
    site = visitor.site
    said = site.output.count(LINE)
    first = visitor.get("/api/user/noah")
    cookie = first.cookies["session-id"]
    assert first.status == 200
    assert list(first.json.items()) == [("userName", "noah"), ("sessionId", cookie.value)]
    assert first.headers["Cache-Control"] == "no-store"
    assert (cookie["max-age"], cookie["path"], cookie["samesite"]) == ("900", "/", "Lax")
    assert (cookie["httponly"], cookie["secure"]) == (True, "")
    assert site.output.count(LINE) == said + 1

    again = visitor.get("/api/user/noah")
    assert again.json == first.json
    assert not again.cookies
    assert site.output.count(LINE) == said + 1

    other = visitor.get("/api/user/ada")
    assert other.json == {"userName": "ada", "sessionId": cookie.value}
    assert site.output.count(LINE) == said + 2

    redis_key = f"session:{session_id(cookie.value)}"
    stored = {name.decode(): value.decode() for name, value in raw.hgetall(redis_key).items()}
    assert {name for name in stored if not name.startswith("@")} == {
        "scope:noah:sessionStatus",
        "scope:ada:sessionStatus",
    }
    assert stored["scope:noah:sessionStatus"] == '"ACTIVE"'

    page = visitor.get("/").text
    assert shown_hash(page) == stored
    assert redis_key in page


def test_a_forged_cookie(visitor):
    """A session key that the site did not create is replaced by a new one."""
    visitor.cookies["session-id"] = "forged" * 6
    fresh = visitor.get("/api/user/noah")
    assert fresh.json["sessionId"] == visitor.cookies["session-id"] != "forged" * 6
    assert visitor.get("/api/user/noah").json == fresh.json


def test_any_name_over_http(visitor):
    """A name is decoded exactly once from its form in the request."""
    assert visitor.get("/api/user/a%2Fb%25%3A%20%F0%9F%A6%8A").json["userName"] == "a/b%: 🦊"
    assert visitor.get("/api/user/a/b").json["userName"] == "a/b"
    assert visitor.get("/api/user/a%0D%0Ab").status == 400
    refused = visitor.site.ask("POST", "/api/user/noah")
    assert (refused.status, list(refused.json)) == (405, ["error"])


def test_signing_in_and_out(visitor, project, raw):
    """Signing in moves the session to a new ID, and signing out ends it. No old cookie opens it."""
    before = visitor.get("/api/user/noah").json["sessionId"]
    visitor.get("/admin/login/")
    answer = visitor.post("/admin/login/?next=/admin/", username="admin", password=project.password)
    signed_in = visitor.cookies["session-id"]
    assert answer.status == 302
    assert signed_in != before
    assert not raw.hexists(f"session:{session_id(before)}", "@created")
    assert visitor.get("/admin/").status == 200
    assert visitor.get("/api/user/noah").json["sessionId"] == signed_in
    page = visitor.get("/").text
    assert shown_hash(page)["@user"] == "1"
    assert shown_hash(page)["_auth_user_hash"].startswith('<mark class="sessions-hidden" ')

    assert visitor.post("/admin/logout/").status == 200
    assert "session-id" not in visitor.cookies
    assert "You have no session yet" in visitor.get("/").text
    visitor.cookies["session-id"] = signed_in
    assert visitor.get("/admin/").status == 302
    assert visitor.get("/api/user/noah").json["sessionId"] not in {before, signed_in}


def test_no_page_requests_a_missing_address(visitor):
    """Visiting every page leaves no 404 in the log."""
    for path in ("/", "/api/user/noah", "/favicon.ico", "/admin/login/"):
        assert visitor.get(path).status == 200
    assert '" 404 ' not in visitor.site.output


def test_production(project, server, raw):
    """Cookies need TLS, and without DEBUG an error reaches the console once."""
    environment = {
        "DEBUG": "0",
        "SECRET_KEY": "for this test alone, and long enough to be let through",
        "ALLOWED_HOSTS": "127.0.0.1",
        "REDIS_URL": server.url,
    }
    with running(project, "--noreload", **environment) as site:
        cookie = site.ask("GET", "/api/user/noah").cookies["session-id"]
        assert (cookie["secure"], cookie["httponly"]) == (True, True)
        assert site.ask("GET", "/nowhere").status == 404
        assert site.output.count(LINE) == 1
        assert site.output.count("Not Found: /nowhere") == 1
    raw.delete(f"session:{session_id(cookie.value)}")


def test_reloading_keeps_sessions(project):
    """
    When a file changes, the site restarts with its embedded server, and every session is still
    there.
    """
    with running(project) as site:
        visitor = Visitor(site)
        first = visitor.get("/api/user/noah").json

        def reloads():
            # This is repeated: if a file changes before the reloader first looks at it, it does not
            # notice.
            (project.folder / "config" / "urls.py").touch()
            time.sleep(0.2)
            return "reloading." in site.output

        wait_until(reloads, "the reloader sees the change")
        wait_until(lambda: "Starting" in site.output.partition("reloading.")[2], "it starts")
        wait_until(site.answers, "the site is back")
        assert visitor.get("/api/user/noah").json == first
        assert site.output.count(LINE) == 1


def test_stopping_and_starting_keeps_sessions(project):
    """The embedded server ends with the site. The next start finds its data."""
    with running(project, "--noreload") as site:
        visitor = Visitor(site)
        first = visitor.get("/api/user/noah").json
        hgetall = command_on(visitor.get("/").text)
        assert hgetall()[b"scope:noah:sessionStatus"] == b'"ACTIVE"'

    def has_ended():
        with suppress(redis.ConnectionError):
            return not hgetall()
        return True

    wait_until(has_ended, "the embedded server ends")
    with running(project, "--noreload") as visitor.site:
        assert visitor.get("/api/user/noah").json == first
        assert LINE not in visitor.site.output


def command_on(page: str) -> Callable[[], Any]:
    """Runs the landing page's ``redis-cli -s <path> <command>``."""
    shown = re.search(r"<pre><code>redis-cli -s (.*?)</code>", page)
    path, *words = shlex.split(unescape(shown[1]))

    def carry_out():
        with redis.Redis(unix_socket_path=path, retry=Retry(NoBackoff(), 0)) as client:
            return client.execute_command(*words)

    return carry_out
