"""Entries that expire, with encrypted values."""

import pytest

from tests.expiring import Hash, again, capable
from tests.test_expiring import LONG, MILLISECONDS, as_coded, session, stored  # noqa: F401 - fixtures
from tests.topologies import delete_all, prefix, session_redis, topologies  # noqa: F401 - fixtures

server = capable("one", "cluster")


@pytest.fixture(autouse=True)
def encrypted(settings):
    settings.SESSION_SERIALIZER = "sessions_redis.serializers.EncryptedJSONSerializer"


def test_values_are_encrypted(session, stored):  # noqa: F811
    """Values that expire are encrypted as others are, however they are written."""
    session.set("tries", [1], expires_in=LONG)
    session["code"] = "1234"
    session.expire_entry("color", LONG)
    session.save()
    other = again(session)
    assert other["tries"] == [1]
    other["tries"].append(2)
    other.cycle_key()
    other["tries"].append(3)
    other.save()
    moved = Hash(stored.raw, other)
    assert not any(b"[1" in value or b"1234" in value for value in moved.fields.values())
    assert moved.left("tries") in MILLISECONDS
    assert (moved.names, moved.left("code")) == ({"tries", "color"}, -1)
    assert (again(other)["tries"], *as_coded(again(other))) == ([1, 2, 3], "red", "1234")
    other.create()
    assert dict(again(other).items()) == {"code": "1234"}
