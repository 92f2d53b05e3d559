"""Tests the admin's page of the largest sessions."""

import pytest
from django.template.defaultfilters import filesizeformat

from sessions_redis.admin import largest
from tests.section import own_id, signed_in, staff, text_of, url, use_section

pytestmark = pytest.mark.django_db

ALL = "This page measured all sessions, and shows the largest of them."


@pytest.fixture(autouse=True)
def section(settings):
    use_section(settings)


@pytest.fixture
def viewer(client):
    """The browser of a staff member who may view sessions, but not users."""
    client.force_login(staff("viewer", "view_session"))
    return client


def shown(page):
    return [session.pk for session, _, _ in page.context["rows"]]


def test_the_largest_sessions(viewer, raw, prefix):
    """They are in order of size, each with a link to its page and its user."""
    small, large, middle = (signed_in("7", photo="x" * size) for size in (10, 90_000, 5_000))
    page = viewer.get(url("largest"))
    assert shown(page) == [large, middle, *shown(page)[2:]]
    assert set(shown(page)) == {small, large, middle, own_id(viewer)}
    text = text_of(page)
    assert ALL in text
    assert "(yours)" in text
    assert "MAX_SESSION_BYTES" not in text
    for id in (small, large, middle):
        # A hash that the server moves to a larger table takes some bytes more meanwhile.
        taken = raw.memory_usage(f"{prefix}:{id}", samples=0)
        sizes = {filesizeformat(taken + more).replace("\xa0", " ") for more in range(-64, 65, 16)}
        assert any(f"{id[:8]} user 7 {size}" in text for size in sizes)
    assert url("change", large) in page.content.decode()
    assert viewer.get(url("change", large)).status_code == 200
    assert page.content.decode().count("<a href=") > 3


def test_the_list_links_it(viewer):
    """The list has a button for the page, which keeps the filters of the list."""
    assert url("largest") in viewer.get(url(), {"signed_in": "yes"}).content.decode()


def test_a_sample(viewer, monkeypatch):
    """With more sessions than it measures, the page says that others may be larger."""
    monkeypatch.setattr(largest, "SAMPLE", 2)
    for _ in range(3):
        signed_in()
    page = viewer.get(url("largest"))
    assert len(shown(page)) == 2
    text = text_of(page)
    assert "measured 2 sessions that were chosen at random" in text
    assert ALL not in text


def test_the_limit(viewer, settings, session_redis):
    """The page names the limit, if there is one."""
    settings.SESSION_REDIS = {**session_redis, "MAX_SESSION_BYTES": 2048}
    assert "may take 2.0\xa0KB (MAX_SESSION_BYTES)" in viewer.get(url("largest")).content.decode()


def test_a_server_that_does_not_say(viewer, settings):
    """Without MEMORY USAGE, as with memory://, the page says so."""
    settings.SESSION_REDIS = {"LOCATION": "memory://largest"}
    viewer.force_login(staff("other", "view_session"))
    assert "does not say how much memory" in text_of(viewer.get(url("largest")))


def test_without_sessions(viewer, settings, session_redis):
    """With another engine for the site's own sessions, there may be none."""
    settings.SESSION_ENGINE = "django.contrib.sessions.backends.signed_cookies"
    viewer.force_login(staff("other", "view_session"))
    settings.SESSION_REDIS = {**session_redis, "KEY_PREFIX": f"{session_redis['KEY_PREFIX']}-no"}
    assert "There are no sessions." in text_of(viewer.get(url("largest")))


def test_who_may_see_it(client):
    """Only staff who may view sessions."""
    client.force_login(staff("ender", "delete_session"))
    assert client.get(url("largest")).status_code == 403
    client.logout()
    assert client.get(url("largest")).status_code == 302


def test_redis_is_away(viewer, settings, session_redis):
    """The page is that of a failure, with status 503."""
    settings.SESSION_ENGINE = "django.contrib.sessions.backends.signed_cookies"
    viewer.force_login(staff("other", "view_session"))
    settings.SESSION_REDIS = {**session_redis, "LOCATION": "redis://127.0.0.1:1/0"}
    assert viewer.get(url("largest")).status_code == 503
