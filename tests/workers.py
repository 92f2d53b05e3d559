"""
Jobs for races. Each runs in a process of its own: ``python -m tests.workers <job> <arguments>``.

A worker prints ``ready`` when it is prepared, and waits for a line before it begins. So all workers
of a race begin together. A job prepares itself before its first ``yield``. Its result is printed as
JSON.
"""

import json
import os
import random
import subprocess
import sys
from collections.abc import Callable, Generator
from inspect import isgeneratorfunction
from typing import Any

from tests.raw import client_at

JOBS: dict[str, Callable[..., Any]] = {}


def job(function: Callable[..., Any]) -> Callable[..., Any]:
    JOBS[function.__name__] = function
    return function


class Worker:
    """A process that runs one job."""

    def __init__(self, session_redis: dict, job: str, **arguments: Any) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.workers", job, json.dumps(arguments)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "WORKER_SESSION_REDIS": json.dumps(session_redis)},
        )

    def end(self) -> None:
        self.process.kill()
        self.process.communicate()

    def wait_ready(self) -> None:
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == "ready\n"

    def begin(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write("begin\n")
        self.process.stdin.flush()

    def result(self) -> Any:
        out, _ = self.process.communicate(timeout=120)
        assert self.process.returncode == 0
        return json.loads(out)


def race(workers: list[Worker]) -> list[Any]:
    """Let all workers begin together, and return the result of each."""
    for worker in workers:
        worker.wait_ready()
    for worker in workers:
        worker.begin()
    return [worker.result() for worker in workers]


def wait_for_turn(client: Any, turns: str, session_key: str) -> None:
    """Return when the other worker announces that it uses this session next."""
    turn = None
    while turn != session_key:
        turn = client.blpop([turns], timeout=30)[1].decode()


@job
def write_entries(session_key: str, name: str, times: int) -> int:
    """Make so many requests, each of which sets an entry of its own in one session."""
    from sessions_redis.engine import SessionStore

    for number in range(times):
        session = SessionStore(session_key)
        session[f"{name}-{number}"] = number
        session.save()
    return times


@job
def visit_through_phases(
    session_keys: list[str], name: str, phases: str, url: str
) -> dict[str, int]:
    """
    Visit sessions at random, and write an entry of this worker's own, until the last phase.

    Redis holds the settings of each phase. For each, this counts its visits in Redis.
    """
    from django.test import override_settings

    from sessions_redis.engine import SessionStore

    rng, wrote = random.Random(name), dict.fromkeys(session_keys, 0)
    result = {"visits": 0, "signed out": 0, "lost": 0}
    with client_at(url) as client:
        while (phase := client.llen(phases)) and (found := client.lindex(phases, -1)) != b"end":
            with override_settings(SESSION_REDIS=json.loads(found)):
                for _ in range(5):
                    session_key = rng.choice(session_keys)
                    session = SessionStore(session_key)
                    result["visits"] += 1
                    result["signed out"] += session.get("_auth_user_id") != "7"
                    result["lost"] += session.get(name, 0) != wrote[session_key]
                    session[name] = wrote[session_key] = wrote[session_key] + 1
                    session.save()
            client.incr(f"{phases}-{phase}-{name}")
    return result


@job
def save_unchanged(session_key: str, times: int) -> int:
    """Save a session so often without a change. Returns how many of the saves were sent."""
    from sessions_redis.engine import SessionStore

    sent = 0
    for _ in range(times):
        session = SessionStore(session_key)
        session.get("color")
        session.save()
        sent += session._has_written
    return sent


@job
def begin_anew(session_key: str, times: int) -> str:
    """Sign in so often under this key, as ``login()`` tells it. Returns the last end in Redis."""
    from django.contrib.auth.models import User
    from django.contrib.auth.signals import user_logged_in
    from django.http import HttpRequest

    from sessions_redis.engine import SessionStore

    user_logged_in.disconnect(dispatch_uid="update_last_login")  # this process has no database
    request, end = HttpRequest(), ""
    for _ in range(times):
        request.session = session = SessionStore(session_key)
        session.get("color")
        user_logged_in.send(User, request=request, user=User())
        session.save()
        stored = session.inspect()
        assert stored is not None
        end = max(end, stored.fields["@ends"])
    return end


@job
def sign_in(user: str, times: int) -> list[str]:
    """Let a user sign in so often. Returns the session keys."""
    from sessions_redis.engine import SessionStore

    keys = []
    for _ in range(times):
        session = SessionStore()
        session["_auth_user_id"] = user
        session.save()
        keys.append(session.session_key)
    return keys


@job
def end_all(user: str, times: int) -> int:
    """End all sessions of a user again and again. Returns how many ended."""
    from sessions_redis import registry

    return sum(registry.end_all_of(user) for _ in range(times))


@job
def end_each(ids: list[str], reason: str) -> int:
    """End these sessions, one after the other. Returns how many there were."""
    from sessions_redis import registry

    return sum(registry.end(id, reason=reason) for id in ids)


@job
def increment_entry(session_key: str, times: int) -> int:
    from sessions_redis.engine import SessionStore

    for _ in range(times):
        SessionStore(session_key).increment("counter")
    return times


@job
def change_entries(session_key: str, name: str, times: int) -> None:
    """Append to a list, update an entry, and count with the session locked, so often each."""
    from sessions_redis.engine import SessionStore

    kept = SessionStore(session_key)
    for number in range(times):
        SessionStore(session_key).append("items", f"{name}-{number}")
        kept.update_entry("total", lambda total: {"times": total["times"] + 1}, {"times": 0})
        with SessionStore(session_key).lock(wait=100) as session:
            session["count"] = session.get("count", 0) + 1


@job
def hold_lock(session_key: str, timeout: float) -> None:  # pragma: no cover - it is killed
    """Take the lock of a session, and keep it until the process is killed."""
    import time

    from sessions_redis.engine import SessionStore

    with SessionStore(session_key).lock(timeout=timeout):
        time.sleep(600)


@job
def fill(session_key: str, name: str, size: int) -> int:
    """Add entries of so many bytes to a session until it is full. Returns how many."""
    from sessions_redis.engine import SessionStore
    from sessions_redis.exceptions import SessionTooLarge

    number = 0
    while True:
        session, key = SessionStore(session_key), f"{name}-{number}"
        session[key] = "x" * (size - len(key) - 2)
        try:
            session.save()
        except SessionTooLarge:
            return number
        number += 1


@job
def cycle_with_codes(session_keys: list[str], times: int) -> Generator[None, None, int]:
    """Cycle each session so often, with entries that expire at about the same time."""
    from sessions_redis.engine import SessionStore

    chance = random.Random(os.getpid())
    sessions = [SessionStore(session_key) for session_key in session_keys]
    for session in sessions:
        session["number"] = None  # loads it, and asks whether entries can expire
        session.set("code", [], expires_in=0.1)
    yield
    for session in sessions:
        for number in range(times):
            code = f"code-{number}"
            session.set(code, [number], expires_in=chance.uniform(0.001, 0.02))
            session.cycle_key()
            session[code].append("changed in place")
            session["number"] = number
            session.save()
    return times


@job
def save_until_gone(session_keys: list[str], turns: str, url: str) -> dict[str, int]:
    """Save each session repeatedly until it is gone, and announce each one when its turn begins."""
    from django.contrib.sessions.backends.base import UpdateError

    from sessions_redis.engine import SessionStore

    saved = refused = 0
    with client_at(url) as client:
        for session_key in session_keys:
            session = SessionStore(session_key)
            session.load()
            try:
                while True:
                    session["saved"] = saved
                    session.save()
                    saved += 1
                    client.rpush(turns, session_key)
            except UpdateError:
                refused += 1
    return {"saved": saved, "refused": refused}


@job
def delete_when_told(session_keys: list[str], turns: str, url: str) -> int:
    """Delete each session while the other worker saves it."""
    from sessions_redis.engine import SessionStore

    with client_at(url) as client:
        for session_key in session_keys:
            wait_for_turn(client, turns, session_key)
            SessionStore(session_key).delete()
    return len(session_keys)


@job
def end_when_told(session_keys: list[str], turns: str, url: str) -> int:
    """End each session through the registry while the other worker saves it."""
    from sessions_redis import registry
    from sessions_redis.storage.commands import session_id

    with client_at(url) as client:
        for session_key in session_keys:
            wait_for_turn(client, turns, session_key)
            assert registry.end(session_id(session_key))
    return len(session_keys)


@job
def cycle_until_gone(session_keys: list[str], turns: str, url: str) -> int:
    """Give each session new keys until it is gone. Returns how often."""
    from django.contrib.sessions.backends.base import UpdateError

    from sessions_redis.engine import SessionStore

    moves = 0
    with client_at(url) as client:
        for session_key in session_keys:
            session = SessionStore(session_key)
            session.get("_auth_user_id")
            try:
                while True:
                    session.cycle_key()
                    moves += 1
                    client.rpush(turns, session_key)
            except UpdateError:
                pass
    return moves


@job
def end_all_when_told(session_keys: list[str], turns: str, url: str) -> list[int]:
    """End all sessions of each session's user while the other worker cycles that session."""
    from sessions_redis import registry

    ended = []
    with client_at(url) as client:
        for number, session_key in enumerate(session_keys):
            wait_for_turn(client, turns, session_key)
            ended.append(registry.end_all_of(number))
    return ended


@job
def cycle_until_ended(session_key: str, told: str, url: str) -> tuple[int, str | None]:
    """
    Give a session new keys until it is ended, or until the key ``told`` exists.

    Returns how often, and the session's last key, or None if it was ended.
    """
    from django.contrib.sessions.backends.base import UpdateError

    from sessions_redis.engine import SessionStore

    moves = 0
    with client_at(url) as client:
        session = SessionStore(session_key)
        session.get("_auth_user_id")
        while not client.exists(told):
            try:
                session.cycle_key()
            except UpdateError:
                return moves, None
            moves += 1
            client.incr(f"{told}-moves")
    return moves, session.session_key


@job
def sign_in_until_told(user: str, told: str, url: str) -> int:
    """Start sessions of ``user`` one after the other until told to stop. Returns how many."""
    from sessions_redis.engine import SessionStore

    started = 0
    with client_at(url) as client:
        while not client.exists(told):
            session = SessionStore()
            session["_auth_user_id"] = user
            session.create()
            started += 1
    return started


@job
def cycle(session_keys: list[str]) -> Generator[None, None, list[str | None]]:
    """Cycle each session, which was loaded before. Returns their new keys."""
    from sessions_redis.engine import SessionStore

    loaded = [SessionStore(session_key) for session_key in session_keys]
    for session in loaded:
        session.get("color")
    yield
    for session in loaded:
        session.cycle_key()
    return [session.session_key for session in loaded]


@job
def log_in(user: str, times: int) -> None:  # pragma: no cover - it may be killed
    """
    Sign in as many times, as Django's ``login()`` does, and print each key that a client gets.

    When Redis fails, the visitor tries again.
    """
    import time

    from sessions_redis.engine import SessionStore
    from sessions_redis.exceptions import SessionStoreUnavailable

    done = 0
    while done < times:
        session = SessionStore()
        try:
            if done % 2:  # the visitor was there before
                session["cart"] = [1, 2, 3]
                session.save()
            session["_auth_user_id"] = user
            session.cycle_key()
            session["last"] = done
            session.save()
        except SessionStoreUnavailable:
            time.sleep(0.01)
            continue
        done += 1
        print(session.session_key, flush=True)


class Diary:
    """
    What happened to the sessions of one worker, line by line in a file that others read meanwhile.

    Times are those of `time.monotonic`, which all processes of a machine share.
    """

    def __init__(self, folder: str, name: str) -> None:
        from pathlib import Path

        self.over = Path(folder, "over")
        self.file = Path(folder, f"{name}.diary").open("w", encoding="ascii")  # noqa: SIM115

    def received(
        self, key: str | None, user: str, parent: str | None = None, *, is_second: bool = False
    ) -> None:
        """
        A client received this key, of a session of ``user``, which came from ``parent``.

        ``is_second``: it may be a second session, beside the one that came from ``parent`` before.
        """
        self._write(key=key, user=user, parent=parent, is_second=is_second)

    def leaves(self, key: str | None) -> None:
        """This session is about to be given to another user."""
        self._write(key=key, user=None, parent=None, is_second=False)

    def _write(self, **line: Any) -> None:
        import time

        self.file.write(json.dumps({"at": time.monotonic(), **line}) + "\n")
        self.file.flush()


@job
def live(users: list[str], folder: str, name: str, seed: int) -> int:
    """
    Sign in, cycle, save and change users at random until the test is over.

    Returns how many sessions were refused, because they had been ended.
    """
    import time

    from django.contrib.sessions.backends.base import UpdateError

    from sessions_redis.engine import SessionStore

    def sign_in(user: str) -> None:
        session = SessionStore()
        if chance.random() < 0.5:  # the visitor was there before
            session["cart"] = [1, 2, 3]
            session.save()
        session["_auth_user_id"] = user
        session.cycle_key()
        diary.received(session.session_key, user)
        sessions.append(session)

    def cycle(session: SessionStore, *, is_second: bool = False) -> None:
        parent = session.session_key
        session.cycle_key()
        user = session["_auth_user_id"]
        diary.received(session.session_key, user, parent, is_second=is_second)

    def click_twice(session: SessionStore) -> None:
        late = SessionStore(session.session_key)
        if late.get("_auth_user_id"):  # pragma: no branch - it may have been ended
            cycle(session)
            cycle(late, is_second=True)
            sessions.append(late)

    def save(session: SessionStore) -> None:
        session["saved"] = chance.random()
        session.save()

    def change_user(session: SessionStore) -> None:
        diary.leaves(session.session_key)
        session["_auth_user_id"] = chance.choice(users)
        session.save()
        diary.received(session.session_key, session["_auth_user_id"])

    chance, diary, refused = random.Random(seed), Diary(folder, name), 0
    sessions: list[SessionStore] = []
    with diary.file:
        while not diary.over.exists():
            if len(sessions) < 5:
                sign_in(chance.choice(users))
            session = chance.choice(sessions)
            act = chance.choice([cycle, cycle, cycle, click_twice, save, change_user])
            try:
                act(session)
            except UpdateError:
                refused += 1
                sessions.remove(session)
            sessions[20:] = []
            time.sleep(0.002)  # the test looks at all of them
    return refused


REFUSED = 9


@job
def sign_in_at_once(user: str, processes: int) -> Generator[None, None, dict[str, int]]:
    """
    Let so many processes sign in a user at the same moment, each in a browser that it had before.

    Returns how many were signed in, and how many were refused.
    """
    (told, tell), (ready, say_ready) = os.pipe(), os.pipe()
    children = []
    for _ in range(processes):
        child = os.fork()
        if not child:  # pragma: no cover - it exits at once
            os.close(tell)
            _sign_in_when_told(user, told, say_ready)
        children.append(child)
    for _ in children:
        assert os.read(ready, 1)
    yield
    os.close(tell)
    codes = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
    assert {*codes} <= {0, REFUSED}
    return {"signed in": codes.count(0), "refused": codes.count(REFUSED)}


def _sign_in_when_told(user: str, told: int, say_ready: int) -> None:  # pragma: no cover
    from sessions_redis.engine import SessionStore
    from sessions_redis.exceptions import SessionLimitReached

    code = 1
    try:
        session = SessionStore()
        session["cart"] = ["pears"]
        session.create()
        session.cycle_key()
        os.write(say_ready, b".")
        os.read(told, 1)  # returns at its end, when all begin
        session["_auth_user_id"] = user
        try:
            session.save()
            code = 0
        except SessionLimitReached:
            code = REFUSED
    finally:
        os._exit(code)


# ARGV: what the sessions' names start with, the user. Returns how many live sessions have this user
# at one moment.
COUNT_LIVE = """
local count = 0
for _, key in ipairs(redis.call('KEYS', ARGV[1] .. ':*')) do
  if redis.call('TYPE', key).ok == 'hash' then
    local found = redis.call('HMGET', key, '@created', '@user')
    if found[1] and found[2] == ARGV[2] then count = count + 1 end
  end
end
return count
"""


@job
def watch(prefix: str, user: str, told: str, url: str) -> Generator[None, None, dict[str, int]]:
    """Count the live sessions of a user until told to stop. Returns how often, and the most."""
    with client_at(url) as client:
        count = client.register_script(COUNT_LIVE)
        most, times = count(args=[prefix, user]), 1
        yield
        while not client.exists(told):
            most, times = max(most, count(args=[prefix, user])), times + 1
    return {"most": most, "times": times}


# How many writes the jobs below do before they report, and after they were told to stop.
SOME_WRITES = 20


class Progress:
    """The writes that Redis acknowledged. Files in ``folder`` report to the test and back."""

    def __init__(self, folder: str, name: str) -> None:
        from pathlib import Path

        self.begun, self.over = Path(folder, f"{name}-begun"), Path(folder, "over")
        self.acknowledged: list[int] = []
        self.failed = self.after = 0

    def goes_on(self) -> bool:
        """Whether to write again. After the end, some more writes have to succeed in a row."""
        if len(self.acknowledged) == SOME_WRITES:
            self.begun.touch()
        return self.after < SOME_WRITES

    def wrote(self, number: int) -> None:
        self.acknowledged.append(number)
        self.after += self.over.exists()

    def failure(self) -> None:
        self.failed += 1
        self.after = 0


@job
def write_through_failover(session_key: str, folder: str, name: str) -> dict[str, Any]:
    """Set one more entry in each request, until the test is over."""
    import time

    from sessions_redis.engine import SessionStore
    from sessions_redis.exceptions import SessionStoreUnavailable

    progress, number = Progress(folder, name), 0
    while progress.goes_on():
        number += 1
        try:
            session = SessionStore(session_key)
            session[f"write-{number}"] = number
            session.save()
            progress.wrote(number)
        except SessionStoreUnavailable:
            progress.failure()
            time.sleep(0.02)
    return {"acknowledged": progress.acknowledged, "failed": progress.failed}


@job
def awrite_through_failover(session_key: str, folder: str, name: str) -> dict[str, Any]:
    """As `write_through_failover`, in an event loop."""
    import asyncio

    from sessions_redis.engine import SessionStore
    from sessions_redis.exceptions import SessionStoreUnavailable

    async def write() -> None:
        number = 0
        while progress.goes_on():
            number += 1
            try:
                session = SessionStore(session_key)
                await session.aset(f"write-{number}", number)
                await session.asave()
                progress.wrote(number)
            except SessionStoreUnavailable:
                progress.failure()
                await asyncio.sleep(0.02)

    progress = Progress(folder, name)
    asyncio.run(write())
    return {"acknowledged": progress.acknowledged, "failed": progress.failed}


@job
def churn(seed: int) -> None:  # pragma: no cover - it is killed, and coverage with it
    """Do all operations that write, in random order, until killed."""
    from sessions_redis.engine import SessionStore

    chance = random.Random(seed)
    session = SessionStore()
    while True:
        action = chance.choice(["create", "write", "login", "logout", "cycle", "flush", "expire"])
        if action == "create" or session.session_key is None:
            session = SessionStore()
            session["color"] = "red"
            session.save()
        elif action == "write":
            session[f"entry-{chance.randrange(9)}"] = "x" * chance.randrange(200)
            session.save()
        elif action == "login":
            session["_auth_user_id"] = str(chance.randrange(5))
            session.save()
        elif action == "logout":
            session.pop("_auth_user_id", None)
            session.save()
        elif action == "cycle":
            session.cycle_key()
        elif action == "flush":
            session.flush()
        else:
            session.set_expiry(chance.randrange(1, 100))
            session.save()
            session.increment("counter")


@job
def visit_first(session_keys: list[str], site: dict[str, Any], threads: int) -> Any:
    """Load each session in so many threads at once. Returns what each thread got."""
    from threading import Barrier, Thread

    from django.db import connection

    from tests.next_engines import use

    use(site)
    from sessions_redis.moving_out import SessionStore

    together, loaded = Barrier(threads), []

    def visit() -> None:
        together.wait(60)
        for session_key in session_keys:
            session = SessionStore(session_key)
            entries = dict(session.items())
            loaded.append([session.session_key, entries])
        connection.close()

    SessionStore("warms the connections up").load()
    yield
    all_threads = [Thread(target=visit) for _ in range(threads)]
    for thread in all_threads:
        thread.start()
    for thread in all_threads:
        thread.join()
    return loaded


@job
def sign_out_at_random(session_keys: list[str], site: dict[str, Any], seed: int) -> Any:
    """Load and end sessions in random order. Returns the keys of those that this has ended."""
    from tests.next_engines import use

    use(site)
    from sessions_redis.moving_out import SessionStore

    SessionStore("warms the connections up").load()
    yield
    ended = []
    for session_key in random.Random(seed).sample(session_keys, len(session_keys)):
        session = SessionStore(session_key)
        if session.get("color"):
            session.flush()
            ended.append(session_key)
    return ended


@job
def die_while_moving(session_key: str, site: dict[str, Any]) -> None:  # pragma: no cover
    """Load a session. The database kills this process when it has committed it."""
    import signal

    from django.contrib.sessions.models import Session
    from django.db import transaction
    from django.db.models.signals import post_save

    from tests.next_engines import use

    def die(**kwargs: Any) -> None:
        transaction.on_commit(lambda: os.kill(os.getpid(), signal.SIGKILL))

    use(site)
    post_save.connect(die, sender=Session)
    from sessions_redis.moving_out import SessionStore

    SessionStore(session_key).load()


@job
def visit_and_sign_out(session_key: str, site: dict[str, Any]) -> list[Any]:
    """Load a session, change it, load it again, end it, and load it again. What was loaded."""
    from tests.next_engines import use

    use(site)
    from sessions_redis.moving_out import SessionStore

    session = SessionStore(session_key)
    before = dict(session.items())
    session["color"] = "blue"
    session.save()
    session = SessionStore(session_key)
    changed = dict(session.items())
    session.flush()
    return [before, changed, dict(SessionStore(session_key).items())]


def main() -> None:
    import django
    from django.conf import settings

    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.settings")
    django.setup()
    settings.SESSION_REDIS = json.loads(os.environ["WORKER_SESSION_REDIS"])
    serializer = os.environ.get("WORKER_SESSION_SERIALIZER", settings.SESSION_SERIALIZER)
    settings.SESSION_SERIALIZER = serializer
    name, arguments = sys.argv[1:]
    from sessions_redis.engine import SessionStore

    SessionStore().exists("warms the connection up")
    work = steps_of(JOBS[name], **json.loads(arguments))
    next(work)
    print("ready", flush=True)
    sys.stdin.readline()
    try:
        next(work)
    except StopIteration as done:
        print(json.dumps(done.value))


def steps_of(job: Callable[..., Any], **arguments: Any) -> Generator[None, None, Any]:
    if isgeneratorfunction(job):
        return (yield from job(**arguments))
    yield
    return job(**arguments)


if __name__ == "__main__":
    main()
