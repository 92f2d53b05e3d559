"""Whether ``SESSION_SERIALIZER`` returns what it was given, and whether it can execute code."""

from collections.abc import Iterator
from typing import Any

from django.conf import settings
from django.core import checks
from django.core.checks import CheckMessage, Error
from django.utils.module_loading import import_string

from sessions_redis.serializer_probes import executes_code

# Values such as sessions have. The engine serializes each entry by itself.
SAMPLES: tuple[Any, ...] = ("text", 1, True, None, ["a", 1], {"key": {"nested": 1.5}})


def problems() -> Iterator[CheckMessage]:
    yield from _check_serializer()
    yield from _check_execution()


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
