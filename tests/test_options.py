"""``OPTIONS``: what redis-py's options do on the engine's connections, and which are refused."""

import asyncio
import re
import socket

import pytest
from django.core.checks import run_checks
from django.core.exceptions import ImproperlyConfigured
from redis.backoff import ConstantBackoff, NoBackoff
from redis.retry import Retry

from sessions_redis.clients import pools
from sessions_redis.clients.options import REFUSED as REFUSED_BY_ENGINE
from sessions_redis.storage.steps import Command
from tests.documents import rows, section, text_of
from tests.servers import Server
from tests.test_secrets import PASSWORD, USER_NAME, failure_of

WORLDS = ["sync", "async"]


@pytest.fixture(scope="module")
def own(tmp_path_factory):
    """A server with a user of the site."""
    server = Server(tmp_path_factory.mktemp("options"), "--unixsocket", "redis.sock")
    with server.client() as client:
        client.execute_command(
            "ACL", "SETUSER", USER_NAME, "on", f">{PASSWORD}", "~*", "&*", "+@all"
        )
    yield server
    server.stop()


@pytest.fixture(params=WORLDS)
def lent(request, settings, session_redis, own):
    """
    Runs a function with a connection that the engine lends, for each of its two kinds of commands.
    """

    def by_thread(act):
        return [act(pools.current().leases_for(kind).take().connection) for kind in KINDS]

    async def by_task(act):
        found = []
        for kind in KINDS:
            leases = (await pools.current().pipeline_for(kind)).leases
            found.append(act((await leases.take()).connection))
        return found

    def lend(act, location=own.url, **options):
        settings.SESSION_REDIS = {**session_redis, "LOCATION": location, "OPTIONS": options}
        return by_thread(act) if request.param == "sync" else asyncio.run(by_task(act))

    return lend


# The engine keeps connections of their own for commands that must not be sent twice.
KINDS = [[Command(("PING",), bytes)], [Command(("PING",), bytes, repeatable=False)]]


def socket_of(connection):
    writer = getattr(connection, "_writer", None)
    return writer.get_extra_info("socket") if writer else connection._sock


def option_of_socket(level, name):
    return lambda connection: socket_of(connection).getsockopt(level, name)


def attribute(name):
    return lambda connection: getattr(connection, name)


def waits(connection):
    """The time limit of a synchronous connection's socket. Asynchronous ones have their own."""
    timeout = connection.socket_timeout
    assert getattr(connection, "_writer", None) or socket_of(connection).gettimeout() == timeout
    return timeout


IDLE = {socket.TCP_KEEPIDLE: 77}

# Options, and how a connection shows that it has them.
TABLE = {
    "socket_keepalive": (
        {"socket_keepalive": True},
        option_of_socket(socket.SOL_SOCKET, socket.SO_KEEPALIVE),
        1,
    ),
    "socket_keepalive_options": (
        {"socket_keepalive": True, "socket_keepalive_options": IDLE},
        option_of_socket(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE),
        77,
    ),
    "socket_timeout": ({"socket_timeout": 3.5}, waits, 3.5),
    "socket_connect_timeout": (
        {"socket_connect_timeout": 2.5},
        attribute("socket_connect_timeout"),
        2.5,
    ),
    "health_check_interval": (
        {"health_check_interval": 30},
        attribute("health_check_interval"),
        30,
    ),
    "username, password": (
        {"username": USER_NAME, "password": PASSWORD},
        lambda connection: (connection.username, connection.password),
        (USER_NAME, PASSWORD),
    ),
    "client_name": ({"client_name": "shop"}, attribute("client_name"), "shop"),
    "protocol 2": ({"protocol": 2}, lambda connection: str(connection.protocol), "2"),
    "protocol 3": ({"protocol": 3}, lambda connection: str(connection.protocol), "3"),
}


@pytest.mark.parametrize("name", TABLE)
def test_an_option_of_a_connection(lent, name):
    """Each option reaches both kinds of connections, of threads and of event loops."""
    options, look, expected = TABLE[name]
    assert lent(look, **options) == [expected, expected]


IN_URL = {
    "socket_keepalive": "socket_keepalive=yes",
    "socket_timeout": "socket_timeout=3.5",
    "socket_connect_timeout": "socket_connect_timeout=2.5",
    "health_check_interval": "health_check_interval=30",
    "username, password": f"username={USER_NAME}&password={PASSWORD}",
    "client_name": "client_name=shop",
    "protocol 2": "protocol=2",
    "protocol 3": "protocol=3",
}


@pytest.mark.parametrize("name", IN_URL)
def test_an_option_of_the_url(lent, own, name):
    """Options behind the ? of LOCATION do the same."""
    _, look, expected = TABLE[name]
    assert lent(look, location=f"{own.url}?{IN_URL[name]}") == [expected, expected]


@pytest.fixture
def redis_at(settings, session_redis, own):
    def change(location=own.url, **options):
        settings.SESSION_REDIS = {**session_redis, "LOCATION": location, "OPTIONS": options}

    return change


def seen(execute):
    """How the server sees the connection, as a dictionary."""
    line = execute(Command(("CLIENT", "INFO"), bytes.decode))
    return dict(word.split("=", 1) for word in line.split())


@pytest.mark.parametrize("protocol", [2, 3])
def test_what_the_server_sees(execute, redis_at, own, prefix, protocol):
    """User, name, protocol and database of a connection are those that the site sets."""
    for database, location in (
        (0, own.url),
        (3, own.url.replace("/0", "/3")),
        (3, own.url.replace("/0", "?db=3")),
        (5, f"unix://{own.folder}/redis.sock?db=5"),
    ):
        redis_at(
            location,
            username=USER_NAME,
            password=PASSWORD,
            client_name=prefix,
            protocol=protocol,
        )
        found = seen(execute)
        assert (found["db"], found["user"], found["name"]) == (str(database), USER_NAME, prefix)
        assert found.get("resp", str(protocol)) == str(protocol)  # Redis 6.2 does not say


def test_a_database_in_options(execute, redis_at, own):
    """The database can stand in OPTIONS, if LOCATION has none. LOCATION comes first."""
    for location, database in ((own.url.removesuffix("/0"), "4"), (own.url, "0")):
        redis_at(location, db=4)
        assert seen(execute)["db"] == database


@pytest.mark.parametrize("by", ["options", "url"])
def test_limits_of_the_pool(settings, session_redis, own, by):
    """``max_connections`` and ``timeout`` are those of both pools, in both worlds."""
    options = {"max_connections": 7, "timeout": 4.5}
    location = own.url
    if by == "url":
        options, location = {}, f"{own.url}?max_connections=7&timeout=4.5"
    settings.SESSION_REDIS = {**session_redis, "LOCATION": location, "OPTIONS": options}

    async def pipelines():
        return [(await pools.current().pipeline_for(kind)).leases for kind in KINDS]

    lending = [pools.current().leases_for(kind) for kind in KINDS] + asyncio.run(pipelines())
    assert [(one._connections, one._timeout) for one in lending] == [(7, 4.5)] * 4


def test_a_retry(lent):
    """A retry of the site is used for commands that may be repeated, and for no others."""
    retry = Retry(ConstantBackoff(0.25), 5)
    assert lent(lambda connection: connection.retry._retries, retry=retry) == [5, 0]


@pytest.mark.parametrize(
    "options", [{"retry_on_timeout": True}, {"retry_on_error": [ValueError, OSError]}]
)
def test_more_reasons_to_retry(lent, options):
    """
    More errors can lead to a retry. Commands that are sent only once are still sent only once.
    """
    retries, once = lent(lambda connection: connection.retry._retries, **options)
    assert (retries, once) == (pools.RETRIES, 0)


@pytest.mark.parametrize("name", ["ssl_ca_certs", "ssl_certfile", "ssl_keyfile", "ssl_cert_reqs"])
@pytest.mark.parametrize("world", [pools.SYNC, pools.ASYNC], ids=WORLDS)
def test_options_for_tls(settings, session_redis, world, name):
    """Options for TLS reach the connections. tests/test_tls.py connects with them."""
    value = "none" if name == "ssl_cert_reqs" else "/some/file.pem"
    settings.SESSION_REDIS = {
        **session_redis,
        "LOCATION": "rediss://127.0.0.1:1/0",
        "OPTIONS": {name: value},
    }
    for repeats in (True, False):
        pool = pools.build_pool(pools.conf.current(), world, repeats=repeats)
        assert pool.connection_kwargs[name] == value


# Options that would break promises

REFUSED = {
    "cache": (object(), "would show sessions that have ended"),
    "cache_config": (object(), "would show sessions that have ended"),
    "connection_class": (object, "has connections of its own"),
    "queue_class": (list, "first come, first served"),
    "redis_connect_func": (print, "signs in itself"),
    "single_connection_client": (True, "needs a connection of its own"),
    "decode_responses": (True, "are read as bytes"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_an_option_that_is_refused(execute, redis_at, own, name):
    """An option that would break a promise is refused by the check and at the first request."""
    value, reason = REFUSED[name]
    locations = [(own.url, {name: value})]
    if name != "decode_responses":  # which is refused there with other words
        locations.append((f"{own.url}?{name}=1", {}))
    for location, options in locations:
        redis_at(location, **options)
        (found,) = [one for one in run_checks() if (one.id or "").startswith("sessions_redis.E")]
        error = failure_of(execute, KINDS[0][0])
        assert isinstance(error, ImproperlyConfigured)
        for text in (found.msg, str(error)):
            assert name in text
            assert reason in text


def test_refused_options_are_documented():
    """docs/settings.md lists the options that are refused."""
    table = rows(section(text_of("docs/settings.md"), "## OPTIONS"))
    names = [name for cell, _ in table for name in re.findall("`(.*?)`", cell)]
    assert set(REFUSED) == {"decode_responses", *REFUSED_BY_ENGINE}
    assert set(REFUSED) < set(names)


@pytest.mark.parametrize("name", ["host", "port", "no_such_option", "connection_pool"])
def test_an_option_that_redis_py_does_not_know(redis_at, own, name):
    """Other options are left to redis-py, which refuses those that it does not know."""
    redis_at(f"unix://{own.folder}/redis.sock", **{name: "x"})
    with pytest.raises(ImproperlyConfigured, match=name):
        pools.check()


def test_no_retry(execute, redis_at):
    """A site can turn retries off."""
    redis_at(retry=Retry(NoBackoff(), 0))
    assert execute(Command(("ECHO", "word"), bytes.decode)) == "word"
