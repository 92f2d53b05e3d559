"""Users and passwords in ``LOCATION``, with all kinds of characters."""

import string
from urllib.parse import quote, unquote

import pytest
from django.core.checks import run_checks
from redis.connection import SSLConnection, parse_url

from sessions_redis import clusters, conf, locations, services
from sessions_redis.clients import pools
from sessions_redis.engine import SessionStore
from sessions_redis.exceptions import SessionStoreUnavailable
from tests.servers import Server
from tests.test_secrets import OPERATIONS, failure_of, messages_of, report_of

# Every printable character that is neither a letter nor a digit, at several places of a password.
SPECIAL = [*string.punctuation, " "]
PLACES = {"first": "{}{}{}", "inside": "{1}{0}{2}", "last": "{1}{2}{0}"}

# Halves of a password. Digits can look like a port, letters like an option or a host.
HALVES = [("9876", "0982"), ("opens", "esame")]

# The places of user and password in a URL.
SHAPES = [
    "redis://:{}@127.0.0.1:{port}/0",
    "redis://default:{}@127.0.0.1:{port}/0",
    "redis://127.0.0.1:{port}/0?password={}",
    "unix://default:{}@{socket}?db=0",
    "unix://{socket}?password={}",
]


@pytest.fixture(scope="module")
def guarded(tmp_path_factory):
    """
    A server, and a client that sets its password. Connections that are already open stay signed in.
    """
    server = Server(tmp_path_factory.mktemp("guarded"), "--unixsocket", "redis.sock")
    with server.client() as client:
        yield server, client
        client.config_set("requirepass", "")
    server.stop()


def passwords(character):
    for halves in HALVES:
        for shape in PLACES.values():
            yield shape.format(character, *halves), [half[:4] for half in halves]


def outcome(location, settings, *, in_loop):
    """The error of the first request with ``location``, or ``None``."""
    settings.SESSION_REDIS = {"LOCATION": location, "KEY_PREFIX": "first"}

    def create(store):
        store.set_expiry(1)  # a new store reads the settings
        return OPERATIONS["acreate" if in_loop else "create"](store)

    return failure_of(create, SessionStore())


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("character", SPECIAL)
def test_a_raw_special_character(guarded, settings, caplog, character, shape):
    """
    The password reaches the server unchanged, or the error asks to percent-encode it. No text
    contains it.
    """
    server, client = guarded
    for turn, (password, pieces) in enumerate(passwords(character)):
        client.config_set("requirepass", password)
        socket = server.folder / "redis.sock"
        location = shape.format(password, port=server.port, socket=socket)
        error = outcome(location, settings, in_loop=turn % 2)
        if error is None:
            continue
        assert "percent-encode" in str(error), password
        texts = [*messages_of(error), caplog.text]
        texts += [f"{found.msg} {found.hint}" for found in run_checks()]
        if pieces[0].isalpha():  # frames contain numbers of their own, such as times and addresses
            texts.append(report_of(error))
        shown = "\n".join(texts).replace(str(socket), "SOCKET").replace(str(server.port), "PORT")
        assert not [piece for piece in pieces if piece in shown], password


@pytest.mark.parametrize("shape", SHAPES)
def test_an_encoded_password(guarded, settings, shape):
    """
    A password that is encoded as the message says reaches the server, and so does a plain one in
    OPTIONS.
    """
    server, client = guarded
    password = "".join(SPECIAL) + "é 41"
    client.config_set("requirepass", password)
    socket = server.folder / "redis.sock"
    location = shape.format(quote(password, safe=""), port=server.port, socket=socket)
    assert outcome(location, settings, in_loop=False) is None
    assert outcome(location, settings, in_loop=True) is None
    settings.SESSION_REDIS = {"LOCATION": server.url, "OPTIONS": {"password": password}}
    SessionStore().create()


@pytest.mark.parametrize("scheme", ["redis", "rediss"])
@pytest.mark.parametrize("character", SPECIAL)
def test_a_raw_special_character_in_a_user_name(character, scheme):
    """
    The character stays in the user name, or the URL is refused. Only a colon ends the name, which
    no check can notice.
    """
    for shape in PLACES.values():
        user = shape.format(character, "open", "esame")
        location = f"{scheme}://{user}:secret@127.0.0.1:6379/0"
        problems = list(conf.problems({"LOCATION": location}))
        if problems:
            assert "percent-encode" in problems[0].hint
            assert not [piece for piece in ("open", "esam") if piece in str(problems)]
        else:
            parsed = parse_url(location)
            assert (parsed["host"], parsed["port"], parsed["db"]) == ("127.0.0.1", 6379, 0)
            assert parsed.get("username", "") == user.partition(":")[0]


@pytest.mark.parametrize("character", SPECIAL)
def test_a_raw_special_character_with_a_cluster(character):
    """The password and the nodes are read as written, or the URL is refused."""
    for password, pieces in passwords(character):
        location = f"redis+cluster://me:{password}@a:1,[::1]:2/0"
        problems = list(conf.problems({"LOCATION": location}))
        if problems:
            assert "percent-encode" in problems[0].hint or "with @ as %40" in problems[0].message
            assert not [piece for piece in pieces if piece in str(problems)]
        else:
            seeds = clusters.seeds_at(location)
            assert seeds.nodes == (("a", 1), ("::1", 2))
            assert parse_url(seeds.node_url)["password"] in {password, unquote(password)}
            assert locations.shown(location) == "redis+cluster://a:1,[::1]:2/0"


@pytest.mark.parametrize("character", SPECIAL)
@pytest.mark.parametrize("shape", ["redis+sentinel://me:{}@a:1,[::1]:2/main/0"])
def test_a_raw_special_character_with_sentinels(character, shape):
    """The password and the Sentinels are read as written, or the URL is refused."""
    for password, pieces in passwords(character):
        location = shape.format(password)
        problems = list(conf.problems({"LOCATION": location}))
        if problems:
            assert "percent-encode" in problems[0].hint or "with @ as %40" in problems[0].message
            assert not [piece for piece in pieces if piece in str(problems)]
        else:
            service = services.service_at(location)
            assert service.sentinels == (("a", 1), ("::1", 2))
            assert service.name == "main"
            assert parse_url(service.server_url)["password"] in {password, unquote(password)}
            assert locations.shown(location) == "redis+sentinel://a:1,[::1]:2/main/0"


# urlsplit() splits these URLs in the wrong places.
BADLY_ENCODED = {
    "redis://user:12?x@host/0": "has an @ after its host",
    "redis://user:12#x@host/0": "has an @ after its host",
    "redis://user:12/x@host/0": "has an @ after its host",
    "redis://host/0#x": "has a #",
    "unix:///run/a#b.sock": "has a #",
    "redis://:pa\tss@host/0": "has a tab or a line break",
    "redis://:pa\nss@host/0": "has a tab or a line break",
    "redis://:p%ffss@host/0": "does not decode to UTF-8 text",
    "redis://:p\udcffss@host/0": "does not decode to UTF-8 text",
    "redis://host/0?password=p%ffss": "does not decode to UTF-8 text",
    "redis://host/0?password=a+b": "has a + in the options user or password",
    "redis://host/0?password=a&b": "name=value",
    "redis://host/0?=a": "name=value",
    "redis://[::1/0": "cannot be read",
    "redis://:pa[ss@host": "cannot be read",
    "unix://user:pa/ss@/run/redis.sock": "has an @ after its host",
    "unix:///run/redis.sock?password=a@b": "has an @ after its host",
    "redis+sentinel://user:12?x@a,b/main/0": "has an @ after its host",
    "redis+sentinel://user:12#x@a,b/main/0": "has an @ after its host",
    "redis+sentinel://user:12/x@a,b/main/0": "has an @ after its host",
    "redis+sentinel://:p%ffss@a,b/main/0": "does not decode to UTF-8 text",
    "redis+sentinel://:pa[ss@a,b/main": "cannot be read",
    "redis+sentinel://a,b/main?password=a+b": "has a + in the options user or password",
    "redis+sentinel://a,\nb/main": "has a tab or a line break",
}


@pytest.mark.parametrize("location", BADLY_ENCODED)
def test_a_location_that_is_badly_encoded(location):
    """
    A URL that would be split in the wrong place is refused, and the hint says how to write it.
    """
    (problem,) = conf.problems({"LOCATION": location})
    assert problem.id == "sessions_redis.E003"
    assert BADLY_ENCODED[location] in problem.message
    assert "percent-encode" in problem.hint
    assert 'quote(password, safe="")' in problem.hint
    assert '"OPTIONS"' in problem.hint


@pytest.mark.parametrize(
    ("location", "words"),
    [
        ("unix://run/redis.sock", "has a host in place of a path"),
        ("unix://user:secret@run/redis.sock", "has a host in place of a path"),
        ("unix://user:secret@", "has no path"),
        ("redis://user:secret@:6379/0", "has no host"),
        ("redis://user:secret@host:port/0", "has a port"),
        ("redis://user:secret@ho..st/0", "has a host that is not a valid name"),
        ("redis+sentinel://user:secret@a,:1/main", "has no host"),
        ("redis+sentinel://user:secret@a,b:port/main", "has a port"),
        ("redis+sentinel://user:secret@a,b", "has no service name"),
        ("redis+sentinel://user:sec@ret@a,b/main", "with @ as %40"),
        ("redis+sentinel://user:secret@a,user:secret@b/main", "write user and password once"),
    ],
)
def test_mistakes_beside_the_password(location, words):
    """Other mistakes are reported as they are, without a word about passwords."""
    (problem,) = conf.problems({"LOCATION": location})
    assert words in problem.message
    assert problem.hint.startswith("Write one of ")


@pytest.mark.parametrize(
    "location",
    ["unix:///run/redis@1.sock", "redis://host/0\n", "redis://:p%@host", "redis://:%zz@h"],
)
def test_locations_that_are_correctly_encoded(location):
    """The path of a socket may have an @, and a single % stands for itself."""
    assert list(conf.problems({"LOCATION": location})) == []


def test_an_option_that_a_password_may_have_become(settings):
    """
    If an option may be a part of the password, the message does not repeat redis-py's error about
    it.
    """
    settings.SESSION_REDIS = {"LOCATION": "redis://host/0?password=open&sesame=1"}
    (found,) = [one for one in run_checks() if (one.id or "").startswith("sessions_redis.")]
    assert "percent-encode" in found.msg
    assert "sesame" not in found.msg


@pytest.mark.parametrize(
    ("location", "credentials", "password"),
    [
        ("redis://host/0", False, False),
        ("redis://user@host/0", True, False),
        ("redis://:secret@host/0", True, True),
        ("redis://host/0?password=secret", True, True),
        ("redis://host/0?username=user", True, False),
        ("redis+sentinel://[::1]:1,[::2]/main/0", False, False),
        ("redis+sentinel://user@[::1]:1,[::2]/main/0", True, False),
        ("rediss+sentinel://:secret@[::1]:1,[::2]/main/0", True, True),
        ("redis+sentinel://a,b/main?password=secret", True, True),
        ("redis+sentinel://a,b/main?username=user", True, False),
        ("unix:///run/redis@1.sock", False, False),
        ("unix://:secret@/run/redis.sock", True, True),
        ("embedded:///a:b@c", False, False),
        ("memory://a:b@c", False, False),
    ],
)
def test_credentials(location, credentials, password):
    """Whether a location contains a user or a password, and whether it contains a password."""
    assert locations.has_credentials(location) is credentials
    assert locations.has_password(location) is password


def test_all_sentinels_are_shown():
    """Messages name all hosts and the service, without user, password and options."""
    location = "redis+sentinel://user:secret@a:1,[::1]:2/main/0?password=other"
    assert locations.shown(location) == "redis+sentinel://a:1,[::1]:2/main/0"


def test_a_service():
    """The parts of a URL with Sentinels. The port is 26379 if the URL does not say it."""
    service = services.service_at(
        "rediss+sentinel://user:p%40@a:1,[::1],b/my%2Fmain/3?socket_timeout=0.5\n"
    )
    assert service.sentinels == (("a", 1), ("::1", 26379), ("b", 26379))
    assert service.name == "my/main"
    assert parse_url(service.server_url) == {
        "connection_class": SSLConnection,
        "host": "several",
        "username": "user",
        "password": "p@",
        "db": 3,
        "socket_timeout": 0.5,
    }
    assert "p%40" not in repr(service)


def test_the_nodes_of_a_cluster():
    """The parts of a URL of a Cluster. The port is 6379 if the URL does not say it."""
    seeds = clusters.seeds_at("rediss+cluster://user:p%40@a:1,[::1],b/0?socket_timeout=0.5\n")
    assert seeds.nodes == (("a", 1), ("::1", 6379), ("b", 6379))
    assert parse_url(seeds.node_url) == {
        "connection_class": SSLConnection,
        "host": "several",
        "username": "user",
        "password": "p@",
        "socket_timeout": 0.5,
    }
    assert "p%40" not in repr(seeds)


def test_all_nodes_are_shown():
    location = "redis+cluster://user:secret@a:1,[::1]:2?password=other"
    assert locations.shown(location) == "redis+cluster://a:1,[::1]:2"
    assert locations.has_password(location)


def test_a_wrong_password_in_options(guarded, settings):
    """If LOCATION has no credentials, the error points to OPTIONS."""
    server, client = guarded
    client.config_set("requirepass", "sesame")
    for options in ({}, {"password": "simsim"}):
        settings.SESSION_REDIS = {"LOCATION": server.url, "OPTIONS": options}
        with pytest.raises(SessionStoreUnavailable, match=r'into SESSION_REDIS\["OPTIONS"\]'):
            SessionStore().create()
    pools.current().close()
