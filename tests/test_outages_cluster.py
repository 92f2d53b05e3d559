"""In a Redis Cluster, an outage concerns one node, and the log says which and when it ends."""

import asyncio
import logging
import signal
import uuid

import pytest
import redis
from django.test import Client
from redis.backoff import NoBackoff
from redis.retry import Retry

from sessions_redis import clients, conf
from sessions_redis.clients.origins import note_origin
from sessions_redis.clients.outages import Outages
from sessions_redis.clients.slots import slot_of
from sessions_redis.engine import SessionStore
from sessions_redis.exceptions import SessionStoreUnavailable
from sessions_redis.storage.commands import session_id
from tests.clustered import FAILOVER_DEADLINE, Cluster
from tests.hearing import Hearing
from tests.servers import wait_until
from tests.test_clients_cluster import NUMBERS, get, push
from tests.test_outages import ASKED, now

# A killed server refuses connections at once. A running one may be slow.
PATIENT = {
    "retry": Retry(NoBackoff(), 1),
    "socket_timeout": 20.0,
    "socket_connect_timeout": 20.0,
    "timeout": 20.0,
}

FULL = "refused a command: "


@pytest.fixture(scope="module")
def lasting(tmp_path_factory):
    """Three masters without replicas, of which those that run serve their slots."""
    folder = tmp_path_factory.mktemp("cluster")
    cluster = Cluster(folder, "--cluster-require-full-coverage", "no", replicas=0)
    try:
        cluster.keep_nodes()
        yield cluster
    finally:
        cluster.stop()


@pytest.fixture
def use(settings, prefix):
    """Lets the site use a Cluster."""

    def use(location, **options):
        settings.SESSION_REDIS = {
            "LOCATION": location,
            "KEY_PREFIX": prefix,
            "OPTIONS": {**PATIENT, **options},
        }

    return use


@pytest.fixture(autouse=True)
def session_redis(settings, prefix):
    settings.SESSION_REDIS = {"LOCATION": "memory://", "KEY_PREFIX": prefix}


@pytest.fixture
def cluster(lasting, use):
    """The Cluster of this module, which the site uses."""
    use(lasting.url)
    yield lasting
    for server in lasting.servers:
        server.process.send_signal(signal.SIGCONT)
    start(*(server for server in lasting.servers if server.process.poll() is not None))
    wait_until(lasting.is_ready, "all nodes serve their slots", FAILOVER_DEADLINE)


def works(*commands):
    """Whether ``commands`` are answered."""
    try:
        clients.run_all(commands)
    except SessionStoreUnavailable:
        return False
    return True


async def aworks(*commands):
    try:
        await clients.arun_all(commands)
    except SessionStoreUnavailable:
        return False
    return True


def works_in_a_task(*commands):
    return asyncio.run(aworks(*commands))


def key_on_each(cluster):
    """For each master: its server, and a key that it serves. The server of most slots is first."""
    names = [f"{uuid.uuid4().hex}:{number}" for number in NUMBERS]
    with cluster.client() as client:
        by_port = {client.get_node_from_key(name).port: name for name in names}
    return [(one, by_port[one.port]) for one in cluster.servers if one.port in by_port]


def kill(*servers):
    for server in servers:
        server.process.kill()
        server.process.wait()


def start(*servers):
    for server in servers:
        server.start()


def node(server):
    return f"127.0.0.1:{server.port}"


def errors(caplog):
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR]


@pytest.mark.parametrize(
    ("signal_sent", "works"),
    [(signal.SIGKILL, works), (signal.SIGKILL, works_in_a_task), (signal.SIGSTOP, works)],
)
def test_a_node_that_is_lost(cluster, use, caplog, signal_sent, works):
    """While requests for other nodes are answered, its outage begins once and ends once."""
    if signal_sent == signal.SIGSTOP:
        use(
            cluster.url, socket_timeout=2.0, socket_connect_timeout=2.0, retry=Retry(NoBackoff(), 0)
        )
    (lost, here), (_, there), _ = key_on_each(cluster)
    assert works(get(here), get(there))
    lost.process.send_signal(signal_sent)
    if signal_sent == signal.SIGKILL:
        lost.process.wait()
    for _ in range(5):
        assert not works(get(here))
        assert works(get(there))
        assert not works(get(there), get(here))
    (begins,) = errors(caplog)
    assert begins.startswith(f"Some sessions cannot be reached. Node {node(lost)} of Redis at ")
    if signal_sent == signal.SIGKILL:
        lost.start()
    else:
        lost.process.send_signal(signal.SIGCONT)
    wait_until(lambda: works(get(here)), "the node serves its slots", FAILOVER_DEADLINE)
    for _ in range(5):
        assert works(get(here))
        assert works(get(there))
    (_, ends) = errors(caplog)
    assert ends.startswith(
        f"Node {node(lost)} answers again. Some sessions could not be reached for "
    )


def test_visitors_of_two_nodes(cluster, settings, caplog):
    """Each 503 is logged as a warning, and the errors are two."""
    settings.ROOT_URLCONF = "tests.test_outages"
    settings.MIDDLEWARE = ["sessions_redis.middleware.SessionMiddleware"]
    (lost, here), (_, there) = visitors_of_two_nodes(cluster)
    kill(lost)
    for _ in range(5):
        assert [here().status_code, there().status_code] == [503, 200]
    assert caplog.text.count("Answered 503 to GET /WSGI/read") == 5
    lost.start()
    wait_until(lambda: here().status_code == 200, "the node serves its slots", FAILOVER_DEADLINE)
    for _ in range(5):
        assert [here().status_code, there().status_code] == [200, 200]
    begins, ends = errors(caplog)
    assert f"Node {node(lost)} of" in begins
    assert ends.startswith(f"Node {node(lost)} answers again")


def visitors_of_two_nodes(cluster):
    """For each of two nodes: its server, and a function that visits with a session there."""
    found = {}
    with cluster.client() as client:
        while len(found) < 2:
            session = SessionStore()
            session["color"] = "red"
            session.save()
            name = f"{conf.current().key_prefix}:{session_id(session.session_key)}"
            found[client.get_node_from_key(name).port] = visitor(session.session_key)
    return [(one, found[one.port]) for one in cluster.servers if one.port in found]


def visitor(key):
    browser = Client(raise_request_exception=False)
    browser.cookies["sessionid"] = key
    return lambda: browser.get("/WSGI/read")


def test_two_nodes_are_lost(cluster, caplog):
    """Each has an outage of its own, which ends when that node is back."""
    (first, here), (second, there), (_, elsewhere) = key_on_each(cluster)
    assert works(get(here), get(there), get(elsewhere))
    kill(first, second)
    for _ in range(3):
        assert [works(get(name)) for name in (here, there, elsewhere)] == [False, False, True]
    assert [line.partition(" of ")[0].split()[-1] for line in errors(caplog)] == [
        node(first),
        node(second),
    ]
    second.start()
    wait_until(lambda: works(get(there)), "it serves its slots", FAILOVER_DEADLINE)
    for _ in range(3):
        assert [works(get(name)) for name in (here, there, elsewhere)] == [False, True, True]
    first.start()
    wait_until(lambda: works(get(here)), "it serves its slots", FAILOVER_DEADLINE)
    for _ in range(3):
        assert works(get(here), get(there), get(elsewhere))
    assert [line.split(". ")[0] for line in errors(caplog)[2:]] == [
        f"Node {node(second)} answers again",
        f"Node {node(first)} answers again",
    ]


def test_a_node_that_is_full(cluster, caplog):
    """It refuses writes and answers reads. Writes on other nodes do not end its outage."""
    (full, here), (_, there), _ = key_on_each(cluster)
    assert works(push(here, "a"), push(there, "a"))
    with full.client() as client:
        client.config_set("maxmemory", "1")
        for _ in range(3):
            assert [works(push(name, "b")) for name in (here, there)] == [False, True]
            assert not works(push(here, "b"), push(there, "b"))
            assert works(get(f"{{{here}}}:hash"))
        client.config_set("maxmemory", "0")
    (begins,) = errors(caplog)
    assert f"Node {node(full)} of Redis at {cluster.url} {FULL}" in begins
    assert works(push(there, "c"))
    assert len(errors(caplog)) == 1
    for _ in range(3):
        assert works(push(here, "c"))
    (_, ends) = errors(caplog)
    assert ends.startswith(f"Node {node(full)} accepts commands again. It had refused them for ")


def test_a_full_node_that_goes_away(cluster, caplog):
    """These are two outages of that node. When it refuses a command, it can be reached again."""
    (server, here), *_ = key_on_each(cluster)
    with server.client() as client:
        client.config_set("maxmemory", "1")
    assert not works(push(here, "a"))
    kill(server)
    assert not works(push(here, "a"))
    server.start()
    wait_until(cluster.is_ready, "it serves its slots", FAILOVER_DEADLINE)
    with server.client() as client:
        client.config_set("maxmemory", "1")
    assert not works(push(here, "a"))
    lines = [line.partition(". ")[0] for line in errors(caplog)]
    assert lines == [
        "Some sessions cannot be reached",  # it is full
        "Some sessions cannot be reached",  # it is away
        f"Node {node(server)} answers again",
    ]
    with server.client() as client:
        client.config_set("maxmemory", "0")
    assert works(push(here, "a"))
    assert errors(caplog)[3].startswith(f"Node {node(server)} accepts commands again. ")


def test_another_node_takes_its_place(tmp_path, use, caplog):
    """The outage ends when a replica serves the sessions of the lost node, whatever is asked."""
    cluster = Cluster(tmp_path, "--cluster-require-full-coverage", "no")
    try:
        use(cluster.url)
        (lost, here), (_, there), (_, elsewhere) = key_on_each(cluster)
        assert works(*(push(f"{{{name}}}:list", "a") for name in (here, there, elsewhere)))
        wait_until(cluster.is_settled, "all nodes know the replicas", FAILOVER_DEADLINE)
        kill(lost)
        assert not works(get(here))
        wait_until(lambda: works(get(here)), "a replica serves its slots", FAILOVER_DEADLINE)
        for _ in range(3):
            assert works(get(there))
            assert works(get(here))
        begins, ends = errors(caplog)
        assert f"Node {node(lost)} of" in begins
        assert ends.startswith(f"Another node has taken the place of node {node(lost)}. Some ")
    finally:
        cluster.stop()


@pytest.fixture
def without_a_slot(cluster):
    """Takes the slot of a key from its node. It belongs to no node then. Gives it back."""
    slots = []

    def take(name):
        slots.append(slot_of(get(name)))
        wait_until(lambda: all(forgets(one) for one in cluster.servers), "no node serves it")

    def forgets(server):
        with server.client() as client:
            rows = client.execute_command("CLUSTER SLOTS")
            if any(first <= slots[0] <= last for first, last, *_ in rows):
                client.execute_command("CLUSTER DELSLOTS", slots[0])
                return False
            return True

    def give_back(server):
        with server.client() as client:
            client.execute_command("CLUSTER ADDSLOTS", slots.pop())
        wait_until(cluster.is_ready, "all nodes serve their slots", FAILOVER_DEADLINE)

    yield take, give_back
    for server in cluster.servers:
        with server.client() as client:
            client.config_set("cluster-require-full-coverage", "no")


def test_the_cluster_is_down(cluster, without_a_slot, caplog):
    """That is one outage, whichever node says so. It ends when all of them serve again."""
    take, give_back = without_a_slot
    keys = key_on_each(cluster)
    (server, unserved), *_ = keys
    assert works(*(get(name) for _, name in keys))
    for one in cluster.servers:
        with one.client() as client:
            client.config_set("cluster-require-full-coverage", "yes")
    take(unserved)
    for _ in range(3):
        assert [works(get(name)) for _, name in keys] == [False] * 3
    (begins,) = errors(caplog)
    assert begins.startswith(f"Sessions cannot be reached. Redis at {cluster.url} does not serve ")
    give_back(server)
    wait_until(lambda: works(get(unserved)), "the process knows its node", FAILOVER_DEADLINE)
    for _ in range(3):
        assert [works(get(name)) for _, name in keys] == [True] * 3
    (_, ends) = errors(caplog)
    assert ends.startswith("Redis accepts commands again. ")


def test_a_slot_that_no_node_serves(cluster, without_a_slot, caplog):
    """While other slots are served, its outage begins once and ends once."""
    take, give_back = without_a_slot
    (server, unserved), (_, there), _ = key_on_each(cluster)
    take(unserved)
    for _ in range(3):
        assert [works(get(name)) for name in (unserved, there)] == [False, True]
    (begins,) = errors(caplog)
    assert "does not serve all sessions" in begins
    give_back(server)
    wait_until(lambda: works(get(unserved)), "the process knows its node", FAILOVER_DEADLINE)
    for _ in range(3):
        assert works(get(there), get(unserved))
    (_, ends) = errors(caplog)
    assert ends.startswith("Redis accepts commands again. ")


def test_no_node_answers(cluster, caplog):
    """A process that does not know the nodes yet logs one outage, of the Cluster."""
    (_, here), (_, there), _ = key_on_each(cluster)
    kill(*cluster.servers)
    assert not works(get(here))
    assert not works(get(there))
    (begins,) = errors(caplog)
    assert begins.startswith(f"Sessions cannot be reached. Redis at {cluster.url} does not answer")
    start(*cluster.servers)
    wait_until(cluster.is_ready, "all nodes serve their slots", FAILOVER_DEADLINE)
    wait_until(lambda: works(get(here)), "the process knows the nodes")
    assert works(get(there))
    (_, ends) = errors(caplog)
    assert ends.startswith("Redis answers again. ")


def test_a_replica_that_refuses(tmp_path, use, caplog):
    """Its outage ends when it runs a command of that kind, and not when its master does."""
    cluster = Cluster(tmp_path, masters=1)
    try:
        for server in cluster.servers:
            with server.client() as client:
                client.acl_setuser(
                    "site", enabled=True, nopass=True, keys=["*"], categories=["+@all"]
                )
        use(cluster.url, username="site", password="any", load_balancing_strategy="round_robin")
        replica = next(one for one in cluster.servers if cluster.role(one) == "slave")
        with cluster.masters()[0].client() as client:
            client.hset("session", "color", "red")
        wait_until(cluster.is_settled, "all nodes know the replica", FAILOVER_DEADLINE)
        with replica.client() as client:
            wait_until(lambda: reads(client), "the replica has the session", FAILOVER_DEADLINE)
            client.acl_setuser("site", enabled=True, commands=["-hgetall"])
            answered = [works(get("session")) for _ in range(6)]
            assert answered in ([True, False] * 3, [False, True] * 3)
            (begins,) = errors(caplog)
            assert f"Node {node(replica)} of Redis at {cluster.url} refused a command" in begins
            client.acl_setuser("site", enabled=True, commands=["+hgetall"])
        assert [works(get("session")) for _ in range(6)] == [True] * 6
        (_, ends) = errors(caplog)
        assert ends.startswith(f"Node {node(replica)} accepts commands again. ")
    finally:
        cluster.stop()


def reads(client):
    client.readonly()
    return client.hgetall("session")


def test_a_node_that_starts(caplog):
    """It says for some seconds that the Cluster is down. That is a part of its outage."""
    outages = Outages()
    outages.failed(failure(redis.ConnectionError("away"), FIRST), ASKED, now())
    outages.failed(failure(redis.exceptions.ClusterDownError("down"), FIRST), ASKED, now())
    (begins,) = errors(caplog)
    assert begins.startswith("Some sessions cannot be reached. ")
    outages.failed(failure(redis.exceptions.ClusterDownError("down"), SECOND), ASKED, now())
    (_, begins) = errors(caplog)
    assert begins.startswith("Sessions cannot be reached. ")


FIRST, SECOND = ("10.0.0.1", 6379), ("10.0.0.2", 6379)


def failure(error, node):
    note_origin(error, node=node, slot=0)
    failed = SessionStoreUnavailable("Redis is away.")
    failed.__cause__ = error
    return failed


def test_a_node_that_is_listened_to(cluster, settings):
    """A process that heard of ended sessions from a node that is lost goes to another one."""
    settings.SESSION_REDIS = {**settings.SESSION_REDIS, "EVENTS": True}
    channel = conf.current().keyspace.ended_channel

    def listened_to():
        """The nodes from which a process hears."""
        found = []
        for server in cluster.running():
            with server.client() as client:
                found += [server] * client.pubsub_numsub(channel)[0][1]
        return found

    with Hearing() as hearing:
        (lost,) = listened_to()
        kill(lost)
        hearing.wait_for_beginning(2)
        assert len(listened_to()) == 1
        start(lost)
        wait_until(cluster.is_ready, "all nodes serve their slots", FAILOVER_DEADLINE)
        hearing.wait_until_it_hears()
