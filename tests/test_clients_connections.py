"""Promise 15: a reply reaches only the request that it answers, even if the network fails."""

import asyncio
import importlib.util
import select
import socket
import ssl
import struct
import threading
import time
from types import SimpleNamespace

import pytest
import trustme
from redis._parsers import _AsyncRESP2Parser, _AsyncRESP3Parser, _RESP2Parser, _RESP3Parser
from redis.backoff import NoBackoff
from redis.retry import Retry

from sessions_redis import clients
from sessions_redis.clients import connections, pools
from sessions_redis.clients.pipelines import PIPELINE_LIMIT
from sessions_redis.engine import SessionStore
from sessions_redis.exceptions import SessionStoreUnavailable
from sessions_redis.storage import commands
from sessions_redis.storage.keyspaces import Keyspace
from sessions_redis.storage.steps import Command
from tests.proxy import Relay
from tests.servers import Server, required

TASKS = 20


def echo(word):
    return Command(("ECHO", word), bytes.decode)


@pytest.fixture
def relay(server):
    with Relay(server.port) as relay:
        yield relay


def uvloop():
    assert importlib.util.find_spec("uvloop") or required("uvloop")
    return importlib.import_module("uvloop")


@pytest.fixture(params=["sync", "asyncio", "uvloop"])
def world(request):
    return request.param


@pytest.fixture
def runner(world):
    """Runs coroutines in one event loop."""
    factory = uvloop().new_event_loop if world == "uvloop" else None
    with asyncio.Runner(loop_factory=factory) as runner:
        yield runner


@pytest.fixture
def execute(world, runner):
    """Runs a command: all commands of a test in the process, or all in one event loop."""
    if world == "sync":
        return clients.run
    return lambda command: runner.run(clients.arun(command))


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    """A certificate authority, with the path of its certificate and a server's ``context``."""
    authority = trustme.CA()
    authority.path = str(tmp_path_factory.mktemp("tls") / "authority.pem")
    authority.cert_pem.write_to_path(authority.path)
    authority.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(authority.context)
    return authority


class Double:
    """Sends the next ``times`` replies twice: in one piece, or the second some time later."""

    def __init__(self, relay, *, later, times=1):
        self.later = later
        self.times = times
        self.done = threading.Event()
        relay.pass_reply = self

    def __call__(self, client, reply):
        self.times -= 1
        if self.times < 0:
            client.sendall(reply)
            return
        client.sendall(reply if self.later else 2 * reply)
        if self.later:
            self.done.wait(0.005)
            client.sendall(reply)
        self.done.set()


PARSERS = {
    "sync": {2: _RESP2Parser, 3: _RESP3Parser},
    "asyncio": {2: _AsyncRESP2Parser, 3: _AsyncRESP3Parser},
}


@pytest.fixture(params=[(name, n) for name in ("hiredis", "python") for n in (2, 3)], ids=str)
def reading(request, world):
    """Options of redis-py: the protocol and the parser."""
    parser, protocol = request.param
    if parser == "hiredis":  # the default of redis-py
        return {"protocol": protocol}
    parsers = PARSERS["sync" if world == "sync" else "asyncio"]
    return {"protocol": protocol, "parser_class": parsers[protocol]}


def named(name):
    session = SessionStore()
    session["name"] = name
    session.save()
    return session.session_key


@pytest.fixture
def loads(prefix, session_redis):
    """
    Commands that load two sessions of different visitors, and the result that each must return.
    """
    keyspace = Keyspace(prefix)
    ids = [commands.session_id(named(name)) for name in ("first", "second")]
    return [commands.load(keyspace, id) for id in ids]


FIRST, SECOND = b'"first"', b'"second"'


@pytest.mark.parametrize("later", [False, True], ids=["at once", "later"])
def test_a_reply_too_many(execute, redis_at, relay, loads, reading, later):
    """
    A reply that comes twice never reaches another request, even if no request is waiting at that
    time.
    """
    redis_at(relay.url, **reading)
    first, second = loads
    assert execute(first)[b"name"] == FIRST
    double = Double(relay, later=later)
    assert execute(first)[b"name"] == FIRST
    assert double.done.wait(20)
    assert [execute(second)[b"name"] for _ in range(20)] == [SECOND] * 20
    assert execute(first)[b"name"] == FIRST


# A list, a text, and what only RESP3 has: a mapping, a set, a message, and a text with its format.
COUNTED = b"*$%~>="


@pytest.mark.parametrize("length", [b"-2", b"-7"])
def test_a_length_below_zero(execute, redis_at, relay, loads, reading, length):
    """It is garbage, and never read as an empty list, which says that there is no session."""
    redis_at(relay.url, retry=Retry(NoBackoff(), 0), **reading)
    first, second = loads
    passed = relay.pass_reply
    for kind in COUNTED:
        assert execute(first)[b"name"] == FIRST
        relay.pass_reply = Instead(b"%c%b\r\n" % (kind, length))
        with pytest.raises(SessionStoreUnavailable, match="not a reply to the command"):
            execute(first)
        relay.pass_reply = passed
        assert execute(second)[b"name"] == SECOND


class Instead:
    """Sends something else in place of each reply."""

    def __init__(self, garbage):
        self.garbage = garbage

    def __call__(self, client, reply):
        client.sendall(self.garbage)


def test_a_reply_too_many_over_tls(execute, redis_at, server, loads, authority):
    """Unread data is noticed even if TLS has already decrypted it."""
    first, second = loads
    with Relay(server.port, authority.context) as relay:
        redis_at(relay.url.replace("redis:", "rediss:"), ssl_ca_certs=authority.path)
        for later in (False, True):
            assert execute(first)[b"name"] == FIRST
            double = Double(relay, later=later)
            assert execute(first)[b"name"] == FIRST
            assert double.done.wait(20)
            assert [execute(second)[b"name"] for _ in range(9)] == [SECOND] * 9


def test_every_reply_too_many(execute, redis_at, relay, loads):
    """If every reply comes twice, no session is read at all."""
    redis_at(relay.url)
    Double(relay, later=False, times=1_000_000)
    for load in loads:
        with pytest.raises(SessionStoreUnavailable):
            execute(load)


class DoubleFirst:
    """Of several replies that come together, sends the first one twice."""

    def __init__(self, relay, *, later):
        self.later = later
        self.done = threading.Event()
        relay.pass_reply = self

    def __call__(self, client, replies):
        # The additional reply comes in between, so the last reply is left over.
        first = replies[: len(b"$8\r\nword-000\r\n")]
        if len(replies) == len(first) or self.done.is_set():
            client.sendall(replies)
            return
        client.sendall(replies if self.later else first + replies)
        if self.later:
            self.done.wait(0.005)
            client.sendall(first)
        self.done.set()


@pytest.mark.parametrize("later", [False, True], ids=["at once", "later"])
@pytest.mark.parametrize("world", ["asyncio", "uvloop"])
def test_a_reply_too_many_for_several_tasks(runner, redis_at, relay, reading, later):
    """A task that shares an exchange never gets the reply of another task."""
    words = [f"word-{number:03}" for number in range(TASKS)]

    async def together():
        return await asyncio.gather(*(clients.arun(echo(word)) for word in words))

    redis_at(relay.url, **reading)
    assert runner.run(together()) == words
    double = DoubleFirst(relay, later=later)
    assert runner.run(together()) == words
    assert double.done.wait(20)
    for _ in range(5):
        assert runner.run(together()) == words


def test_a_reply_too_many_to_a_command_that_is_sent_once(execute, redis_at, relay, prefix):
    """
    An increment whose reply comes twice raises an error and is not sent again. The next command
    gets its own reply.
    """
    session = SessionStore(named("first"))
    increment = commands.increment(
        Keyspace(prefix), commands.session_id(session.session_key), b"n", 1
    )
    redis_at(relay.url)
    assert [execute(increment), execute(increment)] == [1, 2]
    Double(relay, later=False)
    with pytest.raises(SessionStoreUnavailable, match="may have run the command"):
        execute(increment)
    assert [execute(increment), execute(increment)] == [4, 5]


def test_a_connection_that_is_closed_after_the_reply(execute, redis_at, relay):
    """A reply is valid even if the server closes the connection after it."""
    once = Command(("ECHO", "word"), bytes.decode, repeatable=False)
    redis_at(relay.url)
    assert execute(once) == "word"
    sent, closed = len(relay.requests), threading.Event()

    def close_after(client, reply):
        if b"word" in reply:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 0, 0))
            client.sendall(reply)
            client.shutdown(socket.SHUT_WR)
            closed.set()
        else:
            client.sendall(reply)

    relay.pass_reply = close_after
    for _ in range(3):
        assert execute(once) == "word"
        assert closed.wait(20)
        closed.clear()
    assert sum(b"ECHO" in request for request in relay.requests[sent:]) == 3


@pytest.mark.parametrize("when", ["with the reply", "while nobody asks"])
def test_a_notification(execute, redis_at, relay, loads, when):
    """A message that the server sends on its own is never taken for a reply."""
    pushed = b">2\r\n$10\r\ninvalidate\r\n*1\r\n$3\r\nkey\r\n"
    redis_at(relay.url, protocol=3)
    first, second = loads
    assert execute(first)[b"name"] == FIRST
    done = threading.Event()

    def push(client, reply):
        relay.pass_reply = lambda client, reply: client.sendall(reply)
        if when == "with the reply":
            client.sendall(reply + pushed)
        else:
            client.sendall(reply)
            done.wait(0.005)
            client.sendall(pushed)
        done.set()

    relay.pass_reply = push
    assert execute(first)[b"name"] == FIRST
    assert done.wait(20)
    assert execute(second)[b"name"] == SECOND


@pytest.mark.parametrize("later", [False, True], ids=["at once", "later"])
def test_a_system_without_poll(execute, redis_at, relay, loads, later, monkeypatch):
    """Windows has no poll(), and eventlet removes it. Then the connection uses select()."""
    monkeypatch.setattr(connections, "select", SimpleNamespace(select=select.select))
    redis_at(relay.url, protocol=2)
    first, second = loads
    assert execute(first)[b"name"] == FIRST
    double = Double(relay, later=later)
    assert execute(first)[b"name"] == FIRST
    assert double.done.wait(20)
    assert execute(second)[b"name"] == SECOND


# Lost connections


@pytest.mark.parametrize("noticed", [False, True], ids=["not noticed", "noticed"])
def test_connections_that_were_reset(execute, runner, redis_at, relay, noticed):
    """
    A connection that was reset while it was idle is not used, not even for commands that are sent
    once.
    """
    redis_at(relay.url)
    for repeatable in (True, False):
        command = Command(("ECHO", "word"), bytes.decode, repeatable=repeatable)
        for _ in range(5):
            assert execute(command) == "word"
            relay.reset_all()
            if noticed:  # the event loop notices it
                runner.run(asyncio.sleep(0.01))


@pytest.mark.parametrize("noticed", [False, True], ids=["not noticed", "noticed"])
@pytest.mark.parametrize("world", ["asyncio", "uvloop"])
def test_connections_of_many_tasks_that_were_reset(runner, redis_at, relay, noticed):
    """Tasks that would have shared such a connection all succeed."""
    words = [f"word-{number:03}" for number in range(PIPELINE_LIMIT + 1)]

    async def together():
        return await asyncio.gather(*(clients.arun(echo(word)) for word in words))

    redis_at(relay.url)
    for _ in range(5):
        assert runner.run(together()) == words
        relay.reset_all()
        if noticed:
            runner.run(asyncio.sleep(0.01))


def idle_connection(world):
    """The connection of the last command."""
    if world == "sync":
        return pools.current().leases_for([])._idle[-1].connection
    (pipelines,) = pools.current()._of_loop.values()
    return pipelines[True].leases._idle[-1].connection


@pytest.mark.parametrize("world", ["asyncio", "uvloop"])
def test_a_transport_that_closes_amid_an_exchange(execute, runner, world, redis_at, relay):
    """
    asyncio and uvloop then raise errors of their own. They count as a lost connection, and the
    command is sent again.
    """
    redis_at(relay.url)
    assert execute(echo("before")) == "before"
    connection = idle_connection(world)
    send = connection.send_packed_command

    async def send_late(sent):
        connection.send_packed_command = send
        connection._writer.transport.abort()
        await asyncio.sleep(0.01)
        await send(sent)

    connection.send_packed_command = send_late
    assert execute(echo("after")) == "after"


@pytest.mark.parametrize("world", ["sync"])
def test_a_connection_that_another_thread_closes(execute, world, redis_at, relay):
    """The same holds if redis-py finds that its socket no longer exists."""
    redis_at(relay.url)
    assert execute(echo("before")) == "before"
    connection = idle_connection(world)
    read = connection.read_response

    def read_and_close():
        connection.read_response = read
        reply = read()
        connection.disconnect()
        return reply

    connection.read_response = read_and_close
    assert execute(echo("after")) == "after"


def test_a_reset_after_the_reply(execute, world, redis_at, relay):
    """A connection that is no longer usable does not therefore have unread data."""
    redis_at(relay.url)
    assert execute(echo("word")) == "word"
    relay.reset_all()
    assert not idle_connection(world).is_usable()
    assert not idle_connection(world).has_surplus(2)


@pytest.mark.parametrize("world", ["asyncio", "uvloop"])
def test_closing_without_a_task(execute, runner, world, redis_at, relay):
    """Nothing more is sent, even if redis-py closes a connection without waiting."""
    redis_at(relay.url)
    assert execute(echo("word")) == "word"
    connection = idle_connection(world)
    transport = connection._writer.transport
    runner.get_loop().call_soon(connection._close)
    runner.run(asyncio.sleep(0))
    assert transport.is_closing()
    assert execute(echo("word")) == "word"


@pytest.mark.parametrize("world", ["asyncio", "uvloop"])
def test_a_connection_of_the_parent(execute, runner, world, redis_at, relay, monkeypatch):
    """A forked process drops its parent's connection without closing it."""
    monkeypatch.setattr(connections, "_streams_of_parents", kept := [])
    redis_at(relay.url)
    assert execute(echo("before")) == "before"
    connection = idle_connection(world)
    connection._opened_by = -1
    assert connection.has_surplus(1)
    runner.run(connection.disconnect())
    ((_, writer),) = kept
    assert not writer.is_closing()
    assert execute(echo("after")) == "after"
    writer.transport.abort()


def test_a_connection_that_was_silently_dropped(execute, redis_at, relay, prefix, monkeypatch):
    """A command that is sent once goes out over a connection that has just been checked."""
    id = commands.session_id(named("first"))
    increment = commands.increment(Keyspace(prefix), id, b"n", 1)
    redis_at(relay.url, socket_timeout=2.0)
    assert [execute(increment), execute(increment)] == [1, 2]
    assert not any(b"PING" in request for request in relay.requests)
    relay.silence_all()
    pass_idle_seconds(monkeypatch)
    assert execute(increment) == 3
    assert sum(b"EVALSHA" in request for request in relay.requests) == 3


def pass_idle_seconds(monkeypatch):
    """Make every connection idle for longer than it may be without a check."""
    later = connections.IDLE_SECONDS + 0.01
    monkeypatch.setattr(connections, "monotonic", lambda: time.monotonic() + later)


def test_an_idle_connection_that_works(execute, redis_at, relay, monkeypatch):
    """
    An idle connection gets one PING before a command that is sent once, and none before others.
    Then it is kept.
    """
    once = Command(("ECHO", "word"), bytes.decode, repeatable=False)
    redis_at(relay.url)
    assert [execute(once), execute(echo("word"))] == ["word", "word"]
    made = relay.connections
    pass_idle_seconds(monkeypatch)
    before = len(relay.requests)
    assert [execute(once), execute(echo("word"))] == ["word", "word"]
    asked = [request for request in relay.requests[before:] if b"PING" in request]
    assert len(asked) == 1
    assert relay.connections == made


def test_a_repeatable_command_over_a_connection_that_was_silently_dropped(execute, redis_at, relay):
    """A command that may be repeated needs no check: its second attempt uses a new connection."""
    redis_at(relay.url, socket_timeout=2.0)
    assert execute(echo("before")) == "before"
    relay.silence_all()
    assert execute(echo("after")) == "after"
    assert not any(b"PING" in request for request in relay.requests)


def test_a_ping_that_is_answered_with_garbage(execute, redis_at, relay, monkeypatch):
    """If garbage answers the PING, the command is sent over a new connection."""
    once = Command(("ECHO", "word"), bytes.decode, repeatable=False)
    redis_at(relay.url)
    assert execute(once) == "word"
    garbage = [b"HTTP/1.1 400 Bad Request\r\n\r\n"]
    relay.pass_reply = lambda client, reply: client.sendall(garbage.pop() if garbage else reply)
    pass_idle_seconds(monkeypatch)
    assert execute(once) == "word"
    assert garbage == []


@pytest.mark.parametrize("protocol", [2, 3])
def test_a_reset_while_signing_in(execute, redis_at, protocol):
    """
    If the server accepts a connection and resets it, the error says that it cannot be reached.
    """
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def reset():
            while True:
                try:
                    client, _ = listener.accept()
                except OSError:
                    return
                client.recv(4096)
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                client.close()

        resetting = threading.Thread(target=reset, daemon=True)
        resetting.start()
        redis_at(f"redis://127.0.0.1:{listener.getsockname()[1]}/0", protocol=protocol)
        for command in (echo("word"), echo("word")._replace(repeatable=False)):
            with pytest.raises(SessionStoreUnavailable, match="does not answer") as caught:
                execute(command)
            assert caught.value.may_have_been_done is False
        listener.shutdown(socket.SHUT_RDWR)
        resetting.join()


def test_a_user_who_may_not_ping(execute, redis_at, tmp_path, monkeypatch):
    """If the server refuses the PING, the connection still works."""
    own = Server(tmp_path)
    try:
        with own.client() as admin:
            admin.acl_setuser(
                "site", enabled=True, nopass=True, commands=["+@all", "-ping"], keys=["*"]
            )
        once = Command(("CLIENT", "ID"), int, repeatable=False)
        redis_at(own.url.replace("//", "//site:any@"))
        connection = execute(once)
        pass_idle_seconds(monkeypatch)
        assert execute(once) == connection
    finally:
        own.stop()


def test_a_server_that_stopped_between_two_commands(execute, redis_at, relay, monkeypatch):
    """If the server stopped between two commands, the error says that it cannot be reached."""
    once = Command(("ECHO", "word"), bytes.decode, repeatable=False)
    redis_at(relay.url, socket_timeout=1.0, socket_connect_timeout=1.0)
    assert execute(once) == "word"
    relay.silence_all()
    relay.pass_reply = lambda client, reply: None
    pass_idle_seconds(monkeypatch)
    with pytest.raises(SessionStoreUnavailable, match="does not answer"):
        execute(once)
