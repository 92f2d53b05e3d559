"""The checks of deployment that need no server: the connection, and caches beside the sessions."""

import pytest
from django.conf import settings as django_settings
from django.core.cache.backends.redis import RedisCache
from django.core.checks import WARNING, run_checks

from sessions_redis.checks import check_caches, check_network

CACHE = "django.core.cache.backends.redis.RedisCache"


class Subclass(RedisCache):
    """A site's own cache, which clears as Django's does."""


class ByPrefix(RedisCache):
    """A site's own cache, which clears its own keys only."""

    def clear(self):
        """Delete the keys of this cache."""


@pytest.fixture
def found(settings, monkeypatch):
    """The messages of one of our checks with these settings. It asks no server."""

    def messages(check, caches=None, **changes):
        for name, value in changes.items():
            setattr(settings, name, value)
        # Not by the fixture: Django would create the caches, and fail for those with mistakes.
        monkeypatch.setattr(django_settings._wrapped, "CACHES", caches)
        return [*check()]

    return messages


# W018 and W019


def access(location, **options):
    return {"LOCATION": location, "OPTIONS": options}


@pytest.mark.parametrize(
    ("setting", "ids"),
    [
        (access("redis://redis.example.com"), ["W018", "W019"]),
        (access("redis://redis.example.com", password="secret"), ["W018"]),
        (access("rediss://redis.example.com"), ["W019"]),
        (access("rediss://redis.example.com", password="secret"), []),
        (access("redis://10.0.0.5:1"), ["W018", "W019"]),
        (access("redis://127.0.0.1:1"), []),
        (access("redis://localhost:1"), []),
        (access("redis://[::1]:1"), []),
        (access("unix:///no/such.sock"), []),
        (access("redis+cluster://127.0.0.1:1,redis.example.com"), ["W018", "W019"]),
        (access("rediss+cluster://127.0.0.1:1,redis.example.com", password="secret"), []),
        (access("redis+cluster://127.0.0.1:1,localhost:2"), []),
        (access("memory://"), []),
        (access("redis://redis.example.com", sockettimeout=1), []),
        ({"LOCATION": "nonsense"}, []),
    ],
)
def test_the_connection_to_another_machine(found, settings, setting, ids):
    """Without TLS or a password, each is a warning, but not on this machine. None connects."""
    messages = found(check_network, SESSION_REDIS=setting)
    assert [one.id for one in messages] == [f"sessions_redis.{id}" for id in ids]
    assert {one.level for one in messages} <= {WARNING}
    settings.SESSION_ENGINE = "django.contrib.sessions.backends.db"
    assert found(check_network, SESSION_REDIS=setting) == []


def test_a_private_network(found):
    """There, the hint says that the warnings may be acceptable. On the internet, it does not."""
    for one in found(check_network, SESSION_REDIS=access("redis://10.0.0.5:1")):
        assert "SILENCED_SYSTEM_CHECKS" in one.hint
    for one in found(check_network, SESSION_REDIS=access("redis://redis.example.com")):
        assert "SILENCED_SYSTEM_CHECKS" not in one.hint


def test_a_password_without_encryption(found):
    """The warning says that the password can be read, and does not show it."""
    setting = access("redis://sessions:hush@redis.example.com")
    (one,) = found(check_network, SESSION_REDIS=setting)
    assert "the password of Redis" in one.msg
    assert "hush" not in f"{one.msg} {one.hint}"


# W022

HERE = "redis://127.0.0.1:1/0"


def cache(location, backend=CACHE, **options):
    return {"BACKEND": backend, "LOCATION": location, "OPTIONS": options}


SHARED = [
    cache("redis://127.0.0.1:1/0"),
    cache("redis://localhost:1"),
    cache("redis://[::1]:1?db=0"),
    cache("rediss://user:secret@127.0.0.1:1/"),
    cache(["redis://elsewhere:1/0", HERE]),
    cache(("redis://elsewhere:1/0", HERE)),
    cache(f"redis://elsewhere:1/0,{HERE}"),
    cache(f"redis://elsewhere:1/0; {HERE}"),
    cache("redis://localhost:1", db=0),
    cache(HERE, f"{__name__}.Subclass"),
]
SEPARATE = [
    cache("redis://127.0.0.1:1/1"),
    cache("redis://127.0.0.1:1", db=1),
    cache("redis://127.0.0.1:2/0"),
    cache("redis://elsewhere:1/0"),
    cache("unix:///run/redis.sock"),
    cache(HERE, f"{__name__}.ByPrefix"),
    cache(HERE, "django.core.cache.backends.locmem.LocMemCache"),
    # Mistakes, which Django reports.
    cache("nonsense"),
    cache(None),
    cache([None, 7]),
    cache(7),
    cache(HERE, "no.such.Cache"),
    cache(HERE, f"{__name__}.Missing"),
    cache(HERE, f"{__name__}.cache"),
    cache(HERE, "..."),
    cache(HERE, None),
    {"LOCATION": HERE},
    {"BACKEND": CACHE},
    {"BACKEND": CACHE, "LOCATION": HERE, "OPTIONS": {"db": "many"}, "KEY_PREFIX": "x"}
    | {"LOCATION": "redis://127.0.0.1:1"},
    {"BACKEND": CACHE, "LOCATION": "redis://127.0.0.1:2", "OPTIONS": None},
    None,
    [],
]


@pytest.mark.parametrize("entry", SHARED)
def test_a_cache_in_the_same_database(found, entry):
    """It is a warning that names the cache, with every spelling of the address."""
    setting = {"LOCATION": HERE}
    (one,) = found(check_caches, SESSION_REDIS=setting, caches={"pages": entry})
    assert one.level == WARNING
    assert "CACHES['pages']" in one.msg
    assert "number 0 of Redis at localhost:1" in one.msg
    assert "such as 1" in one.hint
    assert "secret" not in one.msg


@pytest.mark.parametrize("entry", SEPARATE)
def test_a_cache_elsewhere(found, entry):
    """Another database, server or kind of cache is fine. Mistakes do not crash the check."""
    setting = {"LOCATION": HERE}
    assert found(check_caches, SESSION_REDIS=setting, caches={"pages": entry}) == []


@pytest.mark.parametrize(
    ("location", "is_shared"),
    [
        ("redis://127.0.0.1:2/0", True),
        ("redis://127.0.0.1:2", True),
        (["redis://elsewhere:1/0", "redis://localhost:1"], True),
        ("redis+cluster://elsewhere:1,127.0.0.1:2", True),
        ("redis+cluster://elsewhere:1,elsewhere:2", False),
        ("redis://127.0.0.1:3/0", False),
    ],
)
def test_a_cache_in_the_same_cluster(found, location, is_shared):
    """The address of any node that LOCATION names is the Cluster's. It has only one database."""
    setting = {"LOCATION": "redis+cluster://user:secret@127.0.0.1:1,127.0.0.1:2"}
    messages = found(check_caches, SESSION_REDIS=setting, caches={"pages": cache(location)})
    assert [one.id for one in messages] == ["sessions_redis.W022"] * is_shared
    for one in messages:
        assert "same Redis Cluster" in one.msg
        assert "database number" not in f"{one.msg} {one.hint}"
        assert "secret" not in one.msg


@pytest.mark.parametrize("caches", [None, [], {}, "redis://127.0.0.1:1"])
def test_caches_that_are_no_dictionary(found, caches):
    """The check does not crash."""
    assert found(check_caches, SESSION_REDIS={"LOCATION": HERE}, caches=caches) == []


def test_a_cache_on_the_same_socket(found):
    """Sockets are compared by their path, and the database counts."""
    setting = {"LOCATION": "unix:///run/redis.sock?db=2"}
    entries = {
        "one": cache("unix:///run/redis.sock?db=2"),
        "two": cache("unix:///run/redis.sock"),
        "three": cache("unix:///run/other.sock?db=2"),
    }
    (one,) = found(check_caches, SESSION_REDIS=setting, caches=entries)
    assert "CACHES['one']" in one.msg
    assert "number 2 of Redis at /run/redis.sock" in one.msg


LIBRARIES = {
    "django_redis": "django_redis.cache.RedisCache",
    "django_valkey": "django_valkey.cache.ValkeyCache",
}


@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize("database", [0, 1])
def test_other_libraries(found, monkeypatch, tmp_path, library, database):
    """Their caches are recognized by the package that defines clear(), with options of the pool."""
    package = tmp_path / library
    package.mkdir()
    (package / "__init__.py").touch()
    name = LIBRARIES[library].rpartition(".")[2]
    (package / "cache.py").write_text(f"class {name}:\n    def clear(self): ...\n")
    monkeypatch.syspath_prepend(tmp_path)
    scheme = "valkey" if library == "django_valkey" else "redis"
    entry = cache(
        f"{scheme}://127.0.0.1:1",
        LIBRARIES[library],
        CONNECTION_POOL_KWARGS={"db": database},
        CLIENT_CLASS=f"{library}.client.DefaultClient",
    )
    given = found(check_caches, SESSION_REDIS={"LOCATION": HERE}, caches={"default": entry})
    assert len(given) == (database == 0)


@pytest.mark.parametrize("location", ["memory://", "embedded:///no/such/directory", "nonsense"])
def test_sessions_that_no_cache_can_reach(found, location):
    """With servers for development, and with mistakes in the settings, nothing is compared."""
    caches, setting = {"default": cache(HERE)}, {"LOCATION": location}
    assert found(check_caches, SESSION_REDIS=setting, caches=caches, DEBUG=True) == []


def test_another_engine_beside_a_cache(found):
    """If the site uses another engine, there is nothing to lose."""
    caches, setting = {"default": cache(HERE)}, {"LOCATION": HERE}
    engine = "django.contrib.sessions.backends.db"
    assert found(check_caches, SESSION_ENGINE=engine, SESSION_REDIS=setting, caches=caches) == []


# When they run


@pytest.mark.parametrize("deploy", [False, True])
@pytest.mark.parametrize("tags", [None, ["sessions_redis"]])
def test_when_these_checks_run(settings, deploy, tags):
    """The one of the caches always runs, the one of the connection for deployment only."""
    settings.SESSION_REDIS = {"LOCATION": "redis://nobody.invalid:1"}
    settings.CACHES = {"default": cache("redis://nobody.invalid:1")}
    ids = {one.id for one in run_checks(tags=tags, include_deployment_checks=deploy)}
    assert "sessions_redis.W022" in ids
    assert ("sessions_redis.W018" in ids) is deploy
