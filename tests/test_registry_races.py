"""Promises 2, 3 and 11 with the registry in play: what it ends is over, whatever is under way."""

import pytest
from django.contrib.auth.models import User
from django.contrib.sessions.backends.base import UpdateError
from django.contrib.sessions.exceptions import SessionInterrupted
from django.http import HttpResponse
from django.test import RequestFactory

from sessions_redis import registry
from sessions_redis.engine import SessionStore
from sessions_redis.middleware import SessionMiddleware
from sessions_redis.storage.commands import session_id
from tests.site import use_site
from tests.test_races import keys_of, run

ENDINGS = 300
USERS = 100


def signed_in(user):
    session = SessionStore()
    session["_auth_user_id"] = str(user)
    session.create()
    return session


def raced(sessions, server, prefix):
    """What both workers of a race are told."""
    return {
        "session_keys": [session.session_key for session in sessions],
        "turns": f"turns-of-{prefix}",
        "url": server.url,
    }


# Requests in flight


WRITES = {
    "save": lambda session: session.save(),
    "save a change": lambda session: (session.update({"color": "blue"}), session.save()),
    "clear and save": lambda session: (session.clear(), session.save()),
    "cycle": lambda session: session.cycle_key(),
    "increment": lambda session: session.increment("counter"),
}


@pytest.mark.parametrize("write", WRITES)
@pytest.mark.parametrize("by", ["id", "user"])
def test_a_request_in_flight_cannot_bring_it_back(raw, prefix, write, by):
    """Who loaded the session before it was ended is refused afterwards, and writes nothing."""
    session = SessionStore(signed_in(1).session_key)
    assert session["_auth_user_id"] == "1"
    if by == "id":
        registry.end(session_id(session.session_key))
    else:
        registry.end_all_of(1)
    with pytest.raises(UpdateError):
        WRITES[write](session)
    assert keys_of(raw, prefix) == []


def visit(session, view, settings):
    request = RequestFactory().get("/", headers={"user-agent": "another one"})
    request.COOKIES[settings.SESSION_COOKIE_NAME] = session.session_key
    return SessionMiddleware(view)(request)


def test_a_view_that_changes_what_is_ended_meanwhile(settings, raw, prefix):
    """The visitor is told that the session was interrupted; nothing is left."""

    def view(request):
        request.session["color"] = "blue"
        registry.end(session_id(request.session.session_key))
        return HttpResponse()

    with pytest.raises(SessionInterrupted):
        visit(signed_in(1), view, settings)
    assert keys_of(raw, prefix) == []


def test_a_view_that_reads_what_is_ended_meanwhile(settings, raw, prefix):
    """The response goes out, and noting the visitor's address brings nothing back."""

    def view(request):
        user = request.session["_auth_user_id"]
        registry.end_all_of(user)
        return HttpResponse(user)

    assert visit(signed_in(1), view, settings).content == b"1"
    assert keys_of(raw, prefix) == []


@pytest.mark.django_db
def test_a_browser_is_refused_at_its_next_request(settings, client, raw, prefix):
    """The next request of an ended session is nobody's, and its cookie is taken back."""
    use_site(settings)
    client.force_login(User.objects.create_superuser("ada"))
    assert client.get("/admin/").status_code == 200
    registry.end_all_of(User.objects.get())
    response = client.get("/admin/")
    assert response.status_code == 302
    assert response.cookies["session-id"]["max-age"] == 0
    assert keys_of(raw, prefix) == []


# Processes


def test_nothing_comes_back(session_redis, server, prefix, raw):
    """A session that is ended while another process saves it never comes back."""
    sessions = [signed_in(number % 7) for number in range(ENDINGS)]
    arguments = raced(sessions, server, prefix)
    saver, ender = run(session_redis, ("save_until_gone", arguments), ("end_when_told", arguments))
    raw.delete(arguments["turns"])
    left = keys_of(raw, prefix)
    print(f"came back: {len(left)} of {ender}, after {saver['saved']} saves")
    assert left == []
    assert saver["refused"] == ender == ENDINGS


def test_nothing_slips_away(session_redis, server, prefix, raw):
    """All sessions of a user end, also one that another process moves from key to key."""
    sessions = [signed_in(number) for number in range(USERS)]
    beside = [signed_in(number) for number in range(USERS)]
    arguments = raced(sessions, server, prefix)
    moves, ended = run(
        session_redis, ("cycle_until_gone", arguments), ("end_all_when_told", arguments)
    )
    raw.delete(arguments["turns"])
    left = keys_of(raw, prefix)
    print(f"slipped away: {len(left)} of {sum(ended)}, after {moves} moves")
    assert left == []
    assert ended == [2] * USERS
    assert moves >= USERS
    assert not any(session.exists(session.session_key) for session in beside)
