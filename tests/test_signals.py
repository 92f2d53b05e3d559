"""The signals that a session store sends when a session begins, and when its visitor signs out."""

import asyncio
import logging

import pytest
from django.contrib.auth import alogin, alogout, get_user, login, logout
from django.contrib.auth.models import User
from django.contrib.sessions.backends.base import CreateError
from django.contrib.sessions.backends.db import SessionStore as FormerSessions
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest

from sessions_redis import moving_in, registry
from sessions_redis.engine import SessionStore
from sessions_redis.registry import LiveSession
from sessions_redis.signals import session_created, session_ended
from sessions_redis.storage.commands import session_id
from tests import ruled_engine

BACKEND = "django.contrib.auth.backends.ModelBackend"


@pytest.fixture(params=["sync", "async"])
def do(request):
    """``do(session, name, …)`` calls a method of a session, or its twin."""

    def plain(session, name, *arguments):
        return getattr(session, name)(*arguments)

    def twin(session, name, *arguments):
        return asyncio.run(getattr(session, f"a{name}")(*arguments))

    return plain if request.param == "sync" else twin


@pytest.fixture(params=["sync", "async"])
def sign(request):
    """``sign(session, user)`` signs a user in, or out if it is ``None``."""

    def sign(session, user):
        made = HttpRequest()
        made.session = session
        if request.param == "sync":
            login(made, user, BACKEND) if user else logout(made)
        else:
            asyncio.run(alogin(made, user, BACKEND) if user else alogout(made))

    return sign


@pytest.fixture
def begun():
    """The sessions that began, as (session ID, user)."""
    received = []

    def receive(*, sender, session_id, user_pk, tenant, **kwargs):
        assert (sender, tenant) == (LiveSession, None)
        received.append((session_id, user_pk))

    session_created.connect(receive)
    yield received
    session_created.disconnect(receive)


def id_of(session):
    return session_id(session.session_key)


def test_a_session_begins(do, begun):
    """The first save of a session sends one signal, later saves none."""
    session = SessionStore()
    session["_auth_user_id"] = "7"
    do(session, "save")
    session["color"] = "red"
    do(session, "save")
    assert begun == [(id_of(session), "7")]


def test_creating(do, begun):
    """create() sends the signal for each session that it creates."""
    session = SessionStore()
    do(session, "create")
    first = id_of(session)
    do(session, "create")
    assert begun == [(first, None), (id_of(session), None)]


def test_a_taken_key(do, begun):
    """Creating a session under a key that is taken sends nothing."""
    taken = SessionStore()
    taken.create()
    begun.clear()
    with pytest.raises(CreateError):
        do(SessionStore(taken.session_key), "save", True)
    assert begun == []


def test_cycling_goes_on(do, live, begun, ended):
    """A session that gets a new key neither begins nor ends."""
    do(live, "cycle_key")
    assert (begun, ended) == ([], [])


@pytest.mark.parametrize("names", [["create"], ["save"], ["delete"], ["create", "save", "delete"]])
def test_cycling_of_a_subclass_goes_on(do, begun, ended, names):
    """That also holds for a subclass that overrides the methods which cycling calls."""

    def overridden(name):
        def method(self, *arguments, **options):
            return getattr(super(Own, self), name)(*arguments, **options)

        return method

    Own = type("Own", (SessionStore,), {name: overridden(name) for name in names})  # noqa: N806
    session = Own()
    session["color"] = "red"
    session.save()
    assert begun == [(id_of(session), None)]
    do(session, "cycle_key")
    assert (len(begun), ended) == (1, [])
    was = id_of(session)
    do(session, "flush")
    assert ended == [(was, None, "logged_out")]


def test_cycling_what_is_gone(do, live, begun, ended):
    """If an anonymous session is gone, cycling begins a new session."""
    live.load()
    registry.end(id_of(live))
    ended.clear()
    do(live, "cycle_key")
    assert (begun, ended) == ([(id_of(live), None)], [])


def test_two_sign_ins_at_once(do, live, begun, ended):
    """A second session that begins beside the first, as after a double click, sends the signal."""
    live["_auth_user_id"] = "7"
    live.save()
    first, second = SessionStore(live.session_key), SessionStore(live.session_key)
    assert (first["color"], second["color"]) == ("red", "red")
    do(first, "cycle_key")
    do(second, "cycle_key")
    assert (begun, ended) == ([(id_of(second), "7")], [])


@pytest.mark.parametrize("age", [0, 0.0001, -1])
def test_no_time_left(do, live, begun, ended, age):
    """A session without time left never begins. One that is saved so has expired."""

    class Expired(SessionStore):
        def get_expiry_age(self, **kwargs):
            return age

    do(Expired(), "create")
    do(Expired(live.session_key), "save")
    assert not SessionStore().exists(live.session_key)
    assert (begun, ended) == ([], [])


@pytest.mark.parametrize("method", ["delete", "flush"])
def test_deleting(do, live, ended, method):
    """Deleting a session sends one signal with its user, however often it is deleted."""
    live["_auth_user_id"] = "7"
    live.save()
    id = id_of(live)
    other = SessionStore(live.session_key)
    do(live, method)
    do(other, method)
    do(SessionStore(), method)
    assert ended == [(id, "7", "logged_out")]


def test_deleting_another_session(do, live, ended):
    """Deleting a session by its key names that session."""
    do(SessionStore(), "delete", live.session_key)
    assert ended == [(id_of(live), None, "logged_out")]


@pytest.mark.django_db(transaction=True)
def test_signing_in_and_out(sign, begun, ended, do):
    """
    Signing in goes on with the session. Another user's sign-in ends it, and so does signing out.
    """
    ada, bob = User.objects.create_user("ada"), User.objects.create_user("bob")
    session = SessionStore()
    session.create()
    began = id_of(session)
    sign(session, ada)
    do(session, "save")
    of_ada = id_of(session)
    assert (begun, ended) == ([(began, None)], [])
    sign(session, bob)
    do(session, "save")
    of_bob = id_of(session)
    sign(session, None)
    assert ended == [(of_ada, str(ada.pk), "logged_out"), (of_bob, str(bob.pk), "logged_out")]
    assert begun[1:] == [(of_bob, str(bob.pk))]


@pytest.mark.django_db
def test_a_password_that_no_longer_fits(ended, settings):
    """Django signs out a session of a former password. That sends the signal as well."""
    settings.AUTHENTICATION_BACKENDS = [BACKEND]
    user = User.objects.create_user("ada", password="one")
    request = HttpRequest()
    request.session = SessionStore()
    login(request, user, BACKEND)
    request.session.save()
    id = id_of(request.session)
    user.set_password("two")
    user.save()
    request.session = SessionStore(request.session.session_key)
    assert get_user(request).is_anonymous
    assert ended == [(id, str(user.pk), "logged_out")]


def test_a_receiver_that_raises(do, begun, ended, caplog):
    """A receiver's exception is logged. The session and the other receivers go on."""

    def fail(**kwargs):
        raise ZeroDivisionError("in a receiver")

    for signal in (session_created, session_ended):
        signal.connect(fail)
    try:
        with caplog.at_level(logging.ERROR, "django.dispatch"):
            session = SessionStore()
            do(session, "create")
            id = id_of(session)
            do(session, "flush")
    finally:
        for signal in (session_created, session_ended):
            signal.disconnect(fail)
    assert [record.exc_info[0] for record in caplog.records] == [ZeroDivisionError] * 2
    assert (begun, ended) == ([(id, None)], [(id, None, "logged_out")])


def test_asynchronous_receivers():
    """In an event loop, a coroutine that receives the signal runs in that loop."""
    loops = []

    async def receive(**kwargs):
        loops.append(asyncio.get_running_loop())

    async def visit():
        session = SessionStore()
        await session.acreate()
        await session.aflush()
        return asyncio.get_running_loop()

    for signal in (session_created, session_ended):
        signal.connect(receive)
    try:
        loop = asyncio.run(visit())
    finally:
        for signal in (session_created, session_ended):
            signal.disconnect(receive)
    assert loops == [loop, loop]


@pytest.mark.django_db(transaction=True)
def test_moving_in(do, begun, ended, settings, session_redis):
    """A session that moves in goes on under its key. Signing out then ends it here, once."""
    engine = "django.contrib.sessions.backends.db"
    settings.SESSION_REDIS = {**session_redis, "FORMER_ENGINE": engine}
    moving_in.unknown_keys.clear()
    old = FormerSessions()
    old["_auth_user_id"] = "7"
    old.create()
    session = SessionStore(old.session_key)
    do(session, "load")
    assert begun == []
    do(session, "flush")
    assert ended == [(session_id(old.session_key), "7", "logged_out")]


def test_a_rule_of_a_subclass(do, begun):
    """A subclass that refuses to create a session sends nothing for it."""
    session = ruled_engine.SessionStore()
    session["frozen"] = True
    with pytest.raises(PermissionDenied):
        do(session, "create")
    assert begun == []
