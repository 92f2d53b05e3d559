"""Bound sessions, and when sessions were last active, on each kind of server."""

import pytest

from tests import test_binding, test_middleware, test_registry
from tests.test_binding import bind, fields, saved, sent, visit  # noqa: F401 - fixtures
from tests.test_middleware import used  # noqa: F401 - fixture
from tests.test_registry import call  # noqa: F401 - fixture
from tests.topologies import (  # noqa: F401 - fixtures
    chosen,
    delete_all,
    on,
    prefix,
    session_redis,
    topologies,
)

pytestmark = [pytest.mark.topology, pytest.mark.django_db]

server = on("memory", "cluster", with_all=("slot", "tls", "sentinel", "cluster-tag"))

CHOSEN = {
    test_binding: (
        "the_same_place",
        "a_new_session_elsewhere",
        "ending",
        "the_first_request_binds",
        "two_requests_at_once",
        "the_command",
        "moved_by_signing_in",
        "moved_at_once",
    ),
    test_middleware: ("what_another_request_has_noted",),
    test_registry: ("when_a_session_was_last_active", "of_a_user_by_activity"),
}
globals().update(chosen(CHOSEN))
