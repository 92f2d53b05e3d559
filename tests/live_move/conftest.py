"""Sites whose sessions move in: see `tests.moving`."""

import os
import time

import pytest

from tests.clustered import Cluster
from tests.movers import Movers
from tests.moving import PLACES, Moving, former_settings


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    cluster = Cluster(tmp_path_factory.mktemp("cluster"), replicas=0)
    cluster.keep_nodes()
    yield cluster
    cluster.stop()


@pytest.fixture(
    scope="module",
    params=PLACES,
    ids=lambda place: "-".join(place).replace("django.contrib.sessions.backends.", ""),
)
def site(request, tmp_path_factory, server):
    """A site with a former engine: its processes begin and end with this module."""
    place, former = request.param
    redis_server = server if place == "server" else request.getfixturevalue("cluster")
    folder, prefix = tmp_path_factory.mktemp("site"), f"moving-{os.getpid()}-{time.monotonic_ns()}"
    settings = former_settings(former, folder, server.url, prefix)
    settings["SESSION_REDIS"] |= {"LOCATION": redis_server.url, "KEY_PREFIX": prefix}
    with Movers(folder, settings) as movers, redis_server.client() as raw:
        movers.do("prepare")
        yield Moving(movers, raw, prefix)


@pytest.fixture(autouse=True)
def promise_3(site):
    """Every key has a time to live, whatever a test did."""
    yield
    assert [key for key in site.redis_keys() if site.raw.pttl(key) == -1] == []
