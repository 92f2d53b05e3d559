"""Entries expire while sessions are cycled across slots, by real processes."""

import pytest

from tests.expiring import begun, skip_if_too_old
from tests.servers import wait_until
from tests.test_races import keys_of, run
from tests.topologies import (  # noqa: F401 - fixtures
    delete_all,
    prefix,
    session_redis,
    topologies,
)

pytestmark = pytest.mark.topology

SESSIONS, CYCLES = 8, 4


@pytest.fixture(name="server")
def server(server, topologies):  # noqa: F811
    skip_if_too_old(server)
    return topologies("cluster")


def test_cycling_while_entries_expire(session_redis, prefix, raw):  # noqa: F811
    """Two processes cycle the same sessions while entries expire: none becomes permanent."""
    keys = [begun(color="red").session_key for _ in range(SESSIONS)]
    job = ("cycle_with_codes", {"session_keys": keys, "times": CYCLES})
    run(session_redis, job, job)
    hashes = [name for name in keys_of(raw, prefix) if ":index" not in name]
    assert len(hashes) == 2 * SESSIONS

    def codes():
        return [field for name in hashes for field in raw.hkeys(name) if b"code" in field]

    wait_until(lambda: codes() == [], "all codes expire")
    for held in map(raw.hgetall, hashes):
        assert (held[b"color"], held[b"number"]) == (b'"red"', b"%d" % (CYCLES - 1))
