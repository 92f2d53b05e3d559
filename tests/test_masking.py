"""How the values of entries are masked."""

import copy
import datetime as dt
import json
import pickle
import re
import uuid
from collections import OrderedDict
from dataclasses import dataclass
from decimal import Decimal
from html import unescape
from pathlib import Path

import pytest
from django.template import Context, Template
from django.utils.functional import lazy
from django.utils.html import conditional_escape
from django.utils.safestring import mark_safe
from django.utils.translation import override
from django.views.debug import SafeExceptionReporterFilter, get_default_exception_reporter_filter
from hypothesis import HealthCheck, example, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from sessions_redis.masking import (
    Page,
    Why,
    mask,
    mask_fields,
    mask_name,
    masked_json,
    names,
    patterns,
)
from sessions_redis.masking.budget import MAX_CHARACTERS, MAX_VALUES, PAGE_BUDGET_IN_ENTRIES
from sessions_redis.masking.masker import MAX_DEPTH

HUSH = "hush-hush"
NAME = Why.NAME.placeholder
CARD = "4111 1111 1111 1111"
TOKEN = "ghp_" + "a1B2" * 9
DOCS = (Path(__file__).parent.parent / "docs" / "masking.md").read_text()

examples = hypothesis_settings(
    deadline=None,
    max_examples=80,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@dataclass
class Account:
    password: str = HUSH


# By name


@pytest.mark.parametrize("value", [HUSH, 1234, 1.5, [HUSH], {"color": HUSH}, Account(), b"hush"])
def test_a_secret_name(value):
    """A secret name hides a value of any type."""
    assert mask("password", value) == NAME
    assert mask("scope:monkey:token", value) == NAME


@pytest.mark.parametrize("value", [None, True, False, "", [], {}, ()])
def test_nothing_to_hide(value):
    """Values that only say whether a secret exists are shown."""
    assert mask("password", value) == value


NESTED = [
    ({"form": [{"password": HUSH, "n": 1}]}, {"form": [{"password": NAME, "n": 1}]}),
    (["password", HUSH], ["password", NAME]),
    (("password", HUSH), ("password", NAME)),
    ([["color", "red"], ["token", 1234]], [["color", "red"], ["token", NAME]]),
    (["password", None], ["password", None]),
    (["color", "password"], ["color", "password"]),
    (["password", HUSH, 1], ["password", HUSH, 1]),
    ({"name": "password", "value": HUSH}, {"name": "password", "value": NAME}),
    ({"Key": "api_key", "Value": 12, "n": 1}, {"Key": "api_key", "Value": NAME, "n": 1}),
    ({"name": "color", "value": "red"}, {"name": "color", "value": "red"}),
    ({"name": 1, "value": "red"}, {"name": 1, "value": "red"}),
    ({"field": "pin", "data": 12}, {"field": "pin", "data": NAME}),
    ({"key": "color", "value": "red"}, {"key": "color", "value": "red"}),
    ({"key": HUSH, "data": "red"}, {"key": NAME, "data": "red"}),
    ({1: {"pin": 1234}, None: 1}, {1: {"pin": NAME}, None: 1}),
    ({1: 2, (1, 2): 3, (3, 4): 5}, {1: 2, "<tuple>": 3, "<tuple> (3)": 5}),
]  # fmt: skip


@pytest.mark.parametrize(("value", "shown"), NESTED)
def test_names_within(value, shown):
    """Names count at every depth, in objects, in pairs, and in objects with a name and a value."""
    before = copy.deepcopy(value)
    assert mask("cart", value) == shown
    assert value == before


def compact(value):
    return json.dumps(value, separators=(",", ":"))


TEXTS = [
    ('{"password":"hush","color":"red"}', f'{{"password":"{NAME}","color":"red"}}'),
    ('{"password": "hush"}', f'{{"password":"{NAME}"}}'),
    (' ["password", "hush"]', f'["password","{NAME}"]'),
    (compact({"a": compact({"pin": 1})}), compact({"a": compact({"pin": NAME})})),
    (compact(compact(compact({"pin": 1}))), compact(compact(compact({"pin": NAME})))),
    ('{"color" : "red", "color" : 1.50}',) * 2,
    ('{"color": "red"} {"password": "hush"}', f'{{"color": "red"}} {{"password": {NAME}}}'),
    (f'{{"a": "{TOKEN}", "a": 1}}', f'{{"a": "{Why.TOKEN.placeholder}", "a": 1}}'),
    ('{"password": "hush', f'{{"password": {NAME}'),
    ("user=ada&password=hush", f"user=ada&password={NAME}"),
    ("Authorization: Bearer hush", f"Authorization: {NAME}"),
    (f"{CARD} or {TOKEN}", f"{Why.CARD.placeholder} or {Why.TOKEN.placeholder}"),
    (f"Bearer {TOKEN}", f"Bearer {Why.TOKEN.placeholder}"),
    ("redis://:hush@x", f"redis://:{Why.URL.placeholder}@x"),
]


@pytest.mark.parametrize(("text", "shown"), TEXTS)
def test_within_texts(text, shown):
    """In JSON, in JSON within JSON, and in other texts, only the secrets are hidden."""
    assert mask("note", text) == shown


def test_json_that_is_nested_deeper_than_python_goes():
    """Such JSON is treated like any other text."""
    text = "[" * 100_000 + f'{{"password": "{HUSH}"'
    assert HUSH not in mask("note", text)


# By pattern


def test_a_value_that_looks_like_a_secret():
    """A value that looks like a secret is hidden under any name, also in a number or a key."""
    assert mask("note", TOKEN) == Why.TOKEN.placeholder
    assert mask("number", int(CARD.replace(" ", ""))) == Why.CARD.placeholder
    assert mask("number", 1795468703123) == 1795468703123
    shown = mask("states", {TOKEN: 1, TOKEN[:-1]: 2, "color": {4111111111111111: 3}})
    token = Why.TOKEN.placeholder
    assert shown == {token: 1, f"{token} (2)": 2, "color": {Why.CARD.placeholder: 3}}


@pytest.mark.parametrize("name", ["_auth_user_id", "_auth_user_backend"])
def test_the_entries_that_django_needs(name):
    """The user of a session stays visible, even if the primary key looks like random text."""
    assert mask(name, uuid.UUID(int=2**127 + 12345).hex) == uuid.UUID(int=2**127 + 12345).hex


# Settings of a site


def test_names_of_the_site(settings, session_redis):
    """Settings add and exempt names. The value of an exempt entry is shown as it is."""
    settings.SESSION_REDIS = {
        **session_redis,
        "MASKED_NAMES": ["iban"],
        "UNMASKED_NAMES": ["checksum", "pin"],
    }
    value = {
        "ibanOwner": HUSH,
        "pin": 1234,
        "checksum": ["9d1c7b3de4d39a5a2f8f3f7a8f6b2f0e", {"token": HUSH}],
        "old_pin": 1234,
    }
    assert mask("cart", value) == {
        "ibanOwner": NAME,
        "pin": 1234,
        "checksum": [value["checksum"][0], {"token": NAME}],
        "old_pin": NAME,
    }
    assert mask("checksum", f'["{TOKEN}"]') == f'["{TOKEN}"]'
    assert mask("checksum", f'["{TOKEN}", {{"token": 1}}]') == f'["{TOKEN}",{{"token":"{NAME}"}}]'
    assert mask("checksum", int(CARD.replace(" ", ""))) == int(CARD.replace(" ", ""))


def test_the_cookies_of_the_site(settings):
    """The names of the cookies are secret, even if the site changes them."""
    settings.SESSION_COOKIE_NAME = "visitor"
    settings.CSRF_COOKIE_NAME = "form"
    assert mask("cart", {"visitor": HUSH, "form": HUSH}) == {"visitor": NAME, "form": NAME}


class Stricter(SafeExceptionReporterFilter):
    hidden_settings = re.compile("API|AUTH|TOKEN|KEY|SECRET|PASS|IBAN", re.IGNORECASE)


class Unrelated:
    pass


@pytest.mark.parametrize(("own", "is_hidden"), [("Stricter", True), ("Unrelated", False)])
def test_the_filter_of_the_site(settings, own, is_hidden):
    """
    A name that only the site's own filter hides is hidden. Django's filter matches parts of words
    and is not used.
    """
    settings.DEFAULT_EXCEPTION_REPORTER_FILTER = f"{__name__}.{own}"
    get_default_exception_reporter_filter.cache_clear()
    try:
        assert (mask("customer_iban", HUSH) == NAME) is is_hidden
        assert mask("author", "Ada") == "Ada"
        assert mask("password", HUSH) == NAME
    finally:
        get_default_exception_reporter_filter.cache_clear()


# Values of all types


def test_values_that_json_does_not_know():
    """Values with a safe text stay as they are. Of other objects, only the class is shown."""
    plain = [dt.date(2026, 1, 31), dt.timedelta(1), Decimal("1.50"), uuid.UUID(int=1), 1.5]
    assert mask("note", plain) == plain
    assert mask("note", [Account(), len, b"hush"]) == [
        "<Account>",
        "<builtin_function_or_method>",
        "<bytes>",
    ]
    assert mask("note", {frozenset({"red"}): {TOKEN}}) == {"<frozenset>": [Why.TOKEN.placeholder]}
    assert mask("note", OrderedDict(pin=1, color="red")) == {"pin": NAME, "color": "red"}
    assert mask("note", lazy(lambda: f"a {TOKEN}", str)()) == f"a {Why.TOKEN.placeholder}"


def test_lists_that_contain_themselves():
    """A list that contains itself is hidden from a certain depth on."""
    ring = ["red"]
    ring.append(ring)
    assert Why.DEPTH.placeholder in str(mask("note", ring))
    deep = "red"
    for _ in range(MAX_DEPTH - 1):
        deep = [deep]
    assert mask("note", deep) == deep


def test_size():
    """A part that is too large to be checked is hidden, and so is a secret at its border."""
    size = Why.SIZE.placeholder
    words = "red " * (MAX_CHARACTERS // 4)
    assert mask("note", words) == words
    for text in (words[:-20] + f"token={HUSH * 9}", words + f"token={HUSH}", words[:-5] + TOKEN):
        shown = mask("note", text)
        assert shown.endswith(size)
        assert HUSH not in shown
        assert TOKEN[:8] not in shown
        assert len(shown) > MAX_CHARACTERS * 0.9
    numbers = mask("note", list(range(MAX_VALUES * 3)))
    assert numbers[-2:] == [MAX_VALUES - 2, size]
    named = mask("note", {number: number for number in range(MAX_VALUES * 3)})
    assert len(named) == MAX_VALUES + 1
    assert named[size] == size


def test_size_of_names():
    """Names count toward the limit as values do, because checking them takes time."""
    named = mask("note", {f"n{number}" + "Xx" * 99: 1 for number in range(20_000)})
    assert MAX_CHARACTERS // 210 < len(named) < MAX_CHARACTERS // 190
    assert named[Why.SIZE.placeholder] == Why.SIZE.placeholder


def test_size_of_a_page():
    """
    The entries of a page share a limit of characters and of values. Everything beyond it is hidden.
    """
    size = Why.SIZE.placeholder
    words = "red " * (MAX_CHARACTERS // 4 - 10)
    page = Page()
    assert [page.mask("note", words) for _ in range(PAGE_BUDGET_IN_ENTRIES)] == [words] * 2
    assert page.mask("note", words).endswith(size)
    assert page.mask("color", 1) == page.mask_name("color") == page.masked_json("a", "b") == size
    page = Page()
    for _ in range(PAGE_BUDGET_IN_ENTRIES):
        page.mask("note", [1] * MAX_VALUES)
    assert page.mask("color", 1) == size


def test_fields_of_a_large_session():
    """Each field is listed, even if only to say that it is hidden."""
    fields = {f"n{number}{'Xx' * 99}": "1" for number in range(5_000)}
    shown = mask_fields({"@created": "1", **fields})
    assert len(shown) == 5_001
    assert shown["@created"] == "1"
    assert list(shown.values())[-1] == Why.SIZE.placeholder
    assert len(mask_fields({f"{TOKEN}1": "1", f"{TOKEN}2": "2"})) == 2


LARGE = {
    "words": "red " * 250_000,
    "letters": "a" * 10**6,
    "letters and digits": "a1" * 500_000,
    "names": "token:" * 170_000,
    "query": "a=1&" * 250_000,
    "names that differ": "".join(f"a{number}=1&" for number in range(130_000)),
    "digits": "1234 " * 200_000,
    "single digits": "1 " * 500_000,
    "tokens": "eyJ" * 300_000,
    "dots": "eyJaaaa." * 125_000,
    "keys": "-----BEGIN PRIVATE KEY-----" * 40_000,
    "addresses": "://a:" * 200_000,
    "quotes": '"' * 10**6,
    "backslashes": "\\" * 10**6,
    "escapes": "token='\\" * 125_000,
    "brackets": '["' * 500_000,
    "JSON": json.dumps(["red"] * 120_000),
    "lists": [["red"]] * 300_000,
    "objects": {f"name{number}": number for number in range(100_000)},
}


@pytest.mark.parametrize("kind", LARGE)
def test_large_values(kind):
    """The time for a megabyte is limited. A pattern that backtracks would take hours."""
    assert masked_json("note", LARGE[kind]).__html__()


# Output


def test_in_a_template():
    """A template shows a badge with the reason, and escapes everything else."""
    page = Template("{{ value }}").render(Context({"value": mask("note", f"<b> & {TOKEN}")}))
    assert page == (
        '&lt;b&gt; &amp; <mark class="sessions-hidden" '
        f'title="hidden: {Why.TOKEN.value}">hidden</mark>'
    )
    page = Template("{{ value.pin }}").render(Context({"value": mask("note", {"pin": 1})}))
    assert page.startswith("<mark ")


def test_in_another_language():
    """Plain text is the same in every language, so that programs can rely on it."""
    with override("de"):
        assert mask("password", HUSH) == "[hidden: its name looks like that of a secret]"
        assert mask("password", HUSH).__html__()


def test_in_json():
    """In JSON, a hidden part is a text that cannot be mistaken for a value."""
    assert json.dumps(mask("note", {"pin": 1})) == f'{{"pin": "{NAME}"}}'
    assert repr(mask("pin", 1)) == f"'{NAME}'"


def test_copies():
    """Copies of a `Masked` are equal to it, also pickled ones."""
    shown = mask("note", f"a {TOKEN}")
    for copied in (copy.copy(shown), copy.deepcopy(shown), pickle.loads(pickle.dumps(shown))):
        assert (copied, copied.parts) == (shown, ("a ", Why.TOKEN))


def test_indented_json():
    """
    A page shows indented JSON, with a badge without quotes for a value that is hidden completely.
    """
    shown = masked_json("note", {"pin": 1, "a": f"<b> {TOKEN}", "b": '{"pin":1}'}).__html__()
    badge = re.search("<mark[^>]*NAME[^>]*>".replace("NAME", Why.NAME.value), shown)[0]
    lines = unescape(re.sub("<mark.*?</mark>", "HIDDEN", shown)).split("\n")
    assert badge
    assert lines == [
        "{",
        '  "pin": HIDDEN,',
        '  "a": "<b> HIDDEN",',
        r'  "b": "{\"pin\":\"HIDDEN\"}"',
        "}",
    ]


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        pytest.param(10**5000, "<int>", id="number"),
        (dt.time(1, tzinfo=dt.UTC), "<time>"),
        (dt.date(2026, 1, 31), '"2026-01-31"'),
        (Account(), '"<Account>"'),
        ("\ud800", '"\\ud800"'),
    ],
)
def test_values_that_json_cannot_contain(value, shown):
    """Of a value that JSON cannot contain, only the class is shown."""
    assert masked_json("note", value) == shown


def test_names_as_they_are_shown():
    """A name that contains a token is shown without the token."""
    assert mask_name("scope:ada:sessionStatus") == "scope:ada:sessionStatus"
    assert mask_name(f"state:{TOKEN}") == f"state:{Why.TOKEN.placeholder}"


def test_fields(live):
    """All fields of `inspect()` can be shown: entries by their names, and metadata as it is."""
    live["scope:monkey:token"] = HUSH
    live["form"] = {"password": HUSH}
    live["@pin"] = 1234
    live[f"state-{TOKEN}"] = 1
    live.save()
    fields = live.inspect().fields
    shown = mask_fields(fields)
    assert shown["color"] == '"red"'
    assert shown["@created"] == fields["@created"]
    assert shown["scope:monkey:token"] == shown["@@pin"] == NAME
    assert json.loads(shown["form"]) == {"password": NAME}
    assert shown[f"state-{Why.TOKEN.placeholder}"] == "1"


# Any value

WORDS = st.sampled_from(
    ["color", "password", "token", "name", "value", "_auth_user_hash", "scope:a:pin"]
)
KEYS = WORDS | st.text(max_size=8)
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=20)
    | st.sampled_from([CARD, TOKEN, NAME, "<b>&amp;'\"", "\ud800", '{"pin": "1"}', "a=b&token=c"])
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(KEYS, inner, max_size=4)
        | inner.map(json.dumps)
        | st.tuples(KEYS, inner).map(list)
    ),
    max_leaves=12,
)


@examples
@given(KEYS, VALUES)
def test_any_value(name, value):
    """No value raises an error. The result can be written as JSON, and escaped for a page."""
    shown = mask(name, value)
    json.dumps(shown)
    conditional_escape(mask_name(name))
    html = masked_json(name, value).__html__()
    assert not re.search(
        "[<>\"']",
        re.sub('<mark class="sessions-hidden" title="[^"<>]*">', "", html).replace("</mark>", ""),
    )


@examples
@given(KEYS, VALUES)
@example("note", "password=a b\n")
@example("note", 'x "pin": "1"')
@example("note", ["4111111111111111", "red"])
@example("note", {TOKEN: 1, "name": CARD, "value": 1})
@example("note", "https://a:b@c")
@example("note", {"password": {}, "name": "pin", "value": [1]})
def test_masking_twice(name, value):
    """Masking twice changes nothing, also after a conversion to JSON and back."""
    shown = mask(name, value)
    assert repr(mask(name, shown)) == repr(shown)
    assert repr(masked_json(name, shown)) == repr(masked_json(name, value))
    stored = json.loads(json.dumps(shown))
    assert repr(mask(name, stored)) == repr(stored)


SECRETS = st.from_regex(r"[a-z]{6}Q[0-9]{5}Z", fullmatch=True)


def hide(secret):
    """Ways to store ``secret`` under a name, or in a form, by which it is recognized."""
    by_name = [
        {"password": secret},
        {"a": [{"userToken": [secret]}]},
        ["api_key", secret],
        {"name": "pin", "value": secret},
        {"Authorization": f"Bearer {secret}"},
        f"?x=1&token={secret}&y=2",
        f"X-Api-Key: {secret}\nAccept: */*",
        f"https://ada:{secret}@example.com/",
        f"{{'password': '{secret}'",
        "ghp_" + secret * 2,
        "-----BEGIN PRIVATE KEY-----\n" + secret,
        {f"xoxb-{secret}": 1},
    ]
    return st.sampled_from(by_name)


def wrap(value):
    """``value`` deep within other values, also within texts."""
    return st.recursive(
        st.just(value),
        lambda inner: (
            inner.map(lambda held: {"color": held})
            | inner.map(lambda held: ["red", "blue", held])
            | inner.map(json.dumps)
            | inner.map(lambda held: {"name": "color", "value": held})
        ),
        max_leaves=4,
    )


@examples
@given(SECRETS.flatmap(lambda secret: st.tuples(st.just(secret), hide(secret).flatmap(wrap))))
def test_no_secret_is_seen(found):
    """A secret is never shown, at any depth and in JSON within JSON."""
    secret, value = found
    assert secret not in masked_json("note", value).__html__()
    assert secret not in str(masked_json("note", value))
    assert secret not in repr(mask("note", value))
    assert secret not in "".join(mask_fields({"note": json.dumps(value)}).values())


HOSTILE = ["<script>alert(1)</script>", "\"'><img src=x onerror=alert(1)>", "</mark>", "{{ x }}"]


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text(text):
    """Stored text is never HTML in a page: not beside a badge, and not if it is marked as safe."""
    for value in (text, mark_safe(text), {text: 1}, {text: {"pin": text}}, f"{text} {TOKEN}"):
        for name in ("note", text):
            html = masked_json(name, value).__html__()
            shown = conditional_escape(mask(name, value)) if isinstance(value, str) else ""
            named = conditional_escape(mask_name(f"{text} {TOKEN}"))
            for page in (html, shown, named):
                assert not re.search("[<>]", re.sub('</?mark[^<>"]*("[^"<>]*"[^"<>]*)*>', "", page))


# Documentation


def words_below(title):
    """The words in backticks in the section ``title`` of docs/masking.md."""
    part = DOCS.partition(f"\n## {title}\n")[2].partition("\n## ")[0]
    assert part, title
    return [
        word
        for line in re.findall(r"^`.*`,?$", part, re.MULTILINE)
        for word in re.findall("`([^`]+)`", line)
    ]


@pytest.mark.parametrize(
    ("title", "words"),
    [
        ("Words of secrets", names.SECRET_WORDS),
        ("Words that are secret together", names.SECRET_PHRASES),
        ("Names that are secret alone", names.SECRET_ALONE),
        ("Endings of longer words", names.SECRET_ENDINGS),
        ("Words that make a name harmless", names.HARMLESS_WORDS),
        ("Entries that always show", names.UNMASKED_NAMES),
    ],
)
def test_the_docs_list_the_words(title, words):
    """The documentation has the same lists as the code, each word once."""
    assert sorted(words_below(title)) == sorted(words)


def test_the_docs_list_the_reasons():
    """
    The documentation has each reason for hiding a value, and each service whose tokens are
    recognized.
    """
    assert all(f"`{why.placeholder}`" in DOCS for why in Why)
    assert all(service in DOCS for service in patterns.TOKENS)
