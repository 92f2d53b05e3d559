"""Runs the demonstration site in the tests' own process, with the suite's Redis servers."""

import runpy
from pathlib import Path
from typing import Any

import pytest
from django.test import Client

from sessions_redis.storage.commands import session_id

FIREFOX = "Mozilla/5.0 (X11; Linux x86_64; rv:132.0) Gecko/20100101 Firefox/132.0"

ROOT = Path(__file__).parent.parent
VARIABLES = ("DEBUG", "SECRET_KEY", "ALLOWED_HOSTS", "REDIS_URL", "TRUSTED_PROXIES")

# What the suite sets up before a test begins.
KEPT = {"ALLOWED_HOSTS", "DATABASES", "DEBUG", "INSTALLED_APPS", "LOGGING", "SESSION_REDIS"}


def site_settings(**environment: str) -> dict[str, Any]:
    """
    The values of ``config.settings`` with ``environment``, and none of its other variables set.
    """
    with pytest.MonkeyPatch.context() as patch:
        for name in VARIABLES:
            patch.delenv(name, raising=False)
        for name, value in environment.items():
            patch.setenv(name, value)
        module = runpy.run_path(str(ROOT / "config" / "settings.py"))
    return {name: value for name, value in module.items() if name.isupper()}


def use_site(settings: Any) -> None:
    """Give this test the settings of the demonstration site in development."""
    for name, value in site_settings().items():
        if name not in KEPT:
            setattr(settings, name, value)


def signed_in_browser(
    user: Any, agent: str = FIREFOX, ip: str = "198.51.100.7", *, page: str, **options: Any
) -> Client:
    """A browser in which ``user`` is signed in, and which has visited ``page`` since."""
    browser = Client(headers={"user-agent": agent}, REMOTE_ADDR=ip, **options)
    browser.force_login(user)
    browser.get(page)
    return browser


def id_of(browser: Client) -> str:
    """The ID of the browser's session."""
    return session_id(browser.cookies["session-id"].value)
