"""Sessions that move out of Redis while many processes, on several servers, use them."""

import signal
import sqlite3
from collections import Counter

import pytest

from sessions_redis import engine as ours
from sessions_redis import former
from sessions_redis.keys import Key
from tests.clustered import Cluster
from tests.next_engines import ENGINES, table_in
from tests.servers import DEADLINE
from tests.workers import Worker, race

PROCESSES = 2
THREADS = 10
SESSIONS = 15

REDIS_CACHE = "django.core.cache.backends.redis.RedisCache"


@pytest.fixture
def site(server, prefix, tmp_path):
    """What a process needs to move sessions to one of the engines."""

    def of(engine):
        place = {"BACKEND": REDIS_CACHE, "LOCATION": server.url, "KEY_PREFIX": prefix}
        database = str(table_in(tmp_path / "sessions.db"))
        return {"engine": engine, "cache": place, "folder": str(tmp_path), "database": database}

    return of


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    cluster = Cluster(tmp_path_factory.mktemp("cluster"), replicas=0)
    yield cluster
    cluster.stop()


@pytest.fixture
def in_cluster(settings, session_redis, cluster):
    settings.SESSION_REDIS = {**session_redis, "LOCATION": cluster.url}
    return settings.SESSION_REDIS


@pytest.fixture(params=["session_redis", "in_cluster"], ids=["server", "cluster"])
def redis_of_sessions(request):
    """``SESSION_REDIS`` on one server, or on a Cluster."""
    return request.getfixturevalue(request.param)


def sessions(number):
    """So many sessions in Redis. Returns their keys, each with its entries."""
    made = {}
    for one in range(number):
        session = ours.SessionStore()
        session.update({"_auth_user_id": str(one % 3), "color": "red", "number": one})
        session.save()
        made[session.session_key] = dict(session.items())
    return made


def run(session_redis, *jobs):
    workers = [Worker(session_redis, name, **arguments) for name, arguments in jobs]
    try:
        return race(workers)
    finally:
        for worker in workers:
            worker.end()


@pytest.mark.parametrize(
    ("redis_of_sessions", "engine"),
    [
        ("session_redis", "db"),
        ("session_redis", "cache"),
        ("in_cluster", "cached_db"),
        ("in_cluster", "file"),
    ],
    indirect=["redis_of_sessions"],
)
def test_twenty_first_requests(redis_of_sessions, site, engine):
    """Two processes with ten threads load sessions at once. Each gets all entries of each one."""
    made = sessions(SESSIONS)
    job = (
        "visit_first",
        {"session_keys": list(made), "site": site(engine), "threads": THREADS},
    )
    loaded = [one for of_one in run(redis_of_sessions, *[job] * PROCESSES) for one in of_one]

    assert Counter(key for key, _ in loaded) == dict.fromkeys(made, PROCESSES * THREADS)
    assert all(entries == made[key] for key, entries in loaded)
    assert not any(ours.SessionStore().exists(key) for key in made)


@pytest.mark.parametrize(
    ("redis_of_sessions", "engine"),
    [("session_redis", "db"), ("in_cluster", "cache")],
    indirect=["redis_of_sessions"],
)
def test_signing_out_while_others_move(settings, redis_of_sessions, site, engine):
    """Sessions that end while other processes move them are gone, in both places."""
    made, place = sessions(SESSIONS), site(engine)
    jobs = [
        ("sign_out_at_random", {"session_keys": list(made), "site": place, "seed": seed})
        for seed in range(PROCESSES)
    ]
    ended = {key for of_one in run(redis_of_sessions, *jobs) for key in of_one}
    assert ended == set(made)

    settings.CACHES = {"default": place["cache"]}
    if engine == "db":
        with sqlite3.connect(place["database"]) as connection:
            assert connection.execute("SELECT count(*) FROM django_session").fetchone() == (0,)
        connection.close()
    else:
        assert not any(former.of(ENGINES[engine]).load(Key(key)) for key in made)
    assert not any(ours.SessionStore().exists(key) for key in made)


def test_a_process_dies_while_it_moves_a_session(session_redis, site):
    """
    A process is killed after the next engine has the session, and before it leaves Redis. The
    visitor stays signed in. When the visitor signs out, the session is gone in both places.
    """
    ((key, entries),) = sessions(1).items()
    place = site("db")
    worker = Worker(session_redis, "die_while_moving", session_key=key, site=place)
    try:
        worker.wait_ready()
        worker.begin()
        assert worker.process.wait(DEADLINE) == -signal.SIGKILL
    finally:
        worker.end()
    assert ours.SessionStore().exists(key)

    (loaded,) = run(session_redis, ("visit_and_sign_out", {"session_key": key, "site": place}))
    assert loaded == [entries, {**entries, "color": "blue"}, {}]
    assert not ours.SessionStore().exists(key)
