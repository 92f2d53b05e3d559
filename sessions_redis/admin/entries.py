"""The table of entries on a session's page. `masking` hides values that look like secrets."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta

from django.utils import timezone
from django.utils.timesince import timesince
from django.utils.translation import gettext, pgettext, pgettext_lazy

from sessions_redis import masking
from sessions_redis.masking import Masked
from sessions_redis.storage.entries import StoredEntry

# Names for the types of values. Other types are shown by the name of their class.
KINDS = {
    str: pgettext_lazy("type of a value", "text"),
    bool: pgettext_lazy("type of a value", "true or false"),
    int: pgettext_lazy("type of a value", "integer"),
    float: pgettext_lazy("type of a value", "number"),
    list: pgettext_lazy("type of a value", "list"),
    dict: pgettext_lazy("type of a value", "object"),
    type(None): pgettext_lazy("type of a value", "nothing"),
}


# A value fits on the page without a scroll bar up to this many lines. On a telephone, a line has
# this many characters.
LINES, CHARACTERS = 18, 40


@dataclass(frozen=True, slots=True)
class EntryRow:
    """
    One row of the table. Secrets in ``name`` and ``value`` are hidden.

    ``kind``: the type in words. ``size``: in bytes. ``damaged``: the value cannot be decoded.
    ``unread``: the value was not decoded, because that could execute code. ``value``: indented
    JSON; ``None`` if the viewer may not see it, or if it was not decoded. ``left``: the time that
    it has left in words; empty if it has no lifetime of its own.
    """

    name: str
    kind: str
    size: int
    damaged: bool
    unread: bool
    value: Masked | None
    left: str = ""

    @property
    def may_scroll(self) -> bool:
        """Whether the value may need a scroll bar, which then must work with the keyboard."""
        lines = (self.value or "").split("\n")
        return sum(1 + len(line) // CHARACTERS for line in lines) > LINES


def rows(entries: Iterable[StoredEntry], *, with_values: bool) -> list[EntryRow]:
    """Make the rows of the table. Without ``with_values`` they have no values."""
    page = masking.Page()
    return [
        EntryRow(
            page.mask_name(entry.name),
            _kind(entry),
            entry.size,
            entry.damaged,
            entry.unread,
            page.masked_json(entry.name, entry.value) if with_values and _is_read(entry) else None,
            "" if entry.expires_in is None else _words(entry.expires_in),
        )
        for entry in entries
    ]


def _words(seconds: float) -> str:
    if seconds < 60:
        return gettext("Expires in less than a minute")
    now = timezone.now()
    return gettext("Expires in %(time)s") % {
        "time": timesince(now, now + timedelta(seconds=seconds))
    }


def _is_read(entry: StoredEntry) -> bool:
    return not entry.damaged and not entry.unread


def _kind(entry: StoredEntry) -> str:
    if entry.damaged:
        return pgettext("type of a value", "damaged")
    if entry.unread:
        return pgettext("type of a value", "not read")
    kind = type(entry.value)
    return str(KINDS.get(kind, kind.__name__))
