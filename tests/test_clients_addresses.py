"""Where clients connect, by their settings."""

import pytest
from django.core.exceptions import ImproperlyConfigured

from sessions_redis.clients import addresses
from sessions_redis.clients.addresses import LOCAL, Address

HERE = Address(LOCAL, 6379, "", 0)


@pytest.mark.parametrize(
    ("url", "options", "address"),
    [
        ("redis://localhost:6379/0", {}, HERE),
        ("redis://127.0.0.1", {}, HERE),
        ("redis://127.0.0.2/0", {}, HERE),
        ("redis://[::1]:6379", {}, HERE),
        ("redis://0.0.0.0", {}, HERE),
        ("redis://LocalHost./", {}, HERE),
        ("redis://cache.localhost", {}, HERE),
        ("redis://", {}, HERE),
        ("rediss://user:p%40ss@localhost/", {}, HERE),
        (" redis://localhost", {}, HERE),
        ("valkey://localhost/0", {}, HERE),
        ("valkeys://localhost/0", {}, HERE),
        ("redis://localhost/3", {}, Address(LOCAL, 6379, "", 3)),
        ("redis://localhost?db=3", {}, Address(LOCAL, 6379, "", 3)),
        ("redis://localhost", {"db": 3}, Address(LOCAL, 6379, "", 3)),
        ("redis://localhost", {"db": None}, HERE),
        ("redis://localhost/2", {"db": 3}, Address(LOCAL, 6379, "", 2)),
        ("redis://localhost:6380", {"port": 6381}, Address(LOCAL, 6380, "", 0)),
        ("redis://Redis.Example.com", {}, Address("redis.example.com", 6379, "", 0)),
        ("redis://[2001:db8:0::7]", {}, Address("2001:db8::7", 6379, "", 0)),
        ("unix:///run/redis.sock?db=1", {}, Address("", 0, "/run/redis.sock", 1)),
        (
            "unix://user@/run/redis.sock",
            {"host": "elsewhere"},
            Address("", 0, "/run/redis.sock", 0),
        ),
    ],
)
def test_the_address_of_a_url(url, options, address):
    """All spellings of one address are equal, with redis-py's defaults for what is missing."""
    assert addresses.of_url(url, options) == address


@pytest.mark.parametrize(
    ("url", "options"),
    [
        ("memory://", {}),
        ("localhost:6379", {}),
        ("", {}),
        ("redis://localhost:many", {}),
        ("redis://localhost?db=many", {}),
        ("redis://[::1", {}),
        ("redis://localhost", {"db": "many"}),
        ("redis://localhost", {"port": object()}),
        ("redis://", {"host": None}),
        ("unix://", {}),
    ],
)
def test_a_url_that_cannot_be_read(url, options):
    """There is no address, and no error: the client itself says what is wrong."""
    assert addresses.of_url(url, options) is None


@pytest.mark.parametrize(
    ("setting", "is_encrypted", "signs_in"),
    [
        ({"LOCATION": "redis://redis.example.com"}, False, False),
        ({"LOCATION": "rediss://redis.example.com"}, True, False),
        ({"LOCATION": "redis://:secret@redis.example.com"}, False, True),
        ({"LOCATION": "redis://redis.example.com?password=secret"}, False, True),
        ({"LOCATION": "redis://redis.example.com", "OPTIONS": {"password": "x"}}, False, True),
        ({"LOCATION": "redis://redis.example.com", "OPTIONS": {"password": ""}}, False, False),
        ({"LOCATION": "redis://user@redis.example.com"}, False, False),
        ({"LOCATION": "rediss://redis.example.com", "OPTIONS": {"ssl_certfile": "x"}}, True, True),
    ],
)
def test_how_the_engine_reaches_its_server(settings, setting, is_encrypted, signs_in):
    """Whether it uses TLS and has a password, wherever the settings have it."""
    settings.SESSION_REDIS = setting
    (access,) = addresses.of_sessions()
    assert access.address == Address("redis.example.com", 6379, "", 0)
    assert (access.is_encrypted, access.signs_in) == (is_encrypted, signs_in)


def test_the_nodes_of_a_cluster(settings):
    """Those that the URL names, with the options for all."""
    settings.SESSION_REDIS = {"LOCATION": "rediss+cluster://:secret@one,[::1]:7001"}
    found = addresses.of_sessions()
    assert [one.address for one in found] == [
        Address("one", 6379, "", 0),
        Address("localhost", 7001, "", 0),
    ]
    assert all(one.is_encrypted and one.signs_in for one in found)


def test_a_client_that_asks_others_for_the_host():
    """Its host is not known, so it does not count as local."""
    address = addresses.access({"password": "secret"}).address
    assert not address.is_local
    assert addresses.of_url("redis://", {}) != address


def test_options_that_redis_py_refuses(settings):
    """They are an error in the settings."""
    settings.SESSION_REDIS = {"LOCATION": "redis://localhost", "OPTIONS": {"sockettimeout": 1}}
    with pytest.raises(ImproperlyConfigured):
        addresses.of_sessions()


@pytest.mark.parametrize(
    ("host", "is_private"),
    [
        ("10.0.0.5", True),
        ("192.168.1.1", True),
        ("fd00::1", True),
        ("redis", True),
        ("redis.internal", True),
        ("8.8.8.8", False),
        ("redis.example.com", False),
    ],
)
def test_private_networks(host, is_private):
    """By the address, or by a name that the internet does not have."""
    assert Address(host, 6379, "", 0).is_in_private_network is is_private
