"""
The cap on a user's sessions, if these are in different slots: sign-ins take turns at random.

One server carries out the commands that a Cluster would get.
"""

import random

import pytest

from sessions_redis.clients import perform, run
from sessions_redis.exceptions import SessionStoreUnavailable
from sessions_redis.storage import layouts
from sessions_redis.storage.changes import Changes
from sessions_redis.storage.commands import Taken, exists
from sessions_redis.storage.keyspaces import Keyspace
from sessions_redis.storage.rules import Refused, capping
from sessions_redis.storage.steps import GiveUp, Pause, Undoable
from tests.cluster_model import new_id
from tests.workers import COUNT_LIVE

CAP, SIGN_INS = 3, 6
VISIT = Changes({b"cart": b'["pears"]'})


@pytest.fixture
def keyspace(prefix):
    return Keyspace(prefix, is_spread=True)


@pytest.fixture
def live(raw, keyspace):
    """How many sessions the user has now."""
    count = raw.register_script(COUNT_LIVE)
    return lambda: count(args=[keyspace.prefix, "7"])


def login(keyspace, policy, cap=CAP):
    return Changes({b"_auth_user_id": b'"7"'}, user="7", rules=capping(keyspace, cap, policy))


def signing_in(keyspace, changes, way):
    """The steps of a sign-in. The visitor may have been there before."""
    id = new_id()
    if way == "create":
        return layouts.create(keyspace, id, 600, changes)
    assert perform(layouts.create(keyspace, id, 600, VISIT)) is True
    if way == "save":
        return layouts.save(keyspace, id, 600, changes)
    return layouts.cycle(keyspace, id, new_id(), 600, changes, "")


def carried_out(step):
    if isinstance(step, Undoable):
        return carried_out(step.step)
    if isinstance(step, GiveUp):
        raise SessionStoreUnavailable(step.text)
    return [run(one) for one in step] if isinstance(step, list) else run(step)


class SignIns:
    """
    Sign-ins, of which one at a time, by chance, takes its next step.

    A step takes a hundredth of a second. One that pauses takes no step for so long.
    """

    def __init__(self, all_steps, rng):
        self.answers = {number: (steps, None) for number, steps in enumerate(all_steps)}
        self.waiting = dict.fromkeys(self.answers, 0)
        self.now = 0
        self.rng = rng
        self.results = []

    def advance(self):
        self.now = max(self.now + 0.01, min(self.waiting[number] for number in self.answers))
        awake = [number for number in self.answers if self.waiting[number] <= self.now]
        number = self.rng.choice(sorted(awake))
        steps, answer = self.answers.pop(number)
        try:
            step = steps.send(answer)
        except StopIteration as stop:
            self.results.append(stop.value)
            return
        if pause := self.pause_in(step):
            self.waiting[number] = self.now + pause
        self.answers[number] = steps, None if pause else carried_out(step)

    def pause_in(self, step):
        step = step.step if isinstance(step, Undoable) else step
        return step.seconds if isinstance(step, Pause) else 0


@pytest.mark.parametrize("cap", [1, CAP])
@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("way", ["create", "save", "cycle"])
def test_sessions_beyond_the_cap_end(keyspace, live, way, seed, cap):
    """There are never more than the cap and the sign-ins in flight, and then exactly the cap."""
    changes = login(keyspace, "end_oldest", cap)
    for _ in range(cap):
        perform(layouts.create(keyspace, new_id(), 600, changes))
    all_steps = [signing_in(keyspace, changes, way) for _ in range(SIGN_INS)]
    sign_ins = SignIns(all_steps, random.Random(seed))
    while sign_ins.answers:
        sign_ins.advance()
        assert live() <= cap + len(sign_ins.answers)
    assert all(sign_ins.results)
    assert live() == cap


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("way", ["create", "save", "cycle"])
def test_sign_ins_beyond_the_cap_are_refused(keyspace, live, way, seed):
    """There are never more than the cap. A sign-in that failed gave its place to another one."""
    changes = login(keyspace, "refuse")
    perform(layouts.create(keyspace, new_id(), 600, changes))
    all_steps = [signing_in(keyspace, changes, way) for _ in range(SIGN_INS)]
    sign_ins = SignIns(all_steps, random.Random(seed))
    while sign_ins.answers:
        sign_ins.advance()
        assert live() <= CAP
    again = [one for one in sign_ins.results if one in (False, Taken)]  # it needs another new key
    refused = [one for one in sign_ins.results if isinstance(one, Refused)]
    assert {one.details for one in refused} <= {("3",)}
    assert live() == 1 + SIGN_INS - len(refused) - len(again)
    assert live() == CAP or again


@pytest.mark.parametrize("policy", ["end_oldest", "refuse"])
def test_a_session_that_is_being_cycled(keyspace, raw, live, policy):
    """A session that gets another key, while a sign-in looks at the sessions, counts once."""
    changes = login(keyspace, policy)
    ids = [new_id() for _ in range(CAP - 1)]
    for id in ids:
        assert perform(layouts.create(keyspace, id, 600, changes))
    assert perform(layouts.cycle(keyspace, ids[0], new_id(), 600, VISIT, "7")) is True
    raw.zadd(keyspace.user("7"), {ids[0]: raw.time()[0] + 600})
    assert perform(layouts.create(keyspace, new_id(), 600, changes)) is True
    assert live() == CAP
    raw.zadd(keyspace.user("7"), {ids[0]: raw.time()[0] + 600})
    outcome = perform(layouts.create(keyspace, new_id(), 600, changes))
    assert bool(outcome) is (policy == "end_oldest")
    assert live() == CAP


def test_sessions_from_before_the_cap(keyspace, raw, live):
    """Sessions without the time of their sign-in are ordered by the time that they began."""
    ids = [new_id() for _ in range(3)]
    for id, created in zip(ids, ["1000000002", "soon", "1000000001"], strict=True):
        uncapped = login(keyspace, "end_oldest")._replace(rules={})
        assert perform(layouts.create(keyspace, id, 600, uncapped)) is True
        raw.hset(keyspace.session(id), "@created", created)
    newest = [new_id() for _ in range(3)]
    ended = [
        perform(layouts.create(keyspace, id, 600, login(keyspace, "end_oldest"))).ended
        for id in newest
    ]
    assert ended == [((id, "7"),) for id in (ids[1], ids[2], ids[0])]
    assert live() == CAP


@pytest.mark.parametrize("cap", [1, 2])
def test_a_session_beside_one_that_ends(keyspace, live, cap):
    """
    A login that was sent twice begins a second session. It stays when the first one ends.

    ``cap``: 1 ends the first one then; 2 ends it with the next login.
    """
    changes, first, copy, second = login(keyspace, "end_oldest", cap), new_id(), new_id(), new_id()
    assert perform(layouts.create(keyspace, first, 600, changes)) is True
    assert perform(layouts.cycle(keyspace, first, copy, 600, changes, "7"))
    assert perform(layouts.create_beside(keyspace, first, b"7", second, 600, changes))
    assert run(exists(keyspace, second)) is True
    assert live() == cap
    for _ in range(cap - 1):
        assert perform(layouts.create(keyspace, new_id(), 600, changes))
    assert run(exists(keyspace, second)) is True
    assert run(exists(keyspace, copy)) is False
    assert live() == cap
