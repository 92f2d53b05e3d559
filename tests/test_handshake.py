"""
The commands that redis-py sends when it connects. Some servers refuse them, and each error has a
remedy that works.
"""

import socket
import threading

import pytest
import redis
from django.test.utils import _TestState

from sessions_redis.engine import SessionStore
from sessions_redis.exceptions import SessionStoreUnavailable
from tests.servers import Server
from tests.test_secrets import OPERATIONS, failure_of, report_of

PASSWORD = "open-sesame"
USER_NAME = "ali-baba"
DOES_WITHOUT = '"protocol": 2 in SESSION_REDIS["OPTIONS"]'

# redis-py before 8 uses RESP2 by default.
RESP3 = {"protocol": 3}


class Lacking(Server):
    """A server without some commands. ``protocol``: that of the tests' own client."""

    def __init__(self, folder, *commands):
        lacked = [word for command in commands for word in ("--rename-command", command, "")]
        super().__init__(folder, "--unixsocket", "redis.sock", *lacked)

    def client(self, **options):
        return super().client(protocol=2, **options)


@pytest.fixture
def lacking(tmp_path):
    servers = []

    def start(*commands):
        servers.append(Lacking(tmp_path, *commands))
        return servers[-1]

    yield start
    for server in servers:
        server.stop()


@pytest.fixture(params=["create", "acreate"])
def create(request, settings):
    """Create a session at ``location``, or return the error."""

    def create(location, **options):
        settings.SESSION_REDIS = {"LOCATION": location, "OPTIONS": options}
        error = failure_of(OPERATIONS[request.param], SessionStore())
        if error is None:
            return None
        assert isinstance(error, SessionStoreUnavailable)
        report = report_of(error)
        assert PASSWORD not in report
        assert USER_NAME not in report
        assert not error.may_have_been_done
        return str(error)

    return create


def by_socket(server, credentials=""):
    return f"unix://{credentials}{server.folder}/redis.sock"


def test_without_hello(lacking, create):
    """The error says how to connect without HELLO. With that setting, the engine works."""
    server = lacking("HELLO")
    for location in (server.url, by_socket(server)):
        error = create(location, **RESP3)
        assert "refused the command HELLO" in error
        assert DOES_WITHOUT in error
        assert create(location, protocol=2) is None


def test_without_hello_but_with_a_password(lacking, create):
    """
    If HELLO is refused, the password does not help. The server's error repeats user and password,
    the engine's does not.
    """
    server = lacking("HELLO")
    credentials = f"{USER_NAME}:{PASSWORD}@"
    with_user = server.url.replace("//", f"//{credentials}")
    for location in (with_user, by_socket(server, credentials)):
        assert DOES_WITHOUT in create(location, **RESP3)
    with server.client() as client:
        client.acl_setuser(
            USER_NAME, enabled=True, passwords=[f"+{PASSWORD}"], keys="*", commands=["+@all"]
        )
        client.config_set("requirepass", PASSWORD)
    for location in (with_user, by_socket(server, credentials)):
        error = create(location, **RESP3)
        assert DOES_WITHOUT in error
        assert create(location, protocol=2) is None
    # Credentials in OPTIONS lead to the same message.
    assert DOES_WITHOUT in create(server.url, password=PASSWORD, **RESP3)
    assert create(server.url, password=PASSWORD, protocol=2) is None


def test_the_default_of_redis_py(lacking, create):
    """redis-py 8 sends HELLO by default, and earlier versions do not."""
    error = create(lacking("HELLO").url)
    assert (error is not None) == (redis.VERSION >= (8,))


def test_a_proxy_that_closes_the_connection_on_unknown_commands(create):
    """If a proxy closes the connection on HELLO, as twemproxy does, the error says so."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def hang_up():
            while True:
                connection, _ = listener.accept()
                with connection:
                    if not connection.recv(100):
                        return

        thread = threading.Thread(target=hang_up)
        thread.start()
        try:
            port = listener.getsockname()[1]
            error = create(f"redis://127.0.0.1:{port}/0", **RESP3)
            assert "does not answer: Connection closed" in error
            assert DOES_WITHOUT in error
            assert DOES_WITHOUT not in create(f"redis://127.0.0.1:{port}/0", protocol=2)
        finally:
            with socket.create_connection(listener.getsockname()):
                pass
            thread.join()


@pytest.mark.parametrize("protocol", [2, 3])
def test_another_database(lacking, create, protocol):
    """If the server has only database 0, or no SELECT, the error says so."""
    server = lacking("SELECT")
    for location in (server.url.replace("/0", "/1"), f"{by_socket(server)}?db=1"):
        error = create(location, protocol=protocol)
        assert "refused the database" in error
        assert "end SESSION_REDIS" in error
    assert create(server.url, protocol=protocol) is None


@pytest.mark.parametrize("protocol", [2, 3])
def test_a_client_without_a_name(lacking, create, protocol):
    """
    The engine works without CLIENT. If the site sets a client name, the error says what was
    refused.
    """
    server = lacking("CLIENT")
    assert create(server.url, protocol=protocol) is None
    assert 'Leave "client_name" out' in create(server.url, protocol=protocol, client_name="site")


def test_a_server_without_auth(lacking, create):
    """Without AUTH, the server's error repeats user and password as well. The engine's does not."""
    server = lacking("AUTH")
    location = server.url.replace("//", f"//{USER_NAME}:{PASSWORD}@")
    assert "unknown command 'AUTH'" in create(location, protocol=2)


def test_a_user_who_may_not(lacking, create, monkeypatch):
    """Redis 7 names the user who has no permission for a command. The engine's error does not."""
    server = lacking()
    with server.client() as client:
        client.acl_setuser(
            USER_NAME, enabled=True, passwords=[f"+{PASSWORD}"], keys="*", commands=["+hget"]
        )
    location = server.url.replace("//", f"//{USER_NAME}:{PASSWORD}@")
    error = create(location)
    assert "refused a command: this user has no permissions to run" in error
    assert 'docs/redis.md names under "A restricted user"' in error
    assert 'see also "A restricted Redis user" in docs/testing.md' in error
    # Outside of the test environment, the message mentions only the site's commands and keys.
    monkeypatch.delattr(_TestState, "saved_data")
    in_the_site = create(location)
    assert 'docs/redis.md names under "A restricted user".' in in_the_site
    assert "docs/testing.md" not in in_the_site
