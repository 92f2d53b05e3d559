"""The server is away: it restarts, is killed, hangs, or answers nobody."""

import signal
import time

from tests.servers import wait_until
from tests.weather.places import CLUSTER, Place, Weather, everywhere, for_a_while

AWAY = 2.0


def restart(place: Place) -> None:
    place.server.stop()
    time.sleep(AWAY)
    place.server.start()
    place.wait_until_whole()


def kill(place: Place) -> None:
    """The process is killed. The kernel still has what the process has written to the file."""
    place.server.process.kill()
    place.server.process.wait()
    time.sleep(AWAY)
    place.server.start()
    place.wait_until_whole()


def _stopped(place: Place, seconds: float) -> None:
    place.server.process.send_signal(signal.SIGSTOP)
    try:
        time.sleep(seconds)
    finally:
        place.server.process.send_signal(signal.SIGCONT)


def pause(place: Place) -> None:
    _stopped(place, 2)


def hang(place: Place) -> None:
    _stopped(place, 15)


def refused(place: Place) -> None:
    if place.cluster:
        # Otherwise it would announce the port 0 to the other nodes, and they to the sites.
        place.admin.config_set("cluster-announce-port", place.server.port)
    place.admin.config_set("port", 0)
    place.disconnect_all()
    time.sleep(3)
    place.admin.config_set("port", place.server.port)


def disconnected(place: Place) -> None:
    for_a_while(4, place.disconnect_all, every=0.2)


def crowded(place: Place) -> None:
    """Strangers take all connections but a few. The other nodes of a Cluster keep theirs."""
    strangers = []
    place.disconnect_all()
    usual = place.admin.config_get("maxclients")["maxclients"]
    others = place.admin.info("clients").get("cluster_connections", 0)
    others += place.admin.info("replication")["connected_slaves"]
    place.admin.config_set("maxclients", 20 + others)
    try:
        while len(strangers) < 16:
            stranger = place.server.client()
            strangers.append(stranger.connection_pool.get_connection())
    finally:
        time.sleep(4)
        place.admin.config_set("maxclients", usual)
        for connection in strangers:
            connection.disconnect()
    wait_until(place.server.answers, "the server lets everybody in")


WEATHERS = (
    *everywhere("restart", restart),
    # Redis writes each second to the disk, and to the kernel before it answers, if the disk is not
    # busy at that moment.
    *everywhere("kill", kill, loses=True),
    *everywhere("kill-always", kill, server=("--appendfsync", "always")),
    *everywhere("pause", pause),
    Weather("hang", hang),
    # A replica is promoted meanwhile. It may lack the last writes.
    Weather("hang", hang, CLUSTER, loses=True, unlists=True),
    *everywhere("refused", refused),
    *everywhere("disconnected", disconnected),
    *everywhere("crowded", crowded),
)
