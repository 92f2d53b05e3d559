"""Text in which secrets are replaced: by a badge in a page, by words in plain text."""

from enum import Enum
from typing import Any

from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import gettext


def gettext_noop(message: str) -> str:
    """Mark ``message`` for translators, as Django's function does. This one needs no settings."""
    return message


class Why(Enum):
    """The reason why a part is hidden. No text contains characters that JSON would escape."""

    NAME = gettext_noop("its name looks like that of a secret")
    JWT = gettext_noop("it looks like a JSON web token")
    CARD = gettext_noop("it looks like a card number")
    PRIVATE_KEY = gettext_noop("it looks like a private key")
    TOKEN = gettext_noop("it looks like an access token or a password hash")
    RANDOM = gettext_noop("it looks like long random text")
    HEADER = gettext_noop("it looks like an Authorization header")
    URL = gettext_noop("it is the password in a URL")
    DEPTH = gettext_noop("it is nested too deeply to be checked")
    SIZE = gettext_noop("there is too much of it to be checked")

    @property
    def placeholder(self) -> str:
        """The words that replace the hidden part in plain text. They are always in English."""
        return f"[hidden: {self.value}]"


class Masked(str):
    """
    Text in which parts are hidden.

    As a string, and so in JSON, it contains `Why.placeholder` in place of each hidden part. A
    template escapes it and shows a badge there. ``parts``: the visible texts, and a `Why` for each
    hidden part, in their order.
    """

    __slots__ = ("parts",)
    parts: tuple[str | Why, ...]

    def __new__(cls, *parts: str | Why) -> "Masked":
        text = (part.placeholder if isinstance(part, Why) else part for part in parts)
        masked = super().__new__(cls, "".join(text))
        masked.parts = parts
        return masked

    def __getnewargs__(self) -> tuple[Any, ...]:
        return self.parts

    def __html__(self) -> SafeString:
        return format_html_join("", "{}", ((_html_of(part),) for part in self.parts))


def _html_of(part: str | Why) -> str:
    if isinstance(part, str):
        return part
    return format_html(
        '<mark class="sessions-hidden" title="{}">{}</mark>',
        gettext("hidden: %(why)s") % {"why": gettext(part.value)},
        gettext("hidden"),
    )
