"""The demonstration site in the tests' own process: its settings, but the suite's servers."""

import runpy
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parent.parent
VARIABLES = ("DEBUG", "SECRET_KEY", "ALLOWED_HOSTS", "REDIS_URL")

# What the suite has set up before a test begins.
KEPT = {"ALLOWED_HOSTS", "DATABASES", "DEBUG", "INSTALLED_APPS", "LOGGING", "SESSION_REDIS"}


def site_settings(**environment: str) -> dict[str, Any]:
    """What ``config.settings`` says with ``environment``, and none of its variables beside."""
    with pytest.MonkeyPatch.context() as patch:
        for name in VARIABLES:
            patch.delenv(name, raising=False)
        for name, value in environment.items():
            patch.setenv(name, value)
        module = runpy.run_path(str(ROOT / "config" / "settings.py"))
    return {name: value for name, value in module.items() if name.isupper()}


def use_site(settings: Any) -> None:
    """Let this test's ``settings`` be those of the site in development."""
    for name, value in site_settings().items():
        if name not in KEPT:
            setattr(settings, name, value)
