"""
Random schedules of requests on a Cluster, with crashes in the middle of a round.

They are those of `cluster_model`, and harsher: the commands of a round run one by one, between
those of other requests. A request can crash between any two of them. A command may run twice, as
when its reply is lost.
"""

import os
import random
from collections import defaultdict

import pytest

from sessions_redis.clients import run
from sessions_redis.storage import layouts
from sessions_redis.storage.changes import Changes
from sessions_redis.storage.commands import Taken
from sessions_redis.storage.keyspaces import Keyspace
from sessions_redis.storage.listings import Ended
from sessions_redis.storage.steps import GiveUp, Pause, Undoable
from tests.cluster_model import Actor, Model
from tests.topologies import delete_all, on, prefix, session_redis, topologies  # noqa: F401

pytestmark = pytest.mark.topology

server = on("cluster")

# To see more: SCHEDULES=5000 FIRST_SCHEDULE=0
SCHEDULES = int(os.environ.get("SCHEDULES", "60"))
FIRST = int(os.environ.get("FIRST_SCHEDULE", "0"))

REPEATS = 0.05


class Round:
    """The commands of one step that are still to run, and the answers of the others."""

    def __init__(self, asked):
        self.is_list = isinstance(asked, list)
        self.left = list(enumerate(asked if self.is_list else [asked]))
        self.answers = {}

    @property
    def answer(self):
        answers = [self.answers[place] for place in sorted(self.answers)]
        return answers if self.is_list else answers[0]


class HarshModel(Model):
    """
    Also looks at entries: each save writes two of its own.

    An acknowledged save is never lost, and no session has half of one.
    """

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.runs_at_once = False
        self.repeated = 0
        self.entries = defaultdict(set)  # by session: the entries that it must have
        self.pairs = []

    def command(self, command):
        answer = run(command)
        if command.repeatable and self.rng.random() < REPEATS:
            self.repeated += 1
            answer = run(command)
        return answer

    def complete(self, steps):
        self.runs_at_once = True
        try:
            return super().complete(steps)
        finally:
            self.runs_at_once = False

    def step(self, asked):
        if isinstance(asked, Undoable):
            return self.step(asked.step)
        if self.runs_at_once or isinstance(asked, Pause | GiveUp | Ended):
            return super().step(asked)
        return Round(asked)

    def spawn(self):
        kind = self.rng.choice(["", "", "save", "save", "user", "expire"])
        if not kind or not self.known:
            return super().spawn()
        number, id = self.rng.getrandbits(32), self.rng.choice(sorted(self.known))
        self.pairs.append((f"a{number}".encode(), f"b{number}".encode()))
        changes = Changes(dict.fromkeys(self.pairs[-1], b"1"), user="2" if kind == "user" else None)
        ttl = 0 if kind == "expire" else 1000
        actor = Actor(kind, layouts.save(self.keyspace, id, ttl, changes), id)
        actor.writes = self.pairs[-1] if ttl else ()
        return actor

    def advance(self, actor):
        waiting = actor.answer
        if not isinstance(waiting, Round):
            return super().advance(actor)
        place, command = waiting.left.pop(self.rng.randrange(len(waiting.left)))
        waiting.answers[place] = self.command(command)
        if not waiting.left:
            actor.answer = waiting.answer
        return True

    def finish(self, actor, result):
        if result and hasattr(actor, "writes"):
            self.entries[actor.old].update(actor.writes)
        if result and result is not Taken and actor.kind == "cycle":
            self.entries[actor.new] |= self.entries[actor.old]
        super().finish(actor, result)

    def check_listings(self):
        super().check_listings()
        for id in self.known:
            fields = set(self.raw("HKEYS", self.keyspace.session(id)))
            lost = self.entries[id] - fields
            half = [pair for pair in self.pairs if len(fields.intersection(pair)) == 1]
            fault = ("entries", id, lost, half, tuple(self.log))
            self.faults += [fault] if b"@created" in fields and (lost or half) else []


@pytest.mark.parametrize("shards", [1, 4])
def test_random_schedules(session_redis, raw, prefix, shards):  # noqa: F811
    """Whatever the order of commands, and wherever requests crash, the promises hold."""

    def raw_run(words, read):
        return read(raw.execute_command(*words))

    commands = crashes = 0
    for seed in range(FIRST, FIRST + SCHEDULES):
        keyspace = Keyspace(f"{prefix}:{seed}", is_spread=True, shards=shards)
        model = HarshModel(raw_run, random.Random(seed), keyspace)
        assert model.play() == [], f"schedule {seed}"
        commands += model.repeated
        crashes += sum(event[0] == "crash" for event in model.log)
    print(f"{SCHEDULES} schedules, {crashes} crashes, {commands} commands were repeated: no fault")
