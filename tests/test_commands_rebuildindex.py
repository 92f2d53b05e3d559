"""The command that lists every session again, after an index was lost."""

import io
import re
from dataclasses import replace

import pytest
from django.core.management import CommandError, call_command

from sessions_redis import conf, registry
from sessions_redis.clients import perform
from sessions_redis.engine import SessionStore
from sessions_redis.registry import rebuilding, scanning
from sessions_redis.storage import layouts
from sessions_redis.storage.changes import Changes
from sessions_redis.storage.commands import session_id
from sessions_redis.storage.servers import Primary
from tests.listed import expect_listed
from tests.servers import free_port
from tests.test_commands_management import run
from tests.test_registry_steps import expect_bounded, own, watched  # noqa: F401 - fixture
from tests.workers import Worker

MANY = 1500


def started(number):
    """As many sessions, of three users and of nobody."""
    keyspace = conf.current().keyspace
    ids = [session_id(f"{keyspace.prefix}, number {n}") for n in range(number)]
    users = ["", "1", "2", "3"]
    for n, id in enumerate(ids):
        perform(layouts.create(keyspace, id, 10_000 + n, Changes(user=users[n % 4])))
    return ids


@pytest.fixture
def lost(raw, prefix):
    """Sessions that no index lists."""
    ids = started(MANY)
    for name in ("index", "index:signed-in", "index:anonymous", "user:1", "user:2", "user:3"):
        raw.delete(f"{prefix}:{name}")
    return ids


def test_everything_is_listed_again(lost, raw, prefix):
    """Every session is in its indexes and its user's again, and keeps its lifetime."""
    before = {id: raw.pexpiretime(f"{prefix}:{id}") for id in lost}
    assert run("rebuildindex") == "1,500 sessions found; 1,500 were listed again.\n"
    expect_listed(raw, prefix)
    assert {id: raw.pexpiretime(f"{prefix}:{id}") for id in lost} == before
    assert registry.count() == MANY
    assert registry.end_all_of("1") == MANY // 4
    assert run("rebuildindex") == "1,125 sessions found, none unlisted.\n"


def test_a_dry_run(lost, contents):
    """It says how many sessions are not listed, and writes nothing."""
    before = contents()
    said = "1,500 sessions found. 1,500 of them are not listed, or not under the right user. "
    assert run("rebuildindex", "--dry-run").startswith(said)
    assert contents() == before


@pytest.mark.parametrize("name", ["index", "index:signed-in", "user:7"])
def test_one_index_was_lost(raw, prefix, name):
    """A session that one of its indexes does not list is listed there again."""
    session = SessionStore()
    session["_auth_user_id"] = "7"
    session.save()
    raw.zrem(f"{prefix}:{name}", session_id(session.session_key))
    said = "1 session found. 1 of them is not listed, or not under the right user. "
    assert run("rebuildindex", "--dry-run").startswith(said)
    assert run("rebuildindex") == "1 session found; 1 was listed again.\n"
    expect_listed(raw, prefix)


def test_what_is_no_session(raw, prefix):
    """Other keys, markers of cycling, damaged hashes and other sites' sessions are left alone."""
    session = SessionStore()
    session.save()
    session.cycle_key()
    other = f"{prefix}[x]"
    raw.hset(f"{prefix}:{'a' * 32}", "color", "red")
    raw.set(f"{prefix}:{'b' * 32}", "text")
    raw.hset(f"{prefix}:no-id", "@created", "1")
    raw.hset(f"{other}:{'c' * 32}", "@created", "1")
    raw.delete(f"{prefix}:index")
    assert run("rebuildindex") == "1 session found; 1 was listed again.\n"
    assert raw.zrange(f"{prefix}:index", 0, -1) == [session_id(session.session_key).encode()]
    raw.delete(f"{prefix}:{'a' * 32}", f"{prefix}:{'b' * 32}", f"{prefix}:no-id")
    raw.delete(f"{other}:{'c' * 32}")


def test_a_prefix_with_characters_of_patterns(settings, session_redis, raw, prefix):
    """It is taken literally."""
    settings.SESSION_REDIS = {**session_redis, "KEY_PREFIX": f"{prefix}:[a]*?\\"}
    SessionStore().save()
    keyspace = conf.current().keyspace
    raw.delete(keyspace.index)
    assert run("rebuildindex") == "1 session found; 1 was listed again.\n"
    assert raw.zcard(keyspace.index) == 1


def test_no_sessions():
    """There is nothing to list."""
    assert run("rebuildindex") == "0 sessions found, none unlisted.\n"
    assert run("rebuildindex", verbosity=0) == ""


def test_each_step_is_bounded(own, prefix):  # noqa: F811
    """No step works on more than a thousand keys, however many sessions there are."""
    started(MANY)
    with own.client() as client:
        client.delete(f"{prefix}:index")
    with watched(own) as scripts:
        run("rebuildindex")
    assert len(scripts) >= MANY // rebuilding.LIST_MANY_BATCH_SIZE
    expect_bounded(scripts, prefix)


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_progress(lost):
    """On a terminal a bar grows until everything was looked at."""
    out = Terminal()
    call_command("rebuildindex", stdout=out, no_color=True)
    *bars, said = re.split(r"[\r\n]+", out.getvalue().strip())
    assert bars[-1] == f"[{'#' * 30}] 100%  1,500 sessions"
    assert len(bars) >= 2
    shares = [int(re.search(r"(\d+)%", bar)[1]) for bar in bars]
    assert shares == sorted(shares)
    assert said == "1,500 sessions found; 1,500 were listed again."


def test_index_is_off(settings, session_redis):
    """The command says which setting keeps sessions from being listed."""
    settings.SESSION_REDIS = {**session_redis, "INDEX": False}
    with pytest.raises(CommandError, match="INDEX"):
        run("rebuildindex")


@pytest.mark.parametrize("option", [[], ["--dry-run"]])
def test_redis_is_away(settings, session_redis, option):
    """The command says so, and what it had done by then."""
    settings.SESSION_REDIS = {**session_redis, "LOCATION": f"redis://127.0.0.1:{free_port()}"}
    done = "Nothing was written" if option else "Sessions listed again before that: 0."
    with pytest.raises(CommandError, match=f"Redis at .*{done}"):
        run("rebuildindex", *option)


def test_beside_a_running_site(session_redis, prefix, raw, lost):
    """Sessions that begin, are cycled and change hands meanwhile are listed in the end."""
    workers = [Worker(session_redis, "churn", seed=seed) for seed in range(2)]
    try:
        for worker in workers:
            worker.wait_ready()
        for worker in workers:
            worker.begin()
        for _ in range(5):
            raw.delete(f"{prefix}:index", f"{prefix}:user:1", f"{prefix}:index:anonymous")
            run("rebuildindex")
    finally:
        for worker in workers:
            worker.end()
    run("rebuildindex")
    for key in raw.scan_iter(f"{prefix}:*", count=1000):
        if raw.type(key) == b"hash" and not raw.hexists(key, "@created"):
            raw.delete(key)
    registry.latest(0, 5000)  # expired sessions leave the indexes
    ids = {key.decode().removeprefix(f"{prefix}:") for key in raw.scan_iter(f"{prefix}:*")}
    listed = {id.decode() for id in raw.zrange(f"{prefix}:index", 0, -1)}
    assert {id for id in ids if len(id) == 32} <= listed | {
        id for id in ids if not raw.exists(f"{prefix}:{id}")
    }


def test_nodes_that_are_looked_at_again():
    """A node that got slots meanwhile is looked at again, and one that got a replica is not."""
    before = [Primary("a:1", ((0, 99),), 0), Primary("b:1", ((100, 199),), 1)]
    with_replica = [replace(before[0], replicas=1), before[1]]
    moved = [replace(before[0], ranges=((0, 149),)), replace(before[1], ranges=((150, 199),))]
    assert scanning._with_other_slots(with_replica, before) == []
    assert scanning._with_other_slots(moved, before) == moved
    assert scanning._with_other_slots([None], [None]) == []
