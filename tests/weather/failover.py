"""The master of a service that Sentinels watch is replaced by a replica."""

import signal

from tests.weather.places import Place, Weather


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


# A replica may lack the last writes that the master has acknowledged.
WEATHERS = (
    Weather("master-killed", master_killed, is_watched=True, loses=True),
    Weather("master-hangs", master_hangs, is_watched=True, loses=True),
    Weather("master-demoted", master_demoted, is_watched=True, loses=True),
)
