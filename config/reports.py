"""The filter for the settings that Django's error pages show."""

import re

from django.views.debug import SafeExceptionReporterFilter


class Filter(SafeExceptionReporterFilter):
    """Masks ``REDIS_URL`` as well: ``runserver`` copies its environment into ``request.META``."""

    hidden_settings = re.compile(
        SafeExceptionReporterFilter.hidden_settings.pattern + "|REDIS_URL", re.IGNORECASE
    )
