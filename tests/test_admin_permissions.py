"""Tests which permission allows what in the section "Sessions"."""

from contextlib import suppress

import pytest
from django.contrib import admin
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse

from sessions_redis import registry
from sessions_redis.models import Session
from tests.section import signed_in, staff, text_of, url, use_section

pytestmark = pytest.mark.django_db

# no: refused with 403 or not offered, and nothing happens. names: entries without values.
MATRIX = """
| Page                      | none | view  | view, entries | delete | view, delete | superuser |
| ------------------------- | ---- | ----- | ------------- | ------ | ------------ | --------- |
| section in the index      | no   | yes   | yes           | yes    | yes          | yes       |
| list                      | no   | yes   | yes           | no     | yes          | yes       |
| page to end a session     | no   | no    | no            | yes    | no           | no        |
| find by session key       | no   | yes   | yes           | yes    | yes          | yes       |
| largest sessions          | no   | yes   | yes           | no     | yes          | yes       |
| session                   | no   | names | values        | no     | names        | values    |
| session, short address    | no   | names | values        | no     | names        | values    |
| history                   | no   | yes   | yes           | no     | yes          | yes       |
| history of an ended one   | no   | yes   | yes           | no     | yes          | yes       |
| ask before ending one     | no   | no    | no            | yes    | yes          | yes       |
| end one                   | no   | no    | no            | yes    | yes          | yes       |
| ask before ending several | no   | no    | no            | no     | yes          | yes       |
| end several               | no   | no    | no            | no     | yes          | yes       |
| end across all pages      | no   | no    | no            | no     | yes          | yes       |
| ask before ending a user's| no   | no    | no            | no     | yes          | yes       |
| end all of a user         | no   | no    | no            | no     | yes          | yes       |
| ask before ending others  | no   | no    | no            | no     | yes          | yes       |
| end all others            | no   | no    | no            | no     | yes          | yes       |
| add                       | no   | no    | no            | no     | no           | no        |
| add, sent                 | no   | no    | no            | no     | no           | no        |
| change, sent              | no   | no    | no            | no     | no           | no        |
| change in the list, sent  | no   | no    | no            | no     | no           | no        |
| choose one (autocomplete) | no   | no    | no            | no     | no           | no        |
"""

PERMISSIONS = {
    "none": [],
    "view": ["view_session"],
    "view, entries": ["view_session", "view_session_entries"],
    "delete": ["delete_session"],
    "view, delete": ["view_session", "delete_session"],
}

HEADINGS, _, *ROWS = [
    [cell.strip() for cell in line.strip("|").split("|")] for line in MATRIX.strip().splitlines()
]
CELLS = [
    (row[0], role, cell) for row in ROWS for role, cell in zip(HEADINGS[1:], row[1:], strict=True)
]

YES = {"post": "yes"}
USER = "4711"


@pytest.fixture(autouse=True)
def section(settings):
    use_section(settings)


def somebody(role):
    if role == "superuser":
        return User.objects.create_superuser(role)
    return staff("somebody", *PERMISSIONS[role])


class Visit:
    """What the staff member of ``client`` can see and do with one session."""

    def __init__(self, client):
        self.client = client
        self.user = USER
        self.id = signed_in(USER, colour="crimson")

    def get(self, page, *arguments):
        return self.client.get(url(page, *arguments))

    def selected(self, **form):
        return {"action": "delete_selected", "_selected_action": [self.id], **form}

    # Each method returns the text of a cell in the table.

    def section_in_the_index(self):
        response = self.client.get(reverse("admin:app_list", args=["sessions_redis"]))
        return {404: "no", 200: "yes"}[response.status_code]

    def list(self):
        page = self.get("changelist")
        # Staff who may only end sessions see another page here.
        return "no" if self.is_to_end(page) else self.shows(page, self.id[:8])

    def page_to_end_a_session(self):
        page = self.get("changelist")
        return "yes" if self.is_to_end(page) else self.refused(page)

    def find_by_session_key(self):
        response = self.client.post(url("find"), {"session_key": "no such key"})
        assert self.get("find").status_code == response.status_code
        return {403: "no", 302: "yes"}[response.status_code]

    def largest_sessions(self):
        return self.shows(self.get("largest"), self.id[:8])

    def session(self):
        return self.values(self.get("change", self.id))

    def session_short_address(self):
        address = url("change", self.id).removesuffix("change/")
        return self.values(self.client.get(address, follow=True))

    def history(self):
        return self.shows(self.get("history", self.id), "Change history")

    def history_of_an_ended_one(self):
        ender = Client()
        ender.force_login(User.objects.create_superuser("ender"))
        ender.post(url("delete", self.id), YES)
        self.user = None
        return self.shows(self.get("history", self.id), "Ended.")

    def ask_before_ending_one(self):
        return self.shows(self.get("delete", self.id), "Are you sure")

    def end_one(self):
        return self.ends(self.client.post(url("delete", self.id), YES))

    def ask_before_ending_several(self):
        response = self.client.post(url(), self.selected(index=0))
        return "yes" if "Are you sure" in text_of(response) else self.refused(response)

    def end_several(self):
        return self.ends(self.client.post(url(), self.selected(**YES)))

    def end_across_all_pages(self):
        form = self.selected(select_across="1", own="yes", **YES)
        return self.ends(self.client.post(url(), form))

    def ask_before_ending_a_users(self):
        return self.shows(self.get("end_all", USER), "Are you sure")

    def end_all_of_a_user(self):
        return self.ends(self.client.post(url("end_all", USER), YES))

    def ask_before_ending_others(self):
        return self.shows(self.get("end_others"), "Are you sure")

    def end_all_others(self):
        return self.ends(self.client.post(url("end_others"), YES))

    def add(self):
        return self.shows(self.get("add"), "Add session")

    def add_sent(self):
        return self.refused(self.client.post(url("add"), {"id": "1" * 32}))

    def change_sent(self):
        return self.refused(self.client.post(url("change", self.id), {"user_pk": "1"}))

    def change_in_the_list_sent(self):
        form = {"_save": "Save", "form-0-id": self.id, "form-0-user_pk": "1"}
        return self.refused(self.client.post(url(), {**form, "form-TOTAL_FORMS": "1"}))

    def choose_one_autocomplete(self):
        query = {"app_label": "sessions_redis", "model_name": "session", "field_name": "id"}
        return self.refused(self.client.get(reverse("admin:autocomplete"), query))

    # How to find out

    def shows(self, response, words):
        if response.status_code == 200:
            assert words in text_of(response)
            return "yes"
        return self.refused(response)

    def is_to_end(self, response):
        return response.status_code == 200 and "End a session" in text_of(response)

    def values(self, response):
        if response.status_code != 200:
            return self.refused(response)
        assert "colour" in text_of(response)
        return "values" if "crimson" in response.content.decode() else "names"

    def ends(self, response):
        if registry.find(self.id) is None:
            assert response.status_code == 302
            return "yes"
        return self.refused(response)

    def refused(self, response):
        # Viewers see the list, but without such an action or form.
        assert response.status_code in {200, 403}
        assert response.status_code == 403 or 'id="changelist"' in response.content.decode()
        assert getattr(registry.find(self.id), "user_pk", None) == self.user
        return "no"


def method_of(page):
    words = page.translate(str.maketrans("", "", "',()"))
    return words.replace(" ", "_")


@pytest.mark.parametrize(("page", "role", "expected"), CELLS)
def test_matrix(client, page, role, expected):
    """Every role can do exactly what the table says."""
    client.force_login(somebody(role))
    assert getattr(Visit(client), method_of(page))() == expected


class Recorder(Client):
    """A test client that keeps all its responses."""

    def request(self, **request):
        self.answers = [*getattr(self, "answers", []), super().request(**request)]
        return self.answers[-1]


@pytest.mark.parametrize("page", [row[0] for row in ROWS])
def test_who_is_not_staff(page):
    """Visitors who are not staff are asked to sign in, on every page."""
    client = Recorder()
    client.force_login(User.objects.create_user("customer"))
    visit = Visit(client)
    with suppress(AssertionError, KeyError):  # not a response for staff
        getattr(visit, method_of(page))()
    assert client.answers[0].url.startswith("/admin/login/?next=/admin/")
    assert getattr(registry.find(visit.id), "user_pk", None) == visit.user


def test_every_address_is_in_the_table():
    """The section has no pages that the table leaves out."""
    names = {pattern.name for pattern in admin.site.get_model_admin(Session).get_urls()}
    ending = {"delete", "end_all", "end_others"}
    pages = {"changelist", "add", "change", "history", "find", "largest"} | ending
    assert names == {f"sessions_redis_session_{page}" for page in pages} | {None}
