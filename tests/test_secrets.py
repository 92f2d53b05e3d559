"""Error reports contain neither session keys nor Redis passwords, wherever an error happens."""

import asyncio
import signal
import socket
from inspect import iscoroutine
from itertools import takewhile

import pytest
from django.contrib.auth.models import User
from django.contrib.sessions.backends.base import CreateError, UpdateError
from django.contrib.sessions.serializers import JSONSerializer
from django.core.exceptions import ImproperlyConfigured
from django.http import HttpResponse
from django.test import RequestFactory
from django.views.debug import ExceptionReporter
from redis.backoff import NoBackoff
from redis.credentials import UsernamePasswordCredentialProvider
from redis.retry import Retry

from sessions_redis import conf, registry
from sessions_redis.clients import pools
from sessions_redis.engine import SessionStore
from sessions_redis.exceptions import SessionStoreUnavailable
from sessions_redis.middleware import SessionMiddleware
from sessions_redis.storage.commands import session_id
from sessions_redis.web import own_sessions
from tests.proxy import Proxy
from tests.servers import Server

PASSWORD = "open-sesame-4711"
USER_NAME = "ali-baba-1001"

# No retries, so that errors come at once.
NO_RETRY = {"retry": Retry(NoBackoff(), 0), "retry_on_error": []}


def report_of(error):
    """
    Django's report of ``error``: the variables of each frame, and the messages.

    It leaves out the settings, and the frames of the tests, which contain the secrets.
    """
    told = ExceptionReporter(None, type(error), error, error.__traceback__).get_traceback_data()
    frames = [
        f"{frame['filename']} {frame['function']}: {name} = {value}"
        for frame in told["frames"]
        if frame["tb"] is not None and "/tests/" not in frame["filename"]
        for name, value in frame["vars"]
    ]
    assert frames
    return "\n".join([*frames, str(told["exception_value"]), *messages_of(error)])


def messages_of(error):
    while error is not None:
        yield f"{error} {error!r}"
        error = error.__cause__ or error.__context__


def assert_no_secret(error, *session_keys):
    report = report_of(error)
    for secret in (PASSWORD, USER_NAME, *session_keys):
        assert secret not in report, [line for line in report.split("\n") if secret in line]


def failure_of(function, *arguments):
    """The exception that ``function`` raises, also in its coroutine. ``None`` if it raises none."""
    try:
        result = function(*arguments)
        if iscoroutine(result):
            asyncio.run(result)
    except Exception as error:  # noqa: BLE001 - the test checks which error it is
        return error
    return None


@pytest.fixture
def session():
    session = SessionStore()
    session.update({"color": "red", "_auth_user_id": "7"})
    session.create()
    return session


def again(session):
    return SessionStore(session.session_key)


def request_of(session):
    request = RequestFactory().get("/")
    request.session = session
    request.user = User(pk=7)
    return request


# Operations on a session, each with the synchronous and the asynchronous method.
OPERATIONS = {
    "load": lambda s: s.load(),
    "aload": lambda s: s.aload(),
    "get": lambda s: s.get("color"),
    "aget": lambda s: s.aget("color"),
    "exists": lambda s: s.exists(s.session_key),
    "aexists": lambda s: s.aexists(s.session_key),
    "create": lambda s: s.create(),
    "acreate": lambda s: s.acreate(),
    "save": lambda s: s.save(),
    "asave": lambda s: s.asave(),
    "set and save": lambda s: (s.update({"size": "M"}), s.save()),
    "save a new one": lambda s: s.save(must_create=True),
    "asave a new one": lambda s: s.asave(must_create=True),
    "delete": lambda s: s.delete(),
    "adelete": lambda s: s.adelete(),
    "delete by key": lambda s: SessionStore().delete(s.session_key),
    "adelete by key": lambda s: SessionStore().adelete(s.session_key),
    "flush": lambda s: s.flush(),
    "aflush": lambda s: s.aflush(),
    "cycle": lambda s: s.cycle_key(),
    "acycle": lambda s: s.acycle_key(),
    "increment": lambda s: s.increment("counter"),
    "aincrement": lambda s: s.aincrement("counter"),
    "inspect": lambda s: s.inspect(),
    "ainspect": lambda s: s.ainspect(),
    "scope": lambda s: dict(s.scope("cart")),
    "ascope": lambda s: s.scope("cart").aitems(),
    "end_all_of": lambda s: registry.end_all_of("7", s.session_key),
    "aend_all_of": lambda s: registry.aend_all_of("7", s.session_key),
    "end_each_of": lambda s: registry.end_each_of("7", except_session_key=s.session_key),
    "aend_each_of": lambda s: registry.aend_each_of("7", except_session_key=s.session_key),
    "own sessions": lambda s: own_sessions.sessions_of(request_of(s)),
    "overview": lambda s: own_sessions.overview_of(request_of(s)),
    "own session": lambda s: own_sessions.session_of(request_of(s), session_id(s.session_key)),
    "end others": lambda s: own_sessions.end_others(request_of(s)),
}


@pytest.mark.parametrize("operation", OPERATIONS)
def test_redis_fails_at_some_step(session, settings, session_redis, server, operation):
    """If the connection breaks at any round trip, the report contains neither key nor password."""

    def fails_after(last):
        """Whether the operation fails if the connection breaks after so many round trips."""
        stale = again(session)
        with Proxy(server.port, last) as proxy:
            settings.SESSION_REDIS = {
                **session_redis,
                "LOCATION": proxy.url,
                "OPTIONS": NO_RETRY,
            }
            error = failure_of(OPERATIONS[operation], stale)
        settings.SESSION_REDIS = session_redis
        if isinstance(error, SessionStoreUnavailable):
            assert_no_secret(error, session.session_key, stale.session_key)
            return True
        return False

    assert [*takewhile(fails_after, range(12))]


class Refusing(JSONSerializer):
    """Refuses one value in every operation."""

    def dumps(self, value):
        if value == "refused":
            raise TypeError("not serializable")
        return super().dumps(value)


WRITES = ["create", "acreate", "save", "asave", "save a new one", "asave a new one"]
WRITES += ["cycle", "acycle", "increment", "aincrement"]


@pytest.mark.parametrize("operation", WRITES)
@pytest.mark.parametrize("is_new", [True, False])
def test_a_value_that_cannot_be_written(session, settings, operation, is_new):
    """The report of `session["x"] = object()` does not contain the key of the session."""
    settings.SESSION_SERIALIZER = f"{__name__}.Refusing"
    changed = SessionStore() if is_new else again(session)
    changed["counter"] = "refused"
    error = failure_of(OPERATIONS[operation], changed)
    assert isinstance(error, TypeError)
    assert_no_secret(error, session.session_key)


def no_metadata():
    raise LookupError("no metadata")


@pytest.mark.parametrize("operation", WRITES[:-2])
def test_metadata_that_cannot_be_read(session, operation):
    """
    If reading the request's metadata raises during a save, the report does not contain the key.
    """
    changed = again(session)
    changed.metadata_source = no_metadata
    error = failure_of(OPERATIONS[operation], changed)
    assert isinstance(error, LookupError)
    assert_no_secret(error, session.session_key)


class SameKeyStore(SessionStore):
    """A store whose source of randomness is broken."""

    def _get_new_session_key(self):
        return "always-the-same-key"


@pytest.mark.parametrize("operation", ["create", "acreate"])
def test_new_keys_that_are_taken(operation):
    """If new keys are taken, the report does not contain these keys."""
    first = SameKeyStore()
    first.create()
    error = failure_of(OPERATIONS[operation], SameKeyStore())
    assert isinstance(error, SessionStoreUnavailable)
    assert_no_secret(error, first.session_key)
    first.delete()


@pytest.mark.parametrize(
    "operation", ["set and save", "asave", "cycle", "acycle", "increment", "aincrement"]
)
def test_a_session_that_was_ended(session, operation):
    """If a session was ended during the request, the report does not contain its key."""
    late = again(session)
    late.load()
    assert late["color"] == "red"
    session.delete()
    error = failure_of(OPERATIONS[operation], late)
    assert isinstance(error, UpdateError)
    assert_no_secret(error, session.session_key)


def test_a_key_that_is_taken(session):
    """If a session is created under a key that is taken, the report does not contain the key."""
    error = failure_of(OPERATIONS["save a new one"], again(session))
    assert isinstance(error, CreateError)
    assert_no_secret(error, session.session_key)


# Whole requests


def change(request):
    request.session["color"] = "refused"
    return HttpResponse()


async def achange(request):
    await request.session.aset("color", "refused")
    return HttpResponse()


@pytest.mark.parametrize("view", [change, achange])
def test_a_request_whose_session_cannot_be_saved(session, settings, view):
    """The frames of the middleware do not contain the key, under WSGI and under ASGI."""
    settings.SESSION_SERIALIZER = f"{__name__}.Refusing"
    request = RequestFactory().get("/")
    request.COOKIES[settings.SESSION_COOKIE_NAME] = session.session_key
    error = failure_of(SessionMiddleware(view), request)
    assert isinstance(error, TypeError)
    assert_no_secret(error, session.session_key)


# The password of Redis


LOCATIONS = {
    "LOCATION": lambda port: {"LOCATION": f"redis://{USER_NAME}:{PASSWORD}@127.0.0.1:{port}/0"},
    "query": lambda port: {
        "LOCATION": f"redis://127.0.0.1:{port}/0?username={USER_NAME}&password={PASSWORD}"
    },
    "OPTIONS": lambda port: {
        "LOCATION": f"redis://127.0.0.1:{port}/0",
        "OPTIONS": {"username": USER_NAME, "password": PASSWORD},
    },
    "credential provider": lambda port: {
        "LOCATION": f"redis://127.0.0.1:{port}/0",
        "OPTIONS": {"credential_provider": UsernamePasswordCredentialProvider(USER_NAME, PASSWORD)},
    },
}


def wrong(setting, **options):
    return {**setting, "OPTIONS": {**setting.get("OPTIONS", {}), **options}}


@pytest.fixture(scope="module")
def locked(tmp_path_factory):
    """A server that requires a password."""
    server = Server(tmp_path_factory.mktemp("locked"))
    with server.client() as client:
        client.execute_command("ACL", "SETUSER", USER_NAME, "on", ">another", "~*", "+@all")
    yield server
    server.stop()


@pytest.mark.parametrize("place", LOCATIONS)
@pytest.mark.parametrize("operation", ["load", "aload", "increment", "aincrement"])
def test_a_password_that_is_wrong(settings, session_redis, locked, session, place, operation):
    """
    If Redis refuses user and password, the report contains neither, also not in redis-py's frames.
    """
    setting = wrong({**session_redis, **LOCATIONS[place](locked.port)}, **NO_RETRY)
    settings.SESSION_REDIS = setting
    error = failure_of(OPERATIONS[operation], again(session))
    settings.SESSION_REDIS = session_redis
    assert isinstance(error, SessionStoreUnavailable)
    assert_no_secret(error, session.session_key)


@pytest.mark.parametrize("place", LOCATIONS)
@pytest.mark.parametrize("operation", ["load", "aload", "increment", "aincrement"])
def test_a_server_that_is_away(settings, session_redis, session, place, operation):
    """If no server listens at the address, the report contains neither user nor password."""
    setting = wrong({**session_redis, **LOCATIONS[place](1)}, **NO_RETRY)
    settings.SESSION_REDIS = setting
    error = failure_of(OPERATIONS[operation], again(session))
    settings.SESSION_REDIS = session_redis
    assert isinstance(error, SessionStoreUnavailable)
    assert_no_secret(error, session.session_key)


class Interrupted(BaseException):
    """Raised by the time limit of a worker."""


def interrupt(number, frame):
    raise Interrupted


@pytest.fixture
def silent():
    """The port of a server that requires a password and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


def told_when_interrupted(store):
    before = signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, 0.2)
    try:
        store.load()
    except Interrupted as error:
        return error
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


async def told_when_out_of_time(store):
    try:
        async with asyncio.timeout(0.2):
            await store.aload()
    except TimeoutError as error:
        return error


@pytest.mark.parametrize("place", LOCATIONS)
@pytest.mark.parametrize("protocol", [2, 3])
def test_an_interruption_while_signing_in(settings, session_redis, silent, place, protocol):
    """If a time limit ends a request while redis-py signs in, the report contains no password."""
    setting = wrong({**session_redis, **LOCATIONS[place](silent)}, protocol=protocol)
    settings.SESSION_REDIS = wrong(setting, socket_timeout=20)
    store = SessionStore("k" * 32)
    errors = told_when_interrupted(store), asyncio.run(told_when_out_of_time(store))
    settings.SESSION_REDIS = session_redis
    for error in errors:
        assert_no_secret(error)


def test_an_error_that_is_being_handled(settings, session_redis):
    """
    An error that the caller is handling keeps its traceback, because the engine did not raise it.
    """
    settings.SESSION_REDIS = {**session_redis, "LOCATION": "redis://127.0.0.1:1/0"}
    failures = []
    try:
        {}["the site's own"]
    except KeyError as error:
        failures += [failure_of(OPERATIONS["load"], SessionStore("k" * 32))]
        failures += [failure_of(OPERATIONS["aload"], SessionStore("k" * 32))]
        own = error
    settings.SESSION_REDIS = session_redis
    assert all(isinstance(failure, SessionStoreUnavailable) for failure in failures)
    assert own.__traceback__ is not None


OPTIONS = {
    "unknown": {"no_such_option": 1},
    "seconds": {"timeout": "soon"},
    "retry": {"retry": 3},
    "protocol": {"protocol": 9},
    "decoding": {"encoding_errors": None, "decode_responses": 1},
    "connections": {"max_connections": -1},
}


@pytest.mark.parametrize("place", LOCATIONS)
@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("operation", ["load", "aload", "check"])
def test_options_that_cannot_be_used(settings, session_redis, place, options, operation):
    """The report of wrong OPTIONS names the options, but not the password beside them."""
    settings.SESSION_REDIS = wrong({**session_redis, **LOCATIONS[place](1)}, **OPTIONS[options])
    act = {**OPERATIONS, "check": lambda s: pools.check()}[operation]
    error = failure_of(act, SessionStore("k" * 32))
    settings.SESSION_REDIS = session_redis
    assert isinstance(error, ImproperlyConfigured)
    assert_no_secret(error)


BAD_LOCATIONS = [
    f"redis://{USER_NAME}:{PASSWORD}@127.0.0.1:port/0",
    f"redis://{USER_NAME}:{PASSWORD}@/0",
    f"redis://{USER_NAME}:{PASSWORD}@[::1/0",
    f"redis://{USER_NAME}:{PASSWORD}@host/db",
    f"reddis://{USER_NAME}:{PASSWORD}@host/0",
    f"redis://{USER_NAME}:{PASSWORD}@host/0?socket_timeout=soon",
    f"redis://{USER_NAME}:{PASSWORD}@host/0?timeout=-1",
]


@pytest.mark.parametrize("location", BAD_LOCATIONS)
def test_a_location_that_cannot_be_used(settings, session_redis, location):
    """The report of a wrong LOCATION says what is wrong, and shows neither user nor password."""
    settings.SESSION_REDIS = {**session_redis, "LOCATION": location}
    error = failure_of(OPERATIONS["load"], SessionStore("k" * 32))
    settings.SESSION_REDIS = session_redis
    assert isinstance(error, ImproperlyConfigured)
    assert_no_secret(error)


@pytest.mark.parametrize("place", LOCATIONS)
def test_settings_that_show_themselves(settings, session_redis, place):
    """
    The ``repr()`` of the settings shows the address of Redis, but no user, password or option.
    """
    settings.SESSION_REDIS = {**session_redis, **LOCATIONS[place](6379)}
    shown = repr(conf.current())
    settings.SESSION_REDIS = session_redis
    assert "127.0.0.1:6379" in shown
    assert PASSWORD not in shown
    assert USER_NAME not in shown
