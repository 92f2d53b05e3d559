"""Credential providers: tokens that expire, change, or cannot be had, with real ACL users."""

import asyncio
import logging
import threading
from concurrent.futures import ThreadPoolExecutor
from inspect import signature

import pytest
import redis
from django.core.exceptions import ImproperlyConfigured
from django.http import HttpResponse
from django.test import RequestFactory
from redis.credentials import CredentialProvider, StreamingCredentialProvider
from redis.exceptions import AuthenticationError
from redis.exceptions import ConnectionError as RedisConnectionError

from sessions_redis import clients
from sessions_redis.clients import credentials, leases, pools
from sessions_redis.clients.credentials import CredentialsError
from sessions_redis.engine import SessionStore
from sessions_redis.exceptions import SessionStoreUnavailable
from sessions_redis.middleware import SessionMiddleware
from sessions_redis.storage.steps import Command
from tests.servers import Server, wait_until
from tests.test_secrets import PASSWORD, USER_NAME, assert_no_secret, failure_of

CLIENT_ID = Command(("CLIENT", "ID"), int)
WHOAMI = Command(("ACL", "WHOAMI"), bytes.decode)


class Tokens(CredentialProvider):
    """The site's provider. It returns ``token``, or raises it if it is an error."""

    def __init__(self, token="first"):
        self.user = USER_NAME
        self.token = token
        self.calls = 0

    def get_credentials(self):
        self.calls += 1
        if isinstance(self.token, Exception):
            raise self.token
        return (self.user, self.token)

    async def get_credentials_async(self):
        return self.get_credentials()


class Streaming(Tokens, StreamingCredentialProvider):
    """A provider that announces new tokens, and like redis-py's own keeps one callback for each."""

    next = error = is_streaming = None

    def on_next(self, callback):
        self.next = callback

    def on_error(self, callback):
        self.error = callback


@pytest.fixture(scope="module")
def own(tmp_path_factory):
    """A server on which the tests give tokens to users."""
    server = Server(tmp_path_factory.mktemp("tokens"), "--unixsocket", "redis.sock")
    yield server
    server.stop()


@pytest.fixture
def admin(own):
    with own.client() as client:
        yield client


@pytest.fixture
def accept(admin):
    """Makes the server accept these tokens and no others. Connections that are open stay open."""

    def accept(*tokens, user=USER_NAME):
        passwords = [f">{token}" for token in tokens]
        admin.execute_command(
            "ACL", "SETUSER", user, "on", "resetpass", *passwords, "~*", "&*", "+@all"
        )

    accept("first")
    yield accept
    admin.acl_deluser(USER_NAME)


@pytest.fixture(params=["tcp 2", "tcp 3", "unix 2", "unix 3"])
def site(request, settings, session_redis, own):
    """Lets the engine sign in with the credentials of a provider."""
    way, protocol = request.param.split()
    location = own.url if way == "tcp" else f"unix://{own.folder}/redis.sock"

    def use(provider, **options):
        settings.SESSION_REDIS = {
            **session_redis,
            "LOCATION": location,
            "OPTIONS": {"credential_provider": provider, "protocol": int(protocol), **options},
        }
        return provider

    return use


def cut(admin):
    """End all connections of the site, as hosted servers do when a token expires."""
    admin.execute_command("CLIENT", "KILL", "USER", USER_NAME)


def test_a_token_that_changes(execute, site, accept, admin):
    """
    A connection that is signed in goes on when the token changes. If the server ends it, the next
    one signs in with the new token.
    """
    tokens = site(Tokens())
    first = execute(CLIENT_ID)
    accept("second")
    tokens.token = "second"
    assert execute(CLIENT_ID) == first
    assert tokens.calls == 1
    cut(admin)
    assert execute(CLIENT_ID) != first
    assert tokens.calls == 2
    assert execute(WHOAMI) == USER_NAME


def test_a_token_that_has_expired(execute, site, accept, admin):
    """
    If the provider returns a token that the server refuses, the error says so. When the provider
    has a new token, the engine works again.
    """
    tokens = site(Tokens())
    execute(CLIENT_ID)
    accept("second")
    cut(admin)
    with pytest.raises(SessionStoreUnavailable) as caught:
        execute(CLIENT_ID)
    assert "does not let this site in: " in str(caught.value)
    assert 'Does the "credential_provider" in SESSION_REDIS["OPTIONS"] return' in str(caught.value)
    assert not caught.value.may_have_been_done
    tokens.token = "second"
    assert execute(WHOAMI) == USER_NAME


class OwnError(Exception):
    """An error of the site."""


# Each error contains the token, as an error of a provider may.
ERRORS = {
    "ValueError": ValueError(PASSWORD),
    "RuntimeError": RuntimeError(PASSWORD),
    "OSError": OSError(PASSWORD),
    "TimeoutError": TimeoutError(PASSWORD),
    "tests.test_credentials.OwnError": OwnError(PASSWORD),
    "redis.exceptions.ConnectionError": RedisConnectionError(PASSWORD),
    "redis.exceptions.AuthenticationError": AuthenticationError(PASSWORD),
}


@pytest.mark.parametrize("name", ERRORS)
def test_a_provider_that_raises(execute, site, accept, name):
    """
    If the provider raises, the engine's error names the provider and the error, but no token. It
    asks the provider once. When the provider works again, so does the engine.
    """
    tokens = site(Tokens(ERRORS[name]))
    error = failure_of(execute, CLIENT_ID)
    assert isinstance(error, SessionStoreUnavailable)
    assert isinstance(error.__cause__, CredentialsError)
    assert f"no token to sign in with: tests.test_credentials.Tokens raised {name}." in str(error)
    assert "call get_credentials() in manage.py shell" in str(error)
    assert not error.may_have_been_done
    assert tokens.calls == 1
    assert_no_secret(error)
    tokens.token = "first"
    assert execute(WHOAMI) == USER_NAME


@pytest.mark.parametrize("method", ["load", "create", "aload", "acreate"])
def test_a_provider_that_raises_for_a_session(site, accept, method):
    """The same holds for methods of a session, before anything is sent."""
    site(Tokens(ValueError(PASSWORD)))
    store = SessionStore("k" * 32)

    def act():
        done = getattr(store, method)()
        return asyncio.run(done) if method.startswith("a") else done

    error = failure_of(act)
    assert isinstance(error, SessionStoreUnavailable)
    assert not error.may_have_been_done
    assert_no_secret(error, "k" * 32)


def color_of(request):
    return HttpResponse(request.session["color"])


async def acolor_of(request):
    return HttpResponse(await request.session.aget("color"))


@pytest.mark.parametrize("view", [color_of, acolor_of])
@pytest.mark.parametrize("debug", [True, False])
def test_a_visitor_while_there_is_no_token(settings, site, accept, admin, caplog, view, debug):
    """
    A visitor gets 503, not 500. Neither the page nor the log shows the token. When there is a token
    again, the visitor still has the session.
    """
    settings.DEBUG = debug
    tokens = site(Tokens())
    session = SessionStore()
    session["color"] = "red"
    session.create()
    tokens.token = ValueError(PASSWORD)
    cut(admin)
    request = RequestFactory().get("/")
    request.COOKIES[settings.SESSION_COOKIE_NAME] = session.session_key

    def visit():
        response = SessionMiddleware(view)(request)
        return asyncio.run(response) if asyncio.iscoroutine(response) else response

    response = visit()
    assert response.status_code == 503
    assert settings.SESSION_COOKIE_NAME not in response.cookies
    assert PASSWORD not in response.content.decode() + caplog.text
    tokens.token = "first"
    assert visit().content == b"red"


class Returning(Tokens):
    """A provider that returns ``token`` itself."""

    def get_credentials(self):
        return self.token


@pytest.mark.parametrize(
    ("returned", "kind"),
    [(PASSWORD, "str"), (None, "NoneType"), ((), "tuple"), ((USER_NAME, PASSWORD, 1), "tuple")],
)
def test_a_provider_that_returns_something_else(execute, site, accept, returned, kind):
    """If the provider does not return user and token, the error says so, without a token."""
    site(Returning(returned))
    error = failure_of(execute, CLIENT_ID)
    assert isinstance(error, SessionStoreUnavailable)
    assert f"Returning returned {kind}, not a tuple of user and token" in str(error)
    assert_no_secret(error)


def test_a_token_without_a_user(execute, site, admin):
    """A provider may return the token alone, for the user ``default``."""
    admin.config_set("requirepass", "first")
    try:
        site(Returning(("first",)))
        assert execute(WHOAMI) == "default"
    finally:
        admin.config_set("requirepass", "")


class WithoutBase:
    """A provider that does not derive from redis-py's class."""

    def get_credentials(self):
        return (USER_NAME, "first")


def test_a_provider_without_an_asynchronous_method(site, accept):
    """A provider that has only the synchronous method serves synchronous code."""
    site(WithoutBase())
    assert clients.run(WHOAMI) == USER_NAME
    with pytest.raises(SessionStoreUnavailable, match="WithoutBase raised AttributeError"):
        asyncio.run(clients.arun(WHOAMI))


@pytest.mark.parametrize("provider", [Tokens, lambda: (USER_NAME, PASSWORD), PASSWORD])
def test_something_that_is_not_a_provider(site, provider):
    """A class, a function and a string are refused by the check and at the first request."""
    site(provider)
    for act in (pools.check, lambda: clients.run(CLIENT_ID)):
        error = failure_of(act)
        assert isinstance(error, ImproperlyConfigured)
        assert "the option credential_provider takes an object with the method" in str(error)
        assert_no_secret(error)


def test_a_provider_beside_a_password(site):
    """redis-py takes either a provider or user and password. The error says so."""
    site(Tokens(), username=USER_NAME, password=PASSWORD)
    error = failure_of(pools.check)
    assert isinstance(error, ImproperlyConfigured)
    assert "credential_provider" in str(error)
    assert_no_secret(error)


def test_no_provider(execute, site):
    """``None`` means that there is no provider."""
    site(None)
    assert execute(WHOAMI) == "default"


# Providers that announce new tokens


async def awaited(returned):
    return await returned


def test_a_token_that_is_announced(execute, site, accept, admin, monkeypatch):
    """
    After a provider has announced a token, each connection signs in with it within a second, even
    if the server would keep it open.
    """
    monkeypatch.setattr(leases, "KEEP_SECONDS", 0)  # a second later
    accept("other", user="other")
    tokens = site(Streaming())
    once = Command(("ACL", "WHOAMI"), bytes.decode, repeatable=False)
    ids = [execute(CLIENT_ID), execute(CLIENT_ID)]
    assert ids[0] == ids[1]
    assert [execute(WHOAMI), execute(once)] == [USER_NAME, USER_NAME]
    tokens.user, tokens.token = "other", "other"
    tokens.next("other")
    assert [execute(WHOAMI), execute(once)] == ["other", "other"]
    tokens.user, tokens.token = USER_NAME, "first"
    asyncio.run(awaited(tokens.next("first")))  # as an asynchronous provider announces it
    assert [execute(WHOAMI), execute(once)] == [USER_NAME, USER_NAME]
    ids = [execute(CLIENT_ID), execute(CLIENT_ID)]
    assert ids[0] == ids[1]
    admin.acl_deluser("other")


def test_a_connection_that_is_kept_for_now(execute, site, accept, monkeypatch):
    """Until the second is over, a connection goes on with the token that it has."""
    monkeypatch.setattr(leases, "KEEP_SECONDS", 300)
    tokens = site(Streaming())
    first = execute(CLIENT_ID)
    tokens.next("second")
    assert execute(CLIENT_ID) == first


def test_an_announcement_for_all_pools(site, accept, admin, monkeypatch):
    """The threads and each event loop of a process hear of a new token, by the one callback."""
    monkeypatch.setattr(leases, "KEEP_SECONDS", 0)
    accept("other", user="other")
    tokens = site(Streaming())
    with asyncio.Runner() as one, asyncio.Runner() as another:

        def users():
            return [
                clients.run(WHOAMI),
                one.run(clients.arun(WHOAMI)),
                another.run(clients.arun(WHOAMI)),
            ]

        assert users() == [USER_NAME] * 3
        tokens.user, tokens.token = "other", "other"
        tokens.next("other")
        assert users() == ["other"] * 3
    admin.acl_deluser("other")


def test_a_new_token_that_cannot_be_had(execute, site, accept, caplog):
    """If the provider fails to get a new token, that is logged without the token."""
    tokens = site(Streaming())
    first = execute(CLIENT_ID)
    with caplog.at_level(logging.WARNING, "sessions_redis"):
        tokens.error(ValueError(PASSWORD))
        asyncio.run(awaited(tokens.error(ValueError(PASSWORD))))
    assert [record.getMessage() for record in caplog.records] == [
        "No new token for Redis: tests.test_credentials.Streaming raised ValueError."
    ] * 2
    assert execute(CLIENT_ID) == first


def test_threads_that_meet_a_provider_at_once(monkeypatch):
    """If several threads need the provider's first connection, all of them share one listener."""
    tokens, begin, found = Streaming(), threading.Barrier(8), []

    def meet():
        begin.wait()
        found.append(credentials.credentials_of(tokens))

    threads = [threading.Thread(target=meet) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    tokens.next("second")
    assert {id(one) for one in found} == {id(credentials.credentials_of(tokens))}
    assert found[0].issued == 1


# Under load


@pytest.mark.skipif(
    "retry_socket_connect" not in signature(redis.Connection.connect_check_health).parameters,
    reason="this redis-py signs in only once, even if the connection breaks",
)
def test_tokens_that_change_under_load(site, accept, admin):
    """
    While threads and tasks work, tokens change and the server ends all connections: no request
    fails, and no entry is lost.
    """
    tokens = site(Tokens("token 0"))
    accept("token 0")
    store = SessionStore()
    store.create()
    ended, saved = threading.Event(), {}

    def work(name):
        saved[name] = 0
        while not ended.is_set():
            session = SessionStore(store.session_key)
            session[name] = saved[name] + 1
            session.save()
            saved[name] += 1

    async def awork(name):
        saved[name] = 0
        while not ended.is_set():
            session = SessionStore(store.session_key)
            await session.aset(name, saved[name] + 1)
            await session.asave()
            saved[name] += 1

    async def together():
        await asyncio.gather(*(awork(f"task {number}") for number in range(3)))

    with ThreadPoolExecutor(4) as threads:
        working = [threads.submit(work, f"thread {number}") for number in range(3)]
        working.append(threads.submit(lambda: asyncio.run(together())))

        def all_have_saved(before):
            failed = [one for one in working if one.done()]
            return failed or all(saved[name] > number + 1 for name, number in before.items())

        try:
            wait_until(lambda: len(saved) == 6, "all work")
            for number in range(1, 6):
                # As hosted servers do, accept the former token for a while.
                accept(f"token {number - 1}", f"token {number}")
                tokens.token = f"token {number}"
                cut(admin)
                before = dict(saved)
                wait_until(lambda: all_have_saved(before), "all have saved")  # noqa: B023
        finally:
            ended.set()
    for one in working:
        one.result()
    assert dict(SessionStore(store.session_key).items()) == saved
    assert len(saved) == 6
