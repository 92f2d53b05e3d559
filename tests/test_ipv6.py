"""Servers at IPv6 addresses."""

import asyncio
import errno
import socket

import pytest

from sessions_redis import conf, locations
from sessions_redis.engine import SessionStore
from sessions_redis.exceptions import SessionStoreUnavailable
from sessions_redis.storage.steps import Command
from tests.certificates import Certificates
from tests.servers import Server, free_port, required

CLIENT_ADDRESS = Command(("CLIENT", "LIST"), lambda reply: bytes(reply).decode())


def has_ipv6():
    """Whether this machine has the address ::1: nothing listens at port 1, or something does."""
    with socket.socket(socket.AF_INET6) as client:
        return client.connect_ex(("::1", 1)) in {0, errno.ECONNREFUSED}


needs_ipv6 = pytest.mark.skipif(not has_ipv6(), reason="this machine has no IPv6")


@pytest.fixture(scope="module")
def own(tmp_path_factory):
    """A server that listens at ::1 as well."""
    server = Server(tmp_path_factory.mktemp("ipv6"), "--bind", "127.0.0.1", "::1")
    yield server
    server.stop()


@needs_ipv6
@pytest.mark.parametrize("host", ["[::1]", "[0:0:0:0:0:0:0:1]"])
def test_a_server_at_an_address(execute, redis_at, own, host):
    """The engine connects to the address in brackets."""
    redis_at(f"redis://{host}:{own.port}/1")
    assert f"laddr=[::1]:{own.port}" in execute(CLIENT_ADDRESS)


@needs_ipv6
def test_a_session(redis_at, own):
    """Sessions are created, loaded and saved there, with user and password in the URL, too."""
    with own.client() as client:
        client.acl_setuser(
            "site", enabled=True, passwords=["+secret"], keys="*", commands=["+@all"]
        )
    for credentials in ("", "site:secret@"):
        redis_at(f"redis://{credentials}[::1]:{own.port}/1")
        session = SessionStore()
        session["color"] = "red"
        session.create()
        again = SessionStore(session.session_key)
        assert again["color"] == "red"
        asyncio.run(again.aset("color", "blue"))
        asyncio.run(again.asave())
        assert SessionStore(session.session_key)["color"] == "blue"
        session.delete()


@needs_ipv6
def test_no_server_at_the_address(execute, redis_at):
    """The error shows the address as it is written in LOCATION, without user and password."""
    port = free_port()
    redis_at(f"redis://site:secret@[::1]:{port}/0")
    with pytest.raises(SessionStoreUnavailable) as caught:
        execute(CLIENT_ADDRESS)
    assert str(caught.value).startswith(f"Redis at redis://[::1]:{port}/0 does not answer: ")
    assert "secret" not in str(caught.value)


@needs_ipv6
def test_tls(execute, redis_at, tmp_path):
    """Over TLS, the certificate must name the address."""
    certificates, port = Certificates(tmp_path), free_port()
    words = certificates.server_arguments(port, clients="no")
    words += ["--bind", "127.0.0.1", "::1"]
    server = Server(tmp_path, *words, binary=required("redis-server"))
    try:
        redis_at(f"rediss://[::1]:{port}/0", **certificates.client_options())
        assert f"laddr=[::1]:{port}" in execute(CLIENT_ADDRESS)
    finally:
        server.stop()


@pytest.mark.parametrize(
    "address",
    ["::1", "::1:6379", "fd00::2:6379", "2001:db8:1:2:3:4:5:6", "2001:db8:1:2:3:4:5:6:6379"],
)
@pytest.mark.parametrize("credentials", ["", "site:secret@"])
def test_an_address_without_brackets(address, credentials):
    """An address without brackets is refused, with a hint how to write it."""
    (problem,) = conf.problems({"LOCATION": f"redis://{credentials}{address}/0"})
    assert problem.id == "sessions_redis.E003"
    assert "has an IPv6 address without brackets: write it as in redis://[::1]" in problem.message
    assert "secret" not in str(problem)


@pytest.mark.parametrize(
    "location",
    [
        "redis://[::1]",
        "redis://[::1]:6379/0",
        "redis://:secret@[2001:db8::7]:6379/0",
        "rediss://[::1]:6379/0",
        "redis://[fe80::1%25eth0]:6379/0",
        "redis://127.0.0.1:6379/0",
        "redis://host:6379/0",
    ],
)
def test_addresses_that_are_accepted(location):
    """An address in brackets is accepted, also with the name of an interface."""
    assert locations.problem(location) is None
