"""Tests the section "Sessions" in a real browser: Debian's Chromium, driven by Playwright."""

import re
import socket
import time
from contextlib import contextmanager, suppress
from itertools import combinations, product, starmap

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import User
from django.contrib.staticfiles.handlers import StaticFilesHandler
from django.core.servers.basehttp import ThreadedWSGIServer
from django.db import connections
from django.test import Client
from django.test.testcases import LiveServerThread
from playwright.sync_api import expect, sync_playwright

from sessions_redis import registry
from sessions_redis.engine import SessionStore
from tests.browsers import CHROMIUM, LOOKS, sticks_out, too_faint
from tests.catalogs import LANGUAGES
from tests.section import FIREFOX, signed_in, staff, url, use_section
from tests.servers import Server, required

HEADLESS = (
    "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) "
    "HeadlessChrome/141.0.0.0 Safari/537.36"
)

# The fading edge of the list, and its width in pixels.
FADE = "getComputedStyle(document.querySelector('#changelist-form .results')).maskImage"
FADING = 40

# How wide the list is, and how much room it has.
WIDTHS = """[
  document.querySelector("#result_list").offsetWidth,
  document.querySelector("#result_list").parentElement.clientWidth,
]"""

SESSIONS = 250
PASSWORD = "countess"

# For each bar of the histogram, whether pointing at its upper end shows its numbers.
POINTED_AT = """[...document.querySelectorAll(".sessions-histogram g")].map(bar => {
  const box = bar.getBoundingClientRect();
  return bar.contains(document.elementFromPoint(box.x + box.width / 2, box.y + 3));
})"""

# Where the buttons of a session's page are, and the texts of its headings.
BOXES = """[
  ...document.querySelectorAll(".object-tools a, main :is(h1, h2)")
].map(part => {
  const range = document.createRange();
  range.selectNodeContents(part);
  return (part.tagName === "A" ? part : range).getBoundingClientRect().toJSON();
})"""

# The elements of the buttons whose text is cut.
CUT = """[...document.querySelectorAll(".object-tools a, .object-tools bdi")]
  .filter(part => part.scrollWidth > part.clientWidth).map(part => part.tagName)"""

# How many lines each text of a column takes.
LINES = """column => Object.fromEntries([...document.querySelectorAll(column)].map(cell => {
  const range = document.createRange();
  range.selectNodeContents(cell);
  return [cell.textContent, new Set([...range.getClientRects()].map(line => line.top)).size];
}))"""


@pytest.fixture(scope="module")
def chromium():
    with pytest.MonkeyPatch.context() as patch, sync_playwright() as playwright:
        # Playwright runs an event loop in this thread, and the tests use the database in it.
        patch.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "true")
        chromium = playwright.chromium.launch(executable_path=required("chromium"), args=CHROMIUM)
        yield chromium
        chromium.close()


class ClosingServer(ThreadedWSGIServer):
    """
    A server that, when it stops, closes the browser's open connections and waits for its threads.
    """

    daemon_threads = False

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.open = []

    def get_request(self):
        connection, address = super().get_request()
        self.open.append(connection)
        return connection, address

    def server_close(self):
        for connection in self.open:
            with suppress(OSError):  # closed by the browser
                connection.shutdown(socket.SHUT_RDWR)
        super().server_close()


class SiteThread(LiveServerThread):
    server_class = ClosingServer


@contextmanager
def running_site(settings):
    """Run the site with the current settings. Gives its URL."""
    settings.ALLOWED_HOSTS = ["localhost", "testserver"]
    database = connections["default"]
    database.inc_thread_sharing()
    thread = SiteThread("localhost", StaticFilesHandler, {"default": database})
    thread.start()
    thread.is_ready.wait()
    try:
        assert thread.error is None
        yield f"http://localhost:{thread.port}"
    finally:
        thread.terminate()
        database.dec_thread_sharing()


@pytest.fixture
def boss(transactional_db, settings):
    use_section(settings)
    return User.objects.create_superuser("boss", "boss@example.com", PASSWORD)


@contextmanager
def browser(chromium, site, settings, user=None):
    """A page in a new browser, in which ``user`` is signed in to ``site``."""
    context = chromium.new_context(base_url=site, user_agent=FIREFOX)
    context.set_default_timeout(60_000)
    if user is not None:
        client = Client(REMOTE_ADDR="127.0.0.1", headers={"user-agent": FIREFOX})
        client.force_login(user)
        client.get("/admin/")
        name = settings.SESSION_COOKIE_NAME
        value = client.cookies[name].value
        context.add_cookies([{"name": name, "value": value, "url": site}])
    try:
        yield context.new_page()
    finally:
        context.close()


@pytest.fixture
def page(chromium, boss, settings):
    with running_site(settings) as site, browser(chromium, site, settings, boss) as page:
        yield page


def make_sessions(count):
    """
    Make sessions of two users and anonymous ones in turn. Returns their IDs, soonest to expire
    first.
    """
    users = [User.objects.create_user(name) for name in ("ada", "grace")]
    return [
        signed_in([*users, None][number % 3], seconds=600 + number * 1000, number=number)
        for number in range(count)
    ]


@pytest.fixture
def sessions(boss):
    return make_sessions(SESSIONS)


@pytest.fixture
def few_sessions(boss):
    return make_sessions(9)


def rows(page):
    return page.locator("#result_list tbody tr")


def first_of(page):
    return rows(page).first.locator("th a").inner_text().split()[0]


def live_ids():
    return {session.id for session in registry.latest(0, 2 * SESSIONS)}


def test_looking_around(chromium, boss, settings, sessions):
    """
    A viewer signs in, sorts, pages, filters and searches the list, and opens a session's page.
    """
    with running_site(settings) as site, browser(chromium, site, settings) as page:
        page.goto("/admin/")
        page.get_by_label("Username").fill("boss")
        page.get_by_label("Password").fill(PASSWORD)
        page.get_by_role("button", name="Log in").click()
        row = page.get_by_role("row", name="Sessions")
        row.get_by_role("link", name="Sessions").click()
        look_around(page, sessions)


def look_around(page, sessions):
    expect(page).to_have_url(re.compile("/sessions_redis/session/$"))
    expect(rows(page)).to_have_count(100)
    expect(page.locator(".paginator")).to_contain_text(f"{SESSIONS + 1} sessions")
    expect(rows(page).first).to_have_text(re.compile("yours.*boss.*Firefox on Linux.*127.0.0.1"))
    picture = page.get_by_role("img", name="All sessions by time left")
    expect(picture).to_be_visible()
    assert page.evaluate(POINTED_AT) == [True] * page.locator(".sessions-histogram g").count()
    page.get_by_text("Show as a table").click()
    expect(page.get_by_role("columnheader", name="Time left")).to_be_visible()

    page.locator("th.column-expires_in .text a").click()
    expect(page).to_have_url(re.compile(r"\?o=7$"))
    assert first_of(page) == sessions[0][:8]
    page.locator(".paginator").get_by_role("link", name="3", exact=True).or_(
        page.locator(".paginator").get_by_role("button", name="3", exact=True)
    ).click()
    expect(rows(page)).to_have_count(SESSIONS + 1 - 200)

    page.goto(url())
    page.get_by_role("link", name="Anonymous").click()
    expect(page.locator(".paginator")).to_contain_text(f"{SESSIONS // 3} sessions")
    page.get_by_role("link", name="Within an hour").click()
    expect(page.locator(".paginator")).to_contain_text("1 session")

    page.goto(url())
    page.locator("#searchbar").fill("ada")
    page.get_by_role("button", name="Search").click()
    expect(page.locator(".paginator")).to_contain_text("84 sessions")
    rows(page).last.locator("th a").click()
    expect(page.locator(".field-whole_id .readonly")).to_have_text(sessions[0])
    expect(page.get_by_role("row", name="number integer 1 byte 0")).to_be_visible()
    page.get_by_role("link", name="ada", exact=True).click()
    expect(page.get_by_label("Username")).to_have_value("ada")


def test_ending_one(page, few_sessions):
    """The page asks. "No" leads back to the session. "Yes" ends it, and a message says so."""
    page.goto(url("change", few_sessions[0]))
    page.get_by_role("button", name="End session").or_(
        page.get_by_role("link", name="End session")
    ).click()
    expect(page.get_by_role("heading", name="End session")).to_be_visible()
    page.get_by_role("button", name="No, take me back").click()
    expect(page).to_have_url(re.compile(url("change", few_sessions[0])))
    assert few_sessions[0] in live_ids()
    page.goto(url("delete", few_sessions[0]))
    page.get_by_role("button", name="Yes, I’m sure").click()
    expect(page.locator(".messagelist .success")).to_have_text("1 session was ended.")
    assert live_ids() >= set(few_sessions[1:])
    assert few_sessions[0] not in live_ids()


def run_action(page):
    page.get_by_label("Action:").select_option("delete_selected")
    page.locator("button[name=index]").click()


def test_ending_selected(page, sessions):
    """Ends sessions selected by checkbox, then all sessions of a filtered list."""
    page.goto(f"{url()}?signed_in=no&o=7")
    for row in range(2):
        rows(page).nth(row).get_by_role("checkbox").check()
    run_action(page)
    expect(page.get_by_role("heading", name="2 sessions")).to_be_visible()
    page.get_by_role("button", name="Yes, I’m sure").click()
    expect(page.locator(".messagelist .success")).to_have_text("2 sessions were ended.")
    assert live_ids().isdisjoint({sessions[2], sessions[5]})

    page.goto(f"{url()}?signed_in=yes&o=7")
    page.get_by_label("Select all objects on this page for an action").check()
    page.get_by_text("Select all 168 sessions").click()
    run_action(page)
    expect(page.get_by_role("heading", name="168 sessions")).to_be_visible()
    expect(page.get_by_text("and 68 more")).to_be_visible()
    expect(
        page.get_by_text("One of these is your own session, the one that you are using now")
    ).to_be_visible()
    page.get_by_role("button", name="No, take me back").click()
    expect(rows(page)).to_have_count(100)
    assert len(live_ids()) == SESSIONS + 1 - 2


def test_ending_all_of_a_user(page, few_sessions):
    """
    Starts from the user's list. The log has all sessions, and the user's browser is signed out.
    """
    page.goto(url())
    page.locator("#searchbar").fill("grace")
    page.get_by_role("button", name="Search").click()
    page.get_by_role("link", name="End all sessions of grace").click()
    expect(page.get_by_role("heading", name="3 sessions")).to_be_visible()
    page.get_by_role("button", name="Yes, I’m sure").click()
    expect(page.locator(".messagelist .success")).to_have_text("3 sessions were ended.")
    expect(page.locator(".paginator")).to_contain_text("0 sessions")
    assert LogEntry.objects.filter(object_id__in=few_sessions[1::3]).count() == 3
    page.goto(url("history", few_sessions[1]))
    said = "Ended, together with all sessions of grace. grace, Firefox on Linux, 203.0.113.7"
    expect(page.get_by_role("cell", name=said)).to_be_visible()


def test_finding_by_key(page, few_sessions):
    """The key leads to its session, and is in none of the URLs that the browser requested."""
    session = SessionStore()
    session["colour"] = "crimson"
    session.save()
    addresses = []
    page.on("request", lambda request: addresses.append(request.url))
    page.goto(url())
    page.get_by_label("Find by session key:").fill(session.session_key)
    page.get_by_role("button", name="Find").click()
    expect(page.get_by_role("row", name="colour")).to_contain_text("crimson")
    assert not any(session.session_key in address for address in addresses)
    assert session.session_key not in page.content()
    page.goto(url())
    page.get_by_label("Find by session key:").fill("nobody's")
    page.get_by_role("button", name="Find").click()
    expect(page.locator(".messagelist .warning")).to_have_text(
        "There is no session with this key or ID. It may have ended or expired."
    )


def test_ones_own_session(page, few_sessions):
    """The viewer's own session is marked. Ending it asks twice, and leads to the sign-in form."""
    page.goto(url())
    page.get_by_role("row", name="(yours)").get_by_role("checkbox").check()
    run_action(page)
    expect(
        page.get_by_text("This is your own session, the one that you are using now.")
    ).to_be_visible()
    page.get_by_role("button", name="Yes, I’m sure").click()
    expect(page.get_by_text("If you end it, you are signed out here.")).to_be_visible()
    page.get_by_role("button", name="Yes, sign me out").click()
    expect(page.get_by_role("button", name="Log in")).to_be_visible()
    expect(page.get_by_text("1 session was ended.")).to_be_visible()
    assert live_ids() == set(few_sessions)


def test_staff_who_may_only_end(chromium, boss, settings, few_sessions):
    """
    From the start page to their form, to the confirmation, and back to the form with a message.
    """
    ender = staff("ender", "delete_session")
    with running_site(settings) as site, browser(chromium, site, settings, ender) as page:
        page.goto("/admin/")
        page.locator("#content").get_by_role("link", name="Sessions").last.click()
        expect(page.get_by_role("heading", name="End a session")).to_be_visible()
        check_looks(page, "#content")
        page.get_by_label("Session key or session ID:").fill(few_sessions[0][:8])
        page.get_by_role("button", name="Find").click()
        expect(page.locator("#deleted-objects")).to_have_text(f"ID {few_sessions[0]}")
        check_looks(page, "#content")
        page.get_by_role("button", name="Yes, I’m sure").click()
        expect(page.locator(".messagelist .success")).to_have_text("1 session was ended.")
        expect(page.get_by_role("heading", name="End a session")).to_be_visible()
    assert few_sessions[0] not in live_ids()


def check_looks(page, *parts):
    """Nothing overflows the page, and the texts of its ``parts`` have enough contrast."""
    for width, scheme in LOOKS:
        page.set_viewport_size({"width": width, "height": 800})
        page.emulate_media(color_scheme=scheme)
        assert not sticks_out(page), (page.url, width)
        for part in parts:
            expect(page.locator(part)).to_be_visible()
            page.wait_for_function("document.getAnimations().length === 0")  # colors may change
            assert too_faint(page.locator(part)) == {}, (page.url, width, scheme)


def test_looks(page, sessions):
    """Checks list, session, confirmations and an empty list at several widths, light and dark."""
    long = signed_in("a-user-of-a-very-long-primary-key" * 4, **{"name" * 40: "value" * 400})
    page.goto(url())
    page.get_by_text("Show as a table").click()
    check_looks(page, ".sessions-histogram", ".sessions-find")
    page.goto(f"{url()}?q=nobody")
    check_looks(page, ".sessions-histogram")
    page.goto(url("change", long))
    check_looks(page, ".sessions-entries")
    page.goto(url("delete", long))
    check_looks(page, "#content")
    page.goto(url("end_all", User.objects.get(username="ada").pk))
    check_looks(page, "#deleted-objects")
    page.goto(url("history", long))
    check_looks(page, "#content")
    page.goto(url())
    page.get_by_role("link", name="End all but mine").click()
    check_looks(page, "#deleted-objects")


def test_every_column_is_in_sight(page, sessions, raw, prefix, tmp_path):
    """On a small desktop, no column is cut off beside the admin's menu and the filters."""
    page.set_viewport_size({"width": 1280, "height": 900})
    signed_in("a-longer-name", seconds=12 * 86400 + 3600)
    signed_in("name" * 20, agent="com.example.androidapp/1.2.345", ip="203.113.117.213")
    signed_in(agent="AppWithoutSpaces/1.2.345" * 9, ip="2001:0db8:85a3:1234:5678:8a2e:0370:7334")
    saved = f"{time.time() - 390:.0f}"
    raw.hset(f"{prefix}:{signed_in(agent=HEADLESS)}", "@updated", saved)
    raw.hset(f"{prefix}:{signed_in(agent='')}", mapping={"@created": "?", "@updated": "?"})
    for language in ("en", *LANGUAGES):
        page.set_extra_http_headers({"accept-language": language.replace("_", "-")})
        page.goto(url())
        page.screenshot(path=tmp_path / f"{language}.png")
        assert page.locator("html").get_attribute("lang") == language.replace("_", "-").lower()
        table, room = page.evaluate(WIDTHS)
        assert table <= room, language
    page.set_extra_http_headers({"accept-language": "en"})
    page.goto(url())
    assert page.evaluate(LINES, ".field-user")["anonymous"] == 1
    assert page.evaluate(LINES, ".field-device")["HeadlessChrome on Linux"] <= 3
    assert page.evaluate(LINES, ".field-active")["6\xa0minutes ago"] <= 2
    assert page.evaluate(FADE) == "none"


def test_buttons_of_a_long_name(page, boss):
    """They keep their last words, and neither cover the headings nor each other."""
    user = User.objects.create_user("a-very-long-user-name@mail.example.com")
    id = signed_in(user)
    for language, width in product(("en", "de", "fr"), (390, 780, 1100, 1280)):
        page.set_viewport_size({"width": width, "height": 800})
        page.set_extra_http_headers({"accept-language": language})
        page.goto(url("change", id))
        boxes = page.evaluate(BOXES)
        assert len(boxes) >= 5
        assert not any(starmap(overlap, combinations(boxes, 2))), (language, width)
        assert page.evaluate(CUT) == ["BDI", "BDI"], (language, width)


def overlap(one, other):
    """Whether two boxes overlap by more than the rounding of their borders."""
    return all(
        min(one[start] + one[size], other[start] + other[size]) - max(one[start], other[start]) > 1
        for start, size in (("x", "width"), ("y", "height"))
    )


def test_a_list_without_room_shows_that_it_scrolls(page, few_sessions):
    """On a phone, the list fades out where it continues. Scrolled to the end, it fades no text."""
    page.set_viewport_size({"width": 390, "height": 800})
    page.goto(url())
    assert "gradient" in page.evaluate(FADE)
    assert page.evaluate("results => results.scrollWidth > results.clientWidth", results(page))
    page.evaluate("results => { results.scrollLeft = results.scrollWidth }", results(page))
    end, text = page.evaluate(
        """results => {
          const range = document.createRange();
          const ends = [...results.querySelectorAll(".field-expires_in")].map(cell => {
            range.selectNodeContents(cell);
            return range.getBoundingClientRect().right;
          });
          return [results.getBoundingClientRect().right, Math.max(...ends)];
        }""",
        results(page),
    )
    assert text <= end - FADING


def results(page):
    return page.locator("#changelist-form .results").element_handle()


def test_a_phone_leaves_no_room_unused(chromium, page, boss, settings, few_sessions):
    """Buttons align at their edges, and lists are not indented much."""
    page.set_viewport_size({"width": 390, "height": 800})
    page.goto(url("change", few_sessions[0]))
    boxes = [tool.bounding_box() for tool in page.locator(".object-tools a").all()]
    heights = {box["y"] for box in boxes}
    assert len(heights) > 1
    firsts = {min(box["x"] for box in boxes if box["y"] == height) for height in heights}
    assert firsts == {page.locator("#content h2").first.bounding_box()["x"]}
    ender = staff("ender", "delete_session")
    with running_site(settings) as site, browser(chromium, site, settings, ender) as theirs:
        theirs.set_viewport_size({"width": 390, "height": 800})
        theirs.goto(url())
        text = theirs.locator("#content p").first.bounding_box()["x"]
        item = theirs.locator("#sessions-end-help li").first.bounding_box()["x"]
        assert text < item <= text + 20


@pytest.mark.parametrize("width", [768, 1280])
def test_names_of_entries_have_room(page, width):
    """Each column is wide enough for its content, even if values are long."""
    page.set_viewport_size({"width": width, "height": 900})
    page.goto(url("change", signed_in(bio="x" * 3000, note="word " * 600, short=1)))
    table = page.locator(".sessions-entries table").bounding_box()
    columns = [th.bounding_box() for th in page.locator(".sessions-entries thead th").all()]
    assert columns[0]["width"] == pytest.approx(table["width"] / 4, abs=1)
    assert columns[3]["width"] > columns[0]["width"]
    for name in ("Name", "Type", "Size", "Value"):
        heading = page.get_by_role("columnheader", name=name, exact=True)
        assert heading.bounding_box()["height"] < 30
    cell = page.get_by_role("row", name="short integer 1 byte 1")
    assert cell.bounding_box()["height"] < 40


def are_apart(one, other):
    """Whether two boxes do not overlap."""
    return any(
        box[start] + box[length] <= beside[start]
        for start, length in (("x", "width"), ("y", "height"))
        for box, beside in ((one, other), (other, one))
    )


def test_long_names_leave_the_page_in_order(page, tmp_path):
    """A long user name overlaps nothing, and a long user agent is visible in full."""
    agent = "AppWithoutSpaces/1.2.345" * 9
    id = signed_in("a.user.without.spaces@example.com" * 2, agent=agent)
    for width, name in product((390, 1280), ("delete", "change")):
        page.set_viewport_size({"width": width, "height": 900})
        page.goto(url(name, id))
        page.screenshot(path=tmp_path / f"{name}-{width}.png")
        assert not sticks_out(page)
    shown = page.locator(".field-user_agent .readonly")
    assert shown.bounding_box()["height"] > 40
    heading = page.locator("#content h2").first.bounding_box()
    for tool in page.locator(".object-tools a").all():
        assert are_apart(heading, tool.bounding_box())


def test_redis_away(chromium, boss, settings, session_redis, tmp_path):
    """The section's page has the admin's layout, and the rest of the admin works as usual."""
    settings.SESSION_ENGINE = "django.contrib.sessions.backends.db"
    own = Server(tmp_path)
    settings.SESSION_REDIS = {**session_redis, "LOCATION": own.url}
    try:
        with running_site(settings) as site, browser(chromium, site, settings, boss) as page:
            page.goto(url())
            expect(page.get_by_text("There are no sessions.")).to_be_visible()
            check_looks(page, ".sessions-histogram")
            own.stop()
            assert page.goto(url()).status == 503
            expect(page.get_by_text("The site cannot read sessions from Redis")).to_be_visible()
            check_looks(page, "#content-main")
            page.get_by_role("link", name="Home").click()
            expect(page.get_by_role("heading", name="Site administration")).to_be_visible()
    finally:
        own.process.kill()
        own.process.wait()
