"""
What people may see of a session: its secrets are hidden, in the admin and wherever a site shows it.

`docs/masking.md` says what counts as a secret.
"""

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from django.conf import settings
from django.views.debug import SafeExceptionReporterFilter, get_default_exception_reporter_filter

from sessions_redis import conf
from sessions_redis.masking.masked import Masked, Why
from sessions_redis.masking.masker import Masker, class_of
from sessions_redis.masking.names import Names

__all__ = ["Masked", "Why", "mask", "mask_fields", "mask_name", "masked_json"]


def mask(name: str, value: Any) -> Any:
    """
    A copy of ``value``, an entry called ``name``, that people may see.

    Each text in which something is hidden is `Masked`: a template shows a badge in its place, JSON
    and ``str`` the words "[hidden: …]". An object that JSON does not know becomes "<its class>".
    """
    masker = Masker(_names())
    return masker.finished(masker.masked(name, value))


def mask_name(name: str) -> str:
    """The name of an entry as people may see it: a part that looks like a token is hidden."""
    masker = Masker(_names())
    shown: str = masker.finished(masker.key(name))
    return shown


def mask_fields(fields: Mapping[str, str]) -> dict[str, str]:
    """
    What people may see of ``session.inspect().fields``: names and texts as stored in Redis.

    The engine's own fields, which start with one ``@``, are shown as they are.
    """
    return {
        name if _is_metadata(name) else mask_name(name): (
            text if _is_metadata(name) else mask(name.removeprefix("@"), text)
        )
        for name, text in fields.items()
    }


def masked_json(name: str, value: Any) -> Masked:
    """As `mask`, in indented JSON for a page; its class alone for what JSON cannot hold."""
    masker = Masker(_names())
    try:
        return masker.indented(masker.masked(name, value))
    except ValueError:  # A number of thousands of digits, a time of day with a time zone.
        return Masked(class_of(value))


def _is_metadata(name: str) -> bool:
    return name.startswith("@") and not name.startswith("@@")


def _names() -> Names:
    """The rule for names of this site, as its settings are now."""
    setting = conf.current()
    own = get_default_exception_reporter_filter()
    has_own = isinstance(own, SafeExceptionReporterFilter)
    return _names_of(
        tuple(setting.masked_names),
        tuple(setting.unmasked_names),
        (settings.SESSION_COOKIE_NAME, settings.CSRF_COOKIE_NAME),
        own.hidden_settings if has_own else None,
        SafeExceptionReporterFilter.hidden_settings,
    )


# One object for each rule, so that what was found out of a name is found again.
_names_of = lru_cache(maxsize=16)(Names)
