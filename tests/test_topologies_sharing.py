"""Sessions are shared with another engine on each kind of server. The tests are those of others."""

import pytest

from tests import test_sharing
from tests.test_sharing import new, old, shared  # noqa: F401 - fixtures
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
    test_sharing: (
        "old_session_works_on_both_sides",
        "new_session_works_on_both_sides",
        "writes_of_one_side_reach_the_other",
        "log_out_of_an_old_worker_holds",
        "log_out_of_a_new_worker_holds",
        "cycled_session_works_on_both_sides",
        "save_after_log_out_of_an_old_worker_raises",
        "ended_session_leaves_the_old_side",
        "increment_reaches_old_workers",
    ),
}
globals().update(chosen(CHOSEN))
