"""
Tests what staff can see about users in the section "Sessions": names only with the permission.
"""

import re
from urllib.parse import quote as urlquote

import pytest
from django.contrib import admin
from django.contrib.admin.models import CHANGE, DELETION, LogEntry
from django.contrib.admin.utils import quote
from django.contrib.auth.admin import UserAdmin
from django.contrib.auth.models import Permission, User
from django.contrib.contenttypes.models import ContentType
from django.core.exceptions import PermissionDenied
from django.db.models import Q
from django.test import Client

from sessions_redis import registry
from sessions_redis.admin import history, log
from sessions_redis.admin.viewers import Viewer
from sessions_redis.engine import SessionStore
from sessions_redis.models import Session
from tests.people.models import Member
from tests.section import FIREFOX, listed, signed_in, staff, text_of, url, use_section

pytestmark = pytest.mark.django_db

# Each role's permissions in the section, and in other sections.
ROLES = {
    "none": [],
    "view": ["view_session"],
    "entries": ["view_session", "view_session_entries"],
    "delete": ["delete_session"],
    "delete and users": ["delete_session", "view_user"],
    "view and delete": ["view_session", "delete_session"],
    "view and users": ["view_session", "view_user"],
    "superuser": None,
}
SEE_USERS = {"view and users", "superuser"}
SEE_SESSIONS = {role for role, names in ROLES.items() if names is None or "view_session" in names}

# Names and an address of the sessions' user, and of the staff member who ended one.
NAMES = ("victoria", "vic.private@corp.example", "Vicky-Jo", "Secretname", "marge-s", "Margery")
NAME, EMAIL = NAMES[:2]
KEY, NOBODYS_KEY = 8715309, 9715310

YES = {"post": "yes"}


@pytest.fixture(autouse=True)
def section(settings):
    use_section(settings)


@pytest.fixture
def victoria():
    # A primary key that is not on a page by chance.
    names = {"first_name": "Vicky-Jo", "last_name": "Secretname"}
    return User.objects.create_user(NAME, EMAIL, pk=KEY, **names)


def somebody(role):
    """A staff member with the permissions of a role."""
    permissions = ROLES[role]
    if permissions is None:
        return User.objects.create_superuser(f"somebody, {role}")
    user = staff(f"somebody, {role}")
    apps = Q(content_type__app_label="sessions_redis") | Q(content_type__app_label="auth")
    user.user_permissions.set(Permission.objects.filter(apps, codename__in=permissions))
    return user


def client_of(user):
    client = Client(headers={"user-agent": FIREFOX})
    client.force_login(user)
    return client


def ended_by_marge(id):
    marge = User.objects.create_superuser("marge-s", first_name="Margery")
    client_of(marge).post(url("delete", id), YES)
    return marge


def logged(user, id, message, flag=DELETION):
    """An entry as an earlier version of this package wrote it, or other code."""
    LogEntry.objects.create(
        user=user,
        content_type=ContentType.objects.get_for_model(Session),
        object_id=id,
        object_repr=f"{id[:8]} ({NAME})",
        action_flag=flag,
        change_message=message,
    )


def pages(user):
    """The method, URL and form of every page, by name."""
    key = SessionStore()
    key["_auth_user_id"] = str(user.pk)
    key.save()
    live, other, ended = (signed_in(user) for _ in range(3))
    marge = ended_by_marge(ended)
    former = "f" * 32
    logged(marge, former, f"Ended, together with all sessions of {NAME}.")
    logged(marge, former, f"Changed {EMAIL}.", CHANGE)
    selected = {"action": "delete_selected", "_selected_action": [live]}
    return {
        "list": ("get", url(), {}),
        "search by name": ("get", url(), {"q": NAME[:4]}),
        "search by key": ("get", url(), {"q": str(user.pk)}),
        "search by id": ("get", url(), {"q": live[:8]}),
        "one user's": ("get", url(), {"user": str(user.pk)}),
        "one user's without sessions": ("get", url(), {"user": str(marge.pk)}),
        "session": ("get", url("change", live), {}),
        "session that has ended": ("get", url("change", ended), {}),
        "session that is unknown": ("get", url("change", "0" * 32), {}),
        "history": ("get", url("history", live), {}),
        "history, ended": ("get", url("history", ended), {}),
        "history, of an earlier version": ("get", url("history", former), {}),
        "find": ("post", url("find"), {"session_key": key.session_key}),
        "find in vain": ("post", url("find"), {"session_key": NAME}),
        "ask to end": ("get", url("delete", live), {}),
        "ask to end selected": ("post", url(), {**selected, "index": 0}),
        "ask to end all": ("get", url("end_all", user.pk), {}),
        "ask to end all of none": ("get", url("end_all", marge.pk), {}),
        "end": ("post", url("delete", live), YES),
        "end selected": ("post", url(), {**selected, "_selected_action": [other], **YES}),
        "end all": ("post", url("end_all", user.pk), YES),
        "recent actions": ("get", "/admin/", {}),
        "app": ("get", "/admin/sessions_redis/", {}),
    }


def shown(client, method, address, form):
    """All that the viewer can see: pages, their URLs, and messages."""
    response = getattr(client, method)(address, form, follow=True)
    return f"{response.redirect_chain} {response.content.decode()}"


@pytest.mark.parametrize("role", ROLES)
def test_no_page_names_a_user(role, victoria):
    """No page and no response has a user's name, unless the viewer may see users."""
    ways = pages(victoria)
    client = client_of(somebody(role))
    naming = set()
    for name, (method, address, form) in ways.items():
        page = shown(client, method, address, form)
        # The search box repeats the viewer's input.
        page = page.replace(f'value="{form.get("q")}"', "")
        page = page.replace(f"?q={form.get('q')}", "")
        if any(secret in page for secret in NAMES):
            naming.add(name)
    if role in SEE_USERS:
        assert {"list", "search by name", "session", "history", "history, ended"} <= naming
    else:
        assert naming == set()


@pytest.mark.parametrize("role", sorted(ROLES.keys() - SEE_SESSIONS))
def test_who_may_not_look_at_sessions_sees_nothing_of_them(role, victoria):
    """They see neither user, device nor address, nor the user's primary key."""
    ways = pages(victoria)
    client = client_of(somebody(role))
    for method, address, form in ways.values():
        page = shown(client, method, address, form)
        for part in (f"user {victoria.pk}", "203.0.113.7", "Firefox", "anonymous", "signed in"):
            assert part not in page


def answer(client, method, address, form, *typed):
    """The response without the viewer's input and without parts that always differ."""
    response = getattr(client, method)(address, form, follow=True)
    page = f"{response.redirect_chain} {response.status_code} {response.content.decode()}"
    page = re.sub(r'(csrfmiddlewaretoken" value=|nonce=)"\w+"', "", page)
    page = re.sub("just now|less than a minute|2 weeks|1 week, 6 days", "", page)
    for one in typed:
        for written in (one, urlquote(one), urlquote(urlquote(one))):
            page = page.replace(written, "TYPED")
    return page.splitlines()


@pytest.mark.parametrize("role", ["none", "delete", "entries", "view and delete"])
def test_probing(role, victoria):
    """Responses do not reveal whether a user with a key, name or address exists."""
    client = client_of(somebody(role))
    keys = str(victoria.pk), str(NOBODYS_KEY)
    for first, second in (keys, (NAME, "nobody"), (EMAIL[:13], "x@example.com")):
        for parameter in ("q", "user"):
            answers = [
                answer(client, "get", url(), {parameter: one}, one) for one in (first, second)
            ]
            assert answers[0] == answers[1]
        for method, form in (("get", {}), ("post", YES)):
            answers = [
                answer(client, method, url("end_all", quote(one)), form, quote(one), one)
                for one in (first, second)
            ]
            assert answers[0] == answers[1]


@pytest.mark.parametrize("role", ["entries", "view and delete"])
def test_who_is_deleted(role, victoria):
    """Sessions of a deleted user look like those of any other user."""
    client = client_of(somebody(role))
    id = signed_in(victoria, seconds=1000)
    client.get(url())  # from now on, the viewer's own session has a device

    def look():
        pages = url(), url("change", id), url("history", id), url("delete", id)
        return [answer(client, "get", page, {}) for page in pages]

    before = look()
    User.objects.filter(pk=victoria.pk).delete()
    assert look() == before


@pytest.mark.parametrize("role", ["none", "delete"])
def test_whether_there_is_a_session_is_not_told(role, victoria):
    """Staff who may not view sessions get the same refusal for any session ID."""
    client = client_of(somebody(role))
    live, ended = signed_in(victoria), signed_in(victoria)
    ended_by_marge(ended)
    for page in ("change", "history"):
        answers = {client.get(url(page, id)).status_code for id in (live, ended, "0" * 32, "junk")}
        assert answers == {403}


def test_searches_find_what_is_seen(victoria):
    """A primary key or session ID finds sessions. A name or e-mail address does not."""
    client = client_of(somebody("view"))
    id = signed_in(victoria)
    found = {
        term: id in listed(client.get(url(), {"q": term}))
        for term in (str(victoria.pk), id, id[:6], NAME, NAME[:3], EMAIL, EMAIL[:4], "@")
    }
    assert [term for term, is_found in found.items() if is_found] == [str(victoria.pk), id, id[:6]]
    help_text = text_of(client.get(url()))
    said = "Enter a user's primary key, or the first 6 or more characters of a session ID."
    assert said in help_text
    assert "e-mail" not in help_text
    assert "Enter a user name, an e-mail address" in text_of(
        client_of(somebody("superuser")).get(url())
    )


def test_keys_in_place_of_names(victoria):
    """The column, the filter, the titles and the buttons show primary keys instead of names."""
    client = client_of(somebody("view and delete"))
    id, called = signed_in(victoria), f"user {victoria.pk}"
    assert f"{id[:8]} {called} Firefox on Linux" in text_of(client.get(url()))
    one_users = text_of(client.get(url(), {"user": str(victoria.pk)}))
    assert f"By user All {called}" in one_users
    assert f"End all sessions of {called}" in one_users
    page = text_of(client.get(url("change", id)))
    assert f"{id[:8]} ({called})" in page
    assert f"Sessions of {called}" in page
    assert f"end all sessions of {called}?" in text_of(client.get(url("end_all", victoria.pk)))
    client.post(url("end_all", victoria.pk), YES)
    history = text_of(client.get(url("history", id)))
    assert f"Change history: {id[:8]} ({called})" in history
    somebody_pk = User.objects.get(username__startswith="somebody").pk
    assert f"user {somebody_pk} Ended, together with all sessions of {called}. {called}," in history
    assert f"{id[:8]} ({called}) Session" in text_of(client.get("/admin/"))


def test_one_query_for_all_users(victoria, django_assert_num_queries):
    """Viewers of users take one query for users. Others take none."""
    for number in range(5):
        signed_in(User.objects.create_user(f"user{number}"))
    for role, users in (("view", 0), ("view and users", 1)):
        client = client_of(somebody(role))
        client.get(url())
        # The viewer, and the viewer's permissions: own, and those of groups.
        with django_assert_num_queries(3 + users):
            client.get(url())


# Sites with their own rules for the list of users


class FewUsers(UserAdmin):
    """An admin list of users that shows some of them."""

    def get_queryset(self, request):
        return super().get_queryset(request).filter(username__startswith="s")


class NoPages(UserAdmin):
    """An admin list of users that have no pages."""

    def has_view_permission(self, request, obj=None):
        return obj is None

    has_change_permission = has_view_permission


@pytest.fixture
def few_users(monkeypatch):
    monkeypatch.setitem(admin.site._registry, User, FewUsers(User, admin.site))


def test_users_without_pages(monkeypatch, victoria, admin_client):
    """Users without a page have names, but no links."""
    monkeypatch.setitem(admin.site._registry, User, NoPages(User, admin.site))
    signed_in(victoria)
    page = admin_client.get(url())
    assert f" {NAME} " in text_of(page)
    assert f"/user/{KEY}/" not in page.content.decode()


@pytest.mark.parametrize("role", ["view and users", "superuser"])
def test_a_list_that_shows_some_users(role, victoria, few_users):
    """A user whom the admin's list of users hides has no name here."""
    client = client_of(somebody(role))
    sally = User.objects.create_user("sally")
    hers, other, nobodys = signed_in(sally), signed_in(victoria), signed_in("999999")
    page = text_of(client.get(url()))
    assert f"{hers[:8]} sally " in page
    assert f"{other[:8]} user {victoria.pk} " in page
    assert f"{nobodys[:8]} user 999999 " in page
    assert listed(client.get(url(), {"q": "sall"})) == [hers]
    assert listed(client.get(url(), {"q": NAME})) == []
    ended_by_marge(other)
    history = client.get(url("history", other)).content.decode()
    assert not any(secret in history for secret in NAMES)


class Hidden(UserAdmin):
    """An admin list of users that no one may view."""

    def has_view_permission(self, request, obj=None):
        return False

    has_change_permission = has_view_permission


def viewer_of(user, site, rf):
    request = rf.get("/")
    request.user, request.session = user, SessionStore()
    return Viewer(request, type(admin.site.get_model_admin(Session))(Session, site))


def test_the_admins_own_rule(rf, admin_user):
    """If the admin has a list of users, its rule applies. Otherwise the permissions apply."""
    site = admin.AdminSite("other")
    assert viewer_of(admin_user, site, rf).sees_users
    site.register(User, Hidden)
    assert not viewer_of(admin_user, site, rf).sees_users
    other = admin.AdminSite("another")
    for permission in ("view_user", "change_user"):
        user = staff(permission)
        assert not viewer_of(user, other, rf).sees_users
        user.user_permissions.set(Permission.objects.filter(codename=permission))
        assert viewer_of(User.objects.get(pk=user.pk), other, rf).sees_users


# Primary keys that are names


@pytest.mark.parametrize(
    ("model", "sees_primary_keys"),
    [("auth.User", True), ("people.Person", True), ("people.Employee", True),
     ("people.Guest", True), ("people.Member", False)],
)  # fmt: skip
def test_keys_that_are_names(settings, rf, model, sees_primary_keys):
    """Primary keys that are user names are hidden as well."""
    nobody = User(pk=-1)
    nobody.get_all_permissions()  # which the staff's own model finds
    settings.AUTH_USER_MODEL = model
    viewer = viewer_of(nobody, admin.AdminSite("other"), rf)
    assert viewer.sees_primary_keys is sees_primary_keys
    assert viewer.user_label("17") == ("user 17" if sees_primary_keys else "signed in")
    assert viewer_of(User(is_superuser=True), admin.AdminSite("other"), rf).sees_primary_keys


@pytest.fixture
def asked(settings, rf, victoria):
    """Call a view of the section for ``viewer``, on a site whose primary keys are user names."""
    Member.objects.create(name=NAME)
    section = admin.site.get_model_admin(Session)
    viewer = staff("somebody", "view_session", "view_session_entries", "delete_session")
    viewer.get_all_permissions()  # which the staff's own model finds
    settings.AUTH_USER_MODEL = "people.Member"

    def ask(view, *arguments, viewer=viewer, **query):
        request = rf.get("/", query)
        request.user, request.session = viewer, SessionStore()
        response = getattr(section, view)(request, *arguments)
        if response.status_code == 302:
            return response
        response.context = response.context_data
        return response.render()

    return ask


def test_pages_of_a_site_whose_keys_are_names(asked):
    """Such keys are not shown, cannot be searched, and cannot end sessions."""
    id = signed_in(NAME, color="red")
    listing = asked("changelist_view")
    session = asked("changeform_view", id)
    assert f"{id[:8]} signed in Firefox on Linux" in text_of(listing)
    assert "color" in text_of(session)
    for page in (listing, session, asked("delete_view", id), asked("changelist_view", q=id[:8])):
        assert id[:8] in text_of(page)
        assert NAME not in page.content.decode()
    assert listed(asked("changelist_view", q=NAME)) == []
    for name in (NAME, "nobody"):
        assert asked("changelist_view", user=name).url == "/?e=1"
        with pytest.raises(PermissionDenied):
            asked("end_all_view", name)
    assert "the first 6 or more characters of a session ID." in text_of(listing)


def test_who_may_see_names_that_are_keys(asked):
    """Staff with the permission to view users see everything."""
    id, boss = signed_in(NAME), User(is_superuser=True, is_active=True, is_staff=True, pk=1)
    assert f"{id[:8]} {NAME} Firefox" in text_of(asked("changelist_view", viewer=boss))
    assert listed(asked("changelist_view", viewer=boss, q="vict")) == [id]
    page = text_of(asked("changeform_view", id, viewer=boss))
    assert f"Sessions of {NAME}" in page
    assert "_auth_user_id" in page


def test_the_log_of_a_site_whose_keys_are_names(asked, rf):
    """The log has no names."""
    id = signed_in(NAME)
    (live,) = registry.find_many([id])
    viewer = viewer_of(User(is_superuser=True), admin.AdminSite("other"), rf)
    request = rf.get("/")
    request.user = User(pk=1)
    recorder = log.Recorder(request, viewer, log.ALONE)
    entry = recorder._entry(id, log.Ending.of(Session.of(live), log.ALONE))
    assert entry.object_repr == f"{id[:8]} (signed in)"
    assert NAME not in entry.get_change_message()
    assert history._staff_name(None, "1") == "a staff member"
    all_of_user = log.Ending(log.ALL_OF_USER, NAME)
    reader = viewer_of(User(is_superuser=False, is_active=False), admin.AdminSite("other"), rf)
    assert history._in_words(all_of_user, {}, reader) == (
        "Ended, together with all sessions of one user.",
        "signed in",
    )
    assert history._in_words(all_of_user, {}, viewer)[0] == (
        f"Ended, together with all sessions of {NAME} (deleted)."
    )
