"""A session's entries for people to look at, with what is secret masked."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from django.core.serializers.json import DjangoJSONEncoder
from django.utils.translation import gettext, gettext_lazy
from django.views.debug import SafeExceptionReporterFilter, get_default_exception_reporter_filter

from sessions_redis.fields import StoredEntry

# What is stored, in words; anything else goes by the name of its class.
KINDS = {
    str: gettext_lazy("text"),
    bool: gettext_lazy("true or false"),
    int: gettext_lazy("integer"),
    float: gettext_lazy("number"),
    list: gettext_lazy("list"),
    dict: gettext_lazy("object"),
    type(None): gettext_lazy("nothing"),
}


# What a page has room for without scrolling: lines, of so many characters on a telephone.
LINES, CHARACTERS = 18, 40


@dataclass(frozen=True, slots=True)
class ShownEntry:
    """
    ``size`` in bytes. ``value``: indented JSON, or ``None`` where it is not to be seen or cannot.
    """

    name: str
    kind: str
    size: int
    damaged: bool
    value: str | None

    @property
    def may_scroll(self) -> bool:
        """Whether the value is so long that it may have to be scrolled, by the keyboard, too."""
        lines = (self.value or "").split("\n")
        return sum(1 + len(line) // CHARACTERS for line in lines) > LINES


def shown(entries: Iterable[StoredEntry], *, with_values: bool) -> list[ShownEntry]:
    """How to show ``entries``; their values only ``with_values``, and without what is secret."""
    return [
        ShownEntry(
            entry.name,
            _kind(entry),
            entry.size,
            entry.damaged,
            _value(entry) if with_values and not entry.damaged else None,
        )
        for entry in entries
    ]


def _kind(entry: StoredEntry) -> str:
    if entry.damaged:
        return gettext("damaged")
    kind = type(entry.value)
    return str(KINDS.get(kind, kind.__name__))


def _value(entry: StoredEntry) -> str:
    try:
        masked = _reporter_filter().cleanse_setting(entry.name, entry.value)
        text = json.dumps(masked, indent=2, ensure_ascii=False, cls=_Encoder)
    except (TypeError, ValueError, RecursionError):
        # Not JSON's to write, such as an object that holds itself.
        return _class_of(entry.value)
    # JSON carries lone surrogates, a page does not.
    return text.encode("utf-8", "backslashreplace").decode()


def _reporter_filter() -> SafeExceptionReporterFilter:
    """The site's own rules of what is secret, where they are an extension of Django's."""
    own = get_default_exception_reporter_filter()
    return own if isinstance(own, SafeExceptionReporterFilter) else SafeExceptionReporterFilter()


class _Encoder(DjangoJSONEncoder):
    """For what other serializers than JSON's bring back. Of an unknown object only its class."""

    def default(self, o: Any) -> Any:
        try:
            return super().default(o)
        except TypeError:
            return _class_of(o)


def _class_of(value: Any) -> str:
    return f"<{type(value).__name__}>"
