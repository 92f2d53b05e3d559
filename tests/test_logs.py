"""Text from outside cannot forge a log line."""

import ast
import asyncio
import re
import socket
import threading
from pathlib import Path

import pytest
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command
from django.http import HttpResponse
from django.test import AsyncClient, Client
from django.urls import re_path

import sessions_redis
from sessions_redis import logs, registry
from sessions_redis.engine import SessionStore
from sessions_redis.exceptions import SessionStoreUnavailable
from sessions_redis.storage.commands import session_id
from tests.servers import free_port

PACKAGE = Path(sessions_redis.__file__).parent
SITE = [PACKAGE, PACKAGE.parent / "userapi", PACKAGE.parent / "config"]

# A line break of each kind, control characters, a change of direction, a lone surrogate, a tag.
HOSTILE = "\n\r\x00\x08\x1b[31m\x7f\x85\u200b\u2028\u2029\u202e\u2066\ud800\U000e0041CRITICAL audit"
ESCAPED = (
    r"\n\r\x00\x08\x1b[31m\x7f\x85\u200b\u2028\u2029\u202e\u2066\ud800\U000e0041CRITICAL audit"
)
PATH = "/p/x%0aCRITICAL%20audit%0d%1b%5b31m%e2%80%ae"


def read(request):
    return HttpResponse(request.session.get("color"))


async def aread(request):
    return HttpResponse(await request.session.aget("color"))


def answer(request):
    try:
        return read(request)
    except SessionStoreUnavailable:
        return HttpResponse(status=503)


urlpatterns = [
    re_path(r"^p/[\s\S]*$", read),
    re_path(r"^a/[\s\S]*$", aread),
    re_path(r"^answer/[\s\S]*$", answer),
]


@pytest.fixture
def site(settings):
    settings.ROOT_URLCONF = __name__
    settings.MIDDLEWARE = ["sessions_redis.middleware.SessionMiddleware"]
    return settings


@pytest.fixture
def away(site, session_redis):
    site.SESSION_REDIS = {**session_redis, "LOCATION": f"redis://127.0.0.1:{free_port()}/0"}


@pytest.fixture
def hostile(site, session_redis):
    """A server that refuses each command, with errors that try to forge log lines."""
    refusal = HOSTILE.replace("\r", "").replace("\n", "").encode("utf-8", "replace")

    def serve():
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=refuse, args=[connection], daemon=True).start()

    def refuse(connection):
        with connection:
            while asked := connection.recv(65536):
                count = len(re.findall(rb"^\*", asked, re.MULTILINE))
                connection.sendall((b"-ERR " + refusal + b"\r\n") * count)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        threading.Thread(target=serve, daemon=True).start()
        options = {"protocol": 2}
        url = f"redis://127.0.0.1:{port}/0"
        site.SESSION_REDIS = {**session_redis, "LOCATION": url, "OPTIONS": options}
        yield
        listener.shutdown(socket.SHUT_RDWR)


def assert_harmless(caplog):
    assert caplog.records
    for record in caplog.records:
        assert record.getMessage().isprintable(), record.getMessage()


def test_characters_that_are_escaped():
    """Characters that cannot be printed are escaped. Escaping twice changes nothing."""
    assert logs.printable(HOSTILE) == ESCAPED
    assert logs.printable(ESCAPED) == ESCAPED
    assert logs.printable("/café/日本 ~\\n") == "/café/日本 ~\\n"


@pytest.mark.parametrize("argument", [HOSTILE, ValueError(HOSTILE)])
def test_every_argument_of_every_line(caplog, argument):
    """
    The logger escapes its arguments itself, so no call can forget it. The record shows the caller's
    line.
    """
    log = logs.named("sessions_redis")
    for write in (log.warning, log.error, log.critical):
        write("%s: %s", argument, 5)
    assert [record.getMessage() for record in caplog.records] == [f"{ESCAPED}: 5"] * 3
    assert {record.pathname for record in caplog.records} == {__file__}


def test_the_package_has_only_one_kind_of_logger():
    """Neither the package nor the site has a logger that writes arguments unescaped."""
    for path in PACKAGE.rglob("*.py"):
        calls = [node for node in ast.walk(ast.parse(path.read_text())) if type(node) is ast.Call]
        loggers = [call for call in calls if ast.unparse(call.func) == "logging.getLogger"]
        assert not loggers or path.name in {"logs.py", "unavailable.py"}, path


def lines_of(folder):
    """The calls that write log lines, and their arguments."""
    for path in folder.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                of, method = ast.unparse(node.func.value), node.func.attr
                if of in {"log", "logger"} and method in {"info", "warning", "error"}:
                    yield of, ast.unparse(node.args[0]), node.args[1:]


def test_lines_of_the_site():
    """The site's log lines have no arguments from outside, so they need no escaping."""
    lines = [line for folder in SITE[1:] for line in lines_of(folder)]
    assert lines == [("logger", "'There is no active session.'", [])]


def test_a_request_while_redis_is_away(away, caplog):
    """The path and the method are escaped, under WSGI."""
    browser = Client(raise_request_exception=False)
    browser.cookies["sessionid"] = "x" * 32
    assert browser.get(PATH).status_code == 503
    assert browser.get(PATH.replace("/p/", "/answer/")).status_code == 503
    assert browser.generic("GET\nCRITICAL", PATH).status_code == 503
    assert_harmless(caplog)
    assert r"/p/x\nCRITICAL audit\r\x1b[31m\u202e: Redis at" in caplog.text
    assert r"GET\nCRITICAL" in caplog.text


def test_a_request_while_redis_is_away_under_asgi(away, caplog):
    browser = AsyncClient(raise_request_exception=False)
    browser.cookies["sessionid"] = "x" * 32
    path = PATH.replace("/p/", "/a/")
    assert asyncio.run(browser.get(path)).status_code == 503
    assert_harmless(caplog)
    assert r"/a/x\nCRITICAL audit\r\x1b[31m" in caplog.text


def test_errors_of_redis(hostile, caplog):
    """The text of an error is escaped, in every place that shows it."""
    browser = Client(raise_request_exception=False)
    browser.cookies["sessionid"] = "x" * 32
    assert browser.get("/p/").status_code == 503
    with pytest.raises(SessionStoreUnavailable) as raised:
        registry.count()
    assert str(raised.value).isprintable()
    with pytest.raises(CommandError) as refused:
        call_command("sessionstats")
    assert str(refused.value).isprintable()
    assert_harmless(caplog)
    assert r"\x1b[31m" in caplog.text


@pytest.mark.django_db
def test_the_output_of_a_command(capsys):
    """The name of a user is escaped, because a site may take it from elsewhere."""
    User.objects.create(username="ada\nroot: 5 sessions\x1b[8m")
    call_command("endsessions", "ada\nroot: 5 sessions\x1b[8m")
    assert capsys.readouterr().out == "ada\\nroot: 5 sessions\\x1b[8m: 0 sessions ended\n"


@pytest.mark.parametrize("damage", ["field", "type"])
def test_damage(raw, prefix, live, caplog, damage):
    """The name of a damaged field is escaped."""
    key = f"{prefix}:{session_id(live.session_key)}"
    if damage == "field":
        raw.hset(key, HOSTILE.encode("utf-8", "replace"), "no JSON")
        dict(SessionStore(live.session_key).items())
    else:
        raw.delete(key)
        raw.set(key, HOSTILE.encode("utf-8", "replace"), ex=60)
        assert SessionStore(live.session_key).get("color") is None
    assert_harmless(caplog)
