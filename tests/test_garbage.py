"""Promises 5 and 15: an answer that Redis did not send is a failure, in any form."""

import asyncio
import re
from collections.abc import Callable
from inspect import signature
from typing import NamedTuple

import hypothesis
import pytest
import redis
from django.contrib.sessions.backends.base import UpdateError
from django.http import HttpResponse
from django.test import AsyncClient, Client
from django.urls import path
from django.utils.crypto import get_random_string
from hypothesis import example, given
from hypothesis import strategies as st
from redis._parsers import (
    _AsyncHiredisParser,
    _AsyncRESP2Parser,
    _HiredisParser,
    _RESP2Parser,
)
from redis.backoff import NoBackoff
from redis.retry import Retry

from sessions_redis import conf, registry
from sessions_redis.clients import run_all
from sessions_redis.engine import SessionStore
from sessions_redis.exceptions import SessionStoreUnavailable
from sessions_redis.registry import LiveSession, statistics
from sessions_redis.registry.statistics import Statistics
from sessions_redis.storage import commands
from sessions_redis.storage.commands import StoredSession, session_id
from tests.garbler import GREETINGS, Garbler

# Replies that fit no command. Each is complete for every parser that can parse it.
MISFITS = {
    "a status": b"+OK\r\n",
    "text": b"$5\r\nhello\r\n",
    "a negative number": b":-7\r\n",
    "nothing": b"$-1\r\n",
    "no list": b"*-1\r\n",
    "numbers": b"*2\r\n:1\r\n:2\r\n",
    "lists": b"*3\r\n*0\r\n*0\r\n*0\r\n",
    "errors in a list": b"*2\r\n-ERR x\r\n-ERR y\r\n",
    "a line without end": b"+" + b"a" * 70_000 + b"\r\n",
    "words": b"upstream connect error or disconnect/reset before headers\r\n",
    "HTTP": b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n",
    "nulls": b"\0\0\0\0\r\n",
    "an invalid number": b":1x\r\n",
    "an invalid length": b"$x\r\n",
    "an invalid count": b"*x\r\n",
    "an error that names no server": b"-MOVED here\r\n",
    "newer nothing": b"_\r\n",
    "newer truth": b"#t\r\n",
    "newer untruth": b"#f\r\n",
    "newer number": b",1.5\r\n",
    "newer invalid number": b",nan\r\n",
    "newer text": b"=7\r\ntxt:abc\r\n",
    "newer mapping": b"%1\r\n+proto\r\n:3\r\n",
    "newer mapping by lists": b"%1\r\n*0\r\n:1\r\n",
}

# In RESP2. redis-py's own parser of RESP3 reads these as an empty list, or waits for more data.
OLDER = {"nothing", "no list"}

# redis-py before 7 does not read the server's name.
AN_ERROR, REFUSED = "an error that names no server", "not a reply to the command|refused a command"

# No parser can parse these. redis-py accepts some of the others as replies when it signs in.
NO_REPLY = {
    *("words", "HTTP", "nulls", "an invalid number", "an invalid length"),
    *("an invalid count", AN_ERROR, "newer mapping by lists"),
}

# After these, a client waits for more data, so the proxy closes the connection.
CUT = {
    "text that is cut": b"$100\r\n@created",
    "a hash that is cut": b"*4\r\n$8\r\n@created\r\n$1\r\n1\r\n",
    "lists in lists": b"*1\r\n" * 3_000,
    "TLS": b"\x15\x03\x01\x00\x02\x02\x46",
    "a length beyond all memory": b"$99999999999999999999\r\n",
    "a push message without a name": b">0\r\n",
    "a push message in no language": b">1\r\n$1\r\n\xff\r\n",
    "silence": b"",
}

ONCE = {"retry": Retry(NoBackoff(), 0)}
TWICE = {"retry": Retry(NoBackoff(), 1)}


class World(NamedTuple):
    """
    A parser, a protocol, and how to run a call. ``twin``: the start of the name of the called
    function.
    """

    parser: type
    protocol: int
    twin: str = ""

    @property
    def options(self):
        # Short, because some replies announce more data than ever comes.
        return {"parser_class": self.parser, "protocol": self.protocol, "socket_timeout": 2.0}

    @property
    def misfits(self):
        mute = OLDER if "RESP" in self.parser.__name__ and self.protocol == 3 else ()
        return {kind: reply for kind, reply in MISFITS.items() if kind not in mute}

    def call(self, owner, name, *arguments):
        """Call ``owner``'s function of that name, or its asynchronous twin in a new event loop."""
        function = getattr(owner, self.twin + name)
        if not self.twin:
            return function(*arguments)

        async def call():
            return await function(*arguments)

        return asyncio.run(call())


WORLDS = [
    World(_HiredisParser, 2),
    World(_HiredisParser, 3),
    World(_RESP2Parser, 2),
    World(_RESP2Parser, 3),  # then redis-py uses its parser of the newer protocol
    World(_AsyncHiredisParser, 2, "a"),
    World(_AsyncHiredisParser, 3, "a"),
    World(_AsyncRESP2Parser, 2, "a"),
    World(_AsyncRESP2Parser, 3, "a"),
]

each_world = pytest.mark.parametrize(
    "world", WORLDS, ids=lambda world: f"{world.parser.__name__.strip('_')}-{world.protocol}"
)


class Operation(NamedTuple):
    """
    ``call(world, session)``: a public operation on a loaded session of the user 7.

    ``repeatable``: it is sent again after a lost reply.
    """

    call: Callable
    repeatable: bool = True


def of_store(name, *arguments):
    return Operation(lambda world, session: world.call(session, name, *arguments))


def of_registry(name, *arguments, repeatable=True):
    return Operation(lambda world, _: world.call(registry, name, *arguments), repeatable)


def of_registry_by_id(name, *, repeatable=True, many=False):
    def call(world, session):
        id = session_id(session.session_key)
        return world.call(registry, name, [id] if many else id)

    return Operation(call, repeatable)


def change(session):
    session["color"] = "blue"
    return session


def fresh(session):
    return SessionStore(session.session_key)


def elsewhere(session):
    """Change the visitor's address."""
    session.metadata_source = lambda: {b"@ip": b"192.0.2.1"}
    return session


OPERATIONS = {
    "load": Operation(lambda world, session: dict(world.call(fresh(session), "load").items())),
    "exists": Operation(lambda world, session: world.call(session, "exists", session.session_key)),
    "create": Operation(lambda world, _: world.call(SessionStore(), "create")),
    "save": Operation(lambda world, session: world.call(change(session), "save")),
    "save with must_create": Operation(
        lambda world, _: world.call(SessionStore(get_random_string(32)), "save", True)
    ),
    "delete": of_store("delete"),
    "flush": of_store("flush"),
    "cycle_key": of_store("cycle_key"),
    "increment": of_store("increment", "counter")._replace(repeatable=False),
    "inspect": of_store("inspect"),
    "note_metadata": Operation(
        lambda world, session: world.call(elsewhere(session), "note_metadata")
    ),
    "count": of_registry("count"),
    "latest": of_registry("latest"),
    "find": of_registry_by_id("find"),
    "find_many": of_registry_by_id("find_many", many=True),
    "starting_with": of_registry("starting_with", "0123ab"),
    "of_user": of_registry("of_user", "7"),
    "end": of_registry_by_id("end", repeatable=False),
    "end_many": of_registry_by_id("end_many", repeatable=False, many=True),
    "end_all_of": of_registry("end_all_of", "7", repeatable=False),
    "by_time_left": of_registry("by_time_left", (0, 60, 10**6)),
    "trim": of_registry("trim"),
    "statistics": Operation(lambda world, _: world.call(statistics, "measure", 10)),
}


@pytest.fixture
def garbler(server):
    with Garbler(server.port) as garbler:
        yield garbler


@pytest.fixture
def use(settings, session_redis, garbler):
    """``use(options)``: have the engine connect through the garbler, with new connections."""

    def use(options, url=garbler.url):
        settings.SESSION_REDIS = {**session_redis, "LOCATION": url, "OPTIONS": options}

    return use


@pytest.fixture
def visitor(use):
    """``visitor()``: a loaded session of the user 7, as in a request."""

    def visitor():
        use({})
        session = SessionStore()
        session.update({"color": "red", "_auth_user_id": "7"})
        session.save()
        loaded = SessionStore(session.session_key)
        loaded.load()
        loaded.get("color")
        return loaded

    return visitor


def unavailable(operation, world, session):
    """Run ``operation``, which must fail, and return the message."""
    with pytest.raises(SessionStoreUnavailable) as caught:
        operation.call(world, session)
    return str(caught.value)


@each_world
def test_garbage_never_counts_as_an_answer(garbler, use, visitor, world):
    """Operations fail on every kind of garbage, and the session does not change."""
    sessions = {name: visitor() for name in OPERATIONS}
    keys = {name: session.session_key for name, session in sessions.items()}
    use(world.options | ONCE)
    for place, (kind, reply) in enumerate(world.misfits.items(), WORLDS.index(world)):
        garbler.garble(reply)
        # Only some of them, to save time. tests/test_storage_replies.py tests the code that reads
        # the replies.
        others = list(OPERATIONS)[place % 4 :: 4]
        for name in {"load", "save", *others}:
            operation = OPERATIONS[name]
            message = unavailable(operation, world, sessions[name])
            wanted = REFUSED if kind == AN_ERROR else "not a reply to the command"
            assert re.search(wanted, message), (kind, name)
            assert sessions[name].session_key == keys[name], (kind, name)
    garbler.stop()
    use({})
    for key in keys.values():
        assert dict(SessionStore(key).items()) == {"color": "red", "_auth_user_id": "7"}


@each_world
def test_garbage_that_is_cut(garbler, use, visitor, world):
    """If the connection is closed before a reply is complete, that is a failure as well."""
    session = visitor()
    key = session.session_key
    use(world.options | ONCE)
    for reply in CUT.values():
        garbler.garble(reply, closes=True)
        for name in ("load", "exists", "save", "end", "latest"):
            unavailable(OPERATIONS[name], world, session)
            assert session.session_key == key


@each_world
def test_garbage_once(garbler, use, visitor, world):
    """
    The connection is never used again. A command that may be repeated is sent again, and gets its
    answer.
    """
    for name, operation in OPERATIONS.items():
        first, second = visitor(), visitor()
        use(world.options | TWICE)
        wanted = comparable(operation.call(world, first))
        garbler.garble(b"+OK\r\n", times=1)
        if operation.repeatable:
            assert comparable(operation.call(world, second)) == wanted, name
        else:
            unavailable(operation, world, second)
        operation.call(world, second)
        assert garbler.used_again() == [], name


def comparable(answer):
    """The result, without the parts that differ between two sessions."""
    if isinstance(answer, StoredSession):
        return answer.fields.keys()
    if isinstance(answer, LiveSession):
        return answer.user_pk
    if isinstance(answer, list):
        return [comparable(one) for one in answer]
    return type(answer) if isinstance(answer, Statistics) else answer


@each_world
def test_garbage_on_connecting(garbler, use, visitor, world, server):
    """If garbage answers while signing in or choosing a database, no command is sent."""
    key = visitor().session_key
    misfits = {kind: MISFITS[kind] for kind in NO_REPLY}
    urls = (garbler.url.replace("/0", "/2"), garbler.url.replace("//", "//:secret@"))
    for url in urls:
        for kind, reply in misfits.items():
            use(world.options | ONCE, url)
            garbler.garble(reply, greetings=True)
            with pytest.raises(SessionStoreUnavailable, match=r"127\.0\.0\.1") as caught:
                world.call(SessionStore(key), "exists", key)
            assert "secret" not in str(caught.value), (url, kind)
    assert {word for number, word in garbler.said if number in garbler.garbled} <= GREETINGS


@each_world
def test_a_connection_that_received_garbage_while_signing_in(garbler, use, visitor, world):
    """
    After an error that is not its own, redis-py would leave the connection open, before sign-in is
    complete.
    """
    key = visitor().session_key
    for kind, reply in world.misfits.items():
        use(world.options | ONCE)
        garbler.garble(reply, greetings=True)
        try:
            answer = world.call(SessionStore(key), "exists", key)
        except SessionStoreUnavailable:
            garbler.stop()
            answer = world.call(SessionStore(key), "exists", key)
            assert garbler.last_asked(b"HEXISTS") not in garbler.garbled, kind
        assert answer is True  # redis-py does not check every reply while signing in


@each_world
@pytest.mark.skipif(
    "retry_socket_connect" not in signature(redis.Connection.connect_check_health).parameters,
    reason="this redis-py signs in only once, even if the connection breaks",
)
def test_garbage_once_on_connecting(garbler, use, visitor, world):
    """A new connection signs in, and the command gets its answer."""
    key = visitor().session_key
    for reply in (MISFITS["HTTP"], MISFITS["an invalid length"]):
        use(world.options | TWICE)
        garbler.garble(reply, times=1, greetings=True)
        assert world.call(SessionStore(key), "exists", key) is True
        assert garbler.last_asked(b"HEXISTS") not in garbler.garbled


def test_an_option_that_does_not_fit_is_not_garbage(use):
    """The synchronous connection cannot use an asynchronous parser, and its error says so."""
    use({"parser_class": _AsyncRESP2Parser, "protocol": 2})
    with pytest.raises(AttributeError, match="_reader"):
        SessionStore().exists("x")


@each_world
def test_garbage_for_a_health_check(garbler, use, visitor, world):
    """
    If OPTIONS has redis-py check the health of connections, garbage means that a connection is not
    healthy.
    """
    key = visitor().session_key
    use(world.options | ONCE | {"health_check_interval": 0.001})
    for reply in (MISFITS["HTTP"], MISFITS["an invalid length"], MISFITS["text"]):
        garbler.garble(reply)
        with pytest.raises(SessionStoreUnavailable):
            world.call(SessionStore(key), "load")
    garbler.stop()
    assert world.call(SessionStore(key), "load")["color"] == "red"


# Requests that share an exchange


def test_garbage_among_replies(garbler, use, visitor):
    """If garbage is among the replies to several commands, none of these replies is used."""
    mine, other = visitor(), visitor()
    keyspace = conf.current().keyspace
    asked = [commands.load(keyspace, session_id(one.session_key)) for one in (mine, other)]
    use(TWICE)
    right = run_all(asked)
    stolen = b"%1\r\n$8\r\n@created\r\n$1\r\n1\r\n"
    for reply in (stolen + b"+OK\r\n", b"+OK\r\n" + stolen, stolen + b":1x\r\n"):
        garbler.garble(reply, together=2, times=1)
        assert run_all(asked) == right
        garbler.garble(reply, together=2)
        with pytest.raises(SessionStoreUnavailable, match="not a reply to the command"):
            run_all(asked)
        garbler.stop()
    assert garbler.used_again() == []


def test_garbage_among_the_replies_to_several_tasks(garbler, use, visitor):
    """Each task of that exchange sends its command again, and gets its own session."""
    sessions = [visitor() for _ in range(4)]
    for number, session in enumerate(sessions):
        session["number"] = number
        session.save()
    use(TWICE)
    stolen = b"%1\r\n$8\r\n@created\r\n$1\r\n1\r\n"

    async def numbers():
        loaded = [SessionStore(session.session_key) for session in sessions]
        return await asyncio.gather(*(one.aget("number") for one in loaded))

    async def visit():
        # The first command is sent alone, and the others share an exchange.
        garbler.garble(stolen + stolen + b"$5\r\nhello\r\n", together=3, times=1)
        assert await numbers() == [0, 1, 2, 3]
        assert len(garbler.garbled) == 1
        assert await numbers() == [0, 1, 2, 3]

    asyncio.run(visit())
    assert garbler.used_again() == []


# Error messages


@each_world
def test_an_unknown_error(garbler, use, visitor, world):
    """An unknown error is a refusal by the server. The command is not sent again."""
    session = visitor()
    use(world.options | TWICE)
    world.call(session, "exists", session.session_key)
    garbler.garble(b"-WHAT is this\r\n")
    message = unavailable(OPERATIONS["save"], world, session)
    assert "refused a command: WHAT is this." in message
    assert [name for _, name in garbler.said][-1] == b"EVALSHA"


def test_the_message_about_garbage(garbler, use, visitor):
    """
    The message has the likely cause and the remedy. It contains no received data, which may belong
    to another session.
    """
    session = visitor()
    use({})
    for reply, what in [
        (b"$6\r\nsecret\r\n", "expected a list, got bytes"),
        (b"*1\r\n+secret\r\n", "expected names and values, got list of 1"),
        (b"secret\r\n", "redis-py cannot parse it (InvalidResponse)"),
    ]:
        garbler.garble(reply)
        message = unavailable(OPERATIONS["load"], WORLDS[1], session)
        assert message == (
            f"Redis at {garbler.url} sent something that is not a reply to the command: {what}. "
            "Another program answers at this address, or a proxy changes the "
            'replies of Redis. Is SESSION_REDIS["LOCATION"] the address of a Redis server?'
        )


# Visitors


def read(request):
    return HttpResponse(request.session.get("color"))


async def aread(request):
    return HttpResponse(await request.session.aget("color"))


def write(request):
    request.session["color"] = "blue"
    return HttpResponse()


async def awrite(request):
    await request.session.aset("color", "blue")
    return HttpResponse()


urlpatterns = [path(view.__name__, view) for view in (read, aread, write, awrite)]


@pytest.mark.parametrize("kind", ["a status", "HTTP", "nothing", "numbers"])
@pytest.mark.parametrize("view", ["read", "write"])
@pytest.mark.parametrize("twin", ["", "a"], ids=["WSGI", "ASGI"])
def test_a_visitor_meets_garbage(settings, garbler, use, visitor, twin, view, kind):
    """A visitor gets 503, and the cookie stays, so nobody is signed out."""
    settings.ROOT_URLCONF = __name__
    settings.MIDDLEWARE = ["sessions_redis.middleware.SessionMiddleware"]
    client = AsyncClient() if twin else Client()
    client.cookies["sessionid"] = visitor().session_key
    use(ONCE)

    def get():
        answer = client.get(f"/{twin}{view}")
        return asyncio.run(answer) if twin else answer

    garbler.garble(MISFITS[kind])
    response = get()
    assert response.status_code == 503
    assert not response.cookies
    garbler.stop()
    response = get()
    assert response.status_code == 200
    assert view == "write" or response.text == "red"


# Random bytes

# A slow machine is not a failure.
unhurried = hypothesis.settings(
    deadline=None, max_examples=40, suppress_health_check=list(hypothesis.HealthCheck)
)

lines = st.one_of(
    st.binary(max_size=12),
    st.integers(-3, 20).map(lambda number: b"%d" % number),
    st.sampled_from([b"OK", b"@created", b"MOVED 1 a:b", b"ASK x", b"inf", b"t"]),
)
nodes = st.builds(
    lambda kind, line: kind + line + b"\r\n",
    st.sampled_from([bytes([kind]) for kind in b"+-:$*_#,(!=%~>|HA"]),
    lines,
)
anything = st.one_of(
    st.binary(max_size=40),
    st.lists(st.one_of(nodes, lines), max_size=8).map(b"".join),
)

# redis-py reads these as an empty list or mapping, which is the reply for an unknown session.
EMPTY = re.compile(rb"[*%~|][-+ ]*[0-9]")

# These may be read as 0 or as an empty text. Both mean that no such session exists to be changed.
NO = re.compile(rb":[-+ ]*0|[$+=]")


@each_world
def test_any_bytes(garbler, use, visitor, world):
    """With any bytes, no operation fails in another way, and no session counts as ended."""
    session = visitor()
    key = session.session_key
    use(world.options | ONCE)

    @unhurried
    @given(anything)
    @example(b":0\r\n")
    @example(b"*0\r\n")
    @example(b"$0\r\n\r\n")
    def check(reply):
        garbler.garble(reply, closes=True)
        other = SessionStore(key)
        try:
            world.call(other, "load")
            assert other.session_key == key or EMPTY.search(reply)
        except SessionStoreUnavailable:
            assert other.session_key == key
        for name in ("cycle_key", "increment", "inspect", "latest"):
            try:
                OPERATIONS[name].call(world, SessionStore(key))
            except SessionStoreUnavailable:
                pass
            except UpdateError:
                assert NO.search(reply)

    check()
