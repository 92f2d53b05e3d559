"""
The pictures in the docs: real pages in a real browser, with sessions as a small site has them.

To make them anew: ``PICTURES=docs/images .venv/bin/python -m pytest tests/test_pictures.py``.
"""

import os
import re
import struct
import time
from pathlib import Path

import pytest
from django.contrib.auth.models import User
from playwright.sync_api import expect

from tests.documents import PAGES, ROOT, text_of
from tests.section import signed_in, url, use_section
from tests.test_admin_browser import browser, chromium, running_site  # noqa: F401 - a fixture

IMAGES = ROOT / "docs" / "images"

WIDTH = 1280

# A reader with a slow line waits for these, so they stay small.
MOST_BYTES = 150_000

MINUTE, HOUR, DAY = 60, 3600, 86400

LINUX = "Mozilla/5.0 (X11; Linux x86_64; rv:132.0) Gecko/20100101 Firefox/132.0"
WINDOWS = "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) "
CHROME, EDGE = WINDOWS + "Chrome/131.0.0.0 Safari/537.36", WINDOWS + "Edg/131.0.0.0"
MAC = (
    "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) "
    "Version/18.1 Safari/605.1.15"
)
IPHONE = (
    "Mozilla/5.0 (iPhone; CPU iPhone OS 18_1 like Mac OS X) AppleWebKit/605.1.15 "
    "(KHTML, like Gecko) Version/18.1 Mobile/15E148 Safari/604.1"
)
ANDROID = (
    "Mozilla/5.0 (Linux; Android 14; Pixel 8) AppleWebKit/537.36 (KHTML, like Gecko) "
    "Chrome/131.0.0.0 Mobile Safari/537.36"
)

# Each session: its user, user agent and address, the seconds since it began, and since it was
# saved.
SESSIONS = [
    ("ada", MAC, "203.0.113.24", 3 * HOUR, 2 * MINUTE),
    ("", ANDROID, "198.51.100.77", 4 * MINUTE, 4 * MINUTE),
    ("grace", CHROME, "192.0.2.141", 5 * DAY, 9 * MINUTE),
    ("linus", LINUX, "2001:db8:4f1:20::7", 2 * DAY, 21 * MINUTE),
    ("ada", IPHONE, "198.51.100.12", 6 * DAY, 47 * MINUTE),
    ("", CHROME, "192.0.2.66", HOUR, HOUR),
    ("margaret", EDGE, "203.0.113.201", 26 * HOUR, 2 * HOUR),
    ("katherine", ANDROID, "2001:db8:77:1::e2", 9 * DAY, 5 * HOUR),
    ("grace", IPHONE, "198.51.100.90", 3 * DAY, 11 * HOUR),
    ("", MAC, "192.0.2.18", 30 * HOUR, 29 * HOUR),
    ("ada", CHROME, "192.0.2.55", 8 * DAY, 3 * DAY),
    # Those that the pictures show as bars alone.
    *(
        (("barbara", "dennis", "")[number % 3], LINUX, "192.0.2.9", 14 * DAY, number**2 * 350)
        for number in range(10, 59)
    ),
]

LIFETIME = 14 * DAY

ENTRIES = {
    "cart": {"pears": 2, "apples": 1},
    "currency": "EUR",
    "last_search": "red shoes",
    "reset_token": "p3kx8W1nq0Zy7RtLmV4dHs",
    "visits": 12,
}


@pytest.fixture
def people(transactional_db, settings):
    use_section(settings)
    User.objects.create_superuser("admin", "admin@example.com", "countess")
    names = sorted({user for user, *_ in SESSIONS if user})
    return {name: User.objects.create_user(name, f"{name}@example.com") for name in names}


@pytest.fixture
def sessions(people, raw, prefix):
    """The ids of the sessions, as a site has them that has run for a while."""
    now, ids = time.time(), []
    for name, agent, ip, created, saved in SESSIONS:
        entries = ENTRIES if not ids else {}
        seconds = LIFETIME - saved
        id = signed_in(people.get(name), seconds=seconds, ip=ip, agent=agent, **entries)
        times = {"@created": round(now - created), "@updated": round(now - saved)}
        raw.hset(f"{prefix}:{id}", mapping=times)
        raw.hdel(f"{prefix}:{id}", "_session_expiry")
        ids.append(id)
    return ids


@pytest.fixture
def folder(tmp_path):
    """Where the pictures go: to the docs, if that is asked for."""
    return Path(os.environ.get("PICTURES", tmp_path))


def take(page, path, part, below=16):
    """A picture of the page from its top to the end of ``part``, in light colors."""
    page.set_viewport_size({"width": WIDTH, "height": 800})
    page.emulate_media(color_scheme="light", reduced_motion="reduce")
    page.evaluate("window.scrollTo(0, 0)")
    box = page.locator(part).bounding_box()
    height = box["y"] + box["height"] + below
    page.set_viewport_size({"width": WIDTH, "height": round(height)})
    page.screenshot(path=path)


def test_of_the_admin(chromium, people, sessions, settings, folder):  # noqa: F811
    """The list, a session's page, and the question before all sessions of a user are ended."""
    admin, ada = User.objects.get(username="admin"), people["ada"]
    with running_site(settings) as site, browser(chromium, site, settings, admin) as page:
        page.goto(url())
        page.locator("#toggle-nav-sidebar").click()  # more room for all pages
        expect(page.locator("#result_list tbody tr")).to_have_count(len(SESSIONS) + 1)
        take(page, folder / "admin-list.png", "#result_list tbody tr:nth-child(8)", below=1)

        page.goto(url("change", sessions[0]))
        expect(page.locator(".sessions-entries")).to_contain_text("red shoes")
        expect(page.locator(".sessions-entries")).not_to_contain_text(ENTRIES["reset_token"])
        take(page, folder / "admin-session.png", ".sessions-entries")

        page.goto(url("end_all", ada.pk))
        expect(page.locator("#deleted-objects > li")).to_have_count(3)
        take(page, folder / "admin-end-all.png", "#content form")
    check(folder, "admin-list.png", "admin-session.png", "admin-end-all.png")


def test_of_the_page_for_users(chromium, people, sessions, settings, folder):  # noqa: F811
    """Where a user is signed in, with the browser that shows the page on top."""
    ada = people["ada"]
    with running_site(settings) as site, browser(chromium, site, settings, ada) as page:
        page.goto("/account/sessions/")
        expect(page.get_by_text("203.0.113.24")).to_be_visible()
        take(page, folder / "own-sessions.png", "main")
    check(folder, "own-sessions.png")


def check(folder, *names):
    for name in names:
        picture = (folder / name).read_bytes()
        assert struct.unpack(">I", picture[16:20]) == (WIDTH,)
        assert len(picture) < MOST_BYTES, name


def test_each_is_in_the_docs():
    """A page shows each picture, in words as well, and none is larger than it must be."""
    shown = re.findall(
        r"!\[([^]]+)\]\((?:docs/)?images/([\w-]+\.png)\)", "".join(map(text_of, PAGES))
    )
    assert {name for _, name in shown} == {path.name for path in IMAGES.glob("*.png")}
    assert all(len(words) > 20 for words, _ in shown)
    check(IMAGES, *(name for _, name in shown))
