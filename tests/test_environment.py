"""
The environment variables of the demonstration site: which values are refused, and which are hidden.
"""

from urllib.parse import quote

import pytest
from django.core.checks.security import base as security
from django.core.exceptions import ImproperlyConfigured
from django.utils.module_loading import import_string
from django.views.debug import SafeExceptionReporterFilter
from redis.connection import parse_url

from config import environment
from sessions_redis import conf
from tests.site import site_settings
from tests.test_config import PRODUCTION, run


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("SECRET_KEY", "django-insecure-for-development-alone"),
        ("SECRET_KEY", "django-insecure-" + PRODUCTION["SECRET_KEY"]),
        ("SECRET_KEY", PRODUCTION["SECRET_KEY"][:49]),
        ("SECRET_KEY", PRODUCTION["SECRET_KEY"][:49] + "  \n"),
        ("SECRET_KEY", "abcd" * 25),
        ("ALLOWED_HOSTS", "*"),
        ("ALLOWED_HOSTS", " * "),
        ("ALLOWED_HOSTS", "www.example.com,*"),
        ("ALLOWED_HOSTS", "www.example.com *"),
        ("ALLOWED_HOSTS", "."),
        ("ALLOWED_HOSTS", ".com"),
        ("ALLOWED_HOSTS", "*.example.com"),
        ("ALLOWED_HOSTS", "..example.com"),
        ("ALLOWED_HOSTS", "https://www.example.com"),
        ("ALLOWED_HOSTS", "www.example.com:443"),
        ("ALLOWED_HOSTS", "www.example.com/"),
        ("ALLOWED_HOSTS", "['www.example.com']"),
        ("REDIS_URL", "embedded:///srv/.redis"),
        ("REDIS_URL", "Embedded:///srv/.redis"),
        ("REDIS_URL", "memory://"),
    ],
)
def test_values_for_development_are_refused_in_production(name, value):
    """
    In production, a value for development is refused from every source. The message names the
    variable and a correct value.
    """
    with pytest.raises(ImproperlyConfigured, match=f"^DEBUG is off, and {name} .*Set ") as refusal:
        site_settings(**PRODUCTION | {name: value})
    assert name != "SECRET_KEY" or value.strip() not in str(refusal.value)
    assert site_settings(**PRODUCTION | {name: value, "DEBUG": "1"})["DEBUG"] is True


def test_secret_keys_are_judged_as_django_judges_them():
    """
    A secret key that ``check --deploy`` would warn of (security.W009) is refused at the start.
    """
    assert environment.MIN_LENGTH == security.SECRET_KEY_MIN_LENGTH
    assert environment.MIN_UNIQUE == security.SECRET_KEY_MIN_UNIQUE_CHARACTERS
    assert environment.INSECURE_PREFIX == security.SECRET_KEY_INSECURE_PREFIX


@pytest.mark.parametrize(
    "hosts",
    ["example.com", "localhost", "WWW.Example.com", "192.0.2.7", "[::1]", "xn--bcher-kva.example"],
)
def test_hosts(hosts):
    """Names, addresses, and all names below a domain are allowed."""
    assert site_settings(**PRODUCTION | {"ALLOWED_HOSTS": hosts})["ALLOWED_HOSTS"] == [hosts]


# REDIS_URL


@pytest.mark.parametrize(
    ("url", "location", "options"),
    [
        ("redis://127.0.0.1:6380/1", "redis://127.0.0.1:6380/1", {}),
        ("redis://:hush@host/0", "redis://host/0", {"password": "hush"}),
        (
            "rediss://me:hush@host:1/0?ssl_ca_certs=%2Fca.pem",
            "rediss://host:1/0?ssl_ca_certs=%2Fca.pem",
            {"username": "me", "password": "hush"},
        ),
        (
            "redis://m%40e:h%2Fu%23s%3Fh+%25@[::1]:1",
            "redis://[::1]:1",
            {"username": "m@e", "password": "h/u#s?h+%"},
        ),
        ("redis://me:hu:s@h@host", "redis://host", {"username": "me", "password": "hu:s@h"}),
        (
            "unix://me:hush@/run/re%20dis.sock?db=1",
            "unix:///run/re%20dis.sock?db=1",
            {"username": "me", "password": "hush"},
        ),
        ("unix:///run/user@1000/redis.sock", "unix:///run/user@1000/redis.sock", {}),
        (
            "unix://me@/run/redis.sock?db=2&password=hush&password=no",
            "unix:///run/redis.sock?db=2",
            {"username": "me", "password": "hush"},
        ),
        (
            "rediss://host/0?username=me&password=hu%2Fsh&ssl_password=hush2&protocol=2",
            "rediss://host/0?protocol=2",
            {"username": "me", "password": "hu/sh", "ssl_password": "hush2"},
        ),
        ("embedded:///srv/a@b/user:hush@c", "embedded:///srv/a@b/user:hush@c", {}),
    ],
)
def test_the_password_goes_into_the_options(url, location, options):
    """
    All parts of the URL still reach redis-py, and no page that prints settings shows the password.
    """
    setting = site_settings(REDIS_URL=url)["SESSION_REDIS"]
    assert (setting["LOCATION"], setting["OPTIONS"]) == (location, options)
    assert not list(conf.problems(setting))
    if not url.startswith("embedded"):
        assert parse_url(location) | options == parse_url(url)
        printed = str(SafeExceptionReporterFilter().cleanse_setting("SESSION_REDIS", setting))
        assert "hush" not in printed


@pytest.mark.parametrize(
    "password", ["a/b", "a#b", "12#b", "12/b", "a?b", "a[b", "/", "#", "a/b?c#d"]
)
@pytest.mark.parametrize("url", ["redis://me:{}@host:6379/0", "unix://me:{}@/run/redis.sock"])
def test_a_url_that_cannot_be_read(url, password):
    """The message names REDIS_URL and says what to do. It shows no part of the URL."""
    with pytest.raises(ImproperlyConfigured, match=r"^REDIS_URL .*percent-encode") as refusal:
        site_settings(**PRODUCTION | {"REDIS_URL": url.format(password)})
    assert refusal.value.__suppress_context__
    assert not any(part in str(refusal.value) for part in (password * 2, "host", "6379", "/run"))
    setting = site_settings(REDIS_URL=url.format(quote(password, safe="")))["SESSION_REDIS"]
    assert setting["OPTIONS"] == {"username": "me", "password": password}


@pytest.mark.parametrize(
    "url",
    ["redis://hush@host", "unix://hush@/run/redis.sock", "hush", "me:hush@host", "redis:hush@"],
)
def test_a_url_without_its_parts(url):
    """A password in the place of a user or a host is not shown either."""
    with pytest.raises(ImproperlyConfigured, match=r"^REDIS_URL ") as refusal:
        site_settings(REDIS_URL=url)
    assert "hush" not in str(refusal.value)


def test_a_refused_start_shows_no_password():
    """Its traceback shows no password either."""
    started = run("manage.py", "check", **PRODUCTION | {"REDIS_URL": "redis://me:hu[sh@host"})
    assert started.returncode != 0
    assert "REDIS_URL cannot be read" in started.stderr
    assert "hu[sh" not in started.stderr


def test_error_pages_do_not_show_the_url(rf):
    """Error pages do not show the environment, which ``runserver`` copies into every request."""
    reporter_filter = import_string(site_settings()["DEFAULT_EXCEPTION_REPORTER_FILTER"])()
    request = rf.get("/", REDIS_URL="redis://me:hush@host", SERVER_NAME="www.example.com")
    shown = reporter_filter.get_safe_request_meta(request)
    assert "hush" not in str(shown)
    assert shown["SERVER_NAME"] == "www.example.com"


# TRUSTED_PROXIES


@pytest.mark.parametrize(
    ("text", "networks"),
    [
        ("", []),
        (" ", []),
        ("10.0.0.0/8", ["10.0.0.0/8"]),
        (
            "10.0.0.0/8, 2001:db8::/32,192.0.2.7,unix,",
            ["10.0.0.0/8", "2001:db8::/32", "192.0.2.7", "unix"],
        ),
    ],
)
def test_trusted_proxies(text, networks):
    """Addresses, networks and ``unix`` are accepted, as by the engine."""
    setting = site_settings(TRUSTED_PROXIES=text)["SESSION_REDIS"]
    assert setting["TRUSTED_PROXIES"] == networks
    assert not list(conf.problems(setting))


@pytest.mark.parametrize(
    "text", ["*", "proxy", "10.0.0.1/8", "10", "10.0.0.0/8;unix", "UNIX", "0.0.0.0/0", "::/0"]
)
def test_values_that_are_not_a_proxy(text):
    """The message names the variable, the wrong part, and what to write."""
    with pytest.raises(
        ImproperlyConfigured, match=r"^TRUSTED_PROXIES has .* such as 10"
    ) as refusal:
        site_settings(**PRODUCTION | {"TRUSTED_PROXIES": f"192.0.2.7,{text}"})
    assert repr(text) in str(refusal.value)
