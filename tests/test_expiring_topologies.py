"""Entries with a lifetime of their own, on each kind of server that they need to be tested on."""

import pytest

from tests import test_expiring
from tests.expiring import capable
from tests.test_expiring import session, stored  # noqa: F401 - fixtures
from tests.topologies import (  # noqa: F401 - fixtures
    chosen,
    delete_all,
    prefix,
    session_redis,
    topologies,
)

pytestmark = pytest.mark.topology

server = capable("memory", "sentinel", "cluster")

CHOSEN = {
    test_expiring: (
        "an_entry_disappears",
        "saves_of_other_entries",
        "cycling_with_changes",
        "a_value_that_changes_in_place",
        "a_value_that_changes_in_place_and_expires",
        "a_change_in_place_of_an_entry_that_became_permanent",
        "replacing_all_with_an_expiring_entry",
        "replacing_all_under_a_new_key",
        "counting",
        "updating",
        "the_list_of_names_stays_short",
        "many_names",
        "written_anew",
        "a_session_whose_last_entry_expired",
        "inspecting",
    )
}
globals().update(chosen(CHOSEN))
