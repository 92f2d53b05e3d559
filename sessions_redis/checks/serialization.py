"""Whether ``SESSION_SERIALIZER`` returns what it was given, and whether it can execute code."""

from collections.abc import Iterator
from typing import Any

from django.conf import settings
from django.core import checks
from django.core.checks import CheckMessage, Error
from django.core.exceptions import ImproperlyConfigured
from django.utils.module_loading import import_string

from sessions_redis import encryption
from sessions_redis.conf import Conf
from sessions_redis.json_serializer import made
from sessions_redis.serializer_probes import executes_code
from sessions_redis.storage.entries import SealingSerializer

# Values such as sessions have. The engine serializes each entry by itself.
SAMPLES: tuple[Any, ...] = ("text", 1, True, None, ["a", 1], {"key": {"nested": 1.5}})


def problems() -> Iterator[CheckMessage]:
    try:
        _encrypts()
    except ImproperlyConfigured as error:
        # Otherwise a setting has a mistake, which E004 and others report.
        if not encryption.is_installed():
            yield _missing(error)
        return
    yield from _check_serializer()
    yield from _check_execution()


def problems_of_keys(current: Conf) -> Iterator[CheckMessage]:
    """Whether ``ENCRYPTION_KEYS`` has no effect."""
    if current.encryption_keys and encryption.is_installed() and not _encrypts():
        yield checks.Warning(
            'SESSION_REDIS["ENCRYPTION_KEYS"] is set, but SESSION_SERIALIZER '
            f"{settings.SESSION_SERIALIZER!r} encrypts nothing.",
            "Write SESSION_SERIALIZER = "
            '"sessions_redis.serializers.EncryptedJSONSerializer", or leave ENCRYPTION_KEYS out. '
            "docs/encryption.md explains how to turn encryption on or off on a live site.",
            id="sessions_redis.W042",
        )


def _encrypts() -> bool:
    try:
        return isinstance(made(import_string(settings.SESSION_SERIALIZER)), SealingSerializer)
    except (AttributeError, ImportError, TypeError):
        return False  # It cannot be created, which E005 reports.


def _missing(error: ImproperlyConfigured) -> CheckMessage:
    return Error(
        f"SESSION_SERIALIZER {settings.SESSION_SERIALIZER!r} cannot encrypt. {error}",
        'Install it with: python -m pip install "django-sessions-redis[encryption]"',
        id="sessions_redis.E041",
    )


def _check_serializer() -> Iterator[CheckMessage]:
    path = settings.SESSION_SERIALIZER
    try:
        serializer = import_string(path)()
    except (AttributeError, ImportError, TypeError) as error:
        yield _broken_serializer(f"SESSION_SERIALIZER {path!r} cannot be created: {error}.")
        return
    for sample in SAMPLES:
        reason = _why_value_is_lost(serializer, sample)
        if reason:
            yield _broken_serializer(f"SESSION_SERIALIZER {path!r} {reason}.")
            return


def _check_execution() -> Iterator[CheckMessage]:
    path = settings.SESSION_SERIALIZER
    try:
        is_dangerous = executes_code(import_string(path))
    except (AttributeError, ImportError, TypeError):
        return  # It cannot be created, which E005 reports.
    if is_dangerous:
        yield checks.Warning(
            f"SESSION_SERIALIZER {path!r} can execute code when it loads a session. So anyone who "
            "can write to Redis can run code in your site.",
            'Use "django.contrib.sessions.serializers.JSONSerializer". Until then the admin does '
            "not show the values of entries, because reading them could execute code.",
            id="sessions_redis.W010",
        )


def _why_value_is_lost(serializer: Any, sample: Any) -> str | None:
    try:
        dumped = serializer.dumps(sample)
        returned = serializer.loads(dumped)
    except Exception as error:  # noqa: BLE001 - a broken serializer can raise any error
        return f"fails on {sample!r}: {error!r}"
    if not isinstance(dumped, bytes):
        return f"turns {sample!r} into {type(dumped).__name__}, not bytes"
    return None if returned == sample else f"returns {returned!r} for {sample!r}"


def _broken_serializer(message: str) -> CheckMessage:
    return Error(
        message,
        'Use "django.contrib.sessions.serializers.JSONSerializer", or a serializer that turns any '
        "single value into bytes, and these bytes into the same value.",
        id="sessions_redis.E005",
    )
