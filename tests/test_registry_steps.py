"""Promise 13: however many sessions there are to end or drop, no script holds the server up."""

import asyncio
from contextlib import contextmanager

import pytest

from sessions_redis import conf, registry
from sessions_redis.clients import run, run_all
from sessions_redis.engine import SessionStore
from sessions_redis.exceptions import SessionStoreUnavailable
from sessions_redis.registry import listing
from sessions_redis.signals import session_ended
from sessions_redis.storage import commands, listings
from sessions_redis.storage.changes import Changes
from sessions_redis.storage.commands import session_id
from sessions_redis.storage.keyspaces import Keyspace
from tests.servers import Server, wait_until
from tests.workers import Worker

MANY = 2000
AT_MOST = 1000


@pytest.fixture
def own(settings, session_redis, tmp_path):
    """A server of the test's own."""
    server = Server(tmp_path)
    settings.SESSION_REDIS = {**session_redis, "LOCATION": server.url}
    yield server
    server.stop()


def started(number, user=lambda number: "7"):
    """The ids of as many new sessions."""
    keyspace = conf.current().keyspace
    ids = [session_id(f"session {n} of {number}") for n in range(number)]
    changes = [Changes({b"n": b"%d" % n}, user=user(n)) for n in range(number)]
    run_all([commands.create(keyspace, id, 1000 + n, changes[n]) for n, id in enumerate(ids)])
    return ids


def signed_in(user="7"):
    session = SessionStore()
    session["_auth_user_id"] = user
    session.save()
    return session


@pytest.fixture(params=["plain", "async"])
def call(request):
    def plain(name, *arguments, **options):
        return getattr(registry, name)(*arguments, **options)

    def twin(name, *arguments, **options):
        return asyncio.run(getattr(registry, f"a{name}")(*arguments, **options))

    return plain if request.param == "plain" else twin


@contextmanager
def watched(server):
    """Yields a list that holds, afterwards, what each script did: the words of its commands."""
    scripts = []
    with server.client() as client, client.monitor() as monitor:
        yield scripts
        with server.client() as other:
            other.echo("over")
        said = monitor.next_command()
        while not said["command"].upper().startswith("ECHO"):
            words = said["command"].split()
            if words[0].upper().startswith("EVAL"):
                scripts.append([])
            elif said["client_type"] == "lua":
                scripts[-1].append(words)
            said = monitor.next_command()
    scripts[:] = filter(None, scripts)  # a server that does not know a script does nothing


def expect_bounded(scripts, prefix):
    """None of them worked on more than a thousand keys, or on as many members of an index."""
    for script in scripts:
        keys = {word for words in script for word in words if word.startswith(f"{prefix}:")}
        assert len(keys) <= AT_MOST
        assert max(len(words) - 2 for words in script) <= AT_MOST


def nobodys(raw, index, expires):
    members = {session_id(f"nobody {n}"): expires for n in range(MANY)}
    raw.zadd(index, members)
    raw.expire(index, 1000)


def test_ending_all_of_a_user(own, prefix):
    """All of them go, at most a thousand at a time, and the server is free in between."""
    ids = started(MANY)
    with own.client() as client:
        client.config_resetstat()
        before = client.info("cpu")
        with watched(own) as scripts:
            ended = registry.end_each_of("7")
        after = client.info("cpu")
        assert sorted(ended) == sorted(ids)
        assert client.dbsize() == 0
    assert len(scripts) == MANY // listings.END_ALL_BATCH_SIZE + 1
    expect_bounded(scripts, prefix)
    # What others wait for at worst, were the server never interrupted.
    spent = sum(after[name] - before[name] for name in ("used_cpu_user", "used_cpu_sys"))
    assert spent / len(scripts) < 0.1


@pytest.mark.parametrize("users", ["one each", "nobody"])
def test_ending_many(own, prefix, users):
    """So do those that are named one by one, whoever has them."""
    ids = started(MANY, user=lambda number: str(number) if users == "one each" else "")
    with watched(own) as scripts:
        assert registry.end_many([*ids, *ids]) == ids
    with own.client() as client:
        assert client.dbsize() == 0
    expect_bounded(scripts, prefix)


def test_dropping(own, prefix):
    """What expired and what vanished leaves the indexes a thousand at a time."""
    with own.client() as client:
        now = client.time()[0]
        for name in ("index", "index:signed-in", "user:7"):
            nobodys(client, f"{prefix}:{name}", now + 900)
        with watched(own) as scripts:
            assert registry.latest(0, MANY) == []
            assert registry.of_user("7") == []
        assert client.dbsize() == 0
        for name in ("index", "user:7"):
            nobodys(client, f"{prefix}:{name}", now - 900)
        with watched(own) as more:
            assert registry.of_user("7") == []
            assert registry.trim() == MANY
            assert registry.end_all_of("7") == 0
        assert client.dbsize() == 0
    expect_bounded([*scripts, *more], prefix)


def test_the_last_step_sees_the_whole_index(prefix):
    """Steps go on until one has looked at fewer than it may."""
    keyspace = conf.current().keyspace
    ids = started(listings.END_ALL_BATCH_SIZE)
    first = run(listings.end_all(keyspace, "7"))
    assert (len(first.sessions), first.more) == (len(ids), True)
    assert run(listings.end_all(keyspace, "7")) == listings.Ended(())


# What is ended when Redis fails midway


def test_redis_goes_away_midway(own, call, ended):
    """What was ended until then has its signal, and the error says what that is."""

    def go_away(**kwargs):
        if own.process.poll() is None:
            own.stop()

    ids = set(started(MANY))
    session_ended.connect(go_away)
    try:
        with pytest.raises(SessionStoreUnavailable) as caught:
            call("end_all_of", "7", reason="tests")
    finally:
        session_ended.disconnect(go_away)
    assert len(caught.value.ended) == listings.END_ALL_BATCH_SIZE
    assert set(caught.value.ended) < ids
    assert ended == [(id, "7", "tests") for id in caught.value.ended]


def test_redis_goes_away_while_many_are_ended(own, call, ended):
    """The same with those that are named one by one; before the first step, none was ended."""

    def go_away(**kwargs):
        if own.process.poll() is None:
            own.stop()

    ids = started(MANY)
    session_ended.connect(go_away)
    try:
        with pytest.raises(SessionStoreUnavailable) as caught:
            call("end_many", ids)
    finally:
        session_ended.disconnect(go_away)
    assert caught.value.ended == ids[: listings.END_MANY_BATCH_SIZE]
    assert [id for id, _, _ in ended] == ids[: listings.END_MANY_BATCH_SIZE]
    with pytest.raises(SessionStoreUnavailable) as caught:
        call("end_many", ids)
    assert list(caught.value.ended) == []


# The session to spare, and markers


@pytest.mark.parametrize("times", [0, 1, 5])
@pytest.mark.parametrize("by", ["key", "id"])
def test_a_spared_session_that_was_cycled(call, times, by):
    """It is spared under the key that it has by now."""
    session = signed_in()
    others = [signed_in() for _ in range(3)]
    known = SessionStore(session.session_key)
    for _ in range(times):
        session.cycle_key()
    if by == "key":
        assert call("end_all_of", "7", known.session_key) == 3
    else:
        assert call("end_all_of", "7", except_id=session_id(known.session_key)) == 3
    assert session.exists(session.session_key)
    assert [live.id for live in registry.of_user("7")] == [session_id(session.session_key)]
    assert not any(other.exists(other.session_key) for other in others)


def test_a_spared_session_that_has_ended(call):
    """A marker that leads nowhere, or in a circle, spares nothing."""
    session = signed_in()
    known = session.session_key
    session.cycle_key()
    session.delete()
    signed_in()
    assert call("end_all_of", "7", known) == 1


def test_markers_in_a_circle(call, raw, prefix):
    """They are not followed for ever."""
    signed_in()
    for id, other in (("a" * 32, "b" * 32), ("b" * 32, "a" * 32)):
        raw.hset(f"{prefix}:{id}", "@cycled", other)
        raw.expire(f"{prefix}:{id}", 60)
    assert call("end_all_of", "7", except_id="a" * 32) == 1


def test_a_marker_is_nothing_to_end(call, raw, prefix, ended):
    """What cycling left at the old name stays there, and is not counted as ended."""
    session = signed_in()
    old = session.session_key
    session.cycle_key()
    before = raw.hgetall(f"{prefix}:{session_id(old)}")
    assert set(before) == {b"@cycled"}
    assert call("end", session_id(old)) is False
    assert call("end_many", [session_id(old)]) == []
    SessionStore().delete(old)
    assert raw.hgetall(f"{prefix}:{session_id(old)}") == before
    assert session.exists(session.session_key)
    assert ended == []
    assert call("end_many", [session_id(old), session_id(session.session_key)]) == [
        session_id(session.session_key)
    ]


# Processes


@pytest.mark.parametrize("whose", ["of the user", "of all users"])
def test_nothing_slips_away(session_redis, server, prefix, raw, whose):
    """
    While others cycle and sign in, all that there was ends, and the spared session does not.

    A session that is cycled between two steps is in the index at any time, under one id or the
    other; the last step sees the whole index.
    """
    cycled = [signed_in() for _ in range(2)]
    spared = signed_in()
    ids = started(MANY)
    told = f"told-by-{prefix}"
    arguments = {"told": told, "url": server.url}
    workers = [
        Worker(session_redis, "cycle_until_ended", session_key=session.session_key, **arguments)
        for session in (*cycled, spared)
    ]
    workers.append(Worker(session_redis, "sign_in_until_told", user="7", **arguments))
    try:
        for worker in workers:
            worker.wait_ready()
        for worker in workers:
            worker.begin()
        wait_until(lambda: int(raw.get(f"{told}-moves") or 0) >= 30, "sessions are cycled")
        if whose == "of the user":
            ended = registry.end_each_of("7", spared.session_key)
        else:
            ended = registry.end_each(except_session_key=spared.session_key)
        for worker in workers[:2]:
            worker.process.wait(60)
        raw.set(told, "over", ex=60)
        *moved, started_meanwhile = [worker.result() for worker in workers]
    finally:
        for worker in workers:
            worker.end()
        raw.delete(told, f"{told}-moves")
    print(f"ended {len(ended)}; moved {moved}; signed in meanwhile: {started_meanwhile}")
    assert set(ids) <= set(ended)
    assert len(set(ended)) == len(ended) >= len(ids) + 2
    assert [key for _, key in moved[:2]] == [None, None]
    moves, key = moved[2]
    assert moves >= 1
    assert SessionStore(key)["_auth_user_id"] == "7"
    left = {live.id for live in registry.of_user("7")}
    assert session_id(key) in left
    assert len(left) <= 1 + started_meanwhile


def test_what_is_dropped_from_the_indexes_of_many_users():
    """The indexes count, too: no command names more than a thousand keys."""
    users = [f"user-{number}" for number in range(51)]
    gone = listings.Page(MANY, tuple(f"{number:032x}" for number in range(MANY)))
    asked = list(listing._drop(Keyspace("site"), gone, [], *users))
    named = [(command.parts[2], len(command.parts) - 4 - command.parts[2]) for command in asked]
    assert sum(members for _, members in named) == MANY
    assert all(keys == 54 and keys + members <= AT_MOST for keys, members in named)
