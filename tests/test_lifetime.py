"""Promises 3 and 9: every key has a TTL, and it is the one that Django's rules give."""

from datetime import timedelta

import pytest
from django.contrib.sessions.backends.base import UpdateError
from django.utils import timezone

from sessions_redis.engine import SessionStore
from sessions_redis.storage.commands import MAX_TTL, session_id
from tests.listed import expect_listed

# Seconds that may pass between a call and the check of its result.
SLACK = 60


def ttl_of(session, raw, prefix):
    return raw.pttl(f"{prefix}:{session_id(session.session_key)}") / 1000


@pytest.mark.parametrize(
    ("expiry", "seconds"),
    [
        (None, 1000),
        (0, 1000),
        (300, 300),
        (2.5, 2.5),
        (timedelta(seconds=300), 300),
        (lambda: timezone.now() + timedelta(days=2), 172_800),
    ],
    ids=["default", "browser close", "seconds", "fraction", "timedelta", "datetime"],
)
def test_ttl_follows_the_expiry(settings, raw, prefix, expiry, seconds):
    """Creating, saving, touching and cycling set the TTL that get_expiry_age() returns."""
    settings.SESSION_COOKIE_AGE = 1000
    session = SessionStore()
    session.set_expiry(expiry() if callable(expiry) else expiry)
    for write in (session.create, session.save, session.cycle_key):
        write()
        assert seconds - SLACK <= ttl_of(session, raw, prefix) <= seconds
    if not isinstance(expiry, timedelta) and not callable(expiry):
        raw.expire(f"{prefix}:{session_id(session.session_key)}", 1_000_000)
        SessionStore(session.session_key).save()
        assert ttl_of(session, raw, prefix) <= seconds


def test_a_store_may_have_its_own_cookie_age(raw, prefix):
    """If an engine overrides get_session_cookie_age(), the TTL follows it."""

    class BriefStore(SessionStore):
        def get_session_cookie_age(self):
            return 120

    session = BriefStore()
    session.create()
    assert 120 - SLACK <= ttl_of(session, raw, prefix) <= 120


@pytest.mark.parametrize("expiry", [-10, -0.5, timedelta(seconds=-10), timedelta(seconds=-1)])
@pytest.mark.parametrize("write", ["save", "create", "cycle_key"])
def test_no_time_left_means_deleted(live, raw, prefix, expiry, write):
    """A session that is saved with no time left is gone, with its index entries, and stays gone."""
    live["_auth_user_id"] = "1"
    live.save()
    live.set_expiry(expiry)
    if write == "create":
        live.delete()
    getattr(live, write)()
    assert list(raw.scan_iter(f"{prefix}:*")) == []
    assert dict(SessionStore(live.session_key).items()) == {}
    with pytest.raises(UpdateError):
        live.save()


@pytest.mark.parametrize("expiry", [10**18, MAX_TTL + 1, float(10**30)])
def test_a_very_long_expiry_is_shortened(raw, prefix, expiry):
    """An age that Redis cannot store leaves no key without TTL: the longest possible TTL is set."""
    session = SessionStore()
    session.set_expiry(expiry)
    session.save()
    assert MAX_TTL - SLACK <= ttl_of(session, raw, prefix) <= MAX_TTL


@pytest.mark.parametrize("expiry", ["never", float("nan"), object()])
def test_an_invalid_expiry(live, raw, prefix, expiry):
    """A value that is not a valid expiry raises before anything is written."""
    before = live.inspect().fields
    live["_session_expiry"] = expiry
    live["color"] = "blue"
    with pytest.raises((ValueError, TypeError)):
        live.save()
    assert live.inspect().fields == before


def test_times_come_from_the_server(live, raw, prefix):
    """The times in the indexes follow from the expiry of the hash, and come from the server."""
    live["_auth_user_id"] = "1"
    live.save()
    expect_listed(raw, prefix)
    assert int(live.inspect().fields["@updated"]) <= raw.time()[0]


def test_index_keys_live_as_long_as_their_longest_member(raw, prefix):
    """The TTL of an index is at least that of its longest-lived member, and at most 1/16 more."""
    for seconds in (100, 5000, 300):
        session = SessionStore()
        session["_auth_user_id"] = "1"
        session.set_expiry(seconds)
        session.save()
    for name in ("index", "index:signed-in", "user:1"):
        assert 5000 - SLACK <= raw.ttl(f"{prefix}:{name}") <= 5000 * 17 / 16 + 1
    expect_listed(raw, prefix)


def test_increment_keeps_the_ttl(live, raw, prefix):
    """Incrementing does not change the TTL. The save that follows extends it."""
    raw.expire(f"{prefix}:{session_id(live.session_key)}", 100)
    live.increment("counter")
    assert 100 - SLACK <= ttl_of(live, raw, prefix) <= 100
