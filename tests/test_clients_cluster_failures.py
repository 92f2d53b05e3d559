"""A Redis Cluster that changes: slots move, masters fail or hang, and replicas take their place."""

import multiprocessing
import signal
import uuid
from time import monotonic

import pytest
from redis.backoff import NoBackoff
from redis.retry import Retry

from sessions_redis import clients
from sessions_redis.clients import pools
from sessions_redis.clients.slots import slot_of
from sessions_redis.exceptions import SessionStoreUnavailable
from sessions_redis.storage import listings
from sessions_redis.storage.steps import Command
from tests.clustered import FAILOVER_DEADLINE, SLOTS, Cluster
from tests.servers import Server, free_port, wait_until
from tests.test_clients_cluster import NUMBERS, get, push, same
from tests.test_credentials import USER_NAME, Tokens

# A node gives up a planned failover after five seconds. Then it can be asked again.
ASK_AGAIN = 6.0

TOGETHER = "return redis.call('EXISTS', KEYS[1], KEYS[2])"


@pytest.fixture(scope="module")
def lasting(tmp_path_factory):
    """Its nodes live through the whole module."""
    cluster = Cluster(tmp_path_factory.mktemp("cluster"))
    try:
        with cluster.client() as client:
            for number in NUMBERS:
                client.set(f"written:{number}", "for the replicas")
        wait_until(cluster.is_settled, "all nodes know the replicas", FAILOVER_DEADLINE)
        cluster.keep_nodes()  # not before, because then they hear of each other later
        yield cluster
    finally:
        cluster.stop()


@pytest.fixture
def cluster(lasting):
    """The Cluster of this module, in which all nodes agree: the test before may have changed it."""
    wait_until(lasting.is_settled, "all nodes see the same Cluster", FAILOVER_DEADLINE)
    return lasting


@pytest.fixture
def failing(tmp_path):
    """A Cluster of a test's own. What still runs of it serves its slots."""
    cluster = Cluster(tmp_path, "--cluster-require-full-coverage", "no")
    yield cluster
    cluster.stop()


@pytest.fixture(autouse=True)
def session_redis(settings, prefix):
    settings.SESSION_REDIS = {"LOCATION": "memory://", "KEY_PREFIX": prefix}
    return settings.SESSION_REDIS


@pytest.fixture
def name():
    """A key. Others in its slot have the same beginning."""
    return f"{{{uuid.uuid4().hex}}}:1"


def owner_of(cluster, name):
    with cluster.client() as client:
        port = client.get_node_from_key(name).port
    return next(server for server in cluster.servers if server.port == port)


def store(cluster, name):
    """Store a hash on a master and its replica."""
    with owner_of(cluster, name).client() as client:
        client.hset(name, "color", "red")
        assert client.wait(1, 10_000) == 1


def id_of(server):
    with server.client(decode_responses=True) as client:
        return client.execute_command("CLUSTER MYID")


class Moving:
    """A slot on its way from one master to another."""

    def __init__(self, cluster, name):
        self.source = owner_of(cluster, name)
        self.target = next(one for one in cluster.masters() if one is not self.source)
        self.slot = slot_of(get(name))
        self.ask(self.target, "IMPORTING", id_of(self.source))
        self.ask(self.source, "MIGRATING", id_of(self.target))

    def ask(self, server, *words):
        with server.client() as client:
            client.execute_command("CLUSTER SETSLOT", self.slot, *words)

    def carry(self, *names):
        with self.source.client() as client:
            client.migrate("127.0.0.1", self.target.port, list(names), 0, 5000)

    def end(self):
        with self.source.client() as client:
            names = client.execute_command("CLUSTER GETKEYSINSLOT", self.slot, 100)
        if names:
            self.carry(*names)
        for server in (self.target, self.source):
            self.ask(server, "NODE", id_of(self.target))


def test_a_slot_on_its_way(cluster, redis_at, run_all, name):
    """Keys are found on both nodes. What this process knows changes when all have moved."""
    redis_at(cluster.url)
    store(cluster, name)
    moving = Moving(cluster, name)
    beside = name.replace(":1", ":2")
    there = next(
        one for one in others(cluster, moving.source) if owner_of(cluster, one) is moving.target
    )
    try:
        assert run_all([get(name), push(beside, "a")]) == [{b"color": b"red"}, 1]
        moving.carry(name)
        assert run_all([get(name), push(beside, "b")]) == [{b"color": b"red"}, 2]
        # The target gets one of these with the word ASKING, and the other one without.
        assert run_all([get(name), push(there, "a")]) == [{b"color": b"red"}, 1]
        known = pools.current().shards[moving.slot]
        assert known[0][1] == moving.source.port
        two = Command(("EVAL", TOGETHER, 2, name, beside), same, TOGETHER)
        assert run_all([two]) == [2]
    finally:
        moving.end()
    assert run_all([get(name), push(beside, "c")]) == [{b"color": b"red"}, 3]
    wait_until(
        lambda: (
            (run_all([get(name)]), pools.current().shards[moving.slot][0][1])[1]
            == moving.target.port
        ),
        "the process knows the new node",
    )


def test_keys_on_two_nodes(cluster, redis_at, run_all, name):
    """A script that needs both is sent again until a limit, and runs when they are together."""
    redis_at(cluster.url)
    beside = name.replace(":1", ":2")
    for one in (name, beside):
        store(cluster, one)
    moving = Moving(cluster, name)
    two = Command(("EVAL", TOGETHER, 2, name, beside), same, TOGETHER)
    try:
        moving.carry(name)
        with pytest.raises(SessionStoreUnavailable):
            run_all([two])
    finally:
        moving.end()
    assert run_all([two]) == [2]


def test_a_planned_failover(cluster, redis_at, run_all, name):
    """A master that becomes a replica sends commands to the new one. Each runs once."""
    redis_at(cluster.url)
    former = owner_of(cluster, name)
    assert run_all([push(name, "a")]) == [1]
    replica = replica_of(cluster, former)
    asked = float("-inf")

    def is_promoted():
        nonlocal asked
        if monotonic() - asked > ASK_AGAIN and cluster.role(replica) != "master":
            asked = monotonic()
            with replica.client() as client:
                client.execute_command("CLUSTER FAILOVER")
        return cluster.role(replica) == "master" and cluster.role(former) == "slave"

    wait_until(is_promoted, "the replica is promoted", FAILOVER_DEADLINE)
    assert run_all([push(name, "b")]) == [2]


def replica_of(cluster, master):
    return next(one for one in cluster.running() if master_port_of(one) == master.port)


def master_port_of(server):
    with server.client(decode_responses=True) as client:
        return client.info("replication").get("master_port")


def others(cluster, lost):
    """A key on each of the other masters."""
    names = [f"{uuid.uuid4().hex}:{number}" for number in NUMBERS]
    with cluster.client() as client:
        owners = {client.get_node_from_key(name).port: name for name in names}
    return [name for port, name in owners.items() if port != lost.port]


def found(run_all, name):
    """Whether the session is there. It may be that nobody can say, but it must not be gone."""
    try:
        (answer,) = run_all([get(name)])
    except SessionStoreUnavailable:
        return False
    assert answer == {b"color": b"red"}
    return True


@pytest.mark.parametrize("signal_sent", [signal.SIGKILL, signal.SIGSTOP])
def test_a_lost_master(failing, redis_at, run_all, name, signal_sent):
    """
    Sessions on other nodes can be used all the time. Its own can be used again when a replica has
    taken its place, without a restart of the site. None of them looks gone.
    """
    # A node that hangs costs a request one time-out.
    redis_at(failing.url, retry=Retry(NoBackoff(), 0))
    lost = owner_of(failing, name)
    store(failing, name)
    elsewhere = [get(one) for one in others(failing, lost)]
    assert found(run_all, name)
    lost.process.send_signal(signal_sent)
    try:
        if signal_sent == signal.SIGKILL:
            lost.process.wait()

        def is_back():
            assert run_all(elsewhere) == [{}, {}]
            return found(run_all, name)

        wait_until(is_back, "another node has taken its place", FAILOVER_DEADLINE)
        assert run_all([push(f"{name}:list", "a")]) == [1]
    finally:
        if signal_sent == signal.SIGSTOP:
            lost.process.send_signal(signal.SIGCONT)
    assert found(run_all, name)


def test_one_of_several_nodes_fails(failing, redis_at, run_all, name):
    """The others still run their commands, and then the error of that node is raised."""
    redis_at(failing.url)
    failing.keep_nodes()  # no replica takes its place meanwhile
    lost = owner_of(failing, name)
    elsewhere = others(failing, lost)
    run_all([get(name)])
    lost.process.kill()
    lost.process.wait()
    with pytest.raises(SessionStoreUnavailable, match="promoted a replica") as caught:
        run_all([push(name, "a"), *(push(one, "a") for one in elsewhere)])
    assert str(lost.port) in str(caught.value)
    assert run_all([push(one, "b") for one in elsewhere]) == [2, 2]


def test_nodes_in_the_url_that_do_not_answer(cluster, redis_at, run_all, name):
    """One node that answers is enough."""
    redis_at(f"redis+cluster://127.0.0.1:{free_port()},127.0.0.1:{cluster.servers[0].port}")
    assert run_all([get(name)]) == [{}]


def test_no_node_answers(redis_at, run_all, name):
    """The error says that the command was not sent."""
    redis_at(f"redis+cluster://127.0.0.1:{free_port()},127.0.0.1:{free_port()}")
    with pytest.raises(SessionStoreUnavailable, match="does not answer") as caught:
        run_all([get(name)])
    assert not caught.value.may_have_been_done


def test_a_server_that_is_no_node(server, redis_at, run_all, name):
    """The error says how to write the URL of one server."""
    redis_at(f"redis+cluster://127.0.0.1:{server.port}")
    with pytest.raises(SessionStoreUnavailable, match=r"is not a Redis Cluster.* write redis://"):
        run_all([get(name)])


def test_a_node_as_one_server(cluster, redis_at, run_all):
    """The error says how to write the URL of a Cluster."""
    redis_at(cluster.servers[0].url)
    with pytest.raises(SessionStoreUnavailable, match=r"Write redis\+cluster://"):
        run_all([get(f"{number}") for number in NUMBERS])


def test_user_and_password(cluster, redis_at, run_all, name):
    """They are for all nodes. An error repeats neither."""
    for server in cluster.servers:
        with server.client() as client:
            client.acl_setuser(
                "site", enabled=True, passwords=["+secret-4711"], keys=["*"], categories=["+@all"]
            )
    nodes = cluster.url.partition("://")[2]
    redis_at(f"redis+cluster://site:secret-4711@{nodes}")
    assert run_all([get(name)]) == [{}]
    redis_at(f"redis+cluster://site:other-4712@{nodes}")
    with pytest.raises(SessionStoreUnavailable, match="does not let this site in") as caught:
        run_all([get(name)])
    assert "4712" not in str(caught.value)


def accept_everywhere(cluster, token):
    """From now on, all nodes accept this token of the site and no other, and end connections."""
    words = ("on", "resetpass", f">{token}", "~*", "&*", "+@all")
    for server in cluster.servers:
        with server.client() as client:
            client.execute_command("ACL", "SETUSER", USER_NAME, *words)
            client.execute_command("CLIENT", "KILL", "USER", USER_NAME)


def test_tokens_that_change(cluster, redis_at, run_all):
    """Each node gets the provider's current token, also when it says where the slots are."""
    tokens = Tokens("first")
    accept_everywhere(cluster, "first")
    redis_at(cluster.url, credential_provider=tokens)
    reads = [get(f"{number}") for number in NUMBERS]
    assert run_all(reads) == [{}] * len(reads)
    accept_everywhere(cluster, "second")
    tokens.token = "second"
    assert run_all(reads) == [{}] * len(reads)
    ours = pools.current()
    ours.shards = [ours.shards[0]] * SLOTS
    assert run_all(reads) == [{}] * len(reads)
    accept_everywhere(cluster, "third")
    with pytest.raises(SessionStoreUnavailable) as caught:
        run_all(reads)
    assert "second" not in str(caught.value)


def calls_of(server):
    with server.client() as client:
        return client.info("commandstats").get("cmdstat_hgetall", {}).get("calls", 0)


@pytest.mark.parametrize(
    "option", [{"read_from_replicas": True}, {"load_balancing_strategy": "round_robin_replicas"}]
)
def test_reading_from_replicas(cluster, redis_at, run_all, name, option):
    """Replicas answer if the site says so. What they do not know is asked of the master."""
    redis_at(cluster.url, **option)
    store(cluster, name)
    master = owner_of(cluster, name)
    replica = replica_of(cluster, master)
    before = calls_of(replica), calls_of(master)
    commands = [get(name)] * 4
    assert run_all(commands) == [{b"color": b"red"}] * 4
    assert calls_of(replica) > before[0]
    assert run_all([get(f"{name}:missing")] * 2) == [{}] * 2
    assert calls_of(master) >= before[1] + 2


def test_a_replica_that_lost_its_master(cluster, redis_at, run_all, name):
    """A replica that does not answer from old data leaves it to the master."""
    redis_at(cluster.url, load_balancing_strategy="round_robin_replicas")
    store(cluster, name)
    master = owner_of(cluster, name)
    replica = replica_of(cluster, master)
    with replica.client() as client, master.client() as its_master:
        client.config_set("replica-serve-stale-data", "no")
        client.config_set("masterauth", "wrong")
        client.config_set("masteruser", "nobody")
        its_master.execute_command("CLIENT KILL TYPE replica")
        try:
            wait_until(lambda: not is_connected(replica), "the replica has lost its master")
            before = client.info("errorstats").get("errorstat_MASTERDOWN", {}).get("count", 0)
            assert run_all([get(name)] * 2) == [{b"color": b"red"}] * 2
            assert client.info("errorstats")["errorstat_MASTERDOWN"]["count"] > before
        finally:
            client.config_set("masterauth", "")
            client.config_set("masteruser", "")
            client.config_set("replica-serve-stale-data", "yes")


def is_connected(replica):
    with replica.client() as client:
        return client.info("replication")["master_link_status"] == "up"


def test_a_replica_outside_of_the_cluster(cluster, redis_at, run_all, name, tmp_path):
    """
    A server that refuses to write because it is a replica is taken for no master any more.

    A node of a Cluster names its master then. A replica that is not a node cannot.
    """
    redis_at(cluster.url)
    outside = Server(tmp_path, "--replicaof", "127.0.0.1", str(free_port()))
    try:
        assert run_all([get(name)]) == [{}]
        ours = pools.current()
        ours.shards = [(("127.0.0.1", outside.port),)] * SLOTS
        assert run_all([push(name, "a")]) == [1]
        assert ours.shards[slot_of(get(name))][0][1] == owner_of(cluster, name).port
    finally:
        outside.stop()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"db": 1}, "leave out the option db"),
        ({"ssl": True}, r"rediss\+cluster://"),
        ({"load_balancing_strategy": "nearest"}, "takes one of round_robin"),
        ({"address_remap": "x"}, "takes a function"),
    ],
)
def test_refused_options(cluster, redis_at, options, words):
    redis_at(cluster.url, **options)
    with pytest.raises(Exception, match=words) as caught:
        clients.run(get("a"))
    assert type(caught.value).__name__ == "ImproperlyConfigured"


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")  # pytest-xdist has threads
def test_a_forked_process(cluster, redis_at, name):
    """It makes connections of its own."""
    redis_at(cluster.url)
    store(cluster, name)
    require_red(name)
    child = multiprocessing.get_context("fork").Process(target=require_red, args=(name,))
    child.start()
    require_red(name)
    child.join()
    assert child.exitcode == 0


def require_red(name):
    assert clients.run(get(name)) == {b"color": b"red"}


def test_an_address_that_another_server_got(tmp_path, redis_at, run_all, name):
    """
    A lost node has no address if another server has it now. Its slots are not served then.

    The nodes give its port as 0.
    """
    arguments = ("--cluster-require-full-coverage", "no")
    cluster = Cluster(tmp_path, *arguments, replicas=0)
    try:
        lost = owner_of(cluster, name)
        others = [one for one in cluster.servers if one is not lost]
        redis_at("redis+cluster://" + ",".join(f"127.0.0.1:{one.port}" for one in others))
        assert run_all([get(name)]) == [{}]
        give_address_away(lost)
        wait_until(lambda: all(map(knows_no_port, others)), "they know that it is another one")
        kill(lost)

        def is_unserved():
            with pytest.raises(SessionStoreUnavailable) as caught:
                run_all([get(name)])
            return "serves slot" in str(caught.value)

        wait_until(is_unserved, "the process has read that no node serves its slots")
        assert {port for _, port in pools.current()._addresses()} == {one.port for one in others}
    finally:
        cluster.stop()


def test_no_master_has_an_address(tmp_path, redis_at):
    """A command for any node fails as one for a slot does. It is sent to no replica."""
    cluster = Cluster(tmp_path, masters=1)
    try:
        master, replica = cluster.servers
        give_address_away(master)
        wait_until(lambda: knows_no_port(replica), "the replica knows that it is another one")
        redis_at(f"redis+cluster://127.0.0.1:{replica.port}")
        with pytest.raises(SessionStoreUnavailable, match="no node serves any slot"):
            clients.run(listings.now())
    finally:
        cluster.stop()


def kill(server):
    server.process.kill()
    server.process.wait()


def give_address_away(node):
    """Let another server start at the address of ``node``, which is lost."""
    kill(node)
    (node.folder / "nodes.conf").unlink()
    node.start()


def knows_no_port(server):
    with server.client() as client:
        return 0 in [master[1] for _, _, master, *_ in client.execute_command("CLUSTER SLOTS")]


def test_a_node_that_leaves(cluster, redis_at, run_all, name):
    """The idle connections to a node that has left the Cluster are closed. It can come back."""
    redis_at(cluster.url)
    clients.run(get(name))
    ours, leaving = pools.current(), owner_of(cluster, name)
    address = ("127.0.0.1", leaving.port)
    gone = ours.pools_at(address)
    lease = gone.leases_for([get(name)]).take()
    host, port = lease.connection._sock.getsockname()
    gone.leases_for([get(name)]).give(lease)
    with leaving.client() as client:
        assert f"{host}:{port}" in [one["addr"] for one in client.client_list()]
        ours._seeds = ()
        ours._learn([None if shard[0] == address else shard for shard in ours.shards])
        assert address not in ours._pools
        wait_until(
            lambda: f"{host}:{port}" not in [one["addr"] for one in client.client_list()],
            "the idle connection is closed",
        )
    ours.read_again(since=monotonic())
    assert run_all([get(name)]) == [{}]
