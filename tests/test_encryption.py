"""Encrypted values: the keys of a site, what a value is bound to, and what is refused."""

import sys
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import pytest
from django.core import signing
from django.core.exceptions import ImproperlyConfigured
from hypothesis import given
from hypothesis import strategies as st

from sessions_redis import encryption
from sessions_redis.encryption import MARK, OVERHEAD, Key, is_plaintext_read
from sessions_redis.serializer_probes import executes_code
from sessions_redis.serializers import (
    DecryptingJSONSerializer,
    DecryptingTypedJSONSerializer,
    EncryptedJSONSerializer,
    EncryptedTypedJSONSerializer,
)
from tests.held import unhurried

# Keys as docs/encryption.md makes them, and in hexadecimal.
OLD, NEW, HEX = "b2xk" * 11, "bmV3-_" * 8, "0f" * 32

SALT, NAME = b"salt", b"cart"

KINDS = [
    EncryptedJSONSerializer,
    EncryptedTypedJSONSerializer,
    DecryptingJSONSerializer,
    DecryptingTypedJSONSerializer,
]


@pytest.fixture
def configure(settings, session_redis):
    """Changes SESSION_REDIS."""

    def change(**changed):
        settings.SESSION_REDIS = {**session_redis, **changed}

    return change


def entries(kind=EncryptedJSONSerializer):
    return kind.for_entries()


def opens(sealed, salt=SALT, name=NAME):
    """What is inside, or None if it does not open there."""
    try:
        return entries().open(sealed, salt, name)
    except ValueError:
        return None


@unhurried
@given(value=st.binary(max_size=200), salt=st.binary(max_size=24), name=st.binary(max_size=24))
def test_a_value_opens_in_its_place(value, salt, name):
    """Only the same salt and name open a value. Two equal values are never sealed alike."""
    sealed = entries().seal(value, salt, name)
    assert len(sealed) == len(value) + OVERHEAD
    assert entries().seal(value, salt, name) != sealed
    assert opens(sealed, salt, name) == value
    assert opens(sealed, salt + b"x", name) is None
    assert opens(sealed, salt, name + b"x") is None
    assert opens(sealed, name + b"\0", salt) is None


def test_a_value_that_was_changed():
    """One flipped bit anywhere, a shorter or a longer value, and it does not open."""
    sealed = entries().seal(b'{"pears":2}', SALT, NAME)
    for place in range(len(sealed)):
        for bit in range(8):
            flipped = bytes([sealed[place] ^ 1 << bit])
            assert opens(sealed[:place] + flipped + sealed[place + 1 :]) is None
    assert [opens(sealed[:size]) for size in range(len(sealed))] == [None] * len(sealed)
    assert opens(sealed + b"\0") is None


@pytest.mark.parametrize(
    "key", [OLD, NEW, HEX, HEX.upper(), f" {OLD}\n", OLD + "bA==", "SECRET_KEY"]
)
def test_keys(configure, key):
    """A key is base64 in either alphabet, with and without padding, or hexadecimal."""
    configure(ENCRYPTION_KEYS=[key])
    assert opens(entries().seal(b"1", SALT, NAME)) == b"1"


def test_the_first_key_encrypts_and_all_decrypt(configure):
    """A key stays in the list until nothing is encrypted with it any more."""
    configure(ENCRYPTION_KEYS=[OLD])
    before = entries().seal(b"1", SALT, NAME)
    configure(ENCRYPTION_KEYS=[NEW, OLD])
    after = entries().seal(b"1", SALT, NAME)
    assert (opens(before), opens(after)) == (b"1", b"1")
    assert (entries().is_current(before), entries().is_current(after)) == (False, True)
    configure(ENCRYPTION_KEYS=[NEW])
    assert (opens(before), opens(after)) == (None, b"1")


def test_keys_that_are_derived(configure, settings):
    """Without keys of its own, a site has those of SECRET_KEY and its fallbacks."""
    derived = entries().seal(b"1", SALT, NAME)
    settings.SECRET_KEY, settings.SECRET_KEY_FALLBACKS = "another", [settings.SECRET_KEY]
    assert opens(derived) == b"1"
    assert opens(entries().seal(b"2", SALT, NAME)) == b"2"
    assert not entries().is_current(derived)
    configure(ENCRYPTION_KEYS=[NEW, "SECRET_KEY"])
    assert opens(derived) == b"1"
    settings.SECRET_KEY_FALLBACKS = []
    assert opens(derived) is None


def test_a_key_is_not_shown(configure):
    """Error reports print variables, and no key with them."""
    key = Key(b"the secret")
    assert "secret" not in repr(key)
    assert not hasattr(key, "__dict__")


@pytest.mark.parametrize(
    ("until", "is_read"),
    [
        (None, False),
        (datetime.now(UTC).date() + timedelta(days=2), True),
        ((datetime.now(UTC).date() + timedelta(days=2)).isoformat(), True),
        ("2026-01-01", False),
        (date(2026, 1, 1), False),
    ],
)
def test_values_that_are_not_encrypted(configure, until, is_read):
    """They are damaged, except until the day in ENCRYPTION_PLAINTEXT_UNTIL."""
    configure(ENCRYPTION_PLAINTEXT_UNTIL=until)
    assert is_plaintext_read() is is_read
    assert opens(b"1") == (b"1" if is_read else None)


@pytest.mark.parametrize(
    ("now", "is_read"),
    [
        (datetime(2026, 3, 31, 23, 59, 59, tzinfo=UTC), True),
        (datetime(2026, 4, 1, 0, 0, 0, tzinfo=UTC), False),
    ],
)
def test_the_last_day_counts(configure, monkeypatch, now, is_read):
    """Values that are not encrypted are read until the end of that day, in UTC."""

    class Clock:
        @staticmethod
        def now(zone):
            return now.astimezone(zone)

    monkeypatch.setattr(encryption, "datetime", Clock)
    configure(ENCRYPTION_PLAINTEXT_UNTIL="2026-03-31")
    assert is_plaintext_read() is is_read


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("ENCRYPTION_KEYS", OLD, "is str, not a list of keys"),
        ("ENCRYPTION_KEYS", [OLD, 7], "Key 2 .* is int, not a string"),
        ("ENCRYPTION_KEYS", ["pa$$word" * 9], "Key 1 .* is neither base64 nor hexadecimal"),
        ("ENCRYPTION_KEYS", [OLD[:40]], "Key 1 .* has 30 bytes, less than 32"),
        ("ENCRYPTION_KEYS", [HEX[:62]], "Key 1 .* has 31 bytes, less than 32"),
        ("ENCRYPTION_PLAINTEXT_UNTIL", "soon", "is 'soon'"),
        ("ENCRYPTION_PLAINTEXT_UNTIL", datetime(2027, 1, 1, tzinfo=UTC), "has a time of day"),
        ("ENCRYPTION_PLAINTEXT_UNTIL", 7, "is int, not a date"),
    ],
)
def test_settings_that_cannot_be_used(configure, name, value, message):
    """The message names the setting and the remedy, and shows no key."""
    configure(**{name: value})
    with pytest.raises(ImproperlyConfigured, match=message) as raised:
        entries()
    assert name in str(raised.value)
    assert "pa$$" not in str(raised.value)
    assert OLD[:40] not in str(raised.value)


@pytest.mark.parametrize("kind", KINDS)
def test_django_can_use_it(kind):
    """Other code of Django dumps and loads with it, such as signing and the database engine."""
    value = {"cart": {"pears": 2}}
    assert kind().loads(kind().dumps(value)) == value
    signed = signing.dumps(value, serializer=kind, compress=True)
    assert signing.loads(signed, serializer=kind) == value
    assert (b"pears" in kind().dumps(value)) is (not kind.seals)
    assert not executes_code(kind)


def test_a_value_of_other_code_is_bound_to_no_session():
    """What `dumps` returns is not read as an entry, nor an entry by `loads`."""
    assert opens(EncryptedJSONSerializer().dumps(1)) is None
    with pytest.raises(ValueError, match="another place"):
        EncryptedJSONSerializer().loads(entries().seal(b"1", SALT, NAME))


def test_typed_values():
    """The typed variants carry decimals, and the others raise as JSON does."""
    for kind in (EncryptedTypedJSONSerializer, DecryptingTypedJSONSerializer):
        assert kind().loads(kind().dumps(Decimal("9.90"))) == Decimal("9.90")
    for kind in (EncryptedJSONSerializer, DecryptingJSONSerializer):
        with pytest.raises(TypeError, match="Decimal"):
            kind().dumps(Decimal("9.90"))


def test_decrypting(configure):
    """A decrypting serializer reads encrypted and plain values, and writes plain ones."""
    plain = entries(DecryptingJSONSerializer)
    sealed = entries().seal(b"1", SALT, NAME)
    assert plain.open(sealed, SALT, NAME) == b"1"
    assert plain.open(b"1", SALT, NAME) == b"1"
    assert (plain.seals, plain.is_current(b"1"), plain.is_current(sealed)) == (False, True, False)
    with pytest.raises(ValueError, match="another place"):
        plain.open(sealed, SALT, b"other")


def test_no_json_begins_with_the_mark():
    """JSON is ASCII, as Django writes it, so no plain value is taken for an encrypted one."""
    assert MARK[0] > 127


@pytest.fixture
def without_the_package(monkeypatch):
    """As if cryptography was not installed."""
    for name in ("hashes", "ciphers.aead"):
        monkeypatch.setitem(sys.modules, f"cryptography.hazmat.primitives.{name}", None)
    encryption._library.cache_clear()
    yield
    encryption._library.cache_clear()


@pytest.mark.usefixtures("without_the_package")
def test_without_the_package(configure):
    """The error says what to install. No key gets into a report of it."""
    configure(ENCRYPTION_KEYS=["ab" * 40])
    assert not encryption.is_installed()
    with pytest.raises(
        ImproperlyConfigured, match=r"django-sessions-redis\[encryption\]"
    ) as raised:
        entries()
    shown = [
        repr(value)
        for entry in raised.traceback
        if "sessions_redis" in str(entry.path)
        for value in entry.frame.f_locals.values()
    ]
    assert shown
    assert "abab" not in "".join(shown)
