"""Tests how the admin shows the entries of a session."""

import datetime as dt
import decimal
from dataclasses import dataclass, field

import pytest
from django.contrib.sessions.serializers import JSONSerializer
from django.utils.html import conditional_escape

from sessions_redis.admin.entries import rows
from sessions_redis.masking import Why
from sessions_redis.storage.entries import StoredEntry, stored_entries, unread_entries

TOKEN = "ghp_" + "a1B2" * 9


@dataclass
class Account:
    password: str = field(default="hidden")


def value_of(value, name="name"):
    (entry,) = rows([StoredEntry(name, value, 1)], with_values=True)
    return entry.value


KINDS = {
    "text": "text",
    "integer": 1,
    "number": 1.5,
    "true or false": True,
    "nothing": None,
    "list": [1],
    "object": {"a": 1},
    "tuple": (1,),
    "Account": Account(),
}


@pytest.mark.parametrize("kind", KINDS)
def test_kinds(kind):
    """Types that JSON knows have names in plain words. Others have the name of their class."""
    (entry,) = rows([StoredEntry("name", KINDS[kind], 7)], with_values=False)
    assert (entry.kind, entry.size, entry.value) == (kind, 7, None)


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (None, ""),
        (0.5, "Expires in less than a minute"),
        (59.9, "Expires in less than a minute"),
        (60, "Expires in 1\xa0minute"),
        (299, "Expires in 4\xa0minutes"),
        (7300, "Expires in 2\xa0hours, 1\xa0minute"),
    ],
)
def test_an_entry_that_expires(seconds, words):
    """An entry with a lifetime of its own shows how long it still has."""
    (entry,) = rows([StoredEntry("name", 1, 1, expires_in=seconds)], with_values=False)
    assert entry.left == words


def test_values():
    """A value shows as indented JSON, as it was stored."""
    assert value_of({"a": [1, "ü"]}) == '{\n  "a": [\n    1,\n    "ü"\n  ]\n}'


@pytest.mark.parametrize(
    ("value", "may"),
    [
        ("short", False),
        ("x" * 600, False),
        ("x" * 800, True),
        (list(range(16)), False),
        (list(range(17)), True),
        (["x" * 100] * 6, True),
    ],
)
def test_long_values(value, may):
    """A value that does not fit on a telephone's screen is marked as scrolling."""
    (entry,) = rows([StoredEntry("name", value, 1)], with_values=True)
    assert entry.may_scroll is may
    (entry,) = rows([StoredEntry("name", value, 1)], with_values=False)
    assert not entry.may_scroll


def test_secrets():
    """A badge replaces what `masking` hides, in values and in names."""
    value = {"form": [{"password": "hush", "color": "red"}]}
    (entry,) = rows([StoredEntry(f"state-{TOKEN}", value, 1)], with_values=True)
    badge = f'<mark class="sessions-hidden" title="hidden: {Why.NAME.value}">hidden</mark>'
    assert f"&quot;password&quot;: {badge}," in conditional_escape(entry.value)
    assert "&quot;color&quot;: &quot;red&quot;" in conditional_escape(entry.value)
    assert conditional_escape(entry.name).startswith('state-<mark class="sessions-hidden" ')


@pytest.mark.parametrize("name", ["author", "monkeys", "keyboard_layout", "_auth_user_id"])
def test_what_is_no_secret(name):
    """A name hides its value only by whole words, not by a part of a word."""
    assert value_of("Ada", name) == '"Ada"'


def test_what_other_serializers_bring_back():
    """
    Dates and similar values show. Unknown objects show only their class, as they may hold secrets.
    """
    assert value_of(dt.date(2026, 1, 31)) == '"2026-01-31"'
    assert value_of(decimal.Decimal("1.50")) == '"1.50"'
    assert value_of({"account": Account()}) == '{\n  "account": "<Account>"\n}'
    assert value_of({(1, 2): len}) == '{\n  "<tuple>": "<builtin_function_or_method>"\n}'


def test_lone_surrogates():
    """JSON can contain lone surrogates, which a page cannot. They are escaped."""
    entries = stored_entries(JSONSerializer(), {b"a": b'{"\\udc80": "\\ud800"}'})
    (entry,) = rows(entries, with_values=True)
    assert entry.value.encode()
    assert "\\ud800" in entry.value
    assert "\\udc80" in entry.value


def test_damaged_entries():
    """A damaged entry shows only as damaged."""
    (entry,) = rows(stored_entries(JSONSerializer(), {b"a": b"{"}), with_values=True)
    assert (entry.kind, entry.damaged, entry.value) == ("damaged", True, None)


def test_entries_that_were_not_read():
    """Entries that were not decoded show their names and sizes."""
    (entry,) = rows(unread_entries({b"a": b"12345"}), with_values=True)
    assert (entry.name, entry.kind, entry.size, entry.unread) == ("a", "not read", 5, True)
    assert (entry.damaged, entry.value) == (False, None)
