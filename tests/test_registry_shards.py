"""Sessions in the shards of a Cluster's indexes are listed as if there was one index."""

import asyncio
import itertools
from types import GeneratorType

import pytest

from sessions_redis import registry
from sessions_redis.clients import run_all
from sessions_redis.registry import Selection, listing, positions
from sessions_redis.registry import spread as pages
from sessions_redis.registry.statistics import measure
from sessions_redis.storage import parts, shard_counts
from sessions_redis.storage.commands import session_id
from sessions_redis.storage.replies import WrongShape
from tests.spread import spread  # noqa: F401 - fixture
from tests.test_commands_management import run

NAMES = [session_id(f"session {number}") for number in range(120)]

SELECTIONS = [
    Selection(signed_in=signed_in, within=within, latest_first=latest_first)
    for signed_in in (None, True, False)
    for within in (None, 2050, 500)
    for latest_first in (True, False)
]


@pytest.fixture(params=["plain", "async"])
def call(request):
    def plain(name, *arguments):
        return getattr(registry, name)(*arguments)

    def twin(name, *arguments):
        return asyncio.run(getattr(registry, f"a{name}")(*arguments))

    return plain if request.param == "plain" else twin


def written(site):
    """Sessions, of which some have equal times; with dead members and strays between them."""
    for number, id in enumerate(NAMES):
        user = ("", "1", "2")[number % 3]
        left = 100 + 50 * (number // 2)
        site.put(id, left, user=user, listed=left + 10, is_live=number % 10 != 7)
    for number in range(4):
        index = site.keyspace.index_of(NAMES[number])
        for name in (index, f"{index}:signed-in"):
            site.raw.zadd(name, {b"stray \xff %d" % number: site.now + 800 + number})


def ids(sessions):
    return [session.id for session in sessions]


def rounds(steps):
    """What the generator returns, and how many rounds of parallel trips it takes."""
    assert isinstance(steps, GeneratorType)
    number, answer = 0, None
    while True:
        try:
            asked = steps.send(answer)
        except StopIteration as stop:
            return stop.value, number
        answer = run_all(asked)
        number += bool(asked)


def expected(selection):
    """What one index would list: number, time left, and whether there is a user."""
    rows = [(100 + 50 * (n // 2), id) for n, id in enumerate(NAMES) if n % 10 != 7]
    has_user = {id: n % 3 != 0 for n, id in enumerate(NAMES)}
    rows = [
        (left, id)
        for left, id in rows
        if selection.signed_in in (None, has_user[id])
        and (selection.within is None or left <= selection.within)
    ]
    return sorted(rows, reverse=selection.latest_first)


@pytest.mark.parametrize("shards", [1, 16])
@pytest.mark.parametrize("selection", SELECTIONS)
def test_pages(spread, shards, selection):  # noqa: F811
    """All pages together are the whole in order, without the dead, and so are the counts."""
    spread.use(shards)
    written(spread)
    for _ in range(3):  # dead members leave the indexes
        registry.latest(0, 1000, selection)
    wanted = expected(selection)
    assert registry.count(selection) == len(wanted)
    for size in (1, 7, 200) if selection.signed_in is None else (7,):
        found = [
            registry.latest(at, at + size, selection) for at in range(0, len(wanted) + 1, size)
        ]
        listed = [one.id for one in itertools.chain(*found)]
        assert sorted(listed) == sorted(id for _, id in wanted)
        lefts = {id: left for left, id in wanted}
        assert [lefts[id] for id in listed] == [left for left, _ in wanted]
    assert registry.latest(len(wanted), len(wanted) + 50, selection) == []


@pytest.mark.parametrize("shards", [1, 16])
def test_a_page_of_dead_members(spread, call, raw, shards):  # noqa: F811
    """Later sessions take the places of dead members, which leave the shards."""
    spread.use(shards)
    written(spread)
    for latest_first in (True, False):
        selection = Selection(latest_first=latest_first)
        found = call("latest", 0, 20, selection)
        assert [one.expires for one in found] == [
            one.expires for one in sorted(found, key=lambda one: one.expires, reverse=latest_first)
        ]
        assert len(found) == 20
    call("latest", 0, 1000)
    assert call("count") == len(expected(registry.ALL))


def test_users(spread, call):  # noqa: F811
    """The sessions of one user and of several are listed, and nothing leaves their indexes."""
    written(spread)
    one = [n for n in range(120) if n % 3 == 1 and n % 10 != 7]
    two = [n for n in range(120) if n % 3 and n % 10 != 7]
    for users, numbers in ((("1",), one), (("1", "2"), two)):
        selection = Selection(users=users)
        found = call("latest", 0, 1000, selection)
        assert {session.id for session in found} == {NAMES[n] for n in numbers}
        assert ids(call("latest", 3, 9, selection)) == ids(found[3:9])
        assert len(call("latest", 0, 2000, Selection(users=users, within=2050))) == sum(
            100 + 50 * (n // 2) <= 2050 for n in numbers
        )
    assert call("latest", 0, 9, Selection(users=())) == []
    assert {session.id for session in call("of_user", "1")} == {NAMES[n] for n in one}
    assert spread.raw.zcard(spread.keyspace.user("1")) == 40


def test_the_histogram(spread, call):  # noqa: F811
    """It counts the sessions of all shards."""
    for number, id in enumerate(NAMES):
        spread.put(id, 100 if number < 40 else 900, user="1" if number % 3 else "")
    assert call("by_time_left", [0, 500, 1500]) == ([26, 54], [14, 26])


def test_trimming(spread, call, raw):  # noqa: F811
    """What expired is removed ten minutes later, except a session that lives on."""
    for number, id in enumerate(NAMES[:90]):
        spread.put(id, 1000, listed=-700 if number < 50 else -300, is_live=number < 5, user="1")
    assert call("trim") == 45 * 2
    assert sum(raw.zcard(name) for name in shard_counts.indexes(spread.keyspace)) == 45
    assert raw.zcard(spread.keyspace.user("1")) == 90
    assert call("of_user", "1") == []
    assert raw.zcard(spread.keyspace.user("1")) == 45
    assert call("trim") == 0


def test_former_shards(spread, call, raw):  # noqa: F811
    """Until the command has removed them, the shards of another number are read as well."""
    spread.use(8)
    now = int(spread.now * 1000)
    run_all(shard_counts.to_note(spread.keyspace, now, now + 10_000))
    for id in NAMES[:30]:
        spread.put(id, 1000)
    spread.use(1)
    for id in NAMES[30:60]:
        spread.put(id, 1000)
    for shards in (3, 16, 1):
        spread.use(shards)
        assert call("count") == 60
        assert {one.id for one in call("latest", 0, 100)} == set(NAMES[:60])
        assert sum(call("by_time_left", [0, 2000])[1]) == 60
    for id in NAMES[:10]:
        spread.put(id, 1000)
    assert len(call("latest", 0, 100)) == 60
    assert call("count") == 70  # as docs/settings.md says
    run("rebuildindex")
    assert call("count") == 60


def test_rounds(spread, raw):  # noqa: F811
    """Rounds do not depend on how many sessions there are, or have the same time."""
    total = 20_000
    for shards, equal in ((16, False), (16, True), (1, False)):
        spread.use(shards)
        raw.delete(*shard_counts.indexes(spread.keyspace))
        now = spread.now
        names = [session_id(f"number {n}") for n in range(total)]
        by_index = {}
        for n, id in enumerate(names):
            score = now + 5000 + (0 if equal else n)
            by_index.setdefault(spread.keyspace.index_of(id), {})[id] = score
        for name, scores in by_index.items():
            raw.zadd(name, scores)
            raw.expire(name, 1000)
        for start in (0, 100, total - 100, total // 2, total // 3):
            pages = []
            for latest_first, at in ((True, start), (False, total - start - 100)):
                steps = positions.members(
                    spread.keyspace, Selection(latest_first=latest_first), at, at + 100
                )
                listed, number = rounds(steps)
                assert listed.total == total
                is_near = at in (0, 100, total - 100)
                assert number <= (1 + equal if is_near else 2 if shards == 1 else 4)
                pages.append([one.name for _, one in listed.rows])
            assert len(set(pages[0])) == 100
            assert pages[0] == pages[1][::-1]
            if not equal:
                place = total - start
                assert pages[1] == [id.encode() for id in names[place - 100 : place]]
    assert rounds(listing._count(registry.ALL))[1] == 1


def test_searching(spread, call, monkeypatch):  # noqa: F811
    """The sessions of all shards are searched, up to a bounded number."""
    for id in NAMES:
        spread.put(id)
    (found,) = call("starting_with", NAMES[3][:8]).sessions
    assert found.id == NAMES[3]
    assert call("starting_with", NAMES[3][:7] + ("0" if NAMES[3][7] != "0" else "1")).is_complete
    index = spread.keyspace.index_of("0" * 32)
    dead = {f"{n * 16:08x}" + "f" * 24: spread.now + 900 for n in range(5000)}
    spread.raw.zadd(index, dead)
    assert call("starting_with", "abcdef").is_complete
    monkeypatch.setattr("sessions_redis.registry.finding.SEARCHED", 2000)
    assert not call("starting_with", "abcdef").is_complete


def test_statistics(spread):  # noqa: F811
    """The shards count together, and each gives its part of the sample."""
    for number, id in enumerate(NAMES):
        spread.put(id, user="1" if number % 3 else "", is_live=number % 4 > 0)
    spread.put("0" * 32, listed=-100, is_live=False)
    found = measure(1000)
    assert (found.live, found.signed_in, found.anonymous, found.expired) == (120, 80, 40, 1)
    assert (found.sampled, found.drift) == (120, 0.25)
    assert found.bytes_per_session > 50
    assert 40 <= measure(50).sampled <= 50


@pytest.mark.parametrize(("former", "present"), [(8, 16), (16, 8), (1, 16), (16, 1), (6, 4)])
def test_rebuilding(spread, raw, contents, former, present):  # noqa: F811
    """All sessions are listed in the present shards alone, and the former ones are gone."""
    spread.use(former)
    now = int(spread.now * 1000)
    run_all(shard_counts.to_note(spread.keyspace, now, now + 10_000))
    for number, id in enumerate(NAMES):
        spread.put(id, user="1" if number % 3 else "")
    spread.use(present)
    run_all(shard_counts.to_note(spread.keyspace, now, now + 10_000))
    before = {*shard_counts.indexes(spread.keyspace, [former])} - {*spread.keyspace.indexes}
    keys = contents()
    assert run("rebuildindex", "--dry-run").startswith("120 sessions found. ")
    assert contents() == keys
    said = run("rebuildindex")
    assert said.startswith("120 sessions found; ")
    assert ("of a former INDEX_SHARDS." in said) == (former == 1 or former > present)
    assert sum(raw.exists(name) for name in before) == 0
    for half, number in (("", 120), (":signed-in", 80), (":anonymous", 40)):
        listed = {
            (member.decode(), name)
            for name in spread.keyspace.indexes
            for member in raw.zrange(f"{name}{half}", 0, -1)
        }
        assert len(listed) == number
        assert all(spread.keyspace.index_of(id) == name for id, name in listed)
    assert former not in run_all([shard_counts.in_use(spread.keyspace)])[0]
    assert registry.count() == 120
    assert run("rebuildindex") == "120 sessions found, none unlisted.\n"


@pytest.mark.parametrize("latest_first", [True, False])
@pytest.mark.parametrize(("shards", "fetched"), [(1, 5), (16, 5), (16, -1)])
def test_pages_far_down(spread, monkeypatch, shards, fetched, latest_first):  # noqa: F811
    """They are found in steps that look at a bounded number, here at very few."""
    for name, value in (("BATCH_SIZE", 8), ("FETCHED", fetched), ("SAMPLES", 3)):
        monkeypatch.setattr(positions, name, value)
    monkeypatch.setattr(pages, "MOST_SPARE", 2)
    monkeypatch.setattr(listing, "BATCH_SIZE", 8)
    spread.use(shards)
    for number, id in enumerate(NAMES):
        spread.put(id, 1000 + 10 * number)
    wanted = NAMES[::-1] if latest_first else NAMES
    selection = Selection(latest_first=latest_first)
    for start, stop in ((0, 120), (3, 9), (50, 57), (57, 80), (110, 125), (119, 120), (120, 130)):
        assert ids(registry.latest(start, stop, selection)) == wanted[start:stop]


@pytest.mark.parametrize("latest_first", [True, False])
def test_very_many_that_expire_soon(spread, call, monkeypatch, latest_first):  # noqa: F811
    """If too many are listed for longer, all count, and those that do not fit are hidden."""
    monkeypatch.setattr(positions, "BATCH_SIZE", 8)
    for number, id in enumerate(NAMES):
        spread.put(id, 1000 + 100 * number, listed=1100 + 100 * number)
    selection = Selection(within=10_950, latest_first=latest_first)
    assert call("count", selection) == 111
    found = [one for at in range(0, 120, 10) for one in call("latest", at, at + 10, selection)]
    assert ids(found) == (NAMES[99::-1] if latest_first else NAMES[:100])


@pytest.mark.parametrize("shards", [1, 16])
def test_very_many_dead_members(spread, call, shards):  # noqa: F811
    """The page begins behind them, and they leave the indexes of all sessions."""
    spread.use(shards)
    for number in range(300):
        spread.put(session_id(f"dead {number}"), 50 + number, user="1", is_live=False)
    for id in NAMES[:9]:
        spread.put(id, 1000)
    assert sorted(ids(call("latest", 0, 9, Selection(latest_first=False)))) == sorted(NAMES[:9])
    assert call("latest", 0, 9, Selection(signed_in=True)) == []
    assert spread.raw.zcard(spread.keyspace.user("1")) == 300


def test_too_many_dead_members(spread, call, monkeypatch):  # noqa: F811
    """After some attempts the page is given up. The next call finds fewer of them."""
    for name in ("REREADS", "SPARE", "MOST_SPARE"):
        monkeypatch.setattr(pages, name, 1)
    for number in range(80):
        spread.put(session_id(f"dead {number}"), 900, is_live=False)
    spread.put(NAMES[0], 1000)
    selection = Selection(latest_first=False)
    assert call("latest", 0, 9, selection) == []
    for _ in range(5):
        found = call("latest", 0, 9, selection)
    assert ids(found) == NAMES[:1]


def test_an_answer_of_another_shape():
    """It does not come from the script."""
    with pytest.raises(WrongShape):
        parts.part("index", parts.from_now(0, 1), parts.Ranks(0, 1)).read([b"1", b"2", 3])
