"""
What ``EVENTS`` costs, and how soon another process hears that a session has ended.

    python -m benchmarks.events
    python -m benchmarks.events --ends 1000

Starts a server of its own. docs/events.md has the figures.
"""

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from statistics import median
from typing import Any

import redis
from django.conf import settings

from benchmarks import redis_server

# The pause between two ends, in seconds: each has to be heard by itself.
PAUSE = 0.01

# Log-outs of each kind, and sessions of a user that end together: as many as one step ends.
DELETIONS, TOGETHER = 5_000, 896
ROUNDS = 11
LISTENERS = (0, 1, 50)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--ends", type=int, default=200)
    parser.add_argument("--listen", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.listen:
        _configure(options.listen)
        _listen()
        return
    with redis_server.started() as url:
        _configure(url)
        print(redis_server.described(url))
        _measure_delays(url, options.ends)
        with redis.Redis.from_url(url) as client:
            _measure_server(client)


def _configure(url: str) -> None:
    settings.configure(SESSION_REDIS={"LOCATION": url, "EVENTS": True})


def _listen() -> None:
    """Print when each session was heard of: the clock is the same in all processes."""
    from sessions_redis import registry

    for ended in registry.ended():
        now = time.monotonic()
        print(json.dumps([getattr(ended, "id", None), now]), flush=True)


def _measure_delays(url: str, ends: int) -> None:
    from sessions_redis import registry

    command = [sys.executable, "-m", "benchmarks.events", "--listen", url]
    listener = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert listener.stdout is not None
    listener.stdout.readline()
    delays = []
    for id in [_session(str(number)) for number in range(ends)]:
        time.sleep(PAUSE)
        began = time.monotonic()
        registry.end(id)
        heard, at = json.loads(listener.stdout.readline())
        assert heard == id
        delays.append((at - began) * 1000)
    listener.terminate()
    listener.communicate()
    _say(f"from the call to the other process, median of {ends}", median(delays), "ms")
    _say("  the longest", max(delays), "ms")


def _session(user: str) -> str:
    from sessions_redis.engine import SessionStore
    from sessions_redis.storage.commands import session_id

    session = SessionStore()
    session["_auth_user_id"] = user
    session.create()
    return session_id(session.session_key)


def _measure_server(client: redis.Redis) -> None:
    from sessions_redis.storage.keyspaces import Keyspace

    for listeners in LISTENERS:
        for events in (False, True) if not listeners else (True,):
            keyspace = Keyspace("session", events=events)
            with _listening(client, keyspace.ended_channel, listeners):
                what = f"{listeners} listeners" if events else "EVENTS off"
                rounds = [_taken_by_deletions(client, keyspace) for _ in range(ROUNDS)]
                _say(f"processor: a log-out, {what}", median(rounds) * 1e6, "µs")
                rounds = [_taken_by_ending_all(client, keyspace) for _ in range(ROUNDS)]
                _say(f"processor: {TOGETHER} sessions at once, {what}", median(rounds) * 1e3, "ms")


@contextmanager
def _listening(client: redis.Redis, channel: str, listeners: int) -> Iterator[None]:
    """Connections that listen. Nobody reads: the kernel's buffers have room for what they get."""
    subscriptions = [client.pubsub() for _ in range(listeners)]
    for one in subscriptions:
        one.subscribe(channel)
    yield
    for one in subscriptions:
        one.close()


def _taken_by_deletions(client: redis.Redis, keyspace: Any) -> float:
    from sessions_redis.storage import commands

    ids = [_session(str(number)) for number in range(DELETIONS // ROUNDS)]
    sent = [commands.delete(keyspace, id) for id in ids]
    client.script_load(sent[0].source)
    before = _taken(client)
    for command in sent:
        client.execute_command(*command.parts)
    return (_taken(client) - before) / len(ids)


def _taken_by_ending_all(client: redis.Redis, keyspace: Any) -> float:
    from sessions_redis.storage import listings

    for _ in range(TOGETHER):
        _session("of one user")
    command = listings.end_all(keyspace, "of one user")
    client.script_load(command.source)
    before = _taken(client)
    ids, _, _ = client.execute_command(*command.parts)
    assert len(ids) == TOGETHER
    return _taken(client) - before


def _taken(client: redis.Redis) -> float:
    told = client.info("cpu")
    return float(told["used_cpu_user_main_thread"]) + float(told["used_cpu_sys_main_thread"])


def _say(what: str, figure: float, unit: str) -> None:
    print(f"{what:60}{figure:10,.2f} {unit}", flush=True)


if __name__ == "__main__":
    main()
