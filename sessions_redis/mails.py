"""Keeps the site's settings out of Django's mails to ``ADMINS`` about lines without a request."""

from types import SimpleNamespace
from typing import Any

from django.http import HttpRequest
from django.views.debug import SafeExceptionReporterFilter


class WithoutSettings(SafeExceptionReporterFilter):
    """Leaves the site's settings out of an error report."""

    def get_safe_settings(self) -> dict[str, Any]:
        return {}


class NoRequest(HttpRequest):
    """
    The request of a log record that belongs to none.

    Django reads ``exception_reporter_filter`` from the request. Without it, its mail lists all
    settings.
    """

    exception_reporter_filter = WithoutSettings()

    def __init__(self) -> None:
        super().__init__()
        # Django's reporter reads these attributes even if there is no request.
        self.META = {"SERVER_NAME": "", "SERVER_PORT": "80"}
        self.resolver_match: Any = SimpleNamespace(_func_path="")

    def __bool__(self) -> bool:
        # Then the mail says that there is no request.
        return False
