"""
Tests the admin section "Sessions": the list, a session's page, and the form that finds a session.
"""

from datetime import UTC, datetime

import pytest
from django.contrib import admin
from django.contrib.auth.models import User
from django.contrib.messages import get_messages
from django.core.management import call_command
from django.test import Client
from django.views.debug import ExceptionReporter

from sessions_redis import registry
from sessions_redis.engine import SessionStore
from sessions_redis.models import Session
from sessions_redis.storage.commands import session_id
from tests.expiring import skip_if_too_old
from tests.pickling import Trap
from tests.proxy import Proxy
from tests.section import FIREFOX, listed, own_id, signed_in, staff, text_of, url, use_section

HEADLESS = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 HeadlessChrome/131.0 Safari/537.36"
IPHONE = "Mozilla/5.0 (iPhone; CPU iPhone OS 18_1 like Mac OS X) Version/18.1 Mobile/1 Safari/604.1"

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def section(settings):
    use_section(settings)


@pytest.fixture
def ada():
    return User.objects.create_user("ada", "countess@example.com")


NO_SESSION = "There is no session with this ID. It may have ended or expired."


def said(response):
    return [str(message) for message in get_messages(response.wsgi_request)]


# The list


def test_the_section_is_in_the_index(admin_client):
    """The admin's start page links the section to view it, but not to add sessions."""
    page = admin_client.get("/admin/")
    assert "Sessions View" in text_of(page)
    assert url("add") not in page.content.decode()


def test_words_of_a_device(admin_client):
    """A long device name may break between its words, and is escaped."""
    signed_in(agent="HeadlessChrome/141.0 <b>")
    signed_in(agent="curl/8")
    page = admin_client.get(url()).content.decode()
    assert "Headless<wbr>Chrome" in page
    assert "<b>" not in page


def test_the_list(admin_client, ada):
    """The list shows ID, user, device, address and times, ordered by expiry, latest first."""
    later, sooner = signed_in(ada, seconds=3600 * 24 + 60), signed_in(seconds=14 * 60 + 30)
    page = admin_client.get(url())
    assert listed(page) == [own_id(admin_client), later, sooner]
    text = text_of(page)
    assert f"{later[:8]} ada Firefox on Linux 203.0.113.7" in text
    assert f"{sooner[:8]} anonymous Firefox on Linux 203.0.113.7" in text
    assert "just now 1 day" in text.replace("\xa0", " ")
    assert "just now 14 minutes" in text.replace("\xa0", " ")
    assert f'<span title="{later}">{later[:8]}</span>' in page.content.decode()
    assert "3 sessions" in text
    assert f"{own_id(admin_client)[:8]} (yours) admin" in text


def test_addresses():
    """An address may break after colons and dots. A missing address shows as a dash."""
    section = admin.site.get_model_admin(Session)
    assert section.address(Session(ip="2001:db8::7334")) == "2001:<wbr>db8::<wbr>7334"
    assert section.address(Session(ip="203.0.113.7")) == "203.<wbr>0.<wbr>113.<wbr>7"
    assert section.address(Session(ip=None)) == ""


@pytest.mark.parametrize(
    ("names", "shown"),
    [
        ([], None),
        (["device"], "Firefox on Linux"),
        (["device", "network"], "Firefox on Linux, 203.0.113.0/24"),
    ],
)
def test_what_a_session_is_bound_to(admin_client, settings, raw, prefix, names, shown):
    """With BIND_TO, the page of a session says what it is bound to."""
    id = signed_in()
    settings.SESSION_REDIS = {**settings.SESSION_REDIS, "BIND_TO": names}
    text = text_of(admin_client.get(url("change", id)))
    assert ("Bound to:" in text) == bool(names)
    assert shown is None or f"IP address: 203.0.113.7 Bound to: {shown} Created:" in text
    raw.hdel(f"{prefix}:{id}", "@ip", "@agent")
    text = text_of(admin_client.get(url("change", id)))
    assert ("Bound to: nothing yet Created:" in text) == bool(names)


def test_when_a_session_ends_in_any_case(admin_client, settings, raw, prefix):
    """The page of a session with an absolute end shows it. Other pages do not mention one."""
    id = signed_in()
    assert "even if it is in use" not in text_of(admin_client.get(url("change", id)))
    raw.hset(f"{prefix}:{id}", "@ends", 4_070_908_800_500)
    text = text_of(admin_client.get(url("change", id)))
    assert "Ends, even if it is in use: Jan. 1, 2099, midnight" in text
    assert registry.find(id).ends == datetime(2099, 1, 1, tzinfo=UTC)
    raw.hset(f"{prefix}:{id}", "@ends", "never")
    assert "even if it is in use" not in text_of(admin_client.get(url("change", id)))
    assert registry.find(id).ends is None


def one_or_many(user):
    return 1 if user.username == "ada" else None


@pytest.mark.parametrize(
    ("cap", "shown"),
    [
        (None, None),
        (3, "This user may have 3 sessions at a time."),
        ("tests.test_admin.one_or_many", "This user may have 1 session at a time."),
    ],
)
def test_how_many_sessions_a_user_may_have(admin_client, settings, ada, cap, shown):
    """The list of one user's sessions says how many that user may have."""
    settings.SESSION_REDIS = {**settings.SESSION_REDIS, "MAX_SESSIONS_PER_USER": cap}
    signed_in(ada)
    text = text_of(admin_client.get(f"{url()}?user={ada.pk}"))
    assert shown is None or shown in text
    assert ("This user may have" in text) == (shown is not None)
    assert "This user may have" not in text_of(admin_client.get(url()))
    signed_in(User.objects.create_user("bob"))
    text = text_of(admin_client.get(f"{url()}?user={User.objects.get(username='bob').pk}"))
    assert ("This user may have" in text) == isinstance(cap, int)


def test_devices():
    """The name of a device may break between its words."""
    section = admin.site.get_model_admin(Session)
    shown = {agent: section.device(Session(user_agent=agent)) for agent in (HEADLESS, IPHONE)}
    assert shown == {HEADLESS: "Headless<wbr>Chrome on Linux", IPHONE: "Mobile Safari on iOS"}


def test_times_in_words(admin_client, raw, prefix, ada):
    """A session saved long ago, or about to expire, shows that time in words."""
    id = signed_in(ada, seconds=30)
    raw.hset(f"{prefix}:{id}", "@updated", int(raw.time()[0]) - 7205)
    text = text_of(admin_client.get(url())).replace("\xa0", " ")
    assert "2 hours ago less than a minute" in text


def test_times_that_are_damaged(admin_client, raw, prefix, ada):
    """A damaged time shows as unknown on every page."""
    id = signed_in(ada)
    raw.hset(f"{prefix}:{id}", mapping={"@created": "junk", "@updated": "junk"})
    row = f"{id[:8]} ada Firefox on Linux 203.0.113.7 unknown unknown"
    assert row in text_of(admin_client.get(url()))
    text = text_of(admin_client.get(url("change", id)))
    assert "Created: unknown Last saved: unknown" in text
    pages = [url("delete", id), url("end_all", ada.pk)]
    assert all("created unknown" in text_of(admin_client.get(page)) for page in pages)
    raw.hset(f"{prefix}:{id}", "@updated", int(raw.time()[0]))
    assert f"{row.removesuffix('unknown')}just now" in text_of(admin_client.get(url()))


def test_sorted_by_expiry_either_way(admin_client):
    """Clicking the last column's heading reverses the order. Most columns cannot be sorted."""
    ids = [signed_in(seconds=seconds) for seconds in (100, 200, 300)]
    own = own_id(admin_client)
    assert listed(admin_client.get(url(), {"o": "7"})) == [*ids, own]
    assert listed(admin_client.get(url(), {"o": "-7"})) == [own, *reversed(ids)]
    for other in ("5", "-1", "junk", ""):
        assert listed(admin_client.get(url(), {"o": other})) == [own, *reversed(ids)]
    page = admin_client.get(url()).content.decode()
    assert 'href="?o=7"' in page
    assert 'href="?o=5"' not in page


def test_by_activity(admin_client, raw, prefix, monkeypatch):
    """The list is sorted and filtered by when sessions were last active, and says what it read."""
    now, ids = raw.time()[0], [signed_in(seconds=60_000 - 100 * n) for n in range(3)]
    for id, hours in zip(ids, (20, 30, 10), strict=True):
        raw.hset(f"{prefix}:{id}", mapping={"@updated": 1, "@seen": now - 3600 * hours})
    own = own_id(admin_client)
    assert listed(admin_client.get(url(), {"o": "-6"})) == [own, ids[2], ids[0], ids[1]]
    assert listed(admin_client.get(url(), {"o": "6"})) == [ids[1], ids[0], ids[2], own]
    page = admin_client.get(url(), {"active": "day"})
    assert listed(page) == [own, ids[0], ids[2]]
    assert "Past 5 minutes Past hour Past day" in text_of(page)
    assert "more than" not in text_of(page)
    assert "20 hours ago" in text_of(page).replace("\xa0", " ")
    assert listed(admin_client.get(url(), {"active": "day", "o": "-6"})) == [own, ids[2], ids[0]]
    assert listed(admin_client.get(url(), {"active": "minutes", "signed_in": "no"})) == []
    assert admin_client.get(url(), {"active": "year"}).url == f"{url()}?e=1"
    for module in ("listing", "sessions"):
        monkeypatch.setattr(f"sessions_redis.admin.{module}.LOOKED_AT", 2)
    page = admin_client.get(url(), {"active": "day"})
    assert listed(page) == [own, ids[0]]
    assert "There are more than 2 sessions. To find out when" in text_of(page)
    assert "To find out when" not in text_of(admin_client.get(url()))


def test_pages(admin_client):
    """
    A page has 100 sessions and an exact count. A page that does not exist redirects to the list.
    """
    ids = [signed_in(seconds=100_000 - 100 * number) for number in range(205)]
    first, second, third = (admin_client.get(url(), {"p": page}) for page in (1, 2, 3))
    assert listed(first) + listed(second) + listed(third) == [own_id(admin_client), *ids]
    assert [len(listed(page)) for page in (first, second, third)] == [100, 100, 6]
    assert "206 sessions" in text_of(third)
    response = admin_client.get(url(), {"p": 4})
    assert (response.status_code, response.url) == (302, url() + "?e=1")


def test_show_all(admin_client):
    """If the admin offers to show all sessions on one page, the page shows all."""
    for _ in range(110):
        signed_in()
    assert len(set(listed(admin_client.get(url(), {"all": ""})))) == 111


FILTERS = {
    "signed_in=yes": {"own", "ada, an hour", "ada, a day"},
    "signed_in=no": {"nobody, an hour", "nobody, two days"},
    "expires=hour": {"ada, an hour", "nobody, an hour"},
    "expires=day": {"ada, an hour", "nobody, an hour", "ada, a day"},
    "signed_in=no&expires=day": {"nobody, an hour"},
    "user=ada": {"ada, an hour", "ada, a day"},
    "user=ada&expires=hour": {"ada, an hour"},
    "user=ada&signed_in=no": set(),
    "user=4711": set(),
    "q=ada": {"ada, an hour", "ada, a day"},
    "q=ada&user=ada&expires=hour": {"ada, an hour"},
    "q=ada&user=4711": set(),
    "q=id": {"ada, an hour"},
    "q=ID": {"ada, an hour"},
    "q=id&expires=hour&signed_in=yes": {"ada, an hour"},
    "q=id&signed_in=no": set(),
    "q=nobody's id&expires=hour": set(),
    "q=id&user=4711": set(),
}


@pytest.mark.parametrize("query", FILTERS)
def test_filters(admin_client, ada, query):
    """Filters and searches narrow the list, and can be combined."""
    ids = {
        own_id(admin_client): "own",
        (hers := signed_in(ada, seconds=3500)): "ada, an hour",
        signed_in(ada, seconds=86000): "ada, a day",
        signed_in(seconds=3500): "nobody, an hour",
        (nobodys := signed_in(seconds=2 * 86400)): "nobody, two days",
    }
    names = {
        "user=ada": f"user={ada.pk}",
        "q=nobody's id": f"q={nobodys}",
        "q=id": f"q={hers}",
        "q=ID": f"q={hers.upper()}",
    }
    parts = [names.get(part, part) for part in query.split("&")]
    page = admin_client.get(f"{url()}?{'&'.join(parts)}")
    assert {ids[id] for id in listed(page)} == FILTERS[query]
    assert page.context["cl"].result_count == len(listed(page))


@pytest.mark.parametrize(
    "query",
    ["signed_in=maybe", "expires=never", "ip=127.0.0.1", "id__in=1,2", "junk=1", "user_pk__gt=1"],
)
def test_unknown_lookups(admin_client, query):
    """An unknown filter or value redirects to the whole list, as in Django's admin."""
    response = admin_client.get(f"{url()}?{query}")
    assert (response.status_code, response.url) == (302, url() + "?e=1")
    assert admin_client.get(response.url).status_code == 200


@pytest.mark.parametrize("term", ["ada", "ADA", "countess@", "  ada ", "pk"])
def test_searching_for_a_user(admin_client, ada, term):
    """A search finds a user by part of the name or e-mail address, or by the primary key."""
    ids = {signed_in(ada), signed_in(ada)}
    signed_in()
    term = str(ada.pk) if term == "pk" else term
    assert set(listed(admin_client.get(url(), {"q": term}))) == ids


@pytest.mark.parametrize("term", ["nobody", "0" * 32, "4711", "9" * 40, '"', "é\n*", "%"])
def test_searching_in_vain(admin_client, term):
    """A search that matches no user finds nothing, even if it is junk."""
    page = admin_client.get(url(), {"q": term})
    assert (page.status_code, listed(page)) == (200, [])


def test_a_search_that_matches_many_users(admin_client, monkeypatch):
    """The search looks up no more users than the note on the page says."""
    monkeypatch.setattr("sessions_redis.admin.users.MAX_USERS", 2)
    ids = [signed_in(User.objects.create_user(f"user {number}")) for number in range(3)]
    page = admin_client.get(url(), {"q": "user "})
    assert set(listed(page)) == set(ids[:2])
    assert "More than 2 users match." in text_of(page)
    assert "users match." not in text_of(admin_client.get(url(), {"q": "user 1"}))


def test_a_search_that_finds_many_sessions(admin_client, monkeypatch):
    """For several users, the list has the first sessions, and a note says that there are more."""
    monkeypatch.setattr("sessions_redis.admin.listing.SEVERAL_USERS_LIMIT", 3)
    monkeypatch.setattr("sessions_redis.admin.sessions.SEVERAL_USERS_LIMIT", 3)
    users = [User.objects.create_user(f"eve{number}") for number in range(2)]
    shown = [signed_in(users[number % 2], seconds=1000 - 100 * number) for number in range(3)]
    note = "These users have more than 3 sessions,"
    assert note not in text_of(admin_client.get(url(), {"q": "eve"}))
    signed_in(users[0], seconds=10)
    page = admin_client.get(url(), {"q": "eve"})
    assert note in text_of(page)
    assert (listed(page), page.context["cl"].result_count) == (shown, 3)
    assert "These users" not in text_of(admin_client.get(url(), {"q": "eve0"}))


def test_users(admin_client, ada, django_assert_num_queries):
    """A user's name links to the user's page. A deleted user shows as a primary key. One query."""
    signed_in(ada)
    signed_in("4711")
    admin_client.get(url())
    # The viewer (a superuser, so no query for permissions), and the users of the page.
    with django_assert_num_queries(2):
        page = admin_client.get(url())
    assert f'<a href="/admin/auth/user/{ada.pk}/change/">ada</a>' in page.content.decode()
    assert "4711 (deleted)" in text_of(page)


def test_users_are_not_linked_for_who_may_not_see_them(client, ada):
    """Staff without the permission to view users see only the primary key."""
    client.force_login(staff("viewer", "view_session"))
    signed_in(ada)
    page = client.get(url())
    assert "/admin/auth/user/" not in page.content.decode()
    assert f" user {ada.pk} " in text_of(page)


def test_another_site_without_users(rf, ada, admin_user):
    """If the admin site has no section for users, names are not links."""
    site = admin.AdminSite("other")
    site.register(Session, type(admin.site.get_model_admin(Session)))
    request = rf.get("/")
    request.user, request.session = admin_user, SessionStore()
    id = signed_in(ada)
    (session,) = site.get_model_admin(Session).get_queryset(request).filter(pk__in=[id])
    assert (session.owner, session.user_url) == ("ada", None)


def test_round_trips(settings, session_redis, server, admin_client, ada):
    """
    A page of 100 sessions takes five round trips, and a filtered page six. One loads the viewer's
    session.
    """
    for number in range(120):
        signed_in(ada if number % 2 else None, seconds=1000 + number)
    with Proxy(server.port) as proxy:
        settings.SESSION_REDIS = {**session_redis, "LOCATION": proxy.url}
        admin_client.get(url())
        counts = {
            query: proxy.counted(admin_client.get, f"{url()}?{query}")
            for query in ("", "p=2", "o=7", "o=6", "signed_in=no", "expires=day&p=1", "user=1")
        }
    assert counts == {
        "": 5,  # the viewer's session, the count, the IDs, the sessions, the histogram
        "p=2": 5,
        "o=7": 5,
        "o=6": 5,  # the same, with more sessions
        "signed_in=no": 6,  # and the count of all sessions sessions
        "expires=day&p=1": 6,
        "user=1": 6,
    }


# A session's page


def test_the_page_of_a_session(admin_client, ada):
    """The page shows all metadata, and the name, type, size and value of each entry."""
    id = signed_in(ada, cart={"items": [1, 2]}, note="a < b", seconds=3600 * 24 + 60)
    page = admin_client.get(url("change", id))
    text = text_of(page).replace("\xa0", " ")
    for part in (id, "ada", "Firefox on Linux", FIREFOX, "203.0.113.7", "Expires in: 1 day"):
        assert part in text
    assert "(yours)" not in text
    assert 'cart object 15 bytes { "items": [ 1, 2 ] }' in text
    assert 'note text 7 bytes "a < b"' in text
    assert "a < b" not in page.content.decode()


def test_the_page_of_ones_own_session(admin_client):
    """The page marks the viewer's own session, as the list does."""
    own = own_id(admin_client)
    assert f"ID: {own} (yours)" in text_of(admin_client.get(url("change", own)))


def test_long_values_are_reached_by_the_keyboard(admin_client):
    """A long value scrolls, and the keyboard can reach it. A short value is not a tab stop."""
    short = admin_client.get(url("change", signed_in(note="short", cart=[1])))
    assert "<pre tabindex" not in short.content.decode()
    long = admin_client.get(url("change", signed_in(note="long " * 200, cart=[1])))
    assert long.content.decode().count("<pre tabindex") == 1


def test_secrets_are_masked(admin_client, ada):
    """
    A badge replaces each value that looks like a secret, also in nested values, for all viewers.
    """
    secrets = {
        "api_key": "hush-1",
        "form": {"password": "hush-2", "fine": "shown"},
        "author": "Ada",
    }
    id = signed_in(ada, **secrets, _csrftoken="hush-3", note='{"pin": "hush-4"}')
    page = admin_client.get(url("change", id)).content.decode()
    assert "hush-" not in page
    assert ada.get_session_auth_hash() not in page
    assert "shown" in page
    assert "Ada" in page
    assert page.count('<mark class="sessions-hidden" title="hidden: its name looks') == 5


def test_values_that_could_execute_code(client, settings, tmp_path):
    """With a serializer such as pickle's, viewing a session does not execute stored code."""
    settings.SESSION_SERIALIZER = "tests.pickling.PickleSerializer"
    trace = tmp_path / "trace"
    id = signed_in(color="crimson", trap=Trap(trace))
    client.force_login(User.objects.create_superuser("boss"))
    text = text_of(client.get(url("change", id)))
    assert "trap not read" in text
    assert text.count("Not shown. This site's session serializer can execute code") == 2
    assert "crimson" not in text
    assert not trace.exists()


def test_values_need_a_permission(client, ada):
    """
    Without the permission to view entries, the page shows names, types and sizes, but no values.
    """
    id = signed_in(ada, colour="crimson")
    viewer = staff("viewer", "view_session")
    client.force_login(viewer)
    page = client.get(url("change", id))
    assert "colour text 9 bytes" in text_of(page)
    assert "crimson" not in page.content.decode()
    assert "You do not have permission to see the values." in text_of(page)
    client.force_login(staff("reader", "view_session", "view_session_entries"))
    assert "crimson" in text_of(client.get(url("change", id)))


def test_damaged_fields(admin_client, raw, prefix):
    """A field that cannot be read shows as damaged."""
    id = signed_in()
    raw.hset(f"{prefix}:{id}", "broken", "{")
    text = text_of(admin_client.get(url("change", id)))
    assert (
        "broken damaged 1 byte This value is damaged. The site treats the entry as missing." in text
    )


def test_an_entry_that_expires(admin_client, server, raw, prefix):
    """The page shows how long an entry with a lifetime of its own still has."""
    skip_if_too_old(server)
    id = signed_in(color="red", code="1234")
    name = f"{prefix}:{id}"
    raw.hset(name, "@expiring", "4:code")
    raw.hpexpire(name, 10_000_000, "code")
    text = text_of(admin_client.get(url("change", id)))
    assert "code Expires in 2 hours" in text.replace("\xa0", " ")
    assert "color text 5 bytes" in text


def test_a_session_without_entries(admin_client):
    """The page says that the session has no entries."""
    assert "This session has no entries." in text_of(admin_client.get(url("change", signed_in())))


def test_links_from_the_page(admin_client, ada):
    """The page links to the user's other sessions, and to the page that ends them all."""
    page = admin_client.get(url("change", signed_in(ada))).content.decode()
    assert f'href="{url()}?user={ada.pk}"' in page
    assert f'href="{url("end_all", ada.pk)}"' in page
    assert "End all sessions of <bdi>ada</bdi>" in page
    assert "End all" not in text_of(admin_client.get(url("change", signed_in())))


def test_the_page_knows_the_way_back(admin_client, ada):
    """From a filtered list, the page links back to the filtered list."""
    id = signed_in(ada)
    page = admin_client.get(url(), {"user": ada.pk})
    address = f"{url('change', id)}?_changelist_filters=user%3D{ada.pk}"
    assert address in page.content.decode()
    assert f'href="{url()}?user={ada.pk}"' in admin_client.get(address).content.decode()


@pytest.mark.parametrize("id", ["0" * 32, "junk", "a_5Fb/c", "' OR 1"])
def test_no_such_session(admin_client, id):
    """For an unknown ID, the list shows a message that there is no such session."""
    for page in ("change", "delete", "history"):
        response = admin_client.get(url(page, id))
        assert (response.status_code, response.url) == (302, url())
        assert said(response)[-1] == NO_SESSION


def test_nothing_is_changed_or_added(admin_client, live):
    """Not even a superuser can add or change sessions."""
    id = session_id(live.session_key)
    assert admin_client.get(url("add")).status_code == 403
    assert admin_client.post(url("add"), {"id": "x"}).status_code == 403
    assert admin_client.post(url("change", id), {"user_pk": "1"}).status_code == 403
    assert (
        'type="submit"'
        not in admin_client.get(url("change", id)).content.decode().split('id="session_form"')[1]
    )


# Find by session key


def test_find_by_session_key(admin_client, live):
    """A session key leads to its session's page, and appears in no URL."""
    response = admin_client.post(url("find"), {"session_key": f" {live.session_key}\n"})
    assert response.url == url("change", session_id(live.session_key))
    assert admin_client.get(response.url).status_code == 200


@pytest.mark.parametrize("key", ["", "nobody's", "é" * 50, None])
def test_find_in_vain(admin_client, key):
    """If no session has the key or ID, a message says so without repeating the input."""
    response = admin_client.post(url("find"), {} if key is None else {"session_key": key})
    assert (response.url, said(response)) == (
        url(),
        ["There is no session with this key or ID. It may have ended or expired."],
    )


def test_the_digest_is_not_the_key(admin_client, live):
    """A session ID finds its session, as in a search. The digest of an ID finds nothing."""
    id = session_id(live.session_key)
    response = admin_client.post(url("find"), {"session_key": id})
    assert response.url == url("change", id)
    assert admin_client.post(url("find"), {"session_key": session_id(id)}).url == url()


def test_finding_in_a_filtered_list(admin_client, live):
    """The form keeps the filters of the list, whether it finds a session or not."""
    page = admin_client.get(url(), {"signed_in": "no"}).content.decode()
    address = f"{url('find')}?_changelist_filters=signed_in%3Dno"
    assert f'action="{address}"' in page
    response = admin_client.post(address, {"session_key": live.session_key})
    found = url("change", session_id(live.session_key))
    assert response.url == f"{found}?_changelist_filters=signed_in%3Dno"
    assert admin_client.post(address, {"session_key": "x"}).url == f"{url()}?signed_in=no"
    assert admin_client.get(address).url == f"{url()}?signed_in=no"


def test_find_after_signing_in_again(client, admin_user, live):
    """If the viewer's own session expired, they sign in first and then see the list."""
    response = client.post(url("find"), {"session_key": live.session_key})
    login = {"username": "admin", "password": "password"}
    response = client.post(response.url, login, follow=True)
    assert [address for address, _ in response.redirect_chain] == [url("find"), url()]
    assert response.status_code == 200


def test_keys_are_sent_by_post_alone(admin_client, live):
    """A GET request with a key finds nothing, and a form from another site is refused."""
    for method in (admin_client.get, admin_client.head):
        response = method(url("find"), {"session_key": live.session_key})
        assert (response.status_code, response.url) == (302, url())
    assert admin_client.put(url("find")).status_code == 405
    client = Client(enforce_csrf_checks=True)
    client.cookies = admin_client.cookies
    assert client.post(url("find"), {"session_key": live.session_key}).status_code == 403


def test_keys_are_left_out_of_error_reports(admin_client, live, monkeypatch, caplog):
    """If finding fails, the log and the error report do not contain the key."""

    def fail(id):
        raise RuntimeError

    monkeypatch.setattr("sessions_redis.registry.find_many", fail)
    admin_client.raise_request_exception = False
    response = admin_client.post(url("find"), {"session_key": live.session_key})
    assert response.status_code == 500
    (record,) = [record for record in caplog.records if record.exc_info]
    report = ExceptionReporter(record.request, *record.exc_info).get_traceback_text()
    assert "find_view" in report
    assert live.session_key not in report + record.getMessage()


def test_nothing_is_kept_of_the_key(admin_client, live, raw, prefix):
    """After finding, neither Redis nor the page contains the key."""
    page = admin_client.post(url("find"), {"session_key": live.session_key}, follow=True)
    assert live.session_key not in page.content.decode()
    for key in raw.scan_iter(f"{prefix}:*"):
        if raw.type(key) == b"hash":
            assert live.session_key.encode() not in b" ".join(raw.hgetall(key).values())


def test_checks(settings):
    """Django's system checks report no problem with the section."""
    call_command("check", "admin")
