"""Hearing of ended sessions on each kind of server."""

import pytest

from sessions_redis import registry
from sessions_redis.registry import EndedSession, MayHaveMissed
from tests.hearing import Hearing, id_of, signed_in
from tests.topologies import delete_all, on, prefix, session_redis, topologies  # noqa: F401

pytestmark = pytest.mark.topology

server = on("memory", "tls", "sentinel", "slot", "cluster", with_all=("cluster-tag",))


def test_it_hears(settings, session_redis):  # noqa: F811
    """It hears of each end once, on whichever node that is. (Nodes of a Cluster keep no order.)"""
    settings.SESSION_REDIS = {**session_redis, "EVENTS": True}
    sessions = [signed_in() for _ in range(8)]
    ids = [id_of(session) for session in sessions]
    with Hearing() as hearing:
        sessions[0].flush()
        sessions[1].cycle_key()
        cycled = id_of(sessions[1])
        assert registry.end_many(ids[2:4], reason="admin") == ids[2:4]
        registry.end_all_of("7", sessions[1].session_key)
        sessions[1].delete()
        hearing.wait_for(ids[0], *ids[2:], cycled)
    reasons = ["logged_out", "", "admin", "admin", *["ended"] * 4]
    expected = [EndedSession(id, why, "7", None) for id, why in zip(ids, reasons, strict=True)]
    expected[1] = EndedSession(cycled, "logged_out", "7", None)
    assert hearing.heard[0] == MayHaveMissed()
    assert sorted(hearing.heard[1:], key=str) == sorted(expected, key=str)
