"""The tenants of a site whose tests the suite runs."""

import os
from contextvars import ContextVar

current: ContextVar[str] = ContextVar("current")


def key_prefix() -> str:
    return f"{os.environ['TESTED_SITE_PREFIX']}:{current.get()}"
