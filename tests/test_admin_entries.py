"""A session's entries as people see them."""

import datetime as dt
import decimal
import re
from dataclasses import dataclass, field

import pytest
from django.contrib.sessions.serializers import JSONSerializer
from django.views.debug import SafeExceptionReporterFilter, get_default_exception_reporter_filter

from sessions_redis.admin.entries import shown
from sessions_redis.fields import StoredEntry, stored_entries

STARS = SafeExceptionReporterFilter.cleansed_substitute


@dataclass
class Account:
    password: str = field(default="hidden")


def value_of(value, name="name"):
    (entry,) = shown([StoredEntry(name, value, 1)], with_values=True)
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
    """What JSON knows is told in words, what it does not by the name of its class."""
    (entry,) = shown([StoredEntry("name", KINDS[kind], 7)], with_values=False)
    assert (entry.kind, entry.size, entry.value) == (kind, 7, None)


def test_values():
    """A value is indented JSON, as it was written."""
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
    """Of a value that is too long for its room, on a telephone, it is known that it scrolls."""
    (entry,) = shown([StoredEntry("name", value, 1)], with_values=True)
    assert entry.may_scroll is may
    (entry,) = shown([StoredEntry("name", value, 1)], with_values=False)
    assert not entry.may_scroll


@pytest.mark.parametrize(
    "name", ["_auth_user_hash", "_csrftoken", "PassWord", "api_key", "secret", "sessionid"]
)
def test_names_that_look_like_secrets(name):
    """Their values are masked, whatever they are."""
    for value in ("hidden", 12, {"fine": "hidden"}, ["hidden"]):
        assert value_of(value, name) == f'"{STARS}"'


def test_secrets_within_values():
    """Names within objects and lists count as well."""
    value = {"form": [{"password": "hidden", "colour": "red"}, ({"token": "hidden"},)]}
    text = value_of(value)
    assert "hidden" not in text
    assert text.count(STARS) == 2
    assert "red" in text


class Stricter(SafeExceptionReporterFilter):
    hidden_settings = re.compile("IBAN|KEY", re.IGNORECASE)


class Unrelated:
    pass


@pytest.mark.parametrize(
    ("own", "masked"), [("Stricter", ["iban", "key"]), ("Unrelated", ["key", "password"])]
)
def test_rules_of_the_site(settings, own, masked):
    """A site that has extended Django's rules has them followed; anything else is no rule."""
    settings.DEFAULT_EXCEPTION_REPORTER_FILTER = f"{__name__}.{own}"
    get_default_exception_reporter_filter.cache_clear()
    try:
        for name in ("iban", "key", "password"):
            assert (STARS in value_of("x", name)) == (name in masked)
    finally:
        get_default_exception_reporter_filter.cache_clear()


def test_what_other_serializers_bring_back():
    """Dates and the like show, of unknown objects only the class: they may hold anything."""
    assert value_of(dt.date(2026, 1, 31)) == '"2026-01-31"'
    assert value_of(decimal.Decimal("1.50")) == '"1.50"'
    assert value_of({"account": Account()}) == '{\n  "account": "<Account>"\n}'
    assert value_of(len) == '"<CallableSettingWrapper>"'


def test_what_json_cannot_write():
    """An object that holds itself, or has keys of its own kind, shows as its class."""
    ring = []
    ring.append(ring)
    assert value_of(ring) == "<list>"
    assert value_of({(1, 2): 3}) == "<dict>"


def test_lone_surrogates():
    """JSON carries halves of characters, which no page can: they are escaped."""
    entries = stored_entries(JSONSerializer(), {b"a": b'{"\\udc80": "\\ud800"}'})
    (entry,) = shown(entries, with_values=True)
    assert entry.value.encode()
    assert "\\ud800" in entry.value
    assert "\\udc80" in entry.value


def test_damaged_entries():
    """Nothing is made of them but that they are damaged."""
    (entry,) = shown(stored_entries(JSONSerializer(), {b"a": b"{"}), with_values=True)
    assert (entry.kind, entry.damaged, entry.value) == ("damaged", True, None)
