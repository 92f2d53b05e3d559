"""What the measured sessions hold."""

from random import Random
from typing import Any

AUTH: dict[str, Any] = {
    "_auth_user_id": "1",
    "_auth_user_backend": "django.contrib.auth.backends.ModelBackend",
    "_auth_user_hash": "5f" * 32,
}
OWN: dict[str, Any] = {"color": "green", "cart": [101, 102, 103]}

# A hundred more, of which nearly all of the 93 kB are: hex digits, which compress as text does.
BULK: dict[str, Any] = {
    f"entry-{number:03}": Random(number).randbytes(458).hex() for number in range(100)
}

# By the session's size: what it holds before its user signs in, and afterwards.
ANONYMOUS: dict[str, dict[str, Any]] = {"small": OWN, "large": {**OWN, **BULK}}
SIGNED_IN: dict[str, dict[str, Any]] = {
    size: {**entries, **AUTH} for size, entries in ANONYMOUS.items()
}
