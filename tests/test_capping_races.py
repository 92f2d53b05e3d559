"""MAX_SESSIONS_PER_USER while many processes sign in one user at the same moment."""

from contextlib import ExitStack

import pytest

from sessions_redis import registry
from tests.topologies import topologies  # noqa: F401 - fixture
from tests.workers import Worker

CAP = 5

# At the same moment, in a Cluster.
IN_CLUSTER = 20


@pytest.fixture
def start(settings):
    """``start(job, …)`` starts a worker, and waits until it is ready."""
    with ExitStack() as stack:

        def start(job, policy, **arguments):
            capped = {"MAX_SESSIONS_PER_USER": CAP, "MAX_SESSIONS_POLICY": policy}
            worker = Worker({**settings.SESSION_REDIS, **capped}, job, **arguments)
            stack.callback(worker.end)
            worker.wait_ready()
            return worker

        yield start


@pytest.mark.parametrize(
    ("policy", "signed_in"), [("end_oldest", 50), ("refuse", CAP)], ids=["ends", "refuses"]
)
def test_fifty_sign_ins_at_once(start, server, prefix, raw, policy, signed_in):
    """A watcher that counts all the time never finds more sessions than the cap."""
    told = f"{prefix}:over"
    watcher = start("watch", policy, prefix=prefix, user="7", told=told, url=server.url)
    logins = start("sign_in_at_once", policy, user="7", processes=50)
    watcher.begin()
    logins.begin()
    assert logins.result() == {"signed in": signed_in, "refused": 50 - signed_in}
    raw.set(told, "1", ex=60)
    seen = watcher.result()
    print(f"{policy}: at most {seen['most']} sessions in {seen['times']} looks")
    assert seen["most"] <= CAP
    assert len(registry.of_user("7")) == CAP


@pytest.fixture
def cluster(topologies, settings, prefix):  # noqa: F811
    """A Cluster with the keys of the test on all of its nodes."""
    cluster = topologies("cluster")
    settings.SESSION_REDIS = {"LOCATION": cluster.location, "KEY_PREFIX": prefix}
    yield cluster
    with cluster.client() as client:
        assert cluster.delete_all(client, prefix) == []


@pytest.mark.topology
@pytest.mark.parametrize(
    ("policy", "signed_in"), [("end_oldest", IN_CLUSTER), ("refuse", CAP)], ids=["ends", "refuses"]
)
def test_sign_ins_at_once_in_a_cluster(start, cluster, policy, signed_in):
    """When all have signed in, or were refused, the user has as many sessions as the cap."""
    logins = start("sign_in_at_once", policy, user="7", processes=IN_CLUSTER)
    logins.begin()
    assert logins.result() == {"signed in": signed_in, "refused": IN_CLUSTER - signed_in}
    assert len(registry.of_user("7")) == CAP
