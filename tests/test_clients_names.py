"""The name of the engine in the server's ``CLIENT LIST``, and servers that take no name."""

from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec

import pytest
import redis

from sessions_redis.clients import embedded, names, pools
from sessions_redis.storage.steps import Command
from tests.servers import Server

OWN_NAME = f"redis-py(sessions_redis_v{version('django-sessions-redis')})"
HAS_DRIVER_INFO = find_spec("redis.driver_info") is not None

CLIENT_INFO = Command(("CLIENT", "INFO"), bytes.decode)
ECHO = Command(("ECHO", "word"), bytes.decode)


@pytest.fixture
def knows_names(raw):
    """Whether the server keeps the names of libraries: Redis and Valkey do from 7.2 on."""
    major, minor = raw.info("server")["redis_version"].split(".")[:2]
    return (int(major), int(minor)) >= (7, 2)


def seen(execute):
    """What ``CLIENT INFO`` says of the engine's connection: (name and version of the library)."""
    fields = dict(field.split("=", 1) for field in execute(CLIENT_INFO).split())
    return fields.get("lib-name"), fields.get("lib-ver")


def expected(knows_names, name, of_version=redis.__version__):
    return (name, of_version) if knows_names else (None, None)


def test_the_name_of_this_package(execute, redis_at, server, knows_names):
    """The server's list of clients names this package and its version, beside redis-py's."""
    for location in (server.url, server.url.replace("/0", "/1")):
        redis_at(location, **({"protocol": 2} if location.endswith("1") else {}))
        assert seen(execute) == expected(knows_names, OWN_NAME)


def test_both_kinds_of_connections(execute, redis_at, server, knows_names):
    """Connections for commands that are sent only once have the same name."""
    redis_at(server.url)
    once = Command(("CLIENT", "INFO"), bytes.decode, repeatable=False)
    assert seen(lambda command: execute(once)) == expected(knows_names, OWN_NAME)


def test_the_embedded_server(execute, redis_at, tmp_path):
    """The embedded server sees the name, too."""
    redis_at(f"embedded://{tmp_path}/server")
    try:
        assert seen(execute) == (OWN_NAME, redis.__version__)
    finally:
        pools.current().close()
        embedded.stop(tmp_path / "server")


def test_memory(execute, redis_at):
    """``memory://`` has no list of clients. Sessions work there without it."""
    redis_at("memory://names")
    assert execute(ECHO) == "word"


@pytest.mark.parametrize("by", ["url", "options"])
@pytest.mark.filterwarnings("ignore:.*lib_name:DeprecationWarning")
def test_a_name_of_the_site(execute, redis_at, server, knows_names, by):
    """A name that the site sets takes the place of this package's."""
    if by == "url":
        redis_at(f"{server.url}?lib_name=shop&lib_version=5")
    else:
        redis_at(server.url, lib_name="shop", lib_version="5")
    assert seen(execute) == expected(knows_names, "shop", "5")


@pytest.mark.skipif(not HAS_DRIVER_INFO, reason="this redis-py has no DriverInfo")
@pytest.mark.parametrize("named", [True, False])
def test_driver_info_of_the_site(execute, redis_at, server, knows_names, named):
    """The site's own ``driver_info`` counts. With ``None``, connections have no name."""
    from redis.driver_info import DriverInfo

    redis_at(
        server.url, driver_info=DriverInfo().add_upstream_driver("shop", "5") if named else None
    )
    if named:
        assert seen(execute) == expected(knows_names, "redis-py(shop_v5)")
    else:
        assert seen(execute) == expected(knows_names, "", "")


def test_a_site_that_is_not_installed(monkeypatch):
    """If the package is not installed but only its folder is there, its version is unknown."""

    def not_found(distribution):
        raise PackageNotFoundError(distribution)

    monkeypatch.setattr(names, "version", not_found)
    (option,) = names._own_name.__wrapped__().values()
    shown = option.formatted_name if HAS_DRIVER_INFO else option
    assert shown == "redis-py(sessions_redis_vunknown)"


def test_a_redis_py_without_driver_info(monkeypatch):
    """For an older redis-py, the option is ``lib_name``, with the same text."""
    monkeypatch.setattr(names, "find_spec", lambda module: None)
    assert names._own_name.__wrapped__() == {"lib_name": OWN_NAME}


# Servers that take no name


@pytest.fixture
def own(tmp_path):
    servers = []

    def start(*arguments):
        servers.append(Server(tmp_path, *arguments))
        return servers[-1]

    yield start
    for server in servers:
        server.stop()


def test_a_user_who_may_not_name_clients(execute, redis_at, own):
    """A user without the right to ``CLIENT SETINFO`` works, without a name."""
    server = own()
    with server.client() as client:
        client.acl_setuser(
            "site",
            enabled=True,
            nopass=True,
            commands=["+@all", "-client", "+client|info"],
        )
    redis_at(server.url.replace("//", "//site:any@"))
    name, of_version = seen(execute)
    assert not name
    assert not of_version


def test_a_server_without_client(execute, redis_at, own):
    """A server on which CLIENT was renamed works."""
    server = own("--rename-command", "CLIENT", "")
    redis_at(server.url)
    assert execute(ECHO) == "word"


def test_a_name_costs_no_round_trip(execute, redis_at, own):
    """A connection with the name sends the same commands as redis-py alone does."""
    server = own()

    nameless = {"driver_info": None} if HAS_DRIVER_INFO else {"lib_name": None, "lib_version": None}

    def commands_of(connect):
        with server.client(protocol=2, **nameless) as client:
            client.config_resetstat()
            connect()
            stats = client.info("commandstats")
        return {name: stat["calls"] for name, stat in stats.items() if "config" not in name}

    def by_redis_py():
        with server.client() as client:
            client.echo("word")

    def by_engine():
        redis_at(server.url)
        assert execute(ECHO) == "word"

    assert commands_of(by_engine) == commands_of(by_redis_py)
