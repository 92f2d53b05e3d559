"""Hides secrets in Django's error pages."""

import re

from django.views.debug import SafeExceptionReporterFilter


class Filter(SafeExceptionReporterFilter):
    """Also hides ``REDIS_URL``, which ``runserver`` copies from the environment to ``META``."""

    hidden_settings = re.compile(
        SafeExceptionReporterFilter.hidden_settings.pattern + "|REDIS_URL", re.IGNORECASE
    )
