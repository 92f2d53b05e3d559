"""
Tests finding sessions in the admin: by the start of an ID, and for staff who may only end sessions.
"""

import pytest
from django.contrib.auth.models import User
from django.contrib.messages import get_messages

from sessions_redis import conf, registry
from sessions_redis.clients import run
from sessions_redis.engine import SessionStore
from sessions_redis.storage import commands
from sessions_redis.storage.changes import Changes
from sessions_redis.storage.commands import session_id
from tests.proxy import Proxy
from tests.section import listed, signed_in, staff, text_of, url, use_section

pytestmark = pytest.mark.django_db

YES = {"post": "yes"}
TITLE = "End a session"
NOBODYS = "There is no session with this key or ID. It may have ended or expired."
MORE = "To find a session by its ID, enter the first 6 or more characters of the ID."


@pytest.fixture(autouse=True)
def section(settings):
    use_section(settings)


@pytest.fixture
def ada():
    return User.objects.create_user("ada", "countess@example.com")


@pytest.fixture
def ender(client):
    """The browser of a staff member who may end sessions, but not view them."""
    client.force_login(staff("ender", "delete_session"))
    return client


def said(response):
    return [str(message) for message in get_messages(response.wsgi_request)]


def session_with(id):
    """Make a session with this ID."""
    run(commands.create(conf.current().keyspace, id, 1000, Changes({b"n": b"1"})))
    return id


def another(id, digits):
    """Make a session whose ID starts with the same ``digits``, and differs after them."""
    return session_with(id[:digits] + ("0" if id[digits] != "0" else "1") * (32 - digits))


# In the list: by the start of an ID


@pytest.mark.parametrize("digits", [6, 8, 20, 31, 32])
def test_searching_for_the_digits_that_the_list_shows(admin_client, ada, digits):
    """The first 6 or more digits find the session, in upper case as well."""
    id = signed_in(ada)
    for _ in range(20):
        signed_in()
    for term in (id[:digits], id[:digits].upper(), f"  {id[:digits]}\n"):
        page = admin_client.get(url(), {"q": term})
        assert (listed(page), page.context["cl"].result_count) == ([id], 1)


def test_searching_for_too_few_digits(admin_client, ada):
    """Fewer digits match only names and keys. If they match none, a note asks for more digits."""
    id = signed_in(ada)
    session_with("ada" + "0" * 29)
    for digits in (id[:5], f" {id[:5].upper()} ", "0"):
        page = admin_client.get(url(), {"q": digits})
        assert (listed(page), MORE in text_of(page)) == ([], True)
    for term in ("", "ada", "nobody", id[:6], "000000"):
        page = admin_client.get(url(), {"q": term})
        assert MORE not in text_of(page)
    assert listed(admin_client.get(url(), {"q": "ada"})) == [id]


def test_several_ids_that_start_so(admin_client, ada):
    """The search finds all sessions with that start, and filters narrow them."""
    id = signed_in(ada)
    other = another(id, 8)
    assert set(listed(admin_client.get(url(), {"q": id[:8]}))) == {id, other}
    assert listed(admin_client.get(url(), {"q": id[:8], "signed_in": "no"})) == [other]
    assert listed(admin_client.get(url(), {"q": id[:8], "user": str(ada.pk)})) == [id]
    assert listed(admin_client.get(url(), {"q": id[:8], "user": "4711"})) == []


def test_digits_that_are_a_name_or_a_key_as_well(admin_client):
    """The search finds a user with that name as well as sessions with that start."""
    facade, number = User.objects.create_user("Facade"), User.objects.create_user("n", pk=123456)
    for user, digits in ((facade, "facade"), (number, "123456")):
        theirs = {signed_in(user), signed_in(user)}
        assert set(listed(admin_client.get(url(), {"q": digits}))) == theirs
        id = session_with(digits + "0" * 26)
        page = admin_client.get(url(), {"q": digits})
        assert set(listed(page)) == {id, *theirs}
        assert "End all sessions of" not in text_of(page)


def test_a_user_of_very_many_sessions_with_such_a_name(admin_client, monkeypatch):
    """The list has the first of the user's sessions, and a note says that there are more."""
    for module in ("listing", "sessions"):
        monkeypatch.setattr(f"sessions_redis.admin.{module}.SEVERAL_USERS_LIMIT", 3)
    facade = User.objects.create_user("facade")
    id = session_with("facade" + "0" * 26)
    theirs = [signed_in(facade, seconds=5000 - number) for number in range(3)]
    note = "These users have more than 3 sessions,"
    page = admin_client.get(url(), {"q": "facade"})
    assert (set(listed(page)), note in text_of(page)) == ({id, *theirs}, False)
    signed_in(facade, seconds=2000)
    page = admin_client.get(url(), {"q": "facade"})
    assert (set(listed(page)), note in text_of(page)) == ({id, *theirs}, True)


def test_selecting_all_that_were_found(admin_client, ada):
    """Ends exactly the sessions that the search shows."""
    id, other = signed_in(ada), signed_in(ada)
    form = {"action": "delete_selected", "_selected_action": [""], "select_across": "1", **YES}
    response = admin_client.post(f"{url()}?q={id[:8]}", form)
    assert said(response) == ["1 session was ended."]
    assert (registry.find(id), registry.find(other) is None) == (None, False)


def test_a_search_that_did_not_look_at_all(admin_client, monkeypatch):
    """A note says how many sessions the search looked at."""
    monkeypatch.setattr("sessions_redis.registry.finding.SEARCHED", 1000)
    id = signed_in()
    for number in range(2100):
        session_with(session_id(str(number)))
    terms = {"abcdef": "looked at about 1000 sessions, and there are more.", id: "found by its ID"}
    page = text_of(admin_client.get(url(), {"q": "abcdef"}))
    assert terms["abcdef"] in page
    assert "and there are more." not in text_of(admin_client.get(url(), {"q": id}))


def test_round_trips(settings, session_redis, server, admin_client, ada):
    """A search for digits takes as many round trips as one for a name. A whole ID takes fewer."""
    id = signed_in(ada)
    with Proxy(server.port) as proxy:
        settings.SESSION_REDIS = {**session_redis, "LOCATION": proxy.url}
        for term in ("ada", id, id[:8]):
            admin_client.get(url(), {"q": term})
        counts = {
            name: proxy.counted(admin_client.get, url(), {"q": term})
            for name, term in {"name": "ada", "id": id, "digits": id[:8]}.items()
        }
    assert counts == {"name": 6, "id": 4, "digits": 6}


# By key or ID, for staff who may only end sessions


def test_the_index_leads_to_the_page(ender):
    """The admin's start page links the form, and the breadcrumbs name it."""
    for page in ("/admin/", "/admin/sessions_redis/"):
        response = ender.get(page)
        assert f'href="{url()}"' in response.content.decode()
        assert "Sessions Change" in text_of(response)
        assert "Sessions View" not in text_of(response)
    page = ender.get(url())
    # Since Django 6.1, the text has no marks between the breadcrumbs.
    assert "Home Sessions End a session" in text_of(page).replace(" ›", "")
    assert "You have permission to end sessions, but not to view them." in text_of(page)
    assert f'<form class="sessions-find sessions-end" method="post" action="{url("find")}"' in (
        page.content.decode()
    )


@pytest.mark.parametrize("by", ["key", "id", "digits"])
def test_ending_by(ender, by):
    """A key, an ID or its first digits lead to the confirmation, which shows only the ID."""
    # A name that no ID can hold.
    user = User.objects.create_user("Ada Lovelace")
    session = SessionStore()
    session.update({"_auth_user_id": str(user.pk), "color": "crimson"})
    session.save()
    key = session.session_key
    id = session_id(key)
    sent = {"key": key, "id": id.upper(), "digits": f" {id[:6]} "}[by]
    response = ender.post(url("find"), {"session_key": sent})
    assert response.url == url("delete", id)
    page = ender.get(response.url)
    assert f"1 session ID {id} No, take me back" in text_of(page)
    assert not any(part in text_of(page) for part in (key, "Ada", "user ", "color", "created"))
    response = ender.post(response.url, YES)
    assert (response.url, said(response)) == (url(), ["1 session was ended."])
    assert registry.find(id) is None
    assert f"{id[:8]} Session" in text_of(ender.get("/admin/"))


@pytest.mark.parametrize("sent", ["", "nobody's", "0" * 32, "0" * 6, "0" * 33, "é*", "adam"])
def test_ending_in_vain(ender, ada, sent):
    """The page says that there is no such session, and does not repeat the input."""
    signed_in(ada)
    response = ender.post(url("find"), {"session_key": sent})
    assert (response.url, said(response)) == (url(), [NOBODYS])
    assert TITLE in text_of(ender.get(url()))


@pytest.mark.parametrize("sent", ["0", "00000", " ADA "])
def test_ending_by_too_few_digits(ender, ada, sent):
    """With too few digits, the page asks for more."""
    session_with("00000" + "1" * 27)
    response = ender.post(url("find"), {"session_key": sent})
    message = f"There is no session with this key. {MORE}"
    assert (response.url, said(response)) == (url(), [message])


def test_digits_of_several_sessions(ender, admin_client, ada):
    """The page asks for more digits. Viewers of sessions see the list of all matches instead."""
    id = signed_in(ada)
    another(id, 7)
    response = ender.post(url("find"), {"session_key": id[:7]})
    assert response.url == url()
    assert said(response)[0].startswith(
        "Several sessions have IDs that start with these characters."
    )
    assert ender.post(url("find"), {"session_key": id[:8]}).url == url("delete", id)
    found = admin_client.post(url("find"), {"session_key": id[:7]})
    assert found.url == f"{url()}?q={id[:7]}"


def test_digits_that_were_not_looked_for_everywhere(ender, monkeypatch):
    """The message says how far the search went, and what to enter."""
    monkeypatch.setattr("sessions_redis.registry.finding.SEARCHED", 1000)
    for number in range(2100):
        session_with(session_id(str(number)))
    (message,) = said(ender.post(url("find"), {"session_key": "abcdef"}))
    assert message.startswith("Not found among the first 1000 sessions or so, and there are more.")


def test_ending_ones_own(ender):
    """Ending the own session asks twice here, too."""
    own = session_id(ender.session.session_key)
    assert f"ID {own} (yours)" in text_of(ender.get(url("delete", own)))
    assert "If you end it, you are signed out here." in text_of(ender.post(url("delete", own), YES))
    ender.post(url("delete", own), {**YES, "own": "yes"})
    assert ender.get(url()).url.startswith("/admin/login/")


def test_without_indexes(settings, session_redis, ender, live):
    """Without indexes, a key still ends its session."""
    settings.SESSION_REDIS = {**session_redis, "INDEX": False}
    assert TITLE in text_of(ender.get(url()))
    response = ender.post(url("find"), {"session_key": live.session_key})
    assert response.url == url("delete", session_id(live.session_key))
    response = ender.post(url("find"), {"session_key": "abcdef"})
    assert "This site is not configured to list its sessions." in text_of(response)


def test_nothing_else_is_sent_there(ender, ada):
    """The form does not accept the actions of the list."""
    id = signed_in(ada)
    form = {"action": "delete_selected", "_selected_action": [id], **YES}
    assert ender.post(url(), form).status_code == 403
    assert registry.find(id)


# Ended sessions


def test_the_page_of_an_ended_session(admin_client, ada):
    """The page, and the page to end it, redirect to the session's history with a message."""
    id = signed_in(ada)
    admin_client.post(url("delete", id), YES)
    for page in ("change", "delete"):
        address = f"{url(page, id)}?_changelist_filters=signed_in%3Dyes"
        response = admin_client.get(address)
        assert response.url == f"{url('history', id)}?_changelist_filters=signed_in%3Dyes"
        text = text_of(admin_client.get(response.url))
        assert "This session has ended. This is its history in the log." in text
        assert "Ended. ada, Firefox on Linux, 203.0.113.7" in text


def test_the_page_of_a_session_that_nobody_ended(admin_client, ender, ada):
    """If the log has no entry, a message says so, on the list or on the form in its place."""
    id = signed_in(ada)
    registry.end(id)
    message = "There is no session with this ID. It may have ended or expired."
    for client, pages in ((admin_client, ("change", "delete", "history")), (ender, ("delete",))):
        for page in pages:
            response = client.get(url(page, id))
            assert (response.url, said(response)[-1]) == (url(), message)
        assert message in text_of(client.get(url()))


def test_an_ended_session_for_staff_who_may_only_end(admin_client, ender, ada):
    """Staff who may not view sessions are not sent to the history."""
    id = signed_in(ada)
    admin_client.post(url("delete", id), YES)
    assert ender.get(url("delete", id)).url == url()
