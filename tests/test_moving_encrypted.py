"""Encrypted sessions that move in from another engine, are shared with it, or move out."""

from importlib import import_module

import pytest
from django.contrib.sessions.backends.db import SessionStore as FormerSessions
from django.contrib.sessions.serializers import JSONSerializer

from sessions_redis import moving_in
from sessions_redis.encryption import MARK
from sessions_redis.engine import SessionStore
from sessions_redis.storage.commands import session_id
from sessions_redis.storage.entries import SALT, is_metadata
from tests.next_engines import MOVING_OUT
from tests.test_commands_management import run
from tests.test_sealing import ENCRYPTED, LATER, OLD, held, saved

pytestmark = pytest.mark.django_db(transaction=True)

FORMER = "django.contrib.sessions.backends.db"


class OldSessions(FormerSessions):
    """As an old worker reads and writes them, for which SESSION_SERIALIZER is JSON."""

    key_salt = FormerSessions().key_salt

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.serializer = JSONSerializer


@pytest.fixture(autouse=True)
def use(settings, session_redis):
    """Changes SESSION_REDIS of a site that encrypts, and that still reads plain values."""
    settings.SESSION_SERIALIZER = ENCRYPTED
    moving_in.unknown_keys.clear()

    def change(**changed):
        settings.SESSION_REDIS = {
            **session_redis, "ENCRYPTION_KEYS": [OLD], "ENCRYPTION_PLAINTEXT_UNTIL": LATER,
            **changed,
        }  # fmt: skip

    change()
    return change


@pytest.fixture
def is_encrypted(raw, prefix):
    def look(key):
        stored = raw.hgetall(f"{prefix}:{session_id(key)}")
        values = [value for name, value in stored.items() if not is_metadata(name)]
        return SALT in stored and all(value.startswith(MARK) for value in values)

    return look


def old(**entries):
    session = OldSessions()
    session.update(entries)
    session.create()
    return session.session_key


def test_a_session_moves_in(use, is_encrypted):
    """A session is encrypted when it arrives."""
    use(FORMER_ENGINE=FORMER)
    key = old(color="red", size=7)
    assert held(key) == {"color": "red", "size": 7}
    assert is_encrypted(key)
    assert not OldSessions().exists(key)


def test_all_sessions_move_in(use, is_encrypted):
    """So are all sessions that the command moves, and its check finds nothing wrong."""
    use(FORMER_ENGINE=FORMER)
    keys = [old(color="red") for _ in range(3)]
    assert "3 moved" in run("migratesessions")
    assert all(map(is_encrypted, keys))
    assert "3 as they were" in run("migratesessions", "--check")
    assert [held(key) for key in keys] == [{"color": "red"}] * 3


def test_sessions_are_shared(use, is_encrypted):
    """What the former engine's workers write is encrypted here, and each keeps its own changes."""
    use(FORMER_ENGINE=FORMER, FORMER_ENGINE_SHARED=True)
    key = old(color="red", size=7)
    assert held(key) == {"color": "red", "size": 7}
    theirs = OldSessions(key)
    theirs["color"] = "blue"
    theirs.save()
    assert held(key) == {"color": "blue", "size": 7}
    assert is_encrypted(key)
    ours = SessionStore(key)
    ours["size"] = 8
    ours.save()
    assert held(key) == {"color": "blue", "size": 8}
    assert is_encrypted(key)


def test_a_session_moves_out(use, settings):
    """The next engine has the entries, and encrypts them in its own way."""
    key = saved(color="red", size=7).session_key
    use(NEXT_ENGINE=FORMER)
    settings.SESSION_ENGINE = MOVING_OUT
    assert dict(import_module(MOVING_OUT).SessionStore(key).items()) == {"color": "red", "size": 7}
    assert dict(FormerSessions(key).items()) == {"color": "red", "size": 7}
    assert dict(OldSessions(key).items()) == {}  # who cannot decrypt reads nothing
