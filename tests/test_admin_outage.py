"""Tests the section's pages while Redis is away, or if the site keeps no indexes."""

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import User
from django.test import Client

from sessions_redis import registry
from sessions_redis.exceptions import SessionStoreUnavailable
from tests.section import listed, signed_in, text_of, url, use_section
from tests.servers import free_port

ID = "0" * 32
YES = {"post": "yes"}
SELECTED = {"action": "delete_selected", "_selected_action": [ID]}

# Every page of the section that needs Redis: method, page, its arguments, and a form.
PAGES = {
    "list": ("get", "changelist", [], {}),
    "filtered list": ("get", "changelist", [], {"signed_in": "no"}),
    "search": ("get", "changelist", [], {"q": "1"}),
    "session": ("get", "change", [ID], {}),
    "change": ("post", "change", [ID], {}),
    "history": ("get", "history", [ID], {}),
    "end": ("get", "delete", [ID], {}),
    "end, confirmed": ("post", "delete", [ID], YES),
    "end selected": ("post", "changelist", [], {**SELECTED, "index": 0}),
    "end selected, confirmed": ("post", "changelist", [], {**SELECTED, **YES}),
    "end all of a user": ("get", "end_all", ["1"], {}),
    "end all of a user, confirmed": ("post", "end_all", ["1"], YES),
    "find by key": ("post", "find", [], {"session_key": "x"}),
}

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def section(settings):
    """Sign the viewer in without Redis."""
    use_section(settings)
    settings.SESSION_ENGINE = "django.contrib.sessions.backends.db"


@pytest.fixture
def away(settings, session_redis):
    settings.SESSION_REDIS = {
        **session_redis,
        "LOCATION": f"redis://:password@127.0.0.1:{free_port()}/0",
    }


def ask(client, page):
    method, name, arguments, form = PAGES[page]
    return getattr(client, method)(url(name, *arguments), form)


@pytest.mark.parametrize("page", PAGES)
def test_redis_is_away(admin_client, away, page):
    """Each page answers 503 in the admin's layout, and says to try again."""
    response = ask(admin_client, page)
    text = text_of(response)
    assert (response.status_code, response["Retry-After"]) == (503, "5")
    assert "The site cannot read sessions from Redis now." in text
    assert "Nothing was ended." in text
    assert "Django administration" in text
    assert "password@" not in response.content.decode()
    assert not LogEntry.objects.exists()


def test_the_rest_of_the_admin_works(admin_client, away):
    """The start page and other sections work."""
    assert "Sessions" in text_of(admin_client.get("/admin/"))
    assert admin_client.get("/admin/auth/user/").status_code == 200


def test_permissions_come_first(client, away):
    """Staff without permission get that error, even while Redis is away."""
    client.force_login(User.objects.create_user("nobody", is_staff=True))
    for page in ("list", "find by key", "end all of a user"):
        assert ask(client, page).status_code == 403


def test_redis_goes_away_meanwhile(admin_client, monkeypatch):
    """Sessions that ended before the outage are logged. Others are neither ended nor logged."""
    monkeypatch.setattr("sessions_redis.admin.listing.END_MANY_BATCH_SIZE", 2)
    ids = [signed_in(seconds=100 + number) for number in range(4)]
    end = registry.end_many

    def end_once(batch, **kwargs):
        monkeypatch.setattr(registry, "end_many", fail)
        return end(batch, **kwargs)

    def fail(batch, **kwargs):
        raise SessionStoreUnavailable("gone")

    monkeypatch.setattr(registry, "end_many", end_once)
    form = {"action": "delete_selected", "_selected_action": ids, **YES}
    assert admin_client.post(url(), form).status_code == 503
    assert {entry.object_id for entry in LogEntry.objects.all()} == set(ids[2:])
    assert {session.id for session in registry.latest()} == set(ids[:2])


def test_redis_goes_away_after_the_visitor_was_recognized(settings, admin_user, monkeypatch):
    """The page works even if the viewer's own session is in the same Redis."""

    def fail(selection):
        raise SessionStoreUnavailable("gone")

    settings.SESSION_ENGINE = "sessions_redis.engine"
    client = Client()
    client.force_login(admin_user)
    monkeypatch.setattr(registry, "count", fail)
    response = client.get(url())
    assert response.status_code == 503
    assert "The site cannot read sessions from Redis" in text_of(response)


NEED_INDEX = {"list", "filtered list", "search", "end all of a user"}


@pytest.mark.parametrize("page", sorted(NEED_INDEX))
def test_without_indexes(settings, session_redis, admin_client, page):
    """Pages that need the indexes say which setting is off."""
    settings.SESSION_REDIS = {**session_redis, "INDEX": False}
    response = ask(admin_client, page)
    assert response.status_code == 200
    assert "This site is not configured to list its sessions." in text_of(response)
    assert 'SESSION_REDIS["INDEX"] is False. Set it to True' in text_of(response)


def test_what_needs_no_index(settings, session_redis, admin_client, live):
    """Without indexes, a session can be found by its key, viewed and ended."""
    settings.SESSION_REDIS = {**session_redis, "INDEX": False}
    page = admin_client.post(url("find"), {"session_key": live.session_key}, follow=True)
    assert "color text 5 bytes" in text_of(page)
    id = page.context["original"].pk
    assert admin_client.post(url("delete", id), YES).status_code == 302
    assert registry.find(id) is None


def test_a_site_that_is_not_set_up(settings, admin_client):
    """If a setting is missing, the section says what to write."""
    settings.SESSION_REDIS = None
    response = admin_client.get(url())
    assert "SESSION_REDIS is not set." in text_of(response)


def test_sessions_kept_elsewhere(admin_client):
    """If another engine keeps the site's sessions, no session is marked as the viewer's own."""
    id = signed_in()
    page = admin_client.get(url())
    assert listed(page) == [id]
    assert "(yours)" not in text_of(page)
