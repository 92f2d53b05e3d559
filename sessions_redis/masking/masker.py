"""Goes through a value to hide its secrets: its names and values, and JSON in its texts."""

import datetime as dt
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from decimal import Decimal
from secrets import token_hex
from typing import Any
from uuid import UUID

from django.core.serializers.json import DjangoJSONEncoder
from django.utils.functional import Promise

from sessions_redis.masking.budget import Budget
from sessions_redis.masking.masked import Masked, Why
from sessions_redis.masking.names import Names
from sessions_redis.masking.patterns import Part, named_secrets_in, secrets_in

# The most levels of lists and dictionaries within each other.
MAX_DEPTH = 50

# Characters. If only the start of a text is checked, so many before its end are hidden as well. A
# secret that crosses the end is then hidden, or so long that its start is recognized.
_MARGIN = 2_000

# In an object such as {"name": "password", "value": "…"}: the keys of the name and of the value.
NAME_KEYS = frozenset(
    {"field", "header", "id", "key", "label", "name", "param", "parameter", "type"}
)
VALUE_KEYS = frozenset({"content", "data", "default", "initial", "text", "val", "value", "values"})

_SHOWN_AS_THEY_ARE = (float, Decimal, UUID, dt.date, dt.time, dt.timedelta)
_LISTS = (list, tuple, set, frozenset)
_WHYS = list(Why)
_JSON = re.compile(r"\s*[\[{\"]")

Finder = Callable[[str], Iterable[Part]]


class Masker:
    """
    Masks the entries of one page, in two steps.

    First, `entry` and `entry_name` put marks in place of secrets. Then `finished` and `indented`
    replace the marks. A mark is text because a secret can be in JSON within JSON: both are written
    again with the mark in them. A mark contains a random number, so stored text cannot contain one.
    """

    def __init__(self, names: Names) -> None:
        self._names = names
        self._nonce = token_hex(16)
        self._mark = re.compile(f"{self._nonce}([0-9]{{2}})")
        self._quoted_mark = re.compile(f'"{self._nonce}([0-9]{{2}})"')
        self._page = Budget.of_a_page()
        self._budget = self._page.of_an_entry()

    # First step: marks in place of secrets

    def entry(self, name: str, value: Any) -> Any:
        """A copy of ``value``, the value of the entry ``name``, with marks in it."""
        self._budget = self._page.of_an_entry()
        return self._masked(name, value, 0)

    def entry_name(self, name: str) -> str:
        """The name of an entry, with marks in it."""
        self._budget = self._page.of_an_entry()
        shown: str = self._key(name)
        return shown

    def _masked(self, name: str, value: Any, depth: int) -> Any:
        if value is None or isinstance(value, bool) or _is_empty(value):
            return value  # It cannot be a secret.
        self._budget.spend(values=1)
        why = self._why(name, depth)
        if why is not None:
            return self._hidden(why)
        if isinstance(value, Mapping):
            return self._mapping(name, value, depth + 1)
        if isinstance(value, _LISTS):
            return self._list(name, value, depth + 1)
        return self._single_value(name, value, depth + 1)

    def _why(self, name: str, depth: int) -> Why | None:
        if self._budget.is_spent:  # Checking a name takes time as well.
            return Why.SIZE
        if self._names.is_secret(name):
            return Why.NAME
        return Why.DEPTH if depth > MAX_DEPTH else None

    def _key(self, key: Any) -> Any:
        if self._budget.is_spent:
            return self._hidden(Why.SIZE)
        if not isinstance(key, str) or isinstance(key, Masked):
            return self._single_value("", key, 0)
        text = _plain(key)
        if not self._names.is_unmasked(text):
            return self._checked(text, secrets_in)
        self._budget.spend(characters=len(text))
        return text

    def _hidden(self, why: Why) -> str:
        return f"{self._nonce}{_WHYS.index(why):02}"

    def _mapping(self, name: str, value: Mapping[Any, Any], depth: int) -> dict[Any, Any]:
        named = self._named_value(value)
        found: dict[Any, Any] = {}
        for key, held in value.items():
            if self._budget.is_spent:
                return found | {self._hidden(Why.SIZE): self._hidden(Why.SIZE)}
            shown = self._key(key)
            if shown in found:
                shown = f"{shown} ({len(found) + 1})"
            if key in named:
                found[shown] = named[key]
            else:
                found[shown] = self._masked(key if isinstance(key, str) else name, held, depth)
        return found

    def _named_value(self, value: Mapping[Any, Any]) -> dict[Any, Any]:
        """Name and value of an object such as {"name": "password", "value": "…"}, with marks."""
        texts = {key: key.lower() for key in value if isinstance(key, str)}
        values = [key for key, text in texts.items() if text in VALUE_KEYS]
        names = [key for key, text in texts.items() if text in NAME_KEYS] if values else []
        given = [key for key in names if isinstance(value[key], str) and value[key]]
        is_pair = not {"val", "value", "values"}.isdisjoint(texts.values())
        shown = {key: self._single_value("", value[key], 0) for key in given} if is_pair else {}
        if any(self._names.is_secret(value[key]) for key in given):
            shown |= {key: self._named(value[key]) for key in values}
        return shown

    def _list(self, name: str, value: Iterable[Any], depth: int) -> Any:
        items = list(value)
        if len(items) == 2 and isinstance(items[0], str) and self._names.is_secret(items[0]):
            found = [self._key(items[0]), self._named(items[1])]
        else:
            found = list(self._items(name, items, depth))
        return tuple(found) if isinstance(value, tuple) else found

    def _items(self, name: str, items: list[Any], depth: int) -> Iterator[Any]:
        for item in items:
            yield self._masked(name, item, depth)
            if self._budget.is_spent:
                return

    def _named(self, value: Any) -> Any:
        return value if value is None or isinstance(value, bool) else self._hidden(Why.NAME)

    def _single_value(self, name: str, value: Any, depth: int) -> Any:
        if isinstance(value, Masked):
            return "".join(
                self._hidden(part) if isinstance(part, Why) else part for part in value.parts
            )
        if isinstance(value, (str, Promise)):
            return self._text(name, _plain(value), depth)
        if isinstance(value, int):
            may_be_card = 10**12 <= value < 10**19 and not self._names.is_unmasked(name)
            return self._hidden(Why.CARD) if may_be_card and any(secrets_in(str(value))) else value
        return value if isinstance(value, (*_SHOWN_AS_THEY_ARE, type(None))) else class_of(value)

    def _text(self, name: str, text: str, depth: int) -> str:
        if _JSON.match(text) and len(text) <= self._budget.json:
            found = self._json(name, text, depth)
            if found is not None:
                return found
        if self._names.is_unmasked(name):
            return text
        return self._checked(text, secrets_in, self._named_secrets_in)

    def _json(self, name: str, text: str, depth: int) -> str | None:
        """``text`` with marks if it is JSON, else ``None``. Without secrets it stays as it is."""
        try:
            value = json.loads(text, object_pairs_hook=_unique)
        except (ValueError, RecursionError):
            return None
        self._budget.spend(json=len(text))
        found = self._masked(name, value, depth)
        masked = json.dumps(found, ensure_ascii=False, separators=(",", ":"))
        return _without_surrogates(masked) if self._nonce in masked else text

    def _named_secrets_in(self, text: str) -> Iterable[Part]:
        return named_secrets_in(text, self._names.is_secret)

    def _checked(self, text: str, *finders: Finder) -> str:
        left = max(0, self._budget.characters)
        self._budget.spend(characters=len(text))
        parts = [part for finder in finders for part in finder(text[:left])]
        if len(text) > left:
            parts.append(Part(max(0, left - _MARGIN), len(text), Why.SIZE))
        return self._with_marks(text, parts) if parts else text

    def _with_marks(self, text: str, parts: list[Part]) -> str:
        pieces = []
        at = 0
        for part in sorted(parts, key=lambda part: part.start):
            if part.start >= at:
                pieces += [text[at : part.start], self._hidden(part.why)]
            at = max(at, part.stop)
        return "".join([*pieces, text[at:]])

    # Second step: text for people in place of marks

    def finished(self, value: Any) -> Any:
        """``value``, in which each text with marks is replaced by a `Masked`."""
        if isinstance(value, str):
            return self._finished_text(value)
        if isinstance(value, dict):
            return {self.finished(key): self.finished(held) for key, held in value.items()}
        if isinstance(value, (list, tuple)):
            return type(value)(map(self.finished, value))
        return value

    def indented(self, value: Any) -> Masked:
        """As `finished`, but as indented JSON. A text that is hidden completely has no quotes."""
        text = json.dumps(value, indent=2, ensure_ascii=False, cls=DjangoJSONEncoder)
        shown = self._finished_text(
            self._quoted_mark.sub(rf"{self._nonce}\1", _without_surrogates(text))
        )
        return shown if isinstance(shown, Masked) else Masked(shown)

    def _finished_text(self, text: str) -> str:
        if self._nonce not in text:
            return text
        pieces: list[str | Why] = list(self._mark.split(text))
        pieces[1::2] = [_WHYS[int(str(number))] for number in pieces[1::2]]
        return Masked(*(piece for piece in pieces if piece))


def class_of(value: Any) -> str:
    """The text for an object of an unknown class. Its ``repr()`` could contain secrets."""
    return f"<{type(value).__name__}>"


def _is_empty(value: Any) -> bool:
    return isinstance(value, (str, Mapping, *_LISTS)) and not value


def _plain(text: Any) -> str:
    # A plain string, also from a subclass such as Django's SafeString.
    return str.__str__(str(text))


def _without_surrogates(text: str) -> str:
    # JSON may contain lone surrogates, but a page cannot.
    return text.encode("utf-8", "backslashreplace").decode()


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("A name occurs twice, and its first value would be shown unchecked.")
    return found
