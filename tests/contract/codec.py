"""Encoding and decoding of whole sessions."""

import logging

import pytest
from django.contrib.sessions.backends.base import (
    SessionBase,
)
from django.core.signing import TimestampSigner

from tests.contract.base import SECURITY_LOG, Contract


class CodecContract(Contract):
    """encode() and decode() are those of the base class."""

    def test_decode_reverses_encode(self, store):
        """What encode() made, decode() reads."""
        entries = {"a key": "a value", "nested": [{"a": None}]}
        encoded = store.encode(entries)
        assert isinstance(encoded, str)
        assert store.decode(encoded) == entries

    def test_key_salt(self, store):
        """The salt of encode() is that of Django for the class's name."""
        assert store.key_salt == f"django.contrib.sessions.{self.engine.__qualname__}"

    def test_the_base_class_reads_the_same(self, store):
        """encode() and decode() are interchangeable with those of Django's base class."""

        class Base(SessionBase):
            key_salt = store.key_salt

        assert Base().decode(store.encode({"cat": "dog"})) == {"cat": "dog"}
        assert store.decode(Base().encode({"cat": "dog"})) == {"cat": "dog"}

    @pytest.mark.parametrize("encoded", ["Zmxhc2tkajphbGtkamY=", "bad:encoded:value", ""])
    def test_what_was_tampered_with_is_empty(self, store, caplog, encoded):
        """What is not signed decodes as {} and is reported to the security log."""
        with caplog.at_level(logging.WARNING, logger=SECURITY_LOG):
            assert store.decode(encoded) == {}
        assert (SECURITY_LOG, logging.WARNING, "Session data corrupted") in caplog.record_tuples

    def test_what_is_signed_but_unreadable_is_empty(self, store):
        """What is signed and cannot be deserialised decodes as {}."""
        signed = TimestampSigner(salt=store.key_salt).sign("unreadable")
        assert store.decode(signed) == {}
