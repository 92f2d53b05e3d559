"""MAX_SESSIONS_PER_USER on a server that publishes what ends, or refuses a command."""

import pytest

from sessions_redis import registry
from sessions_redis.engine import SessionStore
from sessions_redis.exceptions import SessionStoreUnavailable
from sessions_redis.storage.commands import session_id
from sessions_redis.storage.events import Event
from tests.servers import Server
from tests.spread import spread  # noqa: F401 - fixture
from tests.test_events import Listener

CAPPED = {"MAX_SESSIONS_PER_USER": 1, "EVENTS": True}

# Commands of a sign-in beyond the cap that a user of the server may lack.
COMMANDS = ["unlink", "zrem", "zcount", "zrangebyscore", "hmget", "publish"]


def signed_in():
    session = SessionStore()
    session["_auth_user_id"] = "7"
    session.save()
    return session_id(session.session_key)


@pytest.mark.parametrize("layout", ["one slot", "across slots"])
def test_the_end_is_published(settings, session_redis, raw, prefix, request, layout):
    """Other processes hear of the session that ended, and of the reason."""
    if layout == "across slots":
        request.getfixturevalue("spread")
    settings.SESSION_REDIS = {**session_redis, **CAPPED}
    listener = Listener(raw, f"{prefix}:ended")
    first = signed_in()
    assert listener.heard() == []
    signed_in()
    assert listener.heard() == [Event(first, "cap", "7")]
    listener.subscription.close()


@pytest.fixture(scope="module")
def own(tmp_path_factory):
    server = Server(tmp_path_factory.mktemp("limited"))
    yield server
    server.stop()


@pytest.fixture
def admin(own):
    with own.client() as client:
        yield client


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_that_the_user_lacks(settings, own, admin, prefix, command):
    """The error names the command, nothing is written, and nothing has ended."""
    url = own.url.replace("//", "//limited:any@")
    settings.SESSION_REDIS = {"LOCATION": url, "KEY_PREFIX": prefix, **CAPPED}
    words = ("ACL", "SETUSER", "limited", "reset", "on", "nopass", "~*", "&*", "+@all")
    admin.execute_command(*words)
    first = signed_in()
    before = {key: admin.dump(key) for key in admin.keys(f"{prefix}:*")}
    admin.execute_command(*words, f"-{command}")
    with pytest.raises(SessionStoreUnavailable, match=rf"(?i)\b{command}\b"):
        signed_in()
    assert {key: admin.dump(key) for key in admin.keys(f"{prefix}:*")} == before
    admin.execute_command(*words)
    assert [live.id for live in registry.of_user("7")] == [first]


def test_an_index_of_another_type(settings, session_redis, raw, prefix):
    """A key of another type in place of the user's index is left alone, and the sign-in goes on."""
    settings.SESSION_REDIS = {**session_redis, **CAPPED}
    raw.set(f"{prefix}:user:7", "text", ex=600)
    assert signed_in() != signed_in()
    assert raw.get(f"{prefix}:user:7") == b"text"
