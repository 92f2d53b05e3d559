"""Finding and ending many sessions at once."""

import asyncio

import pytest

from sessions_redis import registry
from tests.proxy import Proxy
from tests.section import signed_in


def test_finding_many():
    """Those that are live, in the order asked for; junk and the dead are left out."""
    first, second = signed_in("1"), signed_in()
    asked = [second, "junk", "0" * 32, first]
    assert [session.id for session in registry.find_many(asked)] == [second, first]
    assert [session.id for session in asyncio.run(registry.afind_many(asked))] == [second, first]
    assert registry.find_many([]) == []


@pytest.mark.parametrize("indexed", [True, False])
def test_ending_many(settings, session_redis, raw, prefix, ended, indexed):
    """They are gone with their places in the indexes, and each is told of once."""
    settings.SESSION_REDIS = {**session_redis, "INDEX": indexed}
    first, second, third = signed_in("1"), signed_in(), signed_in("a:b")
    asked = [first, "junk", "0" * 32, second, first]
    assert registry.end_many(asked, reason="tests") == [first, second]
    assert ended == [(first, "1", "tests"), (second, None, "tests")]
    assert asyncio.run(registry.aend_many([third])) == [third]
    assert list(raw.scan_iter(f"{prefix}:*")) == []


def test_round_trips(settings, session_redis, server, monkeypatch):
    """One for each thousand that are read, and one for each step that ends some."""
    monkeypatch.setattr("sessions_redis.registry.live_sessions.BATCH_SIZE", 3)
    monkeypatch.setattr("sessions_redis.storage.listings.END_MANY_BATCH_SIZE", 3)
    ids = [signed_in("1") for _ in range(7)]
    with Proxy(server.port) as proxy:
        settings.SESSION_REDIS = {**session_redis, "LOCATION": proxy.url}
        registry.find("0" * 32)
        registry.end_many(["0" * 32])
        assert proxy.counted(registry.find_many, ids) == 3
        assert proxy.counted(registry.end_many, ids) == 3
        assert proxy.counted(registry.end_many, ["junk"]) == 0
