"""Django's contract of a session engine, with encrypted entries."""

import pytest

from sessions_redis.engine import SessionStore
from tests.contract.base import Contract
from tests.contract.entries import EntryContract
from tests.contract.storage import StorageContract


class TestEncrypted(EntryContract, StorageContract, Contract):
    engine = SessionStore

    @pytest.fixture(autouse=True)
    def encrypted(self, settings):
        settings.SESSION_SERIALIZER = "sessions_redis.serializers.EncryptedJSONSerializer"
