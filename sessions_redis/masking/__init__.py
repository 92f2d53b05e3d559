"""
Hides the secrets in a session before a page shows it: in the admin, and in a site's own pages.

``docs/masking.md`` says which values count as secrets.
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

__all__ = ["Masked", "Page", "Why", "mask", "mask_fields", "mask_name", "masked_json"]


class Page:
    """
    Masks the entries that one page shows together.

    Its methods do the same as the functions of this module. But all entries of a page share one
    limit, so that the page does not take long. Values beyond the limit are hidden unchecked.
    """

    def __init__(self) -> None:
        self._masker = Masker(_names())

    def mask(self, name: str, value: Any) -> Any:
        return self._masker.finished(self._masker.entry(name, value))

    def mask_name(self, name: str) -> str:
        shown: str = self._masker.finished(self._masker.entry_name(name))
        return shown

    def masked_json(self, name: str, value: Any) -> Masked:
        try:
            return self._masker.indented(self._masker.entry(name, value))
        except ValueError:  # For example a time of day with a time zone, or a number too long.
            return Masked(class_of(value))


def mask(name: str, value: Any) -> Any:
    """
    A copy of ``value``, the value of the entry ``name``, without its secrets.

    A text in which a part is hidden becomes `Masked`. A template shows a badge in place of that
    part; JSON and ``str`` show the words "[hidden: …]". An object that JSON does not know becomes
    "<its class>".
    """
    return Page().mask(name, value)


def mask_name(name: str) -> str:
    """The name of an entry, in which parts that look like tokens are hidden."""
    return Page().mask_name(name)


def mask_fields(fields: Mapping[str, str]) -> dict[str, str]:
    """
    A copy of ``session.inspect().fields`` without secrets: names and texts as stored in Redis.

    The engine's own fields, whose names start with one ``@``, stay as they are. If hiding makes two
    names equal, the second gets a number.
    """
    page = Page()
    found: dict[str, str] = {}
    for name, text in fields.items():
        if _is_metadata(name):
            found[name] = text
            continue
        shown = page.mask_name(name)
        if shown in found:
            shown = f"{shown} ({len(found) + 1})"
        found[shown] = page.mask(name.removeprefix("@"), text)
    return found


def masked_json(name: str, value: Any) -> Masked:
    """As `mask`, but as indented JSON for a page. If JSON cannot hold the value, its class only."""
    return Page().masked_json(name, value)


def _is_metadata(name: str) -> bool:
    return name.startswith("@") and not name.startswith("@@")


def _names() -> Names:
    """The rule for names, from the current settings of this site."""
    setting = conf.current()
    own = get_default_exception_reporter_filter()
    has_own = isinstance(own, SafeExceptionReporterFilter)
    return _cached_names(
        tuple(setting.masked_names),
        tuple(setting.unmasked_names),
        (settings.SESSION_COOKIE_NAME, settings.CSRF_COOKIE_NAME),
        own.hidden_settings if has_own else None,
        SafeExceptionReporterFilter.hidden_settings,
    )


# Equal settings return the same object, because the results for names are cached by that object.
_cached_names = lru_cache(maxsize=16)(Names)
