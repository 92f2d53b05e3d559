"""Workers of the former engine and of this one serve the same users, later only the latter do."""

import random
import signal

import pytest

from tests.movers import steps_of

SHARED = {"FORMER_ENGINE_SHARED": True}
USER = {"color": "red", "_auth_user_id": "7"}


@pytest.fixture
def old(site):
    """A function that does something in a worker of the former engine."""
    engine = site.movers.settings["SESSION_REDIS"]["FORMER_ENGINE"]
    return lambda act, *arguments, **entries: site.do(act, *arguments, engine=engine, **entries)


@pytest.fixture
def new(site):
    """A function that does something in a worker of this engine that shares."""
    return lambda act, *arguments, **entries: site.do(act, *arguments, settings=SHARED, **entries)


def test_the_last_write_of_an_old_worker(site, old, new):
    """It is kept, even if no worker of this engine saw it while the stores were shared."""
    key = site.one()
    new("write", key, cart=[1])
    old("write", key, cart=[1, 2])
    assert site.do("read", key) == USER | {"cart": [1, 2]}
    site.do("write", key, cart=[1, 2, 3])
    assert site.do("read", key) == USER | {"cart": [1, 2, 3]}
    assert site.copies(key) == 1


def test_the_last_log_out_on_an_old_worker(site, old, new):
    """It holds."""
    key = site.one()
    new("write", key, cart=[1])
    old("log_out", key)
    assert site.do("read", key) is None
    assert site.copies(key) == 0


def test_lifetime_that_an_old_worker_prolonged(site, old, new):
    """It is the longer one, even if no entry changed."""
    key = site.one(age=100)
    new("read", key)
    site.raw.expire(f"{site.prefix}:{site.id(key)}", 50)
    old("write", key, color="red")
    site.do("read", key)
    assert site.ttl(key) > 60


def test_first_requests_at_once_after_sharing(site, old, new):
    """The old worker's copy moves in once, and no update is lost."""
    key = site.one()
    new("write", key, cart=[1])
    old("write", key, cart=[1, 2])
    names = [f"name-{number}" for number in range(10)]
    writers = [site.begin("write", key, **{name: 1}) for name in names]
    for writer in writers:
        writer.value()
    assert site.do("read", key) == USER | {"cart": [1, 2]} | dict.fromkeys(names, 1)
    assert site.copies(key) == 1


def test_killed_at_any_point_after_sharing(site, old, new):
    """A process that is killed at its first request after sharing loses nothing."""

    def one():
        key = site.one()
        new("write", key, cart=[1])
        old("write", key, cart=[1, 2])
        return key

    events = site.events("write", one(), size="L")
    for at in steps_of(events):
        key = one()
        assert not site.begin("write", key, at=at, size="L").is_finished
        entries = site.do("read", key)
        assert entries.pop("size", "L") == "L"
        assert entries == USER | {"cart": [1, 2]}, events[at]
        assert site.copies(key) == 1


@pytest.mark.parametrize("action", ["read", "write"])
def test_killed_at_any_point_while_sharing(site, old, new, action):
    """Nobody is signed out, by either engine."""
    events = site.events(action, site.one(), settings=SHARED)
    for at in steps_of(events):
        key = site.one()
        assert not site.begin(action, key, at=at, settings=SHARED).is_finished
        assert old("read", key) == USER
        assert new("read", key) == USER
        assert site.do("read", key) == USER, events[at]
        assert site.copies(key) == 1


@pytest.mark.parametrize("action", ["log_out", "cycle"])
def test_killed_while_ending(site, old, new, action):
    """The session is ended or not, in both stores."""
    events = site.events(action, site.one(), settings=SHARED)
    for at in steps_of(events):
        key = site.one()
        assert not site.begin(action, key, at=at, settings=SHARED).is_finished
        before = new("read", key)
        assert before in (None, USER)
        assert old("read", key) == before, events[at]
        assert site.do("read", key) == before, events[at]


@pytest.mark.parametrize("way", ["log_out", "cycle", "end"])
def test_a_slow_request_while_sharing(site, old, new, way):
    """It does not bring back what was ended meanwhile."""
    events = site.events("write", site.one(), settings=SHARED)
    for at in steps_of(events):
        key = site.one()
        slow = site.begin("write", key, at=at, by=signal.SIGSTOP, settings=SHARED)
        slow.wait_stopped()
        new(way, key)
        slow.resume()
        slow.outcome()
        assert new("read", key) is None, events[at]
        assert old("read", key) is None, events[at]


def test_a_slow_request_and_an_old_worker(site, old, new):
    """A slow request does not bring back what an old worker has ended."""
    events = site.events("write", site.one(), settings=SHARED)
    for at in steps_of(events):
        key = site.one()
        slow = site.begin("write", key, at=at, by=signal.SIGSTOP, settings=SHARED)
        slow.wait_stopped()
        old("log_out", key)
        slow.resume()
        slow.outcome()
        assert old("read", key) is None, events[at]
        assert new("read", key) is None, events[at]
        assert site.do("read", key) is None, events[at]


def test_signed_out_everywhere_while_sharing(site, old, new):
    """What the user had is refused; what the user begins then works, on either side."""
    keys = site.do("begin", 3, user="all")
    new("write", keys[0], cart=[1])
    new("end_all_of", "all")
    old("write", keys[0], cart=[2])  # an old worker cannot know
    assert [new("read", key) for key in keys] == [None] * 3
    begun_there = site.do("begin", 1, user="all")[0]
    begun_here = new("log_in", site.do("begin", 1)[0], "all")
    for key in (begun_there, begun_here):
        assert new("read", key)["_auth_user_id"] == "all"
        assert old("read", key)["_auth_user_id"] == "all"
        assert site.do("read", key)["_auth_user_id"] == "all"
    later = site.do("begin", 1, user="all")[0]  # by the last old worker, and never shared
    assert site.do("read", later)["_auth_user_id"] == "all"


class Users:
    """Visitors whose requests reach an old worker or a new one by chance."""

    def __init__(self, old, new, seed):
        self.chance = random.Random(seed)
        self.workers = old, new
        self.sessions = {}  # key: entries
        self.ended = []

    def one(self):
        return self.chance.choice(sorted(self.sessions))

    def do(self, act, *arguments, **entries):
        return self.chance.choice(self.workers)(act, *arguments, **entries)

    def sign_in(self):
        user = str(len(self.sessions) + len(self.ended))
        key = self.do("log_in", None, user)
        self.sessions[key] = {"_auth_user_id": user}

    def write(self):
        key, number = self.one(), self.chance.random()
        self.do("write", key, cart=number)
        self.sessions[key]["cart"] = number

    def log_out(self):
        key = self.one()
        self.do("log_out", key)
        del self.sessions[key]
        self.ended.append(key)

    def log_in_again(self):
        key = self.one()
        entries = self.sessions.pop(key)
        self.ended.append(key)
        self.sessions[self.do("log_in", key, entries["_auth_user_id"])] = entries

    def sign_out_everywhere(self):
        key = self.one()
        self.workers[1]("end_all_of", self.sessions.pop(key)["_auth_user_id"])
        self.ended.append(key)

    def look(self, do=None):
        for key in [self.one(), self.one()]:
            assert (do or self.do)("read", key) == self.sessions[key]
        if self.ended:
            assert self.workers[1]("read", self.chance.choice(self.ended)) is None


def test_a_rolling_deploy(site, old, new):
    """Nobody is signed out, and what was ended stays so, whichever workers do what."""
    users = Users(old, new, seed=11)
    acts = [users.sign_in, users.write, users.write, users.log_in_again, users.log_out]
    acts.append(users.sign_out_everywhere)
    for _ in range(6):
        users.sign_in()
    for _ in range(60):
        if len(users.sessions) < 4:
            users.sign_in()
        users.chance.choice(acts)()
        users.look()
    for key, entries in users.sessions.items():
        assert site.do("read", key) == entries
        assert site.copies(key) == 1
    for key in users.ended:
        assert site.do("read", key) is None
