"""A server that does not run Lua scripts: the first error and the check say what is missing."""

import asyncio

import pytest
from django.core.checks import ERROR, run_checks
from redis.exceptions import NoScriptError, ResponseError

from sessions_redis.clients.failures import is_refusal_of_scripts
from sessions_redis.engine import SessionStore
from sessions_redis.exceptions import SessionStoreUnavailable
from tests.servers import Server, free_port
from tests.test_secrets import OPERATIONS

# Ways to forbid scripts: arguments of the server, or words of the user's ACL.
RENAMED = {
    "EVAL": ["--rename-command", "EVAL", ""],
    "EVALSHA": ["--rename-command", "EVALSHA", ""],
    "both": ["--rename-command", "EVAL", "", "--rename-command", "EVALSHA", ""],
    "to another name": ["--rename-command", "EVAL", "E1", "--rename-command", "EVALSHA", "E2"],
}
FORBIDDEN = {
    "EVAL": ["-eval"],
    "EVALSHA": ["-evalsha"],
    "both": ["-eval", "-evalsha"],
    "the category": ["-@scripting"],
}
WAYS = [*[("renamed", way) for way in RENAMED], *[("forbidden", way) for way in FORBIDDEN]]


@pytest.fixture
def start(tmp_path):
    """Starts a server that does not run scripts, and returns its URL for the site."""
    servers = []

    def start(how, way):
        server = Server(tmp_path, *(RENAMED[way] if how == "renamed" else []))
        servers.append(server)
        if how == "renamed":
            return server.url
        with server.client() as client:
            words = ["on", "nopass", "~*", "+@all", *FORBIDDEN[way]]
            client.execute_command("ACL", "SETUSER", "site", *words)
        return server.url.replace("//", "//site:any@")

    yield start
    for server in servers:
        server.stop()


def checked():
    found = run_checks(include_deployment_checks=True)
    return [one for one in found if one.id == "sessions_redis.E013"]


@pytest.mark.parametrize(("how", "way"), WAYS)
def test_a_server_that_does_not_run_scripts(settings, start, how, way):
    """The first write says that scripts are missing, why they are needed and what to do."""
    settings.SESSION_REDIS = {"LOCATION": start(how, way)}
    said = []
    for operation in (OPERATIONS["create"], lambda s: asyncio.run(s.acreate())):
        with pytest.raises(SessionStoreUnavailable) as caught:
            operation(SessionStore())
        assert not caught.value.may_have_been_done
        said.append(str(caught.value))
    assert SessionStore("k" * 32).load() == {}  # reading needs no script
    found = checked()
    assert [one.level for one in found] == [ERROR]
    for text in [*said, found[0].msg]:
        assert "needs the commands EVAL and EVALSHA: only a Lua script can" in text
        assert ("does not run Lua scripts: " in text) == (how == "renamed")
        assert ("use Redis or Valkey" in text) == (how == "renamed")
        assert ('docs/redis.md names under "A restricted user"' in text) == (how == "forbidden")


def test_servers_that_run_scripts(settings, server):
    """The check finds nothing if the server runs scripts."""
    settings.SESSION_REDIS = {"LOCATION": server.url}
    assert checked() == []


@pytest.mark.parametrize("in_use", [True, False])
@pytest.mark.parametrize(
    "setting",
    [
        {"LOCATION": f"redis://127.0.0.1:{free_port()}/0"},
        {"LOCATION": "memory://scripts"},
        {"LOCATION": "redis://127.0.0.1:6379/0", "OPTIONS": {"sockettimeout": 1}},
        {"LOCATION": "nonsense"},
    ],
)
def test_no_server_that_could_answer(settings, setting, in_use):
    """
    The check finds nothing if the server cannot be asked, is for tests, or serves another engine.
    """
    settings.SESSION_REDIS = setting
    if not in_use:
        settings.SESSION_ENGINE = "django.contrib.sessions.backends.db"
    assert checked() == []


@pytest.mark.parametrize(
    ("error", "is_refusal"),
    [
        (ResponseError("unknown command `EVALSHA`, with args beginning with: `a`"), True),
        (ResponseError("unknown command 'eval'"), True),
        (NoScriptError("No matching script. Please use EVAL."), False),
        (ResponseError("user_script:1: ... script: f_evaluate"), False),
        (ConnectionError("EVAL"), False),
        (None, False),
    ],
)
def test_which_errors_refuse_scripts(error, is_refusal):
    """Only the server's refusal of EVAL or EVALSHA counts."""
    assert is_refusal_of_scripts(error) is is_refusal
