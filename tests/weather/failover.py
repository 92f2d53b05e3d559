"""A master is replaced by a replica, by Sentinels or in a Cluster, or is lost with its replica."""

import signal
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager

from tests.servers import Server, wait_until
from tests.weather.nodes import replica_of, wait_for_promotion
from tests.weather.places import CLUSTER, SENTINEL, Place, Weather

# Seconds by which a replica is behind its master.
LAG = 0.2


def _replaced(place: Place) -> None:
    place.watched.wait_for_failover(place.server)
    place.server = place.watched.master
    place.admin.close()
    place.admin = place.server.client()


def master_killed(place: Place) -> None:
    place.server.process.kill()
    place.server.process.wait()
    _replaced(place)


def master_hangs(place: Place) -> None:
    """It comes back when a replica has taken its place, and takes itself for the master."""
    former = place.server.process
    former.send_signal(signal.SIGSTOP)
    try:
        _replaced(place)
    finally:
        former.send_signal(signal.SIGCONT)


def master_demoted(place: Place) -> None:
    """As an administrator does, for maintenance."""
    place.watched.sentinels[0].ask("FAILOVER", "mymaster")
    _replaced(place)


def cluster_master_killed(place: Place) -> None:
    """A master of a Cluster is killed. It starts again when its replica has taken its place."""
    replica = replica_of(place.cluster, place.server)
    place.server.process.kill()
    place.server.process.wait()
    wait_for_promotion(place.cluster, replica, place.masters[1:])
    place.server.start()
    place.wait_until_whole()


def cluster_master_demoted(place: Place) -> None:
    """As an administrator does, for maintenance: the master waits until the replica is in step."""
    replica = replica_of(place.cluster, place.server)
    with replica.client() as client:
        client.execute_command("CLUSTER FAILOVER")
    wait_for_promotion(place.cluster, replica, place.masters[1:])
    place.wait_until_whole()


def replica_behind(place: Place) -> None:
    """
    The replica gets everything a moment later. Then the master is killed, and what is under way to
    the replica is lost.
    """
    followers: set[socket.socket] = set()
    is_lost = False

    def pass_late(client: socket.socket, reply: bytes) -> None:
        if reply.startswith((b"+FULLRESYNC", b"+CONTINUE")):
            followers.add(client)
        if client in followers:
            time.sleep(LAG)
            if is_lost:
                place.relays[0].reset(client)
                return
        client.sendall(reply)

    place.relays[0].pass_reply = pass_late
    place.admin.client_kill_filter(_type="replica")
    wait_until(lambda: bool(followers), "the replica reaches its master through the relay")
    place.wait_until_whole()
    time.sleep(2)
    is_lost = True
    cluster_master_killed(place)


@contextmanager
def _stopped(*servers: Server) -> Iterator[None]:
    for server in servers:
        server.process.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        for server in servers:
            server.process.send_signal(signal.SIGCONT)


def cluster_master_hangs(place: Place) -> None:
    """It comes back when its replica has taken its place, and takes itself for a master."""
    replica = replica_of(place.cluster, place.server)
    with _stopped(place.server):
        wait_for_promotion(place.cluster, replica, place.masters[1:])
    place.wait_until_whole()


def node_lost(place: Place) -> None:
    """A master and its replica hang, so that nobody serves their slots."""
    with _stopped(place.server, replica_of(place.cluster, place.server)):
        time.sleep(30)
    place.wait_until_whole()


# The other nodes go on if a part of the slots is not served.
GO_ON = ("--cluster-require-full-coverage", "no")

# A replica may lack the last writes that the master has acknowledged. In a Cluster, these can be
# entries of an index whose sessions are on another master.
WEATHERS = (
    Weather("master-killed", master_killed, SENTINEL, loses=True),
    Weather("master-killed", cluster_master_killed, CLUSTER, loses=True, unlists=True),
    Weather("master-hangs", master_hangs, SENTINEL, loses=True),
    Weather("master-hangs", cluster_master_hangs, CLUSTER, loses=True, unlists=True),
    Weather("master-demoted", master_demoted, SENTINEL, loses=True),
    Weather("master-demoted", cluster_master_demoted, CLUSTER),
    Weather(
        *("replica-behind", replica_behind, CLUSTER), in_network=True, loses=True, unlists=True
    ),
    Weather(
        *("replica-behind-wait", replica_behind, CLUSTER),
        in_network=True,
        settings=(("WAIT_REPLICAS", 1),),
        loses_entries=True,
    ),
    # When both are back, the replica can be promoted. It lacks what its master accepts until then.
    Weather("node-lost", node_lost, CLUSTER, server=GO_ON, loses=True, unlists=True),
)
