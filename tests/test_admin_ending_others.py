"""Tests "End all but mine" in the admin: all sessions of the site end, except one's own."""

import pytest
from django.contrib.auth.models import User
from django.contrib.messages import get_messages

from sessions_redis import registry
from sessions_redis.admin import listing
from sessions_redis.engine import SessionStore
from tests.section import own_id, signed_in, staff, text_of, url, use_section
from tests.test_admin_ending import YES, live_ids, logged, said

pytestmark = pytest.mark.django_db

BUTTON = "End all but mine"
WORDS = "Ended, together with all sessions except that of the staff member."


@pytest.fixture(autouse=True)
def section(settings):
    use_section(settings)


@pytest.fixture
def ada():
    return User.objects.create_user("ada", "countess@example.com")


def test_all_but_mine(admin_client, ada, ended):
    """The page names the number and the sessions. Then all others end, and the log has each."""
    of_ada, anonymous = signed_in(ada), signed_in()
    page = admin_client.get(url("end_others"))
    assert "all sessions except the one that you are using" in text_of(page)
    assert "2 sessions" in text_of(page)
    assert f"{of_ada[:8]} (ada) , Firefox on Linux, 203.0.113.7, created" in text_of(page)
    assert own_id(admin_client)[:8] not in text_of(page)
    assert live_ids() == {of_ada, anonymous, own_id(admin_client)}

    response = admin_client.post(url("end_others"), YES)
    assert (response.url, said(response)) == (url(), ["2 sessions were ended."])
    assert live_ids() == {own_id(admin_client)}
    assert sorted(logged()) == sorted(
        [
            (of_ada, f"{of_ada[:8]} (user {ada.pk})", WORDS, "admin"),
            (anonymous, f"{anonymous[:8]} (anonymous)", WORDS, "admin"),
        ]
    )
    assert set(ended) == {(of_ada, str(ada.pk), "admin"), (anonymous, None, "admin")}
    assert admin_client.get(url()).status_code == 200


def test_asking_ends_nothing(admin_client, ada):
    """Neither opening the page nor an unconfirmed form ends a session."""
    id = signed_in(ada)
    admin_client.get(url("end_others"), YES)
    admin_client.post(url("end_others"), {})
    assert id in live_ids()


def test_nobody_else(admin_client):
    """If there is no other session, a message says so."""
    response = admin_client.get(url("end_others"))
    assert (response.url, said(response)) == (url(), ["There are no sessions left to end."])


def test_several_batches(admin_client, ada, monkeypatch):
    """However many sessions there are, all others end, and the log names the user of each."""
    monkeypatch.setattr(listing, "END_MANY_BATCH_SIZE", 2)
    ids = {signed_in(ada, seconds=100 + number) for number in range(7)}
    response = admin_client.post(url("end_others"), YES)
    assert said(response) == ["7 sessions were ended."]
    assert {(id, label) for id, label, _, _ in logged()} == {
        (id, f"{id[:8]} (user {ada.pk})") for id in ids
    }


def test_a_session_that_began_meanwhile(admin_client, ada, monkeypatch):
    """A session that the list did not have ends as well. The log does not say whose it was."""
    first, end_many, more = signed_in(ada), registry.end_many, []

    def end_and_sign_in(ids, **options):
        ended = end_many(ids, **options)
        more.append(signed_in(ada))
        return ended

    monkeypatch.setattr(registry, "end_many", end_and_sign_in)
    response = admin_client.post(url("end_others"), YES)
    assert said(response) == ["2 sessions were ended."]
    assert live_ids() == {own_id(admin_client)}
    (last,) = more
    labels = {id: label for id, label, _, _ in logged()}
    assert labels == {first: f"{first[:8]} (user {ada.pk})", last: last[:8]}


def test_a_new_key_meanwhile(admin_client, monkeypatch):
    """The staff member's own session stays, even if it gets a new key meanwhile."""
    signed_in()
    session, end_each = SessionStore(admin_client.session.session_key), registry.end_each
    session["color"] = "red"

    def cycle(**options):
        session.cycle_key()
        return end_each(**options)

    monkeypatch.setattr(registry, "end_each", cycle)
    response = admin_client.post(url("end_others"), YES)
    assert [str(message) for message in get_messages(response.wsgi_request)] == [
        "1 session was ended."
    ]
    assert SessionStore().exists(session.session_key)


@pytest.mark.parametrize(
    ("permissions", "may"),
    [
        (["view_session", "delete_session"], True),
        (["view_session"], False),
        (["delete_session"], False),
        ([], False),
    ],
)
def test_permissions(client, permissions, may):
    """It needs the permissions to view and to end sessions. Others see no button."""
    client.force_login(staff("eve", *permissions))
    id = signed_in()
    assert client.get(url("end_others")).status_code == (200 if may else 403)
    assert (client.post(url("end_others"), YES).status_code == 302) is may
    assert (id in live_ids()) is not may
    page = client.get(url())
    assert page.status_code == (200 if permissions else 403)
    assert (BUTTON in page.content.decode()) is may


@pytest.mark.parametrize(
    ("query", "has"),
    [("", True), ("?o=7", True), ("?signed_in=yes", False), ("?q=ada", False), ("?user=1", False)],
)
def test_the_button(admin_client, ada, query, has):
    """The list of all sessions has the button. A filtered list has none: it does not end these."""
    signed_in(ada)
    page = admin_client.get(url() + query).content.decode()
    assert (f'<a href="{url("end_others")}">{BUTTON}</a>' in page) is has


def test_without_an_index(admin_client, settings, session_redis):
    """Without an index, the page says why it cannot list sessions."""
    settings.SESSION_REDIS = {**session_redis, "INDEX": False}
    page = admin_client.get(url("end_others"))
    assert "not configured to list its sessions" in text_of(page)
