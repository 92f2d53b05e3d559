"""
The main promises, the registry, the commands, the admin and the pages for visitors, on each kind of
server. The tests are those of other modules.
"""

import pytest

from tests import (
    test_admin,
    test_commands_management,
    test_login_races,
    test_registry,
    test_registry_all,
    test_self_service,
    test_signals,
)
from tests.section import use_section
from tests.servers import is_marker
from tests.test_commands_management import users  # noqa: F401 - fixture
from tests.test_login_races import cycle  # noqa: F401 - fixture
from tests.test_registry import call  # noqa: F401 - fixture
from tests.test_self_service import ada, browser  # noqa: F401 - fixtures
from tests.test_signals import begun, do  # noqa: F401 - fixtures
from tests.topologies import (  # noqa: F401 - fixtures
    Spread,
    chosen,
    delete_all,
    on,
    prefix,
    session_redis,
    topologies,
)

pytestmark = [pytest.mark.topology, pytest.mark.django_db]

server = on("memory", "tls", "sentinel", "slot", "cluster", with_all=("cluster-tag",))


@pytest.fixture(autouse=True)
def site(settings, session_redis):  # noqa: F811
    """The demonstration site, with the pages of the admin and of visitors."""
    use_section(settings)


@pytest.fixture
def contents(contents, server, raw, prefix):  # noqa: F811
    """
    As everywhere, but across the slots of a Cluster without what failed attempts may leave.

    There a session is listed before the server is asked whether it may be written. So indexes may
    live longer, and tombstones prevent sessions for a minute.
    """

    def dump():
        keys = [key for key in raw.scan_iter(f"{prefix}:*") if not is_marker(raw, key)]
        return {
            key: raw.zrange(key, 0, -1) if raw.type(key) == b"zset" else raw.dump(key)
            for key in keys
        }

    return dump if isinstance(server, Spread) else contents


CHOSEN = {
    test_registry: (
        "counting",
        "the_latest",
        "of_a_user",
        "finding_many",
        "dead_members_are_dropped",
        "ending",
        "ending_many",
        "ending_all_of_a_user",
        "trimming_says_how_many",
        "clearing_sessions",
    ),
    test_registry_all: (
        "ending_all",
        "all_but_one",
        "new_keys_meanwhile",
    ),
    test_login_races: (
        "a_session_that_another_request_cycled",
        "a_signed_in_session_that_was_ended_stays_gone",
        "the_old_key_gives_nothing_of_the_new_session",
    ),
    test_commands_management: (
        "ending_the_sessions_of_users",
        "all_but_the_newest",
    ),
    test_admin: (
        "the_list",
        "the_page_of_a_session",
        "find_by_session_key",
    ),
    test_self_service: (
        "several_sessions",
        "ending_one",
        "ending_all_others",
    ),
    test_signals: (
        "a_session_begins",
        "cycling_goes_on",
        "two_sign_ins_at_once",
        "deleting",
    ),
}
globals().update(chosen(CHOSEN))
