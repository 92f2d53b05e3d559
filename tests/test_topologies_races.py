"""
The races between real processes, with small numbers, where the topology can matter. What needs a
server of its own is here as well.

With TOPOLOGIES=all in the environment, they also run over TLS, and in one
slot of a Cluster.
"""

import pytest

from tests import (
    test_commands_management,
    test_commands_rebuildindex,
    test_races,
    test_registry_races,
)
from tests.test_commands_rebuildindex import lost  # noqa: F401 - fixture
from tests.topologies import (  # noqa: F401 - fixtures
    chosen,
    delete_all,
    on,
    prefix,
    session_redis,
    topologies,
)

pytestmark = pytest.mark.topology

server = on("sentinel", "slot", "cluster", with_all=("tls", "cluster-tag"))

SMALL = {
    test_races: {"PROCESSES": 3, "WRITES": 30, "DELETIONS": 100, "CYCLES": 30, "KILLS": 3},
    test_registry_races: {"ENDINGS": 50, "USERS": 20},
}


@pytest.fixture(autouse=True)
def small(monkeypatch):
    for module, numbers in SMALL.items():
        for name, number in numbers.items():
            monkeypatch.setattr(module, name, number)


CHOSEN = {
    test_races: (
        "no_update_is_lost",
        "nothing_comes_back",
        "two_processes_cycle_one_session",
        "killed_writers_leave_no_key_without_ttl",
    ),
    test_registry_races: ("nothing_slips_away",),
    test_commands_management: ("statistics",),
    test_commands_rebuildindex: ("everything_is_listed_again",),
}
globals().update(chosen(CHOSEN))
