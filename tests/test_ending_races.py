"""
What `end_all_of` promises, while several processes sign in, cycle, save and change users.

When it returns, no session is alive that its user had when it began, or that came from one of these
by cycling. None of them comes back later.
"""

import json
import os
from collections import defaultdict

import pytest

from sessions_redis import registry
from sessions_redis.engine import SessionStore
from tests.servers import wait_until
from tests.topologies import delete_all, on, prefix, session_redis, topologies  # noqa: F401
from tests.workers import Worker

pytestmark = pytest.mark.topology

server = on("cluster", with_all=("slot", "cluster-tag"))

# To see more: ENDINGS=1000
ENDINGS = int(os.environ.get("ENDINGS", "40"))
PROCESSES = 3
USERS = ["1", "2"]

# Later than any event: whom a session is given to does not matter.
ANY_USER = float("inf")

# So many things happen at least between two endings.
EVENTS = 10


class Diaries:
    """What the workers have written down by now."""

    def __init__(self, folder):
        self.folder = folder
        self.user_since = defaultdict(list)  # by key: (number of the event, user), in order
        self.copies = defaultdict(set)  # by key: the keys of sessions that came from it
        self.second = set()  # keys of sessions that may have begun beside another one
        self.dead = set()  # keys that were looked at before, and are looked at again in the end
        self.events = 0
        self._read = defaultdict(int)  # how much, by file

    def read(self):
        for path in self.folder.glob("*.diary"):
            with path.open("rb") as file:
                file.seek(self._read[path])
                text, _, _ = file.read().rpartition(b"\n")  # the rest is being written
            self._read[path] += len(text) + 1 if text else 0
            for line in text.splitlines():
                self._note(**json.loads(line))
        return self.events

    def _note(self, at, key, user, parent, is_second):
        self.events += 1
        if is_second:
            self.second.add(key)
        self.user_since[key].append((self.events, user))
        if parent:
            self.copies[parent].add(key)

    def had(self, user):
        """The keys of sessions that ``user`` has, as far as the diaries were read."""
        last = {key: history[-1] for key, history in self.user_since.items()}
        return {key for key, (_, owner) in last.items() if owner == user and key not in self.dead}

    def descent(self, keys, at):
        """
        ``keys``, and those of all copies.

        It leaves out sessions that were given to another user after the event ``at``, and their
        copies. A worker writes that down before it does it, but the time may pass in between, so
        the order in which the diaries were read decides.

        ``at``: `ANY_USER` if all sessions were ended. Then it leaves out second sessions: they
        begin anew.
        """
        found, asked = set(), [key for key in keys if not self._left(key, at)]
        while asked:
            key = asked.pop()
            found.add(key)
            copies = self.copies[key] - found
            if at == ANY_USER:
                asked += copies - self.second
            else:
                asked += {copy for copy in copies if not self._left(copy, 0)}
        return found

    def _left(self, key, at):
        return any(user is None and since > at for since, user in self.user_since[key])


def alive(diaries, ended):
    """The keys of sessions that should have ended, and live. ``ended``: keys, and a time."""
    diaries.read()
    asked = {key for keys, at in ended for key in diaries.descent(keys, at)}
    live = {key for key in sorted(asked) if SessionStore().exists(key)}
    diaries.dead |= asked - live
    diaries.read()  # a session may be given to another user meanwhile
    return live & {key for keys, at in ended for key in diaries.descent(keys, at)}


@pytest.mark.parametrize(
    ("shards", "of_all", "endings"),
    [(1, False, ENDINGS), (16, False, ENDINGS), (16, True, ENDINGS // 8)],
)
def test_nothing_of_before_is_alive(
    settings,
    session_redis,  # noqa: F811
    tmp_path,
    shards,
    of_all,
    endings,
):
    settings.SESSION_REDIS = {**session_redis, "INDEX_SHARDS": shards}
    diaries, ended, count, checked = Diaries(tmp_path), [], 0, 0
    workers = [
        Worker(
            settings.SESSION_REDIS,
            "live",
            users=USERS,
            folder=str(tmp_path),
            name=f"worker-{number}",
            seed=number,
        )
        for number in range(PROCESSES)
    ]
    try:
        for worker in workers:
            worker.wait_ready()
        for worker in workers:
            worker.begin()
        for number in range(endings):
            more = diaries.read() + EVENTS
            wait_until(lambda more=more: diaries.read() >= more, "the workers go on", 60)
            user, last = USERS[number % len(USERS)], diaries.read()
            before = (diaries.had(user), last)
            if of_all:
                before = (diaries.had(USERS[0]) | diaries.had(USERS[1]), ANY_USER)
            count += registry.end_all() if of_all else registry.end_all_of(user)
            assert alive(diaries, [before]) == set()
            ended.append(before)
            checked += len(before[0])
        (tmp_path / "over").touch()
        refused = sum(worker.result() for worker in workers)
    finally:
        for worker in workers:
            worker.end()
    assert alive(diaries, ended) == set()
    assert registry.count() == sum(SessionStore().exists(key) for key in diaries.user_since)
    print(f"{endings} endings of {checked} sessions or more: {count} ended, {refused} refused")
    assert count >= endings
    assert refused > 0
