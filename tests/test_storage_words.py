"""What people see of a command: its name and its keys, without entries and values."""

import pytest

from sessions_redis.storage import commands, listings, probes, samples, servers
from sessions_redis.storage.changes import Changes
from sessions_redis.storage.keyspaces import Keyspace

KEYSPACE = Keyspace("shop")
ID, OTHER = "a" * 32, "b" * 32
CHANGES = Changes({b"color": b'"red"'}, user="7")

SESSION, INDEX = f"shop:{ID}", "shop:index"
NEW = f"shop:{OTHER}"

SEEN = [
    (commands.load(KEYSPACE, ID), "HGETALL", [SESSION]),
    (commands.exists(KEYSPACE, ID), "HEXISTS", [SESSION]),
    (commands.create(KEYSPACE, ID, 60, CHANGES), "EVALSHA create", [SESSION, INDEX]),
    (commands.save(KEYSPACE, ID, 60, CHANGES), "EVALSHA save", [SESSION, INDEX]),
    (commands.save(KEYSPACE, ID, 0, CHANGES), "EVALSHA expire", [SESSION, INDEX]),
    (commands.save(Keyspace("shop", indexed=False), ID, 60, CHANGES), "EVALSHA save", [SESSION]),
    (commands.cycle(KEYSPACE, ID, OTHER, 60, CHANGES), "EVALSHA cycle", [SESSION, NEW, INDEX]),
    (
        commands.create_beside(KEYSPACE, ID, b"7", OTHER, 60, CHANGES),
        "EVALSHA create_beside",
        [NEW, INDEX],
    ),
    (commands.delete(KEYSPACE, ID), "EVALSHA delete", [SESSION, INDEX]),
    (commands.note(KEYSPACE, ID), "EVALSHA note", [SESSION, INDEX]),
    (commands.bind(KEYSPACE, ID, {b"@ip": b"::1"}), "EVALSHA bind", [SESSION]),
    (commands.increment(KEYSPACE, ID, b"color", 1), "EVALSHA increment", [SESSION]),
    (commands.inspect(KEYSPACE, ID), "EVALSHA inspect", [SESSION]),
    (listings.end_all(KEYSPACE, "7"), "EVALSHA end_all", ["shop:user:7", INDEX]),
    (listings.trim(INDEX), "EVALSHA trim", [INDEX]),
    (listings.first(INDEX, 0, 1, 9, latest_first=True), "ZREVRANGEBYSCORE", [INDEX]),
    (listings.first(INDEX, 0, 1, 9, latest_first=False), "ZRANGEBYSCORE", [INDEX]),
    (listings.starting_with(INDEX, "ab", 0), "ZSCAN", [INDEX]),
    (listings.metadata(KEYSPACE, ID), "HMGET", [SESSION]),
    (listings.sample(INDEX, 9), "ZRANDMEMBER", [INDEX]),
    (listings.memory(KEYSPACE, ID), "MEMORY", [SESSION]),
    (listings.session_ids(KEYSPACE, 0), "SCAN", []),
    (listings.keys(), "DBSIZE", []),
    (listings.now(), "TIME", []),
    (servers.memory(), "INFO", []),
    (servers.save_points(), "CONFIG", []),
    (samples.encoding(SESSION), "OBJECT", [SESSION]),
    (samples.size(SESSION), "MEMORY", [SESSION]),
    (commands.wait(1, 500), "WAIT", []),
    *((command, command.parts[0], []) for command in probes.runs_scripts()),
]


@pytest.mark.parametrize(("command", "name", "keys"), SEEN)
def test_name_and_keys(command, name, keys):
    """The name of a script is that of its file."""
    assert command.name == name
    assert list(command.keys) == keys
