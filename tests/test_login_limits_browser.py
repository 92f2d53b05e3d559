"""The sign-in forms of a site with MAX_SESSIONS_POLICY "refuse", in a real browser."""

import re

import pytest
from playwright.sync_api import expect, sync_playwright

from tests.browsers import CHROMIUM
from tests.servers import Server, required
from tests.test_runserver import Project, running

# What docs/limits.md asks of a site: its settings, its sign-in page, and its admin.
FILES = {
    "config/settings.py": """
SESSION_REDIS |= {"MAX_SESSIONS_PER_USER": 1, "MAX_SESSIONS_POLICY": "refuse"}
INSTALLED_APPS[INSTALLED_APPS.index("django.contrib.admin")] = "config.limits.LimitedAdminConfig"
""",
    "config/limits.py": """
from django.contrib.admin.apps import AdminConfig

class LimitedAdminConfig(AdminConfig):
    default_site = "config.limited.LimitedAdminSite"
""",
    "config/limited.py": """
from django.contrib.admin import AdminSite
from sessions_redis.web.limits import LimitedAdminMixin

class LimitedAdminSite(LimitedAdminMixin, AdminSite):
    pass
""",
    "config/urls.py": """
from django.contrib.auth.views import LoginView
from sessions_redis.web.limits import LimitedLoginMixin

class LimitedLoginView(LimitedLoginMixin, LoginView):
    template_name = "admin/login.html"
    next_page = "/account/sessions/"

urlpatterns.append(path("login/", LimitedLoginView.as_view()))
""",
}
TEXT = "You are signed in on 1 device, which is the limit. Sign out there first."
LIST = re.compile("^Where you.re signed in$")


@pytest.fixture
def site(tmp_path):
    """The demonstration site with these additions, run by ``manage.py runserver``."""
    (tmp_path / "redis").mkdir()
    (tmp_path / "project").mkdir()
    redis, project = Server(tmp_path / "redis"), Project(tmp_path / "project")
    for name, text in FILES.items():
        with (project.folder / name).open("a") as file:
            file.write(text)
    with running(project, "--noreload", REDIS_URL=redis.url) as site:
        site.password = project.password
        yield site
    redis.stop()


@pytest.fixture
def open_page(site):
    """``open_page(path)`` opens a page in a new browser, with cookies of its own."""
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=required("chromium"), args=CHROMIUM)

        def open_page(path):
            context = chromium.new_context(base_url=f"http://127.0.0.1:{site.port}")
            context.set_default_timeout(60_000)
            page = context.new_page()
            page.goto(path)
            return page

        yield open_page
        chromium.close()


def sign_in(page, site):
    page.get_by_label("Username").fill("admin")
    page.get_by_label("Password").fill(site.password)
    page.get_by_role("button", name="Log in").click()


def test_the_forms_say_so(site, open_page):
    """Both forms say on how many devices the user is. After a log-out there, they sign in."""
    laptop = open_page("/login/")
    sign_in(laptop, site)
    expect(laptop.get_by_role("heading", name=LIST)).to_be_visible()

    for path, heading in (("/login/", LIST), ("/admin/login/", re.compile("Site administration"))):
        phone = open_page(path)
        sign_in(phone, site)
        expect(phone.get_by_text(TEXT)).to_be_visible()
        expect(phone.get_by_label("Username")).to_have_value("admin")
        phone.goto("/account/sessions/")
        expect(phone.get_by_role("button", name="Log in")).to_be_visible()

        laptop.goto("/admin/")
        laptop.get_by_role("button", name="Log out").click()
        expect(laptop.get_by_text("Logged out")).to_be_visible()
        phone.goto(path)
        sign_in(phone, site)
        expect(phone.get_by_role("heading", name=heading)).to_be_visible()
        laptop = phone
