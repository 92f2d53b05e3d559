"""
While Redis does not answer, requests fail at once. One lost connection never has that effect.
"""

import asyncio
import json
import signal
import socket
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from inspect import signature
from pathlib import Path

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from sessions_redis import clients, registry
from sessions_redis.clients import circuit, connections, pools
from sessions_redis.clients.circuit import Circuit
from sessions_redis.exceptions import SessionStoreUnavailable
from sessions_redis.storage.steps import Command
from tests.proxy import Relay
from tests.servers import DEADLINE, Server, wait_until
from tests.visits import visit

ROOT = Path(__file__).parent.parent
THREADS = 20
TASKS = 100

# How long a request waits for a connection and for a reply: in most tests, in those with many
# requests at a time, and in those in which a busy machine must not look like a server that hangs.
LIMITS = {"socket_connect_timeout": 20.0, "socket_timeout": 0.5}
CROWDED = {"socket_timeout": 2.0}
PATIENCE = {"socket_timeout": 4.0}

# Options so that redis-py sends nothing to sign in.
HAS_DRIVER_INFO = "driver_info" in signature(redis.connection.AbstractConnection).parameters
NO_NAME = dict.fromkeys(("driver_info",) if HAS_DRIVER_INFO else ("lib_name", "lib_version"))

# Before version 6.4, redis-py did not sign in again on its own.
SIGNS_IN_ONCE = (
    "retry_socket_connect" not in signature(redis.Connection.connect_check_health).parameters
)

NOT_TRIED = "has not answered for .* So this command was not sent"


def echo(word, *, repeatable=True):
    return Command(("ECHO", word), bytes.decode, repeatable=repeatable)


@pytest.fixture
def relay(server):
    with Relay(server.port) as relay:
        yield relay
        pools.current().circuit.close()


@pytest.fixture
def redis_at(settings, session_redis):
    """Sets the location of Redis."""

    def change(location, **options):
        options = {**LIMITS, **options}
        settings.SESSION_REDIS = {**session_redis, "LOCATION": location, "OPTIONS": options}

    return change


@pytest.fixture
def asks_once(monkeypatch):
    """While Redis does not answer, it is asked once, and then not for minutes."""
    monkeypatch.setattr(circuit, "PAUSE", 300.0)


@pytest.fixture(params=["sync", "asyncio"])
def world(request):
    return request.param


@pytest.fixture
def runner():
    with asyncio.Runner() as runner:
        yield runner


@pytest.fixture
def execute(world, runner):
    """Runs a command: all commands of a test in the process, or all in one event loop."""
    if world == "sync":
        return clients.run
    return lambda command: runner.run(clients.arun(command))


@pytest.fixture
def together(world, runner):
    """Runs many commands at the same time, and returns their answers or errors."""

    async def arun_each():
        return await asyncio.gather(
            *(clients.arun(echo("word")) for _ in range(TASKS)), return_exceptions=True
        )

    def run_each():
        if world != "sync":
            return runner.run(arun_each())
        with ThreadPoolExecutor(THREADS) as threads:
            return list(threads.map(answer_or_error, [clients.run] * THREADS))

    return run_each


def is_open():
    return pools.current().circuit.is_open()


def asking():
    return [thread for thread in threading.enumerate() if thread.name == circuit.THREAD_NAME]


def fails(execute, command=None, words="does not answer"):
    with pytest.raises(SessionStoreUnavailable, match=words) as caught:
        execute(command or echo("word"))
    return caught.value


def answer_or_error(execute, command=None):
    try:
        return execute(command or echo("word"))
    except SessionStoreUnavailable as error:
        return error


def works(execute, command=None):
    """Wait until a command is answered: with these limits, a busy machine may seem to hang."""
    wait_until(lambda: answer_or_error(execute, command) == "word", "the server answers")


# A server that hangs


def test_the_first_request_finds_out(execute, redis_at, relay, asks_once):
    """
    The first request tries a second connection. Later ones try none, and may be sent again.
    """
    redis_at(relay.url)
    works(execute)
    made, relay.hangs = relay.connections, True
    assert isinstance(fails(execute).__cause__, (redis.TimeoutError, redis.ConnectionError))
    wait_until(lambda: relay.connections == made + 2, "one for that request, one to ask")
    for _ in range(50):
        error = fails(execute, words=NOT_TRIED)
        assert isinstance(error.__cause__, redis.TimeoutError)
        assert error.may_have_been_done is False
    assert relay.connections == made + 2


def test_a_first_connection_gets_no_answer(execute, redis_at, relay, asks_once):
    """A request that has no connection yet connects twice, at most."""
    redis_at(relay.url)
    relay.hangs = True
    fails(execute)
    fails(execute)
    wait_until(lambda: relay.connections == 3, "two for these requests, one to ask")
    assert fails(execute, words=NOT_TRIED).may_have_been_done is False
    assert relay.connections == 3


def test_a_connection_that_does_not_sign_in(execute, redis_at, relay, asks_once):
    """If redis-py sends nothing to sign in, the second connection gets a PING."""
    redis_at(relay.url, protocol=2, **NO_NAME)
    works(execute)
    relay.silence_all()
    works(execute)
    assert any(b"PING" in request for request in relay.requests)
    made, relay.hangs = relay.connections, True
    fails(execute)
    assert fails(execute, words=NOT_TRIED).may_have_been_done is False
    wait_until(lambda: relay.connections == made + 2, "one for the first request, one to ask")


def test_many_requests_find_out(together, redis_at, relay, asks_once):
    """Of many requests at a time, each connects twice, at most. Then all are refused at once."""
    redis_at(relay.url, **CROWDED)
    wait_until(lambda: set(together()) == {"word"}, "the server answers")
    made, relay.hangs = relay.connections, True
    errors = together()
    assert {type(error) for error in errors} == {SessionStoreUnavailable}
    assert relay.connections - made <= 2 * len(errors) + 1
    wait_until(asking, "the server is asked")
    made = relay.connections
    errors = together()
    assert all("So this command was not sent" in str(error) for error in errors)
    assert relay.connections == made


def test_requests_that_wait_for_a_connection(together, redis_at, relay, asks_once):
    """Requests that wait for one of few connections do not try one after the other."""
    redis_at(relay.url, max_connections=2, timeout=DEADLINE, **CROWDED)
    wait_until(lambda: set(together()) == {"word"}, "the server answers")
    made, relay.hangs = relay.connections, True
    assert {type(error) for error in together()} == {SessionStoreUnavailable}
    assert relay.connections - made <= 2 * 2 + 1


def test_recovery(execute, redis_at, relay):
    """The process notices without a request that the server is back. Then no thread is left."""
    redis_at(relay.url)
    relay.hangs = True
    wait_until(lambda: fails(execute) and is_open(), "a request finds out")
    assert len(asking()) == 1
    relay.hangs = False
    wait_until(lambda: not is_open(), "the server is asked")
    works(execute)
    wait_until(lambda: not asking(), "the thread has ended")


def test_the_server_is_asked_one_question_at_a_time(execute, redis_at, relay, monkeypatch):
    """While the server hangs, each question waits for its time limit before the next is asked."""
    monkeypatch.setattr(circuit, "PAUSE", 0.0)
    redis_at(relay.url, socket_timeout=0.2)
    relay.hangs = True
    wait_until(lambda: fails(execute) and is_open(), "a request finds out")
    made = relay.connections
    for _ in range(1000):
        fails(execute, words=NOT_TRIED)
    wait_until(lambda: relay.connections > made + 2, "it is asked again")
    assert len(asking()) == 1


@pytest.mark.parametrize("command", ["increment", "idle"])
def test_commands_that_are_sent_once(execute, redis_at, relay, asks_once, monkeypatch, command):
    """
    A command that is sent only once fails after one attempt. The next command finds out.

    If its connection was idle, it sends a PING first, so it finds out itself.
    """
    once = echo("word", repeatable=False)
    redis_at(relay.url)
    works(execute, once)
    relay.hangs = True
    if command == "idle":
        monkeypatch.setattr(connections, "IDLE_SECONDS", -1.0)
    error = fails(execute, once)
    assert error.may_have_been_done is (command == "increment")
    if command == "increment":
        assert not is_open()
        fails(execute, once)
    assert is_open()
    assert fails(execute, once, words=NOT_TRIED).may_have_been_done is False


def test_a_server_that_is_killed_while_it_hangs(redis_at, tmp_path):
    """A server that refuses connections costs no time, so requests ask it."""
    own = Server(tmp_path)
    redis_at(own.url)
    try:
        own.process.send_signal(signal.SIGSTOP)
        wait_until(lambda: fails(clients.run) and is_open(), "a request finds out")
        own.process.kill()
        own.process.wait(DEADLINE)
        wait_until(lambda: not is_open(), "the server refuses connections")
        fails(clients.run, words="refused")
        own.start()
        works(clients.run)
    finally:
        own.process.kill()
        own.process.wait(DEADLINE)


def test_a_host_that_answers_nothing(execute, redis_at):
    """The same if the host does not even accept connections, as if it had no power."""
    with ExitStack() as opened:
        listener = opened.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        address = listener.getsockname()
        is_full = False
        while not is_full:  # then the kernel ignores requests for a connection
            client = opened.enter_context(closing(socket.socket()))
            client.settimeout(0.2)
            is_full = client.connect_ex(address) != 0
        redis_at(f"redis://127.0.0.1:{address[1]}/0", socket_connect_timeout=0.3)
        wait_until(lambda: fails(execute) and is_open(), "a request finds out")
        fails(execute, words=NOT_TRIED)
        pools.current().circuit.close()


# A server that answers


def test_lost_connections(together, redis_at, relay, monkeypatch):
    """If all connections are lost without a word, each request makes a new one, and succeeds."""
    monkeypatch.setattr(Circuit, "_open", lambda *_: pytest.fail("the server answers"))
    redis_at(relay.url, **PATIENCE)
    expected = ["word"] * len(together())
    relay.silence_all()
    assert together() == expected


def test_a_new_connection_that_is_lost(execute, redis_at, relay, monkeypatch):
    """If a new connection gets no answer, and the next one does, the request succeeds."""
    monkeypatch.setattr(Circuit, "_open", lambda *_: pytest.fail("the server answers"))
    redis_at(relay.url, **PATIENCE)
    replies = []

    def lose_first(client, reply):
        replies.append(client)
        if client is not replies[0]:
            client.sendall(reply)

    relay.pass_reply = lose_first
    answers = [answer_or_error(execute, echo("word")) for _ in range(2)]
    assert answers[SIGNS_IN_ONCE] == "word"


def test_a_slow_command(redis_at, relay, prefix, monkeypatch):
    """If the server answers new connections, but not a command, other requests are not refused."""
    monkeypatch.setattr(Circuit, "_open", lambda *_: pytest.fail("the server answers"))
    redis_at(relay.url, retry=Retry(NoBackoff(), 1), **PATIENCE)
    assert clients.run(echo("before")) == "before"
    fails(clients.run, Command(("BLPOP", f"{prefix}:nothing", 60), list))
    assert clients.run(echo("after")) == "after"


def test_a_server_that_accepts_no_more_clients(redis_at, tmp_path, monkeypatch):
    """A refusal is an answer. Requests that have a connection go on."""
    monkeypatch.setattr(Circuit, "_open", lambda *_: pytest.fail("the server answers"))
    own = Server(tmp_path)
    redis_at(own.url, **PATIENCE)
    try:
        assert clients.run(echo("first")) == "first"
        with own.client() as admin:
            admin.config_set("maxclients", 1)
        fails(lambda command: asyncio.run(clients.arun(command)), words="Redis at")
        assert clients.run(echo("first")) == "first"
    finally:
        own.stop()


def test_a_question_that_is_refused(redis_at, tmp_path):
    """A server that wants a password before it answers a PING is there again."""
    own = Server(tmp_path)
    try:
        with own.client() as admin:
            admin.config_set("requirepass", "secret")
        redis_at(own.url, password="secret")
        pools.current().circuit._open(circuit.limits_of(redis.Connection(**LIMITS)))
        wait_until(lambda: not is_open(), "the server is asked")
        assert clients.run(echo("word")) == "word"
    finally:
        own.stop()


# The thread


def test_a_process_in_which_no_thread_starts(execute, redis_at, relay, monkeypatch):
    """If no thread asks the server, requests try again after a while."""

    class NotStarting(threading.Thread):
        def start(self):
            raise RuntimeError("can't start new thread")

    redis_at(relay.url)
    relay.hangs = True
    with monkeypatch.context() as patch:
        patch.setattr(circuit, "Thread", NotStarting)
        wait_until(lambda: fails(execute) and is_open(), "a request finds out")
    assert not asking()
    relay.hangs = False
    fails(execute, words=NOT_TRIED)
    pools.current().circuit._valid_until = 0.0
    works(execute)
    assert not is_open()


def test_an_answer_to_an_older_request(redis_at, relay, asks_once):
    """If the server answers a request that was sent before, later requests are sent, too."""
    redis_at(relay.url)
    relay.hangs = True
    wait_until(lambda: fails(clients.run) and is_open(), "a request finds out")
    ours = pools.current().circuit
    opened = ours._valid_until
    wait_until(lambda: ours._valid_until > opened, "the first question gets no answer")
    relay.hangs = False
    ours.last_answer = circuit.monotonic()
    works(clients.run)
    assert asking()


def test_other_settings(settings, redis_at, relay):
    """A change of settings ends the thread, and nothing opens the circuit afterwards."""
    redis_at(relay.url)
    relay.hangs = True
    wait_until(lambda: fails(clients.run) and is_open(), "a request finds out")
    before = pools.current().circuit
    redis_at(relay.url, socket_timeout=2.0)
    assert not asking()
    before._open(circuit.limits_of(redis.Connection(**LIMITS)))
    assert not before.is_open()
    assert not asking()
    relay.hangs = False
    works(clients.run)


# Sites


def test_a_site(settings, redis_at, relay, live):
    """Visitors get 503 with Retry-After, and the registry raises, without asking Redis."""
    settings.ROOT_URLCONF = "tests.test_outages"
    settings.MIDDLEWARE = ["sessions_redis.middleware.SessionMiddleware"]
    redis_at(relay.url, **CROWDED)
    assert visit("WSGI", "/WSGI/read", live.session_key).text == "red"
    relay.hangs = True
    wait_until(lambda: fails(clients.run) and is_open(), "a request finds out")
    for world in ("WSGI", "ASGI"):
        response = visit(world, f"/{world}/read", live.session_key)
        assert (response.status_code, response["Retry-After"]) == (503, "5")
        assert not response.cookies
    with pytest.raises(SessionStoreUnavailable, match=NOT_TRIED):
        registry.count()
    relay.hangs = False
    wait_until(lambda: not is_open(), "the server is asked")
    assert visit("WSGI", "/WSGI/read", live.session_key).text == "red"
    assert visit("ASGI", "/ASGI/read", live.session_key).text == "red"


# A process that forks while it asks a server that hangs. The child finds out itself.
FORKS = """
import json, os, sys, time
from django.conf import settings

settings.configure(SESSION_REDIS=json.loads(sys.argv[1]))
from sessions_redis.clients import pools
from sessions_redis.engine import SessionStore
from sessions_redis.exceptions import SessionStoreUnavailable


def color():
    try:
        return SessionStore(sys.argv[2])["color"]
    except SessionStoreUnavailable:
        return None


def until(condition):
    while not condition():
        time.sleep(0.01)


assert color() == "red"
print("ready", flush=True)
sys.stdin.readline()
until(lambda: color() is None and pools.current().circuit.is_open())
reading, writing = os.pipe()
child = os.fork()
if child:
    assert os.read(reading, 4) == b"open"
    print("open", flush=True)
else:
    assert not pools.current().circuit.is_open()
    until(lambda: color() is None and pools.current().circuit.is_open())
    os.write(writing, b"open")
until(lambda: color() == "red")
if child:
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    print("red", flush=True)
    sys.stdin.readline()
    until(lambda: color() is None and pools.current().circuit.is_open())
    print("ends", flush=True)
"""


def test_a_fork(session_redis, live, relay):
    """
    Parent and child notice that the server is back. A process ends while it asks the server.
    """
    session_redis = {**session_redis, "LOCATION": relay.url, "OPTIONS": LIMITS | CROWDED}
    with subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", FORKS, json.dumps(session_redis), live.session_key],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as parent:
        for hangs, told in [(True, "ready"), (False, "open"), (True, "red")]:
            assert parent.stdout.readline() == f"{told}\n"
            relay.hangs = hangs
            if hangs:
                parent.stdin.write("begin\n")
                parent.stdin.flush()
        assert parent.stdout.readline() == "ends\n"
        assert parent.wait(DEADLINE) == 0
