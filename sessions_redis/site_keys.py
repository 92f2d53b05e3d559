"""What ``ENCRYPTION_KEYS`` and ``ENCRYPTION_PLAINTEXT_UNTIL`` may contain."""

from base64 import b64decode
from datetime import date, datetime
from typing import Any

# In ENCRYPTION_KEYS, the keys that are derived from SECRET_KEY and SECRET_KEY_FALLBACKS.
DERIVED = "SECRET_KEY"

# A key has at least so many random bytes.
LEAST_BYTES = 32


def bytes_of(key: str) -> bytes:
    """The bytes of a key in hexadecimal or base64. ``ValueError`` if it is neither."""
    text = key.strip()
    try:
        return bytes.fromhex(text)
    except ValueError:
        text = text.rstrip("=").translate(str.maketrans("-_", "+/"))
        return b64decode(text + "=" * (-len(text) % 4), validate=True)


def problem(key: Any) -> str | None:
    """What is wrong with a key, without showing it."""
    if not isinstance(key, str):
        return f"is {type(key).__name__}, not a string"
    if key == DERIVED:
        return None
    try:
        size = len(bytes_of(key))
    except ValueError:
        return "is neither base64 nor hexadecimal"
    return None if size >= LEAST_BYTES else f"has {size} bytes, less than {LEAST_BYTES}"


def day_of(until: str | date | None) -> date | None:
    """The last day, if there is one. ``ValueError`` if it is not a date."""
    if until is None or (isinstance(until, date) and not isinstance(until, datetime)):
        return until
    if isinstance(until, datetime):
        raise ValueError("it has a time of day")  # noqa: TRY004 - as for a text that has one
    return date.fromisoformat(until)
