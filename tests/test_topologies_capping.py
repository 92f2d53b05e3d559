"""MAX_SESSIONS_PER_USER on each kind of server. The tests are those of `tests.test_capping`."""

import pytest

from tests import test_capping
from tests.test_capping import call, set_cap  # noqa: F401 - fixtures
from tests.topologies import (  # noqa: F401 - fixtures
    chosen,
    delete_all,
    on,
    prefix,
    session_redis,
    topologies,
)

pytestmark = pytest.mark.topology

server = on("memory", "sentinel", "slot", "cluster", with_all=("tls", "cluster-tag"))

CHOSEN = {
    test_capping: (
        "the_oldest_session_ends",
        "a_session_that_began_before_all_others",
        "dead_members",
        "a_session_that_its_user_has_already",
        "a_change_of_the_user",
        "a_cap_that_was_lowered",
        "a_second_session_beside_another",
        "a_refusal",
        "the_session_after_a_refusal",
        "a_session_that_its_user_has_already_is_not_refused",
    ),
}
globals().update(chosen(CHOSEN))
