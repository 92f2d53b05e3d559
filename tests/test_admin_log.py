"""Tests the admin's log of ended sessions: who ended which session, with its device and address."""

import json

import pytest
from django.contrib.admin.models import CHANGE, DELETION, LogEntry
from django.contrib.auth.models import User
from django.contrib.contenttypes.models import ContentType
from django.db.models.signals import post_save
from django.utils import translation

from sessions_redis import registry
from sessions_redis.admin import log
from sessions_redis.admin.log import Ending
from sessions_redis.models import Session
from tests.section import FIREFOX, signed_in, staff, text_of, url, use_section

pytestmark = pytest.mark.django_db

YES = {"post": "yes"}
DEVICE, IP = "Firefox on Linux", "203.0.113.7"
SEEN = {"device": "Firefox", "ip": IP, "system": "Linux"}


@pytest.fixture(autouse=True)
def section(settings):
    use_section(settings)
    with translation.override("en"):  # requests change it, and it is restored afterwards
        yield


@pytest.fixture
def ada():
    return User.objects.create_user("ada", "countess@example.com")


def endings():
    return {entry.object_id: Ending.read(entry) for entry in LogEntry.objects.all()}


def selected(*ids, **more):
    return {"action": "delete_selected", "_selected_action": ids, **more, **YES}


def test_each_way_is_logged(admin_client, ada):
    """An entry has the user, the device, the address, and how the session was ended."""
    pk = str(ada.pk)
    alone, one, other, both = signed_in(ada), signed_in(ada), signed_in(), signed_in(ada)
    admin_client.post(url("delete", alone), YES)
    admin_client.post(url(), selected(one, other))
    admin_client.post(url("end_all", pk), YES)
    assert endings() == {
        alone: Ending(log.ALONE, pk, **SEEN),
        one: Ending(log.SELECTED, pk, **SEEN),
        other: Ending(log.SELECTED, None, **SEEN),
        both: Ending(log.ALL_OF_USER, pk, **SEEN),
    }
    with_others = "Ended, together with other selected sessions."
    said = {
        alone: "Ended. ada, Firefox on Linux, 203.0.113.7",
        one: f"{with_others} ada, Firefox on Linux, 203.0.113.7",
        other: f"{with_others} anonymous, Firefox on Linux, 203.0.113.7",
        both: "Ended, together with all sessions of ada. ada, Firefox on Linux, 203.0.113.7",
    }
    for id, words in said.items():
        assert f"admin {words} 1 entry" in text_of(admin_client.get(url("history", id)))


def test_many_at_once(admin_client):
    """If one step ends several sessions, each entry has its own device and address."""
    ids = {signed_in(agent=FIREFOX, ip=f"198.51.100.{number}"): number for number in range(60)}
    admin_client.post(f"{url()}?signed_in=no", selected("", select_across="1"))
    assert {id: ending.ip for id, ending in endings().items()} == {
        id: f"198.51.100.{number}" for id, number in ids.items()
    }


def test_what_is_not_known(admin_client, raw, prefix, monkeypatch):
    """The entry has no device or address if the session has none, or if METADATA is off."""
    id = signed_in("17", agent="", ip="")
    raw.hdel(f"{prefix}:{id}", "@ip", "@agent")
    admin_client.post(url("delete", id), YES)
    assert endings() == {id: Ending(log.ALONE, "17")}
    history = text_of(admin_client.get(url("history", id)))
    assert "Ended. 17 (deleted) 1 entry" in history


def test_those_that_came_up_meanwhile(admin_client, monkeypatch):
    """For a session that was not known before it ended, the entry has the user."""
    end, ids = registry.end_each_of, []

    def end_after_a_login(pk, **kwargs):
        ids.append(signed_in(pk))
        return end(pk, **kwargs)

    monkeypatch.setattr(registry, "end_each_of", end_after_a_login)
    known = signed_in("17")
    admin_client.post(url("end_all", "17"), YES)
    assert endings() == {
        known: Ending(log.ALL_OF_USER, "17", **SEEN),
        ids[0]: Ending(log.ALL_OF_USER, "17"),
    }


def test_other_pages_can_read_the_log(admin_client, ada):
    """Django's own pages show the primary key, device and address, and never a name."""
    id = signed_in(ada)
    admin_client.post(url("delete", id), YES)
    entry = LogEntry.objects.get()
    whose = f"{id[:8]} (user {ada.pk})"
    assert entry.get_change_message() == f"Deleted session “{whose}, {DEVICE}, {IP}”."
    assert str(entry) == f"Deleted “{whose}.”"
    with translation.override("de"):
        assert f"„{whose}, {DEVICE}, {IP}“" in entry.get_change_message()
    assert "ada" not in entry.change_message.replace(id[:8], "")


def test_each_reader_has_a_language(admin_client, ada):
    """The history is in the reader's language, whatever language the other staff member has."""
    id = signed_in(ada)
    admin_client.post(url("delete", id), YES, headers={"accept-language": "de"})
    histories = {
        "de": f"Beendet. ada, Firefox auf Linux, {IP}",
        "en": f"Ended. ada, Firefox on Linux, {IP}",
        "ja": f"終了しました。 ada, Linux の Firefox, {IP}",
    }
    for language, words in histories.items():
        page = admin_client.get(url("history", id), headers={"accept-language": language})
        assert words in text_of(page)


def test_an_entry_of_an_earlier_version(admin_client, admin_user):
    """Its device is in one piece, and shows as it was written."""
    id = "0" * 32
    ending = {"way": "alone", "user_pk": None, "device": DEVICE, "ip": IP, "is_certain": True}
    held = {"name": "session", "object": id[:8], "ending": ending}
    logged(admin_user, id, json.dumps([{"deleted": held}]))
    history = text_of(admin_client.get(url("history", id)))
    assert f"Ended. anonymous, {DEVICE}, {IP}" in history


def test_a_reply_that_was_lost(admin_client, ada):
    """Every page says that the session may still exist."""
    message = Ending(log.ALONE, "17", **SEEN, is_certain=False).message("9d1c7b3d (user 17)")
    entry = LogEntry(action_flag=DELETION, change_message=message)
    maybe = "May have been ended: the reply from Redis was lost."
    assert maybe in entry.get_change_message()
    assert Ending.read(entry).in_words("ada") == maybe


def test_one_entry_sends_a_signal(admin_client, ada):
    """Saving one entry sends Django's signals, as Django's own log does."""
    received = []

    def receive(instance, **kwargs):
        received.append(instance.object_id)

    post_save.connect(receive, LogEntry)
    try:
        id = signed_in(ada)
        admin_client.post(url("delete", id), YES)
    finally:
        post_save.disconnect(receive, LogEntry)
    assert received == [id]


# Other entries that may be in the log


def logged(user, id, message, flag=DELETION):
    return LogEntry.objects.create(
        user=user,
        content_type=ContentType.objects.get_for_model(Session),
        object_id=id,
        object_repr=f"{id[:8]} (ada)",
        action_flag=flag,
        change_message=message,
    )


# What Django shows, and what Django cannot show.
OTHERS = [
    "Ended.",
    "[",
    "",
    "[]",
    "[[]]",
    '[{"added": {}, "changed": {"fields": []}}]',
    '[{"added": {"name": "x", "object": "y", "ending": {"way": "alone"}}}]',
    '[{"deleted": {"name": "session", "object": "x"}}]',
    '[{"deleted": {"name": "session", "object": "x", "ending": {"other": 1}}}]',
    '[{"deleted": {"name": "session", "object": "x", "ending": null}}]',
]
DAMAGED = ['["deleted"]', '[{"deleted": {}}]', '{"deleted": 1}', "[1]"]


@pytest.mark.parametrize("message", OTHERS)
def test_entries_of_others(admin_client, admin_user, message):
    """Entries from earlier versions or other code show as Django shows them."""
    id = "0" * 32
    entry = logged(admin_user, id, message)
    page = text_of(admin_client.get(url("history", id)))
    assert f"Change history: {id[:8]} (ada)" in page
    assert f"admin {entry.get_change_message()}".strip() in page


@pytest.mark.parametrize("message", [*OTHERS, *DAMAGED])
def test_entries_of_others_say_nothing_of_an_ending(message):
    """Other entries are never read as an ending, whatever they contain."""
    assert Ending.read(LogEntry(action_flag=DELETION, change_message=message)) is None


def test_entries_of_others_for_staff_who_may_not_see_users(client, admin_user):
    """Such entries may contain names, so only their kind is shown."""
    id = "0" * 32
    logged(admin_user, id, "Ended, together with all sessions of ada.")
    logged(admin_user, id, "Changed by ada.", CHANGE)
    client.force_login(staff("viewer", "view_session"))
    page = text_of(client.get(url("history", id)))
    assert f"user {admin_user.pk} Ended." in page
    assert f"user {admin_user.pk} Change" in page
    assert f"Change history: {id[:8]} " in page
    assert "ada" not in page


def test_names_of_staff(client, admin_client, admin_user, ada):
    """Viewers who may see users see the full name of the staff member who ended the session."""
    User.objects.filter(pk=admin_user.pk).update(first_name="Grace", last_name="Hopper")
    id = signed_in(ada)
    admin_client.post(url("delete", id), YES)
    assert "admin (Grace Hopper) Ended." in text_of(admin_client.get(url("history", id)))
    client.force_login(staff("viewer", "view_session"))
    assert f"user {admin_user.pk} Ended." in text_of(client.get(url("history", id)))


def test_long_histories(admin_client, admin_user, django_assert_max_num_queries):
    """Long histories have pages, and one query finds their users."""
    id = "0" * 32
    ending = Ending(log.ALONE, "17", **SEEN).message(id[:8])
    for _ in range(120):
        logged(admin_user, id, ending)
    with django_assert_max_num_queries(8):
        page = admin_client.get(url("history", id))
    assert 'href="?p=2"' in page.content.decode()
    assert "120 entries" in text_of(page)
    assert len(page.context["lines"]) == 100


def test_devices_and_addresses_are_for_viewers_of_sessions(client, admin_client, ada):
    """The start page shows staff their own actions, without devices and addresses."""
    id = signed_in(ada)
    ender = staff("ender", "delete_session")
    client.force_login(ender)
    client.post(url("delete", id), YES)
    index = client.get("/admin/").content.decode()
    assert id[:8] in index
    assert not any(part in index for part in (DEVICE, IP, f"user {ada.pk}"))
    assert f"ender Ended. ada, {DEVICE}, {IP}" in text_of(admin_client.get(url("history", id)))


def test_what_is_stored_is_json(admin_client, ada):
    """The entry has the structure that Django documents, plus this package's part."""
    admin_client.post(url("delete", signed_in(ada)), YES)
    ((stored,),) = [json.loads(entry.change_message) for entry in LogEntry.objects.all()]
    assert stored["deleted"]["name"] == "session"
    assert stored["deleted"]["ending"]["ip"] == IP
