"""
Reads and checks the environment variables for `config.settings`.

Error messages never contain a value that may be secret.
"""

import os
import re
from collections.abc import Iterator
from ipaddress import ip_network
from typing import Any
from urllib.parse import SplitResult, parse_qsl, unquote, urlencode, urlsplit

from django.core.exceptions import ImproperlyConfigured

# The variables that production needs, and a description of each value.
REQUIRED = {
    "SECRET_KEY": "at least 50 random characters that nobody else knows",
    "ALLOWED_HOSTS": "the names of this site, such as www.example.com,example.com",
    "REDIS_URL": "the server that keeps the sessions, such as rediss://user:password@host:6379/0",
}

# Host names as browsers send them. A leading dot means all subdomains, as in .example.com. Neither
# a top-level domain (.com) nor a single dot is allowed.
LABEL = "[a-z0-9]([a-z0-9-]*[a-z0-9])?"
HOST = re.compile(rf"{LABEL}(\.{LABEL})*|\.{LABEL}(\.{LABEL})+|\[[0-9a-f:.]+\]", re.IGNORECASE)

# The same limits as in Django's check security.W009.
MIN_LENGTH, MIN_UNIQUE, INSECURE_PREFIX = 50, 5, "django-insecure-"

# A path or a name follows these schemes. They have no password.
LOCAL = ("embedded://", "memory://")


def given() -> dict[str, str]:
    """Return the required variables that are set and not blank."""
    values = {name: os.environ.get(name, "").strip() for name in REQUIRED}
    return {name: value for name, value in values.items() if value}


def is_debug() -> bool:
    text = os.environ.get("DEBUG")
    if text is None:
        return not given().keys() & {"SECRET_KEY", "ALLOWED_HOSTS"}
    if text.lower() not in {"1", "true", "yes", "on", "0", "false", "no", "off"}:
        raise ImproperlyConfigured(
            f"DEBUG is {text!r}. Set DEBUG=1 for development, DEBUG=0 for production."
        )
    return text.lower() in {"1", "true", "yes", "on"}


def require_production() -> None:
    """Raise ``ImproperlyConfigured`` if a variable is missing or only good for development."""
    values = given()
    if values.keys() != REQUIRED.keys():
        raise ImproperlyConfigured(
            "DEBUG is off, and production needs more settings. Set"
            + "".join(
                f"\n  {name}: {what}" for name, what in REQUIRED.items() if name not in values
            )
            + "\nor, for development, DEBUG=1."
        )
    for name, problem in problems(values):
        raise ImproperlyConfigured(f"DEBUG is off, and {name} {problem}. Set {REQUIRED[name]}.")


def problems(values: dict[str, str]) -> Iterator[tuple[str, str]]:
    key = values["SECRET_KEY"]
    if key.startswith(INSECURE_PREFIX):
        yield "SECRET_KEY", f"is for development only: it starts with {INSECURE_PREFIX}"
    if len(key) < MIN_LENGTH:
        yield "SECRET_KEY", f"has only {len(key)} characters"
    if len(set(key)) < MIN_UNIQUE:
        yield "SECRET_KEY", "repeats the same few characters"
    for host in hosts():
        if not HOST.fullmatch(host):
            yield "ALLOWED_HOSTS", f"has {host!r}, which is not a host name"
    if values["REDIS_URL"].lower().startswith(LOCAL):
        yield "REDIS_URL", "is a server that stops when this site's process stops"


def hosts() -> list[str]:
    return given().get("ALLOWED_HOSTS", "").replace(",", " ").split()


def session_redis(default: str) -> dict[str, Any]:
    """Make the setting ``SESSION_REDIS``: the server, its password, and the trusted proxies."""
    location, options = without_password(given().get("REDIS_URL", default))
    return {"LOCATION": location, "OPTIONS": options, "TRUSTED_PROXIES": trusted_proxies()}


def without_password(url: str) -> tuple[str, dict[str, str]]:
    """
    Split a URL into the URL without user and password, and these two as options of the client.

    Django's error pages hide ``OPTIONS["password"]``. They would show a password in a URL.
    """
    if url.lower().startswith(LOCAL):
        return url, {}
    parts = split(url)
    query = parse_qsl(parts.query)
    # redis-py reads URLs the same way: the user and password before the @ take precedence, and it
    # decodes the query twice.
    options = {name: unquote(value) for name, value in reversed(query) if is_secret(name)}
    userinfo = {"username": parts.username, "password": parts.password}
    options |= {name: unquote(value) for name, value in userinfo.items() if value}
    if "username" in options and "password" not in options:
        raise refused(
            "has a user and no password. Write redis://user:password@host, or, without a user, "
            "redis://:password@host"
        )
    rest = urlencode([pair for pair in query if not is_secret(pair[0])])
    host = parts.netloc.rpartition("@")[2]
    return f"{parts.scheme}://{host}{parts.path}{rest and '?'}{rest}", options


def is_secret(name: str) -> bool:
    return name == "username" or "pass" in name


def split(url: str) -> SplitResult:
    try:
        parts = urlsplit(url)
    except ValueError:
        parts = None
    if parts is None or is_cut(parts):
        raise refused(
            "cannot be read. In its user and password, percent-encode all but letters and "
            "digits: %2F for a slash, %23 for #, %3F for ?"
        ) from None
    if "://" not in url:
        raise refused("is not a URL, such as redis://127.0.0.1:6379/0")
    return parts


def is_cut(parts: SplitResult) -> bool:
    """Whether an unencoded / ? or # cut the password short, so that the @ is in a later part."""
    if parts.scheme == "unix" and not parts.netloc:
        return False  # only a path, which may contain an @
    return "@" in parts.path + parts.query + parts.fragment


def refused(problem: str) -> ImproperlyConfigured:
    return ImproperlyConfigured(f"REDIS_URL {problem}.")


def trusted_proxies() -> list[str]:
    proxies = os.environ.get("TRUSTED_PROXIES", "").replace(",", " ").split()
    for proxy in proxies:
        if problem := problem_with(proxy):
            raise ImproperlyConfigured(
                f"TRUSTED_PROXIES has {proxy!r}: {problem}. List the addresses or networks of your "
                "proxies, such as 10.0.0.0/8,2001:db8::/32, or unix for a proxy on a unix socket."
            )
    return proxies


def problem_with(proxy: str) -> str | None:
    if proxy == "unix":
        return None
    try:
        network = ip_network(proxy)
    except ValueError as error:
        return str(error)
    return (
        None
        if network.prefixlen
        else "this network contains every address, so any visitor could forge an address"
    )
