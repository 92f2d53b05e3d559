"""What the mails of Django's ``AdminEmailHandler`` say of lines that belong to no request."""

from types import SimpleNamespace
from typing import Any

from django.http import HttpRequest
from django.views.debug import SafeExceptionReporterFilter


class WithoutSettings(SafeExceptionReporterFilter):
    """Leaves the site's settings out of a report."""

    def get_safe_settings(self) -> dict[str, Any]:
        return {}


class NoRequest(HttpRequest):
    """
    Stands where a log record has its request, to say how it is reported.

    Django asks a request for its ``exception_reporter_filter``; without one it lists all settings.
    """

    exception_reporter_filter = WithoutSettings()

    def __init__(self) -> None:
        super().__init__()
        # What reports look at before they leave the request out.
        self.META = {"SERVER_NAME": "", "SERVER_PORT": "80"}
        self.resolver_match: Any = SimpleNamespace(_func_path="")

    def __bool__(self) -> bool:
        # Reports then say that there is no request.
        return False
