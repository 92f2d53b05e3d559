"""The steps of docs/install.md, taken literally with the built wheel in a site that is not ours."""

import json
import os
import re
import sys

import pytest

from sessions_redis.storage.commands import session_id
from tests.distributions import environment, run
from tests.documents import blocks, section, text_of
from tests.sites import Browser, Site
from tests.test_web_devices import IPHONE, WEBKIT

INSTALL = text_of("docs/install.md")


class Recipe:
    """The code blocks of the recipe: commands, settings, and what goes into urls.py."""

    def __init__(self) -> None:
        steps = section(INSTALL, "## Install")
        (self.install,), self.checks = (commands(block) for block in blocks(steps, "console"))
        self.settings, self.urls = blocks(steps, "python")
        # The commands that show who is signed in. They need a site with sessions.
        who = section(text_of("docs/who-is-signed-in.md"), "## On the command line")
        self.management = commands(blocks(who, "console")[0])
        without = section(INSTALL, "## Without a Redis on your machine")
        (self.install_server,) = commands(blocks(without, "console")[0])
        (self.embedded,) = blocks(without, "python")


def commands(block: str) -> list[str]:
    return [line.removeprefix("$ ") for line in block.splitlines()]


RECIPE = Recipe()

# Prints the packages that are installed, and what Django and redis-py require.
INSTALLED = """
import json
from importlib.metadata import distributions
found = {found.name.lower(): found.requires or [] for found in distributions()}
required = found.get("django", []) + found.get("redis", [])
print(json.dumps([list(found), [one for one in required if "extra ==" not in one]]))
"""

# Stores an entry, and reads it with another store.
STORE = """
from sessions_redis.engine import SessionStore
session = SessionStore()
session["color"] = "red"
session.save()
print(SessionStore(session.session_key)["color"])
"""


class FreshSite:
    """A new project of ``django-admin startproject`` in a new environment, with a shell there."""

    def __init__(self, folder, wheel) -> None:
        self.folder, self.wheel = folder, wheel
        self.python = str(folder / "venv" / "bin" / "python")
        run(sys.executable, "-m", "venv", str(folder / "venv"), cwd=folder)
        before, _ = self.installed()
        self.shell("python -m pip install django-sessions-redis")
        after, self.needed = self.installed()
        self.pulled = set(after) - set(before)
        self.shell(RECIPE.install)
        self.shell("django-admin startproject mysite .")

    def installed(self):
        return json.loads(run(self.python, "-c", INSTALLED, cwd=self.folder))

    def shell(self, command, **environment):
        """The output of ``command``, typed into a shell with the environment activated."""
        path = f"{self.folder / 'venv' / 'bin'}{os.pathsep}{os.environ['PATH']}"
        # pip finds the wheel here, and its requirements wherever it usually looks.
        links = f"{self.wheel.parent} {os.environ.get('PIP_FIND_LINKS', '')}".strip()
        return run(
            "sh", "-c", command, cwd=self.folder, PATH=path, PIP_FIND_LINKS=links, **environment
        )

    def append(self, name, lines):
        with (self.folder / "mysite" / name).open("a") as file:
            file.write(f"\n{lines}")


@pytest.fixture(scope="module")
def fresh_site(distributions, tmp_path_factory):
    return FreshSite(tmp_path_factory.mktemp("site"), distributions.wheel)


def test_the_recipe_puts_it_into_a_site(fresh_site, server, raw):
    """Its code blocks and nothing else: all that it promises of them works in a new project."""
    pulls_two_packages(fresh_site)
    (url,) = re.findall(r"redis://[^\"]+", RECIPE.settings)
    # The reader changes only the address of the server.
    fresh_site.append("settings.py", RECIPE.settings.replace(url, server.url))
    fresh_site.append("urls.py", RECIPE.urls)
    assert "no issues" in [fresh_site.shell(command) for command in RECIPE.checks][-1]
    fresh_site.shell(
        "python manage.py createsuperuser --noinput",
        DJANGO_SUPERUSER_USERNAME="admin",
        DJANGO_SUPERUSER_EMAIL="admin@example.com",
        DJANGO_SUPERUSER_PASSWORD="countess",
    )

    site = Site(fresh_site.folder, fresh_site.python, **environment())
    try:
        sign_in_and_out(site.url, raw)
        end_a_device(site.url)
        # The commands are those of the docs, and work on the sessions that are there.
        said = [fresh_site.shell(command) for command in RECIPE.management]
        assert said[0] == "admin: 0 sessions ended\n"
        assert '"live": 1' in said[1]
        assert raw.zcard("session:user:1") == 1
    finally:
        site.end()
        raw.delete(*raw.keys("session:*"), "none")
    assert "Traceback" not in site.log.read_text()
    use_the_embedded_server(fresh_site)


def pulls_two_packages(fresh_site):
    """Without extras, pip installs Django and redis-py, with what they need themselves."""
    assert {"django-sessions-redis", "django", "redis"} <= fresh_site.pulled
    needed = {re.match("[A-Za-z0-9_.-]+", one)[0].lower() for one in fresh_site.needed}
    assert fresh_site.pulled - needed == {"django-sessions-redis", "django", "redis"}
    assert {"hiredis", "ua-parser"}.isdisjoint(fresh_site.pulled)


ADMIN = {"username": "admin", "password": "countess"}


def sign_in_and_out(url, raw):
    """Use the page for users, to which a visitor returns after signing in."""
    browser = Browser()
    own = f"{url}/account/sessions/"
    assert browser.get(own)
    assert browser.url == f"{url}/admin/login/?next=/account/sessions/"
    page = browser.post(browser.url, **ADMIN)
    assert browser.url == own
    assert "Firefox on Linux" in page
    session_key = browser.cookie("sessionid")
    redis_key = f"session:{session_id(session_key)}"
    assert raw.hget(redis_key, "_auth_user_id") == b'"1"'
    assert raw.hget(redis_key, "@ip") == b"127.0.0.1"
    assert raw.zcard("session:user:1") == 1
    listed = browser.get(f"{url}/admin/sessions_redis/session/")
    assert "Firefox on Linux" in listed

    browser.post(f"{url}/admin/", to=f"{url}/admin/logout/")
    assert raw.exists(redis_key, "session:user:1") == 0
    assert "Log in" in browser.get(f"{url}/admin/")


def end_a_device(url):
    """Sign in with two devices. One of them sees the other one, and ends its session."""
    own = f"{url}/account/sessions/"
    phone = Browser(f"{IPHONE} {WEBKIT} Version/17.5 Mobile/15E148 Safari/604.1")
    phone.post(f"{url}/admin/login/?next=/account/sessions/", **ADMIN)
    assert phone.url == own
    desk = Browser()
    page = desk.post(f"{url}/admin/login/?next=/account/sessions/", **ADMIN)
    _, _, elsewhere = page.partition('id="sr-others"')
    assert "Mobile Safari on iOS" in elsewhere
    (end,) = re.findall(r'href="(/account/sessions/[0-9a-f]{32}/end/)"', elsewhere)
    page = desk.post(f"{url}{end}")
    assert desk.url == own
    assert "Mobile Safari on iOS" not in page.partition('id="sr-others"')[2]
    assert "Firefox on Linux" in page
    phone.get(own)
    assert phone.url == f"{url}/admin/login/?next=/account/sessions/"


def use_the_embedded_server(fresh_site):
    """Follow the section for a machine without Redis."""
    fresh_site.shell(RECIPE.install_server)
    fresh_site.append("settings.py", RECIPE.embedded)
    assert "no issues" in fresh_site.shell("python manage.py check")
    said = fresh_site.shell(f"python manage.py shell -c '{STORE}'")
    assert said.splitlines()[-1] == "red"
    assert (fresh_site.folder / ".redis").is_dir()
