"""
The restricted user of docs/redis.md: the line gives what the engine needs, and nothing else.

tests/test_refusals.py takes each of its commands and keys away in turn.
"""

import asyncio
from io import StringIO

import pytest
from django.contrib.sessions.backends import db
from django.core.checks import run_checks
from django.core.management import CommandError, call_command
from redis.exceptions import NoPermissionError

from sessions_redis import registry
from sessions_redis.engine import SessionStore
from sessions_redis.exceptions import SessionStoreUnavailable
from sessions_redis.storage.commands import session_id
from tests.documents import rows, section, text_of
from tests.hearing import Hearing
from tests.servers import Server

REDIS = text_of("docs/redis.md")
(LINE,) = [line for line in REDIS.splitlines() if line.startswith("ACL SETUSER")]


def added_for(purpose):
    """The commands that the docs add to the user for one purpose."""
    table = rows(section(REDIS, "## A restricted user"))
    (found,) = [added for what, added in table if purpose in what]
    return found.replace("\\|", "|").strip("`").split()


@pytest.fixture
def own(tmp_path, settings):
    """A server with the documented user, as whom the site signs in."""
    server = Server(tmp_path)
    with server.client() as client:
        client.execute_command(*LINE.split())
    settings.SESSION_REDIS = {
        "LOCATION": server.url.replace("redis://", "redis://sessions:password@")
    }
    yield server
    server.stop()


@pytest.fixture
def admin(own):
    with own.client() as client:
        yield client


def allow(admin, *words):
    admin.execute_command("ACL", "SETUSER", "sessions", *words)


def version_of(admin):
    return tuple(map(int, admin.info("server")["redis_version"].split(".")[:2]))


def saved(**entries):
    session = SessionStore()
    session.update(entries)
    session.save()
    return session


@pytest.mark.parametrize(
    "command",
    ["GET other", "HGETALL sessions", "SET session:x 1", "KEYS *", "FLUSHDB", "CONFIG GET *",
     "ACL LIST", "SCAN 0", "PUBLISH news 1", "INFO"],
)  # fmt: skip
def test_what_the_user_may_not_do(own, command):
    """The user can neither read other keys nor look around in the server."""
    with (
        own.client(username="sessions", password="password") as client,
        pytest.raises(NoPermissionError),
    ):
        client.execute_command(*command.split())


def test_the_user_has_one_pattern(own, admin):
    """The line names the keys with the site's prefix, and no channels."""
    user = admin.acl_getuser("sessions")
    assert user["keys"] in (["~session:*"], "~session:*")
    # Servers before 7.0 allow all channels by default.
    assert user["channels"] in ([], "") or version_of(admin) < (7, 0)


@pytest.mark.parametrize("keys", [[], ["~session:index*"], ["~other:*"]])
def test_a_user_without_the_keys(own, admin, keys):
    """Without its pattern, the user can do nothing, and the error names the page with the line."""
    session = saved(color="red")
    allow(admin, "resetkeys", *keys)
    for act in (session.load, saved, lambda: asyncio.run(session.aload())):
        with pytest.raises(SessionStoreUnavailable) as caught:
            act()
        assert 'docs/redis.md names under "A restricted user"' in str(caught.value)


def rebuilt():
    said = StringIO()
    call_command("rebuildindex", stdout=said)
    return said.getvalue()


def test_rebuilding_the_index(own, admin):
    """With the documented commands, the user can list sessions whose index was lost."""
    saved(_auth_user_id="7")
    admin.delete("session:index", "session:index:signed-in", "session:user:7")
    allow(admin, *added_for("rebuildindex"))
    assert "1 was listed again" in rebuilt()
    assert registry.count() == len(registry.of_user("7")) == 1


@pytest.mark.parametrize("missing", ["+scan", "+dbsize"])
def test_rebuilding_without_a_command(own, admin, missing):
    """Without one of these rights, the command says which one is missing, and writes nothing."""
    saved(_auth_user_id="7")
    admin.delete("session:index")
    before = sorted(admin.keys())
    added = added_for("rebuildindex")
    assert sorted(added) == ["+dbsize", "+scan"]
    allow(admin, *[word for word in added if word != missing])
    with pytest.raises(CommandError, match=f"'{missing[1:]}' command"):
        rebuilt()
    assert sorted(admin.keys()) == before


def test_the_name_in_the_list_of_clients(own, admin):
    """With the documented command, the server knows the name, and logs no refusal."""
    # An older server has no such command, and would refuse the words.
    knows_names = version_of(admin) >= (7, 2)
    allow(admin, *(added_for("CLIENT LIST") if knows_names else []))
    admin.acl_log_reset()
    saved()
    asyncio.run(SessionStore().acreate())
    assert admin.acl_log() == [] or not knows_names


def test_the_policy_of_the_server(own, admin):
    """With the documented command, the check sees the policy; without it, it finds nothing."""
    admin.config_set("maxmemory-policy", "allkeys-lru")

    def found():
        messages = run_checks(include_deployment_checks=True)
        return [one for one in messages if one.id == "sessions_redis.W009"]

    assert found() == []
    allow(admin, *added_for("check --deploy"))
    assert len(found()) == 1


def test_events(own, admin, settings):
    """With the documented rights, ends are published, and processes hear of them."""
    settings.SESSION_REDIS = {**settings.SESSION_REDIS, "EVENTS": True}
    allow(admin, *added_for("EVENTS"))
    with Hearing() as hearing:
        session = saved(_auth_user_id="7")
        session.flush()
        ids = [session_id(saved(_auth_user_id="7").session_key) for _ in range(3)]
        assert registry.end(ids[0])
        assert registry.end_many(ids[1:2]) == ids[1:2]
        assert registry.end_all_of("7") == 1
        hearing.wait_for(*ids)
    assert len(hearing.ids) == 4


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("shared", [False, True])
def test_moving_in(own, settings, shared):
    """The documented commands are enough for sessions that move in from another engine."""
    former = {"FORMER_ENGINE": db.__name__, "FORMER_ENGINE_SHARED": shared}
    settings.SESSION_REDIS = {**settings.SESSION_REDIS, **former}
    keys = []
    for _ in range(3):
        session = db.SessionStore()
        session["_auth_user_id"] = "7"
        session.create()
        keys.append(session.session_key)
    session = SessionStore(keys[0])
    session["color"] = "red"
    session.save()
    session.cycle_key()
    assert SessionStore(session.session_key)["color"] == "red"
    assert registry.end(session_id(session.session_key))
    assert registry.end_all_of("7", keys[1]) == 0
    assert [SessionStore(key).load() for key in (keys[0], keys[2])] == [{}, {}]
    assert SessionStore(keys[1])["_auth_user_id"] == "7"
