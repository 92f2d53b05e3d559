"""The system checks: what is seen to be wrong before the first request."""

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

from sessions_redis import checks, engine
from sessions_redis.storage import listings
from sessions_redis.storage.commands import Keyspace
from tests.pickling import PickleSerializer
from tests.servers import Server

ROOT = Path(__file__).parent.parent

HERE = "redis://127.0.0.1:6379/0"


class SessionStore(engine.SessionStore):
    """A site's own engine: this module can be named as SESSION_ENGINE."""


class TextSerializer:
    """Makes no bytes."""

    def dumps(self, obj):
        return json.dumps(obj)

    def loads(self, data):
        return json.loads(data)


class PickySerializer(TextSerializer):
    """Writes dictionaries alone, as one that wants a whole session may."""

    def dumps(self, obj):
        return json.dumps(dict(obj)).encode()


class LossySerializer:
    """Brings everything back as text."""

    def dumps(self, obj):
        return str(obj).encode()

    def loads(self, data):
        return data.decode()


class OneWaySerializer:
    """Cannot read what it wrote."""

    def dumps(self, obj):
        return base64.b64encode(json.dumps(obj).encode())

    def loads(self, data):
        return json.loads(data)


class EncodedSerializer(TextSerializer):
    """Good, and not Django's."""

    def dumps(self, obj):
        return base64.b64encode(json.dumps(obj).encode())

    def loads(self, data):
        return json.loads(base64.b64decode(data))


class NeedySerializer:
    """Cannot be made without arguments."""

    def __init__(self, key):
        """Wants a key."""


class NoSerializer:
    """Neither writes nor reads."""


@pytest.fixture
def said(settings):
    """What the checks of this app say with these settings."""

    def messages(**changes):
        for name, value in changes.items():
            setattr(settings, name, value)
        return [found for found in run_checks() if (found.id or "").startswith("sessions_redis.")]

    return messages


def ids(messages):
    return [found.id.removeprefix("sessions_redis.") for found in messages]


def texts(messages):
    return [f"{found.msg} {found.hint}" for found in messages]


# The settings that are good


@pytest.mark.parametrize(
    "location",
    [
        "redis://127.0.0.1:1/0",
        "rediss://user:p%40ss@127.0.0.1:1/0",
        "unix:///no/such.sock",
    ],
)
def test_a_good_setting(said, location):
    """Nothing is said of a setting that can be used, and no server is asked for that."""
    assert said(SESSION_REDIS={"LOCATION": location, "OPTIONS": {"socket_timeout": 1}}) == []


@pytest.mark.parametrize("location", ["memory://", "embedded:///some/directory"])
def test_development(said, location):
    """With DEBUG on, nothing is said of servers that are for development and tests."""
    assert said(SESSION_REDIS={"LOCATION": location}, DEBUG=True) == []


def test_another_serializer(said):
    """Nothing is said of a serializer that brings back what it was given."""
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
    """What is wrong with SESSION_REDIS is an error with its own id, and with a hint."""
    (found,) = said(SESSION_REDIS=setting)
    assert ids([found]) == [id]
    assert found.level == ERROR
    assert words in found.msg
    assert found.hint


def test_all_that_is_wrong(said):
    """Every problem is told, the serializer's too."""
    setting = {"LOCATON": HERE, "INDEX": 1}
    found = said(SESSION_REDIS=setting, SESSION_SERIALIZER=f"{__name__}.TextSerializer")
    assert ids(found) == ["E002", "E004", "E003", "E005"]


def test_manage_py_check(settings):
    """``manage.py check`` stops at what is wrong, and says what and how to mend it."""
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
    """Options that redis-py does not know or take are an error before the first request."""
    (found,) = said(SESSION_REDIS={"LOCATION": location, "OPTIONS": options})
    assert ids([found]) == ["E003"]
    assert found.level == ERROR
    assert words in found.msg
    assert '"OPTIONS"' in found.msg


def test_options_that_redis_py_refuses_with_the_bundled_server(said):
    """Options are looked at whatever the server."""
    setting = {"LOCATION": "embedded:///some/directory", "OPTIONS": {"sockettimeout": 1}}
    (text,) = texts(said(SESSION_REDIS=setting, DEBUG=True))
    assert "sockettimeout" in text


@pytest.mark.parametrize("retry", [3, "always"])
def test_a_retry_that_is_none(said, retry):
    """A retry that is no Retry is an error, not a crash of the check."""
    (text,) = texts(said(SESSION_REDIS={"LOCATION": HERE, "OPTIONS": {"retry": retry}}))
    assert "retry" in text


def test_decoded_replies_by_the_url(said):
    """Decoded replies are refused where the URL asks for them, as in OPTIONS."""
    (text,) = texts(said(SESSION_REDIS={"LOCATION": f"{HERE}?decode_responses=True"}))
    assert "decode_responses" in text


@pytest.mark.parametrize("name", ["socket_timeout", "socket_connect_timeout"])
def test_a_timeout_in_text(said, name):
    """A time that is given in text, as the environment has it, is an error."""
    (text,) = texts(said(SESSION_REDIS={"LOCATION": HERE, "OPTIONS": {name: "2"}}))
    assert name in text


@pytest.mark.parametrize("package", ["fakeredis", "lupa"])
def test_a_missing_package(said, monkeypatch, package):
    """A package that the location needs and that is not installed is an error."""
    import fakeredis  # noqa: F401 - looks for its Lua when imported, for all of the process

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
def test_a_serializer_that_loses(said, serializer, words):
    """A serializer that does not bring back what it was given is one error, with the reason."""
    (found,) = said(SESSION_SERIALIZER=serializer)
    assert ids([found]) == ["E005"]
    assert found.level == ERROR
    assert found.msg.startswith(f"SESSION_SERIALIZER '{serializer}' {words}")
    assert "JSONSerializer" in found.hint


def test_a_serializer_that_is_no_path(said):
    """A serializer that is given as a class, not by its path, is an error, not a crash."""
    assert ids(said(SESSION_SERIALIZER=PickleSerializer)) == ["E005"]


# W007


@pytest.fixture
def in_production(monkeypatch):
    """As if no tests were running."""
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
    """Under a test runner, which turns DEBUG off, nothing is said of it."""
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
    """What a command of ``manage.py`` says in a site that has nothing but the engine."""
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
    """``manage.py test`` says nothing of ``memory://``; in production ``manage.py check`` does."""
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
    """A prefix that lies among another's indexes is a warning that names the other."""
    (found,) = said(SESSION_REDIS={"LOCATION": HERE, "KEY_PREFIX": prefix})
    assert ids([found]) == ["W012"]
    assert found.level == WARNING
    assert f"has the prefix {other!r}," in found.msg


@pytest.mark.parametrize(
    "prefix", ["session", "user", "index", "user:session", "session:users", "session-user", "a:b"]
)
def test_a_prefix_of_its_own(said, prefix):
    """Others share no name with another site's keys."""
    assert said(SESSION_REDIS={"LOCATION": HERE, "KEY_PREFIX": prefix}) == []


def test_which_prefixes_share_names(said):
    """Of all prefixes made of such parts, the warned of are those that can share a key's name."""
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
    """A server of these tests' own, whose policy they set."""
    server = Server(tmp_path_factory.mktemp("evicting"))
    yield server
    server.stop()


@pytest.fixture
def deploying(settings):
    """What the checks of this app say that ``check --deploy`` adds."""

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
    """Each policy that removes keys is a warning: all that the engine writes has a TTL."""
    with evicting.client() as client:
        client.config_set("maxmemory-policy", policy)
        client.config_set("maxmemory", "100mb")
    (found,) = deploying(LOCATION=evicting.url, OPTIONS={"protocol": protocol})
    assert found.level == WARNING
    assert f"{evicting.port}/0 has the maxmemory-policy {policy}: when its memory" in found.msg
    assert "noeviction" in found.hint


def test_a_server_that_would_evict(deploying, evicting):
    """Without a limit nothing is evicted yet; the warning says what would change that."""
    with evicting.client() as client:
        client.config_set("maxmemory-policy", "volatile-lru")
        client.config_set("maxmemory", "0")
    (found,) = deploying(LOCATION=evicting.url)
    assert "once maxmemory, which is 0, is set" in found.msg


def test_a_server_that_does_not_evict(deploying, evicting):
    """With noeviction nothing is said, whatever the limit."""
    with evicting.client() as client:
        client.config_set("maxmemory-policy", "noeviction")
        client.config_set("maxmemory", "100mb")
    assert deploying(LOCATION=evicting.url) == []


@pytest.mark.parametrize("commands", [["-info"], ["-@all", "+eval"]])
def test_a_server_that_does_not_tell(deploying, evicting, commands):
    """A user who may not ask is told nothing; nor is CONFIG asked."""
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
def test_no_server_that_could_tell(deploying, setting):
    """Nothing is said where the server is away, or is for development, or cannot be named."""
    assert deploying(**setting) == []


def test_the_server_of_another_engine(deploying, settings, evicting):
    """Nor is it said of a server that another engine's site names."""
    with evicting.client() as client:
        client.config_set("maxmemory-policy", "allkeys-lru")
    settings.SESSION_ENGINE = "django.contrib.sessions.backends.db"
    assert deploying(LOCATION=evicting.url) == []


def test_a_reply_without_a_policy():
    """A server that tells nothing of it, as some that speak Redis' protocol, may do as it likes."""
    assert listings.eviction().read(b"# Memory\r\nused_memory:1\r\n") is None
    assert listings.eviction().read(b"maxmemory_policy:noeviction\r\n").limit == 0


# W011, and Django's own about cookies


@pytest.fixture
def deployed(settings):
    """The ids of what ``check --deploy`` says with these settings."""

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
    """Where a URL that can be used has the password, that is a warning, with our engine alone."""
    assert ("sessions_redis.W011" in deployed(SESSION_REDIS=setting)) is warns
    settings.SESSION_ENGINE = "django.contrib.sessions.backends.db"
    assert "sessions_redis.W011" not in deployed(SESSION_REDIS=setting)


DJANGOS = "django.contrib.sessions"


@pytest.fixture
def cookies_found(settings, monkeypatch):
    """The ids of what Django's checks of the session's cookie say, and ours."""

    def found(*apps, **changes):
        # Past override_settings(), which would load the apps anew.
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
    """What is not set is told once: by Django, or by ours where Django would not say it."""
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
    """Where both are set nothing is said, nor with another engine."""
    safe = {"SESSION_COOKIE_SECURE": True, "SESSION_COOKIE_HTTPONLY": True}
    assert cookies_found(MIDDLEWARE=[], **safe) == []
    unsafe = dict.fromkeys(safe, False)
    engine = f"{DJANGOS}.backends.cache"
    assert cookies_found(MIDDLEWARE=[], SESSION_ENGINE=engine, **unsafe) == []


def test_the_deploy_check_of_a_site_without_djangos_app(tmp_path):
    """A site that has our app alone is told about its cookie by ``check --deploy``, and once."""
    done = run_in_site(tmp_path, "check", "--deploy")
    assert done.count("security.W012") == 1
    assert done.count("security.W015") == 0
    assert "security.W012" not in run_in_site(tmp_path, "check")


def test_a_plain_check_asks_no_server(said, evicting):
    """Without --deploy the server is not asked."""
    with evicting.client() as client:
        client.config_set("maxmemory-policy", "allkeys-lru")
    assert said(SESSION_REDIS={"LOCATION": evicting.url}) == []


# W010


@pytest.mark.parametrize("kind", ["PickleSerializer", "SignedSerializer", "MovingSerializer"])
def test_a_serializer_that_executes_code(said, kind):
    """It is a warning, with what it means and what to use instead."""
    (found,) = said(SESSION_SERIALIZER=f"tests.pickling.{kind}")
    assert ids([found]) == ["W010"]
    assert found.level == WARNING
    assert "anyone who can write to Redis can run code in your site" in found.msg
    assert '"django.contrib.sessions.serializers.JSONSerializer"' in found.hint


# Whose engine it is


@pytest.mark.parametrize("name", ["sessions_redis.engine", __name__])
def test_an_engine_of_ours(said, name):
    """The settings are checked for the engine, and for one that a site derives of it."""
    assert ids(said(SESSION_ENGINE=name, SESSION_REDIS={})) == ["E003"]


OTHERS = ["django.contrib.sessions.backends.db", "no.such.engine", "json", "sessions_redis.conf"]


@pytest.mark.parametrize("name", OTHERS)
def test_another_engine(said, name):
    """Without our engine, that SESSION_REDIS is set is a warning, whatever it says."""
    (found,) = said(SESSION_ENGINE=name, SESSION_REDIS={"COLOR": 1})
    assert ids([found]) == ["W008"]
    assert found.level == WARNING
    assert f"SESSION_ENGINE is '{name}'" in found.msg
    assert 'SESSION_ENGINE = "sessions_redis.engine"' in found.hint


@pytest.mark.parametrize("name", OTHERS)
def test_another_engine_without_our_setting(said, settings, name):
    """Without our engine and our setting nothing is said, though the app is installed."""
    del settings.SESSION_REDIS
    assert said(SESSION_ENGINE=name, SESSION_SERIALIZER=f"{__name__}.TextSerializer") == []


def test_a_setting_that_is_not_there(said, settings):
    """With our engine and without the setting, that is an error."""
    del settings.SESSION_REDIS
    assert ids(said()) == ["E001"]
