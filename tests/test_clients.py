"""
Clients for each kind of location: one per process, one per event loop, and how they handle
failures.
"""

import asyncio
import gc
import importlib.util
import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import time
import warnings
import weakref
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest
import redis
from django.core.exceptions import ImproperlyConfigured
from django.test import override_settings
from redis.asyncio.retry import Retry as AsyncRetry
from redis.backoff import NoBackoff
from redis.retry import Retry

from sessions_redis import clients, conf, registry
from sessions_redis.clients import embedded, pools
from sessions_redis.clients.exchange import is_refusal_of_replica, packed, packed_by_redis_py
from sessions_redis.engine import SessionStore
from sessions_redis.exceptions import SessionStoreUnavailable
from sessions_redis.storage import commands
from sessions_redis.storage.changes import Changes
from sessions_redis.storage.keyspaces import Keyspace
from sessions_redis.storage.steps import Command
from tests.servers import Server, free_port, is_marker, wait_until

ROOT = Path(__file__).parent.parent
PASSWORD = "s3cret/with:marks@"
ENCODED = "s3cret%2Fwith%3Amarks%40"
TTL = 1000

# Identifies a connection.
CLIENT_ID = Command(("CLIENT", "ID"), int)
ONCE = Command(("CLIENT", "ID"), int, repeatable=False)


def echo(word):
    return Command(("ECHO", word), bytes.decode)


class Lossy:
    """Passes bytes on to a server on this machine, and loses replies when a test wants it."""

    def __init__(self, port, *, hangs):
        # Whether the client then receives nothing at all, not even the end of the connection.
        self.hangs = hangs
        self.target = ("127.0.0.1", port)
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"redis://127.0.0.1:{self.listener.getsockname()[1]}/0"
        self.sockets = [self.listener]
        self.threads = []
        # How many of the next requests that contain this word get no reply, and how many such
        # requests came.
        self.word = b"EVALSHA"
        self.loses = 0
        self.came = 0
        self.rewrite = bytes
        self.start(self.accept)

    def start(self, function, *arguments):
        self.threads.append(threading.Thread(target=function, args=arguments))
        self.threads[-1].start()

    def accept(self):
        with suppress(OSError):
            while True:
                client, _ = self.listener.accept()
                server = socket.create_connection(self.target)
                self.sockets += [client, server]
                self.start(self.relay, client, server)

    def relay(self, client, server):
        loses = False
        with client, server, suppress(OSError):
            while True:
                for source in select.select([client, server], [], [])[0]:
                    received = source.recv(65536)
                    if not received or (source is server and loses and not self.hangs):
                        return
                    if source is server:
                        if not loses:
                            client.sendall(self.rewrite(received))
                        continue
                    if self.word in received:
                        self.came += 1
                        loses = self.loses > 0
                        self.loses -= loses
                    server.sendall(received)

    def stop(self):
        for open_socket in self.sockets:
            with suppress(OSError):
                open_socket.shutdown(socket.SHUT_RDWR)
        for thread in self.threads:
            thread.join()
        self.listener.close()


@pytest.fixture(params=["sync", "async"])
def execute_all(request):
    """Runs several commands in one round trip."""
    if request.param == "sync":
        yield clients.run_all
    else:
        with asyncio.Runner() as runner:
            yield lambda commands: runner.run(clients.arun_all(commands))


@pytest.fixture
def keyspace(prefix):
    return Keyspace(prefix)


@pytest.fixture(params=[False, True], ids=["closed", "hanging"])
def lossy(server, request):
    """
    A proxy. When it loses a reply, the client's connection is closed, or the client receives
    nothing.
    """
    proxy = Lossy(server.port, hangs=request.param)
    # Long enough for a reply on a busy machine, short enough to wait for one that does not come.
    proxy.patience = {"socket_timeout": 1.0 if request.param else 5}
    yield proxy
    proxy.stop()


@pytest.fixture
def proxy(server):
    proxy = Lossy(server.port, hangs=False)
    yield proxy
    proxy.stop()


@pytest.fixture
def own(tmp_path):
    """A server that only these tests use, so they may configure it."""
    server = Server(tmp_path)
    yield server
    server.stop()


@pytest.fixture
def admin(own):
    """A client of that server's default user."""
    with own.client() as client:
        yield client


@pytest.fixture
def silent():
    """The address of a program that accepts connections and never sends anything."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield f"redis://127.0.0.1:{listener.getsockname()[1]}/0"


def connections(raw, name):
    return sum(client["name"] == name for client in raw.client_list())


# One per process


def test_a_process_keeps_its_connection(raw):
    """All commands of one process use one connection."""
    assert len({clients.run(CLIENT_ID) for _ in range(5)}) == 1


def test_threads_with_loops_of_their_own(live):
    """
    Event loops that begin and end in many threads at a time do not disturb each other. Threaded
    WSGI servers run them like that.
    """

    def visits():
        return {asyncio.run(SessionStore(live.session_key).aget("color")) for _ in range(40)}

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        with ThreadPoolExecutor(8) as threads:
            found = [threads.submit(visits) for _ in range(8)]
            assert [one.result() for one in found] == [{"red"}] * 8
    finally:
        sys.setswitchinterval(interval)


def test_a_changed_setting_closes_the_connections(redis_at, server, raw, prefix):
    """When the setting changes, its connections are closed and new ones are opened."""
    redis_at(server.url, client_name=prefix)
    before = {clients.run(CLIENT_ID), clients.run(ONCE)}
    assert connections(raw, prefix) == 2
    redis_at(server.url)
    assert clients.run(CLIENT_ID) not in before
    wait_until(lambda: connections(raw, prefix) == 0, "the connections are closed")


def test_another_setting_changes_nothing(settings):
    """Connections stay open when another setting changes."""
    before = clients.run(CLIENT_ID)
    settings.SESSION_COOKIE_AGE = 60
    assert clients.run(CLIENT_ID) == before


def test_threads(redis_at, server, raw, prefix, monkeypatch):
    """Threads that begin at the same moment share connections, and each gets its own answers."""

    class SlowlyMade(pools.Pools):
        def __init__(self, settings):
            time.sleep(0.05)
            super().__init__(settings)

    monkeypatch.setattr(pools, "Pools", SlowlyMade)
    redis_at(server.url, client_name=prefix)
    begin = threading.Barrier(8)

    def work(number):
        begin.wait()
        return [clients.run(echo(f"{number}-{turn}")) for turn in range(50)]

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(work, range(8)))
    assert answers == [[f"{number}-{turn}" for turn in range(50)] for number in range(8)]
    assert 1 <= connections(raw, prefix) <= 8


# A process without threads that forks.
FORKS = """
import asyncio, json, os, sys

from django.conf import settings

settings.configure(SESSION_REDIS=json.loads(sys.argv[1]))
from sessions_redis import clients
from sessions_redis.storage.steps import Command

CLIENT_ID = Command(("CLIENT", "ID"), int)


def work(name):
    words = [f"{name}-{turn}" for turn in range(200)]
    echoed = [clients.run(Command(("ECHO", word), bytes.decode)) for word in words]
    in_loop = asyncio.run(clients.arun(CLIENT_ID))
    return echoed == words, clients.run(CLIENT_ID), in_loop


before = work("before")
reading, writing = os.pipe()
child = os.fork()
if child == 0:
    try:
        os.write(writing, json.dumps(work("child")).encode())
    finally:
        os._exit(0)
parent = work("parent")
os.waitpid(child, 0)
print(json.dumps([before, parent, json.loads(os.read(reading, 1000))]))
"""


def test_a_fork_gets_connections_of_its_own(session_redis):
    """A process and its fork send commands at the same time, each over a connection of its own."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", FORKS, json.dumps(session_redis)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    before, parent, child = json.loads(done.stdout)
    assert [before[0], parent[0], child[0]] == [True, True, True]
    assert parent[1] == before[1]
    assert child[1] != parent[1]
    assert len({before[2], parent[2], child[2], parent[1], child[1]}) == 5
    assert done.stderr == ""


# One per event loop


def test_a_loop_keeps_its_connection():
    """All commands of one event loop use one connection. Another loop has its own."""

    async def work():
        return {await clients.arun(CLIENT_ID) for _ in range(5)}

    first, second = asyncio.run(work()), asyncio.run(work())
    assert len(first) == len(second) == 1
    assert first != second


def test_loops_leave_nothing_open(redis_at, server, raw, prefix):
    """Each loop closes its connections when it ends, even after many loops."""
    redis_at(server.url, client_name=prefix)

    async def work(*asked):
        return [await clients.arun(command) for command in asked]

    asyncio.run(work(CLIENT_ID))
    gc.collect()
    descriptors = len(os.listdir("/dev/fd"))
    asyncio.run(work(CLIENT_ID, ONCE))
    for _ in range(100):
        asyncio.run(work(CLIENT_ID))
    gc.collect()
    assert len(os.listdir("/dev/fd")) == descriptors
    wait_until(lambda: connections(raw, prefix) == 0, "the connections are closed")


def test_settings_that_change_in_a_loop(redis_at, server, raw, prefix):
    """When a loop that has used several settings ends, it closes the connections of all of them."""
    redis_at(server.url, client_name=prefix)

    async def work():
        first = await clients.arun(CLIENT_ID)
        with override_settings(SESSION_REDIS={**conf_of(server, prefix), "KEY_PREFIX": "other"}):
            second = await clients.arun(CLIENT_ID)
        third = await clients.arun(CLIENT_ID)
        return {first, second, third}

    assert len(asyncio.run(work())) == 3
    wait_until(lambda: connections(raw, prefix) == 0, "the connections are closed")


def conf_of(server, name):
    return {"LOCATION": server.url, "OPTIONS": {"client_name": name}}


def test_loops_at_the_same_time():
    """Loops of several threads each have a connection of their own."""
    begin = threading.Barrier(4)

    async def work(number):
        begin.wait()
        words = [f"{number}-{turn}" for turn in range(50)]
        assert [await clients.arun(echo(word)) for word in words] == words
        return await clients.arun(CLIENT_ID)

    with ThreadPoolExecutor(4) as pool:
        ids = list(pool.map(lambda number: asyncio.run(work(number)), range(4)))
    assert len(set(ids)) == 4


def test_tasks_of_one_loop():
    """Tasks that run at the same time each get the answer to their own command."""
    words = [f"word-{number}" for number in range(50)]

    async def work():
        return await asyncio.gather(*(clients.arun(echo(word)) for word in words))

    assert asyncio.run(work()) == words


def test_a_cancelled_command(prefix):
    """The server's answer to a cancelled command never becomes the answer to another command."""
    waiting = Command(("BLPOP", f"{prefix}:nothing", 5), lambda reply: reply)

    async def work():
        await clients.arun(echo("before"))
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(clients.arun(waiting), 0.05)
        return [await clients.arun(echo(word)) for word in ("first", "second")]

    assert asyncio.run(work()) == ["first", "second"]


class Interrupted(BaseException):
    """Raised by the handler of a signal, as gunicorn does to end a worker that hangs."""


def test_an_interrupted_command(prefix):
    """
    The server's answer to a command that a signal interrupted never becomes the answer to another
    command.
    """
    waiting = Command(("BLPOP", f"{prefix}:nothing", 5), lambda reply: reply)

    def interrupt(*received):
        raise Interrupted

    def wait_in_vain():
        signal.setitimer(signal.ITIMER_REAL, 0.05)
        clients.run(waiting)

    assert clients.run(echo("before")) == "before"
    former = signal.signal(signal.SIGALRM, interrupt)
    try:
        with pytest.raises(Interrupted):
            wait_in_vain()
    finally:
        signal.signal(signal.SIGALRM, former)
    assert [clients.run(echo(word)) for word in ("first", "second")] == ["first", "second"]


def test_cancelled_commands_keep_no_connection(redis_at, server, prefix):
    """After many cancelled commands, the next command still gets a connection."""
    redis_at(server.url, max_connections=2, timeout=5, socket_timeout=1)
    waiting = Command(("BLPOP", f"{prefix}:nothing", 5), lambda reply: reply)

    async def work():
        for _ in range(3):
            tasks = [asyncio.create_task(clients.arun(waiting)) for _ in range(4)]
            await asyncio.sleep(0.05)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        return await asyncio.gather(*(clients.arun(echo(word)) for word in "abcd"))

    assert asyncio.run(work()) == list("abcd")


def test_a_loop_that_was_closed_without_shutdown():
    """
    When another loop begins, the pools forget a loop that was closed without shutting down its
    generators.
    """
    loop = asyncio.new_event_loop()
    assert loop.run_until_complete(clients.arun(CLIENT_ID))
    loop.close()
    ended = weakref.ref(loop)
    del loop
    # Nothing can close the connections of a closed loop. Python warns about that.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        assert asyncio.run(clients.arun(CLIENT_ID))
        gc.collect()
    assert ended() is None


# Steps


def test_performing_steps():
    """Steps receive the answer to each command, and `perform` returns their result."""

    def steps():
        first = yield echo("first")
        second = yield echo(f"{first} and second")
        both = yield [echo("third"), echo("fourth")]
        return [first, second, *both]

    expected = ["first", "first and second", "third", "fourth"]
    assert clients.perform(steps()) == expected
    assert asyncio.run(clients.aperform(steps())) == expected


def test_performing_no_step(redis_at):
    """Steps that yield no command need no server."""
    redis_at(f"redis://127.0.0.1:{free_port()}/0")

    def steps():
        return "nothing asked"
        yield

    assert clients.perform(steps()) == "nothing asked"
    assert asyncio.run(clients.aperform(steps())) == "nothing asked"


def test_all_at_once(execute_all, keyspace, raw):
    """Several commands are answered in their order, each as if it were alone."""
    raw.set(keyspace.session("text"), "text", ex=60)
    answers = execute_all(
        [
            echo("first"),
            commands.load(keyspace, "missing"),
            commands.exists(keyspace, "text"),
            commands.load(keyspace, "text"),
            echo("last"),
        ]
    )
    assert answers[:3] == ["first", None, False]
    assert isinstance(answers[3], commands.WrongType)
    assert answers[4] == "last"


def test_all_of_nothing(execute_all, redis_at):
    """Without commands, nothing is sent."""
    redis_at(f"redis://127.0.0.1:{free_port()}/0")
    assert execute_all([]) == []


def test_all_by_scripts(execute_all, keyspace, raw):
    """Several scripts are answered in their order, even if the server does not know them yet."""
    create = commands.create(keyspace, "a", TTL, Changes({b"n": b"1"}))
    asked = [
        echo("first"),
        create,
        commands.load(keyspace, "a"),
        create,
        commands.inspect(keyspace, "missing"),
        echo("last"),
    ]
    raw.script_flush()
    answers = execute_all(asked)
    assert [answers[n] for n in (0, 1, 3, 4, 5)] == ["first", True, False, None, "last"]
    again = execute_all(asked)
    assert [again[n] for n in (0, 1, 3, 4, 5)] == ["first", False, False, None, "last"]
    assert again[2][b"n"] == b"1"


def test_all_when_the_reply_is_lost(execute_all, redis_at, lossy, keyspace):
    """When a reply is lost, several commands are sent again together."""
    redis_at(lossy.url, **lossy.patience)
    lossy.word, lossy.loses = b"HGETALL", 1
    asked = [echo("first"), commands.load(keyspace, "missing"), echo("last")]
    assert execute_all(asked) == ["first", None, "last"]
    assert lossy.came == 2


def test_all_is_not_repeated_for_one_that_must_not_be(execute_all, redis_at, lossy, keyspace):
    """If one of several commands must not be sent twice, none of them is sent again."""
    redis_at(lossy.url, **lossy.patience)
    lossy.word, lossy.loses = b"HGETALL", 1
    with pytest.raises(SessionStoreUnavailable, match="does not answer"):
        execute_all([commands.load(keyspace, "missing"), ONCE])
    assert lossy.came == 1
    assert execute_all([echo("next"), commands.load(keyspace, "missing")]) == ["next", None]


def test_one_of_all_is_refused(execute_all):
    """If the server refuses one of several commands, the error says so."""
    with pytest.raises(SessionStoreUnavailable, match="refused a command") as caught:
        execute_all([echo("first"), Command(("HGET", "too few words"), bytes)])
    assert isinstance(caught.value.__cause__, redis.ResponseError)


def test_all_without_a_server(execute_all, redis_at):
    """If Redis cannot be reached, the error says so."""
    redis_at(f"redis://127.0.0.1:{free_port()}/0")
    with pytest.raises(SessionStoreUnavailable, match="does not answer") as caught:
        execute_all([echo("first")])
    assert isinstance(caught.value.__cause__, redis.ConnectionError)


# Scripts


def test_a_server_that_forgot_the_scripts(execute, keyspace, raw):
    """A server that does not know a script receives its source, once."""
    create = commands.create(keyspace, "a", TTL, Changes({b"color": b"1"}))
    raw.script_flush()
    assert execute(create) is True
    assert raw.script_exists(create.parts[1]) == [True]
    assert execute(commands.save(keyspace, "a", TTL, Changes({b"color": b"2"}))) is True
    raw.script_flush()
    assert execute(commands.increment(keyspace, "a", b"color", 1)) == 3
    assert execute(commands.load(keyspace, "a"))[b"color"] == b"3"


@pytest.mark.parametrize("protocol", [2, 3])
def test_both_protocols(execute, redis_at, server, keyspace, protocol):
    """Replies are read correctly in both protocols of Redis."""
    redis_at(server.url, protocol=protocol)
    assert execute(commands.create(keyspace, "a", TTL, Changes({b"color": b"1"}))) is True
    assert execute(commands.load(keyspace, "a"))[b"color"] == b"1"
    assert execute(commands.exists(keyspace, "a")) is True
    assert execute(commands.inspect(keyspace, "a")).fields["color"] == "1"
    assert execute(commands.increment(keyspace, "a", b"color", 1)) == 2
    assert execute(commands.delete(keyspace, "a")) == ""


def test_a_script_error_of_redis_6(execute, redis_at, proxy, keyspace, raw):
    """The engine recognizes a key of the wrong type also by the error text of Redis 6.2."""
    raw.set(keyspace.session("a"), "text", ex=60)
    introduction = b"-ERR Error running script (call to f_1): @user_script:5: WRONGTYPE"
    proxy.rewrite = lambda reply: reply.replace(b"-WRONGTYPE", introduction)
    redis_at(proxy.url)
    assert execute(commands.inspect(keyspace, "a")) is None


# Sending again


def test_a_connection_that_the_server_closed(execute, raw):
    """A command succeeds although the server has closed the idle connection."""
    before = execute(CLIENT_ID)
    raw.client_kill_filter(_id=before)
    assert execute(CLIENT_ID) != before


@pytest.mark.parametrize("lost", [1, pools.RETRIES])
def test_a_lost_reply(execute, redis_at, lossy, keyspace, lost):
    """A command that may be repeated is sent again when its reply is lost."""
    redis_at(lossy.url, **lossy.patience)
    assert execute(commands.create(keyspace, "a", TTL, Changes({b"color": b"1"}))) is True
    lossy.word, lossy.came, lossy.loses = b"HGETALL", 0, lost
    assert execute(commands.load(keyspace, "a"))[b"color"] == b"1"
    assert lossy.came == lost + 1


def test_replies_that_stay_lost(execute, redis_at, proxy, keyspace):
    """After a few attempts, the client gives up the command."""
    redis_at(proxy.url)
    proxy.word, proxy.loses = b"HGETALL", 100
    with pytest.raises(SessionStoreUnavailable, match="does not answer") as caught:
        execute(commands.load(keyspace, "a"))
    assert isinstance(caught.value.__cause__, redis.ConnectionError)
    assert proxy.came == pools.RETRIES + 1


EAGER = {"retry": Retry(NoBackoff(), 5), "retry_on_timeout": True}


@pytest.mark.parametrize("options", [{}, EAGER], ids=["default", "eager"])
def test_an_increment_is_never_sent_twice(execute, redis_at, lossy, keyspace, options):
    """
    When the reply to an increment is lost, an error is raised, and the value was added at most
    once.
    """
    redis_at(lossy.url, **lossy.patience, **options)
    increment = commands.increment(keyspace, "a", b"counter", 1)
    assert execute(commands.create(keyspace, "a", TTL, Changes())) is True
    assert execute(increment) == 1
    lossy.came, lossy.loses = 0, 1

    with pytest.raises(SessionStoreUnavailable, match="does not answer"):
        execute(increment)

    assert lossy.came == 1
    assert execute(commands.load(keyspace, "a"))[b"counter"] == b"2"
    assert execute(increment) == 3


@pytest.mark.parametrize("end", ["end", "end_many", "end_all_of"])
def test_a_lost_reply_does_not_look_like_a_missing_session(redis_at, proxy, raw, prefix, end):
    """
    Commands that end sessions are sent once. If the reply is lost, an error is raised, and not "no
    such session".
    """
    session = SessionStore()
    session["_auth_user_id"] = "7"
    session.save()
    id = commands.session_id(session.session_key)
    argument = {"end": id, "end_many": [id], "end_all_of": "7"}[end]
    getattr(registry, end)({"end": "0" * 32, "end_many": ["0" * 32], "end_all_of": "8"}[end])

    redis_at(proxy.url)
    proxy.loses = 1
    with pytest.raises(SessionStoreUnavailable, match="does not answer"):
        getattr(registry, end)(argument)

    assert proxy.came == 1
    assert raw.exists(f"{prefix}:{id}") == 0


@pytest.mark.parametrize("kind", [Retry, AsyncRetry])
def test_the_sites_retry(execute, redis_at, proxy, keyspace, kind):
    """
    The site sets how often a command is sent again, once for synchronous and asynchronous code.
    """
    redis_at(proxy.url, retry=kind(NoBackoff(), 5))
    proxy.word, proxy.loses = b"HGETALL", 5
    assert execute(commands.load(keyspace, "a")) is None
    assert proxy.came == 6


def test_a_site_without_retries(execute, redis_at, proxy, keyspace):
    """A site can turn off retries."""
    redis_at(proxy.url, retry=Retry(NoBackoff(), 0))
    proxy.word, proxy.loses = b"HGETALL", 1
    with pytest.raises(SessionStoreUnavailable):
        execute(commands.load(keyspace, "a"))
    assert proxy.came == 1


# Failures


def told(execute, command=CLIENT_ID):
    with pytest.raises(SessionStoreUnavailable) as caught:
        execute(command)
    message = str(caught.value)
    assert "s3cret" not in message
    assert ".." not in message
    assert isinstance(caught.value.__cause__, redis.RedisError)
    return message, caught.value.__cause__


@pytest.mark.parametrize("scheme", ["redis", "rediss"])
def test_no_server_at_the_address(execute, redis_at, scheme):
    """If no server listens at the address, the error names it and says what to check."""
    address = f"127.0.0.1:{free_port()}/0"
    redis_at(f"{scheme}://user:{ENCODED}@{address}?socket_timeout=1")
    message, cause = told(execute)
    assert message.startswith(f"Redis at {scheme}://{address} does not answer: ")
    assert 'Is it running, and is SESSION_REDIS["LOCATION"] its address?' in message
    assert isinstance(cause, redis.ConnectionError)


def test_a_missing_socket(execute, redis_at, tmp_path):
    """If the unix socket is missing, the error names its path."""
    redis_at(f"unix://user:{ENCODED}@{tmp_path}/redis.sock?db=1")
    message, cause = told(execute)
    assert message.startswith(f"Redis at unix://{tmp_path}/redis.sock does not answer: ")
    assert isinstance(cause, redis.ConnectionError)


def test_a_server_that_hangs(execute, redis_at, silent):
    """A server that does not answer is reported when the time limit is over."""
    redis_at(silent, socket_timeout=0.05)
    message, cause = told(execute)
    assert message.startswith(f"Redis at {silent} does not answer: ")
    assert isinstance(cause, (redis.TimeoutError, redis.ConnectionError))


@pytest.mark.parametrize("garbage", [b"HTTP/1.1 400 Bad Request\r\n\r\n", b"$-7\r\n", b"*x\r\n"])
def test_a_program_that_does_not_speak_redis(execute, redis_at, proxy, garbage):
    """A reply that is not one of Redis is reported. The next command gets its own reply."""
    redis_at(proxy.url, retry=Retry(NoBackoff(), 0))
    assert execute(echo("before")) == "before"
    proxy.rewrite = lambda reply: garbage
    told(execute, echo("lost"))
    proxy.rewrite = bytes
    assert execute(echo("first")) == "first"
    assert execute(echo("second")) == "second"


IN_USE = r"all connections of this process are in use. Raise \"max_connections\""
NO_ANSWER = "does not answer: all 1 connections of this process wait for its replies"


@pytest.fixture
def one_connection(redis_at, server, prefix, raw):
    """
    A command that waits until ``free()`` on the only connection. ``is_taken()`` says whether it has
    it.
    """
    redis_at(server.url, max_connections=1, timeout=0.05, socket_timeout=30, client_name=prefix)
    key = f"{prefix}:nothing"

    class OneConnection:
        waiting = Command(("BLPOP", key, 30), lambda reply: reply[1])

        def is_taken(self):
            flags = [client["flags"] for client in raw.client_list() if client["name"] == prefix]
            return any("b" in flag for flag in flags)

        def free(self):
            raw.rpush(key, "freed")

    return OneConnection()


def answer_others(leases, *, answers):
    """Simulate other connections, over which the server does answer now, or does not."""
    leases.circuit.last_answer = time.monotonic() + (60 if answers else -60)


@pytest.mark.parametrize(("answers", "told"), [(True, IN_USE), (False, NO_ANSWER)])
def test_all_connections_of_the_process_are_in_use(one_connection, answers, told):
    """
    If all connections are busy and none becomes free in time, the error names the remedy.

    It does not advise more connections if the server answers over none of them.
    """
    with ThreadPoolExecutor(1) as pool:
        taken = pool.submit(clients.run, one_connection.waiting)
        wait_until(one_connection.is_taken, "the connection is taken")
        answer_others(pools.current().leases_for([]), answers=answers)
        with pytest.raises(SessionStoreUnavailable, match=told):
            clients.run(echo("in vain"))
        one_connection.free()
        assert taken.result() == b"freed"
    assert clients.run(echo("again")) == "again"


@pytest.mark.parametrize(("answers", "told"), [(True, IN_USE), (False, NO_ANSWER)])
def test_all_connections_of_a_loop_are_in_use(one_connection, answers, told):
    """The same error is raised in an event loop."""

    async def work():
        taken = asyncio.create_task(clients.arun(one_connection.waiting))
        await asyncio.to_thread(wait_until, one_connection.is_taken, "the connection is taken")
        answer_others((await pools.current().pipeline_for([])).leases, answers=answers)
        with pytest.raises(SessionStoreUnavailable, match=told):
            await clients.arun(echo("in vain"))
        one_connection.free()
        assert await taken == b"freed"
        return await clients.arun(echo("again"))

    assert asyncio.run(work()) == "again"


@pytest.mark.parametrize("credentials", ["", "wrong", f":{ENCODED}wrong", f"user:{ENCODED}wrong"])
def test_a_server_that_does_not_know_us(execute, redis_at, own, admin, credentials):
    """If the server does not let the site in, the error says so."""
    admin.config_set("requirepass", PASSWORD)
    redis_at(own.url.replace("//", f"//{credentials}@" if credentials else "//"))
    message, cause = told(execute)
    assert message.startswith(f"Redis at {own.url} does not let this site in: ")
    assert "Are user and password" in message
    assert isinstance(cause, redis.AuthenticationError)


def test_a_server_by_a_socket_that_does_not_know_us(execute, redis_at, tmp_path):
    """The same holds on a unix socket, where redis-py reports it in another way."""
    server = Server(tmp_path, "--unixsocket", "redis.sock")
    try:
        with server.client() as client:
            client.config_set("requirepass", PASSWORD)
        for credentials in ("", f":{ENCODED}wrong@"):
            redis_at(f"unix://{credentials}{tmp_path}/redis.sock")
            message, _ = told(execute)
            assert "does not let this site in: " in message
            assert "wrong@" not in message
    finally:
        server.stop()


def test_a_user_who_may_not(execute, redis_at, own, admin, keyspace):
    """
    If the Redis user has no permission for a command, the error says which permission is missing.
    """
    admin.acl_setuser("site", enabled=True, passwords=[f"+{PASSWORD}"], commands=["+@connection"])
    redis_at(own.url.replace("//", f"//site:{ENCODED}@"))
    message, cause = told(execute, commands.load(keyspace, "a"))
    assert message.startswith(f"Redis at {own.url} refused a command: ")
    assert "hgetall" in message.lower()
    assert isinstance(cause, redis.exceptions.NoPermissionError)


def test_a_missing_database(execute, redis_at, server):
    """If LOCATION names a database beyond the server's last, the error says so."""
    redis_at(f"redis://127.0.0.1:{server.port}/999999")
    message, _ = told(execute)
    assert "/999999 refused the database that LOCATION names: " in message
    assert "out of range" in message


def test_a_replica(execute, redis_at, own, admin, keyspace):
    """A replica can be read from. It refuses to write."""
    redis_at(own.url)
    assert execute(commands.create(keyspace, "a", TTL, Changes({b"color": b"1"}))) is True
    admin.replicaof("127.0.0.1", free_port())
    message, cause = told(execute, commands.save(keyspace, "a", TTL, Changes({b"color": b"2"})))
    assert message.startswith(f"Redis at {own.url} refused a command: ")
    assert "read only replica" in message
    assert isinstance(cause, redis.exceptions.ReadOnlyError)
    assert execute(commands.load(keyspace, "a"))[b"color"] == b"1"


@pytest.mark.parametrize(
    ("error", "is_refusal"),
    [
        (redis.exceptions.ReadOnlyError("You can't write against a read only replica."), True),
        # The error of Redis 6.2 for a command of a script, as redis-py raises it.
        (redis.ResponseError("Error running script (call to f_1): -READONLY You can't"), True),
        (redis.ResponseError("WRONGTYPE Operation against a key"), False),
        (b"READONLY", False),
    ],
)
def test_how_a_replica_refuses(error, is_refusal):
    """The engine recognizes a refusal to write by its class, or by its word after any text."""
    assert is_refusal_of_replica(error) is is_refusal


def test_a_failover(execute, redis_at, own, admin, tmp_path, keyspace):
    """After a failover at one address, writes reach the new master."""
    (tmp_path / "second").mkdir()
    second = Server(tmp_path / "second")
    relay = Lossy(own.port, hangs=False)
    redis_at(relay.url)
    admin.config_set("repl-diskless-sync-delay", 0)  # the default would wait for more replicas
    try:
        assert execute(commands.create(keyspace, "a", TTL, Changes({b"n": b"1"}))) is True
        execute(commands.increment(keyspace, "a", b"n", 1))
        with second.client() as client:
            client.replicaof("127.0.0.1", own.port)
            wait_until(lambda: client.exists(keyspace.session("a")), "the replica has it")
            client.replicaof("NO", "ONE")
        relay.target = ("127.0.0.1", second.port)
        admin.replicaof("127.0.0.1", second.port)

        assert execute(commands.save(keyspace, "a", TTL, Changes({b"color": b"2"}))) is True
        assert execute(commands.increment(keyspace, "a", b"n", 1)) == 3
        assert execute(commands.load(keyspace, "a"))[b"color"] == b"2"
    finally:
        relay.stop()
        second.stop()


@pytest.mark.parametrize("indexed", [True, False])
def test_a_server_without_memory(execute, redis_at, own, admin, indexed):
    """
    When the server's memory is full, a write happens completely or not at all. Sessions can still
    be ended.
    """
    redis_at(own.url)
    keyspace = Keyspace("session", indexed)
    fields = {b"color": b"1", b"size": b"1"}
    for id in "ab":
        assert execute(commands.create(keyspace, id, TTL, Changes(fields, user="7"))) is True
    admin.config_set("maxmemory", 1)

    def all_of(id):
        stored = admin.hgetall(keyspace.session(id))
        return {name: value for name, value in stored.items() if not name.startswith(b"@")}

    changes = Changes({b"color": b"2"}, (b"size",))
    with suppress(SessionStoreUnavailable):
        execute(commands.save(keyspace, "a", TTL, changes))
    assert all_of("a") in (fields, {b"color": b"2"})
    with suppress(SessionStoreUnavailable):
        execute(commands.cycle(keyspace, "a", "c", TTL, Changes()))
    assert [bool(all_of("a")), bool(all_of("c"))].count(True) == 1

    adding = commands.increment(keyspace, "c" if all_of("c") else "a", b"counter", 1)
    for refused in (commands.create(keyspace, "new", TTL, Changes(fields)), adding):
        message, _ = told(execute, refused)
        assert message.startswith(f"Redis at {own.url} refused a command: ")
        assert "maxmemory" in message
    assert all_of("new") == {}
    for id in "abc":
        execute(commands.delete(keyspace, id))
    assert [key for key in admin.scan_iter() if not is_marker(admin, key)] == []


def test_an_invalid_host_name(execute, redis_at):
    """A host name that cannot be looked up at all is a wrong setting."""
    redis_at("redis://redis..example:6379/0")
    with pytest.raises(ImproperlyConfigured, match="has a host that is not a valid name"):
        execute(CLIENT_ID)


# Locations and options


def connection_options(world=pools.SYNC, *, repeats=True):
    return pools.build_pool(conf.current(), world, repeats=repeats).connection_kwargs


@pytest.mark.parametrize("world", [pools.SYNC, pools.ASYNC], ids=["sync", "async"])
def test_timeouts(redis_at, world):
    """
    Commands wait at most 1 second by default. OPTIONS change the time, and options in the URL come
    first.
    """
    redis_at("redis://localhost")
    options = connection_options(world)
    assert {name: options[name] for name in pools.TIMEOUTS} == pools.TIMEOUTS
    assert all(0 < seconds < 10 for seconds in pools.TIMEOUTS.values())

    redis_at("redis://localhost?socket_timeout=7", socket_timeout=5, socket_connect_timeout=6)
    options = connection_options(world)
    assert options["socket_timeout"] == 7
    assert options["socket_connect_timeout"] == 6


@pytest.mark.parametrize(
    ("location", "options"),
    [
        ("redis://localhost", {"sockettimeout": 1}),
        ("redis://localhost?sockettimeout=1", {}),
        ("redis://localhost", {"max_connections": "many"}),
        ("redis://localhost", {"socket_timeout": 0}),
        ("redis://localhost", {"socket_connect_timeout": True}),
        ("redis://localhost", {"timeout": float("inf")}),
        ("redis://localhost", {"timeout": float("nan")}),
        ("redis://localhost", {"timeout": -1}),
        ("redis://localhost", {"timeout": "long"}),
        ("redis://localhost?timeout=-1", {}),
        ("redis://localhost?socket_timeout=0", {}),
        ("rediss://localhost", {"ssl_no_such": 1}),
        ("unix:///run/redis.sock", {"ssl_ca_certs": "x"}),
    ],
)
def test_options_that_redis_py_refuses(execute, redis_at, location, options):
    """Options that redis-py does not accept are a wrong setting, not an outage."""
    redis_at(location, **options)
    with pytest.raises(ImproperlyConfigured, match=f"OPTIONS.*|{'|'.join(options)}"):
        pools.check()
    with pytest.raises(ImproperlyConfigured, match="SESSION_REDIS"):
        execute(CLIENT_ID)


def test_no_time_limit(execute, redis_at, server):
    """A site can wait without a time limit."""
    redis_at(server.url, timeout=None, socket_timeout=None, socket_connect_timeout=None)
    pools.check()
    assert execute(echo("word")) == "word"


def test_decoded_replies_by_the_url(execute, redis_at, server, keyspace):
    """
    A URL that asks for decoded replies is refused. No session seems to be missing because of it.
    """
    execute(commands.create(keyspace, "a", TTL, Changes({b"color": b"1"})))
    redis_at(f"{server.url}?decode_responses=True")
    try:
        assert execute(commands.load(keyspace, "a")) is not None
    except ImproperlyConfigured:
        return


def test_a_password_that_breaks_the_url(execute, redis_at):
    """
    A location that redis-py cannot read is a wrong setting. The error does not show the password.
    """
    redis_at("unix://user:s3cret\N{ACCOUNT OF}@/run/redis.sock")
    with pytest.raises(ImproperlyConfigured) as caught:
        execute(CLIENT_ID)
    assert "s3cret" not in str(caught.value)


def test_the_check_connects_nowhere(redis_at):
    """Checking the settings needs no server."""
    redis_at(f"redis://127.0.0.1:{free_port()}/0")
    pools.check()


def test_user_password_and_database(execute, redis_at, own, admin, keyspace):
    """
    The URL contains user, password and database. The user needs only its own keys and commands.
    """
    needed = (
        "evalsha eval time pttl pexpireat exists del hello select ping client "
        "hget hgetall hset hdel hexists hkeys hincrby hmget rename zscore "
        "zadd zrem zrange zrangebyscore"
    )
    admin.acl_setuser(
        "site",
        enabled=True,
        passwords=[f"+{PASSWORD}"],
        keys=[f"{keyspace.prefix}:*"],
        commands=[f"+{name}" for name in needed.split()],
    )
    redis_at(f"redis://site:{ENCODED}@127.0.0.1:{own.port}/3")

    assert execute(commands.create(keyspace, "a", TTL, Changes({b"n": b"1"}, user="7"))) is True
    assert execute(commands.save(keyspace, "a", TTL, Changes({b"x": b"1"}, (b"n",)))) is True
    assert execute(commands.cycle(keyspace, "a", "b", TTL, Changes(replaces=True))) is True
    assert execute(commands.increment(keyspace, "b", b"n", 1)) == 1
    assert execute(commands.inspect(keyspace, "b")).fields["n"] == "1"
    assert execute(commands.exists(keyspace, "b")) is True
    assert execute(commands.load(keyspace, "b"))[b"n"] == b"1"
    assert admin.dbsize() == 0
    with redis.Redis(port=own.port, db=3) as third:
        assert third.exists(keyspace.session("b"))
    assert execute(commands.delete(keyspace, "b")) == "7"
    assert execute(commands.create(keyspace, "c", TTL, Changes(user=""))) is True
    assert execute(commands.save(keyspace, "c", TTL, Changes(user="8"))) is True
    assert execute(commands.delete(keyspace, "c")) == "8"
    _, cause = told(execute, commands.load(Keyspace("other"), "b"))
    assert isinstance(cause, redis.exceptions.NoPermissionError)


def test_a_password_in_options(execute, redis_at, own, admin):
    """OPTIONS can contain a password, without encoding."""
    admin.config_set("requirepass", PASSWORD)
    redis_at(own.url, password=PASSWORD)
    assert execute(echo("let in")) == "let in"


@pytest.mark.parametrize("database", ["", "?db=2"])
def test_a_unix_socket(execute, redis_at, tmp_path, keyspace, database):
    """A server on this machine can be reached through its unix socket."""
    server = Server(tmp_path, "--unixsocket", "redis.sock")
    try:
        redis_at(f"unix://{tmp_path}/redis.sock{database}")
        assert execute(commands.create(keyspace, "a", TTL, Changes())) is True
        with redis.Redis(port=server.port, db=2 if database else 0) as client:
            assert client.exists(keyspace.session("a"))
    finally:
        server.stop()


@pytest.mark.parametrize("world", [pools.SYNC, pools.ASYNC], ids=["sync", "async"])
def test_the_fast_parser(world):
    """hiredis parses the replies if it is installed."""
    pool = pools.build_pool(conf.current(), world, repeats=True)
    parser = type(pool.connection_class(**pool.connection_kwargs)._parser)
    installed = importlib.util.find_spec("hiredis") is not None
    assert ("hiredis" in parser.__module__) is installed


# In memory


def test_memory_is_shared_in_the_process(redis_at, keyspace):
    """Synchronous code, asynchronous code and later loops share the data of memory://."""
    redis_at("memory://shared")
    asyncio.run(clients.arun(commands.create(keyspace, "a", TTL, Changes({b"color": b"1"}))))
    assert clients.run(commands.load(keyspace, "a"))[b"color"] == b"1"
    assert clients.run(commands.save(keyspace, "a", TTL, Changes({b"color": b"2"}))) is True
    assert asyncio.run(clients.arun(commands.load(keyspace, "a")))[b"color"] == b"2"


def test_memory_by_name(execute, redis_at, keyspace):
    """Each name after memory:// is a server of its own, which lives as long as the process."""
    redis_at("memory://one")
    assert execute(commands.create(keyspace, "a", TTL, Changes())) is True
    redis_at("memory://two")
    assert execute(commands.exists(keyspace, "a")) is False
    redis_at("memory://one")
    assert execute(commands.exists(keyspace, "a")) is True


def test_memory_runs_the_scripts(execute, redis_at, keyspace):
    """With memory://, the scripts answer as on a server."""
    redis_at("memory://scripts")
    changes = Changes({b"n": b"1", b"color": b"{"}, user="7")
    assert execute(commands.create(keyspace, "a", TTL, changes)) is True
    assert execute(commands.create(keyspace, "a", TTL, changes)) is False
    assert execute(commands.save(keyspace, "missing", TTL, changes)) is False
    assert execute(commands.save(keyspace, "a", TTL, Changes({b"x": b"1"}, (b"n",)))) is True
    assert execute(commands.increment(keyspace, "a", b"n", 2**53 + 1)) == 2**53 + 1
    assert isinstance(
        execute(commands.increment(keyspace, "a", b"color", 1)), commands.NotAnInteger
    )
    assert isinstance(
        execute(commands.increment(keyspace, "a", b"n", 2**63 - 1)), commands.TooLarge
    )
    assert execute(commands.increment(keyspace, "missing", b"n", 1)) is None
    cycle = commands.cycle(keyspace, "a", "b", TTL, Changes())
    assert [execute(cycle), execute(cycle)] == [True, True]
    shown = execute(commands.inspect(keyspace, "b"))
    assert shown.fields.keys() - {"@listed"} == {
        *("@created", "@updated", "@user", "color", "n", "x")
    }
    assert 0 < shown.ttl <= TTL
    assert execute(commands.save(keyspace, "b", 0, Changes())) is True
    assert execute(commands.delete(keyspace, "b")) is None
    text = Command(("SET", keyspace.session("a"), "text", "EX", 60), bool)
    assert execute(text) is True
    assert isinstance(execute(commands.load(keyspace, "a")), commands.WrongType)
    assert execute(commands.inspect(keyspace, "a")) is None
    assert execute(commands.delete(keyspace, "a")) == ""


@pytest.mark.parametrize("package", ["fakeredis", "lupa"])
def test_memory_without_its_packages(execute, redis_at, monkeypatch, package):
    """
    Without fakeredis or its Lua, the error of memory:// says that it needs them and how to install
    them.
    """
    import fakeredis  # noqa: F401 - imports Lua, which must happen once for the whole process

    monkeypatch.setitem(sys.modules, package, None)
    redis_at(f"memory://needs-{package}")
    with pytest.raises(ImproperlyConfigured, match=r"needs fakeredis.*pip install") as caught:
        execute(CLIENT_ID)
    assert isinstance(caught.value.__cause__, ImportError)


# The embedded server


@pytest.fixture
def directory(tmp_path):
    path = tmp_path / "with a space, 100%, %20, #1 and ?b=c"
    yield path
    embedded.stop(path)


def test_the_embedded_server_starts(execute, redis_at, directory, keyspace):
    """The embedded server starts when it is first needed, in exactly the named directory."""
    redis_at(f"embedded://{directory}")
    pools.check()
    assert not directory.exists()
    assert execute(commands.create(keyspace, "a", TTL, Changes({b"n": b"1"}))) is True
    assert (directory / embedded.SOCKET).is_socket()


def test_the_embedded_server_starts_again(execute, redis_at, directory, keyspace):
    """When an embedded server has ended, the next command starts it again with its data."""
    redis_at(f"embedded://{directory}")
    assert execute(commands.create(keyspace, "a", TTL, Changes({b"n": b"1"}))) is True
    embedded.stop(directory)
    assert execute(commands.load(keyspace, "a"))[b"n"] == b"1"
    embedded.stop(directory)
    assert execute(commands.increment(keyspace, "a", b"n", 1)) == 2


def test_options_that_redis_py_refuses_with_the_embedded_server(execute, redis_at, directory):
    """Options that redis-py does not accept are a wrong setting also with the embedded server."""
    redis_at(f"embedded://{directory}", sockettimeout=1)
    with pytest.raises(ImproperlyConfigured, match="sockettimeout"):
        execute(CLIENT_ID)


REQUESTS = [
    ("HGETALL", "session:a"),
    ("EVALSHA", "0" * 40, 2, "session:ä", "session:index", -5, b"\xff\r\n", "", b"x" * 70_000),
]


@pytest.mark.parametrize("number", [1, 2])
def test_requests_are_packed_as_redis_py_packs_them(number):
    """With hiredis, requests are put into the same bytes as redis-py puts them into."""
    requests = REQUESTS[-number:]
    assert packed(requests) == b"".join(map(packed_by_redis_py, requests))
    assert packed([("PING",)]) == packed_by_redis_py(("PING",)) == b"*1\r\n$4\r\nPING\r\n"


def test_what_redis_py_refuses_to_pack():
    """A value that is no text, bytes or number is refused by redis-py, in its words."""
    with pytest.raises(redis.exceptions.DataError):
        packed([("SET", "a", None)])
