"""Says in words how long ago something happened."""

from datetime import UTC, datetime, timedelta
from typing import Any

from django.utils.timesince import timesince
from django.utils.translation import gettext as _
from django.utils.translation import npgettext_lazy

MINUTE = timedelta(minutes=1)

# Units of time within "%(time)s ago", where some languages need another form of the word.
AGO: dict[str, Any] = {
    "year": npgettext_lazy("ago", "%(num)d year", "%(num)d years", "num"),
    "month": npgettext_lazy("ago", "%(num)d month", "%(num)d months", "num"),
    "week": npgettext_lazy("ago", "%(num)d week", "%(num)d weeks", "num"),
    "day": npgettext_lazy("ago", "%(num)d day", "%(num)d days", "num"),
    "hour": npgettext_lazy("ago", "%(num)d hour", "%(num)d hours", "num"),
    "minute": npgettext_lazy("ago", "%(num)d minute", "%(num)d minutes", "num"),
}


def ago(moment: datetime, *, units: int = 2) -> str:
    """
    Say how long ago the aware ``moment`` was: "2 hours ago", or "just now" within a minute.

    ``units``: how many units of time to name at most, such as hours and minutes.
    """
    if now() - moment < MINUTE:
        return _("just now")
    passed = timesince(moment, time_strings=AGO, depth=units)
    return _("%(time)s ago") % {"time": passed}


def now() -> datetime:
    # Django's own now() is naive with USE_TZ = False.
    return datetime.now(UTC)
