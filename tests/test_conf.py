"""The ``SESSION_REDIS`` setting: which values are accepted, and how mistakes are reported."""

from collections import OrderedDict
from datetime import timedelta
from types import MappingProxyType
from urllib.parse import quote

import hypothesis
import pytest
from django.core.exceptions import ImproperlyConfigured
from django.test import override_settings
from hypothesis import assume, example, given
from hypothesis import strategies as st

from sessions_redis import conf, key_prefixes
from sessions_redis.conf import Conf, problems

HERE = "redis://127.0.0.1:6379/0"


def setting_with(**more):
    return {"LOCATION": HERE, **more}


# Mistakes: the setting, the check's ID, words of the message, words of the hint.
WRONG = {
    "not set": (None, "E001", ["SESSION_REDIS is not set"], ["LOCATION", "redis://127.0.0.1"]),
    "a URL": (HERE, "E001", ["not a dictionary"], ['SESSION_REDIS = {"LOCATION"']),
    "a list": ([HERE], "E001", ["not a dictionary"], ['SESSION_REDIS = {"LOCATION"']),
    "unknown": (setting_with(COLOR=1), "E002", ["'COLOR'"], ["LOCATION, KEY_PREFIX, OPTIONS"]),
    "misspelt": (setting_with(OPTION={}), "E002", ["'OPTION'"], ['Did you mean "OPTIONS"']),
    "lower case": (setting_with(key_prefix="s"), "E002", ["'key_prefix'"], ['"KEY_PREFIX"']),
    "no name": ({**setting_with(), 1: 1}, "E002", ["no setting 1"], ["LOCATION"]),
    "empty": ({}, "E003", ['no "LOCATION"'], ["redis://127.0.0.1:6379/0"]),
    "no location": ({"INDEX": True}, "E003", ['no "LOCATION"'], ["redis://127.0.0.1:6379/0"]),
    "location of bytes": ({"LOCATION": b"x"}, "E003", ["bytes, not a URL"], ["a URL"]),
    "location of None": ({"LOCATION": None}, "E003", ["NoneType, not a URL"], ["a URL"]),
    "several locations": ({"LOCATION": [HERE]}, "E003", ["list, not a URL"], ["a URL"]),
    "prefix of bytes": (
        setting_with(KEY_PREFIX=b"s"),
        "E004",
        ['"KEY_PREFIX"', "bytes"],
        ["string"],
    ),
    "no prefix": (setting_with(KEY_PREFIX=""), "E004", ['"KEY_PREFIX"', "empty"], ['"session"']),
    "options of None": (setting_with(OPTIONS=None), "E004", ['"OPTIONS"', "None"], ["dictionary"]),
    "options in pairs": (setting_with(OPTIONS=[("a", 1)]), "E004", ["list"], ["a dictionary"]),
    "decoded": (
        setting_with(OPTIONS={"decode_responses": True}),
        "E004",
        ["decode_responses", "as bytes"],
        ["Leave decode_responses out"],
    ),
    "index of a number": (setting_with(INDEX=1), "E004", ['"INDEX"', "int"], ["True or False"]),
    "events of a number": (setting_with(EVENTS=1), "E004", ['"EVENTS"', "int"], ["True or False"]),
    "metadata of a number": (setting_with(METADATA=0), "E004", ['"METADATA"', "int"], ["True"]),
    "one proxy": (setting_with(TRUSTED_PROXIES="::1"), "E004", ["str, not a list"], ["networks"]),
    "a proxy's name": (
        setting_with(TRUSTED_PROXIES=["10.0.0.0/8", "unix", "localhost"]),
        "E004",
        ["TRUSTED_PROXIES", "'localhost'"],
        ["10.0.0.0/8"],
    ),
    "a network with a host": (
        setting_with(TRUSTED_PROXIES=("10.0.0.1/8",)),
        "E004",
        ["'10.0.0.1/8'", "host bits"],
        ["networks"],
    ),
    "one name": (setting_with(MASKED_NAMES="pin"), "E004", ["str, not a list of names"], ["list"]),
    "names in a dictionary": (
        setting_with(UNMASKED_NAMES={"pin": True}),
        "E004",
        ['"UNMASKED_NAMES"', "dict, not a list"],
        ["a list of names"],
    ),
    "no names": (setting_with(MASKED_NAMES=None), "E004", ["NoneType, not a list"], ["a list"]),
    "a name of bytes": (
        setting_with(MASKED_NAMES=["pin", b"iban"]),
        "E004",
        ['"MASKED_NAMES"', "b'iban', which is not a string"],
        ['"iban"'],
    ),
    "a name without words": (
        setting_with(UNMASKED_NAMES=("pin", "*")),
        "E004",
        ["'*', which has no letter or digit"],
        ['"customer_number"'],
    ),
    "names misspelt": (setting_with(MASK_NAMES=[]), "E002", ["'MASK_NAMES'"], ['"MASKED_NAMES"']),
    "replicas as text": (
        setting_with(WAIT_REPLICAS="1"),
        "E004",
        ['"WAIT_REPLICAS"', "str, not a number"],
        ["such as 1"],
    ),
    "replicas on": (setting_with(WAIT_REPLICAS=True), "E004", ["bool, not a number"], ["or 0"]),
    "fewer than no replicas": (
        setting_with(WAIT_REPLICAS=-1),
        "E004",
        ['"WAIT_REPLICAS"] is -1', "less than 0"],
        ["such as 1"],
    ),
    "no interval": (
        setting_with(ACTIVITY_INTERVAL=None),
        "E004",
        ['"ACTIVITY_INTERVAL"', "NoneType, not a number of seconds"],
        ["such as 60"],
    ),
    "an interval of nothing": (
        setting_with(ACTIVITY_INTERVAL=0),
        "E004",
        ['"ACTIVITY_INTERVAL"] is 0, not a number above 0'],
        ["such as 60"],
    ),
    "an interval that is no number": (
        setting_with(ACTIVITY_INTERVAL=float("nan")),
        "E004",
        ["nan, not a number above 0"],
        ["such as 60"],
    ),
    "an interval without end": (
        setting_with(ACTIVITY_INTERVAL=float("inf")),
        "E004",
        ["inf, not a number above 0"],
        ["such as 60"],
    ),
    "an interval on": (
        setting_with(ACTIVITY_INTERVAL=True),
        "E004",
        ["bool, not a number of seconds"],
        ["such as 60"],
    ),
    "a cap of nothing": (
        setting_with(MAX_SESSIONS_PER_USER=0),
        "E004",
        ['"MAX_SESSIONS_PER_USER"] is 0'],
        ["a number from 1 to 1,000"],
    ),
    "a cap too large to count": (
        setting_with(MAX_SESSIONS_PER_USER=1001),
        "E004",
        ['"MAX_SESSIONS_PER_USER"] is 1001'],
        ["a number from 1 to 1,000"],
    ),
    "a cap turned on": (
        setting_with(MAX_SESSIONS_PER_USER=True),
        "E004",
        ['"MAX_SESSIONS_PER_USER"', "bool, not a number"],
        ["a number from 1 to 1,000"],
    ),
    "a cap of a fraction": (
        setting_with(MAX_SESSIONS_PER_USER=2.5),
        "E004",
        ['"MAX_SESSIONS_PER_USER"', "float, not a number"],
        ["a number from 1 to 1,000"],
    ),
    "a function of a cap that is not there": (
        setting_with(MAX_SESSIONS_PER_USER="tests.nowhere.cap"),
        "E004",
        ["'tests.nowhere.cap', which cannot be imported"],
        ["(user)"],
    ),
    "another policy": (
        setting_with(MAX_SESSIONS_POLICY="end_newest"),
        "E004",
        ["\"MAX_SESSIONS_POLICY\"] is 'end_newest'"],
        ['"end_oldest" or "refuse"'],
    ),
    "no policy": (
        setting_with(MAX_SESSIONS_POLICY=None),
        "E004",
        ['"MAX_SESSIONS_POLICY"', "NoneType"],
        ['"end_oldest" or "refuse"'],
    ),
    "a cap without indexes": (
        setting_with(MAX_SESSIONS_PER_USER=5, INDEX=False),
        "E035",
        ["MAX_SESSIONS_PER_USER", "INDEX is False"],
        ['Leave "INDEX" out'],
    ),
    "a place as text": (setting_with(BIND_TO="device"), "E004", ["str, not a list"], ['"network"']),
    "an unknown place": (
        setting_with(BIND_TO=["device", "country"]),
        "E004",
        ["\"BIND_TO\"] has 'country'"],
        ['"device" or "network"'],
    ),
    "a place that cannot be hashed": (
        setting_with(BIND_TO=[["device"]]),
        "E004",
        ["has ['device']"],
        ['"device" or "network"'],
    ),
    "ends by number": (setting_with(BIND_TO_ENDS=1), "E004", ["int, not True"], ["True or False"]),
    "bound without metadata": (
        setting_with(BIND_TO=["network"], METADATA=False),
        "E038",
        ['"BIND_TO"] needs the address', "METADATA is False"],
        ["METADATA to True"],
    ),
    "bytes as text": (
        setting_with(MAX_SESSION_BYTES="1"),
        "E004",
        ['"MAX_SESSION_BYTES"', "str, not a number of bytes"],
        ["100_000"],
    ),
    "bytes on": (setting_with(MAX_SESSION_BYTES=True), "E004", ["bool, not a number"], ["None"]),
    "no bytes": (
        setting_with(MAX_SESSION_BYTES=0),
        "E004",
        ['"MAX_SESSION_BYTES"] is 0', "no session could be saved"],
        ["100_000"],
    ),
    "no age": (
        setting_with(ABSOLUTE_AGE=0),
        "E004",
        ['"ABSOLUTE_AGE"] is 0, not a number of seconds above 0'],
        ["a number of seconds, the path of a function, or None"],
    ),
    "an age in the past": (setting_with(ABSOLUTE_AGE=-60.5), "E004", ["is -60.5"], ["or None"]),
    "an age of no time": (
        setting_with(ABSOLUTE_AGE=timedelta(0)),
        "E004",
        ["datetime.timedelta(0)"],
        ["or None"],
    ),
    "an age that is no number": (setting_with(ABSOLUTE_AGE=float("nan")), "E004", ["nan"], ["or"]),
    "an age without end": (setting_with(ABSOLUTE_AGE=float("inf")), "E004", ["is inf"], ["None"]),
    "an age on": (
        setting_with(ABSOLUTE_AGE=True),
        "E004",
        ['"ABSOLUTE_AGE"] is bool, not a number'],
        ["or None"],
    ),
    "an age of bytes": (setting_with(ABSOLUTE_AGE=b"60"), "E004", ["is bytes, not a"], ["None"]),
    "an age in text": (
        setting_with(ABSOLUTE_AGE="3600"),
        "E004",
        ["'3600', which is not the path of a function"],
        ["called with (user)"],
    ),
    "an age of nothing": (
        setting_with(ABSOLUTE_AGE="tests.rules.missing"),
        "E004",
        ["'tests.rules.missing', which cannot be imported"],
        ["called with (user)"],
    ),
    "an age of a function without arguments": (
        setting_with(ABSOLUTE_AGE="os.getpid"),
        "E004",
        ["cannot be called with (user)"],
        ["called with (user)"],
    ),
    "a touch before": (
        setting_with(TOUCH_INTERVAL=-1),
        "E004",
        ['"TOUCH_INTERVAL"] is -1, not a number from 0 on'],
        ["such as 60, or 0"],
    ),
    "a touch never": (setting_with(TOUCH_INTERVAL=float("inf")), "E004", ["is inf"], ["or 0"]),
    "a touch that is no number": (
        setting_with(TOUCH_INTERVAL=float("nan")),
        "E004",
        ["is nan"],
        ["or 0"],
    ),
    "no touch": (setting_with(TOUCH_INTERVAL=None), "E004", ["NoneType, not a"], ["or 0"]),
    "a touch on": (setting_with(TOUCH_INTERVAL=True), "E004", ["bool, not a number"], ["or 0"]),
    "a touch in text": (setting_with(TOUCH_INTERVAL="60"), "E004", ["str, not a"], ["or 0"]),
    "no shards": (
        setting_with(INDEX_SHARDS=0),
        "E004",
        ['"INDEX_SHARDS"] is 0'],
        ["Write 1, or 16"],
    ),
    "many shards": (
        setting_with(INDEX_SHARDS=257),
        "E004",
        ["257, not a number from 1"],
        ["or 16"],
    ),
    "shards on": (setting_with(INDEX_SHARDS=True), "E004", ["bool, not a number"], ["to 256"]),
}

# Mistakes in a location, with words of the message.
WRONG_LOCATIONS = {
    "": "does not start with a scheme",
    "127.0.0.1:6379": "does not start with a scheme",
    "localhost": "does not start with a scheme",
    "redis:/localhost": "does not start with a scheme",
    "http://localhost": "http://, which is unknown",
    "://localhost": "does not start with a scheme",
    "rediis://localhost": "did you mean redis://?",
    "redis+cluster://": "has no host",
    "redis+cluster://a:1,,b:2": "a comma without a host",
    "redis+cluster://a:1,b:0": "a port that is not a number from 1 to 65535",
    "redis+cluster://a:1,::1:6379": "an IPv6 address without brackets: write it as in [::1]:6379",
    "redis+cluster://a:1,b:2/3": "a Redis Cluster has only database 0",
    "rediss+cluster://a:1/?db=1": "a Redis Cluster has only database 0",
    "redis+cluster://me:x@y@a:1": "has more than one @ before its path",
    "redis+clusters://a:1,b:2": "redis+clusters://, which is unknown",
    "unix://": "has no path",
    "unix://run/redis.sock": "has a host in place of a path",
    "embedded://": "has no path",
    "redis://": "has no host",
    "rediss://": "has no host",
    "redis://:6379/0": "has no host",
    "redis:///0": "has no host",
    "redis://localhost:port/0": "port that is not a number",
    "redis://localhost:99999/0": "port that is not a number",
    "redis://localhost/main": "not a number",
    "redis://localhost/0/1": "not a number",
    "redis://localhost/-1": "not a number",
    "redis+sentinels://a/main": "did you mean redis+sentinel://?",
    "redis+sentinel://": "has no host",
    "redis+sentinel:///main/0": "has no host",
    "redis+sentinel://a,/main/0": "a comma without a host beside it",
    "redis+sentinel://a,,b/main/0": "a comma without a host beside it",
    "redis+sentinel://:1/main/0": "has no host",
    "redis+sentinel://[]:1/main/0": "has no host",
    "redis+sentinel://a": "has no service name",
    "redis+sentinel://a/": "has no service name",
    "redis+sentinel://a//0": "has no service name",
    "redis+sentinel://a/0": "has no service name",
    "redis+sentinel://a/main/other": "not a number",
    "redis+sentinel://a/main/0/1": "not a number",
    "redis+sentinel://a:port/main": "port that is not a number",
    "redis+sentinel://a:0/main": "port that is not a number",
    "redis+sentinel://a,b:65536/main": "port that is not a number",
    "redis+sentinel://::1:26379/main": "IPv6 address without brackets",
    "redis+sentinel://[::1/main": "host that is not a valid name",
    "redis+sentinel://a..b/main": "host that is not a valid name",
    "rediss+sentinel://a/%ff/0": "service name that does not decode",
    "redis+sentinel://u:p@a,u:p@b/main": "more than one @ before its service",
}

GOOD_LOCATIONS = [
    "redis://localhost",
    "redis://localhost/",
    "redis://localhost:6379",
    "redis://localhost:6379/15",
    "redis://:p%40ss@localhost:6379/0",
    "redis://user:p%2Fss@localhost/0?socket_timeout=1",
    "redis://[::1]:6379/0",
    "rediss://redis.example:6380/0?ssl_cert_reqs=none",
    "unix:///run/redis.sock",
    "unix://user:pass@/run/redis.sock?db=1",
    "redis+sentinel://a/main",
    "redis+sentinel://a/main/",
    "redis+sentinel://a:1,b,[::1]:3,[::2]/main/15",
    "redis+sentinel://user:p%40s%2Cs@a,b/my%2Fmain%401/0?socket_timeout=1",
    "rediss+sentinel://a/0/0",
    "memory://",
    "memory://other",
]

ODD_DIRECTORIES = [
    "/var/lib/site",
    "relative/directory",
    "/with a space",
    "/100%",
    "/a%20b",
    "/a#b",
    "/a?b=c",
    "/a@b",
    "/a://b",
]


@pytest.mark.parametrize("name", WRONG)
def test_a_problem(name):
    """Each mistake is reported with a stable ID, what is wrong, and what to write instead."""
    setting, id, message, hint = WRONG[name]
    (problem,) = problems(setting)
    assert problem.id == f"sessions_redis.{id}"
    assert all(words in problem.message for words in message), problem.message
    assert all(words in problem.hint for words in hint), problem.hint
    assert problem.message.startswith("SESSION_REDIS")
    assert str(problem) == f"{problem.message} {problem.hint}"


@pytest.mark.parametrize("network", [1, True, b"\0\0\0\1"])
def test_a_proxy_that_is_not_text(network):
    """A network that is not given as text is refused with any value."""
    (problem,) = problems(setting_with(TRUSTED_PROXIES=[network]))
    assert problem.id == "sessions_redis.E004"


@pytest.mark.parametrize("location", WRONG_LOCATIONS)
def test_a_location_that_cannot_be_used(location):
    """The message says what is wrong with the location, and the hint lists the valid schemes."""
    (problem,) = problems({"LOCATION": location})
    assert problem.id == "sessions_redis.E003"
    assert WRONG_LOCATIONS[location] in problem.message
    assert problem.hint == (
        "Write one of redis://host:6379/0, rediss://host:6379/0 (TLS), "
        "redis+sentinel://host1:26379,host2:26379/service/0, "
        "rediss+sentinel://host1:26379,host2:26379/service/0 (TLS), "
        "redis+cluster://host1:6379,host2:6379, rediss+cluster://host1:6379,host2:6379 (TLS), "
        "unix:///path/to/redis.sock, "
        "embedded:///directory (development), memory:// (tests)."
    )


@pytest.mark.parametrize("location", GOOD_LOCATIONS)
def test_a_location(location):
    """Addresses that redis-py accepts are valid, and so are embedded:// and memory://."""
    assert list(problems({"LOCATION": location})) == []
    assert Conf(location).scheme == location.partition(":")[0]


@pytest.mark.parametrize("directory", ODD_DIRECTORIES)
def test_a_directory_is_taken_literally(directory):
    """The directory of embedded:// is a path, not a URL: nothing in it is decoded or cut off."""
    location = f"embedded://{directory}"
    assert list(problems({"LOCATION": location})) == []
    assert Conf(location).scheme == "embedded"
    assert Conf(location).shown_location == location


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("LOCATON", "LOCATION"),
        ("location", "LOCATION"),
        ("prefix_key", "KEY_PREFIX"),
        ("KEYPREFIX", "KEY_PREFIX"),
        ("OPTION", "OPTIONS"),
        ("INDEXED", "INDEX"),
    ],
)
def test_the_nearest_name(name, meant):
    """For a setting that does not exist, the hint names the most similar one."""
    (problem,) = problems(setting_with(**{name: 1}))
    assert f'Did you mean "{meant}"?' in problem.hint


OLD_STYLE = {
    "host": ("localhost", "redis://<host>:6379/0"),
    "port": (6379, "redis://localhost:<port>/0"),
    "db": (0, "redis://localhost:6379/<db>"),
    "password": ("s3cret", "redis://:<password>@localhost:6379/0"),
    "url": (HERE, '"LOCATION": "<url>"'),
    "unix_domain_socket_path": ("/run/redis.sock", "unix://<path>"),
    "prefix": ("session", '"KEY_PREFIX": "<prefix>"'),
    "socket_timeout": (1, '"OPTIONS": {"socket_timeout": <seconds>}'),
    "retry_on_timeout": (False, "nothing"),
}


@pytest.mark.parametrize("name", OLD_STYLE)
def test_a_setting_of_django_redis_sessions(name):
    """For a setting of django-redis-sessions, the hint says what replaces it, without its value."""
    value, instead = OLD_STYLE[name]
    (problem,) = problems({name: value})
    assert problem.id == "sessions_redis.E006"
    assert f"has settings of django-redis-sessions: '{name}'." in problem.message
    assert f"'{name}' becomes " in problem.hint
    assert instead in problem.hint
    assert "s3cret" not in str(problem)


def test_an_old_setting_is_one_problem():
    """Several old settings together are one problem. Other mistakes are reported beside it."""
    old = {name: value for name, (value, _) in OLD_STYLE.items()}
    (problem,) = problems(old)
    in_url = {"host", "port", "db", "password"}
    assert all(f"'{name}' becomes" in problem.hint for name in old.keys() - in_url)
    assert all(f"'{name}'" in problem.hint for name in in_url)
    assert 'together become "LOCATION": "redis://:<password>@<host>:<port>/<db>"' in problem.hint
    assert [found.id[-4:] for found in problems({**old, "COLOR": 1, "LOCATION": ""})] == [
        "E006",
        "E002",
        "E003",
    ]


def test_all_problems_are_reported():
    """Each mistake is a problem of its own."""
    setting = {"LOCATON": HERE, "KEY_PREFIX": "", "INDEX": None, "INDEX_SHARDS": 0}
    assert [found.id[-4:] for found in problems(setting)] == [
        "E002",
        "E004",
        "E004",
        "E004",
        "E003",
    ]


@pytest.mark.parametrize("age", [None, 1, 0.5, 3600, timedelta(hours=8), "tests.rules.per_user"])
@pytest.mark.parametrize("interval", [0, 0.5, 60])
def test_lifetimes(settings, age, interval):
    """An age is a number, a timedelta, the path of a function or None; an interval is a number."""
    settings.SESSION_REDIS = setting_with(ABSOLUTE_AGE=age, TOUCH_INTERVAL=interval)
    assert (conf.current().absolute_age, conf.current().touch_interval) == (age, interval)
    assert conf.current().keyspace.has_policies == (age is not None or interval > 0)


@pytest.mark.parametrize("kind", [dict, OrderedDict, MappingProxyType])
def test_any_mapping(settings, kind):
    """The setting and its options may be any mapping."""
    settings.SESSION_REDIS = kind(setting_with(OPTIONS=kind({"socket_timeout": 1})))
    assert conf.current().location == HERE
    assert dict(conf.current().options) == {"socket_timeout": 1}


# The current setting


def test_the_defaults(settings):
    """Only the location is required."""
    settings.SESSION_REDIS = {"LOCATION": HERE}
    assert conf.current() == Conf(
        HERE, "session", options=None, index=True, metadata=True, trusted_proxies=()
    )


def test_the_values_that_are_set(settings):
    """The values in the setting are used."""
    settings.SESSION_REDIS = {
        "LOCATION": HERE,
        "KEY_PREFIX": "site",
        "OPTIONS": {"socket_timeout": 1},
        "INDEX": False,
        "METADATA": False,
        "TRUSTED_PROXIES": ["::1", "10.0.0.0/8", "unix"],
        "WAIT_REPLICAS": 2,
        "INDEX_SHARDS": 16,
        "ABSOLUTE_AGE": 3600,
        "TOUCH_INTERVAL": 60,
    }
    assert conf.current() == Conf(
        HERE,
        "site",
        {"socket_timeout": 1},
        index=False,
        metadata=False,
        trusted_proxies=["::1", "10.0.0.0/8", "unix"],
        wait_replicas=2,
        index_shards=16,
        absolute_age=3600,
        touch_interval=60,
    )


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_setting_is_reported_at_use(settings, name):
    """
    Using a setting with a mistake raises ImproperlyConfigured with the first problem, each time.
    """
    settings.SESSION_REDIS = WRONG[name][0]
    for _ in range(2):
        with pytest.raises(ImproperlyConfigured) as caught:
            conf.current()
        assert str(caught.value) == str(next(problems(WRONG[name][0])))


def test_a_missing_setting(settings):
    """Using a missing setting raises ImproperlyConfigured."""
    del settings.SESSION_REDIS
    with pytest.raises(ImproperlyConfigured, match="SESSION_REDIS is not set"):
        conf.current()


def test_the_setting_is_read_once():
    """The setting is read once, as long as it does not change."""
    assert conf.current() is conf.current()


def test_an_overridden_setting_is_read_again():
    """
    A test that overrides the setting gets its own values. Afterwards the former ones are back.
    """
    before = conf.current()
    with override_settings(SESSION_REDIS={"LOCATION": "memory://other"}):
        assert conf.current().location == "memory://other"
    assert conf.current() == before


def test_overriding_another_setting():
    """Overriding another setting does not make this one be read again."""
    before = conf.current()
    with override_settings(SESSION_COOKIE_AGE=1):
        assert conf.current() is before


# Secrets

# A password that would be noticed in a message, with characters that break a URL that is not
# percent-encoded.
PASSWORD = "s3cret"
texts = st.text(st.characters(exclude_categories=["Cs"]))
secrets = texts.map(lambda text: text + PASSWORD)

# A slow machine is not a failure.
unhurried = hypothesis.settings(
    deadline=None, max_examples=100, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)


def encoded(text):
    return quote(text, safe="")


@st.composite
def addresses(draw):
    """An address with credentials and options, and the part of it that messages may show."""
    scheme = draw(st.sampled_from(["redis", "rediss"]))
    host = draw(st.sampled_from(["localhost", "10.0.0.1", "[::1]", "redis.example"]))
    end = draw(st.sampled_from(["", "/", "/0", ":6379", ":6379/0"]))
    user, password, option = (encoded(draw(part)) for part in (texts, secrets, secrets))
    query = draw(st.sampled_from(["", f"?password={option}", f"?client_name=a%40b&x={option}"]))
    return f"{scheme}://{user}:{password}@{host}{end}{query}", f"{scheme}://{host}{end}"


@unhurried
@given(addresses())
def test_the_shown_location_has_no_credentials(address):
    """
    Messages show the scheme, host, port and database of an address, but no user, password or
    option.
    """
    location, shown = address
    assert list(problems({"LOCATION": location})) == []
    assert Conf(location).shown_location == shown


@pytest.mark.parametrize(
    ("location", "shown"),
    [
        ("redis://user@localhost", "redis://localhost"),
        ("redis://us@er:p@ss@localhost", "redis://localhost"),
        ("unix://user:pass@/run/redis.sock?db=1&password=x", "unix:///run/redis.sock"),
        ("unix:///run/redis.sock", "unix:///run/redis.sock"),
        ("memory://name", "memory://name"),
    ],
)
def test_the_shown_location(location, shown):
    """A location is shown without user, password and options."""
    assert Conf(location).shown_location == shown


# Passwords that break the URL: with a slash as in base64, with a special character, or without a
# host behind.
BREAKS = [
    "redis://user:{}",
    "redis://user:{}/0",
    "redis://user:1/{}@localhost:6379/0",
    "redis://:{}@localhost:port/0",
    "redis://:{}@[::1/0",
    "redis://user:1?{}@localhost:6379/0",
    "redis://user:1#{}@localhost:6379/0",
    "redis://user:{}/x@localhost:6379/0",
    "redis://user:{}\N{ACCOUNT OF}@localhost",
    "unix://user:{}",
    "user:{}@localhost:6379/0?next=http://other",
    "://user:{}@localhost",
    "{}",
]


@unhurried
@given(st.sampled_from(BREAKS), secrets, st.booleans())
@example("redis://user:{}/0", "", False)
@example("redis://user:1/{}@localhost:6379/0", "", False)
@example("redis://user:{}\N{ACCOUNT OF}@localhost", "", False)
@example("user:{}@localhost:6379/0?next=http://other", "", False)
def test_no_password_in_a_problem(shape, password, is_encoded):
    """A message about a location contains no part that may belong to a password."""
    password += PASSWORD
    location = shape.format(encoded(password) if is_encoded else password)
    for problem in problems({"LOCATION": location}):
        assert PASSWORD not in str(problem)


@unhurried
@given(st.dictionaries(st.sampled_from(["LOCATION", "KEY_PREFIX", "INDEX"]), secrets, min_size=1))
def test_no_value_in_a_problem(setting):
    """A message about a setting does not contain its value, unless it is the path of a function."""
    assume("://" not in setting.get("LOCATION", ""))
    assume(not key_prefixes.is_path(setting.get("KEY_PREFIX", "")))
    assert not any(PASSWORD in str(problem) for problem in problems(setting))
