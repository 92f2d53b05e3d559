"""Tests ABSOLUTE_AGE and TOUCH_INTERVAL while sessions move in from another engine."""

import pytest
from django.contrib.auth.models import User
from django.contrib.sessions.backends.db import SessionStore as FormerSessions
from django.contrib.sessions.models import Session
from django.utils import timezone

from sessions_redis import conf, former, moving_in
from sessions_redis.engine import SessionStore
from sessions_redis.json_serializer import made
from sessions_redis.moving_all import Move
from sessions_redis.moving_all.checking import compare
from sessions_redis.moving_all.pace import Pace
from tests import rules
from tests.rules import OTHERS, STAFF
from tests.test_lifetimes import AGE, IDLE, SLACK, again, call, expect_end  # noqa: F401 - fixture

pytestmark = pytest.mark.django_db(transaction=True)

FORMER = "django.contrib.sessions.backends.db"


@pytest.fixture(autouse=True)
def moves_in(settings, session_redis):
    """Sessions move in from Django's database engine, with these settings."""

    def change(**more):
        settings.SESSION_REDIS = {
            **session_redis, "FORMER_ENGINE": FORMER, "ABSOLUTE_AGE": AGE, "TOUCH_INTERVAL": 60,
            **more,
        }  # fmt: skip

    settings.SESSION_COOKIE_AGE = IDLE
    moving_in.unknown_keys.clear()
    rules.calls.clear()
    change()
    return change


def old(**entries):
    session = FormerSessions()
    session.update(entries)
    session.create()
    return SessionStore(session.session_key)


@pytest.mark.parametrize("staff", [True, False, None])
def test_with_a_request(moves_in, call, staff):  # noqa: F811
    """A session whose age is not known counts from when it moves in, per user."""
    moves_in(ABSOLUTE_AGE="tests.rules.per_user")
    entries = {}
    if staff is not None:
        user = User.objects.create_user("ada", is_staff=staff)
        entries = {"_auth_user_id": str(user.pk)}
    session = old(color="red", **entries)
    assert call(session, "load")["color"] == "red"
    expect_end(session, STAFF if staff else OTHERS)
    assert rules.calls == ["ada" if entries else None]
    assert "@renewed" in session.inspect().fields


@pytest.mark.parametrize("age", [AGE, "tests.rules.per_user"])
def test_all_at_once(moves_in, age):
    """So it is for migratesessions, and its check finds no difference."""
    moves_in(ABSOLUTE_AGE=age)
    user = User.objects.create_user("ada", is_staff=True)
    sessions = [old(color="red"), old(_auth_user_id=str(user.pk))]
    serializer = made(sessions[0].serializer)
    for _ in Move(former.of(FORMER), conf.current().keyspace, serializer).batches(10, Pace()):
        pass
    ages = [AGE, AGE] if age == AGE else [OTHERS, STAFF]
    for session, expected in zip(sessions, ages, strict=True):
        expect_end(session, expected)
    counts = compare(conf.current().keyspace)
    assert counts.of("same").number == 2


def test_without_a_limit(moves_in):
    """With TOUCH_INTERVAL alone, sessions move in with the time of their renewal."""
    moves_in(ABSOLUTE_AGE=None)
    one, other = old(color="red"), old(color="red")
    one.load()
    serializer = made(one.serializer)
    for _ in Move(former.of(FORMER), conf.current().keyspace, serializer).batches(10, Pace()):
        pass
    for session in (one, other):
        assert {"@renewed", "@ends"} & session.inspect().fields.keys() == {"@renewed"}


def test_while_it_is_shared(moves_in, call):  # noqa: F811
    """What this engine saves in the former one ends in time, too. Every save is sent."""
    moves_in(FORMER_ENGINE_SHARED=True)
    session = SessionStore()
    session["color"] = "red"
    call(session, "create")

    def left():
        row = Session.objects.get(pk=session.session_key)
        return (row.expire_date - timezone.now()).total_seconds()

    assert AGE - SLACK < left() <= AGE + 1
    Session.objects.update(expire_date=timezone.now() + timezone.timedelta(seconds=60))
    call(session, "save")
    assert AGE - SLACK < left() <= AGE + 1
    FormerSessions(session.session_key).save()  # an old worker does not know the limit
    assert again(session)["color"] == "red"
    expect_end(session, AGE)
