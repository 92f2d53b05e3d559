"""What is published when a session ends: each end, with its reason, in the step that ends it."""

import asyncio

import pytest
from redis.exceptions import NoPermissionError

from sessions_redis import registry
from sessions_redis.engine import SessionStore
from sessions_redis.exceptions import SessionStoreUnavailable
from sessions_redis.storage import commands, events, listings
from sessions_redis.storage.events import Event
from sessions_redis.storage.keyspaces import Keyspace
from tests.hearing import id_of, signed_in
from tests.servers import Server
from tests.spread import spread  # noqa: F401 - fixture

# A primary key that is text can have spaces.
USER = "ada byron"


def without_time(session):
    session.set_expiry(-10)
    return session


# How sessions end, and the reason that is published.
ENDS = {
    "delete": (lambda it: it.delete(), "logged_out"),
    "adelete": (lambda it: asyncio.run(it.adelete()), "logged_out"),
    "flush": (lambda it: it.flush(), "logged_out"),
    "save with no time left": (lambda it: without_time(it).save(), "expired"),
    "cycle with no time left": (lambda it: without_time(it).cycle_key(), "expired"),
    "end": (lambda it: registry.end(id_of(it)), "ended"),
    "aend": (lambda it: asyncio.run(registry.aend(id_of(it), reason="admin")), "admin"),
    "end_many": (lambda it: registry.end_many([id_of(it)], reason="lost, 5 %"), "lost, 5 %"),
    "aend_many": (lambda it: asyncio.run(registry.aend_many([id_of(it)], reason="")), ""),
    "end_all_of": (lambda it: registry.end_all_of(USER, reason="größe\n"), "größe\n"),
    "aend_all_of": (lambda it: asyncio.run(registry.aend_all_of(USER)), "ended"),
}  # fmt: skip


class Listener:
    """A plain client of redis-py that has subscribed to a channel."""

    def __init__(self, raw, channel):
        self.raw, self.channel = raw, channel
        self.subscription = raw.pubsub()
        self.subscription.subscribe(channel)
        assert self._next()["type"] == "subscribe"

    def _next(self):
        return self.subscription.get_message(timeout=20.0)

    def heard(self):
        """What was published since the last call."""
        self.raw.publish(self.channel, "over")
        found = []
        while (message := self._next()["data"]) != b"over":
            found.append(events.read(message))
        return found


@pytest.fixture(params=["one slot", "across slots"])
def listener(settings, session_redis, raw, prefix, request):
    if request.param == "across slots":
        request.getfixturevalue("spread")
    settings.SESSION_REDIS = {**session_redis, "EVENTS": True}
    listener = Listener(raw, f"{prefix}:ended")
    yield listener
    listener.subscription.close()


@pytest.mark.parametrize("end", ENDS)
def test_ends(listener, end):
    """Each end is published once, with the session's ID, the reason and the user."""
    act, reason = ENDS[end]
    session = signed_in(USER)
    id = id_of(session)
    act(session)
    assert listener.heard() == [Event(id, reason, USER)]


@pytest.mark.parametrize("indexed", [True, False])
def test_anonymous_sessions(settings, listener, indexed):
    """The end of an anonymous session has no user, also if no indexes are kept."""
    settings.SESSION_REDIS = {**settings.SESSION_REDIS, "INDEX": indexed}
    sessions = [SessionStore() for _ in range(3)]
    for session in sessions:
        session.create()
    ids = [id_of(session) for session in sessions]
    sessions[0].delete()
    assert registry.end_many(ids[1:]) == ids[1:]
    ended = [Event(ids[0], "logged_out", ""), *(Event(id, "ended", "") for id in ids[1:])]
    assert listener.heard() == ended


def test_many_sessions(listener):
    """Ending all sessions of a user publishes each of them, and not the one that is spared."""
    sessions = [signed_in(USER) for _ in range(30)]
    another = signed_in("8")
    assert registry.end_all_of(USER, sessions[0].session_key) == 29
    heard = listener.heard()
    assert sorted(one.id for one in heard) == sorted(map(id_of, sessions[1:]))
    assert {one[1:] for one in heard} == {("ended", USER)}
    assert another.exists(another.session_key)


def test_the_cap(settings, listener):
    """A session that ends because its user has too many is published by the sign-in."""
    settings.SESSION_REDIS = {**settings.SESSION_REDIS, "MAX_SESSIONS_PER_USER": 2}
    sessions = [signed_in(USER) for _ in range(3)]
    (gone,) = [one for one in sessions if not one.exists(one.session_key)]
    assert listener.heard() == [Event(id_of(gone), "cap", USER)]


def test_what_is_no_end(listener):
    """Nothing is published if a session is cycled, used, or there is nothing to end."""
    session = signed_in(USER)
    session["color"] = "red"
    session.save()
    session.cycle_key()
    session.increment("visits")
    session.delete("x" * 32)
    assert not registry.end("0" * 32)
    assert registry.end_many(["0" * 32]) == []
    assert registry.end_all_of("8") == registry.end_all_of(USER, session.session_key) == 0
    assert listener.heard() == []


def test_off_by_default(settings, session_redis, raw, prefix):
    """Without the setting, nothing is published, and the scripts get no further arguments."""
    settings.SESSION_REDIS = session_redis
    listener = Listener(raw, f"{prefix}:ended")
    for act, _ in ENDS.values():
        act(signed_in(USER))
    assert listener.heard() == []
    listener.subscription.close()
    silent, loud = Keyspace("site"), Keyspace("site", events=True)
    for made in (
        lambda keyspace: commands.delete(keyspace, "a"),
        lambda keyspace: listings.end_many(keyspace, ["a"]),
        lambda keyspace: listings.end_all(keyspace, "7"),
    ):
        assert len(made(loud).parts) == len(made(silent).parts) + 2


@pytest.mark.parametrize(
    "message",
    [
        b"",
        b"over",
        b"a ended 7",
        b"0" * 32,
        b"0" * 32 + b" ended",
        b"g" * 32 + b" ended 7",
        b"\xff",
    ],
)
def test_other_messages(message):
    """Messages that no script sends are no events."""
    assert events.read(message) is None


def test_reasons_that_cannot_be_encoded():
    """Lone surrogates, which cannot be sent as UTF-8, come through."""
    message = f"{'0' * 32} {events.quoted(chr(0xD800))} 7".encode()
    assert events.read(message) == Event("0" * 32, chr(0xD800), "7")


# A user who may not publish


@pytest.fixture(scope="module")
def own(tmp_path_factory):
    server = Server(tmp_path_factory.mktemp("silent"))
    yield server
    server.stop()


@pytest.mark.parametrize("allowed", [["-publish", "allchannels"], ["+publish", "resetchannels"]])
@pytest.mark.parametrize("layout", ["one slot", "across slots"])
@pytest.mark.parametrize("end", ENDS)
def test_a_user_who_may_not_publish(settings, own, request, prefix, allowed, layout, end):
    """Then an end raises and names the command, and the session lives on, with its listings."""
    if layout == "across slots":
        request.getfixturevalue("spread")
    url = own.url.replace("//", "//silent:any@")
    settings.SESSION_REDIS = {"LOCATION": url, "KEY_PREFIX": prefix, "EVENTS": True}
    with own.client() as admin:
        admin.execute_command("ACL", "SETUSER", "silent", "on", "nopass", "~*", "+@all", *allowed)
        session = signed_in(USER)
        before = {key: admin.dump(key) for key in admin.keys(f"{prefix}:*")}
        with pytest.raises(SessionStoreUnavailable, match=r"PUBLISH|channel") as caught:
            ENDS[end][0](session)
        assert isinstance(caught.value.__cause__, NoPermissionError)
        assert {key: admin.dump(key) for key in admin.keys(f"{prefix}:*")} == before
