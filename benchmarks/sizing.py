"""
How large a server has to be: its memory and its processor's time, with a million sessions.

    python -m benchmarks.sizing
    python -m benchmarks.sizing --sessions 100000 --listpack 64

Starts servers of its own, one after the other, which need about 2 GB of memory for a million
sessions. It sends the commands of the engine for signed-in sessions of five entries, each of
another user, with address and user agent. docs/deployment.md has the figures.
"""

import argparse
import json
import time
from collections.abc import Callable
from itertools import count
from pathlib import Path
from random import Random

import redis

from benchmarks import redis_server
from benchmarks.contents import SIGNED_IN
from sessions_redis.storage import commands, scripts
from sessions_redis.storage.changes import Changes
from sessions_redis.storage.keyspaces import Keyspace
from sessions_redis.storage.steps import Command

SESSIONS = 1_000_000
LISTPACKS = (256, 64)
BATCH_SIZE = 1_000
LIFETIME = 14 * 86_400

# Commands of each kind, and how many clients wait for a reply at the same time: the server finds
# several commands each time it looks, as that of a busy site does.
OPERATIONS = 100_000
CONNECTIONS = 50

METADATA = {
    b"@ip": b"198.51.100.7",
    b"@agent": b"Mozilla/5.0 (X11; Linux x86_64; rv:132.0) Gecko/20100101 Firefox/132.0",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sessions", type=int, default=SESSIONS)
    parser.add_argument("--listpack", type=int, action="append")
    options = parser.parse_args()
    for listpack in options.listpack or LISTPACKS:
        for indexed in (True, False):
            _measure(Keyspace("session", indexed=indexed), listpack, options.sessions)


def _measure(keyspace: Keyspace, listpack: int, sessions: int) -> None:
    settings = ("--hash-max-listpack-value", str(listpack), "--enable-debug-command", "local")
    print(f"\n{sessions:,} sessions, hash-max-listpack-value {listpack}, INDEX {keyspace.indexed}")
    with (
        redis_server.started(*settings) as url,
        redis.Redis.from_url(url, socket_timeout=600) as client,
    ):
        print(f"  {redis_server.described(url)}")
        before = client.info("memory")["used_memory"]
        _fill(client, keyspace, sessions)
        memory = client.info("memory")
        _say("used_memory, for a session", (memory["used_memory"] - before) / sessions, "bytes")
        _say("used_memory_rss, for a session", memory["used_memory_rss"] / sessions, "bytes")
        own = client.memory_usage(keyspace.session(_id(1)), samples=0)
        _say("MEMORY USAGE of its own key", own, "bytes")
        _save(client, sessions)
        _operate(client, keyspace, sessions)


def _fill(client: redis.Redis, keyspace: Keyspace, sessions: int) -> None:
    """Create sessions with the engine's own command."""
    for start in range(0, sessions, BATCH_SIZE):
        pipeline = client.pipeline(transaction=False)
        for number in range(start, min(start + BATCH_SIZE, sessions)):
            command = _created(keyspace, number)
            pipeline.execute_command(*(command.with_source if number == 0 else command.parts))
        assert set(pipeline.execute()) == {1}


def _id(number: int) -> str:
    """An ID that starts with any of the digits, as IDs do."""
    return f"{number % 16:x}{number:031}"


def _created(keyspace: Keyspace, number: int) -> Command[bool]:
    user = str(100_000 + number)
    entries = SIGNED_IN["small"] | {"_auth_user_id": user}
    written = {key.encode(): json.dumps(value).encode() for key, value in entries.items()}
    changes = Changes(written | METADATA, user=user)
    return commands.create(keyspace, _id(number), LIFETIME, changes)


def _save(client: redis.Redis, sessions: int) -> None:
    """How large a snapshot is, and how long the server takes to write and to load it."""
    begun = time.monotonic()
    client.save()
    saved = time.monotonic() - begun
    names = client.config_get("dir", "dbfilename")
    size = Path(names["dir"], names["dbfilename"]).stat().st_size
    _say("snapshot, for a session", size / sessions, "bytes")
    _say("time to write the snapshot", saved, "s")
    begun = time.monotonic()
    client.execute_command("DEBUG", "RELOAD", "NOSAVE")
    _say("time to load it", time.monotonic() - begun, "s")


def _operate(client: redis.Redis, keyspace: Keyspace, sessions: int) -> None:
    random, following = Random(1), count(sessions)
    order = random.sample(range(sessions), min(OPERATIONS, sessions))
    changed = Changes({b"color": b'"blue"'})

    for script in (scripts.SAVE, scripts.NOTE, scripts.CREATE, scripts.DELETE):
        client.script_load(script.text)

    def any_id() -> str:
        return _id(random.randrange(sessions))

    _say_taken(client, "load", lambda: commands.load(keyspace, any_id()))
    _say_taken(client, "save", lambda: commands.save(keyspace, any_id(), LIFETIME, changed))
    _say_taken(client, "note that a session was read", lambda: commands.note(keyspace, any_id()))
    _say_taken(client, "create", lambda: _created(keyspace, next(following)))
    ids = map(_id, order)
    _say_taken(client, "delete", lambda: commands.delete(keyspace, next(ids)), len(order))


def _say_taken(
    client: redis.Redis,
    name: str,
    command: Callable[[], Command[object]],
    operations: int = OPERATIONS,
) -> None:
    """The processor time of the server for a command that many clients send."""
    connections = [client.connection_pool.get_connection() for _ in range(CONNECTIONS)]
    before = _taken(client)
    for _ in range(operations // CONNECTIONS):
        for connection in connections:
            connection.send_command(*command().parts)
        for connection in connections:
            connection.read_response()
    taken = (_taken(client) - before) / operations
    for connection in connections:
        client.connection_pool.release(connection)
    _say(f"processor: {name}", taken * 1e6, "µs")


def _taken(client: redis.Redis) -> float:
    told = client.info("cpu")
    return float(told["used_cpu_user_main_thread"]) + float(told["used_cpu_sys_main_thread"])


def _say(what: str, figure: float, unit: str) -> None:
    print(f"  {what:40}{figure:12,.1f} {unit}", flush=True)


if __name__ == "__main__":
    main()
