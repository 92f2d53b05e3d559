"""What servers say of themselves, as this is read. No server is needed."""

import pytest

from sessions_redis.storage import servers
from sessions_redis.storage.replies import WrongShape
from sessions_redis.storage.servers import Identity, Memory, Persistence, Primary, Refusal

# What INFO server has, in the order in which each server writes it. The comments in front and the
# fields that nobody reads are left out.
IDENTITIES = {
    "Redis 7.0.15": ["redis_version:7.0.15", "gcc_version:12.2.0", "executable:/bin/redis-server"],
    "Redis 8.10.1": ["redis_version:8.10.1", "uptime_in_seconds:7"],
    "Valkey 9.1.2": [
        "redis_version:7.2.4", "server_name:valkey", "valkey_version:9.1.2", "gcc_version:14.2.1",
    ],
    "Dragonfly df-v1.34.1": ["redis_version:7.4.0", "dragonfly_version:df-v1.34.1"],
    "KeyDB 6.3.4": ["redis_version:6.3.4", "executable:/usr/bin/keydb-server"],
    "Garnet 1.0.44": ["garnet_version:1.0.44", "redis_version:7.4.3"],
    "Upstash 1.12": ["upstash_version:1.12", "redis_version:6.2.6"],
}  # fmt: skip


def info(*lines):
    return "\r\n".join(("# Section", *lines, "")).encode()


@pytest.mark.parametrize("name", IDENTITIES)
def test_the_server_is_named(name):
    """A server that names itself is not taken for the Redis that it is compatible with."""
    found = servers.identity().read(info(*IDENTITIES[name]))
    assert str(found) == name
    assert found.is_known is name.startswith(("Redis", "Valkey"))


@pytest.mark.parametrize(
    ("version", "numbers"),
    [
        ("7.0.15", (7, 0, 15)),
        ("6.2", (6, 2, 0)),
        ("8.2.1-rc1", (8, 2, 1)),
        ("df-v1.2", (0, 0, 0)),
        ("", (0, 0, 0)),
    ],
)
def test_the_numbers_of_a_version(version, numbers):
    """They can be compared, also if the version has other text."""
    assert Identity("Redis", version).numbers == numbers


def test_the_uptime():
    """It is in seconds, and 0 if the server says something else."""
    command = servers.identity()
    assert command.read(info("redis_version:7.0.15", "uptime_in_seconds:90")).uptime == 90
    for odd in ("", "-1", "many", "1" * 30, "\N{SUPERSCRIPT TWO}"):
        assert command.read(info("redis_version:7.0.15", f"uptime_in_seconds:{odd}")).uptime == 0


def test_text_that_could_forge_lines():
    """Control characters in what the server says are replaced: terminals would obey them."""
    found = servers.identity().read(info("redis_version:7\x1b[2J"))
    assert found.version == "7?[2J"


def test_memory():
    """Use and limit in bytes, and the policy. A server may leave out any of them."""
    read = servers.memory().read
    said = info(
        "used_memory:9", "used_memory_human:9B", "maxmemory:7", "maxmemory_policy:volatile-lru"
    )
    assert read(said) == Memory(9, 7, "volatile-lru")
    assert read(info("used_memory:9")) == Memory(9, 0, None)


def test_persistence():
    """Whether there is an append-only file, and whether a snapshot was taken since the start."""
    read = servers.persistence().read
    assert read(info("aof_enabled:1")) == Persistence(True, False, 0)
    said = info("rdb_changes_since_last_save:5", "rdb_last_bgsave_time_sec:-1", "aof_enabled:0")
    assert read(said) == Persistence(False, False, 5)
    assert read(info("rdb_last_bgsave_time_sec:0", "aof_enabled:0")) == Persistence(False, True, 0)
    assert read(info("loading:0")) is None


REFUSED = Refusal("no permission")
NOTHING = Persistence(appends=False, took_snapshot=False, changes=9)
LONG, SHORT = 100_000, 60


@pytest.mark.parametrize(
    ("persistence", "save_points", "uptime", "survives"),
    [
        (Persistence(True, False, 9), "", LONG, True),
        (NOTHING, "3600 1 300 100", SHORT, True),
        (NOTHING, "", SHORT, False),
        (NOTHING, " ", LONG, False),
        # Somebody may have taken this snapshot by hand.
        (Persistence(False, True, 9), "", LONG, False),
        (Persistence(False, True, 9), REFUSED, SHORT, True),
        (NOTHING, REFUSED, LONG, False),
        (NOTHING, None, LONG, False),
        (NOTHING, REFUSED, SHORT, None),
        (Persistence(False, False, 0), REFUSED, LONG, None),
    ],
)
def test_whether_data_survives_a_restart(persistence, save_points, uptime, survives):
    """The settings say it. Without them, it shows after an hour with changes."""
    assert servers.survives_restart(persistence, save_points, uptime) is survives


def test_another_setting_than_was_asked_for():
    """A reply with another setting belongs to another command."""
    for command in (servers.save_points(), servers.compact_limit()):
        with pytest.raises(WrongShape):
            command.read([b"port", b"6379"])


def node(port, host=b"10.0.0.1"):
    return [host, port, b"%040d" % port, []]


def test_the_primaries_of_a_cluster():
    """Each primary is there once, with all its slots, in the form of Redis 6.2 or a later one."""
    read = servers.slot_ranges().read
    rows = [
        [0, 99, node(7001)[:3], node(7004)[:3]],
        [100, 8191, node(7002)],
        [8192, 8192, node(7001)[:3], node(7004)[:3]],
        [16383, 16383, node(7003, b"::1")],
        [200, 201, node(7005, None)],
    ]
    first, second, unknown, third = read(rows)
    assert first == Primary("10.0.0.1:7001", ((0, 99), (8192, 8192)), 1)
    assert (first.slot, first.slots, second.replicas) == (0, 101, 0)
    assert (third.name, unknown.name) == ("[::1]:7003", "?:7005")
    assert read([[0, 0, node(7001, b"a\x1b[2J")]])[0].name == "a?[2J:7001"


@pytest.mark.parametrize(
    "row",
    [
        *([*bounds, node(7001)] for bounds in [(5, 4), (0, 16384), (-1, 3), (b"0", 3)]),
        [0, 1],
        [0, 1, []],
        [0, 1, node(7001)[:2]],
        [0, 1, [b"host", 7001, []]],
        [0, 1, [b"host", b"7001", b"id"]],
        b"OK",
    ],
)
def test_slots_that_cannot_be(row):
    """Such a reply belongs to another command."""
    with pytest.raises(WrongShape):
        servers.slot_ranges().read([row])
