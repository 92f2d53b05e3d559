"""The engine with Sentinel: it finds the master, and says why there is none."""

import asyncio
import signal
import socket
from contextlib import closing

import pytest
import redis

from sessions_redis import clients
from sessions_redis.checks import check_settings
from sessions_redis.clients import leases, masters, pools
from sessions_redis.clients.sentinels import NoMasterError
from sessions_redis.engine import SessionStore
from sessions_redis.exceptions import SessionStoreUnavailable
from sessions_redis.storage import commands
from sessions_redis.storage.changes import Changes
from sessions_redis.storage.keyspaces import Keyspace
from tests.certificates import Certificates
from tests.monitored import instrumented
from tests.proxy import Proxy
from tests.replicated import SERVICE, Replicated
from tests.servers import free_port, required, unavailable, wait_until
from tests.test_round_trips import (  # noqa: F401 - tests
    exercise,
    test_async_round_trips,
    test_round_trips,
)

TTL = 60


@pytest.fixture(scope="module")
def replicated(tmp_path_factory):
    """A master, two replicas and three Sentinels. Their roles stay as they are."""
    servers = Replicated(tmp_path_factory.mktemp("replicated"))
    yield servers
    servers.stop()


@pytest.fixture
def keyspace(prefix):
    return Keyspace(prefix)


def create(execute, keyspace, id="a"):
    return execute(commands.create(keyspace, id, TTL, Changes({b"color": b"1"})))


def message_of(execute, keyspace):
    with pytest.raises(SessionStoreUnavailable) as caught:
        create(execute, keyspace)
    assert caught.value.may_have_been_done is False
    assert "s3cret" not in str(caught.value)
    assert ".." not in str(caught.value)
    return str(caught.value)


def one_sentinel(replicated, number=0):
    return f"redis+sentinel://127.0.0.1:{replicated.sentinels[number].port}/{SERVICE}"


# Finding the master


def test_the_master(execute, redis_at, replicated, keyspace):
    """Commands go to the server that the Sentinels name as the master."""
    redis_at(replicated.url)
    assert create(execute, keyspace) is True
    assert execute(commands.load(keyspace, "a"))[b"color"] == b"1"
    with replicated.master.client() as client:
        assert client.hget(f"{keyspace.prefix}:a", "color") == b"1"


@pytest.mark.parametrize("by", ["path", "option"])
def test_the_database(execute, redis_at, replicated, keyspace, by):
    """The number after the service selects a database of the servers."""
    url = replicated.url.removesuffix("/0")
    redis_at(f"{url}/3" if by == "path" else f"{url}?db=3")
    create(execute, keyspace)
    with redis.Redis(port=replicated.master.port, db=3) as client:
        assert client.exists(f"{keyspace.prefix}:a") == 1


def test_ipv6(execute, redis_at, replicated, keyspace):
    """The address of a Sentinel may be IPv6, in brackets."""
    port = replicated.sentinels[0].port
    with closing(socket.socket(socket.AF_INET6)) as client:
        if client.connect_ex(("::1", port)) != 0:  # pragma: no cover
            unavailable("this machine has no IPv6")
    redis_at(f"redis+sentinel://[::1]:{port}/{SERVICE}/0")
    assert create(execute, keyspace) is True


def test_a_sentinel_that_is_down(execute, redis_at, replicated, keyspace):
    """If a Sentinel does not answer, the next one is asked, and it is asked first from then on."""
    hosts = f"127.0.0.1:{free_port()},{replicated.hosts}"
    redis_at(f"redis+sentinel://{hosts}/{SERVICE}/0")
    assert create(execute, keyspace) is True
    assert create(execute, keyspace, "b") is True


def test_a_sentinel_that_says_nothing(execute, redis_at, replicated, silent, keyspace):
    """The timeouts of the servers also limit how long a Sentinel may take."""
    hosts = f"127.0.0.1:{silent},{replicated.hosts}"
    redis_at(f"redis+sentinel://{hosts}/{SERVICE}/0", sentinel_kwargs={"socket_timeout": 0.1})
    assert create(execute, keyspace) is True


@pytest.fixture
def proxy(redis_at, replicated):
    """
    Counts what reaches the master from this process, and not from the Sentinels: it listens at the
    same port of another address, to which redis-py's option force_master_ip leads.
    """
    port = replicated.master.port
    with Proxy(port, at=("127.0.0.2", port)) as proxy:
        redis_at(replicated.url, force_master_ip="127.0.0.2")
        exercise(SessionStore())
        yield proxy


# Why there is no master


def test_no_sentinel_answers(execute, redis_at, keyspace):
    """The error says what each Sentinel did, and what to check."""
    first, second = free_port(), free_port()
    redis_at(f"redis+sentinel://user:s3cret@127.0.0.1:{first},[::1]:{second}/{SERVICE}/0")
    message = message_of(execute, keyspace)
    assert message.startswith(
        f"Redis at redis+sentinel://127.0.0.1:{first},[::1]:{second}/{SERVICE}/0 has no master "
        f"that can be used: 127.0.0.1:{first} does not answer ("
    )
    assert f"; [::1]:{second} does not answer (" in message
    assert "Are they running, and does SESSION_REDIS" in message


def test_no_sentinel_says_anything(execute, redis_at, silent, keyspace):
    """Each Sentinel is asked once, and the time limit is that of the servers."""
    redis_at(f"redis+sentinel://127.0.0.1:{silent}/{SERVICE}", socket_timeout=0.1)
    assert "does not answer (Timeout" in message_of(execute, keyspace)


def test_an_unknown_service(execute, redis_at, replicated, keyspace):
    redis_at(f"redis+sentinel://{replicated.hosts}/other%20{{name}}/0")
    message = message_of(execute, keyspace)
    assert message.count("does not know the service 'other {name}'") == 3
    assert '"sentinel monitor"' in message


def test_a_server_in_place_of_a_sentinel(execute, redis_at, replicated, keyspace):
    redis_at(f"redis+sentinel://127.0.0.1:{replicated.master.port}/{SERVICE}/0")
    message = message_of(execute, keyspace)
    assert "refuses the command SENTINEL MASTERS (" in message
    assert "has to name the Sentinels, which usually listen on port 26379" in message


def test_too_few_sentinels(execute, redis_at, replicated, keyspace):
    """redis-py's option min_other_sentinels works, also behind the ?."""
    redis_at(f"{replicated.url}?min_other_sentinels=2")
    assert create(execute, keyspace) is True
    redis_at(f"{replicated.url}?min_other_sentinels=3")
    assert "sees fewer other Sentinels than min_other_sentinels" in message_of(execute, keyspace)


@pytest.fixture
def guarded(replicated):
    """A client of the last Sentinel, which has users of its own after the test changed them."""
    with replicated.sentinels[2].client() as client:
        yield client
        client.acl_setuser("default", enabled=True, nopass=True, categories=["+@all"])
        client.acl_deluser("site")


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({}, "Authentication required"),
        ({"password": "wrong"}, "invalid username-password pair"),
        ({"username": "site", "password": "wrong"}, "invalid username-password pair"),
    ],
)
def test_a_sentinel_with_a_password(
    execute,
    redis_at,
    replicated,
    guarded,
    keyspace,
    given,
    said,
):
    """The Sentinels have a password of their own, in sentinel_kwargs."""
    guarded.acl_setuser("default", enabled=True, passwords=["+s3cret"])
    location = one_sentinel(replicated, 2)
    redis_at(location, sentinel_kwargs=given)
    message = message_of(execute, keyspace)
    assert f"does not let this site in ({said}" in message
    assert '"sentinel_kwargs"]' in message
    redis_at(location, sentinel_kwargs={"password": "s3cret"})
    assert create(execute, keyspace) is True


# What docs/sentinel.md says that the user of the Sentinels needs.
RIGHTS = ["+sentinel|masters", "+sentinel|get-master-addr-by-name"]


def test_the_least_rights(execute, redis_at, replicated, guarded, keyspace):
    """The user of the Sentinels needs two commands."""
    guarded.execute_command("ACL", "SETUSER", "site", "on", ">s3cret", "-@all", *RIGHTS)
    options = {"sentinel_kwargs": {"username": "site", "password": "s3cret"}}
    redis_at(one_sentinel(replicated, 2), **options)
    assert create(execute, keyspace) is True
    guarded.execute_command("ACL", "SETUSER", "site", f"-{RIGHTS[0][1:]}")
    redis_at(one_sentinel(replicated, 2), **options, client_name="again")
    message = message_of(execute, keyspace)
    assert "does not let this site in (" in message
    assert "docs/sentinel.md names the commands" in message


@pytest.fixture
def alone(tmp_path):
    """A master and one Sentinel, which takes the master for down after 0.1 seconds."""
    servers = Replicated(tmp_path, replicas=0, sentinels=1, down_after=100)
    yield servers
    servers.stop()


def test_the_master_is_down(both, redis_at, alone, keyspace):
    """
    Before the Sentinels notice it, the server does not answer. After that, there is no master. When
    it is back, the site works again.
    """
    redis_at(alone.url)
    master, sentinel = alone.servers[0], alone.sentinels[0]
    sentinel.ask("SET", SERVICE, "down-after-milliseconds", "60000")
    for world, run in both.items():
        assert create(run, keyspace, world) is True
    master.stop()
    for run in both.values():
        message = message_of(run, keyspace)
        assert f"127.0.0.1:{master.port}" in message
        assert "The Sentinels say that this is the master." in message
    sentinel.ask("SET", SERVICE, "down-after-milliseconds", "100")
    wait_until(lambda: sentinel.master()["is_sdown"], "the Sentinel takes the master for down")
    for run in both.values():
        message = message_of(run, keyspace)
        assert f"says that the master, 127.0.0.1:{master.port}, is down." in message
        assert "SENTINEL CKQUORUM" in message
    master.start()
    wait_until(lambda: not sentinel.master()["is_sdown"], "the Sentinel sees that it is back")
    for world, run in both.items():
        assert create(run, keyspace, world) is True


# Users and passwords of the servers


@pytest.fixture
def locked(tmp_path):
    """A master with a password, which its Sentinel knows."""
    servers = Replicated(
        tmp_path, replicas=0, sentinels=1, settings=[f"sentinel auth-pass {SERVICE} s3cret"]
    )
    with servers.servers[0].client() as client:
        client.config_set("requirepass", "s3cret")
    yield servers
    servers.stop()


def test_a_password_of_the_servers(execute, redis_at, locked, keyspace):
    """The password in LOCATION is for the servers and is not sent to the Sentinels."""
    redis_at(locked.url.replace("://", "://:s3cret@"))
    wait_until(lambda: not locked.sentinels[0].master()["is_sdown"], "the Sentinel signs in")
    assert create(execute, keyspace) is True
    redis_at(locked.url.replace("://", "://:wr%40ng@"))
    message = message_of(execute, keyspace)
    assert "does not let this site in: " in message
    assert 'Are user and password in SESSION_REDIS["LOCATION"] right?' in message


# TLS


@pytest.fixture(scope="module")
def encrypted(tmp_path_factory):
    """A master and a Sentinel that accept TLS and ask for a certificate of the client."""
    folder = tmp_path_factory.mktemp("tls")
    certificates, port, sentinel = Certificates(folder), free_port(), free_port()
    arguments = certificates.server_arguments(port)
    lines = [*certificates.server_arguments(sentinel), "--tls-replication", "yes"]
    servers = Replicated(
        folder,
        *arguments,
        replicas=0,
        sentinels=1,
        port=port,
        settings=[
            f"{name.removeprefix('--')} {value}"
            for name, value in zip(lines[::2], lines[1::2], strict=True)
        ],
        binary=required("redis-server"),
    )
    servers.certificates = certificates
    servers.tls_url = f"rediss+sentinel://127.0.0.1:{sentinel}/{SERVICE}/0"
    wait_until(lambda: not servers.sentinels[0].master()["is_sdown"], "the Sentinel is connected")
    yield servers
    servers.stop()


def test_tls(execute, redis_at, encrypted, keyspace):
    """Servers and Sentinels have TLS options of their own."""
    options = encrypted.certificates.client_options()
    redis_at(encrypted.tls_url, **options, sentinel_kwargs={"ssl": True, **options})
    assert create(execute, keyspace) is True
    redis_at(encrypted.url.replace("redis+", "rediss+"), **options)
    assert create(execute, keyspace, "b") is True


def test_tls_for_the_sentinels_is_missing(execute, redis_at, encrypted, keyspace):
    redis_at(encrypted.tls_url, **encrypted.certificates.client_options())
    message = message_of(execute, keyspace)
    assert "does not answer (" in message
    assert '"sentinel_kwargs": {"ssl": True}' in message


def test_an_unknown_authority(execute, redis_at, encrypted, keyspace):
    """The certificate of the master is checked: a Sentinel cannot lead a site to another server."""
    options = encrypted.certificates.client_options()
    redis_at(encrypted.tls_url, sentinel_kwargs={"ssl": True, **options})
    assert "certificate verify failed" in message_of(execute, keyspace).lower()


# Options


@pytest.mark.parametrize(
    ("query", "options", "words"),
    [
        ("", {"sentinel_kwargs": "secret"}, "sentinel_kwargs takes a dictionary"),
        ("?sentinel_kwargs=secret", {}, "sentinel_kwargs takes a dictionary"),
        ("", {"sentinel_kwargs": {"pasword": "secret"}}, "pasword"),
        ("", {"sentinel_kwargs": {"retry": None}}, "retry"),
        ("", {"sentinel_kwargs": {"socket_timeout": "1"}}, "socket_timeout takes seconds"),
        ("", {"socket_timeout": 0}, "socket_timeout takes seconds"),
        ("", {"timeout": -1}, "timeout takes seconds"),
        ("", {"no_such_option": 1}, "no_such_option"),
        ("", {"ssl": True}, "write rediss+sentinel:// in LOCATION"),
        ("?is_master=False", {}, "is_master"),
        ("", {"is_master": False}, "is_master"),
        ("", {"connection_class": redis.Connection}, "connection_class"),
        ("", {"host": "a"}, "host"),
        ("?port=1", {}, "port"),
        ("?min_other_sentinels=many", {}, "many"),
        ("", {"max_connections": -1}, "max_connections"),
    ],
)
def test_options_that_are_refused(redis_at, query, options, words):
    """An option that redis-py or the engine refuses is a mistake in the settings."""
    redis_at(f"redis+sentinel://127.0.0.1:1/{SERVICE}{query}", **options)
    (error,) = [one for one in check_settings() if one.id == "sessions_redis.E003"]
    assert words in error.msg
    assert "secret" not in error.msg


def test_options_that_are_accepted(redis_at):
    redis_at(
        f"rediss+sentinel://:s3cret@a,[::1]:1/{SERVICE}/2?max_connections=7&protocol=3",
        sentinel_kwargs={"username": "a", "password": "b", "ssl": True},
        force_master_ip="127.0.0.1",
        timeout=2,
        socket_keepalive=True,
        socket_type=socket.AF_INET,  # redis-py's class of clients does not have it
    )
    assert check_settings() == []
    pool = pools.build_pool(pools.conf.current(), pools.SYNC, repeats=True)
    assert (pool.timeout, pool.max_connections) == (2, 7)
    assert pool.options_of_sentinels["socket_keepalive"] is True


# When the roles change


@pytest.fixture
def changing(tmp_path):
    """A master, a replica and three Sentinels, whose roles the test may change."""
    servers = Replicated(tmp_path, replicas=1)
    yield servers
    servers.stop()


@pytest.fixture
def both():
    """Runs commands: in the process, and in one event loop."""
    with asyncio.Runner() as runner:
        yield {"s": clients.run, "a": lambda command: runner.run(clients.arun(command))}


@pytest.fixture
def always_asks(monkeypatch):
    """Each command asks the Sentinels again, as the first command of a second does."""
    monkeypatch.setattr(leases, "KEEP_SECONDS", 0.0)
    monkeypatch.setattr(masters, "ASK_AGAIN_SECONDS", 0.0)
    monkeypatch.setattr(masters, "ASK_AGAIN_SHARE", 1e9)


def test_the_former_master_still_accepts_writes(both, redis_at, changing, keyspace, always_asks):
    """
    After a failover on command, the former master accepts writes for seconds, which are lost. The
    engine asks the Sentinels again before that, and needs no further rights for it.
    """
    for sentinel in changing.sentinels:
        with sentinel.client() as client:
            client.execute_command("ACL", "SETUSER", "site", "on", ">s3cret", "-@all", *RIGHTS)
    redis_at(changing.url, sentinel_kwargs={"username": "site", "password": "s3cret"})
    for world, run in both.items():
        assert create(run, keyspace, world) is True
    changing.fail_over()
    for world, run in both.items():
        assert create(run, keyspace, f"{world}-later") is True
    with changing.master.client() as client:
        assert client.exists(*(f"{keyspace.prefix}:{world}-later" for world in both)) == 2


@pytest.fixture
def halted(tmp_path):
    """A failover that has promoted a replica and waits for the other one, which hangs."""
    servers = Replicated(tmp_path, sentinels=0)
    try:
        former, _, hanging = servers.servers
        with hanging.client() as client:
            client.config_set("replica-priority", 0)  # it is not promoted itself
        servers.add_sentinels(1)
        (sentinel,) = servers.sentinels
        sentinel.ask("SET", SERVICE, "failover-timeout", "180000")
        wait_until(lambda: 0 in priorities_at(sentinel), "the Sentinel knows which to promote")
        hanging.process.send_signal(signal.SIGSTOP)
        assert servers.fail_over() is former
        yield servers
    finally:
        servers.stop()


def priorities_at(sentinel):
    with sentinel.client() as client:
        return [one["slave-priority"] for one in client.sentinel_slaves(SERVICE)]


def test_a_failover_that_is_not_over(both, redis_at, halted, keyspace):
    """The promoted replica is used, though the Sentinel still calls the former one the master."""
    (sentinel,) = halted.sentinels
    former, promoted, _ = halted.servers
    redis_at(halted.url)
    for world, run in both.items():
        assert create(run, keyspace, world) is True
    assert sentinel.master()["port"] == former.port
    with promoted.client() as client:
        assert client.exists(*(f"{keyspace.prefix}:{world}" for world in both)) == 2


def test_the_master_is_demoted(both, redis_at, changing, keyspace):
    """
    A refusal to write makes the process ask again, also the Sentinels that have not noticed. Such a
    refusal is no failure: a command that must not be sent twice goes to the new master.
    """
    redis_at(changing.url)
    for world, run in both.items():
        assert create(run, keyspace, world) is True
    former, new = changing.servers
    # Of the Sentinels, only the second knows the new master, and the first was asked.
    changing.sentinels[1].ask("REMOVE", SERVICE)
    changing.sentinels[1].ask("MONITOR", SERVICE, "127.0.0.1", str(new.port), "2")
    with former.client() as client:
        assert client.wait(1, 20_000) == 1  # the replica has the sessions
    with new.client() as client, former.client() as other:
        client.replicaof("NO", "ONE")
        other.replicaof("127.0.0.1", new.port)
        for world, run in both.items():
            assert run(commands.increment(keyspace, world, b"counter", 1)) is not None
            assert client.hget(f"{keyspace.prefix}:{world}", "counter") == b"1"


def test_no_sentinel_answers_any_more(both, redis_at, alone, keyspace, always_asks):
    """While the connections to the master are good, the site works without Sentinels."""
    redis_at(alone.url)
    for world, run in both.items():
        assert create(run, keyspace, world) is True
    alone.sentinels[0].stop()
    for world, run in both.items():
        assert create(run, keyspace, f"{world}-later") is True


def test_slow_answers_are_rare(monkeypatch):
    """If asking the Sentinels takes long, the process asks less often."""
    pool = masters.ServicePool.from_url(f"redis+sentinel://a/{SERVICE}", timeout=None)
    pool._asked(since=masters.monotonic() - 3)
    assert pool._asks_again_at - masters.monotonic() == pytest.approx(30, abs=5)
    pool.disconnect()


def test_an_error_without_sentinels(redis_at):
    """The error of redis-py is the cause."""
    redis_at(f"redis+sentinel://127.0.0.1:{free_port()}/{SERVICE}")
    with pytest.raises(SessionStoreUnavailable) as caught:
        SessionStore().create()
    assert isinstance(caught.value.__cause__, NoMasterError)


def test_spans_name_the_master(replicated, redis_at):
    """A monitoring tool sees the address of the master, which the Sentinels have named."""
    redis_at(one_sentinel(replicated))
    SessionStore().create()
    with instrumented() as spans:
        (span,) = spans.of(SessionStore().create)
    assert span.attributes["net.peer.port"] == replicated.servers[0].port
