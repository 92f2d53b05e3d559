"""A session's entries for people to look at; `masking` hides what is secret."""

from collections.abc import Iterable
from dataclasses import dataclass

from django.utils.translation import gettext, gettext_lazy

from sessions_redis import masking
from sessions_redis.masking import Masked
from sessions_redis.storage.entries import StoredEntry

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
    ``name`` and ``value``: what is secret in them is hidden. ``size`` in bytes. ``damaged``: it
    cannot be decoded. ``unread``: it was not decoded, for that could execute code. ``value``:
    indented JSON, or ``None`` where it is not to be seen or cannot.
    """

    name: str
    kind: str
    size: int
    damaged: bool
    unread: bool
    value: Masked | None

    @property
    def may_scroll(self) -> bool:
        """Whether the value is so long that it may have to be scrolled, by the keyboard, too."""
        lines = (self.value or "").split("\n")
        return sum(1 + len(line) // CHARACTERS for line in lines) > LINES


def shown(entries: Iterable[StoredEntry], *, with_values: bool) -> list[ShownEntry]:
    """How to show ``entries``; their values only ``with_values``, and without what is secret."""
    page = masking.Page()
    return [
        ShownEntry(
            page.mask_name(entry.name),
            _kind(entry),
            entry.size,
            entry.damaged,
            entry.unread,
            page.masked_json(entry.name, entry.value) if with_values and _is_read(entry) else None,
        )
        for entry in entries
    ]


def _is_read(entry: StoredEntry) -> bool:
    return not entry.damaged and not entry.unread


def _kind(entry: StoredEntry) -> str:
    if entry.damaged:
        return gettext("damaged")
    if entry.unread:
        return gettext("not read")
    kind = type(entry.value)
    return str(KINDS.get(kind, kind.__name__))
