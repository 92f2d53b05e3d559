"""
Locks, updates and the limit of bytes on the kinds of servers that differ. Locks and updates run
with the limit on, so that both rules are checked together.
"""

import pytest

from tests import test_limits, test_locks, test_updates
from tests.servers import is_marker
from tests.test_limits import limited, unlimited  # noqa: F401 - fixtures
from tests.test_locks import holder  # noqa: F401 - fixture
from tests.topologies import (  # noqa: F401 - fixtures
    chosen,
    delete_all,
    on,
    prefix,
    session_redis,
    topologies,
)

pytestmark = pytest.mark.topology

server = on("memory", "cluster", with_all=("tls", "sentinel", "slot", "cluster-tag"))

# Cycling that is refused forgets these: the session is listed again when it is next saved.
LISTING = {b"@listed", b"@ahead", b"@lowered"}


@pytest.fixture
def contents(raw, prefix):  # noqa: F811
    """The fields of all sessions, without the times until which the indexes list them."""

    def dump():
        keys = [key for key in raw.scan_iter(f"{prefix}:*") if raw.type(key) == b"hash"]
        hashes = {key: raw.hgetall(key) for key in keys if not is_marker(raw, key)}
        return {
            key: {name: value for name, value in held.items() if name not in LISTING}
            for key, held in hashes.items()
        }

    return dump


# The asynchronous twins carry out the same steps, which test_locks.py and the others show.


@pytest.fixture
def call():
    return lambda session, name, *arguments: getattr(session, name)(*arguments)


@pytest.fixture
def locked():
    return lambda session, **options: session.lock(**options)


@pytest.mark.parametrize("server", ["cluster"], indirect=True)
def test_processes(session_redis, live, monkeypatch):  # noqa: F811
    """Processes that change the same entries at the same time lose nothing in a Cluster."""
    monkeypatch.setattr(test_updates, "PROCESSES", 2)
    monkeypatch.setattr(test_updates, "TIMES", 10)
    test_updates.test_nothing_is_lost(session_redis, live)


CHOSEN = {
    test_locks: (
        "the_block_sees_what_others_wrote",
        "one_at_a_time",
        "a_holder_that_takes_too_long",
        "a_lost_lock",
        "writes_in_the_block",
        "unsaved_changes_stay",
        "an_unknown_session",
        "a_session_that_is_ended_in_the_block",
        "the_lock_moves_along",
        "a_second_session_beside_it",
    ),
    test_updates: (
        "update_of_an_entry",
        "the_function_is_called_again",
        "another_request_removes_the_entry",
        "any_key",
        "a_serializer_that_writes_bytes",
        "the_user",
        "a_session_that_is_gone",
    ),
    test_limits: (
        "a_session_that_would_be_too_large",
        "a_session_at_the_limit",
        "a_session_that_is_too_large_already",
        "an_anonymous_session_that_is_gone",
        "halves_of_two_requests",
    ),
}
globals().update(chosen(CHOSEN))
