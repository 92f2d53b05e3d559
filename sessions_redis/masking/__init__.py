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

__all__ = ["Masked", "Page", "Why", "mask", "mask_fields", "mask_name", "masked_json"]


class Page:
    """
    The entries that are shown together.

    Its methods do what the functions of the same names do. All entries of a page share one limit,
    so that the page does not take long: what is beyond that is hidden.
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
        except ValueError:  # A number of thousands of digits, a time of day with a time zone.
            return Masked(class_of(value))


def mask(name: str, value: Any) -> Any:
    """
    A copy of ``value``, an entry called ``name``, that people may see.

    Each text in which something is hidden is `Masked`: a template shows a badge in its place, JSON
    and ``str`` the words "[hidden: …]". An object that JSON does not know becomes "<its class>".
    """
    return Page().mask(name, value)


def mask_name(name: str) -> str:
    """The name of an entry as people may see it: a part that looks like a token is hidden."""
    return Page().mask_name(name)


def mask_fields(fields: Mapping[str, str]) -> dict[str, str]:
    """
    What people may see of ``session.inspect().fields``: names and texts as stored in Redis.

    The engine's own fields, which start with one ``@``, are shown as they are. Names that look the
    same once something is hidden in them get a number.
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
    """As `mask`, in indented JSON for a page; its class alone for what JSON cannot hold."""
    return Page().masked_json(name, value)


def _is_metadata(name: str) -> bool:
    return name.startswith("@") and not name.startswith("@@")


def _names() -> Names:
    """The rule for names of this site, as its settings are now."""
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


# One object for each rule, so that what was found out of a name is found again.
_cached_names = lru_cache(maxsize=16)(Names)
