"""Sessions move in from a former engine on each kind of server. The tests are those of others."""

import pytest

from tests import test_moving_in
from tests.test_moving_in import former, old  # noqa: F401 - fixtures
from tests.topologies import (  # noqa: F401 - fixtures
    chosen,
    delete_all,
    on,
    prefix,
    session_redis,
    topologies,
)

pytestmark = [pytest.mark.topology, pytest.mark.django_db(transaction=True)]

server = on("cluster", with_all=("memory", "slot", "tls", "sentinel", "cluster-tag"))

CHOSEN = {
    test_moving_in: (
        "moves_with_all_entries",
        "keeps_its_lifetime",
        "is_listed",
        "exists_in_either_store",
        "unknown_key_is_not_adopted",
        "ended_session_does_not_come_back",
        "session_that_has_not_moved_ends",
        "sign_out_everywhere",
        "cycled_session_has_one_key",
        "increment_moves_it_first",
    ),
}
globals().update(chosen(CHOSEN))
