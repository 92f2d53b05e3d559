"""Encrypted entries with a lifetime of their own."""

import pytest

from sessions_redis.encryption import MARK
from tests.expiring import Hash, again, begun, capable
from tests.test_commands_management import run
from tests.test_sealing import ENCRYPTED, NEW, OLD
from tests.topologies import delete_all, prefix, session_redis, topologies  # noqa: F401 - fixtures

server = capable("one")

LONG = 3600


@pytest.fixture(autouse=True)
def encrypted(settings, session_redis):  # noqa: F811
    settings.SESSION_SERIALIZER = ENCRYPTED
    settings.SESSION_REDIS = {**session_redis, "ENCRYPTION_KEYS": [OLD]}


@pytest.fixture
def session():
    session = begun(color="red")
    session.set("code", "1234", expires_in=LONG)
    session.save()
    return session


def lifetime(raw, stored):
    return raw.execute_command("HPTTL", stored.name, "FIELDS", 1, "code")[0]


def test_it_is_encrypted(raw, session):
    """It is encrypted as the others are, and a new key of the session leaves it as it is."""
    assert Hash(raw, session).fields[b"code"].startswith(MARK)
    session.cycle_key()
    stored = Hash(raw, session)
    assert 0 < lifetime(raw, stored) <= LONG * 1000
    assert dict(again(session).items()) == {"color": "red", "code": "1234"}


def test_the_command_leaves_it_alone(settings, raw, session):
    """Encrypting entries anew would let it live, so the command encrypts only the others."""
    stored = Hash(raw, session)
    before = stored.fields
    settings.SESSION_REDIS = {**settings.SESSION_REDIS, "ENCRYPTION_KEYS": [NEW, OLD]}
    assert "Entries written: 1. Entries left: 1." in run("reencryptsessions")
    assert stored.fields[b"code"] == before[b"code"]
    assert stored.fields[b"color"] != before[b"color"]
    assert 0 < lifetime(raw, stored) <= LONG * 1000
    assert dict(again(session).items()) == {"color": "red", "code": "1234"}
