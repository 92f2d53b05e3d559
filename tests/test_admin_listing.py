"""Tests the listing that replaces a queryset in the admin."""

import pytest
from django.core.paginator import Paginator
from django.db import NotSupportedError
from django.db.models import Q

from sessions_redis import registry
from sessions_redis.admin import listing as module
from sessions_redis.admin.listing import Listing
from sessions_redis.models import Session
from tests.proxy import Proxy
from tests.section import signed_in
from tests.test_registry import commands_of


@pytest.fixture
def proxy(settings, session_redis, server):
    with Proxy(server.port) as proxy:
        settings.SESSION_REDIS = {**session_redis, "LOCATION": proxy.url}
        signed_in("1")
        list(Listing())
        yield proxy


def ids(listing):
    return [session.pk for session in listing]


def test_reading():
    """A listing is counted, sliced, indexed and iterated over like a queryset."""
    created = [signed_in(seconds=1000 - 100 * number) for number in range(5)]
    listing = Listing()
    assert ids(listing) == ids(listing.iterator()) == ids(listing.all()) == created
    assert ids(listing[1:3]) == created[1:3]
    assert ids(listing[3:]) == created[3:]
    assert listing[2].pk == created[2]
    assert (len(listing), listing.count(), bool(listing), listing.exists()) == (5, 5, True, True)
    assert not Listing().select(signed_in=True).exists()
    assert ids(listing.order_by("expires")) == created[::-1]
    assert ids(Paginator(listing, 2).page(2).object_list) == created[2:4]


def test_finding():
    """It finds sessions by one or several primary keys. Ended sessions and junk are left out."""
    first, second = signed_in(seconds=100), signed_in(seconds=200)
    listing = Listing()
    assert ids(listing.filter(pk__in=[first, second, "junk", first])) == [second, first]
    assert ids(listing.filter(id__in=[first]).filter(pk__in=[second])) == []
    assert listing.get(pk=first).pk == listing.get(id=first).pk == first
    assert ids(listing.filter()) == ids(listing.filter(Q())) == [second, first]
    with pytest.raises(Session.DoesNotExist):
        listing.get(pk="0" * 32)
    assert listing.holds(first)
    assert not listing.select(within=150).holds(second)


def test_users_are_narrowed_down():
    """Filtering by users twice leaves the users that are in both filters."""
    hers = signed_in("1")
    signed_in("2")
    listing = Listing().of_users(["1", "2"], capped=True)
    assert listing.capped
    assert ids(listing.of_users(["1", "3"])) == [hers]


@pytest.mark.parametrize(
    "use",
    [
        lambda listing: listing.filter(ip="127.0.0.1"),
        lambda listing: listing.filter(Q(pk="1")),
        lambda listing: listing.values_list("pk"),
        lambda listing: listing.update(ip=None),
        lambda listing: listing.delete(),
        lambda listing: listing.distinct(),
    ],
)
def test_anything_else_is_refused(use):
    """Other features of querysets raise an error with the reason."""
    with pytest.raises(NotSupportedError, match=r"registry|filtered"):
        use(Listing())
    assert not hasattr(Listing(), "__html__")


def test_nothing_is_read_before_it_is_looked_at(proxy):
    """Filtering and ordering send no command. Results are read only once."""
    listing = Listing()

    def choose():
        return listing.select(signed_in=True).order_by("-expires").of_users(["1"])[:10]

    assert proxy.counted(choose) == 0
    assert proxy.counted(lambda: [choose().count(), len(choose()), choose().all().exists()]) == 3
    assert proxy.counted(lambda: [listing.count(), listing.order_by("expires").count()]) == 1
    assert proxy.counted(lambda: list(listing.of_ids(["0" * 32, "1" * 32]))) == 1
    assert proxy.counted(lambda: list(listing.of_ids(["junk"]))) == 0
    assert proxy.counted(lambda: list(listing.of_users([]))) == 0


def test_long_ones_are_read_in_parts(monkeypatch):
    """A long listing is read in batches of limited size."""
    monkeypatch.setattr(module, "BATCH_SIZE", 2)
    created = [signed_in(seconds=1000 - 100 * number) for number in range(5)]
    assert ids(Listing()) == created


def sizes_and_ids(batches):
    batches = [ids(batch) for batch in batches]
    return [len(batch) for batch in batches], {id for batch in batches for id in batch}


def test_batches(monkeypatch):
    """Yields all sessions in batches, for a caller that ends each batch, with any filter."""
    monkeypatch.setattr(module, "END_MANY_BATCH_SIZE", 2)
    created = {signed_in("1") for _ in range(5)}
    assert sizes_and_ids(Listing().of_ids(created).batches()) == ([2, 2, 1], created)
    registry.end_many(list(created))
    for listing in (Listing(), Listing().of_users(["1"]), Listing().of_users(["1", "2"])):
        created = {signed_in("1") for _ in range(5)}
        ended = set()
        for batch in listing.batches():
            assert len(batch) <= 2
            ended |= set(ids(batch))
            registry.end_many(ids(batch))
        assert ended == created
        assert registry.count() == 0


def test_several_users(monkeypatch):
    """
    A listing of several users has a limited number of sessions, and says whether there are more.
    """
    monkeypatch.setattr(module, "SEVERAL_USERS_LIMIT", 3)
    hers = [signed_in("1", seconds=1000 - 100 * number) for number in range(2)]
    his = signed_in("2", seconds=500)
    both = Listing().of_users(["1", "2"])
    assert (both.count(), ids(both), both.is_cut) == (3, [*hers, his], False)
    more = [signed_in("1", seconds=800 - 100 * number) for number in range(2)]
    both = Listing().of_users(["1", "2"])
    assert (both.count(), ids(both), both.is_cut) == (3, [*hers, more[0]], True)
    assert ids(both[1:100]) == [hers[1], more[0]]
    assert not both.of_ids(hers).is_cut
    her_own = Listing().of_users(["1", "1"])
    assert (her_own.count(), ids(her_own), her_own.is_cut) == (4, [*hers, *more], False)


def test_one_page_of_very_many(raw):
    """A page of a user's sessions reads only the sessions that it shows."""
    for number in range(250):
        signed_in("1", seconds=1000 + number)
    for users in (["1"], ["1", "2"]):
        page = Paginator(Listing().of_users(users), 100).page(2)
        sent = commands_of(raw, lambda page=page: list(page.object_list))
        assert sent["hmget"] == 100
        assert page.paginator.count == 250


def active(raw, prefix, seconds, ttl, user=None):
    """The ID of a session that was last used so many seconds ago, and lives for ``ttl``."""
    id = signed_in(user, seconds=ttl)
    then = int(raw.time()[0]) - seconds
    raw.hset(f"{prefix}:{id}", mapping={"@updated": then - 100, "@seen": then})
    return id


def test_activity(raw, prefix):
    """A listing can be sorted and filtered by when its sessions were last active."""
    first = active(raw, prefix, 100, ttl=50_000)
    third = active(raw, prefix, 9000, ttl=80_000)
    second = active(raw, prefix, 5000, ttl=60_000, user="1")
    by_activity = Listing().order_by("-last_active", "-expires")
    assert ids(by_activity) == [first, second, third]
    assert ids(by_activity[1:2]) == [second]
    assert ids(Listing().order_by("last_active")) == [third, second, first]
    assert ids(by_activity.order_by("-expires")) == [third, second, first]
    recent = Listing().by_activity(within=7000)
    assert (ids(recent), recent.count()) == ([second, first], 2)
    assert ids(recent.order_by("expires")) == [first, second]
    assert ids(recent.order_by("-last_active")) == [first, second]
    assert ids(recent.select(signed_in=True)) == [second]
    assert (recent.holds(second), recent.holds(third)) == (True, False)
    assert ids(recent.of_ids([third, second])) == [second]
    assert sizes_and_ids(recent.batches()) == ([2], {first, second})
    assert not recent.is_partial


def test_the_activity_of_very_many(monkeypatch, raw, prefix):
    """It looks at those that expire last, and says whether there are more."""
    monkeypatch.setattr(module, "LOOKED_AT", 3)
    created = [active(raw, prefix, 100 - n, ttl=9000 - n, user=str(n % 2)) for n in range(4)]
    recent = Listing().order_by("-last_active")
    assert (ids(recent), recent.is_partial, recent.count()) == (created[2::-1], True, 3)
    assert ids(recent.order_by("expires")) == created[::-1]
    assert not recent.order_by("expires").is_partial
    assert ids(Listing().by_activity(within=6000).order_by("expires")) == created[2::-1]
    both = recent.of_users(["0", "1"])
    assert (ids(both), both.is_partial, both.is_cut) == (created[2::-1], True, False)
    assert not recent.of_users(["0"]).is_partial
    assert not recent.of_ids(created).is_partial
