"""
The tests of a site: they do not see the site's sessions in Redis, do not end them, and leave none.
"""

import json
import os
import subprocess
import sys
import unittest
from pathlib import Path

import pytest
from django.test import SimpleTestCase
from fakeredis import FakeRedis

from sessions_redis import conf, registry, testing_leftovers, testing_runs
from sessions_redis.clients import embedded, memory
from sessions_redis.conf import Conf
from sessions_redis.engine import SessionStore
from sessions_redis.test import FreshSessionsMixin, fresh_sessions, key_prefix
from tests.clustered import Cluster
from tests.documents import blocks, section
from tests.section import signed_in
from tests.servers import Server, free_port

__all__ = ["fresh_sessions"]

ROOT = Path(__file__).parent.parent
SITE = "tests.tested_site"

# The classes of tests that pass. The tests of `Ending` run one by one.
CASES = [
    "Forking",
    "InATransaction",
    "InMemory",
    "Leaving",
    "MixinLast",
    "OverHttp",
    "Overridden",
    "Starting",
    "WithTheRealOnesInRedis",
    "WithoutASite",
]


def python(setting, *arguments, real="none", **variables):
    """Run Python in a site with this ``SESSION_REDIS`` and the ID of one of its real sessions."""
    environment = {
        **{name: value for name, value in os.environ.items() if "XDIST" not in name},
        "DJANGO_SETTINGS_MODULE": f"{SITE}.settings",
        "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",  # this suite has many warnings
        "TESTED_SITE_REDIS": json.dumps(setting),
        "TESTED_SITE_REAL": real,
        **variables,
    }
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def manage_py_test(setting, *cases, **variables):
    options = [case for case in cases if case.startswith("-")]
    labels = [f"{SITE}.cases.{case}" for case in cases if case not in options]
    arguments = [option for whole in options for option in whole.split()]
    return python(setting, "manage.py", "test", *arguments, *labels, **variables)


def pytest_of_site(setting, *arguments, real="none"):
    site = str(ROOT / "tests" / "tested_site")
    return python(
        setting, "-m", "pytest", "-p", "django", f"--confcutdir={site}", f"--ds={SITE}.settings",
        "--assert=plain", "--nomigrations", *arguments, real=real,
    )  # fmt: skip


def assert_passed(done):
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture
def real():
    """
    Real sessions of a site: two of its user 1, and an anonymous one. Returns the ID of the first.
    """
    ids = [signed_in("1"), signed_in("1"), signed_in()]
    return ids[0]


@pytest.fixture
def everything(raw, prefix):
    """All keys under the site's prefix, and all others that contain its name, to compare."""

    def dump():
        keys = sorted(raw.scan_iter(f"*{prefix}*", count=1000))
        return {key: (raw.dump(key), raw.pexpiretime(key)) for key in keys}

    yield dump
    for key in raw.scan_iter(f"*{prefix}*", count=1000):
        raw.delete(key)


def test_manage_py_test(session_redis, real, everything):
    """Real sessions stay byte for byte, and the run leaves nothing."""
    before = everything()
    done = manage_py_test(session_redis, *CASES, real=real)
    assert_passed(done)
    assert everything() == before


def test_manage_py_test_in_parallel(session_redis, real, everything):
    """Parallel workers have prefixes of their own, and leave nothing."""
    before = everything()
    cases = ["WithTheRealOnesInRedis", "InATransaction", "MixinLast", "Leaving", "Forking"]
    assert_passed(manage_py_test(session_redis, "--parallel 2", *cases, real=real))
    assert everything() == before


def test_parallel_workers_that_are_terminated(session_redis, real, everything):
    """If a run ends early while its workers run, nothing of theirs stays."""
    before = everything()
    cases = ["Ending.test_by_failing", "WithTheRealOnesInRedis", "MixinLast", "Leaving"]
    done = manage_py_test(session_redis, "--parallel 2 --failfast", *cases, real=real)
    assert done.returncode == 1
    assert everything() == before


def test_pytest_with_workers(session_redis, real, everything):
    """The same holds under pytest-django and pytest-xdist."""
    before = everything()
    names = "WithTheReal or InATransaction or MixinLast or InMemory or functions"
    files = [f"tests/tested_site/{name}.py" for name in ("cases", "functions")]
    done = pytest_of_site(session_redis, "-p", "xdist", "-n", "2", "-k", names, *files, real=real)
    assert_passed(done)
    assert everything() == before


def test_a_killed_run(session_redis, real, everything):
    """Keys of a killed run do not disturb the next run, which removes them."""
    before = everything()
    assert manage_py_test(session_redis, "Ending.test_by_being_killed").returncode == -9
    left = set(everything()) - set(before)
    assert len(left) == 3  # the session and two indexes
    assert all(expiry > 0 for _, expiry in everything().values())
    assert_passed(manage_py_test(session_redis, "MixinLast"))
    assert everything() == before


def test_redis_is_away_at_the_end(tmp_path):
    """The tests still pass, and a warning names the keys that may be left."""
    server = Server(tmp_path)
    try:
        setting = {"LOCATION": server.url, "KEY_PREFIX": "shop"}
        case = f"{SITE}.cases.Ending.test_when_redis_is_gone"
        done = python(setting, "-W", "error", "manage.py", "test", case)
    finally:
        server.stop()
    assert_passed(done)
    assert "RuntimeWarning: Sessions of these tests stay in Redis" in done.stderr
    assert "test_shop:" in done.stderr


def test_the_embedded_server(settings, tmp_path, session_redis):
    """The same holds for a site in development, whose embedded server is running."""
    settings.SESSION_REDIS = {**session_redis, "LOCATION": f"embedded://{tmp_path}/redis"}
    (tmp_path / "redis").mkdir(mode=0o700)
    real = signed_in("1")
    try:
        assert_passed(manage_py_test(settings.SESSION_REDIS, "MixinLast", real=real))
        assert [session.id for session in registry.latest()] == [real]
    finally:
        embedded.stop(tmp_path / "redis")


def test_the_examples_of_the_docs(tmp_path, session_redis, everything):
    """The examples in docs/testing.md work when they are copied."""
    text = (ROOT / "docs" / "testing.md").read_text()
    case, conftest, function = blocks(section(text, "## From one test to the next"), "python")
    (ini,) = blocks(text, "ini")
    (tmp_path / "pytest.ini").write_text(ini)
    (tmp_path / "conftest.py").write_text(conftest)
    (tmp_path / "test_docs.py").write_text(f"{case}\n{function}")
    before = everything()
    options = ["-m", "pytest", "-p", "django", "--nomigrations", f"--rootdir={tmp_path}"]
    done = python(
        session_redis, *options, "-c", str(tmp_path / "pytest.ini"), f"--ds={SITE}.settings",
        str(tmp_path),
    )  # fmt: skip
    assert_passed(done)
    assert "2 passed" in done.stdout
    assert everything() == before


def test_in_memory(prefix):
    """In memory:// as well, the end of a run removes its keys."""
    run, keyspace = a_run("memory://of-a-run", prefix)
    with FakeRedis(server=memory.fakeredis_at("memory://of-a-run")[1]) as client:
        client.set(keyspace.index, "")
        client.set(f"{prefix}:index", "")
        del run
        assert client.keys() == [f"{prefix}:index".encode()]


def test_an_environment_that_the_site_sets_up(session_redis, real, everything):
    """
    A run lasts from setup_test_environment() to teardown_test_environment(), or to the process's
    end.
    """
    before = everything()
    done = python(session_redis, "-W", "error", "-m", f"{SITE}.environment")
    assert_passed(done)
    assert done.stderr == ""
    assert everything() == before


def a_run(location, prefix, **settings):
    """A run of tests that has used sessions, and its keyspace."""
    site = Conf(location, prefix, **settings)
    run = testing_runs.Run(site)
    return run, run.conf_of(site).keyspace


@pytest.mark.parametrize(
    ("prefix", "is_spread", "shards"), [("session", True, 16), ("{session}", False, 1)]
)
def test_the_layout_of_the_keys_of_tests(prefix, is_spread, shards):
    """In a Cluster, the keys of tests are where the site's would be: in many slots, or in one."""
    site = Conf("redis+cluster://127.0.0.1:1", prefix, index_shards=16)
    own = testing_runs.Run(site).conf_of(site)
    for keyspace in (site.keyspace, own.keyspace, own.keyspace_of_tenant(prefix)):
        assert (keyspace.is_spread, keyspace.shards) == (is_spread, shards)
    assert own.keyspace_of_tenant("shop").tenant == "shop"
    own.is_used[0] = 0  # no server is there, so the end of the run must not look for keys


# Prefixes with characters that have a meaning in a pattern of Redis.
PATTERNS = ["plain", "[ab]", "*", "?", "back\\slash", "{slot}", "é"]


@pytest.mark.parametrize("ending", PATTERNS)
def test_neighbors(server, raw, prefix, everything, ending):
    """Of keys with similar names, only those of the run are removed."""
    site = prefix + ending
    run, keyspace = a_run(server.url, site)
    own = [keyspace.session("a" * 32), keyspace.index, keyspace.user("1")]
    start = f"test_{site}:"
    machine = testing_leftovers.machine()
    alive = os.getppid()
    others = [
        f"{site}:index",
        f"{site}2:index",
        f"{start}index",
        f"{start}user:1",
        f"{start}{'a' * 32}",
        f"{start}{machine}:index",
        f"{start}{machine}-index",
        f"{start}{machine}-{alive}-abcdef-0.0:index",
        f"{start}{'0' * 8}-{os.getpid()}-abcdef-0.0:index",
        f"test_{site}2:{machine}-{os.getpid()}-abcdef-0.0:index",
        f"test_{prefix}a:{machine}-{os.getpid()}-abcdef-0.0:index",
        f"test_{prefix}:{machine}-{os.getpid()}-abcdef-0.0:index",
        f"a-test_{site}:{machine}-{os.getpid()}-abcdef-0.0:index",
    ]
    for name in [*own, *others]:
        raw.set(name, "", ex=60)
    del run
    assert {key.decode() for key in everything()} == set(others)


def test_many_keys(server, raw, prefix, everything):
    """All keys are removed, even if one SCAN does not return all of them."""
    run, keyspace = a_run(server.url, prefix)
    with raw.pipeline(transaction=False) as pipeline:
        for number in range(2500):
            pipeline.set(keyspace.session(str(number)), "", ex=60)
        pipeline.execute()
    del run
    assert everything() == {}


@pytest.mark.parametrize("ending", ["", "{slot}"])
def test_a_cluster(tmp_path, prefix, ending):
    """All keys of a run are removed, whatever node has them, and none else."""
    cluster = Cluster(tmp_path, replicas=0)
    try:
        site = prefix + ending
        run, keyspace = a_run(cluster.url, site, index_shards=16)
        own = [*keyspace.indexes, keyspace.user("1")]
        own += [keyspace.session(f"{number:032x}") for number in range(40)]
        others = [f"{site}:{number}" for number in range(10)]
        with cluster.client() as client:
            for name in [*own, *others]:
                client.set(name, "", ex=60)
            del run
            left = {key.decode() for key in client.scan_iter()}
        assert left == set(others)
    finally:
        cluster.stop()


def test_no_keys(server, raw, prefix, everything):
    """If tests left no keys, nothing is removed."""
    raw.set(f"{prefix}:index", "", ex=60)
    run, _ = a_run(server.url, prefix)
    del run
    assert list(everything()) == [f"{prefix}:index".encode()]


def test_a_run_that_used_no_session():
    """The run does not connect to Redis, so it needs no server."""
    site = Conf(f"redis://127.0.0.1:{free_port()}/0")
    run = testing_runs.Run(site)
    assert run.conf_of(site).key_prefix.startswith("test_session:")
    del run  # a warning would be an error here


def test_a_user_who_may_not_scan(server, raw, prefix):
    """The warning names the command that Redis refuses."""
    raw.acl_setuser(prefix, enabled=True, passwords=["+secret"], categories=["+@all"],
                    commands=["-scan"], keys=["*"])  # fmt: skip
    try:
        location = server.url.replace("://", f"://{prefix}:secret@")
        run, _ = a_run(location, prefix)
        with pytest.warns(RuntimeWarning, match=f"start with test_{prefix}:.* 'scan'") as warned:
            del run
        assert "secret" not in str(warned[0].message)
    finally:
        raw.acl_deluser(prefix)


def test_a_restricted_user(tmp_path):
    """
    If the user may use only the site's commands and keys, the error names the page with the others.
    """
    site, tests = [
        line
        for page in ("redis.md", "testing.md")
        for line in (ROOT / "docs" / page).read_text().splitlines()
        if line.startswith("ACL SETUSER")
    ]
    server = Server(tmp_path)
    try:
        with server.client() as client:
            client.execute_command(*site.split())
            setting = {"LOCATION": server.url.replace("://", "://sessions:password@")}
            done = manage_py_test(setting, "InATransaction")
            assert done.returncode == 1
            assert 'see also "A restricted Redis user" in docs/testing.md' in done.stderr
            client.execute_command(*tests.split())
            done = manage_py_test(setting, "InATransaction")
            assert_passed(done)
            assert "Warning" not in done.stderr
            assert client.keys() == []
    finally:
        server.stop()


def test_a_parallel_worker_of_django(server, prefix, monkeypatch):
    """A worker begins as a copy of the process that has the run, and gets a prefix of its own."""
    site = Conf(server.url, prefix)
    run = testing_runs.Run(site)
    run.begin_afresh()
    first = run.conf_of(site).key_prefix
    assert run.conf_of(site).key_prefix == first
    monkeypatch.setattr("django.test.runner._worker_id", 2)
    second = run.conf_of(site).key_prefix
    run.begin_afresh()
    assert len({first, second, run.conf_of(site).key_prefix}) == 3


def test_in_this_suite(session_redis):
    """This suite's tests override the setting, which is then used as written."""
    assert conf.is_testing()
    assert conf.current().key_prefix == key_prefix() == session_redis["KEY_PREFIX"]


def test_fresh_sessions_by_hand(settings):
    """The sessions of memory:// are removed, also before a test that is debugged."""
    settings.SESSION_REDIS = {"LOCATION": "memory://fresh", "KEY_PREFIX": "as-written"}

    class Case(FreshSessionsMixin, SimpleTestCase):
        def test_it(self):
            assert registry.count() == 0
            SessionStore().create()

    case = Case("test_it")
    SessionStore().create()
    case.debug()
    assert registry.count() == 1
    result = unittest.TestResult()
    case(result)
    assert result.wasSuccessful()


def test_fresh_sessions_for_pytest(settings, request):
    settings.SESSION_REDIS = {"LOCATION": "memory://fresh"}
    SessionStore().create()
    request.getfixturevalue("fresh_sessions")
    assert registry.count() == 0
