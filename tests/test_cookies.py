"""Promise 6: no cookie makes the site adopt an unknown key, and hostile cookies break nothing."""

import pytest
from django.contrib.sessions.middleware import SessionMiddleware
from django.http import HttpResponse
from django.test import RequestFactory
from hypothesis import HealthCheck, given, settings, strategies

from sessions_redis.engine import SessionStore
from sessions_redis.storage.commands import session_id

# All examples of a test share its fixtures, so no example leaves anything behind.
examples = settings(
    max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)

HOSTILE = strategies.one_of(
    strategies.text(min_size=8),
    strategies.text(strategies.characters(max_codepoint=0xFF), min_size=8),
    strategies.text("*?[]{}\\^$:\r\n\0 \t@-", min_size=8),
    strategies.sampled_from(
        [
            "*" * 32,
            "session:index",
            "user:1\r\n*1\r\n$8\r\nFLUSHALL\r\n",
            "\r\nFLUSHALL\r\n",
            "a" * 100_000,
            "\ud800" * 8,
            "{hashtag}",
            "%00%0d%0a%s%n",
            "../../../../etc/passwd",
        ]
    ),
)


@examples
@given(key=HOSTILE)
def test_a_hostile_key_names_no_session(live, raw, prefix, key):
    """A hostile key loads as an empty session, is not adopted, and changes nothing in Redis."""
    session = SessionStore(key)
    assert session.exists(key) is False
    assert dict(session.items()) == {}
    assert session.session_key is None
    SessionStore(key).delete()
    assert raw.exists(f"{prefix}:{session_id(key)}") == 0
    assert dict(SessionStore(live.session_key).items()) == {"color": "red"}
    assert raw.zcard(f"{prefix}:index") == 1


@examples
@given(key=HOSTILE)
def test_a_hostile_cookie_gets_a_fresh_session(key):
    """A request that writes gets a session under a key that the client did not choose."""

    def view(request):
        request.session["color"] = request.session.get("color", "red")
        return HttpResponse()

    request = RequestFactory().get("/")
    request.COOKIES["sessionid"] = key
    response = SessionMiddleware(view)(request)
    fresh = response.cookies["sessionid"].value
    assert fresh != key
    assert len(fresh) == 32
    SessionStore(fresh).delete()


@examples
@given(key=strategies.text(min_size=8))
def test_ids_are_32_hex_digits(key):
    """For any key, the name in Redis has the same form and does not reveal the key."""
    id = session_id(key)
    assert len(id) == 32
    assert set(id) <= set("0123456789abcdef")


@pytest.mark.parametrize("key", ["", "short", None])
def test_a_key_that_is_too_short_is_none(key):
    """A key that is too short sends no command."""
    assert SessionStore(key).session_key is None
