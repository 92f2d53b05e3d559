"""Tests that pages show the site's time with ``USE_TZ = False``, as with ``USE_TZ = True``."""

from datetime import UTC, datetime, timedelta
from functools import partial
from zoneinfo import ZoneInfo

import pytest
from django.contrib.auth.models import User
from django.utils import dateformat

from sessions_redis import registry
from sessions_redis.admin.listing import Listing
from tests.section import listed, own_id, signed_in, text_of, url, use_section
from tests.site import id_of, signed_in_browser, use_site
from tests.test_commands_management import run

pytestmark = pytest.mark.django_db

CREATED = 1_700_000_000
TIMES = ("@created", "@updated", "@seen")

# That time in some time zones: as Django formats it, and in ISO 8601.
SHOWN = {
    "Asia/Tokyo": ("Nov. 15, 2023, 7:13 a.m.", "2023-11-15T07:13:20+09:00"),
    "America/New_York": ("Nov. 14, 2023, 5:13 p.m.", "2023-11-14T17:13:20-05:00"),
}


@pytest.fixture(
    autouse=True, params=[(zone, use_tz) for zone in SHOWN for use_tz in (False, True)], ids=str
)
def time_zone(request, settings):
    """The time zone of a site, with and without aware times."""
    use_section(settings)
    settings.TIME_ZONE, settings.USE_TZ = request.param
    return settings.TIME_ZONE


@pytest.fixture
def old(raw, prefix, time_zone):
    """The ID of Ada's session, which was created at `CREATED` and expires in 90 minutes."""
    id = signed_in(User.objects.create_user("ada"), seconds=90 * 60 + 30)
    raw.hset(f"{prefix}:{id}", mapping=dict.fromkeys(TIMES, CREATED))
    return id


@pytest.mark.parametrize(
    "query",
    ["", "o=7", "o=-7", "signed_in=yes", "expires=day", "q=ada", "q={id}", "q={id}&expires=day"],
)
def test_the_list(admin_client, time_zone, old, query):
    """In any order, filtered or searched, the list shows when a session was created and expires."""
    page = admin_client.get(f"{url()}?{query.format(id=old)}")
    day, _, time = SHOWN[time_zone][0].rpartition(", ")
    assert old in listed(page)
    assert f"{day} {time}" in text_of(page)
    assert "1 hour, 30 minutes" in text_of(page)
    assert "just now" in text_of(page) or own_id(admin_client) not in listed(page)


def test_the_pages_of_a_session(admin_client, time_zone, old):
    """A session's page and the confirmation pages show the times."""
    page = text_of(admin_client.get(url("change", old)))
    shown = SHOWN[time_zone][0]
    assert page.count(shown) == 3
    expires = registry.find(old).expires.astimezone(ZoneInfo(time_zone))
    assert f"Expires: {dateformat.format(expires, 'N j, Y, P')} Expires in" in page
    for asking in (
        admin_client.get(url("delete", old)),
        admin_client.get(url("end_all", User.objects.get(username="ada").pk)),
        admin_client.post(url(), {"action": "delete_selected", "_selected_action": [old]}),
    ):
        assert f"created {shown}" in text_of(asking)


def test_the_end_and_the_history(admin_client, time_zone, old):
    """A session ends, and its history shows the time."""
    assert admin_client.post(url("delete", old), {"post": "yes"}).status_code == 302
    assert "Ended." in text_of(admin_client.get(url("history", old)))


def test_expiry_of_sessions_that_were_chosen_by_id(time_zone, old):
    """Sessions found by their IDs can be filtered by expiry, too."""
    listing = Listing().of_ids([old])
    assert [session.pk for session in listing.select(within=7200)] == [old]
    assert list(listing.select(within=60)) == []


@pytest.fixture
def browser(settings, time_zone, raw, prefix):
    """Bob's browser on the demonstration site, in the time zone."""
    use_tz = settings.USE_TZ
    use_site(settings)
    settings.TIME_ZONE, settings.USE_TZ = time_zone, use_tz
    page = "/account/sessions/"
    sign_in = partial(signed_in_browser, User.objects.create_user("bob"), page=page)
    sign_in()  # another device
    browser = sign_in()
    for session in registry.latest():
        raw.hset(f"{prefix}:{session.id}", mapping=dict.fromkeys(TIMES, CREATED))
    settings.SESSION_REDIS = {**settings.SESSION_REDIS, "ACTIVITY_INTERVAL": 10**12}  # no notes
    return browser


def test_self_service(browser, time_zone):
    """Each page shows the site's time, and has it in the markup with its offset."""
    words, iso = SHOWN[time_zone]
    own = id_of(browser)
    pages = {"": 2, f"{own}/end/": 1, "others/end/": 1}
    for page, sessions in pages.items():
        text = browser.get(f"/account/sessions/{page}").content.decode()
        assert text.count(f'<time datetime="{iso}">{words}</time>') == sessions
        assert text.count(f'<time datetime="{iso}" title="{words}">') == sessions


def test_the_api(browser):
    """The API returns times in UTC in any time zone of the site."""
    sessions = browser.get("/api/sessions/").json()["sessions"]
    assert [session["created"] for session in sessions] == ["2023-11-14T22:13:20Z"] * 2
    expires = datetime.fromisoformat(sessions[0]["expires"])
    assert expires.utcoffset() == timedelta(0)
    assert datetime.now(UTC) < expires


def test_the_commands(time_zone, old):
    """The commands work. None of them shows a time."""
    assert ["signed in", "1"] in [
        line.rsplit(maxsplit=1) for line in run("sessionstats").splitlines()
    ]
    assert run("clearsessions") == ""
    assert run("endsessions", "ada") == "ada: 1 session ended\n"
