"""The README's steps, taken literally with the built wheel in a site that is not ours."""

import os
import re
import shutil
import subprocess
import sys
import zipfile

import pytest

from sessions_redis.commands import session_id
from tests.sites import Browser, Site
from tests.test_readme import README, ROOT, blocks, section


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
    """This process's environment without what points at the checkout or at another Redis."""
    left_out = {"DJANGO_SETTINGS_MODULE", "PYTHONPATH", "REDIS_URL"}
    return {name: value for name, value in os.environ.items() if name not in left_out}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    # Built from a copy: setuptools takes over what an earlier build left beside the sources.
    source = tmp_path_factory.mktemp("source")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "sessions_redis", source / "sessions_redis", ignore=ignored)
    run(sys.executable, "-m", "build", "--wheel", str(source), cwd=source)
    (wheel,) = (source / "dist").glob("*.whl")
    return wheel


def test_the_wheel_holds_the_package_alone(wheel):
    """It brings sessions_redis with its scripts and type marker, and nothing else."""
    with zipfile.ZipFile(wheel) as archive:
        names = [name for name in archive.namelist() if ".dist-info/" not in name]
    expected = {
        str(path.relative_to(ROOT))
        for path in (ROOT / "sessions_redis").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert set(names) == expected
    assert {"sessions_redis/py.typed", "sessions_redis/scripts/save.lua"} <= expected


@pytest.fixture(scope="module")
def fresh_site(wheel, tmp_path_factory):
    """A new project, in a new environment, to which the README's three steps were applied."""
    folder = tmp_path_factory.mktemp("site")
    python = folder / "venv" / "bin" / "python"
    run(sys.executable, "-m", "venv", str(python.parent.parent), cwd=folder)
    steps = section(README, "## Put it into your site")
    path = f"{python.parent}{os.pathsep}{os.environ['PATH']}"
    # The steps; what is further down in that section is not needed for a start.
    install, check = [block.removeprefix("$ ").strip() for block in blocks(steps, "console")[:2]]
    # The wheel is found here; where else pip looks, it looks for what the wheel needs.
    links = f"{wheel.parent} {os.environ.get('PIP_FIND_LINKS', '')}".strip()
    run("sh", "-c", install, cwd=folder, PATH=path, PIP_FIND_LINKS=links)
    run(str(python.parent / "django-admin"), "startproject", "mysite", ".", cwd=folder)
    return folder, python, blocks(steps, "python")[0], check, path


def test_the_readme_puts_it_into_a_site(fresh_site, server, raw):
    """After its steps somebody signs in and out over HTTP, with the session in Redis."""
    folder, python, lines, check, path = fresh_site
    settings = folder / "mysite" / "settings.py"
    (url,) = re.findall(r"redis://[^\"]+", lines)
    # The one thing a reader changes: where the server is.
    settings.write_text(settings.read_text() + "\n" + lines.replace(url, server.url))
    run(str(python), "manage.py", "migrate", cwd=folder)
    account = {"DJANGO_SUPERUSER_USERNAME": "ada", "DJANGO_SUPERUSER_EMAIL": "ada@example.com"}
    create = (str(python), "manage.py", "createsuperuser", "--noinput")
    run(*create, cwd=folder, DJANGO_SUPERUSER_PASSWORD="countess", **account)
    assert "no issues" in run("sh", "-c", check, cwd=folder, PATH=path)

    site = Site(folder, str(python), **clean_environment())
    browser = Browser()
    try:
        page = browser.post(
            f"{site.url}/admin/login/?next=/admin/", username="ada", password="countess"
        )
        assert "Site administration" in page
        session_key = browser.cookie("sessionid")
        redis_key = f"session:{session_id(session_key)}"
        assert raw.hget(redis_key, "_auth_user_id") == b'"1"'
        assert raw.zcard("session:user:1") == 1

        browser.post(f"{site.url}/admin/", to=f"{site.url}/admin/logout/")
        assert raw.exists(redis_key, "session:user:1") == 0
        assert "Log in" in browser.get(f"{site.url}/admin/")
    finally:
        site.end()
        raw.delete(*raw.keys("session:*"), "none")
    assert "Traceback" not in site.log.read_text()
