"""MAX_SESSIONS_PER_USER and sessions that move in, in one slot and across slots."""

import asyncio

import pytest
from django.contrib.auth.models import User
from django.contrib.sessions.backends.db import SessionStore as FormerSessions

from sessions_redis import conf, former, moving_in, registry
from sessions_redis.engine import SessionStore
from sessions_redis.json_serializer import made
from sessions_redis.moving_all import Move
from sessions_redis.moving_all.pace import Pace
from sessions_redis.storage.commands import session_id
from tests.spread import spread  # noqa: F401 - fixture

pytestmark = pytest.mark.django_db(transaction=True)

CAP = 2


def cap_of(user):
    return CAP


@pytest.fixture(params=["one slot", "across slots"], autouse=True)
def set_cap(settings, session_redis, request):
    """Sets the policy, and more."""
    if request.param == "across slots":
        request.getfixturevalue("spread")
    moving_in.unknown_keys.clear()

    def set_cap(policy="end_oldest", **more):
        settings.SESSION_REDIS = {
            **session_redis, "FORMER_ENGINE": "django.contrib.sessions.backends.db",
            "MAX_SESSIONS_PER_USER": CAP, "MAX_SESSIONS_POLICY": policy, **more,
        }  # fmt: skip

    set_cap()
    return set_cap


def old(user="7"):
    """A session of the former engine, with a user."""
    session = FormerSessions()
    session["_auth_user_id"] = user
    session.create()
    return session.session_key


def is_signed_in(key, world="sync"):
    session = SessionStore(key)
    entries = session.load() if world == "sync" else asyncio.run(session.aload())
    return entries.get("_auth_user_id") == "7"


def signed_in(user="7"):
    session = SessionStore()
    session["_auth_user_id"] = user
    session.create()
    return session.session_key


def ids_of():
    return {live.id for live in registry.of_user("7")}


@pytest.mark.parametrize("world", ["sync", "async"])
@pytest.mark.parametrize("cap", [CAP, f"{__name__}.cap_of"])
def test_the_oldest_session_ends(set_cap, ended, world, cap):
    """A session that moves in counts like a sign-in. One that it ends does not move in again."""
    set_cap(MAX_SESSIONS_PER_USER=cap)
    User.objects.create_user("ada", pk=7)
    keys = [old() for _ in range(4)]
    assert all(is_signed_in(key, world) for key in keys)
    assert len(ids_of()) == CAP
    assert {id for id, *_ in ended} == {*map(session_id, keys)} - ids_of()
    assert sum(is_signed_in(key, world) for key in keys) == CAP


def test_a_refusal(set_cap, ended):
    """A session beyond the cap does not move in, and its visitor has to sign in again."""
    set_cap("refuse")
    keys = [old() for _ in range(4)]
    assert [is_signed_in(key) for key in keys] == [True, True, False, False]
    assert not FormerSessions().exists(keys[3])
    registry.end(session_id(keys[0]))
    assert [is_signed_in(key) for key in keys] == [False, True, False, False]
    assert is_signed_in(signed_in())
    assert ids_of() >= {session_id(keys[1])}


def test_a_shared_store(set_cap):
    """If workers of the former engine still run, a session that ended does not move in again."""
    set_cap(FORMER_ENGINE_SHARED=True)
    keys = [old() for _ in range(3)]
    assert all(is_signed_in(key) for key in keys)
    key = signed_in()
    before = ids_of()
    assert session_id(key) in before
    assert len(before) == CAP
    assert sum(is_signed_in(one) for one in (*keys, key)) == CAP
    assert ids_of() == before


def test_a_session_that_both_stores_have(set_cap):
    """After a store was shared, a session that moves in once more is not one session more."""
    set_cap(FORMER_ENGINE_SHARED=True)
    keys = [old() for _ in range(CAP)]
    assert all(is_signed_in(key) for key in keys)
    set_cap()
    assert all(is_signed_in(key) for key in keys)
    assert ids_of() == {*map(session_id, keys)}
    for key in keys:
        SessionStore(key).delete()
    set_cap(FORMER_ENGINE_SHARED=True)
    others = [old() for _ in range(CAP)]
    assert all(is_signed_in(key) for key in others)
    set_cap("refuse")
    assert all(is_signed_in(key) for key in others)
    assert ids_of() == {*map(session_id, others)}


@pytest.mark.parametrize("policy", ["end_oldest", "refuse"])
def test_all_move(set_cap, ended, policy):
    """The command that moves all sessions keeps to the cap, and sends the signals."""
    set_cap(policy)
    keys = [old() for _ in range(4)]
    store = former.of(conf.current().former_engine)
    move = Move(store, conf.current().keyspace, made(SessionStore().serializer))
    assert sum(move.batches(100, Pace())) == 4
    here = [key for key in keys if is_signed_in(key)]
    assert {*map(session_id, here)} == ids_of()
    assert 1 <= len(here) <= CAP
    lost = {*map(session_id, keys)} - ids_of()
    assert {id for id, *_ in ended} == (lost if policy == "end_oldest" else set())
