"""Tests ``/api/sessions/``, which lists and ends the user's own sessions as JSON."""

import re
from datetime import UTC, datetime, timedelta
from functools import partial

import pytest
from django.contrib.auth.models import User
from django.core.exceptions import ImproperlyConfigured
from django.test import Client

from sessions_redis import registry
from sessions_redis.engine import SessionStore
from sessions_redis.storage.commands import session_id
from tests.servers import Server
from tests.site import id_of, signed_in_browser, use_site
from tests.test_registry import started

LIST = "/api/sessions/"
OTHERS = f"{LIST}?others=1"
UNKNOWN = "0123456789abcdef" * 2

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def site(settings, session_redis):
    use_site(settings)
    return settings


@pytest.fixture
def ada():
    return User.objects.create_user("ada")


@pytest.fixture
def browser(ada):
    return signed_in(ada)


signed_in = partial(signed_in_browser, page=LIST)


def is_signed_in(browser):
    return browser.get(LIST).status_code == 200


def assert_refused(response, status):
    """The response is a JSON error that is not cached, and keeps the visitor's cookie."""
    assert response.status_code == status
    assert response["Content-Type"] == "application/json"
    assert response["Cache-Control"] == "no-store"
    assert list(response.json()) == ["error"]
    assert "session-id" not in response.cookies


# GET


def test_the_list(ada, browser):
    """
    The list has the documented shape, marks the current session, and has no other user's sessions.
    """
    other = signed_in(ada)
    signed_in(User.objects.create_user("bob"))
    response = browser.get(LIST)
    assert response.status_code == 200
    assert response["Content-Type"] == "application/json"
    assert response["Cache-Control"] == "no-store"
    assert list(response.json()) == ["sessions", "total", "next"]
    assert (response.json()["total"], response.json()["next"]) == (2, None)
    sessions = {session["id"]: session for session in response.json()["sessions"]}
    assert sessions.keys() == {id_of(browser), id_of(other)}
    assert {id for id, session in sessions.items() if session["current"]} == {id_of(browser)}
    for session in sessions.values():
        times = ["created", "updated", "last_active", "expires"]
        assert list(session) == ["id", "current", "device", "ip", *times]
        assert (session["device"], session["ip"]) == ("Firefox on Linux", "198.51.100.7")


@pytest.mark.parametrize("total", [99, 100, 101, 201])
def test_pages(ada, browser, total):
    """Each page has at most 100 sessions, and the URL of the next page."""
    for _ in range(total - 1):
        started(str(ada.pk))
    address, found, sizes = LIST, [], []
    while address:
        page = browser.get(address).json()
        assert page["total"] == total
        found += page["sessions"]
        sizes.append(len(page["sessions"]))
        address = page["next"]
    assert sizes == {99: [99], 100: [100], 101: [100, 1], 201: [100, 100, 1]}[total]
    assert len({session["id"] for session in found}) == total
    created = [session["created"] for session in found]
    assert created == sorted(created, reverse=True)


@pytest.mark.parametrize("offset", ["1", "00", "999999999"])
def test_offsets(browser, offset):
    """After the last session, the page is empty."""
    page = browser.get(f"{LIST}?offset={offset}").json()
    assert (len(page["sessions"]), page["total"], page["next"]) == (int(offset == "00"), 1, None)


@pytest.mark.parametrize("offset", ["", "-1", "x", "1.5", "\u0661", "9" * 10, "0\n"])
def test_what_is_no_offset(browser, offset):
    """An invalid offset is an error that explains it."""
    assert_refused(browser.get(LIST, {"offset": offset}), 400)


def test_times(browser):
    """Times are in ISO 8601, in UTC, and all in one format."""
    (session,) = browser.get(LIST).json()["sessions"]
    for name in ("created", "updated", "last_active", "expires"):
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", session[name])
    created, updated, expires = (
        datetime.fromisoformat(session[name]) for name in ("created", "updated", "expires")
    )
    assert created.utcoffset() == timedelta()
    assert created <= updated <= datetime.now(UTC) < expires <= updated + timedelta(seconds=901)


def test_what_is_not_known(settings, session_redis, ada):
    """Without metadata, the address is null and the device unknown."""
    settings.SESSION_REDIS = {**session_redis, "METADATA": False}
    (session,) = signed_in(ada).get(LIST).json()["sessions"]
    assert (session["device"], session["ip"]) == ("Unknown device", None)


def test_head(browser):
    """HEAD gets the response of GET, without the body."""
    response = browser.head(LIST)
    assert (response.status_code, response.content) == (200, b"")


def test_no_session_key_is_told(ada, browser):
    """The response has no session keys, so it cannot be used to take over a session."""
    other = signed_in(ada)
    text = browser.get(LIST).content.decode()
    for each in (browser, other):
        assert each.cookies["session-id"].value not in text


# DELETE


def test_ending_one(ada, browser):
    """The ended session is refused at its next request. The others still work."""
    phone, tablet = signed_in(ada), signed_in(ada)
    response = browser.delete(f"{LIST}{id_of(phone)}")
    assert (response.status_code, response.json()) == (200, {"ended": 1})
    assert response["Cache-Control"] == "no-store"
    assert not is_signed_in(phone)
    assert is_signed_in(tablet)
    assert is_signed_in(browser)
    assert_refused(browser.delete(f"{LIST}{id_of(tablet)[::-1]}"), 404)


def test_ending_this_one(browser):
    """Ending the current session is a logout, and deletes the cookie."""
    key = browser.cookies["session-id"].value
    response = browser.delete(f"{LIST}{id_of(browser)}")
    assert (response.status_code, response.json()) == (200, {"ended": 1})
    assert response.cookies["session-id"]["max-age"] == 0
    assert not SessionStore().exists(key)
    assert not is_signed_in(browser)


def test_what_is_not_yours_is_not_there(browser):
    """Another user's session gives the same response as one that never existed, and stays."""
    other = signed_in(User.objects.create_user("bob"))
    anonymous = SessionStore()
    anonymous["color"] = "red"
    anonymous.save()
    answers = set()
    for id in (
        UNKNOWN,
        id_of(other),
        session_id(anonymous.session_key),
        "junk",
        other.cookies["session-id"].value,
    ):
        response = browser.delete(f"{LIST}{id}")
        assert_refused(response, 404)
        answers.add((response.content, tuple(response.items())))
    assert len(answers) == 1
    assert is_signed_in(other)


def test_it_ended_meanwhile(ada, browser, monkeypatch):
    """If two requests end one session, the second gets a 404."""
    phone = signed_in(ada)
    path = f"{LIST}{id_of(phone)}"
    find = registry.find

    def find_and_let_another_end(id):
        found = find(id)
        SessionStore().delete(phone.cookies["session-id"].value)
        return found

    monkeypatch.setattr(registry, "find", find_and_let_another_end)
    assert_refused(browser.delete(path), 404)


def test_ending_all_others(ada, browser):
    """Ends all sessions except the current one, and returns their number."""
    others = [signed_in(ada), signed_in(ada)]
    bob = signed_in(User.objects.create_user("bob"))
    response = browser.delete(OTHERS)
    assert (response.status_code, response.json()) == (200, {"ended": 2})
    assert not any(map(is_signed_in, others))
    assert is_signed_in(browser)
    assert is_signed_in(bob)
    assert browser.delete(OTHERS).json() == {"ended": 0}


@pytest.mark.parametrize("query", ["", "?others=0", "?others=", "?others=true", "?all=1"])
def test_all_is_never_meant_by_mistake(ada, browser, query):
    """Without ?others=1 nothing ends, and the error says what to add."""
    other = signed_in(ada)
    response = browser.delete(f"{LIST}{query}")
    assert_refused(response, 400)
    assert "?others=1" in response.json()["error"]
    assert is_signed_in(other)
    assert is_signed_in(browser)


# Refusals


REQUESTS = {
    "list": ("get", LIST),
    "end": ("delete", f"{LIST}{UNKNOWN}"),
    "end others": ("delete", OTHERS),
    "end nothing": ("delete", LIST),
}


@pytest.mark.parametrize("request_", REQUESTS)
def test_who_is_not_signed_in(request_, raw, prefix):
    """Anonymous visitors get a 401, and no session."""
    method, path = REQUESTS[request_]
    client = Client(enforce_csrf_checks=True)
    assert_refused(getattr(client, method)(path), 401)
    assert list(raw.scan_iter(f"{prefix}:*")) == []


@pytest.mark.parametrize("request_", REQUESTS)
def test_who_is_not_signed_in_any_more(request_, ada):
    """An ended session gets a 401, and its cookie is deleted, as usual."""
    browser = signed_in(ada)
    registry.end_all_of(ada)
    method, path = REQUESTS[request_]
    response = getattr(browser, method)(path)
    assert response.cookies.pop("session-id")["max-age"] == 0
    assert_refused(response, 401)


def test_an_anonymous_session_is_not_signed_in(client):
    """A session without a user gets a 401, and stays."""
    key = client.get("/api/user/noah").json()["sessionId"]
    assert_refused(client.get(LIST), 401)
    assert_refused(client.delete(f"{LIST}{session_id(key)}"), 401)
    assert SessionStore().exists(key)


def test_csrf(ada):
    """DELETE needs the token that GET sets. Without it, or from another site: 403 in JSON."""
    browser = signed_in(ada, enforce_csrf_checks=True)
    phone = signed_in(ada)
    token = browser.cookies["csrftoken"].value
    for path in (f"{LIST}{id_of(phone)}", OTHERS, f"{LIST}{UNKNOWN}"):
        assert_refused(browser.delete(path), 403)
        assert_refused(browser.delete(path, headers={"x-csrftoken": "x" * 32}), 403)
        foreign = {"x-csrftoken": token, "origin": "https://elsewhere.example.com"}
        assert_refused(browser.delete(path, headers=foreign), 403)
    assert is_signed_in(phone)
    sent = browser.delete(OTHERS, headers={"x-csrftoken": token})
    assert (sent.status_code, sent.json()) == (200, {"ended": 1})


@pytest.mark.parametrize("path", [LIST, f"{LIST}{UNKNOWN}"])
@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "OPTIONS", "TRACE"])
def test_other_methods(ada, path, method):
    """Other methods get a 405 with Allow for every visitor, not the CSRF page."""
    for client in (Client(enforce_csrf_checks=True), signed_in(ada, enforce_csrf_checks=True)):
        response = client.generic(method, path)
        assert_refused(response, 405)
        assert response["Allow"] == ("GET, HEAD, DELETE" if path == LIST else "DELETE")


def test_one_session_is_not_shown(browser):
    """No URL shows a single session."""
    assert_refused(browser.get(f"{LIST}{id_of(browser)}"), 405)


def test_addresses_nearby(browser):
    """Other URLs nearby get the API's own 404."""
    for path in ("/api/sessions", f"{LIST}{UNKNOWN}/", f"{LIST}a/b"):
        assert_refused(browser.get(path), 404)


# During an outage


def test_redis_is_away(settings, session_redis, tmp_path, ada, caplog):
    """503 with Retry-After. The cookie and the session stay."""
    server = Server(tmp_path, "--appendonly", "yes", "--appendfsync", "always")
    settings.SESSION_REDIS = {**session_redis, "LOCATION": server.url}
    browser = signed_in(ada)
    server.stop()
    for response in (
        browser.get(LIST),
        browser.delete(f"{LIST}{id_of(browser)}"),
        browser.delete(OTHERS),
    ):
        assert_refused(response, 503)
        assert int(response["Retry-After"]) > 0
        assert str(server.port) not in response.content.decode()
    assert f"127.0.0.1:{server.port}" in caplog.text
    server.start()
    assert is_signed_in(browser)
    server.stop()


def test_without_indexes(settings, session_redis, browser):
    """Without indexes, the error names the setting to change."""
    settings.SESSION_REDIS = {**session_redis, "INDEX": False}
    with pytest.raises(ImproperlyConfigured, match='SESSION_REDIS\\["INDEX"\\] is False'):
        browser.get(LIST)
