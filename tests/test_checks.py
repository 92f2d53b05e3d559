"""The system checks, which find mistakes before the first request."""

import base64
import json
import os
import subprocess
import sys
from collections import defaultdict
from io import StringIO
from itertools import product
from pathlib import Path

import pytest
from django.conf import settings as django_settings
from django.core.checks import ERROR, WARNING, run_checks
from django.core.management import call_command
from django.core.management.base import SystemCheckError
from django.test.utils import _TestState

from sessions_redis import checks, engine, user_agents
from sessions_redis.middleware import SessionMiddleware
from sessions_redis.storage.keyspaces import Keyspace
from tests.pickling import PickleSerializer
from tests.servers import Server

ROOT = Path(__file__).parent.parent

HERE = "redis://127.0.0.1:6379/0"


class SessionStore(engine.SessionStore):
    """A site's own engine: SESSION_ENGINE can name this module."""


class TextSerializer:
    """Returns text in place of bytes."""

    def dumps(self, obj):
        return json.dumps(obj)

    def loads(self, data):
        return json.loads(data)


class PickySerializer(TextSerializer):
    """Writes only dictionaries, like a serializer for whole sessions."""

    def dumps(self, obj):
        return json.dumps(dict(obj)).encode()


class LossySerializer:
    """Returns every value as text."""

    def dumps(self, obj):
        return str(obj).encode()

    def loads(self, data):
        return data.decode()


class OneWaySerializer:
    """Cannot read its own output."""

    def dumps(self, obj):
        return base64.b64encode(json.dumps(obj).encode())

    def loads(self, data):
        return json.loads(data)


class EncodedSerializer(TextSerializer):
    """A correct serializer that is not Django's."""

    def dumps(self, obj):
        return base64.b64encode(json.dumps(obj).encode())

    def loads(self, data):
        return json.loads(base64.b64decode(data))


class NeedySerializer:
    """Cannot be created without arguments."""

    def __init__(self, key):
        """Requires a key."""


class NoSerializer:
    """Neither writes nor reads."""


@pytest.fixture
def said(settings):
    """The messages of this app's checks with these settings."""

    def messages(**changes):
        for name, value in changes.items():
            setattr(settings, name, value)
        return [found for found in run_checks() if (found.id or "").startswith("sessions_redis.")]

    return messages


def ids(messages):
    return [found.id.removeprefix("sessions_redis.") for found in messages]


def texts(messages):
    return [f"{found.msg} {found.hint}" for found in messages]


# Correct settings


@pytest.mark.parametrize(
    "location",
    [
        "redis://127.0.0.1:1/0",
        "rediss://user:p%40ss@127.0.0.1:1/0",
        "unix:///no/such.sock",
    ],
)
def test_a_good_setting(said, location):
    """The checks find nothing in a correct setting, and need no server for that."""
    assert said(SESSION_REDIS={"LOCATION": location, "OPTIONS": {"socket_timeout": 1}}) == []


@pytest.mark.parametrize("location", ["memory://", "embedded:///some/directory"])
def test_development(said, location):
    """With DEBUG on, servers for development and tests are fine."""
    assert said(SESSION_REDIS={"LOCATION": location}, DEBUG=True) == []


def test_another_serializer(said):
    """A serializer that returns the value that it was given is fine."""
    assert said(SESSION_SERIALIZER=f"{__name__}.EncodedSerializer") == []


# E001 to E006


@pytest.mark.parametrize(
    ("setting", "id", "words"),
    [
        (None, "E001", "SESSION_REDIS is not set"),
        ([], "E001", "SESSION_REDIS is not a dictionary"),
        ({"LOCATION": HERE, "COLOR": 1}, "E002", "no setting 'COLOR'"),
        ({}, "E003", 'has no "LOCATION"'),
        ({"LOCATION": "localhost"}, "E003", "is not a URL"),
        ({"LOCATION": HERE, "KEY_PREFIX": ""}, "E004", '"KEY_PREFIX"] is empty'),
        ({"host": "localhost"}, "E006", "has settings of django-redis-sessions"),
    ],
)
def test_a_wrong_setting(said, setting, id, words):
    """A mistake in SESSION_REDIS is an error with its own ID and a hint."""
    (found,) = said(SESSION_REDIS=setting)
    assert ids([found]) == [id]
    assert found.level == ERROR
    assert words in found.msg
    assert found.hint


DB = "django.contrib.sessions.backends.db"


@pytest.mark.parametrize(
    ("setting", "found"),
    [
        ({"FORMER_ENGINE": DB}, []),
        ({"FORMER_ENGINE": DB, "FORMER_ENGINE_SHARED": True}, []),
        ({"FORMER_ENGINE_SHARED": True}, ["W031"]),
        ({"FORMER_ENGINE": "django.contrib.sessions.backends.signed_cookies"}, ["E030"]),
        ({"FORMER_ENGINE": "no.such.engine"}, ["E030"]),
        ({"FORMER_ENGINE": "sessions_redis.engine"}, ["E030"]),
        ({"FORMER_ENGINE": 1}, ["E004"]),
        ({"FORMER_ENGINE": "redis_sessions.session", "host": "localhost", "POOL": None}, []),
        ({"FORMER_ENGINE": "redis_sessions.session", "color": "red"}, ["E002"]),
        ({"FORMER_ENGINE": DB, "host": "localhost"}, ["E006"]),
    ],
)
def test_a_former_engine(said, setting, found):
    """FORMER_ENGINE is an engine whose sessions can move in. Its own settings are fine."""
    assert ids(said(SESSION_REDIS={"LOCATION": HERE, **setting})) == found


OURS = "sessions_redis.middleware.SessionMiddleware"
DJANGOS = "django.contrib.sessions.middleware.SessionMiddleware"


class OwnMiddleware(SessionMiddleware):
    """A site's own middleware."""


@pytest.mark.parametrize(
    ("setting", "middleware", "found"),
    [
        ({"BIND_TO": ["device"]}, [OURS], []),
        ({"BIND_TO": ["device", "network"], "METADATA": True}, [f"{__name__}.OwnMiddleware"], []),
        ({"BIND_TO": []}, [DJANGOS], []),
        ({"BIND_TO": [], "METADATA": False}, [OURS], []),
        ({"BIND_TO": ["network"]}, [DJANGOS], ["E038"]),
        ({"BIND_TO": ("network",)}, ["no.such.middleware", "builtins.print"], ["E038"]),
        ({"BIND_TO": ["network"], "METADATA": False}, [OURS], ["E038"]),
    ],
)
def test_binding(said, setting, middleware, found):
    """BIND_TO needs metadata, and the middleware that knows it."""
    setting = {"LOCATION": HERE, **setting}
    assert ids(said(SESSION_REDIS=setting, MIDDLEWARE=middleware)) == found


def test_binding_without_parser(said, monkeypatch):
    """Without the extra "devices", sessions cannot be bound to devices."""
    monkeypatch.setattr(user_agents, "parser", lambda: None)
    for names, found in ((["network"], []), (["device"], ["E038"])):
        setting = {"LOCATION": HERE, "BIND_TO": names}
        assert ids(said(SESSION_REDIS=setting, MIDDLEWARE=[OURS])) == found


def test_all_that_is_wrong(said):
    """All mistakes are reported, also that of the serializer."""
    setting = {"LOCATON": HERE, "INDEX": 1}
    found = said(SESSION_REDIS=setting, SESSION_SERIALIZER=f"{__name__}.TextSerializer")
    assert ids(found) == ["E002", "E004", "E003", "E005"]


def test_manage_py_check(settings):
    """``manage.py check`` stops at a mistake, and says what is wrong and how to fix it."""
    settings.SESSION_REDIS = {}
    with pytest.raises(SystemCheckError) as caught:
        call_command("check", stdout=StringIO(), stderr=StringIO())
    assert "(sessions_redis.E003)" in str(caught.value)
    assert 'HINT: Write the URL of Redis: "LOCATION"' in str(caught.value)


@pytest.mark.parametrize(
    ("location", "options", "words"),
    [
        (HERE, {"sockettimeout": 1}, "sockettimeout"),
        ("unix:///run/redis.sock", {"ssl_ca_certs": "x"}, "ssl_ca_certs"),
        (HERE, {"max_connections": "many"}, "max_connections"),
        (HERE, {"protocol": 7}, "protocol"),
        (f"{HERE}?socket_timeout=long", {}, "socket_timeout"),
        (f"{HERE}?sockettimeout=1", {}, "sockettimeout"),
    ],
)
def test_options_that_redis_py_refuses(said, location, options, words):
    """Options that redis-py does not know or accept are an error before the first request."""
    (found,) = said(SESSION_REDIS={"LOCATION": location, "OPTIONS": options})
    assert ids([found]) == ["E003"]
    assert found.level == ERROR
    assert words in found.msg
    assert '"OPTIONS"' in found.msg


def test_options_that_redis_py_refuses_with_the_embedded_server(said):
    """The options are checked for every kind of server."""
    setting = {"LOCATION": "embedded:///some/directory", "OPTIONS": {"sockettimeout": 1}}
    (text,) = texts(said(SESSION_REDIS=setting, DEBUG=True))
    assert "sockettimeout" in text


@pytest.mark.parametrize("retry", [3, "always"])
def test_a_retry_that_is_not_a_retry(said, retry):
    """A value of retry that is not a Retry is an error, and does not crash the check."""
    (text,) = texts(said(SESSION_REDIS={"LOCATION": HERE, "OPTIONS": {"retry": retry}}))
    assert "retry" in text


def test_decoded_replies_by_the_url(said):
    """A URL that asks for decoded replies is an error, as it is in OPTIONS."""
    (text,) = texts(said(SESSION_REDIS={"LOCATION": f"{HERE}?decode_responses=True"}))
    assert "decode_responses" in text


@pytest.mark.parametrize("name", ["socket_timeout", "socket_connect_timeout"])
def test_a_timeout_in_text(said, name):
    """A timeout that is text, as environment variables are, is an error."""
    (text,) = texts(said(SESSION_REDIS={"LOCATION": HERE, "OPTIONS": {name: "2"}}))
    assert name in text


@pytest.mark.parametrize("package", ["fakeredis", "lupa"])
def test_a_missing_package(said, monkeypatch, package):
    """If a package that the location needs is not installed, that is an error."""
    import fakeredis  # noqa: F401 - imports Lua, which must happen once for the whole process

    monkeypatch.setitem(sys.modules, package, None)
    found = said(SESSION_REDIS={"LOCATION": f"memory://without-{package}"}, DEBUG=True)
    assert ids(found) == ["E003"]
    assert 'pip install "django-sessions-redis[test]"' in found[0].msg


@pytest.mark.parametrize(
    ("serializer", "words"),
    [
        (f"{__name__}.TextSerializer", "turns 'text' into str, not bytes"),
        (f"{__name__}.PickySerializer", "fails on 'text'"),
        (f"{__name__}.LossySerializer", "returns '1' for 1"),
        (f"{__name__}.OneWaySerializer", "fails on 'text'"),
        (f"{__name__}.NeedySerializer", "cannot be created"),
        (f"{__name__}.NoSerializer", "fails on 'text'"),
        (f"{__name__}.MissingSerializer", "cannot be created"),
        ("no.such.module.Serializer", "cannot be created"),
        ("unqualified", "cannot be created"),
    ],
)
def test_a_serializer_that_changes_values(said, serializer, words):
    """
    A serializer that does not return the value that it was given is one error, with the reason.
    """
    (found,) = said(SESSION_SERIALIZER=serializer)
    assert ids([found]) == ["E005"]
    assert found.level == ERROR
    assert found.msg.startswith(f"SESSION_SERIALIZER '{serializer}' {words}")
    assert "JSONSerializer" in found.hint


def test_a_serializer_that_is_not_a_path(said):
    """
    A serializer that is given as a class, not by its path, is an error, and does not crash the
    check.
    """
    assert ids(said(SESSION_SERIALIZER=PickleSerializer)) == ["E005"]


# W007


@pytest.fixture
def in_production(monkeypatch):
    """Runs the checks as if no tests were running."""
    monkeypatch.delattr(_TestState, "saved_data")


@pytest.mark.parametrize(
    ("location", "words"),
    [
        ("memory://", "memory://, which is for tests"),
        ("embedded:///some/directory", "embedded://, which is for development"),
    ],
)
@pytest.mark.usefixtures("in_production")
def test_development_in_production(said, location, words):
    """With DEBUG off, a server for development or tests is a warning."""
    (found,) = said(SESSION_REDIS={"LOCATION": location})
    assert ids([found]) == ["W007"]
    assert found.level == WARNING
    assert words in found.msg
    assert "redis://" in found.hint


@pytest.mark.parametrize("location", ["memory://", "embedded:///some/directory"])
def test_development_in_tests(said, location):
    """In tests, which turn DEBUG off, such a server is fine."""
    assert said(SESSION_REDIS={"LOCATION": location}) == []


RUN = """
import sys
from django.conf import settings
settings.configure(
    DEBUG=True, INSTALLED_APPS=["sessions_redis"], SESSION_ENGINE="sessions_redis.engine",
    SESSION_REDIS={"LOCATION": "memory://"},
)
import django
django.setup()
from django.core.management import call_command
if sys.argv[1] == "check":
    settings.DEBUG = False
call_command(*sys.argv[1:])
"""


def run_in_site(folder, *command):
    """The output of a ``manage.py`` command in a site that has only the engine."""
    done = subprocess.run(
        [sys.executable, "-c", RUN, *command],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    return done.stdout + done.stderr


@pytest.mark.parametrize(("command", "warns"), [("test", False), ("check", True)])
def test_the_test_command(tmp_path, command, warns):
    """``manage.py test`` accepts ``memory://``; in production ``manage.py check`` warns of it."""
    assert ("sessions_redis.W007" in run_in_site(tmp_path, command)) is warns


# W012


@pytest.mark.parametrize(
    ("prefix", "other"),
    [
        ("session:user", "session"),
        ("session:index", "session"),
        ("session:user:8", "session"),
        ("session:index:signed-in", "session"),
        ("shop:session:user", "shop:session"),
        ("a:index:b:user", "a"),
    ],
)
def test_a_prefix_within_anothers(said, prefix, other):
    """
    A prefix that is within another site's index names is a warning that names the other prefix.
    """
    (found,) = said(SESSION_REDIS={"LOCATION": HERE, "KEY_PREFIX": prefix})
    assert ids([found]) == ["W012"]
    assert found.level == WARNING
    assert f"has the prefix {other!r}," in found.msg


@pytest.mark.parametrize(
    "prefix", ["session", "user", "index", "user:session", "session:users", "session-user", "a:b"]
)
def test_a_prefix_of_its_own(said, prefix):
    """With other prefixes, no key has the same name as a key of another site."""
    assert said(SESSION_REDIS={"LOCATION": HERE, "KEY_PREFIX": prefix}) == []


def test_which_prefixes_share_names(said):
    """
    Of all prefixes made of such parts, the check warns of exactly those that can share a key's
    name.
    """
    parts = ["session", "user", "index", "signed-in", "8"]
    prefixes = [":".join(chosen) for n in (1, 2, 3) for chosen in product(parts, repeat=n)]
    hexes = "0" * 32
    pks = ["8", hexes, "index", f"8:{hexes}", f"index:{hexes}", f"signed-in:{hexes}", "8:index"]
    pks += [f"{pk}:index" for pk in ("user", "index", "session", "signed-in")]

    def names(prefix):
        keys = Keyspace(prefix)
        yield from (keys.session(hexes), keys.index, keys.signed_in, keys.anonymous)
        yield from map(keys.user, pks)

    owners = defaultdict(set)
    for prefix in prefixes:
        for name in names(prefix):
            owners[name].add(prefix)
    shared = {max(of, key=len) for of in owners.values() if len(of) > 1}
    assert shared
    assert all(checks.INSIDE_INDEX_NAMES.match(prefix) for prefix in shared)


# W009


@pytest.fixture(scope="module")
def evicting(tmp_path_factory):
    """A server of these tests, whose policy they set."""
    server = Server(tmp_path_factory.mktemp("evicting"))
    yield server
    server.stop()


@pytest.fixture
def deploying(settings):
    """The messages that ``check --deploy`` adds from this app."""

    def messages(**setting):
        settings.SESSION_REDIS = setting
        found = run_checks(include_deployment_checks=True)
        return [one for one in found if one.id == "sessions_redis.W009"]

    return messages


POLICIES = [
    "allkeys-lru", "allkeys-lfu", "allkeys-random",
    "volatile-lru", "volatile-lfu", "volatile-random", "volatile-ttl",
]  # fmt: skip


@pytest.mark.parametrize("protocol", [2, 3])
@pytest.mark.parametrize("policy", POLICIES)
def test_a_server_that_may_evict(deploying, evicting, policy, protocol):
    """Each policy that removes keys is a warning, because all keys of the engine have a TTL."""
    with evicting.client() as client:
        client.config_set("maxmemory-policy", policy)
        client.config_set("maxmemory", "100mb")
    (found,) = deploying(LOCATION=evicting.url, OPTIONS={"protocol": protocol})
    assert found.level == WARNING
    assert f"{evicting.port}/0 has the maxmemory-policy {policy}: when its memory" in found.msg
    assert "noeviction" in found.hint


def test_a_server_that_would_evict(deploying, evicting):
    """Without a limit, the server evicts nothing yet. The warning says what would change that."""
    with evicting.client() as client:
        client.config_set("maxmemory-policy", "volatile-lru")
        client.config_set("maxmemory", "0")
    (found,) = deploying(LOCATION=evicting.url)
    assert "once maxmemory, which is 0, is set" in found.msg


def test_a_server_that_does_not_evict(deploying, evicting):
    """With noeviction, the check finds nothing, with any limit."""
    with evicting.client() as client:
        client.config_set("maxmemory-policy", "noeviction")
        client.config_set("maxmemory", "100mb")
    assert deploying(LOCATION=evicting.url) == []


@pytest.mark.parametrize("commands", [["-info"], ["-@all", "+eval"]])
def test_a_server_that_does_not_say_its_policy(deploying, evicting, commands):
    """If the user has no permission to ask, the check finds nothing. It never uses CONFIG."""
    with evicting.client() as client:
        client.config_set("maxmemory-policy", "allkeys-lru")
        client.execute_command("ACL", "SETUSER", "site", "on", ">secret", "~*", "+@all", *commands)
    location = evicting.url.replace("redis://", "redis://site:secret@")
    assert deploying(LOCATION=location) == []


@pytest.mark.parametrize(
    "setting",
    [
        {"LOCATION": "redis://127.0.0.1:1/0"},
        {"LOCATION": "memory://"},
        {"LOCATION": "embedded:///no/such/directory"},
        {"LOCATION": HERE, "OPTIONS": {"sockettimeout": 1}},
        {"LOCATION": "nonsense"},
        {},
    ],
)
def test_no_server_that_could_answer(deploying, setting):
    """
    The check finds nothing if the server cannot be reached, is for development, or has no valid
    address.
    """
    assert deploying(**setting) == []


def test_the_server_of_another_engine(deploying, settings, evicting):
    """The check does not ask the server if the site uses another engine."""
    with evicting.client() as client:
        client.config_set("maxmemory-policy", "allkeys-lru")
    settings.SESSION_ENGINE = "django.contrib.sessions.backends.db"
    assert deploying(LOCATION=evicting.url) == []


# W011, and Django's checks of cookies


@pytest.fixture
def deployed(settings):
    """The IDs of the messages of ``check --deploy`` with these settings."""

    def found(**changes):
        for name, value in changes.items():
            setattr(settings, name, value)
        return [one.id for one in run_checks(include_deployment_checks=True)]

    return found


@pytest.mark.parametrize(
    ("setting", "warns"),
    [
        ({"LOCATION": "rediss://user:secret@127.0.0.1:1/0"}, True),
        ({"LOCATION": "redis://:secret@127.0.0.1:1/0"}, True),
        ({"LOCATION": "redis://127.0.0.1:1/0?password=secret"}, True),
        ({"LOCATION": "unix://:secret@/no/such.sock"}, True),
        ({"LOCATION": "redis://127.0.0.1:1/0", "OPTIONS": {"password": "secret"}}, False),
        ({"LOCATION": "redis://user@127.0.0.1:1/0"}, False),
        ({"LOCATION": "memory://:secret@x"}, False),
        ({"LOCATION": "redis://:se/cret@127.0.0.1:1/0"}, False),
    ],
)
def test_a_password_in_the_url(deployed, settings, setting, warns):
    """If a valid URL contains the password, that is a warning, but only with our engine."""
    assert ("sessions_redis.W011" in deployed(SESSION_REDIS=setting)) is warns
    settings.SESSION_ENGINE = "django.contrib.sessions.backends.db"
    assert "sessions_redis.W011" not in deployed(SESSION_REDIS=setting)


DJANGOS = "django.contrib.sessions"


@pytest.fixture
def cookies_found(settings, monkeypatch):
    """The IDs of the messages about the session cookie, from Django's checks and ours."""

    def found(*apps, **changes):
        # This does not use override_settings(), which would load the apps again.
        monkeypatch.setattr(django_settings._wrapped, "INSTALLED_APPS", apps)
        for name, value in changes.items():
            setattr(settings, name, value)
        every = [
            *checks.cookies.check_session_cookie_secure(None),
            *checks.cookies.check_session_cookie_httponly(None),
            *checks.check_cookies(),
        ]
        return sorted(one.id for one in every)

    return found


@pytest.mark.parametrize("middleware", [DJANGOS, "sessions_redis", "a.site's.own"])
@pytest.mark.parametrize("has_app", [True, False])
@pytest.mark.parametrize(("secure", "httponly"), [(False, True), (True, False), (False, False)])
def test_the_cookie(cookies_found, middleware, has_app, secure, httponly):
    """An unsafe cookie is reported once: by Django, or by our check if Django's does not run."""
    found = cookies_found(
        *([DJANGOS] if has_app else []),
        MIDDLEWARE=[f"{middleware}.middleware.SessionMiddleware"],
        SESSION_COOKIE_SECURE=secure,
        SESSION_COOKIE_HTTPONLY=httponly,
    )
    assert len(found) == (not secure) + (not httponly)
    if middleware != DJANGOS and not has_app:
        assert found == ["security.W012"] * (not secure) + ["security.W015"] * (not httponly)


def test_a_cookie_that_is_safe(cookies_found):
    """If both settings are safe, nothing is reported; the same with another engine."""
    safe = {"SESSION_COOKIE_SECURE": True, "SESSION_COOKIE_HTTPONLY": True}
    assert cookies_found(MIDDLEWARE=[], **safe) == []
    unsafe = dict.fromkeys(safe, False)
    engine = f"{DJANGOS}.backends.cache"
    assert cookies_found(MIDDLEWARE=[], SESSION_ENGINE=engine, **unsafe) == []


def test_the_deploy_check_of_a_site_without_djangos_app(tmp_path):
    """For a site that has only our app, ``check --deploy`` reports its cookie, once."""
    done = run_in_site(tmp_path, "check", "--deploy")
    assert done.count("security.W012") == 1
    assert done.count("security.W015") == 0
    assert "security.W012" not in run_in_site(tmp_path, "check")


def test_a_plain_check_asks_no_server(said, evicting):
    """Without --deploy, the checks do not ask the server."""
    with evicting.client() as client:
        client.config_set("maxmemory-policy", "allkeys-lru")
    assert said(SESSION_REDIS={"LOCATION": evicting.url}) == []


# W010


@pytest.mark.parametrize("kind", ["PickleSerializer", "SignedSerializer", "MovingSerializer"])
def test_a_serializer_that_executes_code(said, kind):
    """Such a serializer is a warning, which says what it means and what to use instead."""
    (found,) = said(SESSION_SERIALIZER=f"tests.pickling.{kind}")
    assert ids([found]) == ["W010"]
    assert found.level == WARNING
    assert "anyone who can write to Redis can run code in your site" in found.msg
    assert '"django.contrib.sessions.serializers.JSONSerializer"' in found.hint


# Which engine is in use


@pytest.mark.parametrize("name", ["sessions_redis.engine", __name__])
def test_an_engine_of_ours(said, name):
    """The settings are checked for the engine, and for an engine that a site derives from it."""
    assert ids(said(SESSION_ENGINE=name, SESSION_REDIS={})) == ["E003"]


OTHERS = ["django.contrib.sessions.backends.db", "no.such.engine", "json", "sessions_redis.conf"]


@pytest.mark.parametrize("name", OTHERS)
def test_another_engine(said, name):
    """With another engine, SESSION_REDIS is a warning with any value."""
    (found,) = said(SESSION_ENGINE=name, SESSION_REDIS={"COLOR": 1})
    assert ids([found]) == ["W008"]
    assert found.level == WARNING
    assert f"SESSION_ENGINE is '{name}'" in found.msg
    assert 'SESSION_ENGINE = "sessions_redis.engine"' in found.hint


@pytest.mark.parametrize("name", OTHERS)
def test_another_engine_without_our_setting(said, settings, name):
    """Without our engine and our setting, nothing is reported, even if the app is installed."""
    del settings.SESSION_REDIS
    assert said(SESSION_ENGINE=name, SESSION_SERIALIZER=f"{__name__}.TextSerializer") == []


def test_a_missing_setting(said, settings):
    """With our engine but without the setting, an error is reported."""
    del settings.SESSION_REDIS
    assert ids(said()) == ["E001"]
