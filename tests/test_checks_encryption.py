"""The checks of serializers that encrypt."""

import pytest

from sessions_redis import checks
from tests.test_encryption import without_the_package  # noqa: F401 - fixture

ENCRYPTED = "sessions_redis.serializers.EncryptedJSONSerializer"
PLAIN = "django.contrib.sessions.serializers.JSONSerializer"
KEY = "0d" * 32


def found():
    """What the checks of the settings say."""
    return [
        (message.id, message.msg, message.hint)
        for message in checks.check_settings()
        if message.id != "sessions_redis.W007"
    ]


@pytest.mark.parametrize(
    "name",
    [
        "EncryptedJSONSerializer",
        "EncryptedTypedJSONSerializer",
        "DecryptingJSONSerializer",
        "DecryptingTypedJSONSerializer",
        "TypedJSONSerializer",
    ],
)
@pytest.mark.parametrize("times", [1, 2])
def test_the_serializers_of_the_package(settings, name, times):
    """They return every value, and are safe."""
    settings.SESSION_SERIALIZER = f"sessions_redis.serializers.{name}"
    assert found() == []


@pytest.mark.usefixtures("without_the_package")
def test_without_the_package(settings, session_redis):
    """An error says what to install."""
    settings.SESSION_SERIALIZER = ENCRYPTED
    settings.SESSION_REDIS = {**session_redis, "ENCRYPTION_KEYS": ["0e" * 40]}
    ((id, message, hint),) = found()
    assert id == "sessions_redis.E041"
    assert "EncryptedJSONSerializer' cannot encrypt. Encrypted sessions need" in message
    assert 'pip install "django-sessions-redis[encryption]"' in hint


def test_keys_without_effect(settings, session_redis):
    """A warning says that keys are set, and nothing is encrypted."""
    settings.SESSION_REDIS = {**session_redis, "ENCRYPTION_KEYS": [KEY]}
    ((id, message, _),) = found()
    assert id == "sessions_redis.W042"
    assert PLAIN in message
    assert KEY not in message
    settings.SESSION_SERIALIZER = "sessions_redis.serializers.DecryptingJSONSerializer"
    assert found() == []


def test_keys_that_cannot_be_used(settings, session_redis):
    """One check reports them, and the others do not repeat it."""
    settings.SESSION_SERIALIZER = ENCRYPTED
    settings.SESSION_REDIS = {**session_redis, "ENCRYPTION_KEYS": ["short"]}
    assert [id for id, _, _ in found()] == ["sessions_redis.E004"]
