"""
A model checker of sessions across slots: requests take turns at random, and some of them crash.

It carries out the steps of many requests in a random order, on any client that runs commands, and
says which promises were broken.
"""

import random
import uuid
from dataclasses import dataclass, field

from sessions_redis.exceptions import SessionStoreUnavailable
from sessions_redis.storage import layouts
from sessions_redis.storage.changes import Changes
from sessions_redis.storage.commands import Taken
from sessions_redis.storage.keyspaces import Keyspace
from sessions_redis.storage.listings import Ended
from sessions_redis.storage.steps import GiveUp, Pause, Undoable

LOGIN = Changes({b"_auth_user_id": b'"1"'}, user="1")
VISIT = Changes({b"page": b'"home"'})
KINDS = (
    "create", "cycle", "cycle", "cycle", "beside", "save", "longer", "shorter", "login", "note",
    "increment", "delete", "end_all", "end_all", "end_many",
)  # fmt: skip
CRASHES = 0.03
LAPSES = 0.03
# Ten seconds pass for one session.
LAPSE = """
if redis.call('HEXISTS', KEYS[1], '@frozen') == 1 then
  redis.call('HSET', KEYS[1], '@frozen', '1')
end
"""


def new_id():
    return uuid.uuid4().hex


@dataclass
class Actor:
    """A request: its ``steps``, the session that it uses, and the one that it makes."""

    kind: str
    steps: object
    old: str | None = None
    new: str | None = None
    answer: object = None
    asked: object = None
    alive: frozenset = frozenset()


@dataclass
class Model:
    """One random schedule. ``run``: sends a command and returns its answer."""

    run: object
    rng: random.Random
    keyspace: Keyspace
    known: set = field(default_factory=set)  # ids whose keys clients have received
    origins: dict = field(default_factory=dict)
    endings: list = field(default_factory=list)
    log: list = field(default_factory=list)
    faults: list = field(default_factory=list)

    def new_id(self):
        return f"{self.rng.getrandbits(128):032x}"

    def field(self, id, name):
        # HGET through HMGET, as commands are read.
        value = self.raw("HGET", self.keyspace.session(id), name)
        return None if value is None else value.decode()

    def raw(self, *words):
        return self.run(words, lambda reply: reply)

    def step(self, asked):
        if isinstance(asked, Undoable):
            return self.step(asked.step)
        if isinstance(asked, GiveUp):
            raise SessionStoreUnavailable(asked.text)
        if isinstance(asked, Pause | Ended):
            return None
        if isinstance(asked, list):
            places = list(range(len(asked)))
            self.rng.shuffle(places)  # the order between nodes is not known
            answers = {place: self.command(asked[place]) for place in places}
            return [answers[place] for place in range(len(asked))]
        return self.command(asked)

    def command(self, command):
        return self.run(command.with_source, command.read)

    def complete(self, steps):
        try:
            asked = next(steps)
            while True:
                asked = steps.send(self.step(asked))
        except StopIteration as stop:
            return stop.value

    def is_alive(self, id):
        return self.field(id, "@created") is not None and self.field(id, "@user") == "1"

    def came_from(self, id, ids):
        while id is not None:
            if id in ids:
                return True
            id = self.origins.get(id)
        return False

    def spawn(self):
        rng, keyspace = self.rng, self.keyspace
        kind, new = rng.choice(KINDS), self.new_id()
        old = rng.choice(sorted(self.known)) if self.known else self.new_id()
        if kind == "create":
            return Actor(kind, layouts.create(keyspace, new, 1000, LOGIN), new=new)
        if kind == "cycle":
            self.origins[new] = old
            changes = rng.choice([VISIT, VISIT, VISIT, Changes(user="")])
            steps = layouts.cycle(keyspace, old, new, 1000, changes, rng.choice(["1", "1", ""]))
            return Actor(kind, steps, old, new)
        if kind == "beside":
            self.origins[new] = old
            steps = layouts.create_beside(keyspace, old, b"1", new, 1000, LOGIN)
            return Actor(kind, steps, old, new)
        if kind == "login":
            self.complete(layouts.create(keyspace, new, 1000, VISIT))
            return Actor(kind, layouts.save(keyspace, new, 1000, LOGIN), new=new)
        if kind == "end_all":
            alive = frozenset(id for id in self.known | set(self.origins) if self.is_alive(id))
            return Actor(kind, layouts.end_all(keyspace, "1"), alive=alive)
        steps = {
            "save": lambda: layouts.save(keyspace, old, 1000, VISIT),
            "longer": lambda: layouts.save(keyspace, old, rng.randint(1000, 9000), VISIT),
            "shorter": lambda: layouts.save(keyspace, old, rng.randint(20, 100), VISIT),
            "note": lambda: layouts.note(keyspace, old, {b"@ip": b"1"}),
            "increment": lambda: layouts.increment(keyspace, old, b"visits", 1),
            "delete": lambda: layouts.delete(keyspace, old),
            "end_many": lambda: layouts.end_many(keyspace, [old]),
        }[kind]()
        return Actor(kind, steps, old)

    def advance(self, actor):
        """``False`` once the request is over."""
        try:
            actor.asked = actor.steps.send(actor.answer)
            actor.answer = self.step(actor.asked)
        except StopIteration as stop:
            self.finish(actor, stop.value)
        except SessionStoreUnavailable:
            self.log.append(("503", actor.kind))
        else:
            return True
        return False

    def finish(self, actor, result):
        self.log.append((actor.kind, actor.old, actor.new, result))
        if actor.new and result and result is not Taken:
            self.known.add(actor.new)
        if actor.kind == "end_all":
            self.endings.append(actor.alive)
            self.check_endings()

    def check_endings(self):
        """What lived when an ending began, or came from it, is not known to a client and alive."""
        for ended in self.endings:
            self.faults += [
                ("alive", id, tuple(self.log))
                for id in self.known
                if self.came_from(id, ended) and self.is_alive(id)
            ]

    def play(self):
        rng, actors = self.rng, []
        for _ in range(rng.randint(1, 3)):
            id = self.new_id()
            self.complete(layouts.create(self.keyspace, id, 1000, LOGIN))
            self.known.add(id)
        left = rng.randint(2, 10)
        while left or actors:
            if left and (not actors or rng.random() < 0.4):
                actors.append(self.spawn())
                left -= 1
                continue
            actor = rng.choice(actors)
            if self.known and rng.random() < LAPSES:
                key = self.keyspace.session(rng.choice(sorted(self.known)))
                self.raw("EVAL", LAPSE, 1, key)
            if rng.random() < CRASHES:
                self.log.append(("crash", actor.kind, actor.old, actor.new))
                actors.remove(actor)
                actor.steps.close()
                if isinstance(actor.asked, Undoable) and rng.random() < 0.5:  # it was Redis
                    self.command(actor.asked.undo)
            elif not self.advance(actor):
                actors.remove(actor)
        self.check_endings()
        self.check_listings()
        if not {"crash", "503"} & {event for event, *_ in self.log}:
            self.check_members()
        return self.faults

    def check_listings(self):
        """
        Each session whose key a client has is listed for as long as it lives.

        Or a copy of it is listed, which leads to it: cycling crashed after it took too long.
        """
        copied = {old for new, old in self.origins.items() if self.field(new, "@former") == old}
        for id in self.known - copied:
            seconds, micros = self.raw("TIME")
            key = self.keyspace.session(id)
            left = self.raw("PTTL", key)
            created, user, until = self.raw("HMGET", key, "@created", "@user", "@listed")
            if created is None:
                continue
            latest = max(int(until or 0), int(seconds) * 1000 + int(micros) // 1000 + left) - 1
            names = [self.keyspace.index_of(id)]
            names += [self.keyspace.user(user.decode())] if user else []
            scores = {name: float(self.raw("ZSCORE", name, id) or 0) * 1000 for name in names}
            self.faults += [
                ("not listed", name, id, score, latest, tuple(self.log))
                for name, score in scores.items()
                if score < latest or left < 0
            ]

    def check_members(self):
        """If no request crashed or gave up, the indexes list sessions that exist, and no others."""
        for index in self.keyspace.indexes:
            halves = {f"{index}:anonymous": {b""}, f"{index}:signed-in": {b"1", b"2"}}
            for name, users in {index: {b"", b"1", b"2"}, **halves}.items():
                self.faults += [
                    ("not there", name, member.decode(), tuple(self.log))
                    for member in self.raw("ZRANGE", name, 0, -1)
                    if not self.is_there(member.decode(), users)
                ]

    def is_there(self, id, users):
        """Whether the session exists, and is that of one of ``users``."""
        created, user = self.raw("HMGET", self.keyspace.session(id), "@created", "@user")
        return created is not None and (user or b"") in users


def play(run, seed, keyspace):
    """The faults of the schedule ``seed``."""
    return Model(run, random.Random(seed), keyspace).play()
