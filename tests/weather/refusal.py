"""The server answers, and refuses: it is full, busy, locked, or has lost what it had."""

import time

import pytest
import redis

from tests.servers import wait_until
from tests.weather.places import Place, Weather, beside, for_a_while

SECONDS = 4.0

# Commands of the engine, one of which is denied at a time.
DENIED = ("evalsha", "hgetall", "hset", "zadd", "time", "pexpireat", "del", "hincrby", "hdel")


def forgets_scripts(place: Place) -> None:
    for_a_while(SECONDS, place.admin.script_flush, every=0.1)


def flush_all(place: Place) -> None:
    for crowd in place.crowds:
        # Whoever has these keys now must not find a session under them ever again.
        crowd.visitors[0].ended += crowd.keys()
    place.admin.flushall()
    time.sleep(1)


def full(place: Place) -> None:
    place.admin.config_set("maxmemory", 1)
    time.sleep(SECONDS)
    place.admin.config_set("maxmemory", 0)


def evicts(place: Place) -> None:
    """Strangers fill the memory, so that the server evicts keys, whatever they are."""
    room = place.admin.info("memory")["used_memory"] + 200_000
    place.admin.config_set("maxmemory-policy", "allkeys-lru")
    place.admin.config_set("maxmemory", room)

    def fill() -> None:
        number = time.monotonic_ns()
        for part in range(10):
            place.admin.set(f"stranger:{number}:{part}", "x" * 1000, ex=60)

    for_a_while(SECONDS, fill, every=0.02)
    place.admin.config_set("maxmemory", 0)


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
    place.admin.config_set("requirepass", "another")
    place.disconnect_all()
    time.sleep(SECONDS)
    place.admin.config_set("requirepass", PASSWORD)


def denied(place: Place) -> None:
    for command in DENIED:
        place.admin.acl_setuser("default", enabled=True, commands=[f"-{command}"])
        time.sleep(0.7)
        place.admin.acl_setuser("default", enabled=True, commands=[f"+{command}"])


def nothing(place: Place) -> None:
    time.sleep(SECONDS)


PASSWORD = "countess"

WEATHERS = (
    Weather("script-flush", forgets_scripts),
    Weather("flushall", flush_all, signs_out=True),
    Weather("full", full, goes_on=("who", "logout")),
    Weather("eviction", evicts, signs_out=True, unlists=True),
    Weather("misconf", cannot_save, goes_on=("who",)),
    Weather("busy", busy),
    Weather("password", other_password, password=PASSWORD),
    Weather("denied", denied),
    Weather("clock-ahead", nothing, clock=600),
    Weather("clock-behind", nothing, clock=-600),
)
