"""Tests ending sessions in the admin: one session, selected sessions, all sessions of a user."""

import pytest
from django.contrib.admin.models import DELETION, LogEntry
from django.contrib.auth.models import User
from django.contrib.messages import get_messages
from django.db import DatabaseError

from sessions_redis import registry
from sessions_redis.engine import SessionStore
from tests.section import own_id, said_by, signed_in, staff, text_of, url, use_section
from tests.test_storage_listings import members

pytestmark = pytest.mark.django_db

YES = {"post": "yes"}
YES_TWICE = {"post": "yes", "own": "yes"}


@pytest.fixture(autouse=True)
def section(settings):
    use_section(settings)


@pytest.fixture
def ada():
    return User.objects.create_user("ada", "countess@example.com")


def live_ids():
    return {session.id for session in registry.latest(0, 10_000)}


def said(response):
    return [str(message) for message in get_messages(response.wsgi_request)]


def logged():
    return [
        (entry.object_id, entry.object_repr, said_by(entry), entry.user.get_username())
        for entry in LogEntry.objects.order_by("pk")
        if entry.action_flag == DELETION
    ]


def selected(*ids, **more):
    return {"action": "delete_selected", "_selected_action": ids, **more}


# One


def test_one(admin_client, ada, ended, raw, prefix):
    """
    The page asks. Then the session and its index members are gone, the log has it, and a message
    says so.
    """
    id, other = signed_in(ada), signed_in(ada)
    page = admin_client.get(url("delete", id))
    assert f"{id[:8]} (ada) , Firefox on Linux, 203.0.113.7, created" in text_of(page)
    assert f'<a href="{url("change", id)}">{id[:8]} (ada)</a>, ' in page.content.decode()
    assert "Are you sure you want to end this session?" in text_of(page)
    assert live_ids() == {id, other, own_id(admin_client)}

    response = admin_client.post(url("delete", id), YES)
    assert (response.url, said(response)) == (url(), ["1 session was ended."])
    assert live_ids() == {other, own_id(admin_client)}
    assert members(raw, f"{prefix}:user:{ada.pk}") == {other}
    assert logged() == [(id, f"{id[:8]} (user {ada.pk})", "Ended.", "admin")]
    assert ended == [(id, str(ada.pk), "admin")]


def test_asking_ends_nothing(admin_client, ada):
    """Neither opening the confirmation page nor an unconfirmed form ends a session."""
    id = signed_in(ada)
    admin_client.get(url("delete", id), YES_TWICE)
    admin_client.post(url("delete", id), {})
    admin_client.get(url("end_all", ada.pk), YES_TWICE)
    admin_client.post(url("end_all", ada.pk), {})
    assert id in live_ids()


def test_the_way_back(admin_client, ada):
    """Afterwards the list has its filters. "No" leads to the session's page."""
    id = signed_in(ada)
    kept = "?_changelist_filters=signed_in%3Dyes"
    page = admin_client.get(url("delete", id) + kept).content.decode()
    assert f'<a role="button" href="{url("change", id)}{kept}"' in page
    response = admin_client.post(url("delete", id) + kept, YES)
    assert response.url == url() + "?signed_in=yes"


def test_without_the_list(client):
    """Staff who may end but not view sessions see the ID, and return to their form."""
    client.force_login(staff("ender", "delete_session"))
    # A name that no ID can hold.
    id = signed_in(User.objects.create_user("Ada Lovelace"))
    page = client.get(url("delete", id))
    assert f"1 session ID {id} No, take me back" in text_of(page)
    assert not any(part in text_of(page) for part in ("Ada", "anonymous", "Firefox", "203.0.113"))
    assert url("change", id) not in page.content.decode()
    assert f'<a role="button" href="{url()}"' in page.content.decode()
    assert client.post(url("delete", id), YES).url == url()
    assert [(object_repr, said) for _, object_repr, said, _ in logged()] == [(id[:8], "Ended.")]


def test_somebody_else_was_faster(admin_client, ada, ended, monkeypatch):
    """If two staff members end a session at once, the log names only the first."""
    id = signed_in(ada)
    find = registry.find_many

    def find_and_end(ids):
        found = find(ids)
        registry.end(id, reason="somebody else")
        return found

    monkeypatch.setattr(registry, "find_many", find_and_end)
    response = admin_client.post(url("delete", id), YES)
    assert said(response) == ["There are no sessions left to end."]
    assert logged() == []
    assert [reason for _, _, reason in ended] == ["somebody else"]


# Selected sessions


def test_selected(admin_client, ada, ended):
    """The page lists the selected sessions, ends them, and logs each."""
    first, second, other = signed_in(ada), signed_in(), signed_in(ada)
    page = admin_client.post(url(), selected(first, second, index=0))
    assert "End selected sessions" in text_of(admin_client.get(url()))
    assert "2 sessions" in text_of(page)
    assert f"{second[:8]} (anonymous)" in text_of(page)
    assert first in live_ids()

    response = admin_client.post(url(), selected(first, second, **YES))
    assert said(response) == ["2 sessions were ended."]
    assert live_ids() == {other, own_id(admin_client)}
    message = "Ended, together with other selected sessions."
    assert sorted(logged()) == sorted(
        [
            (first, f"{first[:8]} (user {ada.pk})", message, "admin"),
            (second, f"{second[:8]} (anonymous)", message, "admin"),
        ]
    )
    assert set(ended) == {(first, str(ada.pk), "admin"), (second, None, "admin")}


def test_selected_that_are_gone(admin_client, ada):
    """The page leaves out selected sessions that have already ended."""
    gone, junk = signed_in(ada), "junk"
    registry.end(gone)
    response = admin_client.post(url(), selected(gone, junk, index=0))
    assert (response.url, said(response)) == (url(), ["There are no sessions left to end."])


def test_selected_of_a_filtered_list(admin_client, ada):
    """A form cannot end sessions that the filtered list does not show."""
    id = signed_in(ada)
    admin_client.post(f"{url()}?signed_in=no", selected(id, **YES))
    assert id in live_ids()
    admin_client.post(f"{url()}?user={ada.pk}", selected(id, **YES))
    assert id not in live_ids()


def test_nothing_selected(admin_client):
    """With no selection, the admin asks to select something."""
    response = admin_client.post(url(), {"action": "delete_selected", "index": 0})
    assert "Items must be selected" in said(response)[0]


@pytest.mark.parametrize("query", ["", "signed_in=no", "expires=day", "o=7"])
def test_all_across_pages(admin_client, ended, monkeypatch, query):
    """ "Select all" ends all filtered sessions in batches. The page lists the first of them."""
    monkeypatch.setattr("sessions_redis.admin.listing.END_MANY_BATCH_SIZE", 50)
    ids = {signed_in(seconds=1000 + number) for number in range(120)}
    own, address = own_id(admin_client), f"{url()}?{query}"
    total = 121 if query in {"", "o=7"} else 120
    page = admin_client.post(address, selected(own, select_across="1", index=0))
    assert f"{total} sessions" in text_of(page)
    assert f"and {total - 100} more" in text_of(page)

    answer = YES_TWICE if total == 121 else YES
    response = admin_client.post(address, selected("", select_across="1", **answer))
    assert said(response) == [f"{total} sessions were ended."]
    assert live_ids() == (set() if total == 121 else {own})
    assert len({id for id, _, _ in ended}) == total
    entries = [id for id, *_ in logged()]
    assert len(entries) == total
    assert set(entries) - {own} == ids


def test_across_pages_ends_what_comes_up_meanwhile_no_more_than_once(admin_client, monkeypatch):
    """New sessions that begin while all are being ended cannot make it run endlessly."""
    monkeypatch.setattr("sessions_redis.admin.listing.END_MANY_BATCH_SIZE", 5)
    for _ in range(9):
        signed_in()
    end = registry.end_many

    def end_and_make_more(ids, **kwargs):
        for _ in range(10):
            signed_in()
        return end(ids, **kwargs)

    monkeypatch.setattr(registry, "end_many", end_and_make_more)
    admin_client.post(f"{url()}?signed_in=no", selected("", select_across="1", **YES))
    assert len(live_ids()) > 10


# All of a user


def test_all_of_a_user(admin_client, ada, ended):
    """Works from the user's list and from a session's page, and logs each session."""
    ids, other = {signed_in(ada) for _ in range(3)}, signed_in()
    address = url("end_all", ada.pk)
    page = admin_client.get(url(), {"user": ada.pk})
    assert f'href="{address}?_changelist_filters=user%3D{ada.pk}"' in page.content.decode()
    page = admin_client.get(address)
    assert "Are you sure you want to end all sessions of ada?" in text_of(page)
    assert "3 sessions" in text_of(page)

    response = admin_client.post(address, YES)
    assert (response.url, said(response)) == (url(), ["3 sessions were ended."])
    assert live_ids() == {other, own_id(admin_client)}
    assert {id for id, *_ in logged()} == ids
    assert {message for _, _, message, _ in logged()} == {
        "Ended, together with all sessions of the user."
    }
    assert set(ended) == {(id, str(ada.pk), "admin") for id in ids}


def test_the_button_is_there_for_a_single_user(admin_client, ada):
    """The button appears if a search finds exactly one user, and not otherwise."""
    signed_in(ada)
    assert "End all sessions of ada" in text_of(admin_client.get(url(), {"q": "ada"}))
    User.objects.create_user("adam")
    assert "End all sessions of" not in text_of(admin_client.get(url(), {"q": "ada"}))
    assert "End all sessions of" not in text_of(admin_client.get(url(), {"user": "4711"}))


@pytest.mark.parametrize("pk", ["a:b", "with spaces", "a/../b_5F?#%", "é\n*"])
def test_all_of_a_user_of_any_key(admin_client, pk):
    """A primary key may be any text."""
    id = signed_in(pk)
    page = admin_client.get(url("change", id))
    address = page.context["end_all_url"]
    assert f'href="{address}"' in page.content.decode()
    assert said(admin_client.post(address, YES)) == ["1 session was ended."]
    assert id not in live_ids()


def test_the_log_names_all_of_them(admin_client, ended, django_assert_max_num_queries):
    """The log has every ended session, and is written in batches."""
    ids = {signed_in("4711") for _ in range(1101)}
    with django_assert_max_num_queries(60):
        admin_client.post(url("end_all", "4711"), YES)
    entries = logged()
    assert len(entries) == len(ended) == 1101
    assert {id for id, *_ in entries} == ids
    assert {name for _, name, *_ in entries} == {f"{id[:8]} (user 4711)" for id in ids}


def test_across_pages_the_log_names_all_of_them(admin_client, ended):
    """The log also has every session that was ended across pages."""
    ids = {signed_in() for _ in range(1101)}
    form = selected("", select_across="1", **YES)
    assert said(admin_client.post(f"{url()}?signed_in=no", form)) == ["1101 sessions were ended."]
    assert len(logged()) == len(ended) == 1101
    assert {id for id, *_ in logged()} == ids


def test_the_log_names_no_others(admin_client, ada, ended, monkeypatch):
    """A session that another staff member ended is not logged for this one."""
    first, second = signed_in(ada), signed_in()
    end = registry.end_many

    def end_after_somebody_else(ids, **kwargs):
        registry.end(first, reason="somebody else")
        return end(ids, **kwargs)

    monkeypatch.setattr(registry, "end_many", end_after_somebody_else)
    response = admin_client.post(url(), selected(first, second, **YES))
    assert said(response) == ["1 session was ended."]
    assert [(id, name) for id, name, *_ in logged()] == [(second, f"{second[:8]} (anonymous)")]
    assert [id for id, _, reason in ended if reason == "admin"] == [second]


def test_the_log_names_what_came_up_meanwhile(admin_client, ada, monkeypatch):
    """A user who signs in while all their sessions are being ended is signed out, and logged."""
    known, end, ids = signed_in(ada), registry.end_each_of, []

    def end_after_a_login(user_pk, **kwargs):
        ids.append(signed_in(ada))
        return end(user_pk, **kwargs)

    monkeypatch.setattr(registry, "end_each_of", end_after_a_login)
    response = admin_client.post(url("end_all", ada.pk), YES)
    assert said(response) == ["2 sessions were ended."]
    assert {(id, name) for id, name, *_ in logged()} == {
        (id, f"{id[:8]} (user {ada.pk})") for id in (known, *ids)
    }


def test_nothing_ends_unlogged(admin_client, ada, monkeypatch):
    """If the database refuses the log entries, no session ends."""
    id = signed_in(ada)

    def refuse(*args, **kwargs):
        raise DatabaseError("The disk is full.")

    monkeypatch.setattr(LogEntry.objects, "bulk_create", refuse)
    monkeypatch.setattr(LogEntry, "save", refuse)
    with pytest.raises(DatabaseError):
        admin_client.post(url("delete", id), YES)
    other = signed_in(ada)
    with pytest.raises(DatabaseError):
        admin_client.post(url("end_all", ada.pk), YES)
    assert {id, other} <= live_ids()


def test_a_user_without_sessions(admin_client, ada):
    """If there are no sessions, the page does not ask."""
    response = admin_client.get(url("end_all", ada.pk))
    assert said(response) == ["There are no sessions left to end."]


# The viewer's own session


def ways(admin_client, user):
    own = own_id(admin_client)
    return {
        "one": (url("delete", own), {}),
        "selected": (url(), selected(own)),
        "across": (url(), selected("", select_across="1")),
        "all of a user": (url("end_all", user.pk), {}),
    }


@pytest.mark.parametrize("way", ["one", "selected", "across", "all of a user"])
def test_ones_own_session_asks_twice(admin_client, admin_user, way):
    """
    The page says that it is the viewer's own session, asks again, and then signs out with logout().
    """
    other = signed_in(admin_user)
    own = own_id(admin_client)
    address, form = ways(admin_client, admin_user)[way]
    first = admin_client.post(address, form)
    assert "the one that you are using now" in text_of(first)
    assert 'name="own"' not in first.content.decode()

    second = admin_client.post(address, {**form, **YES})
    assert "If you end it, you are signed out here." in text_of(second)
    assert 'name="own" value="yes"' in second.content.decode()
    assert own in live_ids()
    assert logged() == []

    response = admin_client.post(address, {**form, **YES_TWICE})
    assert "ended." in said(response)[0]
    assert own not in live_ids()
    assert (other in live_ids()) == (way in {"one", "selected"})
    assert {name for *_, name in logged()} == {"admin"}
    assert admin_client.get(url()).url.startswith("/admin/login/")


def test_a_site_that_saves_every_session(settings, admin_client):
    """Ending one's own session works with SESSION_SAVE_EVERY_REQUEST."""
    settings.SESSION_SAVE_EVERY_REQUEST = True
    response = admin_client.post(url("delete", own_id(admin_client)), YES_TWICE)
    assert response.status_code == 302
    assert live_ids() == set()


# Afterwards


def test_the_history_of_an_ended_session(admin_client, ada):
    """The page of an ended session shows who ended it."""
    id = signed_in(ada)
    page = admin_client.get(url("history", id))
    assert "No staff member has ended this session." in text_of(page)
    assert f'<a href="{url("change", id)}">{id[:8]} (ada)</a>' in page.content.decode()
    admin_client.post(url("delete", id), YES)
    page = admin_client.get(url("history", id))
    assert f"Change history: {id[:8]} (ada)" in text_of(page)
    assert "admin Ended. ada, Firefox on Linux, 203.0.113.7 1 entry" in text_of(page)
    assert url("change", id) not in page.content.decode()


def test_recent_actions(admin_client, ada):
    """The admin's start page lists the sessions that were ended last."""
    id = signed_in(ada)
    admin_client.post(url("delete", id), YES)
    assert f"{id[:8]} (user {ada.pk}) Session" in text_of(admin_client.get("/admin/"))


def test_an_ended_session_is_refused_at_once(client, admin_client, ada):
    """The next request with an ended session is anonymous."""
    reader = staff("reader", "view_session")
    client.force_login(reader)
    assert client.get(url()).status_code == 200
    admin_client.post(url("delete", own_id(client)), YES)
    assert client.get(url()).url.startswith("/admin/login/")


def test_the_admins_own_action_is_replaced(admin_client, live):
    """The list has one action that ends sessions, and not also Django's action to delete."""
    assert "Delete" not in text_of(admin_client.get(url()))


def test_a_session_in_use_does_not_come_back(admin_client, ada):
    """Promise 2: a request that began earlier cannot bring an ended session back."""
    session = SessionStore()
    session.update({"_auth_user_id": str(ada.pk), "color": "red"})
    session.save()
    (id,) = live_ids() - {own_id(admin_client)}
    session["color"] = "blue"
    admin_client.post(url("end_all", ada.pk), YES)
    with pytest.raises(Exception, match="ended or has expired"):
        session.save()
    assert id not in live_ids()
