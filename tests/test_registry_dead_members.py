"""Pages of a Cluster take three rounds, also if some members of the indexes have no session."""

import random
from dataclasses import replace
from itertools import count, islice

import pytest

from sessions_redis import registry
from sessions_redis.clients import run, run_all
from sessions_redis.registry import Selection, listing, positions
from sessions_redis.registry import spread as pages
from sessions_redis.storage import parts, shard_counts
from sessions_redis.storage.commands import session_id
from sessions_redis.storage.keyspaces import Keyspace
from tests.cluster_model import Actor, Model
from tests.spread import spread  # noqa: F401 - fixture
from tests.test_registry_shards import ids, rounds

SESSIONS = 340
NAMES = [session_id(f"number {n}") for n in range(SESSIONS)]

# The filter by expiry: some sessions are listed for longer than that, and match all the same.
WITHIN = 1000 + 10 * SESSIONS - 497

SELECTIONS = {
    "all": Selection(),
    "signed in": Selection(signed_in=True),
    "by expiry": Selection(within=WITHIN),
    "of a user": Selection(users=("1",)),
    "of users, by expiry": Selection(users=("1", "2"), within=WITHIN),
}


class Site:
    """
    Sessions in the order in which they expire, listed a little longer. The first and the last
    ``dead`` of those that a selection lists are members without a session.
    """

    def __init__(self, spread, selection, dead, names=NAMES):  # noqa: F811
        self.selection = selection
        within = selection.within
        fitting = range((within - 1000) // 10 + 1 if within else len(names))
        self.dead = {*fitting[:dead], *fitting[len(fitting) - dead :]}
        self.living = [names[n] for n in fitting if n not in self.dead]
        with spread.together():
            for number, id in enumerate(names):
                left = 1000 + 10 * number
                spread.put(id, left, user="1", listed=left + 60, is_live=number not in self.dead)

    def page(self, start, size, *, latest_first):
        """The page, and how many rounds it takes."""
        selection = replace(self.selection, latest_first=latest_first)
        found, number = rounds(listing._latest(start, start + size, selection))
        wanted = self.living[::-1] if latest_first else self.living
        assert ids(found) == wanted[start : start + size]
        return number


@pytest.fixture(params=[1, 16])
def site(spread, request):  # noqa: F811
    spread.use(request.param)
    return spread


@pytest.mark.parametrize("name", SELECTIONS)
@pytest.mark.parametrize(
    ("size", "dead"), [(20, 0), (20, 1), (20, 10), (20, 25), (20, 60), (100, 25), (100, 60)]
)
def test_rounds(site, name, size, dead):
    """The members; the sessions; removing dead members. Later sessions take their places."""
    sessions = Site(site, SELECTIONS[name], dead)
    promised = 2 if (not dead and name != "by expiry") or "user" in name else 3
    if (size, dead) == (20, 60) and "user" not in name:
        promised = 4
    for latest_first in (True, False):
        assert sessions.page(0, size, latest_first=latest_first) <= promised
    for latest_first in (True, False):
        for start in (0, size):
            assert sessions.page(start, size, latest_first=latest_first) <= 3


@pytest.mark.parametrize("dead", [0, 1, 25, 60])
def test_rounds_of_the_last_page(site, dead):
    """It is short, so no members are left to take the places of dead ones."""
    sessions = Site(site, Selection(), dead)
    assert sessions.page(0, 20, latest_first=True) <= 3 + (dead == 60)
    at = len(sessions.living) - 10
    assert sessions.page(at, 20, latest_first=True) <= 3 + (dead == 60)
    assert sessions.page(at, 20, latest_first=True) <= 2
    assert site.raw.zcard(site.keyspace.index_of("0" * 32)) <= len(sessions.living)


@pytest.mark.parametrize(("within", "most"), [(None, 5), (1000 + 10 * 1200 + 3, 6)])
def test_rounds_of_a_page_far_down(site, monkeypatch, within, most):
    """Six at most, also if samples have to narrow down its place once more, and if 25 are dead."""
    for constant, value in (("BATCH_SIZE", 150), ("FETCHED", 60), ("SAMPLES", 16)):
        monkeypatch.setattr(positions, constant, value)
    names = [session_id(f"number {n}") for n in range(1500)]
    sessions = Site(site, Selection(within=within), 0, names)
    for dead, more in ((0, -1), (1, 0), (10, 0), (25, 0), (60, 1)):
        for latest_first in (True, False):
            rows = sessions.living[::-1] if latest_first else sessions.living
            gone = rows[500 : 500 + dead]
            site.raw.delete("none", *map(site.keyspace.session, gone))
            sessions.living = [id for id in sessions.living if id not in gone]
            assert sessions.page(500, 20, latest_first=latest_first) <= most + more


@pytest.mark.parametrize("dead", [0, 1, 25])
def test_rounds_if_one_shard_has_the_page(spread, dead):  # noqa: F811
    """The first round does not return enough members of it, so there is one more."""
    numbers = (session_id(f"number {n}") for n in count())
    same = spread.keyspace.index_of(session_id("number 0"))
    names = [*islice((id for id in numbers if spread.keyspace.index_of(id) == same), 150)]
    sessions = Site(spread, Selection(), dead, names)
    for latest_first in (True, False):
        assert sessions.page(0, 100, latest_first=latest_first) == (4 if dead else 3)


@pytest.mark.parametrize(("former", "more"), [(1, 0), (8, 0), (24, 1)])
def test_rounds_with_former_shards(spread, former, more):  # noqa: F811
    """A process needs one more round to learn of shards that it does not use itself, once."""
    spread.use(former)
    now = int(spread.now * 1000)
    run_all(shard_counts.to_note(spread.keyspace, now, now + 10_000))
    sessions = Site(spread, Selection(), 25)
    spread.use(16)
    assert sessions.page(0, 20, latest_first=True) == 3 + more
    assert sessions.page(0, 20, latest_first=False) == 3
    assert rounds(listing._count(Selection()))[1] == 1
    names = shard_counts.indexes(spread.keyspace, [former])
    run_all([shard_counts.forget(spread.keyspace, [former]), *map(parts.remove, names)])
    assert rounds(listing._count(Selection())) == (0, 1)


def test_a_session_that_is_being_created(site, raw):
    """It is listed before it is created. If it exists at the second look, it is listed again."""
    id = site.put(session_id("new"), user="1", is_live=False)
    steps = listing._latest(0, 50, Selection())
    answer = run_all(next(steps))
    asked = steps.send(run_all(steps.send(answer)))
    site.put(id, user="1")
    found = completed(steps, asked)
    assert ids(found) == [id]
    assert ids(registry.latest(0, 50, Selection(signed_in=True))) == [id]
    assert registry.count() == len(registry.of_user("1")) == 1


def test_a_session_that_ends_when_it_was_created(site, raw):
    """It leaves the indexes even if the page has listed it again meanwhile."""
    id = site.put(session_id("new"), user="1", is_live=False)
    steps = listing._latest(0, 50, Selection())
    answer = run_all(next(steps))
    asked = steps.send(run_all(steps.send(answer)))
    site.put(id, user="1")
    asked = steps.send(run_all(asked))
    assert registry.end(id)
    completed(steps, asked)
    assert registry.count() == raw.zcard(site.keyspace.user("1")) == 0


class Listing(Model):
    """Random schedules of requests, between which pages are read."""

    def command(self, command):
        return run(command)

    def spawn(self):
        if self.rng.random() < 0.5:
            return super().spawn()
        return Actor("page", pages.page(self.keyspace, Selection(), 0, self.rng.randint(1, 6)))

    def check_listings(self):
        """The indexes of all sessions can lose one that is created very late, others cannot."""
        super().check_listings()
        self.faults = [fault for fault in self.faults if fault[1] not in self.keyspace.indexes]


@pytest.mark.parametrize("seed", [114, *range(24)])
def test_pages_between_other_requests(raw, prefix, seed):
    """Whatever pages are read meanwhile, each session stays in the index of its user."""

    def raw_run(words, read):
        return read(raw.execute_command(*words))

    keyspace = Keyspace(prefix, is_spread=True, shards=seed % 2 * 3 + 1)
    assert Listing(raw_run, random.Random(seed), keyspace).play() == []


def completed(steps, asked):
    while True:
        try:
            asked = steps.send(run_all(asked))
        except StopIteration as stop:
            return stop.value
