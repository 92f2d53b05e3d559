"""The invariant of the listings on a Cluster, where no script sees a session and its indexes."""

import pytest

from tests.test_listing_kills import kill, kill_at_random
from tests.topologies import delete_all, on, prefix, session_redis, topologies  # noqa: F401

pytestmark = pytest.mark.topology

server = on("cluster")


@pytest.mark.parametrize("shards", [1, 16])
def test_killed_workers(settings, session_redis, shards):  # noqa: F811
    """Every session key that a client got before the kill is found by ``end_all_of``."""
    settings.SESSION_REDIS = {**session_redis, "INDEX_SHARDS": shards}
    for _ in kill_at_random(settings.SESSION_REDIS, lambda worker: kill(worker.process)):
        pass
