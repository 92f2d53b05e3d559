"""Sessions move in while requests arrive: once, whole, and never again after they were ended."""

import signal
import time

import pytest

from sessions_redis.storage.commands import session_id
from tests.movers import steps_of


def test_twenty_first_requests_at_once(site):
    """The session moves in once, whole, with its lifetime and its user, and no update is lost."""
    key = site.one(cart=[1, 2])
    names = [f"name-{number}" for number in range(20)]
    threads = [site.begin("write_in_threads", key, names[n : n + 4]) for n in (0, 4)]
    writers = [site.begin("write", key, **{name: 1}) for name in names[8:]]
    for request in [*threads, *writers]:
        request.value()
    entries = {"color": "red", "cart": [1, 2], "_auth_user_id": "7"}
    assert site.do("read", key) == {**entries, **dict.fromkeys(names, 1)}
    assert site.do("former_copy", key) is None
    assert b"@copied" not in site.fields(key)
    assert session_id(key) in site.do("listed", "7")


def test_lifetime(site):
    """A session keeps the lifetime that it has left, to the second."""
    key = site.one(age=1000)
    began = time.monotonic()
    site.do("read", key)
    assert 1000 - (time.monotonic() - began) - 2 <= site.ttl(key) <= 1000


ENDINGS = {
    "logged out": ("log_out", "{key}"),
    "cycled": ("cycle", "{key}"),
    "ended": ("end", "{key}"),
    "many ended": ("end_many", "{key}"),
    "all ended": ("end_all_of", "{user}"),
    "saved with no time left": ("live_only", "{key}", -1),
    "expired": ("live_only", "{key}", 1),
}


@pytest.mark.parametrize("way", ENDINGS)
@pytest.mark.parametrize("native", [False, True], ids=["sync", "async"])
def test_a_slow_request_brings_nothing_back(site, way, native):
    """
    A request that read the former copy, and was stopped, does not bring a session back that another
    request moved in and ended.
    """
    user = f"{way} {native}"
    key = site.do("begin", 1, user=user)[0]
    events = site.events("read", site.do("begin", 1, user=user)[0], native=native)
    slow = site.begin(
        "read", key, at=events.index("after former load"), by=signal.SIGSTOP, native=native
    )
    slow.wait_stopped()
    site.do("read", key)
    name, *arguments = ENDINGS[way]
    site.do(name, *[a.format(key=key, user=user) if isinstance(a, str) else a for a in arguments])
    site.wait_gone(key)
    slow.resume()
    assert slow.value() is None
    assert not site.lives(key)
    assert site.do("read", key) is None
    assert site.do("former_copy", key) is None


@pytest.mark.parametrize("way", ["logged out", "cycled", "all ended", "saved with no time left"])
def test_a_session_that_lies_only_there_is_ended(site, way):
    """A slow request does not bring back what was ended before it moved in."""
    user = f"only there: {way}"
    key = site.do("begin", 1, user=user)[0]
    events = site.events("read", site.do("begin", 1, user=user)[0])
    slow = site.begin("read", key, at=events.index("after former load"), by=signal.SIGSTOP)
    slow.wait_stopped()
    name, *arguments = ENDINGS[way]
    site.do(name, *[a.format(key=key, user=user) if isinstance(a, str) else a for a in arguments])
    slow.resume()
    assert slow.value() is None
    assert site.do("read", key) is None
    assert site.do("former_copy", key) is None


def test_signed_out_everywhere(site):
    """Sessions that lie only there are refused, but for the spared one; new ones work."""
    keys = site.do("begin", 3, user="everywhere")
    site.do("end_all_of", "everywhere", keys[0])
    assert site.do("read", keys[0])["_auth_user_id"] == "everywhere"
    assert [site.do("read", key) for key in keys[1:]] == [None, None]
    assert [site.do("former_copy", key) for key in keys] == [None, None, None]
    anonymous = site.do("begin", 1)[0]
    new = site.do("log_in", anonymous, "everywhere")
    assert site.do("read", new)["_auth_user_id"] == "everywhere"


ACTIONS = {
    "read": ("read",),
    "write": ("write",),
    "cycle": ("cycle",),
    "rolled back": ("roll_back", "read"),
}


@pytest.mark.parametrize("action", ["read", "write", "rolled back"])
def test_killed_at_any_point(site, action):
    """A process that is killed at any point loses no session, and leaves one copy in the end."""
    name, *arguments = ("roll_back", "read") if action == "rolled back" else (action,)
    key = site.one()
    events = site.events(name, key, *arguments)
    assert len(events) >= 8
    for at in steps_of(events):
        key = site.one()
        assert not site.begin(name, key, *arguments, at=at).is_finished
        assert site.do("read", key) == {"color": "red", "_auth_user_id": "7"}, events[at]
        assert site.lives(key)
        assert site.do("former_copy", key) is None
        assert b"@copied" not in site.fields(key)


@pytest.mark.parametrize("action", ["log_out", "cycle"])
def test_killed_while_ending(site, action):
    """A process that is killed while it ends a session ends it or leaves it, in both stores."""
    events = site.events(action, site.one())
    for at in steps_of(events):
        key = site.one()
        assert not site.begin(action, key, at=at).is_finished
        before = site.do("read", key)
        assert before in (None, {"color": "red", "_auth_user_id": "7"})
        assert site.copies(key) == (before is not None), events[at]
        assert site.do("read", key) == before
