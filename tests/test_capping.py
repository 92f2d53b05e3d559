"""MAX_SESSIONS_PER_USER: no user has more sessions, whichever call signs them in."""

import asyncio

import pytest
from django.contrib.auth.models import User
from django.core.exceptions import ImproperlyConfigured, PermissionDenied

from sessions_redis import conf, registry
from sessions_redis.engine import SessionStore
from sessions_redis.exceptions import SessionLimitReached
from sessions_redis.storage.commands import session_id

CAP = 3


def cap_of(user):
    return None if user.is_superuser else 2


def wrong_cap(user):
    return 0


@pytest.fixture
def set_cap(settings, session_redis):
    """Sets the cap, and the policy if it is not the default."""

    def set_cap(cap=CAP, policy=None, **more):
        policies = {"MAX_SESSIONS_POLICY": policy} if policy else {}
        settings.SESSION_REDIS = {
            **session_redis, "MAX_SESSIONS_PER_USER": cap, **policies, **more,
        }  # fmt: skip

    set_cap()
    return set_cap


@pytest.fixture(params=["sync", "async"])
def call(request):
    """``call(session, "save")``: the method, or its asynchronous twin."""
    if request.param == "sync":
        return lambda session, name: getattr(session, name)()
    return lambda session, name: asyncio.run(getattr(session, f"a{name}")())


def visitor(**entries):
    """A session without a user."""
    session = SessionStore()
    session.update({"cart": ["pears"], **entries})
    session.save()
    return session


def saved(call, user):
    session = visitor()
    session["_auth_user_id"] = user
    call(session, "save")
    return session


def created(call, user):
    session = SessionStore()
    session["_auth_user_id"] = user
    call(session, "create")
    return session


def cycled(call, user):
    session = visitor()
    session["_auth_user_id"] = user
    call(session, "cycle_key")
    return session


def replaced(call, user):
    session = visitor()
    session.clear()
    session["_auth_user_id"] = user
    call(session, "save")
    return session


WAYS = [saved, created, cycled, replaced]


def id_of(session):
    return session_id(session.session_key)


def ids_of(user="7"):
    return {live.id for live in registry.of_user(user)}


def begun(raw, session, seconds):
    """Let the session have begun at this time, and have signed in then if that is stored."""
    key = conf.current().keyspace.session(id_of(session))
    raw.hset(key, "@created", str(seconds))
    if raw.hexists(key, "@signed-in"):  # in a Cluster
        raw.hset(key, "@signed-in", str(seconds * 1000))


def filled(call, raw, *times):
    """Sessions of the user that began at these times."""
    sessions = [created(call, "7") for _ in times]
    for session, seconds in zip(sessions, times, strict=True):
        begun(raw, session, 10**9 + seconds)
    return sessions


# The policy "end_oldest"


@pytest.mark.parametrize("way", WAYS)
def test_the_oldest_session_ends(set_cap, call, raw, way, ended):
    """The session that began first ends, in the same step, and a signal is sent."""
    first, second, third = map(id_of, filled(call, raw, 5, 3, 7))
    newest = id_of(way(call, "7"))
    assert ids_of() == {first, third, newest}
    assert ended == [(second, "7", "cap")]
    assert (registry.count(), len(registry.latest())) == (3, 3)


def test_a_session_that_began_before_all_others(set_cap, call, raw):
    """The session that signs in is not ended, even if its visit began first."""
    others = filled(call, raw, 5, 3, 7)
    session = visitor()
    begun(raw, session, 1)
    session["_auth_user_id"] = "7"
    call(session, "save")
    assert ids_of() == {id_of(others[0]), id_of(others[2]), id_of(session)}


def test_other_users(set_cap, call):
    """The sessions of other users, and those without a user, do not count."""
    sessions = [created(call, user) for user in "77788"]
    visitors = [visitor() for _ in range(4)]
    for session in (*sessions, *visitors):
        assert SessionStore(session.session_key).exists(session.session_key)


def test_the_same_time(set_cap, call, raw):
    """Of sessions that began in the same second, the one with the least ID ends."""
    sessions = filled(call, raw, 5, 5, 5)
    created(call, "7")
    assert min(map(id_of, sessions)) not in ids_of()
    assert len(ids_of()) == CAP


@pytest.mark.parametrize("damage", ["", "soon", "-1", "nan", "1e400", "0x7fffffff", b"\xff"])
def test_a_damaged_time(set_cap, call, raw, damage):
    """A session whose time is damaged counts, as the one that began first."""
    sessions = filled(call, raw, 1, 2, 3)
    key = conf.current().keyspace.session(id_of(sessions[1]))
    raw.hset(key, "@created", damage)
    newest = created(call, "7")
    assert ids_of() == {id_of(sessions[0]), id_of(sessions[2]), id_of(newest)}


def test_dead_members(set_cap, call, raw):
    """What an index lists of sessions that are gone, or of other users, does not count."""
    sessions = filled(call, raw, 1, 2)
    keyspace = conf.current().keyspace
    gone, other = created(call, "8"), created(call, "8")
    raw.delete(keyspace.session(id_of(gone)))
    now = raw.time()[0]
    for session, later in ((gone, 900), (other, 900)):
        raw.zadd(keyspace.user("7"), {id_of(session): now + later})
    raw.zadd(keyspace.user("7"), {f"{number:032x}": now - 900 for number in range(20)})
    newest = created(call, "7")
    assert ids_of() == {*map(id_of, sessions), id_of(newest)}
    assert id_of(other) in ids_of("8")
    last = created(call, "7")
    assert ids_of() == {id_of(sessions[1]), id_of(newest), id_of(last)}


def test_a_session_that_its_user_has_already(set_cap, call, raw, ended):
    """Saving, cycling or clearing a session of the same user ends no other one."""
    sessions = filled(call, raw, 1, 2, 3)
    set_cap(1)
    session = sessions[0]
    session["color"] = "red"
    call(session, "save")
    call(session, "cycle_key")
    session["_auth_user_id"] = "7"
    call(session, "save")
    session.clear()
    session["_auth_user_id"] = "7"
    call(session, "save")
    assert (len(ids_of()), ended) == (3, [])


def test_a_change_of_the_user(set_cap, call, raw):
    """A session that another user takes over counts for that user."""
    sessions = filled(call, raw, 1, 2, 3)
    session = created(call, "8")
    session["_auth_user_id"] = "7"
    call(session, "save")
    assert ids_of() == {id_of(sessions[1]), id_of(sessions[2]), id_of(session)}
    assert ids_of("8") == set()


def test_a_cap_that_was_lowered(set_cap, call, raw, ended):
    """The next sign-in ends all sessions that are too many."""
    sessions = filled(call, raw, 1, 2, 3)
    set_cap(2)
    newest = created(call, "7")
    assert ids_of() == {id_of(sessions[2]), id_of(newest)}
    assert [id for id, *_ in ended] == [id_of(sessions[0]), id_of(sessions[1])]


def test_a_second_session_beside_another(set_cap, call, raw):
    """The second session that a double-clicked login makes counts as well."""
    sessions = filled(call, raw, 1, 2)
    first = created(call, "7")
    late = SessionStore(first.session_key)
    assert late["_auth_user_id"] == "7"
    first.cycle_key()
    call(late, "cycle_key")
    assert ids_of() == {id_of(sessions[1]), id_of(first), id_of(late)}


def test_without_a_cap(settings, session_redis, call, ended):
    """None, the default, limits nothing."""
    settings.SESSION_REDIS = {**session_redis, "MAX_SESSIONS_PER_USER": None}
    for _ in range(5):
        created(call, "7")
    assert (len(ids_of()), ended) == (5, [])


# The policy "refuse"


@pytest.mark.parametrize("way", WAYS)
def test_a_refusal(set_cap, call, raw, prefix, way):
    """At the cap, a sign-in raises, nothing is written, and the session has no user."""
    set_cap(policy="refuse")
    others = filled(call, raw, 1, 2, 3)
    expected = {id_of(session) for session in others}
    with pytest.raises(SessionLimitReached) as caught:
        way(call, "7")
    keyspace = conf.current().keyspace
    assert ids_of() == expected
    assert {id.decode() for id in raw.zrange(keyspace.user("7"), 0, -1)} == expected
    hashes = [key for key in raw.scan_iter(f"{prefix}:*") if raw.type(key) == b"hash"]
    of_user = [key.decode() for key in hashes if raw.hget(key, "_auth_user_id") is not None]
    assert sorted(of_user) == sorted(map(keyspace.session, expected))
    assert isinstance(caught.value, PermissionDenied)
    assert caught.value.limit == CAP
    assert str(caught.value) == (
        "You are signed in on 3 devices, which is the limit. Sign out on one of them first."
    )


def test_the_text_for_one_device():
    """The text names the number."""
    assert str(SessionLimitReached(1)) == (
        "You are signed in on 1 device, which is the limit. Sign out there first."
    )


def test_the_session_after_a_refusal(set_cap, call, raw):
    """The visitor's session lives, without the user. It can be saved, and sign in later."""
    set_cap(policy="refuse")
    others = filled(call, raw, 1, 2, 3)
    session = visitor(_auth_user_hash="old")
    session.update({"_auth_user_id": "7", "_auth_user_hash": "new", "color": "red"})
    with pytest.raises(SessionLimitReached):
        call(session, "save")
    expected = {"cart": ["pears"], "_auth_user_hash": "old"}
    assert dict(SessionStore(session.session_key).items()) == expected
    call(session, "save")
    assert dict(SessionStore(session.session_key).items()) == {**expected, "color": "red"}
    others[0].delete()
    session["_auth_user_id"] = "7"
    call(session, "save")
    assert id_of(session) in ids_of()


def test_a_session_that_its_user_has_already_is_not_refused(set_cap, call, raw):
    """A user who has too many sessions can go on with each, and sign in there again."""
    sessions = filled(call, raw, 1, 2, 3)
    set_cap(1, "refuse")
    session = sessions[1]
    call(session, "cycle_key")
    session["_auth_user_id"] = "7"
    session["color"] = "red"
    call(session, "save")
    session.clear()
    session["_auth_user_id"] = "7"
    call(session, "save")
    assert len(ids_of()) == 3


# A function


@pytest.mark.django_db(transaction=True)
def test_a_function(set_cap, call, raw):
    """The function is called with the user, whom only the session names. None is no cap."""
    set_cap(f"{__name__}.cap_of")
    boss = User.objects.create_superuser("boss")
    clerk = User.objects.create_user("clerk")
    for _ in range(4):
        created(call, str(boss.pk))
        created(call, str(clerk.pk))
        created(call, str(clerk.pk + 1))
        created(call, "nobody")
    sessions = [len(ids_of(str(pk))) for pk in (boss.pk, clerk.pk, clerk.pk + 1, "nobody")]
    assert sessions == [4, 2, 4, 4]


@pytest.mark.django_db(transaction=True)
def test_a_function_that_returns_no_cap(set_cap, call):
    """The error names the function, and what it returned."""
    set_cap(f"{__name__}.wrong_cap")
    user = User.objects.create_user("clerk")
    with pytest.raises(ImproperlyConfigured, match=r"wrong_cap, returned 0, not a number from 1"):
        created(call, str(user.pk))


# Many sessions


def test_a_cap_that_is_set_late(set_cap, raw, ended):
    """Each sign-in ends at most 1,000 sessions, those first that would expire first."""
    keyspace, now = conf.current().keyspace, raw.time()[0]
    pipeline = raw.pipeline(transaction=False)
    ids = [f"{number:032x}" for number in range(1, 3001)]
    for number, id in enumerate(ids):
        fields = {"@created": now - number, "@user": "7", "_auth_user_id": '"7"'}
        pipeline.hset(keyspace.session(id), mapping=fields)
        pipeline.pexpire(keyspace.session(id), 10**7)
    members = {id: now + 1000 + number for number, id in enumerate(ids)}
    for name in (keyspace.user("7"), keyspace.index, keyspace.signed_in):
        pipeline.zadd(name, members)
        pipeline.pexpire(name, 10**7)
    pipeline.execute()

    def sign_in():
        session = SessionStore()
        session["_auth_user_id"] = "7"
        session.create()
        return id_of(session)

    newest = set()
    for total in (1000, 2000, 3000):
        newest.add(sign_in())
        assert {id for id, *_ in ended} == set(ids[:total])
    assert ids_of() == newest
    assert raw.zcard(keyspace.user("7")) == raw.zcard(keyspace.index) == CAP
