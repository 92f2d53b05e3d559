"""Encrypted sessions on each kind of server. The tests are those of others."""

import pytest

from tests import test_commands_reencryptsessions, test_sealing
from tests.test_commands_reencryptsessions import use  # noqa: F401 - fixture
from tests.test_sealing import encrypted, fields, plain, put, turn_on  # noqa: F401 - fixtures
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
    test_sealing: (
        "redis_holds_no_value",
        "only_what_changed_is_written",
        "async",
        "the_salt_moves_along",
        "a_second_session_beside",
        "clearing",
        "two_requests_give_a_session_its_salt",
        "two_requests_cycle_a_session_without_salt",
        "a_session_with_another_salt_by_now",
    ),
    test_commands_reencryptsessions: ("a_key_is_rotated", "plain_entries_are_encrypted"),
}
globals().update(chosen(CHOSEN))
