"""The server answers, and refuses: it is full, busy, locked, or has lost what it had."""

import time

import pytest
import redis

from tests.servers import wait_until
from tests.weather.places import Place, beside, everywhere, for_a_while

SECONDS = 4.0

# Commands of the engine, one of which is denied at a time.
DENIED = ("evalsha", "hgetall", "hset", "zadd", "time", "pexpireat", "del", "hincrby", "hdel")
DENIED_IN_CLUSTER = ("cluster|slots", "cluster|shards")


def forgets_scripts(place: Place) -> None:
    def flush() -> None:
        for node in place.nodes:
            node.script_flush()

    for_a_while(SECONDS, flush, every=0.1)


def flush_all(place: Place) -> None:
    for crowd in place.crowds:
        # Whoever has these keys now must not find a session under them ever again.
        crowd.visitors[0].ended += crowd.keys()
    for node in place.masters:
        node.flushall()
    time.sleep(1)


def full(place: Place) -> None:
    for node in place.masters:
        node.config_set("maxmemory", 1)
    time.sleep(SECONDS)
    for node in place.masters:
        node.config_set("maxmemory", 0)


def evicts(place: Place) -> None:
    """Strangers fill the memory, so that the servers evict keys, whatever they are."""
    for node in place.masters:
        # The history for replicas counts as memory, and cannot be evicted. It would take all the
        # room that there is here.
        node.config_set("repl-backlog-size", 16_384)
        room = node.info("memory")["used_memory"] + 200_000
        node.config_set("maxmemory-policy", "allkeys-lru")
        node.config_set("maxmemory", room)

    with place.everything() as stranger:

        def fill() -> None:
            number = time.monotonic_ns()
            for part in range(10):
                stranger.set(f"stranger:{number}:{part}", "x" * 1000, ex=60)

        for_a_while(SECONDS, fill, every=0.02 / len(place.masters))
    for node in place.masters:
        node.config_set("maxmemory", 0)


def cannot_save(place: Place) -> None:
    """A snapshot fails: a folder has its name. The server refuses writes until a snapshot works."""
    (place.folder / "dump.rdb").mkdir()
    place.admin.config_set("save", "3600 1000000")
    place.admin.bgsave()
    wait_until(lambda: _last_save(place) == "err", "the snapshot fails")
    time.sleep(SECONDS)
    (place.folder / "dump.rdb").rmdir()
    place.admin.bgsave()
    wait_until(lambda: _last_save(place) == "ok", "the snapshot works")


def _last_save(place: Place) -> str:
    return str(place.admin.info("persistence")["rdb_last_bgsave_status"])


def busy(place: Place) -> None:
    """A script of somebody else runs for long. Soon the server says so to others."""
    place.admin.config_set("busy-reply-threshold", 500)

    def run_a_script() -> None:
        with place.server.client(socket_timeout=60) as client, pytest.raises(redis.ResponseError):
            client.eval("while true do end", 0)

    with beside(run_a_script):
        time.sleep(SECONDS)
        place.admin.script_kill()


def other_password(place: Place) -> None:
    for node in place.nodes:
        node.config_set("requirepass", "another")
    place.disconnect_all()
    time.sleep(SECONDS)
    for node in place.nodes:
        node.config_set("requirepass", PASSWORD)


def denied(place: Place) -> None:
    for command in (*DENIED, *(DENIED_IN_CLUSTER if place.cluster else ())):
        for node in place.nodes:
            node.acl_setuser("default", enabled=True, commands=[f"-{command}"])
        time.sleep(0.7)
        for node in place.nodes:
            node.acl_setuser("default", enabled=True, commands=[f"+{command}"])


def nothing(place: Place) -> None:
    time.sleep(SECONDS)


PASSWORD = "countess"

WEATHERS = (
    *everywhere("script-flush", forgets_scripts),
    *everywhere("flushall", flush_all, signs_out=True),
    *everywhere("full", full, goes_on=("who", "logout")),
    *everywhere("eviction", evicts, signs_out=True, unlists=True),
    *everywhere("misconf", cannot_save, goes_on=("who",)),
    *everywhere("busy", busy),
    *everywhere("password", other_password, password=PASSWORD),
    *everywhere("denied", denied),
    *everywhere("clock-ahead", nothing, clock=600),
    *everywhere("clock-behind", nothing, clock=-600),
)
