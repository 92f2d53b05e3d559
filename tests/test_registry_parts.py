"""Parts of long lists: each is what slicing the whole would give, and reads a bounded number."""

import time
from itertools import product

import pytest

from sessions_redis import conf, registry
from sessions_redis.clients import run_all
from sessions_redis.registry import Selection
from sessions_redis.storage import commands
from sessions_redis.storage.changes import Changes
from tests.test_registry import call, commands_of, ids, nobodys, put_in_index, started  # noqa: F401

PARTS = [(0, 1), (0, 3), (1, 3), (2, 5), (3, 4), (6, 9), (8, 100), (0, 100)]


@pytest.fixture
def created(raw, prefix):
    """Ids of the user 1, the newest first; an older one expires later, but for the last two."""
    created = [started("1", ttl=10_000 + 100 * number) for number in range(7)]
    created += [started("1", ttl=500 - 100 * number) for number in range(2)]
    for age, id in enumerate(created):
        raw.hset(f"{prefix}:{id}", "@created", 1_700_000_000 - age)
    return created


@pytest.mark.parametrize("part", PARTS)
def test_the_newest(call, created, part):  # noqa: F811
    """A part of a user's sessions is that of the whole, in the order of their creation."""
    start, stop = part
    assert ids(call("of_user", "1", start, stop)) == created[start:stop]
    assert ids(call("of_user", "1", start)) == created[start:]
    assert call("of_user", "1", start, 0) == []
    assert call("of_user", "2", start, stop) == []


@pytest.mark.parametrize("part", PARTS)
def test_the_newest_of_very_many(call, created, monkeypatch, part):  # noqa: F811
    """With more sessions than are read at once, those that expire last come first."""
    monkeypatch.setattr("sessions_redis.registry.listing.BATCH_SIZE", 4)
    # By thousands, here by fours: those that expire last, and the newest of them first.
    expected = [*created[3:7], *created[:3], *created[7:]]
    expected = [*expected[:4], *sorted(expected[4:8], key=created.index), *expected[8:]]
    start, stop = part
    assert ids(call("of_user", "1", start, stop)) == expected[start:stop]
    assert ids(call("of_user", "1", start)) == expected[start:]


@pytest.mark.parametrize("first", [0, 4])
def test_a_part_that_met_dead_ids(call, created, raw, prefix, monkeypatch, first):  # noqa: F811
    """A part is filled up from what follows those that are gone, which are dropped."""
    monkeypatch.setattr("sessions_redis.registry.listing.BATCH_SIZE", 4)
    put_in_index(raw, f"{prefix}:user:1", nobodys(4), time.time() + 90_000)
    raw.zadd(f"{prefix}:user:1", {b"\xff": time.time() + 90_000})
    found = ids(call("of_user", "1", 0, 3))
    assert found == created[4:7]
    assert raw.zcard(f"{prefix}:user:1") == len(created)
    assert len(call("of_user", "1")) == len(created)


def test_what_a_part_reads(raw, created):
    """Of many sessions only the thousands that the part is in."""
    for number in range(1100):
        started("1", ttl=20_000 + number)
    for start, stop, read in ((0, 100, 1000), (1000, 1100, 109), (900, 1050, 1109)):
        sent = commands_of(raw, lambda start=start, stop=stop: registry.of_user("1", start, stop))
        assert sent["hmget"] == read
    sent = commands_of(raw, lambda: registry.latest(500, 600, Selection(users=("1",))))
    assert sent["hmget"] == 100
    assert "hmget" not in commands_of(raw, lambda: registry.count(Selection(users=("1",))))


ORDERS = [(within, latest_first) for within in (None, 10_150, 1) for latest_first in (True, False)]


@pytest.mark.parametrize(("within", "latest_first"), ORDERS)
@pytest.mark.parametrize("users", [("1",), ("1", "2", "nobody", "1"), None])
def test_parts_of_a_selection(call, created, users, within, latest_first):  # noqa: F811
    """Of one user, of several and of all: a part is that of the whole, either way round."""
    others = [started("2", ttl=10_040 + 100 * number) for number in range(3)]
    selection = Selection(users=users, within=within, latest_first=latest_first)
    left = {id: 10_000 + 100 * number for number, id in enumerate(created[:7])}
    left |= {id: 500 - 100 * number for number, id in enumerate(created[7:])}
    if users != ("1",):
        left |= {id: 10_040 + 100 * number for number, id in enumerate(others)}
    expected = [id for id, ttl in left.items() if within is None or ttl <= within]
    expected.sort(key=left.get, reverse=latest_first)
    for start, stop in PARTS:
        assert ids(call("latest", start, stop, selection)) == expected[start:stop]
    assert call("count", selection) == len(expected)


@pytest.mark.parametrize("users", [("1",), ("1", "2")])
def test_selections_that_met_dead_ids(call, created, raw, prefix, users):  # noqa: F811
    """They are dropped, and the page is read again."""
    put_in_index(raw, f"{prefix}:user:1", nobodys(3), time.time() + 90_000)
    raw.zadd(f"{prefix}:user:1", {b"\xff": time.time() + 90_000})
    selection = Selection(users=users)
    assert ids(call("latest", 0, 2, selection)) == [created[6], created[5]]
    assert call("count", selection) == len(created)


def test_a_page_of_many_dead(call, created, raw, prefix):  # noqa: F811
    """However many are dead, a page has the sessions that are live."""
    put_in_index(raw, f"{prefix}:user:1", nobodys(10), time.time() + 90_000)
    page = ids(call("latest", 0, 3, Selection(users=("1", "2"))))
    assert page == [created[6], created[5], created[4]]


def test_a_session_that_changed_hands(call, raw, prefix):  # noqa: F811
    """A user's index may list one that is somebody else's by now: it is not shown."""
    id = started("2")
    for user in "13":
        raw.zadd(f"{prefix}:user:{user}", {id: time.time() + 99})
        raw.expire(f"{prefix}:user:{user}", 99)
    for users in (("1",), ("1", "3")):
        assert call("latest", 0, 50, Selection(users=users)) == []
    assert ids(call("latest", 0, 50, Selection(users=("1", "2")))) == [id]


def test_nobody_signed_in_of_a_user(call, created):  # noqa: F811
    """Sessions without a user are nobody's."""
    for users in product("1", "12"):
        selection = Selection(signed_in=False, users=users)
        assert (call("latest", 0, 50, selection), call("count", selection)) == ([], 0)


def test_a_long_list_is_read_in_parts(call, created, monkeypatch):  # noqa: F811
    """However much is asked for, a bounded number of sessions is read in a round trip."""
    monkeypatch.setattr("sessions_redis.registry.listing.BATCH_SIZE", 4)
    expected = [*created[6::-1], *created[7:]]
    assert ids(call("latest", 0, 10**9)) == expected
    assert ids(call("latest", 3, 8)) == expected[3:8]
    assert ids(call("find_many", created)) == created


def test_very_many_that_expire_soon(call, settings, session_redis):  # noqa: F811
    """All sessions that expire within a time are listed, even if very many expire at its end."""
    keyspace = conf.current().keyspace
    ids = [f"{number:032x}" for number in range(1100)]
    run_all([commands.create(keyspace, id, 40_000, Changes()) for id in ids])
    run_all([commands.create(keyspace, id, 40_500, Changes()) for id in ("e" * 32, "f" * 32)])
    soon = Selection(within=40_100)
    found = call("latest", 0, 2000, soon)
    assert sorted(session.id for session in found) == ids
    assert call("count", soon) == 1102  # they are too many to look at, so it counts a few more


def test_very_many_users(call, raw, prefix):  # noqa: F811
    """Dead members are dropped from the indexes of more users than a call has keys."""
    put_in_index(raw, f"{prefix}:user:5", nobodys(1), time.time() + 9000)
    users = tuple(str(number) for number in range(1100))
    assert call("latest", 0, 10, Selection(users=users)) == []
    assert raw.exists(f"{prefix}:user:5") == 0
