"""The steps of docs/install.md, taken literally with the built wheel in a site that is not ours."""

import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile

import pytest

from sessions_redis.storage.commands import session_id
from tests.documents import ROOT, blocks, section, text_of
from tests.sites import Browser, Site

INSTALL = text_of("docs/install.md")


def run(*command, cwd, **environment):
    done = subprocess.run(
        command,
        cwd=cwd,
        env={**clean_environment(), **environment},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def clean_environment():
    """
    This process's environment, without variables that point at the checkout or at another Redis.
    """
    left_out = {"DJANGO_SETTINGS_MODULE", "PYTHONPATH", "REDIS_URL"}
    return {name: value for name, value in os.environ.items() if name not in left_out}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    # This is built from a copy, because setuptools also packs files that an earlier build has left.
    source = tmp_path_factory.mktemp("source")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "sessions_redis", source / "sessions_redis", ignore=ignored)
    run(sys.executable, "-m", "build", "--wheel", str(source), cwd=source)
    (wheel,) = (source / "dist").glob("*.whl")
    return wheel


def test_the_wheel_holds_the_package_alone(wheel):
    """The wheel contains sessions_redis with its scripts and type marker, and nothing else."""
    with zipfile.ZipFile(wheel) as archive:
        names = [name for name in archive.namelist() if ".dist-info/" not in name]
    expected = {
        str(path.relative_to(ROOT))
        for path in (ROOT / "sessions_redis").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert set(names) == expected
    assert {"sessions_redis/py.typed", "sessions_redis/storage/scripts/save.lua"} <= expected


def test_the_oldest_versions_are_the_same_everywhere():
    """pip, docs/install.md and the suite with the oldest versions agree on what these are."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    least = dict(re.findall(r"(\w+)(?:\[\w+])?>=([\d.]+)", " ".join(project["dependencies"])))
    assert least.keys() == {"django", "redis"}
    assert project["optional-dependencies"]["hiredis"] == [f"redis[hiredis]>={least['redis']}"]
    told = " ".join(INSTALL.split())
    assert f"Django ≥ {least['django']}, redis-py ≥ {least['redis']}" in told
    suites = (ROOT / ".ci" / "run").read_text()
    assert f"django=={least['django']} redis=={least['redis']}.0" in suites


class Recipe:
    """The code blocks of the recipe: commands, settings, and what goes into urls.py."""

    def __init__(self) -> None:
        steps = section(INSTALL, "## Install")
        (self.install,), self.checks = (commands(block) for block in blocks(steps, "console"))
        self.settings, self.urls = blocks(steps, "python")
        # Of a site that has sessions: who is signed in, on the command line.
        who = section(text_of("docs/who-is-signed-in.md"), "## On the command line")
        self.management = commands(blocks(who, "console")[0])


def commands(block: str) -> list[str]:
    return [line.removeprefix("$ ") for line in block.splitlines()]


RECIPE = Recipe()


class FreshSite:
    """A new project of ``django-admin startproject`` in a new environment, with a shell there."""

    def __init__(self, folder, wheel) -> None:
        self.folder, self.wheel = folder, wheel
        self.python = str(folder / "venv" / "bin" / "python")
        run(sys.executable, "-m", "venv", str(folder / "venv"), cwd=folder)
        self.shell(RECIPE.install)
        self.shell("django-admin startproject mysite .")

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
def fresh_site(wheel, tmp_path_factory):
    return FreshSite(tmp_path_factory.mktemp("site"), wheel)


def test_the_recipe_puts_it_into_a_site(fresh_site, server, raw):
    """Its code blocks and nothing else: all that it promises of them works in a new project."""
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

    site = Site(fresh_site.folder, fresh_site.python, **clean_environment())
    try:
        sign_in_and_out(site.url, raw)
        # The commands are those of the docs, and work on the sessions that are there.
        Browser().post(f"{site.url}/admin/login/?next=/admin/", **ADMIN)
        said = [fresh_site.shell(command) for command in RECIPE.management]
        assert said[0] == "admin: 0 sessions ended\n"
        assert '"live": 1' in said[1]
        assert raw.zcard("session:user:1") == 1
    finally:
        site.end()
        raw.delete(*raw.keys("session:*"), "none")
    assert "Traceback" not in site.log.read_text()


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
