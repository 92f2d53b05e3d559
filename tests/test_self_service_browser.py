"""Tests the self-service pages in a real browser: Debian's Chromium, driven by Playwright."""

import re

import pytest
from playwright.sync_api import expect, sync_playwright

from sessions_redis import registry
from tests.browsers import CHROMIUM, LOOKS, sticks_out, too_faint
from tests.servers import Server, required
from tests.test_runserver import Project, running
from tests.test_web_devices import FIREFOX, IPHONE

PAGE = "/account/sessions/"
PHONE = f"{IPHONE} AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.5 Mobile/15E148 Safari/604.1"
LIST = re.compile("^Where you.re signed in$")
LONG = "UnknownBrowserWhoseNameNeverEnds" * 4


@pytest.fixture(scope="module")
def chromium():
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=required("chromium"), args=CHROMIUM)
        yield chromium
        chromium.close()


@pytest.fixture(scope="module")
def redis(tmp_path_factory):
    """The server for the site's sessions."""
    redis = Server(tmp_path_factory.mktemp("redis"))
    yield redis
    redis.stop()


@pytest.fixture(scope="module")
def site(redis, tmp_path_factory):
    """The demonstration site, run by ``manage.py runserver``."""
    project = Project(tmp_path_factory.mktemp("project"))
    with running(project, "--noreload", REDIS_URL=redis.url) as site:
        site.password = project.password
        yield site


@pytest.fixture
def sign_in(chromium, site, redis):
    """``sign_in(…)`` opens a browser with its own cookies, signs in, and opens the list."""
    contexts = []

    def sign_in(user_agent=FIREFOX, **options):
        url = f"http://127.0.0.1:{site.port}"
        context = chromium.new_context(base_url=url, user_agent=user_agent, **options)
        context.set_default_timeout(60_000)
        contexts.append(context)
        page = context.new_page()
        page.goto(PAGE)
        page.get_by_label("Username").fill("admin")
        page.get_by_label("Password").fill(site.password)
        page.get_by_role("button", name="Log in").click()
        expect(page).to_have_url(re.compile(f"{PAGE}$"))
        return page

    yield sign_in
    for context in contexts:
        context.close()
    with redis.client() as client:
        client.delete("none", *client.scan_iter("session:*"))


def expect_refused(page):
    """The browser's next request leads to the sign-in form, and its cookie is deleted."""
    page.goto(PAGE)
    expect(page.get_by_role("button", name="Log in")).to_be_visible()
    assert "session-id" not in {cookie["name"] for cookie in page.context.cookies()}


def here(page):
    return page.get_by_role("region", name="Here", exact=True)


def elsewhere(page):
    return page.get_by_role("region", name="Elsewhere")


@pytest.mark.parametrize("javascript", [True, False])
def test_two_browsers(sign_in, javascript):
    """Each browser sees both sessions. One ends the other, whose next request is refused."""
    laptop = sign_in(java_script_enabled=javascript)
    phone = sign_in(PHONE, java_script_enabled=javascript)
    expect(here(phone)).to_contain_text("Mobile Safari on iOS")
    expect(elsewhere(phone)).to_contain_text("Firefox on Linux")
    laptop.reload()
    expect(here(laptop)).to_contain_text("This device")
    expect(elsewhere(laptop)).to_contain_text("Mobile Safari on iOS")

    laptop.get_by_role("link", name="Sign out: Mobile Safari on iOS, 127.0.0.1").click()
    expect(laptop.get_by_role("heading", name="Sign out that device?")).to_be_visible()
    laptop.get_by_role("link", name="Cancel").click()
    phone.reload()
    expect(phone.get_by_role("heading", name=LIST)).to_be_visible()

    laptop.get_by_role("link", name="Sign out: Mobile Safari").click()
    laptop.get_by_role("button", name="Sign out").click()
    expect(laptop.get_by_role("status")).to_have_text("Signed out: Mobile Safari on iOS")
    expect(elsewhere(laptop)).to_contain_text("not signed in anywhere else.")
    expect_refused(phone)


@pytest.mark.parametrize("javascript", [True, False])
def test_all_others(sign_in, javascript):
    """All other sessions end at once. Their next requests are refused."""
    laptop = sign_in(java_script_enabled=javascript)
    others = [sign_in(agent, java_script_enabled=javascript) for agent in (PHONE, LONG)]
    laptop.reload()
    laptop.get_by_role("link", name="Sign out everywhere else").click()
    expect(laptop.get_by_text("This signs out 2 devices or browsers.")).to_be_visible()
    laptop.get_by_role("button", name="Sign out everywhere else").click()
    expect(laptop.get_by_role("status")).to_have_text("Signed out on 2 other devices.")
    for other in others:
        expect_refused(other)
    laptop.reload()
    expect(laptop.get_by_role("heading", name=LIST)).to_be_visible()
    expect(laptop.get_by_role("status")).to_have_count(0)


def test_this_device(sign_in):
    """Ending the current session leads to the sign-in form and deletes the cookie."""
    laptop, phone = sign_in(), sign_in(PHONE)
    laptop.get_by_role("link", name="Sign out: this device").click()
    expect(laptop.get_by_role("heading", name="Sign out here?")).to_be_visible()
    laptop.get_by_role("button", name="Sign out").click()
    expect(laptop.get_by_role("button", name="Log in")).to_be_visible()
    expect_refused(laptop)
    phone.reload()
    expect(phone.get_by_role("heading", name=LIST)).to_be_visible()


def test_ended_by_somebody_else(sign_in, settings, redis):
    """A session that the registry ends stops working, even while the browser fills in a form."""
    laptop, phone = sign_in(), sign_in(PHONE)
    laptop.reload()
    laptop.get_by_role("link", name="Sign out everywhere else").click()
    settings.SESSION_REDIS = {"LOCATION": redis.url}
    assert registry.end_all_of(1) == 2
    laptop.get_by_role("button", name="Sign out everywhere else").click()
    expect(laptop.get_by_role("button", name="Log in")).to_be_visible()
    expect_refused(phone)


def test_it_can_be_used_with_the_keyboard(sign_in):
    """The Tab key reaches links and buttons in order, and each has a clear name."""
    laptop = sign_in()
    sign_in(PHONE)
    laptop.reload()
    names = []
    for _ in range(3):
        laptop.keyboard.press("Tab")
        focused = "document.activeElement.ariaLabel ?? document.activeElement.textContent"
        names.append(laptop.evaluate(focused))
    assert names == [
        "Sign out: this device",
        "Sign out everywhere else",
        "Sign out: Mobile Safari on iOS, 127.0.0.1",
    ]
    laptop.keyboard.press("Enter")
    expect(laptop.get_by_role("heading", name="Sign out that device?")).to_be_visible()


def check_looks(page):
    """Nothing overflows sideways, and all text has the contrast of WCAG AA."""
    for width, scheme in LOOKS:
        page.set_viewport_size({"width": width, "height": 800})
        page.emulate_media(color_scheme=scheme)
        assert not sticks_out(page)
        assert too_faint(page.locator("main")) == {}


def test_the_landing_page(sign_in):
    """It fits a phone, where each value is below its name. Its button signs out."""
    laptop = sign_in()
    laptop.goto("/")
    check_looks(laptop)
    row = laptop.get_by_role("table").locator("tbody tr").first
    for width, is_below in ((390, True), (1280, False)):
        laptop.set_viewport_size({"width": width, "height": 800})
        name, value = (row.locator(cell).bounding_box() for cell in ("th", "td"))
        assert (value["y"] >= name["y"] + name["height"]) == is_below
    laptop.get_by_role("button", name="Sign out").click()
    expect(laptop.get_by_text("You have no session yet")).to_be_visible()
    expect_refused(laptop)


def test_all_pages_fit_and_can_be_read(sign_in, redis):
    """Checks the list, each confirmation and the outage page at several widths, light and dark."""
    laptop = sign_in()
    check_looks(laptop)
    sign_in(PHONE)
    sign_in(LONG)
    laptop.reload()
    links = laptop.get_by_role("link", name="Sign out").all()
    paths = [PAGE, *(link.get_attribute("href") for link in links)]
    assert len(paths) == 5
    for path in paths:
        assert laptop.goto(path).status == 200
        check_looks(laptop)

    laptop.goto(paths[-2])
    stale = laptop.context.new_page()
    stale.goto(paths[-2])
    laptop.get_by_role("button", name="Sign out").click()
    expect(laptop.get_by_role("status")).to_be_visible()
    check_looks(laptop)

    stale.get_by_role("button", name="Sign out").click()
    expect(stale.get_by_role("heading", name="Already signed out")).to_be_visible()
    check_looks(stale)
    stale.get_by_role("link", name=LIST).click()
    expect(stale.get_by_role("heading", name=LIST)).to_be_visible()

    redis.stop()
    assert laptop.goto(PAGE).status == 503
    check_looks(laptop)
    redis.start()
