"""Tools that monitor redis-py see each command of the engine, and nothing that is secret."""

import asyncio
import functools
from contextlib import suppress

import pytest
import redis
import redis.utils
from asgiref.sync import async_to_sync
from opentelemetry.trace import StatusCode

from sessions_redis import clients, conf, registry
from sessions_redis.clients import monitoring
from sessions_redis.engine import SessionStore
from sessions_redis.exceptions import SessionStoreUnavailable
from sessions_redis.storage import listings
from sessions_redis.storage.commands import session_id
from sessions_redis.storage.keyspaces import Keyspace
from sessions_redis.storage.steps import Command
from tests.monitored import instrumented, nowhere
from tests.servers import Server
from tests.test_clients_pipelines import SLOW
from tests.test_round_trips import exercise

PASSWORD = "open-sesame-4711"
USER_NAME = "ali-baba-1001"
EMAIL = "lovelace@example.com"
VALUE = "a-value-2002"
ENTRY = "an-entry-3003"


@pytest.fixture
def spans():
    """What OpenTelemetry sees."""
    with instrumented() as seen:
        yield seen


def again(session):
    return SessionStore(session.session_key)


def load(session):
    assert again(session)["color"] == "red"


async def aload(session):
    assert await again(session).aget("color") == "red"


def save(session):
    session["color"] = "red"
    session.save()


async def asave(session):
    await session.aset("color", "red")
    await session.asave()


plainly_or_not = pytest.mark.parametrize(
    ("load", "save"), [(load, save), (async_to_sync(aload), async_to_sync(asave))]
)


# What spans contain


@plainly_or_not
def test_one_span_each(spans, server, live, prefix, load, save):
    """A load and a save are a span each, with the name of the command and the server's address."""
    for use, name, keys in ((load, "HGETALL", 1), (save, "EVALSHA save", 2)):
        (span,) = spans.of(use, live)
        assert span.name == name
        assert span.status.status_code is StatusCode.UNSET
        assert span.attributes["db.system"] == "redis"
        assert span.attributes["db.statement"] == name + " ?" * keys
        assert span.attributes["net.peer.name"] == "127.0.0.1"
        assert span.attributes["net.peer.port"] == server.port


def words_of(session):
    key = f"{conf.current().key_prefix}:{session_id(session.session_key)}"
    return ("HGETALL", key), ("EVALSHA save", key, f"{conf.current().key_prefix}:index")


@plainly_or_not
def test_what_tools_receive(live, load, save):
    """The session is named by its ID. There is no value, and the reply is only counted."""
    seen = []
    with instrumented(
        request_hook=lambda span, client, arguments, options: seen.append((arguments, options)),
        response_hook=lambda span, client, reply: seen.append(reply),
    ):
        load(live)
        save(live)
    loading, saving = words_of(live)
    assert seen == [(loading, {}), 1, (saving, {}), 1]


def test_several_commands_are_one_span(spans):
    """The tool sees an exchange of several commands as a pipeline, with the name of each."""
    (span,) = spans.of(clients.run_all, [Command(("ECHO", "a"), bytes), Command(("TIME",), list)])
    assert span.name == "PIPELINE"
    echoes = [Command(("ECHO", word), bytes) for word in "abcdefghijkl"]
    assert monitoring.words(echoes) == ("PIPELINE", *["ECHO"] * 10, "and 2 more")
    assert spans.names_of(clients.run_all, []) == []


def everything(session_key):
    """Use the engine and the registry, in both worlds."""
    exercise(SessionStore())
    session = SessionStore(session_key)
    session[ENTRY] = VALUE
    session["_auth_user_id"] = EMAIL
    session.save()
    assert not again(session).exists("unknown")
    assert registry.count() >= 1
    assert [row.id for row in registry.of_user(EMAIL)] == [session_id(session_key)]
    assert registry.find(session_id(session_key)).id == session_id(session_key)
    assert registry.latest(0, 5)
    assert registry.end_all_of(EMAIL) == 1
    assert again(session).get(ENTRY) is None

    async def in_loop():
        session = SessionStore()
        await session.aset(ENTRY, VALUE)
        await session.acreate()
        await session.aset("_auth_user_id", EMAIL)
        await session.asave()
        await session.acycle_key()
        assert await again(session).aget(ENTRY) == VALUE
        assert await registry.aend_all_of(EMAIL) == 1
        return session.session_key

    return asyncio.run(in_loop())


@pytest.fixture
def guarded(settings, session_redis, tmp_path):
    """A server that asks for a user and a password."""
    guarded = Server(tmp_path)
    with guarded.client() as client:
        client.acl_setuser(
            USER_NAME, enabled=True, passwords=[f"+{PASSWORD}"], keys="*", categories=["+@all"]
        )
        client.acl_setuser("default", enabled=False)
    settings.SESSION_REDIS = {
        **session_redis,
        "LOCATION": guarded.url.replace("//", f"//{USER_NAME}:{PASSWORD}@"),
    }
    yield guarded
    guarded.stop()


def test_no_secret(spans, guarded):
    """No session key, entry, value, user or password is in any span, also of commands that fail."""
    session = SessionStore()
    session.create()
    key = everything(session.session_key)
    with redis.Redis.from_url(conf.current().location) as client:
        client.acl_setuser(USER_NAME, enabled=True, commands=["-hgetall"])
    with pytest.raises(SessionStoreUnavailable):
        SessionStore(key).load()
    client.connection_pool.disconnect()
    text = spans.text()
    names = {span.name for span in spans.exporter.get_finished_spans()}
    assert {"HGETALL", "EVALSHA save", "EVALSHA end_all", "EVALSHA cycle"} <= names
    for secret in (session.session_key, key, PASSWORD, USER_NAME, EMAIL, VALUE, ENTRY):
        assert secret not in text


def test_keys_of_users_are_not_shown():
    """The primary key of a user can be an email address."""
    command = listings.end_all(Keyspace("shop"), EMAIL)
    assert monitoring.words([command]) == ("EVALSHA end_all", "shop:user:?", "shop:index")


# Failures


@plainly_or_not
def test_a_command_that_fails(spans, settings, live, load, save):
    """It is an error in its span, after all retries, and the engine raises what it always does."""

    def fail():
        with pytest.raises(SessionStoreUnavailable, match="does not answer") as raised:
            load(live)
        assert not raised.value.may_have_been_done

    with nowhere() as address:
        settings.SESSION_REDIS = {**settings.SESSION_REDIS, "LOCATION": f"redis://{address}/0"}
        (span,) = spans.of(fail)
    assert span.status.status_code is StatusCode.ERROR
    assert span.status.description.startswith("ConnectionError: ")


@plainly_or_not
def test_retries_are_in_one_span(spans, raw, prefix, settings, live, load, save):
    """A command that is sent again because a connection was lost is still one operation."""
    settings.SESSION_REDIS = {**settings.SESSION_REDIS, "OPTIONS": {"client_name": prefix}}
    load(live)
    for client in raw.client_list():
        if client["name"] == prefix:
            raw.client_kill_filter(_id=client["id"])
    assert spans.names_of(load, live) == ["HGETALL"]
    raw.script_flush()
    (span,) = spans.of(save, live)
    assert span.status.status_code is StatusCode.UNSET


def test_a_cancelled_task(spans):
    """Its span ends."""

    async def cancel():
        task = asyncio.create_task(clients.arun(SLOW))
        await asyncio.sleep(0)  # it begins, and waits for the server
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    (span,) = spans.of(asyncio.run, cancel())
    assert span.end_time


# When commands are shown


def wrapped(method, seen):
    @functools.wraps(method)
    def execute_command(self, *words, **options):
        seen.append(words[0])
        return method(self, *words, **options)

    return execute_command


def replaced(method, seen):
    def execute_command(self, *words, **options):
        seen.append(words[0])
        return method(self, *words, **options)

    return execute_command


class Callable:
    """An object in a method's place."""

    def __init__(self, method, seen):
        self.method, self.seen = method, seen
        self.__module__ = method.__module__

    def __get__(self, client, kind=None):
        return self if client is None else functools.partial(self, client)

    def __call__(self, client, *words, **options):
        self.seen.append(words[0])
        return self.method(client, *words, **options)


@pytest.fixture
def replace():
    """``replace(tool, name)`` lets a tool replace a method. Returns the commands that it sees."""

    # Undone before the other fixtures end: their clients need redis-py's own method.
    with pytest.MonkeyPatch.context() as monkeypatch:

        def replace(tool, name="execute_command"):
            seen = []
            monkeypatch.setattr(redis.Redis, name, tool(getattr(redis.Redis, name), seen))
            return seen

        yield replace


@pytest.mark.parametrize("tool", [wrapped, replaced, Callable])
def test_any_tool(replace, live, tool):
    """However a tool replaces the method, and whenever: here after the first command."""
    seen = replace(tool)
    load(live)
    assert seen == ["HGETALL"]


def never(method, seen):
    """As in tests that put a mock in the method's place."""
    return lambda self, *words, **options: seen.append(words[0])


def twice(method, seen):
    """It tries once more, even after a success."""

    def execute_command(self, *words, **options):
        seen.append(words[0])
        with suppress(redis.RedisError):
            method(self, *words, **options)
        return method(self, *words, **options)

    return execute_command


def silently(method, seen):
    """It returns nothing in place of an error."""

    def execute_command(self, *words, **options):
        seen.append(words[0])
        with suppress(redis.RedisError):
            method(self, *words, **options)

    return execute_command


@pytest.mark.parametrize("tool", [never, twice, silently])
def test_a_tool_that_does_more_than_watching(replace, settings, live, tool):
    """Commands are carried out once, and their errors are raised, whatever the tool does."""
    seen = replace(tool)
    assert live.increment("counter") == 1
    assert live.increment("counter") == 2
    assert seen == ["EVALSHA increment"] * 2
    with nowhere() as address:
        settings.SESSION_REDIS = {**settings.SESSION_REDIS, "LOCATION": f"redis://{address}/0"}
        with pytest.raises(SessionStoreUnavailable, match="does not answer"):
            load(live)


async def anever(self, *words, **options):
    """As in tests that put a mock in the method's place."""


def test_an_asynchronous_method_that_does_nothing(monkeypatch, live):
    """The same with the asynchronous client."""
    monkeypatch.setattr(redis.asyncio.Redis, "execute_command", anever)
    assert async_to_sync(live.aincrement)("counter") == 1


def test_an_asynchronous_method_that_is_called_twice(monkeypatch, live):
    """The same with the asynchronous client."""
    method = redis.asyncio.Redis.execute_command

    async def execute_command(self, *words, **options):
        return [await method(self, *words, **options) for _ in range(2)]

    monkeypatch.setattr(redis.asyncio.Redis, "execute_command", execute_command)
    assert async_to_sync(live.aincrement)("counter") == 1


def test_what_redis_py_does_is_not_a_tool(monkeypatch):
    """redis-py may decorate its method itself."""
    decorated = redis.utils.deprecated_args()(redis.Redis.execute_command)
    monkeypatch.setattr(redis.Redis, "execute_command", decorated)
    assert hasattr(redis.Redis.execute_command, "__wrapped__")
    assert not monitoring.is_watched(redis.Redis)


def test_when_the_tool_is_gone(live):
    """Commands take the fast way before a tool is installed and after it is removed."""
    assert not monitoring.is_watched(redis.Redis)
    with instrumented() as seen:
        assert seen.names_of(load, live) == ["HGETALL"]
    assert not monitoring.is_watched(redis.Redis)
    assert not monitoring.is_watched(redis.asyncio.Redis)
    assert seen.names_of(load, live) == []


def use_setting(settings, value):
    settings.SESSION_REDIS = {**settings.SESSION_REDIS, "INSTRUMENTED": value}


@plainly_or_not
def test_never(settings, spans, live, load, save):
    """With ``False``, tools see no session."""
    use_setting(settings, False)
    assert spans.names_of(lambda: (load(live), save(live))) == []


def test_always(settings, replace, live):
    """With ``True``, also a tool sees them that replaces a method which is not looked at."""
    seen = replace(wrapped, "_execute_command")
    load(live)
    assert seen == []
    use_setting(settings, True)
    load(live)
    assert seen == ["HGETALL"]


@pytest.mark.parametrize("value", [0, 1, "yes", []])
def test_a_wrong_setting(value):
    """The setting takes only True, False and None."""
    setting = {"LOCATION": "memory://", "INSTRUMENTED": value}
    (problem,) = conf.problems(setting)
    assert problem.id == "sessions_redis.E004"
    assert "not True, False or None" in problem.message


@pytest.mark.parametrize("location", ["memory://", "embedded://{}/sessions"])
def test_other_locations(settings, spans, tmp_path, location):
    """Servers without a host are seen as well."""
    settings.SESSION_REDIS = {"LOCATION": location.format(tmp_path)}

    def use():
        session = SessionStore()
        session["color"] = "red"
        session.create()
        load(session)
        async_to_sync(aload)(session)

    assert spans.names_of(use) == ["EVALSHA create", "HGETALL", "HGETALL"]
