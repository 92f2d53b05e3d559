"""ABSOLUTE_AGE and TOUCH_INTERVAL on each kind of server. The tests are those of other modules."""

import pytest

from sessions_redis.clock import ServerClock, server_clock
from tests import rules, test_lifetimes, test_touch_interval
from tests.test_lifetimes import (  # noqa: F401 - fixtures
    AGE,
    IDLE,
    ada,
    age_by,
    hash_of,
    visit,
)
from tests.test_touch_interval import is_sent, renewed  # noqa: F401 - fixtures
from tests.topologies import (  # noqa: F401 - fixtures
    chosen,
    delete_all,
    on,
    prefix,
    session_redis,
    topologies,
)

pytestmark = [pytest.mark.topology, pytest.mark.django_db]

server = on("memory", "cluster", with_all=("tls", "sentinel", "slot", "cluster-tag"))


@pytest.fixture(autouse=True)
def aged(settings, session_redis):  # noqa: F811
    """Sets ABSOLUTE_AGE."""

    def change(age):
        settings.SESSION_REDIS = {**session_redis, "ABSOLUTE_AGE": age}

    settings.SESSION_COOKIE_AGE = IDLE
    rules.calls.clear()
    change(AGE)
    return change


@pytest.fixture
def call():
    """Calls a method of a session. The asynchronous twins send the same commands."""
    return lambda session, name, *args: getattr(session, name)(*args)


@pytest.fixture
def touched(settings, session_redis):  # noqa: F811
    """Sets TOUCH_INTERVAL, in a process that has not heard of the server's clock."""

    def change(interval, **more):
        settings.SESSION_REDIS = {**session_redis, "TOUCH_INTERVAL": interval, **more}

    settings.SESSION_COOKIE_AGE = test_touch_interval.AGE
    ServerClock.__init__(server_clock)
    change(test_touch_interval.INTERVAL)
    return change


CHOSEN = {
    test_lifetimes: (
        "a_new_session",
        "saving_keeps_the_end",
        "a_new_key_keeps_the_end",
        "a_session_beside_it_keeps_the_end",
        "the_end_binds_without_the_setting",
        "the_end_cannot_be_reached_by_saving",
        "an_older_session_gets_its_end",
        "an_older_session_that_is_too_old",
        "a_session_that_is_too_old_for_a_new_key",
        "signing_in_begins_anew",
        "signing_in_again_begins_anew",
        "adopting",
    ),
    test_touch_interval: (
        "an_unchanged_session",
        "a_changed_session",
        "the_interval",
        "every_write_notes_the_time",
        "both_settings",
    ),
}
globals().update(chosen(CHOSEN))

for name, test in chosen({test_touch_interval: CHOSEN[test_touch_interval]}).items():
    globals()[name] = pytest.mark.usefixtures("touched")(test)
