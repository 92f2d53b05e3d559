"""Who is signed in: the registry's functions and their twins, on a real server."""

import asyncio
import dataclasses
import time
import uuid
from datetime import UTC, datetime, timedelta

import pytest
from django.contrib.auth.models import AnonymousUser, User
from django.core.exceptions import ImproperlyConfigured
from django.core.management import call_command
from django.utils.functional import SimpleLazyObject

from sessions_redis import registry
from sessions_redis.engine import SessionStore
from sessions_redis.exceptions import SessionStoreUnavailable
from sessions_redis.registry import ALL, Selection
from sessions_redis.storage.commands import session_id
from tests.people.models import Employee, Member, Person
from tests.servers import free_port

DEAD = 50_000
UNKNOWN = "0123456789abcdef" * 2
WRONG_FORM = ["", "x", "index", "user:1", UNKNOWN.upper(), UNKNOWN + "0", UNKNOWN + "\n", "*" * 32]

# Primary keys that a careless naming of keys would take for one another.
USERS = [
    "1",
    "1:2",
    "1 2",
    "11",
    "-1",
    "8f14e45f-ceea-467f-a0e6-1d5f0c5b7f1e",
    "8f14e45fceea467fa0e61d5f0c5b7f1e",
    "a:b",
    "a",
    "A:B",
    " ",
    "index",
    "index:signed-in",
    "*",
    "é\n\x00{x}",
    "🦊" * 100,
]


@pytest.fixture(params=["plain", "async"])
def call(request):
    """``call(name, …)`` calls a function of the registry, or its twin in a loop of its own."""

    def plain(name, *arguments, **options):
        return getattr(registry, name)(*arguments, **options)

    def twin(name, *arguments, **options):
        return asyncio.run(getattr(registry, f"a{name}")(*arguments, **options))

    return plain if request.param == "plain" else twin


def started(user=None, ttl=None, **entries):
    """The id of a new session, of ``user`` or of nobody, that lives for ``ttl`` seconds."""
    session = SessionStore()
    session.update(entries)
    if user is not None:
        session["_auth_user_id"] = user
    if ttl is not None:
        session.set_expiry(ttl)
    session.save()
    return session_id(session.session_key)


def ids(sessions):
    return [session.id for session in sessions]


def indexed(raw, prefix, name="index"):
    return {member.decode() for member in raw.zrange(f"{prefix}:{name}", 0, -1)}


def put_in_index(raw, key, names, expires):
    """Members without sessions."""
    for start in range(0, len(names), 10_000):
        raw.zadd(key, {name: expires + 0.001 * n for n, name in enumerate(names[start:][:10_000])})
    raw.expire(key, 1000)


def nobodys(number, what="dead"):
    return [session_id(f"{what}-{n}") for n in range(number)]


def commands_of(raw, function):
    """How often the server carried out each command on behalf of ``function()``."""

    def counted():
        return {
            name.removeprefix("cmdstat_"): stat["calls"]
            for name, stat in raw.info("commandstats").items()
        }

    before = counted()
    function()
    after = counted()
    return {
        name: calls - before.get(name, 0)
        for name, calls in after.items()
        if calls > before.get(name, 0) and name != "info"
    }


# Counting


def test_counting(call):
    """All, those with a user, those without, and those that expire soon are counted."""
    assert call("count") == 0
    started("1")
    started("1", ttl=50)
    started("2", ttl=3000)
    started(ttl=50)
    assert call("count") == 4
    assert call("count", Selection(signed_in=True)) == 3
    assert call("count", Selection(signed_in=False)) == 1
    assert call("count", Selection(within=60)) == 2
    assert call("count", Selection(within=60, signed_in=True)) == 1
    assert call("count", Selection(users=("1",))) == 2
    assert call("count", Selection(users=("1", "2", "1", "3"), within=60)) == 1


def test_what_has_expired_is_not_counted(call, raw, prefix):
    """Expiry is told by the index and the server's clock, before anything was trimmed."""
    started("1")
    put_in_index(raw, f"{prefix}:index", nobodys(3), time.time() - 9)
    assert call("count") == 1
    assert len(indexed(raw, prefix)) == 4


def test_by_time_left(call):
    """Sessions with a user and without are counted between each bound and the next."""
    started("1", ttl=50)
    started("2", ttl=90)
    started(ttl=90)
    started(ttl=5000)
    assert call("by_time_left", [0, 60, 120, 240]) == ([1, 1, 0], [0, 1, 0])
    assert call("by_time_left", [0, float("inf")]) == ([2], [2])
    assert call("by_time_left", [7, 8]) == ([0], [0])


# Listing


def test_an_empty_store(call):
    """There is nothing to list, find or end."""
    assert call("latest") == call("of_user", "1") == call("find_many", [UNKNOWN]) == []
    assert call("latest", 0, 50, Selection(users=("1",))) == []
    assert call("end_each_of", "1") == call("end_many", [UNKNOWN]) == []
    assert call("end_all_of", "1") == call("trim") == 0


def test_the_latest(call):
    """Those that expire last come first, from the first asked for up to, not with, the last."""
    expected = [started("1", ttl=ttl) for ttl in (500, 400, 300, 200, 100)]
    assert ids(call("latest")) == expected
    assert ids(call("latest", 1, 3)) == expected[1:3]
    assert ids(call("latest", 4, 99)) == expected[4:]
    assert call("latest", 5, 9) == call("latest", 3, 3) == call("latest", 3, 1) == []


SELECTIONS = {
    "all": (ALL, "abcdef"),
    "soonest first": (Selection(latest_first=False), "fedcba"),
    "signed in": (Selection(signed_in=True), "acde"),
    "anonymous": (Selection(signed_in=False), "bf"),
    "soon": (Selection(within=330), "def"),
    "soon and anonymous": (Selection(signed_in=False, within=330), "f"),
    "of a user": (Selection(users=("1",)), "ade"),
    "of users": (Selection(users=("2", "1"), latest_first=False), "edca"),
    "of a user, soon": (Selection(users=("1",), within=330), "de"),
    "of a user, signed in": (Selection(users=("1",), signed_in=True), "ade"),
    "of a user, anonymous": (Selection(users=("1",), signed_in=False), ""),
    "of no user": (Selection(users=()), ""),
    "of an unknown user": (Selection(users=("3",)), ""),
}


@pytest.mark.parametrize("name", SELECTIONS)
def test_selections(call, name):
    """Selections name users, or who is signed in, and how much time is left, in either order."""
    users = {"a": "1", "b": None, "c": "2", "d": "1", "e": "1", "f": None}
    known = {
        started(user, ttl=600 - 100 * number): letter
        for number, (letter, user) in enumerate(users.items())
    }
    selection, expected = SELECTIONS[name]
    assert "".join(known[id] for id in ids(call("latest", 0, 50, selection))) == expected
    assert "".join(known[id] for id in ids(call("latest", 1, 3, selection))) == expected[1:3]
    assert call("count", selection) == len(expected)


def test_what_is_known_of_a_session(call, raw, prefix):
    """Times are aware and in UTC; address and agent are those that the middleware kept."""
    before = datetime.now(UTC).replace(microsecond=0)
    id = started("7", ttl=100)
    raw.hset(f"{prefix}:{id}", mapping={"@ip": "2001:db8::1", "@agent": "Firéfox"})
    live = call("find", id)
    assert (live.id, live.user_pk, live.ip, live.user_agent) == (id, "7", "2001:db8::1", "Firéfox")
    assert before <= live.created <= live.updated <= datetime.now(UTC)
    assert timedelta(seconds=98) < live.expires - live.created < timedelta(seconds=102)
    assert {moment.tzinfo for moment in (live.created, live.updated, live.expires)} == {UTC}
    with pytest.raises(dataclasses.FrozenInstanceError):
        live.id = UNKNOWN


def test_what_is_not_known_of_a_session(call):
    """Nobody's session has no user, and one that no middleware of ours saw neither of the rest."""
    live = call("find", started())
    assert (live.user_pk, live.ip, live.user_agent) == (None, None, None)


def test_metadata_that_is_not_to_be_kept(call, raw, prefix, settings, session_redis):
    """With METADATA off nothing is told of what a session holds from before."""
    id = started()
    raw.hset(f"{prefix}:{id}", mapping={"@ip": "2001:db8::1", "@agent": "Firefox"})
    settings.SESSION_REDIS = {**session_redis, "METADATA": False}
    live = call("find", id)
    assert (live.ip, live.user_agent) == (None, None)


def test_entries():
    """They are read when asked for: as they are by then, and none of a session that has ended."""
    id = started("1", color="red")
    live = registry.find(id)
    shown = {entry.name: entry.value for entry in live.entries()}
    assert shown == {"_auth_user_id": "1", "color": "red"}
    assert asyncio.run(live.aentries()) == live.entries()
    registry.end(id)
    assert live.entries() == asyncio.run(live.aentries()) == []


def test_entries_of_what_is_no_session(raw, prefix):
    """What lies under a session's name and is no hash has none."""
    live = registry.find(started())
    raw.delete(f"{prefix}:{live.id}")
    raw.set(f"{prefix}:{live.id}", "text", ex=9)
    assert live.entries() == []


@pytest.mark.parametrize("damage", ["junk", "", "-1", "9" * 40, b"\xff", "1e9"])
def test_a_damaged_time(call, raw, prefix, damage):
    """It costs itself, not the list: 1970 stands for it, or the time of creation."""
    id = started("1")
    raw.hset(f"{prefix}:{id}", "@updated", damage)
    (live,) = call("latest")
    assert (live.id, live.updated) == (id, live.created)
    raw.hset(f"{prefix}:{id}", "@created", damage)
    (live,) = call("of_user", "1")
    assert (live.id, live.created.year) == (id, 1970)


def test_metadata_that_is_no_utf8(call, raw, prefix):
    """It is shown with escapes."""
    id = started()
    raw.hset(f"{prefix}:{id}", "@agent", b"\xffFirefox")
    assert call("find", id).user_agent == "\\xffFirefox"


# Finding


def test_finding(call):
    """A session is found by its id, whoever's it is; others are not there."""
    id = started("1")
    assert call("find", id).user_pk == "1"
    assert call("find", UNKNOWN) is None


@pytest.mark.parametrize("id", WRONG_FORM)
def test_what_is_no_id(call, raw, prefix, id):
    """What has not the form of an id names no session, and ends nothing."""
    started("1")
    keys = set(raw.scan_iter(f"{prefix}:*"))
    assert call("find", id) is None
    assert call("end", id) is False
    assert call("end_many", [id]) == []
    assert call("find_many", [id]) == []
    assert set(raw.scan_iter(f"{prefix}:*")) == keys


def test_a_session_key_is_no_id(call, live):
    """Who has a session's key finds nothing by it: ids alone are taken."""
    assert call("find", live.session_key) is None
    assert call("end", live.session_key) is False
    assert live.exists(live.session_key)


def test_what_is_no_hash_is_no_session(call, raw, prefix):
    """A key of another type under a session's name is not found, and drops out of the list."""
    id = started("1")
    raw.delete(f"{prefix}:{id}")
    raw.set(f"{prefix}:{id}", "text", ex=9)
    assert call("find", id) is None
    assert call("latest") == []
    assert call("of_user", "1") == []
    assert indexed(raw, prefix) == indexed(raw, prefix, "user:1") == set()


def test_finding_many(call):
    """Those that are live come back, in the order asked for."""
    first, second = started("1"), started()
    assert ids(call("find_many", [second, UNKNOWN, "junk", first])) == [second, first]


# Users


def test_of_a_user(call, raw, prefix):
    """The user's sessions and nobody else's, the newest first, whatever expires when."""
    expected = [started("1", ttl=ttl) for ttl in (100, 300, 200)]
    started("2")
    started()
    for age, id in enumerate(expected):
        raw.hset(f"{prefix}:{id}", "@created", 1_000_000 - age)
    assert ids(call("of_user", "1")) == expected


def test_when_a_session_was_last_active(call, raw, prefix):
    """When it was last saved or noted, whichever is later. A damaged time is left out."""
    id, now = started("1"), raw.time()[0]
    for updated, seen, expected in [
        (1000, None, 1000),
        (1000, 2000, 2000),
        (3000, 2000, 3000),
        ("junk", 2000, 2000),
        (1000, "junk", 1000),
        (1000, now + 9000, 1000),
        (now + 9000, 2000, 2000),
        (now + 9000, now + 9000, 0),
    ]:
        raw.hdel(f"{prefix}:{id}", "@seen")
        fields = {"@created": "0", "@updated": updated, "@seen": seen}
        raw.hset(f"{prefix}:{id}", mapping={k: v for k, v in fields.items() if v is not None})
        found = call("find", id)
        assert found.last_active == datetime.fromtimestamp(expected, UTC)
        assert found.last_active.tzinfo is UTC
        is_time = isinstance(seen, int)
        assert found.seen == (datetime.fromtimestamp(seen, UTC) if is_time else None)
        assert ids(call("of_user", "1", order="last_active")) == [id]


def test_of_a_user_by_activity(call, raw, prefix):
    """On request, the session that was used last comes first."""
    expected = [started("1", ttl=ttl) for ttl in (100, 300, 200)]
    for age, id in enumerate(expected):
        times = {"@created": 1000 + age, "@updated": 2000 + age, "@seen": 9000 - age}
        raw.hset(f"{prefix}:{id}", mapping=times)
    assert ids(call("of_user", "1", order="last_active")) == expected
    assert ids(call("of_user", "1", 1, 2, order="last_active")) == expected[1:2]
    assert ids(call("of_user", "1", order="created")) == expected[::-1]
    with pytest.raises(ValueError, match="order is 'expires'"):
        call("of_user", "1", order="expires")


@pytest.mark.parametrize("user", USERS)
def test_users_never_collide(call, raw, prefix, user):
    """Each user's sessions are their own, whatever their primary key looks like."""
    of = {other: started(other) for other in USERS}
    assert ids(call("of_user", user)) == [of[user]]
    assert call("find", of[user]).user_pk == user
    assert call("count", Selection(users=(user,))) == 1
    assert call("end_all_of", user) == 1
    assert set(ids(call("latest"))) == {id for other, id in of.items() if other != user}
    assert call("of_user", user) == []
    assert all(ids(call("of_user", other)) == [of[other]] for other in USERS if other != user)


def test_primary_keys():
    """A user stands for their primary key, in the text that Django's login stores."""
    number = uuid.UUID("8f14e45f-ceea-467f-a0e6-1d5f0c5b7f1e")
    user = User(pk=5)
    assert registry.user_pk_of(user) == registry.user_pk_of(5) == registry.user_pk_of("5") == "5"
    assert registry.user_pk_of(SimpleLazyObject(lambda: user)) == "5"
    assert registry.user_pk_of(Person(pk=number)) == registry.user_pk_of(number) == str(number)
    assert registry.user_pk_of(Employee(person_id=number)) == str(number)
    assert registry.user_pk_of(Member(name="a:b c")) == "a:b c"


def test_of_users_by_object(call):
    """A user object, its primary key and that in text name the same sessions."""
    number = uuid.uuid4()
    id, other = started("5"), started(str(number))
    assert ids(call("of_user", User(pk=5))) == ids(call("of_user", 5)) == [id]
    assert ids(call("of_user", Person(pk=number))) == ids(call("of_user", number)) == [other]
    assert call("of_user", AnonymousUser()) == []


@pytest.mark.django_db
def test_a_user_who_signed_in(call, client):
    """What Django's login stores is what the registry looks for."""
    user = User.objects.create_user("ada")
    client.force_login(user)
    (live,) = call("of_user", user)
    assert live.user_pk == str(user.pk)
    assert live.id == session_id(client.session.session_key)


# An index may lag and never lies


def test_dead_members_are_dropped(call, raw, prefix):
    """What is gone is not listed, and the page is read again: it is as full as it can be."""
    lives = [started("1", ttl=500 - 100 * n) for n in range(4)]
    gone, until = nobodys(3), time.time() + 9000
    for name in ("index", "index:signed-in"):
        put_in_index(raw, f"{prefix}:{name}", gone, until)
    put_in_index(raw, f"{prefix}:index:anonymous", gone[:1], until)
    assert ids(call("latest", 0, 3)) == lives[:3]
    assert indexed(raw, prefix) == indexed(raw, prefix, "index:signed-in") == set(lives)
    assert not raw.exists(f"{prefix}:index:anonymous")


def test_dead_members_of_a_user_are_dropped(call, raw, prefix):
    """A page of all sessions leaves a user's index alone. A page of the user's does not."""
    lives, gone = [started("1", ttl=500 - 100 * n) for n in range(4)], nobodys(3)
    for name in ("index", "index:signed-in", "user:1"):
        put_in_index(raw, f"{prefix}:{name}", gone, time.time() + 9000)
    assert ids(call("latest", 0, 2)) == lives[:2]
    assert indexed(raw, prefix, "user:1") == {*lives, *gone}
    assert set(ids(call("of_user", "1"))) == set(lives)
    assert indexed(raw, prefix, "user:1") == set(lives)


def test_a_page_of_many_dead(call, raw, prefix):
    """However many are dead in front of it, a page has the sessions that are live."""
    id = started("1", ttl=100)
    put_in_index(raw, f"{prefix}:index", nobodys(5000), time.time() + 9000)
    pages = [ids(call("latest", 0, 3)) for _ in range(2)]
    assert pages == [[id], [id]]
    assert indexed(raw, prefix) == {id}


@pytest.mark.parametrize(
    "selection",
    [
        Selection(),
        Selection(signed_in=True),
        Selection(within=7200),
        Selection(users=("1",)),
        Selection(users=("1", "2")),
        Selection(users=("1", "2"), within=7200),
    ],
)
@pytest.mark.parametrize("latest_first", [True, False])
def test_many_sessions_expired_at_once(call, raw, prefix, selection, latest_first):
    """Their members come first or last, and neither empty a page nor stay in its way."""
    lives = [started("1", ttl=ttl) for ttl in (5000, 5200, 5400)]
    wanted = lives[::-1] if latest_first else lives
    for name in ("index", "index:signed-in", "user:1"):
        put_in_index(raw, f"{prefix}:{name}", nobodys(3000), time.time() + 60)
        put_in_index(raw, f"{prefix}:{name}", nobodys(3000, "later"), time.time() + 7000)
    selection = dataclasses.replace(selection, latest_first=latest_first)
    assert ids(call("latest", 0, 2, selection)) == wanted[:2]
    assert ids(call("latest", 2, 4, selection)) == wanted[2:]


def test_dropping_spares_what_lives(call, raw, prefix):
    """Sessions that a page does not show because they changed hands meanwhile stay indexed."""
    id = started("2")
    raw.zadd(f"{prefix}:user:1", {id: time.time() + 99, nobodys(1)[0]: time.time() + 99})
    raw.expire(f"{prefix}:user:1", 99)
    assert call("of_user", "1") == []
    assert ids(call("of_user", "2")) == [id]
    assert indexed(raw, prefix) == {id}
    assert call("end_all_of", "1") == 0
    assert call("find", id).user_pk == "2"
    assert not raw.exists(f"{prefix}:user:1")


def test_many_expired_ids_cost_one_trim(call, raw, prefix):
    """Of 50,000 sessions of a user that have expired, 1,000 go at a time; none is read."""
    id = started("1")
    put_in_index(raw, f"{prefix}:user:1", nobodys(DEAD), time.time() - 9000)
    sent = commands_of(raw, lambda: call("of_user", "1"))
    assert (sent["zrem"], sent["hmget"], sent["pttl"]) == (1, 1, 1)
    assert raw.zcard(f"{prefix}:user:1") == DEAD + 1 - 1000
    raw.zremrangebyrank(f"{prefix}:user:1", 0, DEAD - 1000 - 3)
    assert ids(call("of_user", "1")) == [id]
    assert indexed(raw, prefix, "user:1") == {id}


def test_many_gone_ids_are_read_once(call, raw, prefix):
    """50,000 that are gone before their time are read once, and never again."""
    id = started("1")
    put_in_index(raw, f"{prefix}:user:1", nobodys(DEAD), time.time() + 9000)
    first = commands_of(raw, lambda: ids(call("of_user", "1")) == [id])
    again = commands_of(raw, lambda: call("of_user", "1"))
    assert first["hmget"] == DEAD + 1
    assert again["hmget"] == 1
    assert "hget" not in again
    assert ids(call("of_user", "1")) == [id]


def test_ending_all_of_a_user_with_many_dead_ids(call, raw, prefix):
    """They are gone afterwards, and are not counted as ended."""
    started("1")
    put_in_index(raw, f"{prefix}:user:1", nobodys(DEAD), time.time() - 9000)
    assert call("end_all_of", "1") == 1
    assert list(raw.scan_iter(f"{prefix}:*")) == []


# Ending


@pytest.mark.parametrize("user", ["1", None])
def test_ending(call, raw, prefix, ended, user):
    """Promise 11: the session and its index entries go at once, and a signal says so."""
    id = started(user)
    assert call("end", id) is True
    assert list(raw.scan_iter(f"{prefix}:*")) == []
    assert ended == [(id, user, "ended")]
    assert call("end", id, reason="again") is False
    assert len(ended) == 1


def test_the_reason(call, ended):
    """A caller's own reason is passed on."""
    first, second, third = started("1"), started("2"), started()
    call("end", first, reason="stolen")
    call("end_all_of", "2", reason="left")
    call("end_many", [third], reason="bot")
    assert ended == [(first, "1", "stolen"), (second, "2", "left"), (third, None, "bot")]


def test_ending_many(call, raw, prefix, ended):
    """Each goes with its index entries, with a signal of its own; those not there do not count."""
    first, second, third = started("1"), started("2"), started()
    assert call("end_many", [first, UNKNOWN, "junk", third, first]) == [first, third]
    assert ended == [(first, "1", "ended"), (third, None, "ended")]
    assert indexed(raw, prefix) == indexed(raw, prefix, "index:signed-in") == {second}
    assert not raw.exists(f"{prefix}:index:anonymous", f"{prefix}:user:1")


def test_ending_all_of_a_user(call, raw, prefix, ended):
    """All of that user's go, with a signal for each; everybody else stays."""
    mine = [started("1") for _ in range(3)]
    others = {started("2"), started()}
    assert call("end_all_of", User(pk=1)) == 3
    assert sorted(ended) == sorted((id, "1", "ended") for id in mine)
    assert indexed(raw, prefix) == others
    assert not raw.exists(f"{prefix}:user:1")
    assert call("end_all_of", 1) == 0


def test_ending_all_but_one(call, ended):
    """The session of who asks is spared, by its key or by its id."""
    session = SessionStore()
    session["_auth_user_id"] = "1"
    session.save()
    spared = session_id(session.session_key)
    for option in ({"except_session_key": session.session_key}, {"except_id": spared}):
        first, second = started("1"), started("1")
        ended.clear()
        assert call("end_all_of", "1", **option) == 2
        assert {id for id, _, _ in ended} == {first, second}
        assert ids(call("of_user", "1")) == [spared]
        third = started("1")
        assert call("end_each_of", "1", **option, reason="known") == [third]
        assert ended[2:] == [(third, "1", "known")]
    assert call("end_all_of", "1", None) == 1


def test_a_key_that_is_not_the_users_spares_nothing(call):
    """Somebody else's key changes nothing."""
    other = SessionStore()
    other["_auth_user_id"] = "2"
    other.save()
    started("1")
    assert call("end_all_of", "1", other.session_key) == 1
    assert other.exists(other.session_key)


# Trimming


def test_trimming(call, raw, prefix):
    """What has expired goes from the three indexes in batches; what lives stays with its TTL."""
    live, anonymous = started("1", ttl=100), started(ttl=100)
    for name in ("index", "index:signed-in", "index:anonymous"):
        put_in_index(raw, f"{prefix}:{name}", nobodys(2500), time.time() - 9000)
    sent = commands_of(raw, lambda: call("trim"))
    assert sent["evalsha"] == 9
    assert indexed(raw, prefix) == {live, anonymous}
    assert indexed(raw, prefix, "index:signed-in") == {live}
    assert indexed(raw, prefix, "index:anonymous") == {anonymous}
    assert raw.pttl(f"{prefix}:index") > 0


def test_trimming_says_how_many(call, raw, prefix):
    """The number of members is returned, and there are none left."""
    put_in_index(raw, f"{prefix}:index", nobodys(1000), time.time() - 9000)
    put_in_index(raw, f"{prefix}:index:anonymous", nobodys(1), time.time() - 9000)
    assert call("trim") == 1001
    assert call("trim") == 0
    assert list(raw.scan_iter(f"{prefix}:*")) == []


def test_clearing_sessions(raw, prefix):
    """Django's clearsessions trims, and so does the asynchronous method."""
    for clear in (
        lambda: call_command("clearsessions"),
        lambda: asyncio.run(SessionStore.aclear_expired()),
    ):
        put_in_index(raw, f"{prefix}:index", nobodys(1001), time.time() - 9000)
        clear()
        assert not raw.exists(f"{prefix}:index")


# Without indexes, and without Redis


NEEDS_INDEX = {
    "count": (),
    "latest": (),
    "of_user": ("1",),
    "end_all_of": ("1",),
    "end_each_of": ("1",),
    "by_time_left": ([0, 1],),
}


@pytest.mark.parametrize("name", NEEDS_INDEX)
def test_without_indexes(call, settings, session_redis, name):
    """What needs them says which setting is off; it does not say that nobody is there."""
    settings.SESSION_REDIS = {**session_redis, "INDEX": False}
    with pytest.raises(ImproperlyConfigured, match=r'SESSION_REDIS\["INDEX"\] is False. Set it to'):
        call(name, *NEEDS_INDEX[name])


def test_what_needs_no_index(call, settings, session_redis, ended):
    """Finding and ending by id work without, and there is nothing to trim."""
    settings.SESSION_REDIS = {**session_redis, "INDEX": False}
    first, second = started("1", color="red"), started()
    assert call("find", first).user_pk == "1"
    assert ids(call("find_many", [second, first])) == [second, first]
    assert call("end", first) is True
    assert call("end_many", [second, first]) == [second]
    assert ended == [(first, "1", "ended"), (second, None, "ended")]
    assert call("find_many", [first, second]) == []
    assert call("trim") == 0


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        *NEEDS_INDEX.items(),
        ("find", (UNKNOWN,)),
        ("find_many", ([UNKNOWN],)),
        ("end", (UNKNOWN,)),
        ("end_many", ([UNKNOWN],)),
        ("trim", ()),
    ],
)
def test_redis_is_away(call, settings, session_redis, name, arguments):
    """Promise 5: nobody is told that there are no sessions because Redis was away."""
    settings.SESSION_REDIS = {**session_redis, "LOCATION": f"redis://127.0.0.1:{free_port()}"}
    with pytest.raises(SessionStoreUnavailable, match="Is it running"):
        call(name, *arguments)


# A list of those that expire within some time


@pytest.fixture
def lasting():
    """Ids by how many seconds the session lives; the indexes list each for a little longer."""
    return {seconds: started("1", ttl=seconds) for seconds in (60, 3000, 3540, 3900, 4000, 86_400)}


@pytest.mark.parametrize("users", [None, ("1",), ("1", "2")])
@pytest.mark.parametrize("latest_first", [True, False])
def test_within_a_time(call, lasting, users, latest_first):
    """Exactly those that expire within that time are listed and counted, page by page."""
    fitting = [lasting[seconds] for seconds in (60, 3000, 3540)]
    wanted = fitting[::-1] if latest_first else fitting
    selection = Selection(within=3600, users=users, latest_first=latest_first)
    assert ids(call("latest", 0, 10, selection)) == wanted
    assert [ids(call("latest", at, at + 1, selection)) for at in range(4)] == [
        *([id] for id in wanted), []
    ]  # fmt: skip
    assert call("count", selection) == 3


def test_within_a_time_that_is_very_long(call, lasting):
    """Then all are listed."""
    selection = Selection(within=10**9)
    assert set(ids(call("latest", 0, 10, selection))) == set(lasting.values())
    assert call("count", selection) == 6
