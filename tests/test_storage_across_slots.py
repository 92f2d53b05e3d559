"""
Sessions whose keys lie in different slots, on one server: each script may use its own keys only.

The steps are the same in a Cluster, where tests/test_topologies.py runs the engine.
"""

import asyncio
import random

import pytest
from django.contrib.sessions.backends.base import UpdateError
from redis.exceptions import ResponseError

from sessions_redis import registry
from sessions_redis.engine import SessionStore
from sessions_redis.exceptions import SessionStoreUnavailable
from sessions_redis.storage import layouts
from sessions_redis.storage.across_slots import ending, listing
from sessions_redis.storage.changes import Changes
from sessions_redis.storage.commands import Taken, session_id
from sessions_redis.storage.keyspaces import Keyspace
from sessions_redis.storage.listings import Ended
from sessions_redis.storage.steps import GiveUp, Pause, Undoable
from tests.cluster_model import LOGIN, VISIT, new_id, play
from tests.servers import Server
from tests.spread import spread  # noqa: F401 - fixture


class Site:
    """A spread site on one server, which carries out steps and counts rounds."""

    def __init__(self, raw, prefix, **options):
        self.raw, self.keyspace = raw, Keyspace(prefix, is_spread=True, **options)
        self.rounds = self.waited = 0
        self.ended = []

    def run(self, command):
        return command.read(self.raw.execute_command(*command.with_source))

    def carry_out(self, asked):
        if isinstance(asked, Undoable):
            return self.carry_out(asked.step)
        if isinstance(asked, GiveUp):
            raise SessionStoreUnavailable(asked.text)
        if isinstance(asked, Pause):
            self.waited += 1
            return None
        if isinstance(asked, Ended):
            self.ended += asked.sessions
            return None
        self.rounds += 1
        return [*map(self.run, asked)] if isinstance(asked, list) else self.run(asked)

    def do(self, steps, rounds=None):
        """The result of the steps, which take so many rounds."""
        before = self.rounds
        result = self.finish(steps)
        assert rounds in (None, self.rounds - before)
        return result

    def finish(self, steps, answer=None):
        try:
            while True:
                answer = self.carry_out(steps.send(answer))
        except StopIteration as stop:
            return stop.value

    def finish_early(self, steps, asked):
        """Carry out steps, as if all indexes' clocks were near 1970."""
        while True:
            early = [[1000]] * len(asked) if isinstance(asked, list) else self.carry_out(asked)
            asked = steps.send(early)

    def begin(self, steps, rounds):
        """Carry out the first rounds only. Returns the answer to the last."""
        answer = None
        for _ in range(rounds):
            answer = self.carry_out(steps.send(answer))
        return answer

    def session(self, changes=LOGIN, ttl=600):
        id = new_id()
        assert self.do(layouts.create(self.keyspace, id, ttl, changes))
        return id

    def fields(self, id):
        return self.raw.hgetall(self.keyspace.session(id))

    def lists(self, id, user="1"):
        names = [name for some in listing.indexes(self.keyspace, id, user) for name in some]
        return [self.raw.zscore(name, id) is not None for name in names]


@pytest.fixture(params=[1, 16])
def site(raw, prefix, request):
    return Site(raw, prefix, shards=request.param)


def test_rounds(site):
    """Creating takes 2 rounds of commands, saving 1, signing in 2, cycling 3, deleting 2."""
    keyspace, id, copy = site.keyspace, new_id(), new_id()
    assert site.do(layouts.create(keyspace, id, 600, VISIT), rounds=2)
    assert site.do(layouts.save(keyspace, id, 600, VISIT), rounds=1)
    assert site.do(layouts.save(keyspace, id, 600, LOGIN), rounds=2)
    assert site.do(layouts.note(keyspace, id, {b"@ip": b"1"}, 600), rounds=2) > 0
    assert site.do(layouts.note(keyspace, id, {b"@ip": b"2"}, 600), rounds=1) < 0
    assert site.fields(id)[b"@ip"] == b"1"
    assert site.do(layouts.increment(keyspace, id, b"visits", 1), rounds=1) == 1
    assert site.do(layouts.cycle(keyspace, id, copy, 600, VISIT, "1"), rounds=3)
    assert site.lists(copy) == [True] * 3
    assert site.lists(id) == [False] * 3
    assert site.do(layouts.delete(keyspace, copy), rounds=2) == "1"
    assert site.lists(copy) == [False] * 3


def test_rounds_without_indexes(raw, prefix):
    """Without indexes, creating and deleting take 1 round, cycling 3."""
    site = Site(raw, prefix, indexed=False)
    id, copy = new_id(), new_id()
    assert site.do(layouts.create(site.keyspace, id, 600, LOGIN), rounds=1)
    assert site.do(layouts.save(site.keyspace, id, 600, LOGIN), rounds=1)
    assert site.do(layouts.cycle(site.keyspace, id, copy, 600, VISIT, "1"), rounds=3)
    assert site.do(layouts.note(site.keyspace, copy, {}, 60), rounds=1)
    assert site.do(layouts.create_beside(site.keyspace, id, b"1", new_id(), 600, LOGIN), rounds=3)
    assert site.do(layouts.delete(site.keyspace, copy), rounds=2) == "1"
    ids = [site.session(), site.session()]
    assert site.do(layouts.delete(site.keyspace, ids[0]), rounds=1) == "1"
    site.do(layouts.end_many(site.keyspace, ids), rounds=1)
    assert site.ended == [(ids[1], "1")]


def test_longer_than_listed(site):
    """A save for longer than the indexes list the session lists it first: 3 rounds."""
    id = site.session(ttl=60)
    assert site.do(layouts.save(site.keyspace, id, 6000, VISIT), rounds=3)
    assert int(site.fields(id)[b"@listed"]) >= site.raw.pexpiretime(site.keyspace.session(id))


def test_shorter(site):
    """A save for a much shorter time takes 2 rounds, and the indexes list it for less."""
    id = site.session(ttl=60000)
    before = site.raw.zscore(site.keyspace.user("1"), id)
    assert site.do(layouts.save(site.keyspace, id, 60, VISIT), rounds=2)
    scores = [
        site.raw.zscore(name, id)
        for some in listing.indexes(site.keyspace, id, "1")
        for name in some
    ]
    assert max(scores) < before - 50000
    assert min(scores) * 1000 >= site.raw.pexpiretime(site.keyspace.session(id))
    assert site.do(layouts.save(site.keyspace, id, 60000, VISIT), rounds=3)


def test_copy_is_exact(site):
    """Cycling keeps all fields of a large session, whatever bytes they hold."""
    written = {b"field%d" % number: bytes([number % 256]) * 3 for number in range(9000)}
    id, copy = site.session(Changes(written | LOGIN.written, user="1")), new_id()
    site.raw.hset(site.keyspace.session(id), "@created", "1")
    changes = Changes({b"color": b'"red"'}, (b"field7",))
    assert site.do(layouts.cycle(site.keyspace, id, copy, 600, changes, ""))
    fields = {name: value for name, value in site.fields(copy).items() if name[:1] != b"@"}
    del written[b"field7"]
    assert fields == written | LOGIN.written | {b"color": b'"red"'}
    assert site.fields(copy)[b"@created"] == b"1"
    assert site.fields(copy)[b"@former"] == id.encode()
    assert site.lists(copy) == [True] * 3


@pytest.mark.parametrize("name", ["save", "increment", "cycle", "beside"])
def test_frozen(site, name):
    """While another request cycles a session, requests that write wait, and then give up."""
    keyspace, id = site.keyspace, site.session()
    site.begin(layouts.cycle(keyspace, id, new_id(), 600, VISIT, "1"), 1)
    steps = {
        "save": layouts.save(keyspace, id, 600, VISIT),
        "increment": layouts.increment(keyspace, id, b"visits", 1),
        "cycle": layouts.cycle(keyspace, id, new_id(), 600, VISIT, "1"),
        "beside": layouts.create_beside(keyspace, id, b"1", new_id(), 600, LOGIN),
    }[name]
    with pytest.raises(SessionStoreUnavailable, match="Another request"):
        site.do(steps)
    assert site.waited == len(listing.PAUSES)
    assert b"page" not in site.fields(id)
    assert site.do(layouts.note(keyspace, id, {b"@ip": b"1"})) == 0


def test_thawed(site):
    """A session whose cycling failed can be used again after the freeze."""
    id = site.session()
    site.begin(layouts.cycle(site.keyspace, id, new_id(), 600, VISIT, "1"), 2)
    site.raw.hset(site.keyspace.session(id), "@frozen", "1")
    assert site.do(layouts.save(site.keyspace, id, 600, VISIT))
    assert not {b"@frozen", b"@next"} & set(site.fields(id))


def test_slow_cycling_begins_again(site):
    """If cycling took longer than the freeze, it begins again with another new id."""
    id, copy = site.session(), new_id()
    steps = layouts.cycle(site.keyspace, id, copy, 600, VISIT, "1")
    answer = site.begin(steps, 2)
    site.raw.hset(site.keyspace.session(id), "@frozen", "1")
    assert site.do(layouts.save(site.keyspace, id, 600, Changes({b"color": b'"red"'})))
    assert site.finish(steps, answer) is Taken
    assert site.lists(copy) == [False] * 3
    assert site.lists(id) == [True] * 3
    assert site.fields(id)[b"color"] == b'"red"'
    assert site.do(layouts.cycle(site.keyspace, id, new_id(), 600, VISIT, "1")) is True


def test_ended_while_cycling(site):
    """
    If the session was ended while it was cycled, what begins in its place gets another id.

    The request that ended it may remove the first one from the indexes later.
    """
    id, copy = site.session(VISIT), new_id()
    steps = layouts.cycle(site.keyspace, id, copy, 600, LOGIN, "")
    answer = site.begin(steps, 2)
    ending = layouts.end(site.keyspace, id)
    ended = site.begin(ending, 2)  # both are gone, and the copy is still listed
    assert not site.fields(copy)
    assert site.finish(steps, answer) is Taken
    site.finish(ending, ended)
    assert site.do(layouts.cycle(site.keyspace, id, new_id(), 600, LOGIN, "")) is False
    assert site.lists(copy) == [False] * 3


def test_user_changed_before_cycling(site):
    """If another request signed the user in, the copy is listed under that user."""
    id, copy = site.session(VISIT), new_id()
    assert site.do(layouts.save(site.keyspace, id, 600, LOGIN))
    assert site.do(layouts.cycle(site.keyspace, id, copy, 600, VISIT, ""))
    assert site.lists(copy) == [True] * 3


def test_cycling_to_another_user(site):
    """A session whose cycling also changes the user stays listed until it has left."""
    id, copy = site.session(), new_id()
    steps = layouts.cycle(site.keyspace, id, copy, 600, Changes(user=""), "1")
    answer = site.begin(steps, 3)
    assert b"@cycled" in site.fields(id)
    assert site.lists(id) == [True] * 3
    assert site.finish(steps, answer)
    assert site.lists(id) == [False] * 3
    assert site.lists(copy, "") == [True] * 2


def test_slow_cycling_to_another_user(site):
    """If that took longer than the freeze, the session stays listed under its user."""
    id, copy = site.session(), new_id()
    steps = layouts.cycle(site.keyspace, id, copy, 600, Changes(user=""), "1")
    answer = site.begin(steps, 2)
    site.raw.hset(site.keyspace.session(id), "@frozen", "1")
    assert site.finish(steps, answer) is Taken
    assert site.lists(id) == [True] * 3
    assert site.lists(copy, "") == [False] * 2


def test_spared_session_gets_another_id(site):
    """A tombstone at the copy of a spared session costs it one more attempt."""
    id, copy = site.session(), new_id()
    site.run(ending._end(site.keyspace, copy, ending.NOTHING, ending.TOMBSTONE))
    assert site.do(layouts.cycle(site.keyspace, id, copy, 600, VISIT, "1")) is Taken
    assert site.do(layouts.cycle(site.keyspace, id, new_id(), 600, VISIT, "1")) is True


def test_second_attempt_leaves_the_indexes(site):
    """A session whose first cycling was refused leaves the indexes when it is cycled later."""
    id, copy = site.session(), new_id()
    site.run(ending._end(site.keyspace, copy, ending.NOTHING, ending.TOMBSTONE))
    assert site.do(layouts.cycle(site.keyspace, id, copy, 600, VISIT, "1")) is Taken
    assert site.lists(id) == [True] * 3
    assert site.do(layouts.cycle(site.keyspace, id, new_id(), 600, VISIT, "1")) is True
    assert site.lists(id) == [False] * 3


def test_listed_again_while_cycling(site):
    """A session leaves the indexes also if a note has listed it for a longer time meanwhile."""
    id = site.session()
    steps = layouts.cycle(site.keyspace, id, new_id(), 600, VISIT, "1")
    answer = site.begin(steps, 2)
    for names in listing.indexes(site.keyspace, id, "1"):
        site.run(listing.relisting(names, [(id, str(10**13))]))
    assert site.finish(steps, answer) is True
    assert site.lists(id) == [False] * 3


@pytest.mark.parametrize(
    "steps",
    [
        lambda keyspace, id: layouts.note(keyspace, id, {b"@ip": b"1"}),
        lambda keyspace, id: layouts.list_many(keyspace, [id]),
    ],
    ids=["note", "list_many"],
)
def test_ending_before_it_is_listed_again(site, steps):
    """A session that ends before another request lists it again is not listed in the end."""
    id = site.session()
    steps = steps(site.keyspace, id)
    answer = site.begin(steps, 1)
    assert site.do(layouts.delete(site.keyspace, id)) == "1"
    site.finish(steps, answer)
    assert site.lists(id) == [False] * 3


@pytest.mark.parametrize("rounds", [1, 2])
def test_deleting_while_cycling(site, rounds):
    """A session that is deleted while another request cycles it does not live on in its copy."""
    id, copy = site.session(), new_id()
    steps = layouts.cycle(site.keyspace, id, copy, 600, VISIT, "1")
    answer = site.begin(steps, rounds)
    assert site.do(layouts.delete(site.keyspace, id)) == "1"
    assert site.finish(steps, answer) in (False, Taken)
    assert b"@created" not in site.fields(copy)


def test_no_time_left(site):
    """A save or cycling with no time left deletes the session; create writes nothing."""
    keyspace, id, other = site.keyspace, site.session(), site.session()
    assert site.do(layouts.save(keyspace, id, -10, VISIT)) is True
    assert site.do(layouts.save(keyspace, id, -10, VISIT)) is False
    assert site.do(layouts.cycle(keyspace, other, new_id(), -10, VISIT, "1")) is True
    assert site.do(layouts.create(keyspace, new_id(), -10, VISIT)) is True
    assert site.raw.exists(keyspace.session(id), keyspace.session(other)) == 0
    assert site.lists(id) == [False] * 3


def test_create_beside(site):
    """A session can be created beside a cycled one, if that lives with the same user."""
    keyspace, id, copy, beside = site.keyspace, site.session(), new_id(), new_id()
    site.do(layouts.cycle(keyspace, id, copy, 600, VISIT, "1"))
    assert not site.do(layouts.create_beside(keyspace, id, b"2", new_id(), 600, LOGIN))
    assert site.do(layouts.create_beside(keyspace, id, b"1", beside, 600, LOGIN))
    assert site.do(layouts.create_beside(keyspace, id, b"1", new_id(), 600, LOGIN))
    steps = layouts.create_beside(keyspace, id, b"1", new_id(), 600, LOGIN)
    answer = site.begin(steps, 3)
    site.do(layouts.delete(keyspace, copy))
    assert site.finish(steps, answer) is False
    assert b"@created" in site.fields(beside)


@pytest.mark.parametrize("name", ["end_all", "end_many"])
def test_ending_between_two_rounds_of_create_beside(site, name):
    """Ending a session prevents another that is about to be created beside it."""
    keyspace, id = site.keyspace, site.session()
    steps = layouts.create_beside(keyspace, id, b"1", new_id(), 600, LOGIN)
    answer = site.begin(steps, 2)
    site.do(getattr(layouts, name)(keyspace, {"end_all": "1", "end_many": [id]}[name]))
    site.do(layouts.end_all(keyspace, "1"))
    assert site.finish(steps, answer) is False
    assert site.ended == [(id, "1")]


def test_end_all(site, monkeypatch):
    """All sessions of the user end, in batches, and are reported once; others stay."""
    monkeypatch.setattr(ending, "END_BATCH_SIZE", 2)
    ids = {site.session() for _ in range(5)}
    other, spared, copy = site.session(Changes(user="2")), site.session(), new_id()
    site.do(layouts.cycle(site.keyspace, spared, copy, 600, VISIT, "1"))
    site.raw.zadd(site.keyspace.user("1"), {other: 9e9, new_id(): 1, new_id(): 9e9})
    site.do(layouts.end_all(site.keyspace, "1", spared))
    assert sorted(site.ended) == sorted((id, "1") for id in ids)
    assert b"@created" in site.fields(other)
    assert b"@created" in site.fields(copy)


def test_end_many_reports_no_copies(site):
    """A session that is being cycled is reported once when it ends."""
    id, copy = site.session(), new_id()
    site.begin(layouts.cycle(site.keyspace, id, copy, 600, VISIT, "1"), 2)
    site.do(layouts.end_many(site.keyspace, [id]))
    assert site.ended == [(id, "1")]
    assert site.fields(copy) == {}


@pytest.mark.parametrize("is_late", [False, True])
def test_end_all_reports_no_copies(site, monkeypatch, is_late):
    """A session that is being cycled is reported once, also if its copy is listed before it."""
    monkeypatch.setattr(ending, "END_BATCH_SIZE", 1 if is_late else 250)
    id, copy, other = site.session(), new_id(), site.session()
    site.begin(layouts.cycle(site.keyspace, id, copy, 600, VISIT, "1"), 2)
    site.raw.zadd(site.keyspace.user("1"), {copy: 8e9, id: 9e9})
    site.do(layouts.end_all(site.keyspace, "1"))
    assert len(site.ended) == 2
    assert (other, "1") in site.ended
    if not is_late:
        assert (id, "1") in site.ended
    assert site.fields(id) == site.fields(copy) == {}


def test_lost_indexes(site):
    """A note, or a rebuild, lists a session again that the indexes have lost."""
    id = site.session()
    indexes = [name for some in listing.indexes(site.keyspace, id, "1") for name in some]
    site.raw.delete(*indexes)
    site.do(layouts.note(site.keyspace, id, {}, 60))
    assert site.lists(id) == [True] * 3
    site.raw.delete(*indexes)
    ids = [id, new_id()]
    assert site.do(layouts.list_many(site.keyspace, ids, only_look=True), rounds=2) == (1, 1)
    assert site.do(layouts.list_many(site.keyspace, ids), rounds=3) == (1, 1)
    assert site.do(layouts.list_many(site.keyspace, ids), rounds=2) == (1, 0)
    site.raw.persist(site.keyspace.session(id))  # its next save lists it
    assert site.do(layouts.note(site.keyspace, id, {b"@ip": b"1"}), rounds=1) > 0
    assert site.do(layouts.list_many(site.keyspace, ids), rounds=2) == (1, 0)
    assert site.do(layouts.save(site.keyspace, id, 600, VISIT))
    site.raw.hdel(site.keyspace.session(id), "@listed")
    site.raw.delete(*indexes)
    assert site.do(layouts.list_many(site.keyspace, ids)) == (1, 1)
    assert site.do(layouts.save(site.keyspace, id, 600, VISIT), rounds=3)


def test_clock_ahead(site):
    """If the session's server is ahead of the indexes', creating it lists it again."""
    id = new_id()
    steps = layouts.create(site.keyspace, id, 600, LOGIN)
    site.begin(steps, 1)
    early = [[1000]] * len(listing.indexes(site.keyspace, id, "1"))
    assert site.finish(steps, early)
    assert site.lists(id) == [True] * 3
    assert int(site.fields(id)[b"@listed"]) > 1000


def test_clock_never_fits(site):
    """A session that cannot be listed raises, and is not created."""
    steps = layouts.create(site.keyspace, new_id(), 600, LOGIN)
    asked = next(steps)
    with pytest.raises(SessionStoreUnavailable, match="could not be listed"):
        site.finish_early(steps, asked)


def test_wrong_types(site):
    """Keys of other types with the indexes' names are left alone."""
    for name in [*site.keyspace.indexes, site.keyspace.user("1")]:
        site.raw.set(name, "x", ex=600)
    id = site.session()
    assert site.do(layouts.save(site.keyspace, id, 600, VISIT))
    assert site.do(layouts.note(site.keyspace, id, {}, 60))
    assert site.do(layouts.delete(site.keyspace, id)) == "1"
    assert site.raw.get(site.keyspace.user("1")) == b"x"
    other = new_id()
    site.raw.set(site.keyspace.session(other), "x", ex=600)
    assert not site.do(layouts.save(site.keyspace, other, 600, VISIT))
    assert not site.do(layouts.create(site.keyspace, other, 600, VISIT))
    assert site.do(layouts.delete(site.keyspace, other)) == ""


# In the last three, a request gives up because another one cycles the session.
@pytest.mark.parametrize("seed", [*range(60), 213, 324, 671])
def test_random_schedules(raw, prefix, seed):
    """Whatever the order of requests, and wherever some of them crash, the promises hold."""

    def run(words, read):
        return read(raw.execute_command(*words))

    assert play(run, seed, Keyspace(prefix, is_spread=True, shards=seed % 2 * 3 + 1)) == []


def visits(seed):
    """What one visitor sees, who does the same as with every other layout."""
    rng, session, seen = random.Random(seed), SessionStore(), []
    for _ in range(25):
        name = rng.choice(
            ["set", "set", "save", "save", "cycle_key", "flush", "login", "again", "end"]
        )
        try:
            if name == "set":
                session[f"key{rng.randint(1, 3)}"] = rng.randint(1, 9)
            elif name == "login":
                session["_auth_user_id"] = rng.choice(["1", "2"])
            elif name == "end":
                registry.end(session_id(session.session_key or ""))
            elif name == "again":
                session = SessionStore(session.session_key)
            elif name == "save" and seed % 2:
                asyncio.run(session.asave())
            else:
                getattr(session, name)()
        except UpdateError as error:
            seen.append(type(error))
        seen.append((name, dict(session.items()), session.session_key is None))
    return [*seen, registry.end_all_of("1"), registry.end_all_of("2")]


@pytest.mark.parametrize("seed", range(6))
def test_as_in_one_slot(request, seed):
    """A visitor sees the same as where all keys are in one slot."""
    expected = visits(seed)
    request.getfixturevalue("spread")
    assert visits(seed) == expected


def test_registry(spread, ended):  # noqa: F811
    """The registry ends sessions, and sends signals."""
    others = [SessionStore() for _ in range(3)]
    for other in others:
        other["_auth_user_id"] = "1"
        other.save()
    ids = [session_id(other.session_key) for other in others]
    assert registry.end(ids[0])
    assert not registry.end(ids[0])
    assert registry.end_many(ids[:2]) == [ids[1]]
    assert asyncio.run(registry.aend_all_of("1")) == 1
    assert [id for id, *_ in ended] == ids


@pytest.mark.parametrize("is_async", [False, True])
def test_failing_while_cycling(spread, server, raw, is_async):  # noqa: F811
    """If Redis fails while a session is cycled, other requests can write to it at once."""
    session = SessionStore()
    session["color"] = "red"
    session.save()
    other = SessionStore(session.session_key)
    index = spread.keyspace.index_of(session_id(session.session_key))
    raw.execute_command("ACL", "SETUSER", "default", "-zadd")
    try:
        with pytest.raises(SessionStoreUnavailable):
            asyncio.run(session.acycle_key()) if is_async else session.cycle_key()
    finally:
        raw.execute_command("ACL", "SETUSER", "default", "+@all")
    other["size"] = 1
    other.save()
    assert raw.zscore(index, session_id(other.session_key))


@pytest.mark.parametrize("is_async", [False, True])
def test_engine_gives_up(spread, raw, monkeypatch, is_async):  # noqa: F811
    """A save while another request cycles the session waits, and raises in the end."""
    monkeypatch.setattr(listing, "PAUSES", (0.01, 0.01))
    session = SessionStore()
    session.save()
    key = spread.keyspace.session(session_id(session.session_key))
    raw.hset(key, mapping={"@frozen": 10**14, "@next": new_id()})
    session["color"] = "red"
    with pytest.raises(SessionStoreUnavailable, match="new key"):
        asyncio.run(session.asave()) if is_async else session.save()
    assert dict(SessionStore(session.session_key).items()) == {}
    raw.hset(key, "@frozen", 1)
    session.save()
    assert dict(SessionStore(session.session_key).items()) == {"color": "red"}


class StrictSite(Site):
    """A site whose user may only use the keys that each command declares."""

    def run(self, command):
        rules = ["reset", "on", ">countess", "+@all", *(f"~{key}" for key in command.keys)]
        self.raw.execute_command("ACL", "SETUSER", "across", *rules)
        return command.read(self.strict.execute_command(*command.with_source))


@pytest.mark.parametrize("shards", [1, 16])
def test_declared_keys(raw, prefix, server, shards):
    """Each command declares all keys that it uses."""
    site = StrictSite(raw, prefix, shards=shards)
    raw.execute_command("ACL", "SETUSER", "across", "on", ">countess")
    with server.client(username="across", password="countess") as site.strict:
        keyspace, id, copy = site.keyspace, site.session(), new_id()
        assert site.do(layouts.save(keyspace, id, 6000, VISIT))
        assert site.do(layouts.save(keyspace, id, 60, VISIT))
        assert site.do(layouts.note(keyspace, id, {}, 60))
        assert site.do(layouts.increment(keyspace, id, b"visits", 1)) == 1
        assert site.do(layouts.cycle(keyspace, id, copy, 600, VISIT, "1"))
        assert site.do(layouts.create_beside(keyspace, id, b"1", new_id(), 600, LOGIN))
        assert site.do(layouts.list_many(keyspace, [copy])) == (1, 0)
        assert site.do(layouts.delete(keyspace, site.session())) == "1"
        site.do(layouts.end_many(keyspace, [copy]))
        site.do(layouts.end_all(keyspace, "1"))
    assert len(site.ended) == 2
    raw.execute_command("ACL", "DELUSER", "across")


def test_memory_full(tmp_path, prefix):
    """If memory is full, nothing is half-written, and sessions can be ended."""
    with_server = Server(tmp_path)
    with with_server.client() as client:
        site = Site(client, prefix)
        id, other, member = site.session(), site.session(VISIT), new_id()
        client.zadd(site.keyspace.user("1"), {member: 9e9})
        before = site.fields(id), site.fields(other)
        client.config_set("maxmemory", 1)
        for steps in (
            layouts.create(site.keyspace, new_id(), 600, LOGIN),
            layouts.save(site.keyspace, id, 600, VISIT),
            layouts.save(site.keyspace, other, 600, LOGIN),
            layouts.cycle(site.keyspace, id, new_id(), 600, VISIT, "1"),
            layouts.increment(site.keyspace, id, b"visits", 1),
            layouts.create_beside(site.keyspace, id, b"1", new_id(), 600, LOGIN),
            layouts.note(site.keyspace, id, {}, 60),
        ):
            with pytest.raises(ResponseError, match=r"OOM|memory"):
                site.do(steps)
        assert (site.fields(id), site.fields(other)) == before
        site.do(layouts.end_all(site.keyspace, "1"))
        assert site.ended == [(id, "1")]
        assert site.fields(member) == {b"@ended": b"1"}
    with_server.stop()


def test_former_shards(spread, raw):  # noqa: F811
    """Ending a session also removes it from the indexes of a former number of shards."""
    spread.use(4)
    session = SessionStore()
    session.save()
    former = spread.keyspace.index_of(session_id(session.session_key))
    spread.use(16)
    SessionStore().save()
    assert registry.end(session_id(session.session_key))
    assert raw.zscore(former, session_id(session.session_key)) is None


def test_refused_commands(site, server):
    """A command that the user may not run fails before anything is written."""
    id = site.session()
    for command in ("hset", "pexpireat", "hdel"):
        before = site.fields(id)
        rules = ["reset", "on", ">countess", "~*", "+@all", f"-{command}"]
        site.raw.execute_command("ACL", "SETUSER", "across", *rules)
        with server.client(username="across", password="countess") as client:
            strict = Site(client, site.keyspace.prefix, shards=site.keyspace.shards)
            with pytest.raises(ResponseError):
                strict.do(layouts.save(site.keyspace, id, 600, Changes({b"a": b"1"}, (b"b",))))
        assert site.fields(id) == before
    site.raw.execute_command("ACL", "DELUSER", "across")
